package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"codedeploy-agent/internal/stub"
	"codedeploy-agent/internal/stub/fault"
)

// downloading brings an agent into the middle of a download that takes long enough for signals.
func (w *world) downloading() *stub.Deployment {
	w.Helper()
	if _, err := w.server.Fault(fault.Fault{Service: "s3", Operation: "GetObject", Kind: fault.Stall, After: 10, Delay: 6 * time.Second}); err != nil {
		w.Fatal(err)
	}
	w.start()
	d := w.begin(stub.DeployOptions{Events: []string{"DownloadBundle"}, Revision: w.revision(map[string]string{
		"appspec.yml": w.appSpec(), "www/x": "x",
	})})
	w.await("the download", func() bool { return w.server.Faults()[0].Hits > 0 })
	return d
}

// exitCode waits for the end of the agent.
func (w *world) exitCode() int {
	w.Helper()
	select {
	case <-w.ended:
	case <-time.After(30 * time.Second):
		w.Fatal("the agent does not end")
	}
	code := w.agent.ProcessState.ExitCode()
	w.agent = nil
	return code
}

func TestStopDuringAReloadEndsTheAgentAfterTheDownload(t *testing.T) {
	w := newWorld(t, stub.Options{}, nil)
	d := w.downloading()
	w.signal(syscall.SIGHUP)
	w.await("the reload", func() bool { return w.countInLog(`"reload":true`) > 0 })
	w.signal(syscall.SIGTERM)
	if code := w.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := w.countInLog("The agent starts."); n != 1 {
		t.Errorf("the agent started %d times", n)
	}
	if info := d.Info(); info.Status != stub.Succeeded {
		t.Errorf("the download that was waited for is %s", info.Status)
	}
	if w.pidFile() != "" {
		t.Error("the pid file is left")
	}
}

func TestASecondStopLeavesAtOnceAndTheNextAgentGoesOn(t *testing.T) {
	w := newWorld(t, stub.Options{}, nil)
	d := w.downloading()
	began := time.Now()
	w.signal(syscall.SIGTERM)
	w.await("the stop", func() bool { return w.countInLog("Stopping.") > 0 })
	w.signal(syscall.SIGTERM)
	if code := w.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(began); took > 2500*time.Millisecond {
		t.Logf("it took %s", took)
	}
	w.start()
	if info := w.finish(d); info.Status != stub.Succeeded {
		t.Errorf("the deployment is %s", info.Status)
	}
	w.oneReport()
}

func TestAReloadToWhatCannotGoOnIsRefused(t *testing.T) {
	for name, line := range map[string]string{
		"a value that cannot be read": "max_revisions: many\n",
		"a file that is not there":    "signer_ca_file: /nowhere/ca.pem\n",
		"a proxy that is no URL":      "proxy_uri: '://'\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, stub.Options{}, nil)
			w.start()
			w.await("a poll", func() bool { return len(w.server.Transcript()) > 0 })
			good, err := os.ReadFile(w.config)
			if err != nil {
				t.Fatal(err)
			}
			bad := strings.ReplaceAll(string(good), "max_revisions: 5\n", "") + line
			if err := os.WriteFile(w.config, []byte(bad), 0o644); err != nil {
				t.Fatal(err)
			}
			w.signal(syscall.SIGHUP)
			w.await("the refusal", func() bool { return w.countInLog("The reload is refused") > 0 })
			info := w.deploy(stub.DeployOptions{Revision: w.revision(map[string]string{"appspec.yml": w.appSpec(), "www/x": "x"})})
			if info.Status != stub.Succeeded {
				t.Errorf("the deployment after it is %s", info.Status)
			}
			w.stop()
		})
	}
}

// TestTheConfigurationBreaksWhileAReloadWaits: what was checked when the signal came is not there any more when it is wanted.
func TestTheConfigurationBreaksWhileAReloadWaits(t *testing.T) {
	w := newWorld(t, stub.Options{}, nil)
	d := w.downloading()
	w.signal(syscall.SIGHUP)
	w.await("the reload", func() bool { return w.countInLog(`"reload":true`) > 0 })
	if err := os.WriteFile(w.config, []byte("max_revisions: many\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if info := w.finish(d); info.Status != stub.Succeeded {
		t.Errorf("the download is %s", info.Status)
	}
	w.await("the refusal", func() bool { return w.countInLog("The reload is refused") > 0 })
	info := w.deploy(stub.DeployOptions{Revision: w.revision(map[string]string{
		"appspec.yml": w.appSpec("AfterInstall"), "hook.sh": w.traced("ls -l /proc/self/fd/ >> " + w.dir + "/trace"), "www/x": "x",
	})})
	if info.Status != stub.Succeeded {
		t.Errorf("the deployment after it is %s", info.Status)
	}
	if trace := strings.Join(w.lines("trace"), "\n"); strings.Contains(trace, ".lock") {
		t.Errorf("a hook holds the agent's lock:\n%s", trace)
	}
	w.stop()
}

func TestTwoAgentsDoNotShareARoot(t *testing.T) {
	w := newWorld(t, stub.Options{}, nil)
	w.start()
	w.await("a poll", func() bool { return len(w.server.Transcript()) > 0 })
	text, err := os.ReadFile(w.config)
	if err != nil {
		t.Fatal(err)
	}
	first, ended, config := w.agent, w.ended, w.config
	w.config = filepath.Join(w.dir, "second.yml")
	second := strings.ReplaceAll(string(text), "conf/pid", "conf/second-pid")
	if err := os.WriteFile(w.config, []byte(second), 0o644); err != nil {
		t.Fatal(err)
	}
	w.start()
	if code := w.exitCode(); code != exitRunning {
		t.Errorf("the second agent's exit code is %d, want %d", code, exitRunning)
	}
	w.agent, w.ended, w.config = first, ended, config
	w.signal(syscall.SIGHUP) // the lock is handed on
	w.await("the reload", func() bool { return w.countInLog("The agent starts.") > 1 })
	w.stop()
}

func TestAnAgentRunsWithoutAPidFile(t *testing.T) {
	w := newWorld(t, stub.Options{}, nil)
	if err := os.MkdirAll(filepath.Join(w.dir, "conf/pid/codedeploy-agent.pid/x"), 0o755); err != nil { // no room on the disk does the same
		t.Fatal(err)
	}
	w.start()
	info := w.deploy(stub.DeployOptions{Revision: w.revision(map[string]string{"appspec.yml": w.appSpec(), "www/x": "x"})})
	if info.Status != stub.Succeeded {
		t.Errorf("the deployment is %s", info.Status)
	}
	w.stop()
}

func TestAPidFileThatNamesAStrangerIsNotBelieved(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "agent.yml")
	if err := os.WriteFile(config, []byte("pid_dir: "+dir+"\nroot_dir: "+dir+"/root\nlog_dir: "+dir+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := loadConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(pidFile(c), fmt.Appendln(nil, os.Getpid()), 0o600); err != nil { // this test is no agent
		t.Fatal(err)
	}
	if pid, err := runningPID(c); pid != 0 || err != nil {
		t.Errorf("without a lock: %d, %v", pid, err)
	}
	f, err := takeLock(pidFile(c) + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if pid, err := runningPID(c); pid != 0 || err == nil {
		t.Errorf("another program holds the lock: %d, %v", pid, err)
	}
	if err := stopDetached(c); err == nil {
		t.Error("somebody was stopped")
	}
	if _, err := claimInstance(c); !errors.Is(err, errRunning) {
		t.Errorf("claiming gives %v", err)
	}
}

func TestAnErrorStreamThatNobodyCanReadIsNotWritten(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if isUnlinked(f) {
		t.Error("a file with a name counts as unlinked")
	}
	_ = os.Remove(f.Name())
	if !isUnlinked(f) {
		t.Error("a file without a name counts as readable")
	}
	var p [2]int
	if err := unix.Pipe(p[:]); err != nil {
		t.Fatal(err)
	}
	for _, fd := range p {
		end := os.NewFile(uintptr(fd), "pipe")
		if isUnlinked(end) {
			t.Error("a pipe counts as unlinked")
		}
		_ = end.Close()
	}
}
