package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"codedeploy-agent/internal/stub"
	"codedeploy-agent/internal/stub/fault"
)

// traced is a hook that leaves a line per run.
func (w *world) traced(more string) string {
	return fmt.Sprintf("#!/bin/sh\necho $LIFECYCLE_EVENT of $DEPLOYMENT_ID >> %s/trace\n%s\n", w.dir, more)
}

func TestTwoDeploymentsAndOneThatFails(t *testing.T) {
	w := newWorld(t, stub.Options{}, nil)
	w.start()
	first := w.deploy(stub.DeployOptions{Revision: w.revision(map[string]string{
		"appspec.yml": w.appSpec("ApplicationStop", "ApplicationStart"), "hook.sh": w.traced("echo one"), "www/index.html": "one", "www/old.html": "old",
	})})
	second := w.deploy(stub.DeployOptions{Revision: w.revision(map[string]string{
		"appspec.yml": w.appSpec("ApplicationStart"), "hook.sh": w.traced("echo two"), "www/index.html": "two",
	})})
	broken := w.deploy(stub.DeployOptions{Revision: w.revision(map[string]string{
		"appspec.yml": w.appSpec("ValidateService"), "hook.sh": w.traced("echo broken; echo why >&2; exit 7"), "www/index.html": "three",
	})})
	for _, c := range []struct {
		got  stub.DeploymentInfo
		want stub.Status
	}{{first, stub.Succeeded}, {second, stub.Succeeded}, {broken, stub.Failed}} {
		if c.got.Status != c.want {
			t.Errorf("deployment %s: %s, want %s (%s)", c.got.ID, c.got.Status, c.want, c.got.Message)
		}
	}
	want := []string{
		"ApplicationStart of " + first.ID, "ApplicationStop of " + second.ID, "ApplicationStart of " + second.ID, "ValidateService of " + broken.ID,
	}
	if diff := cmp.Diff(want, w.lines("trace")); diff != "" {
		t.Error("hooks that ran:", diff)
	}
	if diff := cmp.Diff([]string{"three"}, w.lines("www/index.html")); diff != "" {
		t.Error(diff)
	}
	if w.lines("www/old.html") != nil {
		t.Error("a file of the first version is still there")
	}
	events := broken.Hosts[0].Events
	d := events[len(events)-1].Diagnostics
	if d.ErrorCode != 4 || d.Script != "hook.sh" || !strings.Contains(d.Message, "exit code 7") {
		t.Errorf("diagnostics: %+v", d)
	}
	log := strings.SplitAfter(d.Log, "\n")
	slices.Sort(log) // two pipes: either may be read first
	if diff := cmp.Diff([]string{"", "LifecycleEvent - ValidateService\n", "Script - hook.sh\n", "[stderr]why\n", "[stdout]broken\n"}, log); diff != "" {
		t.Error(diff)
	}
	if took := w.stop(); took > 5*time.Second {
		t.Errorf("an idle agent took %s to stop", took)
	}
	w.oneReport()
}

func TestAnIdleAgentStopsAtOnceAlthoughAPollIsOpen(t *testing.T) {
	w := newWorld(t, stub.Options{LongPoll: time.Minute}, nil)
	w.start()
	w.await("a poll", func() bool { return len(w.server.Transcript()) > 0 })
	if took := w.stop(); took > 10*time.Second {
		t.Errorf("stopping took %s", took)
	}
	if entries, err := os.ReadDir(filepath.Join(w.dir, "conf")); err == nil {
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".pid") {
				t.Error("the pid file is left")
			}
		}
	}
}

func TestACommandThatIsDeliveredAgainRunsOnce(t *testing.T) {
	w := newWorld(t, stub.Options{}, nil)
	w.start()
	info := w.deploy(stub.DeployOptions{Revision: w.revision(map[string]string{
		"appspec.yml": w.appSpec("AfterInstall"), "hook.sh": w.traced(""), "www/x": "x",
	})})
	if info.Status != stub.Succeeded {
		t.Fatal(info.Message)
	}
	commands := w.server.Commands()
	c := commands[slices.IndexFunc(commands, func(c stub.Command) bool { return c.Name == "AfterInstall" })]
	again, err := w.server.Send(w.host.ID, stub.RawCommand{Name: c.Name, ID: c.ID, ExecutionID: c.ExecutionID, Specification: "{}"})
	if err != nil {
		t.Fatal(err)
	}
	w.await("three more deliveries", func() bool { return again.Command().Deliveries > 2 })
	if got := again.Command(); got.Acknowledgements != 0 || len(got.Reports) != 0 {
		t.Errorf("a completed command was acknowledged or reported again: %+v", got)
	}
}

func TestNoCommandIsAcknowledgedTwice(t *testing.T) {
	w := newWorld(t, stub.Options{}, nil)
	w.start()
	for i := range 3 {
		w.deploy(stub.DeployOptions{LoadBalancer: true, Revision: w.revision(map[string]string{"appspec.yml": w.appSpec(), "www/x": fmt.Sprint(i)})})
	}
	for _, c := range w.server.Commands() {
		if c.Acknowledgements != 1 {
			t.Errorf("%s was acknowledged %d times", c.Name, c.Acknowledgements)
		}
	}
}

func TestAnOutageDuringTheReportLosesNothing(t *testing.T) {
	w := newWorld(t, stub.Options{}, nil)
	if _, err := w.server.Fault(fault.Fault{Operation: "PutHostCommandComplete", Kind: fault.Status, Status: 500, Count: -1}); err != nil {
		t.Fatal(err)
	}
	w.start()
	d := w.begin(stub.DeployOptions{Events: []string{"DownloadBundle", "AfterInstall"}, Revision: w.revision(map[string]string{
		"appspec.yml": w.appSpec("AfterInstall"), "hook.sh": w.traced("exit 3"), "www/x": "x",
	})})
	refused := func() bool { return w.server.Faults()[0].Hits > 1 }
	w.await("refused reports", refused)
	w.kill()
	w.start()
	hits := w.server.Faults()[0].Hits
	w.await("refused reports after the restart", func() bool { return w.server.Faults()[0].Hits > hits })
	w.server.ClearFaults()
	info := w.finish(d)
	if info.Status != stub.Failed || !slices.Equal(w.lines("trace"), []string{"AfterInstall of " + info.ID}) {
		t.Errorf("the deployment is %s, trace %v", info.Status, w.lines("trace"))
	}
	for _, c := range w.server.Commands() {
		if len(c.Reports) != 1 {
			t.Errorf("%s was reported %d times", c.Name, len(c.Reports))
		}
	}
	w.oneReport()
}

func TestTheAgentIsKilledInAHook(t *testing.T) {
	w := newWorld(t, stub.Options{}, nil)
	w.start()
	d := w.begin(stub.DeployOptions{Revision: w.revision(map[string]string{
		"appspec.yml": w.appSpec("AfterInstall"), "hook.sh": w.traced("sleep 1; echo end >> " + w.dir + "/trace; exit 9"), "www/x": "x",
	})})
	w.await("the hook", func() bool { return len(w.lines("trace")) == 1 })
	w.kill()
	w.start()
	info := w.finish(d)
	if diff := cmp.Diff([]string{"AfterInstall of " + info.ID, "end"}, w.lines("trace")); diff != "" {
		t.Error("the hook did not run once to its end:", diff)
	}
	for _, e := range info.Hosts[0].Events {
		if e.Name == "AfterInstall" && (e.Diagnostics == nil || !strings.Contains(e.Diagnostics.Message, "exit code 9")) {
			t.Errorf("its true result is not reported: %+v", e.Diagnostics)
		}
	}
	w.oneReport()
}

func TestRapidReloadsKeepTheProcessTheLockAndTheHook(t *testing.T) {
	w := newWorld(t, stub.Options{}, nil)
	w.start()
	pid := w.agent.Process.Pid
	d := w.begin(stub.DeployOptions{Revision: w.revision(map[string]string{
		"appspec.yml": w.appSpec("AfterInstall"), "hook.sh": w.traced("sleep 3; exit 6"), "www/x": "x",
	})})
	w.await("the hook", func() bool { return len(w.lines("trace")) == 1 })
	for range times(t, "CODEDEPLOY_TEST_RELOADS", 30) {
		w.signal(syscall.SIGHUP)
		time.Sleep(20 * time.Millisecond)
	}
	info := w.finish(d)
	events := info.Hosts[0].Events
	if i := slices.IndexFunc(events, func(e stub.LifecycleEvent) bool { return e.Name == "AfterInstall" }); events[i].Diagnostics == nil ||
		events[i].Diagnostics.ErrorCode != 4 || len(w.lines("trace")) != 1 {
		t.Errorf("the hook is reported as %+v, trace %v", events[i].Diagnostics, w.lines("trace"))
	}
	w.await("a reload to be over", func() bool { return w.countInLog("The agent starts.") > 1 })
	if n := w.countInLog("reload is refused"); n > 0 {
		t.Errorf("%d reloads were refused", n)
	}
	if got := w.lines(w.pidFile()); len(got) != 1 || got[0] != fmt.Sprint(pid) {
		t.Errorf("the pid file says %v, the process is %d", got, pid)
	}
	if n := zombiesOf(pid); n > 0 {
		t.Errorf("%d zombies are left", n)
	}
	w.oneReport()
	w.stop()
}

// countInLog counts the lines of the agent's log that have the text.
func (w *world) countInLog(text string) (n int) {
	_ = filepath.WalkDir(w.dir, func(path string, _ os.DirEntry, _ error) error {
		if filepath.Base(path) == "codedeploy-agent.log" {
			log, _ := os.ReadFile(path)
			n += strings.Count(string(log), text)
		}
		return nil
	})
	return n
}

// pidFile returns the path of the pid file, relative to the host's directory.
func (w *world) pidFile() (found string) {
	_ = filepath.WalkDir(w.dir, func(path string, _ os.DirEntry, _ error) error {
		if strings.HasSuffix(path, "codedeploy-agent.pid") {
			found, _ = filepath.Rel(w.dir, path)
		}
		return nil
	})
	return found
}

func TestASecondAgentIsRefused(t *testing.T) {
	w := newWorld(t, stub.Options{}, nil)
	w.start()
	w.await("a poll", func() bool { return len(w.server.Transcript()) > 0 })
	first, ended := w.agent, w.ended
	w.start()
	select {
	case <-w.ended:
	case <-time.After(20 * time.Second):
		t.Error("a second agent runs")
	}
	if code := w.agent.ProcessState.ExitCode(); code != exitRunning {
		t.Errorf("its exit code is %d, want %d", code, exitRunning)
	}
	w.agent, w.ended = first, ended
	w.stop()
}
