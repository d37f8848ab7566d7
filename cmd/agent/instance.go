package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"codedeploy-agent/internal/atomicfile"
	"codedeploy-agent/internal/config"
	"codedeploy-agent/internal/state"
)

// lockVariable names the descriptor of the lock that an agent hands to the image it re-executes.
const lockVariable = "CODEDEPLOY_AGENT_LOCK_FD"

// errRunning is returned when another agent holds the lock.
var errRunning = errors.New("another agent is running")

// instance makes this process the only agent of its pid_dir and of its root_dir: locks held for life, and the pid file of
// 1.x for people and scripts. Two agents at one root would finish each other's installs; the folder of the pid file may
// be another one, or be gone.
type instance struct {
	lock    *os.File // of pid_dir; a reload hands it on
	root    *os.File // of root_dir
	pidFile string
}

// claimInstance takes the locks, the first one perhaps from the image that executed this one.
func claimInstance(c *config.Config) (*instance, error) {
	if err := os.MkdirAll(c.PIDDir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot create pid_dir: %w", err)
	}
	root := state.NewRoot(c.RootDir, c.OngoingDeploymentTracking)
	if err := root.Create(); err != nil {
		return nil, err
	}
	i := &instance{pidFile: pidFile(c)}
	var err error
	if i.lock = inheritedLock(i.lockPath()); i.lock == nil {
		if i.lock, err = takeLock(i.lockPath()); err != nil {
			return nil, explainLock(err, c, c.PIDDir)
		}
	}
	if i.root, err = takeLock(filepath.Join(root.Journal(), "agent.lock")); err != nil {
		_ = i.lock.Close()
		return nil, explainLock(err, c, c.RootDir)
	}
	return i, nil
}

// takeLock locks a file, which it makes. It tries for a moment: somebody who asks for the status holds it for an
// instant.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot open the agent's lock: %w", err)
	}
	for range 10 { // somebody who asks for the status holds it for an instant
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	_ = f.Close()
	return nil, fmt.Errorf("cannot lock %q: %w", path, err)
}

// writePID names this process in the pid file. Without room on the disk there is none: an old one would name a stranger.
func (i *instance) writePID() error {
	err := atomicfile.Write(i.pidFile, fmt.Appendln(nil, os.Getpid()), 0o644)
	if err != nil {
		_ = os.Remove(i.pidFile)
	}
	return err
}

func (i *instance) lockPath() string { return i.pidFile + ".lock" }

// release removes the pid file. The lock files stay: removing one would let two agents lock two files of one name.
func (i *instance) release() {
	_ = os.Remove(i.pidFile)
	_ = i.root.Close()
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

// explainLock names the process that holds a lock, where it is known.
func explainLock(err error, c *config.Config, dir string) error {
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return err
	}
	if pid := livingPID(c); pid != 0 {
		return fmt.Errorf("%w as PID %d; there can be one for %q", errRunning, pid, dir)
	}
	return fmt.Errorf("%w; there can be one for %q", errRunning, dir)
}

// runningPID returns the pid of the agent that runs, 0 when none does. It never disturbs that agent. An agent of 2.x
// keeps a pid file, but no lock.
func runningPID(c *config.Config) (int, error) {
	pid := livingPID(c)
	if pid != 0 {
		return pid, nil
	}
	path := pidFile(c) + ".lock"
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("cannot look at the agent's lock: %w", err)
	}
	defer func() { _ = f.Close() }()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return 0, fmt.Errorf("cannot tell which process is the agent: %q is locked, but %q names no agent that runs", path, pidFile(c))
	case err != nil:
		return 0, fmt.Errorf("cannot look at the agent's lock: %w", err)
	}
	return 0, nil
}

// livingPID returns the pid in the pid file if that process is an agent: a file that was left behind may name a stranger.
func livingPID(c *config.Config) int {
	text, err := os.ReadFile(pidFile(c))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return 0
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return 0
	}
	argv := strings.Split(string(cmdline), "\x00")
	if !strings.HasPrefix(filepath.Base(argv[0]), agentProgram) || (len(argv) > 1 && argv[1] == hookRunner) {
		return 0
	}
	return pid
}
