package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"codedeploy-agent/internal/stub"
	"codedeploy-agent/internal/stub/fault"
)

// onSmallDisk puts everything that the agent writes on a file system of two megabytes.
func (w *world) onSmallDisk() {
	w.Helper()
	dir := filepath.Dir(w.config)
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=2m"); err != nil {
		w.Skipf("NOT RUN HERE (needs root): a small file system cannot be mounted: %v", err)
	}
	w.Cleanup(func() {
		w.kill()
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			w.Error(err)
		}
	})
	var err error
	if w.config, err = w.host.WriteConfig(dir, map[string]any{"wait_between_runs": "0.2"}); err != nil {
		w.Fatal(err)
	}
}

// fill takes what is left of the small disk.
func (w *world) fill() {
	w.Helper()
	f, err := os.OpenFile(filepath.Join(filepath.Dir(w.config), "fill"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		w.Fatal(err)
	}
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	_ = f.Close()
}

// TestAFullDisk: a hook fills the disk, the service is away, and the agent is killed and started again before there is
// room. The hook's result arrives all the same; what cannot be recorded is refused; with room everything goes on.
func TestAFullDisk(t *testing.T) {
	w := newWorld(t, stub.Options{}, nil)
	w.onSmallDisk()
	revision := func(more string) stub.Revision {
		return w.revision(map[string]string{"appspec.yml": w.appSpec("AfterInstall"), "hook.sh": w.traced(more), "www/x": "x"})
	}
	w.start()
	events := []string{"DownloadBundle", "AfterInstall"}
	first := w.begin(stub.DeployOptions{Events: events, Revision: revision("while [ ! -e " + w.dir + "/go ]; do sleep 0.02; done; exit 3")})
	w.await("the hook", func() bool { return len(w.lines("trace")) == 1 })
	w.fill()
	if _, err := w.server.Fault(fault.Fault{Operation: "PutHostCommandComplete", Kind: fault.Status, Status: 500, Count: -1}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.await("refused reports", func() bool { return w.server.Faults()[0].Hits > 1 })
	w.kill()
	w.start()
	hits := w.server.Faults()[0].Hits
	w.await("refused reports of the next agent", func() bool { return w.server.Faults()[0].Hits > hits })
	w.server.ClearFaults()
	info := w.finish(first)
	if e := info.Hosts[0].Events[1]; e.Diagnostics == nil || e.Diagnostics.ErrorCode != 4 || len(w.lines("trace")) != 1 {
		t.Errorf("the hook is reported as %+v, trace %v", e.Diagnostics, w.lines("trace"))
	}

	w.fill() // the hook's records have gone
	second := w.deploy(stub.DeployOptions{Events: events, Revision: revision("")})
	why := fmt.Sprint(second.Hosts[0].Events[0].Diagnostics)
	if second.Status != stub.Failed || !(strings.Contains(why, "no space left") || strings.Contains(why, "free some space")) {
		t.Errorf("without room a deployment is %s: %s", second.Status, why)
	}
	if err := os.Remove(filepath.Join(filepath.Dir(w.config), "fill")); err != nil {
		t.Fatal(err)
	}
	if third := w.deploy(stub.DeployOptions{Events: events, Revision: revision("")}); third.Status != stub.Succeeded {
		t.Errorf("with room a deployment is %s: %s", third.Status, third.Message)
	}
	w.stop()
	w.oneReport()
}
