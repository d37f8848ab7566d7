package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"codedeploy-agent/internal/stub"
)

// TestMain lets the test binary be the programs: called by their names it is them.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"codedeploy-agent": main,
		localProgram:       main,
	})
}

// world is one host with its agent, and a local twin of the service.
type world struct {
	*testing.T
	dir    string // the host
	config string
	server *stub.Server
	host   *stub.Host
	agent  *exec.Cmd
	ended  chan error
}

func newWorld(t *testing.T, o stub.Options, extra map[string]any) *world {
	t.Helper()
	server, err := stub.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	host, err := server.AddHost(stub.Host{Name: "test-host"})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, dir: t.TempDir(), server: server, host: host}
	settings := map[string]any{"wait_between_runs": 1}
	for k, v := range extra {
		settings[k] = v
	}
	if w.config, err = host.WriteConfig(filepath.Join(w.dir, "conf"), settings); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.kill()
		if t.Failed() {
			w.showLog()
		}
	})
	return w
}

// start runs the agent in the foreground, as a service manager would.
func (w *world) start() {
	w.Helper()
	program, err := exec.LookPath("codedeploy-agent")
	if err != nil {
		w.Fatal(err)
	}
	w.agent = exec.Command(program, "run", "--config-file", w.config)
	w.agent.Dir = w.dir
	w.agent.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal: SIGHUP means reload
	w.agent.Stderr = os.Stderr
	if !testing.Verbose() {
		w.agent.Stderr = nil
	}
	if err := w.agent.Start(); err != nil {
		w.Fatal(err)
	}
	ended := make(chan error, 1)
	go func(c *exec.Cmd) { ended <- c.Wait() }(w.agent)
	w.ended = ended
}

// kill ends the agent as a power cut would, without a chance to clean up.
func (w *world) kill() {
	if w.agent == nil {
		return
	}
	_ = w.agent.Process.Kill()
	<-w.ended
	w.agent = nil
}

// stop asks the agent to stop and returns how long that took.
func (w *world) stop() time.Duration {
	w.Helper()
	began := time.Now()
	w.signal(syscall.SIGTERM)
	select {
	case err := <-w.ended:
		if err != nil {
			w.Error("the agent ended with", err)
		}
	case <-time.After(30 * time.Second):
		w.Fatal("the agent does not stop")
	}
	w.agent = nil
	return time.Since(began)
}

func (w *world) signal(s syscall.Signal) {
	w.Helper()
	if err := w.agent.Process.Signal(s); err != nil {
		w.Fatal(err)
	}
}

func (w *world) showLog() {
	_ = filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".log") {
			text, _ := os.ReadFile(path)
			w.Logf("%s:\n%s", d.Name(), text[max(0, len(text)-12000):])
		}
		return nil
	})
}

// revision writes a bundle's files and puts it into the twin's S3. Names that end in .sh become executable.
func (w *world) revision(files map[string]string) stub.Revision {
	w.Helper()
	dir := w.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			w.Fatal(err)
		}
		perm := fs.FileMode(0o644)
		if strings.HasSuffix(name, ".sh") {
			perm = 0o755
		}
		if err := os.WriteFile(path, []byte(text), perm); err != nil {
			w.Fatal(err)
		}
	}
	revision, err := w.server.Push(w.Context(), dir)
	if err != nil {
		w.Fatal(err)
	}
	return revision
}

// appSpec is an AppSpec file that copies www to the host and gives every event that is named the script hook.sh.
func (w *world) appSpec(events ...string) string {
	text := fmt.Sprintf("version: 0.0\nos: linux\nfiles:\n  - source: /www\n    destination: %s\nhooks:\n", w.target())
	for _, event := range events {
		text += fmt.Sprintf("  %s:\n    - location: hook.sh\n      timeout: 120\n", event)
	}
	return text
}

func (w *world) target() string { return filepath.Join(w.dir, "www") }

func (w *world) begin(o stub.DeployOptions) *stub.Deployment {
	w.Helper()
	d, err := w.server.Deploy(w.Context(), o)
	if err != nil {
		w.Fatal(err)
	}
	return d
}

func (w *world) finish(d *stub.Deployment) stub.DeploymentInfo {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 90*time.Second)
	defer cancel()
	info, err := d.Wait(ctx)
	if err != nil {
		state, _ := json.MarshalIndent(d.Info(), "", " ")
		w.Fatalf("the deployment does not end: %v\n%s", err, state)
	}
	return info
}

func (w *world) deploy(o stub.DeployOptions) stub.DeploymentInfo {
	w.Helper()
	return w.finish(w.begin(o))
}

// lines returns the lines of a file on the host, none when it does not exist.
func (w *world) lines(name string) []string {
	text, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// await waits until something is true.
func (w *world) await(what string, is func() bool) {
	w.Helper()
	for range 3000 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.Fatal("waited in vain for: " + what)
}

// oneReport fails the test unless every command got exactly one report that counts, and none that contradicts it.
func (w *world) oneReport() {
	w.Helper()
	for _, c := range w.server.Commands() {
		for _, r := range c.Reports {
			if r.Status != c.Reports[0].Status || r.Diagnostics.Payload != c.Reports[0].Diagnostics.Payload {
				w.Errorf("%s was reported as %s and as %s", c.Name, c.Reports[0].Diagnostics.Payload, r.Diagnostics.Payload)
			}
		}
	}
}
