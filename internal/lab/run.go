package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"time"
)

// commandLimit is the time that a command in the guest may take, unless another is given.
const commandLimit = 60 * time.Second

// Sh runs a shell script in the guest as root and returns what it writes to both outputs, without white space at the
// end. The test ends here when the script fails.
func (g *Guest) Sh(format string, args ...any) string {
	g.t.Helper()
	out, err := g.Try(format, args...)
	if err != nil {
		g.t.Fatal(err)
	}
	return out
}

// Try is Sh for a script that may fail. The error is an *exec.ExitError when the script itself has failed.
func (g *Guest) Try(format string, args ...any) (string, error) {
	script := fmt.Sprintf(format, args...)
	out, err := g.run(commandLimit, "", "/bin/sh", "-c", script)
	if err != nil {
		err = fmt.Errorf("in the guest: %s: %w\n%s", script, err, out)
	}
	return strings.TrimSpace(out), err
}

// ExitCode is the exit status in an error of Try, and -1 for every other error.
func ExitCode(err error) int {
	var exit *exec.ExitError
	if err == nil {
		return 0
	}
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// Command returns a command to be run in the guest, for those that need more than Sh gives. Its environment is that of
// a bare login.
func (g *Guest) Command(ctx context.Context, args ...string) *exec.Cmd {
	g.mu.Lock()
	leader := g.leader
	g.mu.Unlock()
	enter := []string{
		"-t", strconv.Itoa(leader), "-a", "env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "TERM=dumb", "LANG=C.UTF-8",
	}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.WaitDelay = time.Second // a daemon may keep the outputs
	return cmd
}

func (g *Guest) run(limit time.Duration, stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := g.Command(ctx, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("not done within %v", limit)
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	return out.String(), err
}

// WriteFile makes a file in the guest, with the directories above it.
func (g *Guest) WriteFile(name string, content string, mode fs.FileMode) {
	g.t.Helper()
	script := fmt.Sprintf(`mkdir -p "$1" && cat >"$2" && chmod %o "$2"`, mode.Perm())
	if out, err := g.run(commandLimit, content, "/bin/sh", "-c", script, "sh", path.Dir(name), name); err != nil {
		g.t.Fatalf("cannot write %q in the guest: %v\n%s", name, err, out)
	}
}

// ReadFile returns the content of a file in the guest.
func (g *Guest) ReadFile(name string) string {
	g.t.Helper()
	out, err := g.run(commandLimit, "", "cat", "--", name)
	if err != nil {
		g.t.Fatalf("cannot read %q in the guest: %v\n%s", name, err, out)
	}
	return out
}

// CopyIn copies a file of the host into the guest.
func (g *Guest) CopyIn(src, dst string) {
	g.t.Helper()
	f, err := os.Open(src)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		g.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	script := fmt.Sprintf(`mkdir -p "$1" && rm -f "$2" && cat >"$2" && chmod %o "$2"`, info.Mode().Perm())
	cmd := g.Command(ctx, "/bin/sh", "-c", script, "sh", path.Dir(dst), dst)
	cmd.Stdin = io.Reader(f)
	if out, err := cmd.CombinedOutput(); err != nil {
		g.t.Fatalf("cannot copy %q into the guest: %v\n%s", src, err, out)
	}
}

// Eventually waits until the script succeeds in the guest.
func (g *Guest) Eventually(limit time.Duration, format string, args ...any) string {
	g.t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		out, err := g.Try(format, args...)
		if err == nil {
			return out
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("waited %v in vain: %v", limit, err)
		}
	}
}
