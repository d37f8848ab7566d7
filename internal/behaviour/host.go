package behaviour

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"codedeploy-agent/internal/stub"
)

// patience bounds every wait of a case. What takes so long does not come at all.
const patience = 40 * time.Second

// Host is a machine with an agent, and the twin of the service that it talks to.
type Host struct {
	Reporter
	// Dir is the host's part of the disk. In texts of bundles and scripts HOST stands for it.
	Dir string
	// Twin is the service; it is there from the first call of Service, Configure or Start.
	Twin *stub.Server
	// Self is the host as the service knows it.
	Self *stub.Host
	// Umask is that of the agent.
	Umask int

	programs Programs
	settings map[string]any
	environ  []string
	agent    *exec.Cmd
	ended    chan error
}

func newHost(r Reporter, p Programs) *Host {
	r.Helper()
	dir, err := os.MkdirTemp("", "host-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // as a root directory is: other users have to pass
	}
	if err != nil {
		r.Fatal(err)
	}
	h := &Host{
		Reporter: r, Dir: dir, Umask: 0o022, programs: p,
		settings: map[string]any{"wait_between_runs": 0.2, "verbose": false},
		environ:  []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LANG=C.UTF-8"},
	}
	r.Cleanup(func() {
		h.Kill()
		if r.Failed() {
			h.showLogs()
		}
		h.endLeftovers()
		_ = os.RemoveAll(dir)
	})
	return h
}

// Service starts the twin with other options than the usual ones. It has to come first.
func (h *Host) Service(o stub.Options) {
	h.Helper()
	if h.Twin != nil {
		h.Fatal("the service runs already")
	}
	server, err := stub.Start(h.Context(), o)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		h.Kill()
		server.Close()
	})
	h.Twin = server
	if h.Self, err = server.AddHost(stub.Host{Name: "a-host"}); err != nil {
		h.Fatal(err)
	}
}

// Set gives a key of the configuration another value; nil removes it. It counts from the next start on.
func (h *Host) Set(key string, value any) { h.settings[key] = value }

// Setenv gives the agent a variable.
func (h *Host) Setenv(name, value string) { h.environ = append(h.environ, name+"="+value) }

// Configure writes the agent's configuration and returns its path.
func (h *Host) Configure() string {
	h.Helper()
	if h.Twin == nil {
		h.Service(stub.Options{})
	}
	path, err := h.Self.WriteConfig(h.Path("conf"), h.settings)
	if err != nil {
		h.Fatal(err)
	}
	return path
}

// Start runs the agent in the foreground, as a service manager would.
func (h *Host) Start() {
	h.Helper()
	h.StartAs("run", "--config-file", h.Configure())
}

// StartAs runs the agent with other arguments, after the configuration has been written.
func (h *Host) StartAs(args ...string) {
	h.Helper()
	c := exec.Command("/bin/sh", append([]string{"-c", fmt.Sprintf(`umask %o; exec "$0" "$@"`, h.Umask), h.programs.Agent}, args...)...)
	c.Dir, c.Env = h.Dir, h.environ
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal
	stderr, err := os.Create(h.Path("stderr.log"))
	if err != nil {
		h.Fatal(err)
	}
	defer func() { _ = stderr.Close() }()
	c.Stderr = stderr
	if err := c.Start(); err != nil {
		h.Fatal(err)
	}
	h.agent, h.ended = c, make(chan error, 1)
	go func(ended chan<- error) { ended <- c.Wait() }(h.ended)
}

// Pid is the agent's process.
func (h *Host) Pid() int { return h.agent.Process.Pid }

// Signal sends the agent a signal.
func (h *Host) Signal(s syscall.Signal) {
	h.Helper()
	if err := h.agent.Process.Signal(s); err != nil {
		h.Fatal(err)
	}
}

// Exit waits for the agent's own end and returns its exit code and what it wrote to standard error.
func (h *Host) Exit() (code int, said string) {
	h.Helper()
	select {
	case <-h.ended:
	case <-time.After(patience):
		h.Fatal("the agent does not end")
	}
	code = h.agent.ProcessState.ExitCode()
	h.agent = nil
	return code, h.Text("stderr.log")
}

// Stop asks the agent to stop, as systemd would, and waits for it.
func (h *Host) Stop() {
	h.Helper()
	h.Signal(syscall.SIGTERM)
	if code, said := h.Exit(); code != 0 {
		h.Errorf("the agent ended with %d: %s", code, said)
	}
}

// Kill ends the agent as a power cut would.
func (h *Host) Kill() {
	if h.agent == nil {
		return
	}
	_ = h.agent.Process.Kill()
	<-h.ended
	h.agent = nil
}

// Local runs codedeploy-local in the host's directory and returns what it printed and its exit code.
func (h *Host) Local(args ...string) (stdout, stderr string, code int) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, h.programs.Local, args...)
	c.Dir, c.Env = h.Dir, h.environ
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if err != nil && c.ProcessState == nil {
		h.Fatal(err)
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

// Await waits until something is true.
func (h *Host) Await(what string, is func() bool) {
	h.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if is() {
			return
		}
	}
	h.Fatal("waited in vain for: " + what)
}

// Path is a place on the host; an absolute one stays as it is.
func (h *Host) Path(elements ...string) string {
	if len(elements) > 0 && filepath.IsAbs(elements[0]) {
		return filepath.Join(elements...)
	}
	return filepath.Join(append([]string{h.Dir}, elements...)...)
}

// Text returns the content of a file; it is empty when there is none.
func (h *Host) Text(path ...string) string {
	text, _ := os.ReadFile(h.Path(path...))
	return string(text)
}

// Lines returns the lines of a file, none when it does not exist.
func (h *Host) Lines(path ...string) []string {
	text := h.Text(path...)
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// Exists tells whether something is there, links themselves included.
func (h *Host) Exists(path ...string) bool {
	_, err := os.Lstat(h.Path(path...))
	return err == nil
}

// Write makes a file and the directories above it; names that end in .sh become executable.
func (h *Host) Write(path, text string) {
	h.Helper()
	path = h.Path(path)
	perm := fs.FileMode(0o644)
	if strings.HasSuffix(path, ".sh") {
		perm = 0o755
	}
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(strings.ReplaceAll(text, "HOST", h.Dir)), perm)
	}
	if err != nil {
		h.Fatal(err)
	}
}

// showLogs is for the eyes of whoever has to find out why a case failed.
func (h *Host) showLogs() {
	_ = filepath.WalkDir(h.Dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".log") {
			text, _ := os.ReadFile(path)
			h.Logf("%s:\n%s", strings.TrimPrefix(path, h.Dir), text[max(0, len(text)-6000):])
		}
		return nil
	})
	if h.Twin != nil {
		for _, c := range h.Twin.Commands() {
			state, _ := json.Marshal(c)
			h.Logf("a command, as the service saw it: %s", state)
		}
	}
}

// endLeftovers ends what scripts of a case started and left: processes that write their pid to a file named *.pid-left.
func (h *Host) endLeftovers() {
	files, _ := filepath.Glob(h.Path("*.pid-left"))
	for _, f := range files {
		for _, pid := range h.Lines(f) {
			if n, err := strconv.Atoi(pid); err == nil && n > 1 {
				_ = syscall.Kill(n, syscall.SIGKILL)
			}
		}
	}
}

// Root is the deployment root.
func (h *Host) Root(elements ...string) string {
	return h.Path(append([]string{"conf", "deployment-root"}, elements...)...)
}

// AgentLog is all that the agent wrote to its log.
func (h *Host) AgentLog() string {
	var all strings.Builder
	files, _ := filepath.Glob(h.Path("conf", "log", "*.log"))
	for _, f := range files {
		all.WriteString(h.Text(f))
	}
	return all.String()
}
