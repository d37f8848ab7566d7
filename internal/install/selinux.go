package install

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"codedeploy-agent/appspec"

	"golang.org/x/sys/unix"
)

const xattrLabel = "security.selinux"

// selinux is the host's SELinux as far as an Install is concerned.
type selinux struct {
	mount    string // where its file system is mounted when it is enabled
	semanage string // the program's name or path
}

var hostSELinux = selinux{mount: "/sys/fs/selinux", semanage: "semanage"}

func (s selinux) enabled() bool {
	_, err := os.Stat(filepath.Join(s.mount, "enforce"))
	return err == nil
}

// tool returns the path of semanage, which makes a label outlive a relabelling of the file system.
func (s selinux) tool() (string, error) { return exec.LookPath(s.semanage) }

// label returns an object's label with the context of a permission entry put in; parts that the entry does not name
// stay as they are.
func label(current string, c *appspec.Context) string {
	parts := strings.SplitN(strings.TrimRight(current, "\x00"), ":", 4)
	for len(parts) < 4 {
		parts = append(parts, "")
	}
	if parts[1] == "" {
		parts[1] = "object_r"
	}
	if c.User != "" {
		parts[0] = c.User
	}
	parts[2] = c.Type
	if c.Range != "" {
		parts[3] = c.Range
	}
	return strings.TrimRight(strings.Join(parts, ":"), ":")
}

// setLabel gives an open file the context of a permission entry.
func setLabel(fd int, c *appspec.Context) error {
	current, err := getXattr(fd, xattrLabel)
	if err != nil {
		return err
	}
	return unix.Fsetxattr(fd, xattrLabel, []byte(label(string(current), c)), 0)
}

// addLabelRule records in the policy that a path has the context.
func (s selinux) addLabelRule(ctx context.Context, path string, c *appspec.Context, known bool) error {
	verb := "-a"
	if known {
		verb = "-m"
	}
	args := []string{"fcontext", verb}
	if c.User != "" {
		args = append(args, "-s", c.User)
	}
	args = append(args, "-t", c.Type)
	if c.Range != "" {
		args = append(args, "-r", c.Range)
	}
	return s.run(ctx, append(args, path)...)
}

// removeLabelRule takes a path's rule out of the policy.
func (s selinux) removeLabelRule(ctx context.Context, path string) error {
	return s.run(ctx, "fcontext", "-d", path)
}

func (s selinux) run(ctx context.Context, args ...string) error {
	tool, err := s.tool()
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, tool, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", s.semanage, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
