package hooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"go.uber.org/zap"
)

// Descriptors that a runner is born with, beside the standard ones.
const (
	goFD    = 3 // reads the order to go
	aliveFD = 4 // the pipe "alive"
)

// programName is what "ps" shows, whatever file is run: by default that is /proc/self/exe, which stays the same program
// when a package upgrade has replaced the file.
const programName = "codedeploy-agent"

// order is what the agent tells a runner that waits to go.
type order struct {
	Unit   string // the scope that the runner is in
	Cgroup string // the cgroup that was made for it, to be removed at the end
}

// Start runs the request's scripts under a runner of their own. When it returns nil the runner lives, is in its scope
// if there is one, and may have begun. When it returns an error no script has run and none will. ctx bounds the
// starting alone.
//
// Start refuses a record in which scripts may have run already; what a Start that was interrupted has left is replaced.
func Start(ctx context.Context, req Request, log *zap.Logger) (*Execution, error) {
	if err := req.validate(); err != nil {
		return nil, err
	}
	req.Options = req.Options.withDefaults()
	req.Options.Environ = serviceEnviron(req.Options.Environ)
	rec := record(req.Record)
	if err := rec.prepare(req); err != nil {
		return nil, fmt.Errorf("cannot start hook %q: %w", req.Event, err)
	}
	alive, err := rec.makePipe()
	if err != nil {
		return nil, fmt.Errorf("cannot start hook %q: %w", req.Event, err)
	}
	defer func() { _ = alive.Close() }()

	pid, release, err := spawn(req, alive)
	if err != nil {
		return nil, fmt.Errorf("cannot start hook %q: cannot start its runner: %w", req.Event, err)
	}
	go reap(pid)
	defer func() { _ = release.Close() }() // closed without an order: the runner leaves

	o := place(ctx, req, pid, log)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("cannot start hook %q: %w", req.Event, err)
	}
	if err := json.NewEncoder(release).Encode(o); err != nil {
		return nil, fmt.Errorf("cannot start hook %q: its runner is gone: %w", req.Event, err)
	}
	log.Info("The hook has been started.", zap.String("event", req.Event), zap.String("deployment", req.DeploymentID),
		zap.Int("runner", pid), zap.String("unit", o.Unit))
	return &Execution{record: rec, detached: o.Unit != ""}, nil
}

// prepare makes the directories and writes the job.
func (r record) prepare(req Request) error {
	if err := os.MkdirAll(string(r), 0o700); err != nil {
		return err
	}
	if err := os.Chmod(string(r), 0o700); err != nil {
		return err
	}
	for _, f := range []string{r.started(), r.result()} {
		if _, err := os.Lstat(f); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("it was started before: %q exists", f)
		}
	}
	if r.isHeld() {
		return fmt.Errorf("it is running: a runner holds %q", r.alive())
	}
	// Only here, so that a runner never brings back the directory of a deployment that was removed. Whether there is a
	// log is no condition for a hook; the runner warns.
	for _, f := range []string{req.ScriptsLog, req.DeploymentsLog} {
		if f != "" {
			_ = os.MkdirAll(filepath.Dir(f), 0o755)
		}
	}
	if err := r.reserveResult(); err != nil {
		return err
	}
	// Unlike what follows it need not survive the host: a runner does not either.
	b, err := json.Marshal(newJob(req, currentUmask()))
	if err != nil {
		return err
	}
	return os.WriteFile(r.job(), b, 0o600)
}

// spawn starts the runner in a session of its own. The runner waits for an order on the pipe whose other end is
// returned.
func spawn(req Request, alive *os.File) (pid int, release *os.File, err error) {
	goRead, goWrite, err := os.Pipe()
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = goRead.Close() }()
	complaints, err := os.OpenFile(record(req.Record).runnerLog(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		_ = goWrite.Close()
		return 0, nil, err
	}
	defer func() { _ = complaints.Close() }()
	runner := req.Options.Runner
	cmd := exec.Command(runner[0], append(runner[1:len(runner):len(runner)], req.Record)...)
	cmd.Args[0] = programName
	cmd.Env = req.Options.Environ
	cmd.Stderr = complaints
	cmd.ExtraFiles = []*os.File{goRead, alive}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		_ = goWrite.Close()
		return 0, nil, err
	}
	pid = cmd.Process.Pid
	_ = cmd.Process.Release() // reap collects it
	return pid, goWrite, nil
}
