package hooks

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"codedeploy-agent/appspec"
	"codedeploy-agent/internal/atomicfile"
)

// recordVersion is that of job, started and result. A runner reads the job of the agent that started it, but its result
// may be read by a newer agent: fields are only ever added.
const recordVersion = 1

// record is the directory of one execution. It holds
//
//	job         what to run, written by Start
//	alive       a pipe that the runner holds open until the result is there; see isHeld
//	started     who runs it, written by the runner before the first script
//	result      how it ended
//	runner.log  what the runner itself had to complain about; normally empty
type record string

func (r record) file(name string) string { return filepath.Join(string(r), name) }
func (r record) job() string             { return r.file("job") }
func (r record) alive() string           { return r.file("alive") }
func (r record) started() string         { return r.file("started") }
func (r record) result() string          { return r.file("result") }
func (r record) reserve() string         { return r.file(".result") }
func (r record) runnerLog() string       { return r.file("runner.log") }

// job is what a runner is to do.
type job struct {
	Version        int
	Event          string
	Scripts        []jobScript
	Archive        string
	DeploymentID   string
	Variables      []string
	ScriptsLog     string
	DeploymentsLog string
	Options        Options
	// Umask is the service's; the runner may have been born from a thread with another one.
	Umask int
}

type jobScript struct {
	Location string
	RunAs    string
	Sudo     bool
	Timeout  time.Duration
}

// started names the runner.
type started struct {
	Version   int
	PID       int
	StartTime uint64 // in clock ticks since the boot, of /proc/PID/stat
	BootID    string
	Unit      string // the scope, "" when there is none
	Cgroup    string // the directory of the runner's cgroup, "" when unknown
	Time      time.Time
}

func newJob(r Request, umask int) job {
	j := job{
		Version: recordVersion, Event: r.Event, Archive: filepath.Clean(r.Archive), DeploymentID: r.DeploymentID, Variables: r.Variables,
		ScriptsLog: r.ScriptsLog, DeploymentsLog: r.DeploymentsLog, Options: r.Options, Umask: umask,
	}
	for _, s := range r.Scripts {
		j.Scripts = append(j.Scripts, newJobScript(s))
	}
	return j
}

func newJobScript(s appspec.Script) jobScript {
	if s.Timeout <= 0 {
		s.Timeout = defaultTimeout
	}
	return jobScript{Location: s.Location, RunAs: s.RunAs, Sudo: s.Sudo, Timeout: s.Timeout}
}

func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot write %q: %w", path, err)
	}
	return atomicfile.Write(path, append(b, '\n'), 0o600)
}

func readJSON[T any](path string) (v T, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("cannot read %q: %w", path, err)
	}
	return v, nil
}

// reserveSize is more than the largest result: 2,048 characters of log, six bytes each at worst, a message with some
// paths, and the warnings.
const reserveSize = 64 << 10

// reserveResult allocates the blocks of the result file while a full disk can still refuse the hook; a result that
// cannot be written would turn a finished hook into a lost one.
func (r record) reserveResult() error {
	f, err := os.OpenFile(r.reserve(), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("cannot reserve room for the result: %w", err)
	}
	defer func() { _ = f.Close() }()
	err = unix.Fallocate(int(f.Fd()), 0, 0, reserveSize)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		_, err = f.Write(make([]byte, reserveSize))
	}
	if err != nil {
		return fmt.Errorf("cannot reserve room for the result in %q: %w", string(r), err)
	}
	return nil
}

// writeResult replaces the reserve by the result. It needs no new block and no new name, so it works on a full disk.
func (r record) writeResult(res Result) error {
	b, err := json.Marshal(res)
	if err != nil {
		return fmt.Errorf("cannot write the result: %w", err)
	}
	b = append(b, '\n')
	f, err := os.OpenFile(r.reserve(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write the result: %w", err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteAt(b, 0); err != nil {
		return fmt.Errorf("cannot write the result: %w", err)
	}
	if err := errors.Join(f.Truncate(int64(len(b))), f.Sync()); err != nil {
		return fmt.Errorf("cannot write the result: %w", err)
	}
	if err := os.Rename(r.reserve(), r.result()); err != nil {
		return fmt.Errorf("cannot write the result: %w", err)
	}
	return atomicfile.SyncDir(string(r))
}

// makePipe makes the pipe "alive" anew and opens it both ways, so that the holder never blocks on it.
func (r record) makePipe() (*os.File, error) {
	if err := os.Remove(r.alive()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot replace %q: %w", r.alive(), err)
	}
	if err := unix.Mkfifo(r.alive(), 0o600); err != nil {
		return nil, fmt.Errorf("cannot make pipe %q: %w", r.alive(), err)
	}
	return os.OpenFile(r.alive(), os.O_RDWR|unix.O_NONBLOCK, 0)
}

// isHeld tells whether a runner lives that has not yet left its result. A fresh read end of a pipe that nobody has open
// for writing is at its end; otherwise a read has to wait. Unlike a process id this cannot name a stranger.
func (r record) isHeld() bool {
	fd, err := unix.Open(r.alive(), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	_, err = unix.Read(fd, make([]byte, 1))
	return errors.Is(err, unix.EAGAIN)
}
