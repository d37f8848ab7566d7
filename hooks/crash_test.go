package hooks

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"codedeploy-agent/appspec"
)

// Whenever the agent is killed, the next one gets the true result of a script that ran once, or is told that nothing
// was started and nothing runs.
func TestAgentIsKilledAtAnyMoment(t *testing.T) {
	l := newBench(t)
	l.sh("a.sh", "echo x >> "+l.path("runs")+"; sleep 0.02; echo end")
	notStarted := 0
	for i := range 25 {
		l.again()
		_ = os.Remove(l.path("runs"))
		agent := l.startAgent()
		time.Sleep(time.Duration(rand.IntN(120)) * time.Millisecond)
		_ = agent.Process.Kill()
		_ = agent.Wait()

		e, err := Attach(l.req.Record)
		runs := 1
		if err == nil {
			var res Result
			res, err = e.Wait(t.Context())
			if err == nil && (res.Outcome != Succeeded || !strings.Contains(res.Log, "[stdout]end\n")) {
				t.Fatalf("round %d: result %+v", i, res)
			}
		}
		if errors.Is(err, ErrNotStarted) {
			runs = 0
			notStarted++
		} else if err != nil {
			t.Fatal(err)
		}
		b, _ := os.ReadFile(l.path("runs"))
		if got := strings.Count(string(b), "x"); got != runs {
			t.Fatalf("round %d: the script ran %d times, want %d", i, got, runs)
		}
	}
	t.Logf("not started: %d of 25", notStarted)
}

// startAgent starts the hook from another process, without waiting for anything.
func (l *bench) startAgent() *exec.Cmd {
	l.t.Helper()
	cmd := l.agentCommand()
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	return cmd
}

// Whenever the runner is killed, the hook is lost, or its result was there already; it is never said to have succeeded
// when it has not.
func TestRunnerIsKilledAtAnyMoment(t *testing.T) {
	l := newBench(t)
	l.sh("a.sh", "sleep 0.05; echo x > "+l.path("done"))
	outcomes := map[Outcome]int{}
	for range 25 {
		l.again()
		_ = os.Remove(l.path("done"))
		e := l.start()
		pid := l.runnerPID()
		time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond)
		finished := exists(l.path("done"))
		if alive(pid) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		res := waitFor(t, e)
		outcomes[res.Outcome]++
		switch {
		case res.Outcome == Lost:
		case res.Outcome == Succeeded && (finished || exists(l.path("done"))):
		default:
			t.Fatalf("result %+v, the script had finished: %t", res, finished)
		}
	}
	t.Log(outcomes)
}

// An agent that replaces its own image keeps its runners as children; it has to take away their zombies.
func TestAgentReplacesItself(t *testing.T) {
	l := newBench(t)
	l.sh("a.sh", "touch "+l.path("up")+"; while [ ! -e "+l.path("go")+" ]; do sleep 0.02; done; exit 4")
	cmd := l.agentCommand()
	cmd.Args = append(cmd.Args[:2], "reexec", l.req.Record, l.path("up"), l.path("go"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := string(out); !strings.Contains(got, `"ExitCode":4`) || !strings.HasSuffix(got, "children left: 0\n") {
		t.Errorf("it says %s", got)
	}
}

// What the service was started with is what scripts get, whatever the runtime of the agent's program does to itself.
func TestServiceSettingsReachTheScript(t *testing.T) {
	l := newBench(t)
	l.sh("a.sh", "umask; ulimit -Sn; ulimit -Hn; ulimit -c; grep SigIgn /proc/self/status | tr -d '\\t'; pwd")
	cmd := l.agentCommand()
	cmd.Args = append([]string{"sh", "-c", `trap "" HUP INT PIPE; umask 077; ulimit -c 0; ulimit -Sn 300; ulimit -Hn 900; cd /; exec "$0" "$@"`}, cmd.Args...)
	cmd.Path = "/bin/sh"
	if out, err := cmd.Output(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	e, err := Attach(l.req.Record)
	if err != nil {
		t.Fatal(err)
	}
	want := "[stdout]0077\n[stdout]300\n[stdout]900\n[stdout]0\n[stdout]SigIgn:0000000000000000\n[stdout]/\n"
	if res := waitFor(t, e); !strings.HasSuffix(res.Log, want) {
		t.Errorf("log\n%s\nwant\n%s", res.Log, want)
	}
}

func TestOutOfMemory(t *testing.T) {
	needsRoot(t, "a script that is killed because memory ran out")
	group := filepath.Join("/sys/fs/cgroup/memory", fmt.Sprintf("hooks-test-%d", os.Getpid()))
	limit := filepath.Join(group, "memory.limit_in_bytes")
	if exists("/sys/fs/cgroup/cgroup.controllers") {
		group = filepath.Join("/sys/fs/cgroup", filepath.Base(group))
		limit = filepath.Join(group, "memory.max")
	}
	err := os.Mkdir(group, 0o755)
	t.Cleanup(func() {
		eventually(t, "an empty cgroup", func() bool { return !exists(group) || unix.Rmdir(group) == nil })
	})
	if err == nil {
		err = os.WriteFile(limit, []byte("100000000"), 0)
	}
	if err != nil {
		t.Logf("NOT RUN HERE (needs a memory controller): %v", err)
		t.SkipNow()
	}
	l := newBench(t)
	l.sh("a.sh", "exec head -c 300000000 /dev/zero | tail -n 1 >/dev/null; exit 1")
	cmd := l.agentCommand()
	cmd.Args = append([]string{"sh", "-c", `echo $$ > "` + group + `/cgroup.procs"; exec "$0" "$@"`}, cmd.Args...)
	cmd.Path = "/bin/sh"
	if out, err := cmd.Output(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	e, err := Attach(l.req.Record)
	if err != nil {
		t.Fatal(err)
	}
	if res := waitFor(t, e); res.Outcome != Failed || !res.OOMKilled || !strings.Contains(res.Message, "memory ran out") {
		t.Errorf("result %+v", res)
	}
}

// Very many processes that ignore SIGTERM.
func TestManyDeafChildren(t *testing.T) {
	l := newBench(t)
	l.sh("a.sh", `trap '' TERM; i=0
while [ $i -lt 150 ]; do sleep 61 & i=$((i+1)); done
echo $$ > `+l.path("pid")+`; wait`).last(func(s *appspec.Script) { s.Timeout = 1500 * time.Millisecond })
	res := l.run()
	if res.Outcome != TimedOut {
		t.Errorf("result %+v", res)
	}
	group := l.pidIn("pid")
	if groupAlive(group) {
		t.Error("some are left")
	}
}

func BenchmarkHook(b *testing.B) {
	dir := b.TempDir()
	req := Request{
		Event: AfterInstall, Archive: filepath.Join(dir, "deployment-archive"), DeploymentID: "d-1", ScriptsLog: filepath.Join(dir, "scripts.log"),
		Scripts: []appspec.Script{{Location: "a.sh"}},
	}
	if err := os.Mkdir(req.Archive, 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(req.Archive, "a.sh"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		req.Record = filepath.Join(dir, fmt.Sprint(i))
		e, err := Start(b.Context(), req, nopLog)
		if err != nil {
			b.Fatal(err)
		}
		if res, err := e.Wait(b.Context()); err != nil || res.Outcome != Succeeded {
			b.Fatal(res, err)
		}
	}
}

// The speed at which a script can write.
func BenchmarkTranscript(b *testing.B) {
	for name, line := range map[string]string{"short lines": strings.Repeat("x", 19) + "\n", "long lines": strings.Repeat("x", 199) + "\n"} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			tr := newTranscript(job{
				DeploymentID: "d-1", ScriptsLog: filepath.Join(dir, "s.log"), DeploymentsLog: filepath.Join(dir, "d.log"),
				Options: Options{MaxLogBytes: 8 << 20, LogFiles: 2},
			})
			s := &stream{t: tr, mark: "[stdout]"}
			chunk := []byte(strings.Repeat(line, 32768/len(line)))
			b.SetBytes(int64(len(chunk)))
			for b.Loop() {
				_, _ = s.Write(chunk)
			}
		})
	}
}
