package hooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotStarted says that no script of a record has run and that nobody is going to run one: the hook may be started.
var ErrNotStarted = errors.New("the hook has not been started")

// Execution is a hook that was started, by this process or by an earlier one.
type Execution struct {
	record   record
	detached bool
}

// attachPatience is how long Attach waits for a runner to say whether it begins: longer than it may take to get ready.
const attachPatience = 2 * profileLimit

// Attach finds the execution of a record again. It returns ErrNotStarted when no script has begun and no runner lives. A
// runner that has not begun yet is given the time to do so, or to notice that the agent that started it is gone.
func Attach(path string) (*Execution, error) {
	e := &Execution{record: record(path)}
	for deadline := time.Now().Add(attachPatience); ; time.Sleep(10 * time.Millisecond) {
		// The order counts: a runner writes "started" while it holds the pipe.
		held := e.record.isHeld()
		s, err := readJSON[started](e.record.started())
		switch {
		case err == nil:
			e.detached = s.Unit != ""
			return e, nil
		case !errors.Is(err, fs.ErrNotExist) || exists(e.record.result()):
			return e, nil // a record that cannot be read is waited for, and lost if nobody holds it
		case !held:
			return nil, ErrNotStarted
		case time.Now().After(deadline):
			return e, nil
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Detached tells that the runner lives in a systemd scope of its own, so that it outlives the agent's unit.
func (e *Execution) Detached() bool { return e.detached }

// Wait returns the result as soon as the runner has left it; ctx ends the waiting, never the hook. When the runner is
// gone without a result the outcome is Lost, or, if it went before it ran anything, the error ErrNotStarted. Wait may
// be called again, and by several at once.
func (e *Execution) Wait(ctx context.Context) (Result, error) {
	for {
		err := e.awaitEnd(ctx)
		if ctx.Err() != nil {
			return Result{}, ctx.Err()
		}
		// Whoever held the pipe wrote the result before letting go, so it is looked for after the pipe.
		held := e.record.isHeld() || e.runsWithoutPipe()
		if res, ok := e.result(); ok {
			return res, nil
		}
		if !held {
			return e.lost()
		}
		if err != nil { // the pipe cannot be waited on: look again from time to time
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	}
}

// awaitEnd returns nil once nobody holds the pipe.
func (e *Execution) awaitEnd(ctx context.Context) error {
	f, err := os.OpenFile(e.record.alive(), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := f.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// runsWithoutPipe tells that the runner lives although somebody has removed its pipe.
func (e *Execution) runsWithoutPipe() bool {
	if exists(e.record.alive()) {
		return false
	}
	s, err := readJSON[started](e.record.started())
	if err != nil || s.BootID != bootID() {
		return false
	}
	start, err := processStart(s.PID)
	return err == nil && start == s.StartTime
}

func (e *Execution) result() (Result, bool) {
	res, err := readJSON[Result](e.record.result())
	switch {
	case err == nil:
		return res, true
	case errors.Is(err, fs.ErrNotExist):
		return Result{}, false
	default: // never by us: the file appears whole
		return lostResult(fmt.Sprintf("the result that the hook's runner left cannot be read (%v)", err)), true
	}
}

func (e *Execution) lost() (Result, error) {
	s, err := readJSON[started](e.record.started())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Result{}, ErrNotStarted
	case err != nil:
		return lostResult(fmt.Sprintf("the hook's runner is gone and its record cannot be read (%v)", err)), nil
	case s.BootID != bootID():
		return lostResult("the host was restarted while the hook ran"), nil
	default:
		return lostResult(fmt.Sprintf("the hook's runner (process %d) was killed before the hook had ended", s.PID)), nil
	}
}

func lostResult(cause string) Result {
	return Result{
		Version: recordVersion,
		Outcome: Lost,
		Message: fmt.Sprintf("The result of the hook is lost: %s. Its scripts may have run in part; look at the host, then deploy again.", cause),
	}
}
