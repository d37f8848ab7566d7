package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"codedeploy-agent/internal/stub"
)

// times is how often a chaos test plays: a few times by default, as often as the environment says in a long run.
func times(t *testing.T, variable string, standard int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return standard
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s is %q", variable, text)
	}
	return n
}

// TestKilledAtRandomPointsOfWholeDeployments kills the agent with signal 9 at random instants and starts it again, until
// each deployment has ended: every one ends with a true report, and no script has run twice.
func TestKilledAtRandomPointsOfWholeDeployments(t *testing.T) {
	kills := times(t, "CODEDEPLOY_TEST_KILLS", 25)
	w := newWorld(t, stub.Options{LongPoll: 50 * time.Millisecond}, map[string]any{"wait_between_runs": "0.1"})
	events := []string{"ApplicationStop", "BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService"}
	for version := 1; kills > 0; version++ {
		_ = os.Remove(filepath.Join(w.dir, "trace"))
		fails := version%3 == 0
		hook := w.traced("sleep 0.0$(( $$ % 10 ))")
		if fails {
			hook = w.traced(`[ "$LIFECYCLE_EVENT" != ValidateService ] || exit 5`)
		}
		files := map[string]string{"appspec.yml": w.appSpec(events...), "hook.sh": hook}
		for i := range 40 {
			files[fmt.Sprintf("www/%d/page-%d.html", i%7, i)] = fmt.Sprintf("version %d", version)
		}
		d := w.begin(stub.DeployOptions{Revision: w.revision(files)})
		info, killed := w.playWithKills(d)
		kills -= killed
		w.judge(info, version, fails)
	}
	w.oneReport()
}

// playWithKills starts agents and kills them until the deployment has ended.
func (w *world) playWithKills(d *stub.Deployment) (stub.DeploymentInfo, int) {
	w.Helper()
	for killed := 0; killed < 60; killed++ {
		w.start()
		ctx, cancel := context.WithTimeout(w.Context(), time.Duration(20+rand.N(500))*time.Millisecond)
		info, err := d.Wait(ctx)
		cancel()
		w.kill()
		if err == nil {
			return info, killed
		}
	}
	w.start()
	info := w.finish(d)
	w.kill()
	return info, 60
}

// judge compares what the service was told with what happened on the host.
func (w *world) judge(info stub.DeploymentInfo, version int, fails bool) {
	w.Helper()
	want := stub.Succeeded
	if fails {
		want = stub.Failed
	}
	ran := map[string]int{}
	for _, line := range w.lines("trace") {
		ran[strings.Fields(line)[0]]++
	}
	for _, e := range info.Hosts[0].Events {
		if n := ran[e.Name]; n > 1 {
			w.Errorf("version %d: %s ran %d times", version, e.Name, n)
		}
		if e.Diagnostics == nil {
			continue
		}
		switch code := e.Diagnostics.ErrorCode; {
		case code == 0, fails && e.Name == "ValidateService" && code == 4:
		default:
			w.Errorf("version %d: %s is reported with code %d: %s", version, e.Name, code, e.Diagnostics.Message)
		}
	}
	if info.Status != want {
		w.Errorf("version %d: the deployment is %s, want %s (%s)", version, info.Status, want, info.Message)
	}
	for i := range 40 {
		got := strings.Join(w.lines(fmt.Sprintf("www/%d/page-%d.html", i%7, i)), "")
		if got != fmt.Sprintf("version %d", version) {
			w.Errorf("version %d: a page holds %q", version, got)
		}
	}
}

// TestTheRunnerOfAHookIsKilled: nobody can know how the script ended, and nobody pretends to.
func TestTheRunnerOfAHookIsKilled(t *testing.T) {
	w := newWorld(t, stub.Options{LongPoll: time.Second}, nil)
	w.start()
	revision := w.revision(map[string]string{
		"appspec.yml": w.appSpec("AfterInstall"), "hook.sh": w.traced("exec sleep 30"), "www/x": "x",
	})
	for i := range times(t, "CODEDEPLOY_TEST_RUNNER_KILLS", 5) {
		d := w.begin(stub.DeployOptions{Events: []string{"DownloadBundle", "AfterInstall"}, Revision: revision})
		w.await("the hook", func() bool { return len(w.lines("trace")) == i+1 })
		var script int
		for _, pid := range w.processes("hook-runner") {
			script = childOf(pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		info := w.finish(d)
		if script > 0 {
			_ = syscall.Kill(script, syscall.SIGKILL)
		}
		events := info.Hosts[0].Events
		if got := events[len(events)-1]; got.Diagnostics == nil || got.Diagnostics.ErrorCode != 7 {
			t.Errorf("the hook is reported as %s with %+v, want code 7", got.Status, got.Diagnostics)
		}
	}
	w.stop()
}

// processes returns those of this world whose command line has the word.
func (w *world) processes(word string) (pids []int) {
	entries, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range entries {
		line, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(line), word) || !strings.Contains(string(line), w.dir) {
			continue
		}
		if pid, err := strconv.Atoi(strings.Split(path, "/")[2]); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// childOf returns a child of a process, 0 when it has none.
func childOf(parent int) (child int) {
	eachChild(parent, func(pid int, _ string) { child = pid })
	return child
}

// zombiesOf counts the children of a process that nobody has collected.
func zombiesOf(parent int) (n int) {
	eachChild(parent, func(_ int, state string) {
		if state == "Z" {
			n++
		}
	})
	return n
}

func eachChild(parent int, do func(pid int, state string)) {
	entries, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range entries {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
			do(pid, fields[0])
		}
	}
}
