package hooks

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"codedeploy-agent/internal/account"
)

// command is a script made ready to run.
type command struct {
	path string
	args []string
	env  environ
	cred *syscall.Credential // nil: as the runner
	// limits are to be set in the child; they call for the stage.
	limits []limit
	// script is the file to blame when it cannot be run; path may be su or sudo.
	script string
	user   string
}

// commandFor decides how a script is run. The error is for the customer.
func (j job) commandFor(s jobScript, path string, in session) (command, error) {
	c := command{path: path, args: []string{path}, env: in.env, limits: in.limits, script: path, user: s.RunAs}
	root := os.Geteuid() == 0
	switch {
	case s.RunAs == "" && (root || !s.Sudo):
		return c, nil
	case s.RunAs == "":
		return c.through("sudo", "-n", path)
	case strings.HasPrefix(s.RunAs, "-"):
		return c, fmt.Errorf("runas: %q is no user name", s.RunAs)
	case !root && s.Sudo:
		return c.through("sudo", "-n", "su", s.RunAs, "-c", shellQuote(path))
	case j.Options.Compat1x:
		return c.through("su", s.RunAs, "-c", shellQuote(path))
	}
	u, err := account.LookupUser(s.RunAs)
	var unknown *account.UnknownError
	switch {
	case errors.As(err, &unknown) || err == nil && u.GID < 0:
		return c, fmt.Errorf("the user %q of its runas does not exist on this host", s.RunAs)
	case err != nil:
		return c, fmt.Errorf("the user %q of its runas cannot be looked up (%w)", s.RunAs, err)
	case !root && u.UID == os.Geteuid():
		return c, nil
	case !root:
		return c, fmt.Errorf("the agent does not run as root, so it cannot run a script as user %q", s.RunAs)
	}
	c.cred = &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.GID)}
	for _, gid := range u.Groups {
		c.cred.Groups = append(c.cred.Groups, uint32(gid))
	}
	c.env = j.environAs(in.env, u)
	c.limits = slices.Concat(in.limits, limitsFor(u))
	return c, nil
}

// through makes the command one of another program.
func (c command) through(program string, args ...string) (command, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return c, fmt.Errorf("%s is not installed on this host", program)
	}
	c.path, c.args = path, append([]string{program}, args...)
	return c, nil
}

// shellQuote makes a word that a shell takes literally.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// start runs the command with the given standard files in a process group of its own, and in the cell.
func (c command) start(j job, in *cell, files []*os.File) (*os.Process, error) {
	if c.cred != nil {
		for _, f := range files[1:] { // so that the script may open /dev/stdout and /dev/stderr by name
			_ = unix.Fchown(int(f.Fd()), int(c.cred.Uid), -1)
		}
	}
	if len(c.limits) > 0 {
		return c.startStaged(j, in, files)
	}
	p, err := startIn(in, c.path, c.args, &os.ProcAttr{Env: c.env, Files: files, Sys: &syscall.SysProcAttr{Credential: c.cred}})
	if errors.Is(err, unix.ENOEXEC) { // no "#!": what a shell would do
		args := append([]string{"/bin/sh"}, c.args...)
		p, err = startIn(in, "/bin/sh", args, &os.ProcAttr{Env: c.env, Files: files, Sys: &syscall.SysProcAttr{Credential: c.cred}})
	}
	return p, err
}

// startIn starts a process inside the cell if the kernel can do so (5.7 and later), else moves it there afterwards.
func startIn(in *cell, path string, args []string, attr *os.ProcAttr) (*os.Process, error) {
	attr.Sys.Setpgid = true
	if in.handle != nil {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(in.handle.Fd())
		if p, err := os.StartProcess(path, args, attr); err == nil {
			return p, nil
		}
		attr.Sys.UseCgroupFD = false
	}
	for attempt := 0; ; attempt++ {
		p, err := os.StartProcess(path, args, attr)
		// Whoever was writing the file has it open for writing still, or a child of his that is about to run its own
		// program.
		if errors.Is(err, unix.ETXTBSY) && attempt < 50 {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		if err == nil && in.dir != "" {
			_ = joinCgroup(in.dir, p.Pid)
		}
		return p, err
	}
}

// startStaged starts this program once more as the stage, which sets the limits and then becomes the script. It answers
// on a pipe that closes when it has.
func (c command) startStaged(j job, in *cell, files []*os.File) (*os.Process, error) {
	spec, err := json.Marshal(stage{Path: c.path, Args: c.args, Credential: c.cred, Limits: c.limits})
	if err != nil {
		return nil, err
	}
	answer, answerEnd, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Close() }()
	args := append(append([]string{}, j.Options.Runner...), stageFlag, string(spec))
	path := args[0]
	args[0] = programName
	p, err := startIn(in, path, args, &os.ProcAttr{Env: c.env, Files: append(files[:3:3], answerEnd), Sys: &syscall.SysProcAttr{}})
	_ = answerEnd.Close()
	if err != nil {
		return nil, fmt.Errorf("cannot start the agent's own program: %w", err)
	}
	var failed stageError
	if json.NewDecoder(answer).Decode(&failed) != nil {
		return p, nil // closed without a word: it is the script now
	}
	_, _ = p.Wait()
	return nil, &failed
}
