package hooks

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// killWait bounds the wait for processes that were sent SIGKILL; one that the kernel holds for a dead disk may never
// go.
const killWait = 5 * time.Second

// script runs the n-th script and returns how it ended; when it succeeded only the outcome is set.
func (r *runner) script(n int, s jobScript) Result {
	v := verdict{job: r.job, script: s}
	path, res := v.locate()
	if res != nil {
		return *res
	}
	r.transcript.header("Script - " + s.Location)
	if res := v.makeExecutable(path); res != nil {
		return *res
	}
	c, err := r.job.commandFor(s, path, r.session)
	if err != nil {
		return r.notStarted(v, err.Error())
	}
	in := newCell(r.cgroup, n)
	defer in.close()
	kills := oomKills()
	begin := time.Now()
	run, err := r.launch(c, in)
	if err != nil {
		return r.notStarted(v, explainStart(c, err))
	}
	timedOut := !run.ended(time.Until(begin.Add(s.Timeout)))
	if timedOut {
		run.terminate(r.job.Options.KillGrace)
	}
	v.took, v.oom = time.Since(begin), oomKills() > kills
	open := run.drain(r, begin.Add(s.Timeout), timedOut)
	run.flush()
	return v.of(run.status(), timedOut, open)
}

// notStarted is the result of a script that could not be started. The cause goes to the log, where su or a shell would
// have left it.
func (r *runner) notStarted(v verdict, cause string) Result {
	s := &stream{t: r.transcript, mark: "[stderr]"}
	_, _ = fmt.Fprintf(s, "cannot start %s: %s\n", v.script.Location, cause)
	return v.failed("could not be started: %s", cause)
}

// locate returns the path of the script. Neither ".." nor a link may lead out of the archive.
func (v verdict) locate() (string, *Result) {
	refuse := func(outcome Outcome, format string, args ...any) (string, *Result) {
		res := v.result(outcome, format, args...)
		return "", &res
	}
	local := strings.TrimLeft(v.script.Location, "/")
	if !filepath.IsLocal(local) {
		return refuse(Error, "was refused: it leads out of the revision")
	}
	path := filepath.Join(v.job.Archive, local)
	archive, err := filepath.EvalSymlinks(v.job.Archive)
	if err != nil {
		return refuse(ScriptMissing, "does not exist: the revision itself is missing at %s", v.job.Archive)
	}
	real, err := filepath.EvalSymlinks(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR):
		return refuse(ScriptMissing, "does not exist at %s", path)
	case err != nil:
		return refuse(Error, "cannot be found: %v", err)
	case !strings.HasPrefix(real, archive+"/"):
		return refuse(Error, "was refused: a link leads out of the revision, to %s", real)
	}
	return path, nil
}

// makeExecutable gives the script its x bits if it has none at all. It works on a descriptor, so that what was checked
// is what is changed.
func (v verdict) makeExecutable(path string) *Result {
	not := func(format string, args ...any) *Result {
		res := v.result(NotExecutable, format, args...)
		return &res
	}
	f, err := os.OpenFile(path, unix.O_PATH, 0)
	if err != nil {
		return not("cannot be made executable: %v", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return not("cannot be made executable: %v", err)
	}
	if !info.Mode().IsRegular() {
		res := v.failed("could not be started: it is no regular file")
		return &res
	}
	if info.Mode()&0o111 != 0 {
		return nil
	}
	// fchmod does not work on a descriptor that is only a path; its link below /proc does.
	if err := os.Chmod(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), info.Mode()|0o111); err != nil {
		var perr *fs.PathError
		if errors.As(err, &perr) {
			err = perr.Err
		}
		return not("is not executable and cannot be made so: %v", err)
	}
	return nil
}

// run is a script that was started.
type run struct {
	process *os.Process
	state   *os.ProcessState // set before exited is closed
	exited  chan struct{}
	cell    *cell
	outputs []*output
}

// output is one of the two streams of a script.
type output struct {
	name   string
	pipe   *os.File
	stream *stream
	closed chan struct{}
}

// launch starts the command and the reading of its outputs.
func (r *runner) launch(c command, in *cell) (*run, error) {
	stdin, err := closedPipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = stdin.Close() }()
	files := []*os.File{stdin}
	run := &run{exited: make(chan struct{}), cell: in}
	for _, name := range []string{"stdout", "stderr"} {
		read, write, err := outputPipe()
		if err != nil {
			run.abandon()
			return nil, err
		}
		defer func() { _ = write.Close() }()
		files = append(files, write)
		run.outputs = append(run.outputs, &output{
			name: name, pipe: read, stream: &stream{t: r.transcript, mark: "[" + name + "]"}, closed: make(chan struct{}),
		})
	}
	if run.process, err = c.start(r.job, in, files); err != nil {
		run.abandon()
		return nil, err
	}
	for _, o := range run.outputs {
		r.readers.Go(o.read)
	}
	go func() {
		run.state, _ = run.process.Wait()
		close(run.exited)
	}()
	return run, nil
}

func (run *run) abandon() {
	for _, o := range run.outputs {
		_ = o.pipe.Close()
	}
}

func (o *output) read() {
	defer func() { _ = o.pipe.Close() }()
	buf := make([]byte, 32<<10)
	_, _ = io.CopyBuffer(struct{ io.Writer }{o.stream}, struct{ io.Reader }{o.pipe}, buf)
	o.stream.flush()
	close(o.closed)
}

// ended waits until the script itself has exited.
func (run *run) ended(limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-run.exited:
		return true
	case <-timer.C:
		return false
	}
}

// status is how the script ended; nil when it has not.
func (run *run) status() *syscall.WaitStatus {
	select {
	case <-run.exited:
	default:
		return nil
	}
	status, ok := run.state.Sys().(syscall.WaitStatus)
	if !ok {
		return nil
	}
	return &status
}

// terminate ends the script and all that it has started. What it answers to SIGTERM does not matter, how long it takes
// does.
func (run *run) terminate(grace time.Duration) {
	group := run.process.Pid
	_ = unix.Kill(-group, unix.SIGTERM)
	for _, pid := range run.cell.strays(group) {
		_ = unix.Kill(pid, unix.SIGTERM)
	}
	if run.gone(grace) {
		return
	}
	for deadline := time.Now().Add(killWait); time.Now().Before(deadline); {
		if groupAlive(group) {
			_ = unix.Kill(-group, unix.SIGKILL)
		}
		run.cell.kill(group)
		if run.gone(100 * time.Millisecond) {
			return
		}
	}
}

// gone waits until nothing of the script is left.
func (run *run) gone(limit time.Duration) bool {
	deadline := time.Now().Add(limit)
	if !run.ended(limit) {
		return false
	}
	group := run.process.Pid
	for groupAlive(group) || len(run.cell.strays(group)) > 0 {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(20 * time.Millisecond)
	}
	return true
}

// drain reads the outputs on after the script has ended. It returns those that stay open; their readers go on.
func (run *run) drain(r *runner, deadline time.Time, timedOut bool) []string {
	limit := r.job.Options.Drain
	if r.job.Options.Compat1x && !timedOut {
		limit = max(time.Until(deadline), 0)
	}
	if timedOut {
		limit = min(limit, time.Second)
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	var open []string
	for _, o := range run.outputs {
		select {
		case <-o.closed:
			continue
		default:
		}
		select {
		case <-o.closed:
		case <-timer.C:
			timer.Reset(0)
			open = append(open, o.name)
			r.warnings = append(r.warnings, o.warning())
		}
	}
	return open
}

// warning names who keeps the output open.
func (o *output) warning() string {
	who := strings.Join(holders(o.pipe), ", ")
	if who == "" {
		who = "an unknown process"
	}
	return fmt.Sprintf("%s is kept open after the script's end by %s; its output goes to the log, but redirect it in the script", o.name, who)
}

// flush makes entries of lines that are not finished, so that they are in the tail.
func (run *run) flush() {
	for _, o := range run.outputs {
		o.stream.flush()
	}
}

// closedPipe returns a standard input that is at its end.
func closedPipe() (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return r, w.Close()
}

// outputPipe returns a pipe whose write end blocks, as programs expect of their outputs, while the runtime polls the
// read end. The two ends of os.Pipe are alike.
func outputPipe() (read, write *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, err
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "output"), os.NewFile(uintptr(fds[1]), "output"), nil
}
