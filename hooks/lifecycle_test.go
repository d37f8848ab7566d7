package hooks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"codedeploy-agent/appspec"
)

// The hook runs while the agent that started it is killed; the next agent gets the true result, and the script has run
// once.
func TestAgentIsKilled(t *testing.T) {
	for name, c := range map[string]struct {
		end     string
		outcome Outcome
		code    int
	}{
		"the hook succeeds": {"exit 0", Succeeded, 0},
		"the hook fails":    {"exit 9", Failed, 9},
	} {
		t.Run(name, func(t *testing.T) {
			l := newBench(t)
			l.sh("a.sh", fmt.Sprintf("echo x >> %s\nwhile [ ! -e %s ]; do sleep 0.02; done\necho end\n%s", l.path("runs"), l.path("go-on"), c.end))
			agent := l.otherAgent()
			eventually(t, "a running script", func() bool { return exists(l.path("runs")) })
			_ = agent.Process.Kill()
			_ = agent.Wait()

			e, err := Attach(l.req.Record)
			if err != nil {
				t.Fatal(err)
			}
			short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if _, err := e.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a wait that is given up: %v", err)
			}
			if err := os.WriteFile(l.path("go-on"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			res := waitFor(t, e)
			if res.Outcome != c.outcome || res.ExitCode != c.code || !strings.Contains(res.Log, "[stdout]end\n") {
				t.Errorf("result %+v", res)
			}
			if got := l.read(l.path("runs")); got != "x\n" {
				t.Errorf("the script ran %d times", len(got)/2)
			}
			// And an agent that comes when all is over.
			late, err := Attach(l.req.Record)
			if err != nil {
				t.Fatal(err)
			}
			if again := waitFor(t, late); again.Outcome != c.outcome || again.Log != res.Log {
				t.Errorf("a late agent gets %+v", again)
			}
		})
	}
}

func TestRunnerIsKilled(t *testing.T) {
	l := newBench(t)
	l.sh("a.sh", "echo $$ > "+l.path("pid")+"; exec sleep 60")
	e := l.start()
	l.pidIn("pid")
	if err := unix.Kill(l.runnerPID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	res := waitFor(t, e)
	if res.Outcome != Lost || !strings.Contains(res.Message, "was killed") {
		t.Errorf("result %+v", res)
	}
	e, err := Attach(l.req.Record)
	if err != nil {
		t.Fatal(err)
	}
	if res := waitFor(t, e); res.Outcome != Lost {
		t.Errorf("after a restart of the agent: %+v", res)
	}
	if _, err := Start(t.Context(), l.req, nopLog); err == nil {
		t.Error("a lost hook was started again")
	}
}

func TestHostIsRestarted(t *testing.T) {
	l := newBench(t)
	if err := os.MkdirAll(l.req.Record, 0o700); err != nil {
		t.Fatal(err)
	}
	// The pid of this test: a process lives under it, but it is a stranger.
	if err := writeJSON(record(l.req.Record).started(), started{Version: 1, PID: os.Getpid(), BootID: "another", Unit: "x.scope"}); err != nil {
		t.Fatal(err)
	}
	e, err := Attach(l.req.Record)
	if err != nil {
		t.Fatal(err)
	}
	if res := waitFor(t, e); res.Outcome != Lost || !strings.Contains(res.Message, "the host was restarted") || !e.Detached() {
		t.Errorf("result %+v", res)
	}
}

func TestNothingWasStarted(t *testing.T) {
	for name, make := range map[string]func(*bench){
		"no record": func(*bench) {},
		"an empty record": func(l *bench) {
			_ = os.MkdirAll(l.req.Record, 0o700)
		},
		"the agent died before it could start the runner": func(l *bench) {
			_ = record(l.req.Record).prepare(l.req)
		},
		"the agent died while the runner waited to go": func(l *bench) {
			l.req.Options = l.req.Options.withDefaults()
			_ = record(l.req.Record).prepare(l.req)
			alive, err := record(l.req.Record).makePipe()
			if err != nil {
				l.t.Fatal(err)
			}
			pid, release, err := spawn(l.req, alive)
			if err != nil {
				l.t.Fatal(err)
			}
			_ = alive.Close()
			time.AfterFunc(200*time.Millisecond, func() { _ = release.Close() })
			if _, err := Attach(l.req.Record); !errors.Is(err, ErrNotStarted) {
				l.t.Errorf("while the runner lives: %v", err)
			}
			reap(pid)
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newBench(t).sh("a.sh", "echo ran")
			make(l)
			if _, err := Attach(l.req.Record); !errors.Is(err, ErrNotStarted) {
				t.Errorf("error %v", err)
			}
			if res := l.run(); res.Outcome != Succeeded {
				t.Errorf("starting it now: %+v", res)
			}
		})
	}
}

func TestStartIsGivenUp(t *testing.T) {
	l := newBench(t)
	l.sh("a.sh", "touch "+l.path("ran"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, l.req, nopLog); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	eventually(t, "an end of the runner", func() bool { return !record(l.req.Record).isHeld() })
	if exists(l.path("ran")) {
		t.Error("the script ran")
	}
	if _, err := Attach(l.req.Record); !errors.Is(err, ErrNotStarted) {
		t.Errorf("attaching: %v", err)
	}
}

func TestForeignRecords(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "torn": `{"Version":1,"Outc`, "foreign": "hello"} {
		t.Run(name, func(t *testing.T) {
			l := newBench(t)
			_ = os.MkdirAll(l.req.Record, 0o700)
			for _, f := range []string{record(l.req.Record).started(), record(l.req.Record).result()} {
				if err := os.WriteFile(f, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			e, err := Attach(l.req.Record)
			if err != nil {
				t.Fatal(err)
			}
			if res := waitFor(t, e); res.Outcome != Lost {
				t.Errorf("result %+v", res)
			}
		})
	}
}

// Somebody has cleaned up in the record while the hook runs.
func TestPipeIsRemoved(t *testing.T) {
	l := newBench(t)
	l.sh("a.sh", "while [ ! -e "+l.path("go-on")+" ]; do sleep 0.02; done; exit 8")
	l.start()
	l.runnerPID()
	if err := os.Remove(record(l.req.Record).alive()); err != nil {
		t.Fatal(err)
	}
	e, err := Attach(l.req.Record)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(300*time.Millisecond, func() { _ = os.WriteFile(l.path("go-on"), nil, 0o644) })
	if res := waitFor(t, e); res.Outcome != Failed || res.ExitCode != 8 {
		t.Errorf("result %+v", res)
	}
}

// A result of a newer agent's runner has fields and a version that this one does not know.
func TestNewerRecord(t *testing.T) {
	l := newBench(t)
	_ = os.MkdirAll(l.req.Record, 0o700)
	_ = os.WriteFile(record(l.req.Record).result(), []byte(`{"Version":7,"Outcome":"Failed","ExitCode":4,"Mood":"blue"}`), 0o600)
	e, err := Attach(l.req.Record)
	if err != nil {
		t.Fatal(err)
	}
	if res := waitFor(t, e); res.Outcome != Failed || res.ExitCode != 4 {
		t.Errorf("result %+v", res)
	}
}

// A script that ignores SIGTERM, with children inside and outside of its group that do so, too.
func TestDeafTree(t *testing.T) {
	l := newBench(t)
	l.misbehave("a.sh", "deaf", l.path("pids")).last(func(s *appspec.Script) { s.Timeout = 2 * time.Second })
	res := l.run()
	if res.Outcome != TimedOut || res.Signal != "SIGKILL" || !strings.Contains(res.Message, "had to be killed") {
		t.Errorf("result %+v", res)
	}
	pids := strings.Fields(l.read(l.path("pids")))
	inGroup, _ := strconv.Atoi(pids[0])
	outside, _ := strconv.Atoi(pids[1])
	eventually(t, "an end of the child in the group", func() bool { return !alive(inGroup) })
	if !l.hasCgroup() {
		_ = unix.Kill(outside, unix.SIGKILL)
		t.Log("NOT RUN HERE (needs root and cgroup v2): a child that left the group is killed")
		return
	}
	eventually(t, "an end of the child outside of the group", func() bool { return !alive(outside) })
}

// hasCgroup tells whether the last hook had a cgroup of its own.
func (l *bench) hasCgroup() bool {
	dir, err := ownCgroup()
	if err != nil {
		return false
	}
	s, err := readJSON[started](record(l.req.Record).started())
	return err == nil && strings.HasPrefix(s.Cgroup, filepath.Join(dir, cgroupPrefix))
}

// A time limit ends what its own script has started, not the application that an earlier script has.
func TestDaemonOfAnEarlierScriptLives(t *testing.T) {
	l := newBench(t)
	l.sh("start.sh", "setsid sleep 60 >/dev/null 2>&1 </dev/null & echo $! > "+l.path("pid"))
	l.sh("hang.sh", "exec sleep 60").last(func(s *appspec.Script) { s.Timeout = 200 * time.Millisecond })
	res := l.run()
	pid := l.pidIn("pid")
	if res.Outcome != TimedOut || res.Script != "hang.sh" {
		t.Errorf("result %+v", res)
	}
	if !alive(pid) {
		t.Error("the daemon is gone")
	}
}

func TestDaemonThatClosedItsOutputsLives(t *testing.T) {
	l := newBench(t)
	l.sh("start.sh", "sleep 60 >/dev/null 2>&1 & echo $! > "+l.path("pid"))
	res := l.run()
	pid := l.pidIn("pid")
	if res.Outcome != Succeeded || len(res.Warnings) > 0 || !alive(pid) {
		t.Errorf("result %+v, alive %t", res, alive(pid))
	}
	runner := l.runnerPID()
	eventually(t, "an end of the runner", func() bool { return !alive(runner) })
}

func TestDaemonThatKeepsItsOutputs(t *testing.T) {
	l := newBench(t)
	l.sh("start.sh", fmt.Sprintf("'%s' misbehave talker %s & echo $! > %s; echo done", self(t), l.path("stop"), l.path("pid")))
	res := l.run()
	pid := l.pidIn("pid")
	if res.Outcome != Succeeded || len(res.Warnings) != 2 {
		t.Fatalf("result %+v", res)
	}
	if want := fmt.Sprintf("stdout is kept open after the script's end by process %d (%s misbehave talker", pid, self(t)); !strings.Contains(res.Warnings[0], want) {
		t.Errorf("warning %q", res.Warnings[0])
	}
	// It goes on to be logged, and does not die of a closed pipe.
	before := strings.Count(l.read(l.req.ScriptsLog), "[stdout]line")
	eventually(t, "more output", func() bool { return strings.Count(l.read(l.req.ScriptsLog), "[stdout]line") > before+5 })
	runner := l.runnerPID()
	if !alive(pid) || !alive(runner) {
		t.Errorf("daemon alive %t, relay alive %t", alive(pid), alive(runner))
	}
	_ = os.WriteFile(l.path("stop"), nil, 0o644)
	eventually(t, "an end of the relay", func() bool { return !alive(runner) })
}

func TestRelayEndsWhenItsScopeIsStopped(t *testing.T) {
	l := newBench(t)
	l.sh("start.sh", "sleep 60 & echo $! > "+l.path("pid"))
	res := l.run()
	l.pidIn("pid")
	if res.Outcome != Succeeded {
		t.Errorf("result %+v", res)
	}
	runner := l.runnerPID()
	_ = unix.Kill(runner, unix.SIGTERM)
	eventually(t, "an end of the relay", func() bool { return !alive(runner) })
}

// At the host's shutdown every process is signalled. The runner reports how the script took it.
func TestRunnerOutlivesSignals(t *testing.T) {
	l := newBench(t)
	l.sh("a.sh", "trap 'echo asked to stop; exit 5' TERM; echo $$ > "+l.path("pid")+"; while :; do sleep 0.02; done")
	e := l.start()
	pid := l.pidIn("pid")
	for _, s := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGTERM} {
		_ = unix.Kill(l.runnerPID(), s)
	}
	_ = unix.Kill(pid, unix.SIGTERM)
	if res := waitFor(t, e); res.Outcome != Failed || res.ExitCode != 5 || !strings.Contains(res.Log, "asked to stop") {
		t.Errorf("result %+v", res)
	}
}

func TestCompat1xOutputsLeftOpen(t *testing.T) {
	l := newBench(t)
	l.req.Options.Compat1x = true
	l.sh("start.sh", "sleep 60 2>/dev/null & echo $! > "+l.path("pid")).last(func(s *appspec.Script) { s.Timeout = time.Second })
	res := l.run()
	pid := l.pidIn("pid")
	if res.Outcome != OutputsLeftOpen || !alive(pid) || !strings.Contains(res.Message, "kept its stdout open") {
		t.Errorf("result %+v, alive %t", res, alive(pid))
	}
}

// Hooks leave nothing behind: no process, zombie, descriptor or cgroup. goleak looks after goroutines.
func TestManyHooks(t *testing.T) {
	count := 60
	if s := os.Getenv("HOOKS_TEST_MANY"); s != "" {
		count, _ = strconv.Atoi(s)
	}
	l := newBench(t)
	l.sh("a.sh", "echo hello; (sleep 0.01 &) ; exit 0")
	l.run()
	eventually(t, "quiet", func() bool { return len(children()) == 0 })
	files := openFiles(t)
	for range count {
		l.again()
		if res := l.run(); res.Outcome != Succeeded {
			t.Fatalf("result %+v", res)
		}
	}
	eventually(t, "an end of all runners", func() bool { return len(children()) == 0 })
	if now := openFiles(t); now != files {
		t.Errorf("%d open files, before %d", now, files)
	}
	if dir, err := ownCgroup(); err == nil {
		if left, _ := filepath.Glob(filepath.Join(dir, cgroupPrefix+thisDeployment+"-*")); len(left) > 0 {
			t.Errorf("cgroups left behind: %v", left)
		}
	}
}

func children() []int {
	self := strconv.Itoa(os.Getpid())
	return slices.DeleteFunc(processes(), func(pid int) bool {
		fields, err := processStat(pid)
		return err != nil || fields[1] != self
	})
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestReapInherited(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "exit 0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a zombie", func() bool {
		fields, err := processStat(cmd.Process.Pid)
		return err == nil && fields[0] == "Z"
	})
	ReapInherited()
	eventually(t, "an end of the zombie", func() bool { return !slices.Contains(children(), cmd.Process.Pid) })
	_ = cmd.Process.Release()
}
