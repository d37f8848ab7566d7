package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"codedeploy-agent/internal/atomicfile"
	"codedeploy-agent/internal/config"
)

// lockVariable names the descriptor of the lock that an agent hands to the image it re-executes.
const lockVariable = "CODEDEPLOY_AGENT_LOCK_FD"

// errRunning is returned when another agent holds the lock.
var errRunning = errors.New("another agent is running")

// instance makes this process the only agent of its pid_dir: a lock held for life, and the pid file of 1.x for people
// and scripts.
type instance struct {
	lock    *os.File
	pidFile string
}

// claimInstance takes the lock, or takes it over from the image that executed this one.
func claimInstance(c *config.Config) (*instance, error) {
	if err := os.MkdirAll(c.PIDDir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot create pid_dir: %w", err)
	}
	i := &instance{pidFile: pidFile(c)}
	i.lock = inheritedLock(i.lockPath())
	if i.lock == nil {
		f, err := os.OpenFile(i.lockPath(), os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return nil, fmt.Errorf("cannot open the agent's lock: %w", err)
		}
		if err := lock(f); err != nil {
			_ = f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, runningError(c)
			}
			return nil, fmt.Errorf("cannot lock %q: %w", i.lockPath(), err)
		}
		i.lock = f
	}
	if err := atomicfile.Write(i.pidFile, fmt.Appendln(nil, os.Getpid()), 0o644); err != nil {
		return nil, err
	}
	return i, nil
}

// lock takes the lock. It tries for a moment: somebody who asks for the status holds it for an instant.
func lock(f *os.File) (err error) {
	for range 10 {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

func (i *instance) lockPath() string { return i.pidFile + ".lock" }

// release removes the pid file. The lock file stays: removing it would let two agents lock two files of one name.
func (i *instance) release() {
	_ = os.Remove(i.pidFile)
	_ = i.lock.Close()
}

// inheritedLock returns the lock that the previous image of this process left open, nil when there is none.
func inheritedLock(path string) *os.File {
	text, set := os.LookupEnv(lockVariable)
	_ = os.Unsetenv(lockVariable) // no hook and no later image shall see it
	fd, err := strconv.Atoi(text)
	if !set || err != nil || fd < 3 {
		return nil
	}
	f := os.NewFile(uintptr(fd), path)
	held, err1 := f.Stat()
	there, err2 := os.Stat(path)
	if err1 != nil || err2 != nil || !os.SameFile(held, there) {
		_ = f.Close()
		return nil
	}
	unix.CloseOnExec(fd)
	return f
}

func pidFile(c *config.Config) string {
	return filepath.Join(c.PIDDir, c.ProgramName+".pid")
}

func statusFile(c *config.Config) string {
	return filepath.Join(c.PIDDir, c.ProgramName+".status")
}

// runningError names the process that holds the lock.
func runningError(c *config.Config) error {
	if pid, err := readPID(c); err == nil {
		return fmt.Errorf("%w as PID %d; there can be one for %q", errRunning, pid, c.PIDDir)
	}
	return fmt.Errorf("%w; there can be one for %q", errRunning, c.PIDDir)
}

func readPID(c *config.Config) (int, error) {
	b, err := os.ReadFile(pidFile(c))
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("cannot read a pid from %q", pidFile(c))
	}
	return pid, nil
}

// runningPID returns the pid of the agent that holds the lock, 0 when none does. It never disturbs that agent.
func runningPID(c *config.Config) (int, error) {
	f, err := os.Open(pidFile(c) + ".lock")
	if errors.Is(err, fs.ErrNotExist) {
		return pidWithoutLock(c)
	}
	if err != nil {
		return 0, fmt.Errorf("cannot look at the agent's lock: %w", err)
	}
	defer func() { _ = f.Close() }()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	switch {
	case err == nil:
		return pidWithoutLock(c)
	case !errors.Is(err, unix.EWOULDBLOCK):
		return 0, fmt.Errorf("cannot look at the agent's lock: %w", err)
	}
	return readPID(c)
}

// pidWithoutLock finds an agent that keeps a pid file but no lock, as 2.x does.
func pidWithoutLock(c *config.Config) (int, error) {
	pid, err := readPID(c)
	if err != nil {
		return 0, nil //nolint:nilerr // no pid file, nothing runs
	}
	if syscall.Kill(pid, 0) != nil && !errors.Is(syscall.Kill(pid, 0), syscall.EPERM) {
		return 0, nil
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.Contains(string(cmdline), "codedeploy-agent") {
		return 0, nil //nolint:nilerr // the pid was given to another program
	}
	return pid, nil
}
