package hooks

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"codedeploy-agent/systemd"
)

// RunnerMain is the program that Start starts: it runs the scripts of the record that its one argument names, and
// returns its exit code. main calls it before anything else, with the arguments after "hook-runner".
func RunnerMain(args []string) int {
	switch {
	case len(args) == 2 && args[0] == stageFlag:
		return stageMain(args[1])
	case len(args) != 1:
		fmt.Fprintln(os.Stderr, "hook-runner is called by the agent itself")
		return 2
	}
	if err := runRecord(record(args[0])); err != nil {
		fmt.Fprintln(os.Stderr, time.Now().Format(time.RFC3339), err)
		return 1
	}
	return 0
}

// maxWarnings keeps the result smaller than the room that is reserved for it.
const maxWarnings = 20

// runner carries out one job.
type runner struct {
	job        job
	record     record
	cgroup     string // the runner's own, where scripts may have theirs; "" when it shares the agent's
	session    session
	transcript *transcript
	readers    sync.WaitGroup // of all outputs that are still open
	warnings   []string
}

func runRecord(rec record) error {
	_ = os.WriteFile("/proc/self/comm", []byte("codedeploy-hook"), 0) // rather than "exe"
	closeOnExec()
	ended := catchSignals()
	j, err := readJSON[job](rec.job())
	if err != nil {
		return fmt.Errorf("cannot run a hook: %w", err)
	}
	o, ok := awaitOrder()
	if !ok {
		return nil // the agent has given up or is gone; nothing has run
	}
	unix.Umask(j.Umask)
	j.Options.Environ = os.Environ()
	r := &runner{job: j, record: rec, transcript: newTranscript(j)}
	cgroup, _ := systemd.CgroupOf(os.Getpid())
	if o.Cgroup != "" {
		cgroup = o.Cgroup
	}
	if o.Unit != "" || o.Cgroup != "" {
		r.cgroup = cgroup
	}
	if r.session, err = j.session(); err != nil {
		r.warnings = append(r.warnings, err.Error())
	}
	if r.session.umask >= 0 {
		unix.Umask(r.session.umask)
	}
	if err := r.deliver(r.event(started{
		Version: recordVersion, PID: os.Getpid(), BootID: bootID(), Unit: o.Unit, Cgroup: cgroup, Time: time.Now(),
	})); err != nil {
		return err
	}
	r.relay(ended)
	r.leaveCgroup(o.Cgroup)
	return nil
}

// awaitOrder waits until the agent has put this process where it belongs.
func awaitOrder() (o order, ok bool) {
	f := os.NewFile(goFD, "order")
	defer func() { _ = f.Close() }()
	return o, json.NewDecoder(f).Decode(&o) == nil
}

// closeOnExec keeps every descriptor but the standard ones from the scripts: also those that the agent's own parent
// let slip.
func closeOnExec() {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

// catchSignals keeps the runner alive to report how the script took the signal: the host's shutdown and "systemctl
// stop" of the scope signal both. A caught signal, unlike an ignored one, has its default action in the scripts, also
// when the agent itself was started with it ignored. The channel tells of those that end a runner with nothing left to
// report.
func catchSignals() <-chan os.Signal {
	heedRealTimeSignals()
	others := make(chan os.Signal, 1)
	signal.Notify(others, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM)
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGTERM)
	return ended
}

// heedRealTimeSignals gives the signals from 32 on their default action, which package signal cannot do for all of
// them. Programs such as make start their children with one ignored.
func heedRealTimeSignals() {
	var defaults [4]uint64 // the kernel's struct sigaction: SIG_DFL, no flags, an empty mask
	for sig := uintptr(32); sig <= 64; sig++ {
		_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&defaults)), 0, 8, 0, 0)
	}
}

// event runs the scripts.
func (r *runner) event(s started) Result {
	begin := time.Now()
	res := r.scripts(s)
	res.Version = recordVersion
	res.Log = r.transcript.end()
	res.Duration = time.Since(begin)
	res.Warnings = append(r.warnings, r.transcript.warnings()...)
	res.Warnings = res.Warnings[:min(len(res.Warnings), maxWarnings)]
	return res
}

func (r *runner) scripts(s started) Result {
	var err error
	if s.StartTime, err = processStart(s.PID); err == nil {
		// From here on the scripts may have run: without this record the agent would start them again.
		err = writeJSON(r.record.started(), s)
	}
	if err != nil {
		return Result{Outcome: Error, Message: sentence(fmt.Sprintf("No script of %s was run: the start cannot be recorded (%v)", r.job.Event, err))}
	}
	r.transcript.header("LifecycleEvent - " + r.job.Event)
	for i, s := range r.job.Scripts {
		if res := r.script(i+1, s); res.Outcome != Succeeded {
			return res
		}
	}
	return Result{Outcome: Succeeded}
}

// deliver leaves the result and lets go of the pipe, which wakes those who wait. A result that cannot be written is
// kept and tried again: the room is reserved, so this is a matter of a file system that recovers or of a record that is
// gone together with whoever wanted it.
func (r *runner) deliver(res Result) error {
	alive := os.NewFile(aliveFD, "alive")
	defer func() { _ = alive.Close() }()
	for said := false; ; time.Sleep(time.Second) {
		err := r.record.writeResult(res)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, fs.ErrNotExist):
			return err
		case !said:
			fmt.Fprintln(os.Stderr, time.Now().Format(time.RFC3339), err)
			said = true
		}
	}
}

// relay keeps reading what background processes of the scripts print, so that they go on to be logged and never die of
// a closed pipe. It ends with them, or when it is told to: stopping the scope signals all its processes.
func (r *runner) relay(ended <-chan os.Signal) {
	closed := make(chan struct{})
	go func() {
		r.readers.Wait()
		close(closed)
	}()
	select {
	case <-closed:
	case <-ended:
	}
}

// leaveCgroup goes back to the agent's cgroup and removes the one that was made for this hook.
func (r *runner) leaveCgroup(made string) {
	if made == "" {
		return
	}
	parent := filepath.Dir(made)
	if joinCgroup(parent, os.Getpid()) == nil {
		removeCgroup(made)
	}
}
