package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"codedeploy-agent/internal/stub"
)

const (
	// agentStart is how long the agent may take to poll for the first time.
	agentStart = 15 * time.Second
	// agentStop is how long it may take to end.
	agentStop = 10 * time.Second
	// deploymentLimit bounds one deployment of the demo.
	deploymentLimit = time.Minute
)

// stage is where the demo plays: a temporary directory, the twin, the agent and the web server.
type stage struct {
	show     *screen
	examples string
	root     string // all that follows lies below
	dest     string
	pidFile  string
	listen   string
	server   *stub.Server
	host     *stub.Host
	agent    *exec.Cmd
	output   *os.File   // what the agent prints
	ended    chan error // the agent's end
}

func newStage(ctx context.Context, c *demoCommand, show *screen) (s *stage, err error) {
	s = &stage{show: show, examples: c.Examples}
	fail := func(err error) (*stage, error) {
		_ = s.strike(false)
		return nil, fmt.Errorf("cannot prepare the demo: %w", err)
	}
	if s.root, err = os.MkdirTemp("", "demo-"); err != nil {
		return fail(err)
	}
	s.dest, s.pidFile = filepath.Join(s.root, "site"), filepath.Join(s.root, "web.pid")
	if s.listen, err = freeAddress(); err != nil {
		return fail(err)
	}
	// The twin must outlive an interrupted demo until the agent has stopped.
	s.server, err = stub.Start(context.WithoutCancel(ctx), stub.Options{Dir: filepath.Join(s.root, "service"), LongPoll: 10 * time.Second})
	if err != nil {
		return fail(err)
	}
	if s.host, err = s.server.AddHost(stub.Host{Name: "demo-host"}); err != nil {
		return fail(err)
	}
	return s, nil
}

// freeAddress finds a port of loopback that nobody uses.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// startAgent starts the agent and waits for its first poll.
func (s *stage) startAgent(ctx context.Context, program string) error {
	config, err := s.host.WriteConfig(filepath.Join(s.root, "agent"), nil)
	if err != nil {
		return err
	}
	if s.output, err = os.Create(filepath.Join(s.root, "agent.out")); err != nil {
		return fmt.Errorf("cannot keep the agent's output: %w", err)
	}
	s.agent = exec.Command(program, "run", "--config-file", config)
	s.agent.Stdout, s.agent.Stderr = s.output, s.output
	// Ctrl-C is for us; we stop the agent ourselves. Should we be killed, it must not stay.
	s.agent.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := s.agent.Start(); err != nil {
		s.agent = nil
		return fmt.Errorf("cannot start the agent: %w", err)
	}
	s.ended = make(chan error, 1)
	go func() { s.ended <- s.agent.Wait() }()
	limited, cancel := context.WithTimeout(ctx, agentStart)
	defer cancel()
	for {
		if state := s.server.Hosts()[0]; state.Polls > 0 {
			s.show.line("The agent %s polls as %s.", state.AgentVersion, state.Name)
			return nil
		}
		select {
		case err := <-s.ended:
			s.agent = nil
			return fmt.Errorf("the agent ended at once: %s", exitText(err))
		case <-limited.Done():
			return fmt.Errorf("the agent did not poll within %s", agentStart)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func exitText(err error) string {
	if err == nil {
		return "exit code 0"
	}
	return err.Error()
}

// deploy deploys one of the examples and shows every step with the output of its scripts.
func (s *stage) deploy(ctx context.Context, revision string) (stub.DeploymentInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, deploymentLimit)
	defer cancel()
	bundle, err := s.render(revision)
	if err != nil {
		return stub.DeploymentInfo{}, err
	}
	rev, err := s.server.Push(ctx, bundle)
	if err != nil {
		return stub.DeploymentInfo{}, err
	}
	d, err := s.server.Deploy(ctx, stub.DeployOptions{Application: "sample-website", Revision: rev})
	if err != nil {
		return stub.DeploymentInfo{}, err
	}
	s.show.line("Deployment %s of s3://%s/%s", d.ID(), rev.Bucket, rev.Key)
	shown := 0
	for e := range d.Events(ctx) {
		s.show.event(e, false)
		if e.Name == "" || !e.Status.Ended() {
			continue
		}
		text := s.scripts(d.ID())
		if e.Status == stub.Succeeded {
			s.show.quote(scriptOutput(text[min(shown, len(text)):]))
		}
		shown = len(text)
	}
	info, err := d.Wait(ctx)
	if err != nil {
		d.Stop()
		return info, fmt.Errorf("the deployment of %s did not end within %s", revision, deploymentLimit)
	}
	s.show.line("  %s in %.2f s", s.show.status(info.Status), info.Ended.Sub(info.Created).Seconds())
	return info, nil
}

// scripts is the log of the hooks of a deployment.
func (s *stage) scripts(deploymentID string) string {
	found, _ := filepath.Glob(filepath.Join(s.root, "agent", "deployment-root", "*", deploymentID, "logs", "scripts.log"))
	if len(found) == 0 {
		return ""
	}
	b, _ := os.ReadFile(found[0])
	return string(b)
}

// scriptOutput picks what scripts printed out of scripts.log and drops the times.
func scriptOutput(log string) string {
	const timeLength = len("2006-01-02 15:04:05 ")
	var b strings.Builder
	for line := range strings.Lines(log) {
		if len(line) <= timeLength {
			continue
		}
		if line = line[timeLength:]; strings.HasPrefix(line, "[std") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// render copies an example and fills in its placeholders.
func (s *stage) render(revision string) (dir string, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("cannot find this program: %w", err)
	}
	values := strings.NewReplacer("@DEST@", s.dest, "@LISTEN@", s.listen, "@PID_FILE@", s.pidFile, "@STUB@", self)
	from := filepath.Join(s.examples, revision)
	dir = filepath.Join(s.root, "website-"+revision)
	err = filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, rel)
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, []byte(values.Replace(string(b))), info.Mode().Perm())
	})
	if err != nil {
		return "", fmt.Errorf("cannot prepare the example %q: %w", revision, err)
	}
	return dir, nil
}

// agentLog is the end of what the agent logged and printed.
func (s *stage) agentLog() string {
	var b strings.Builder
	logs, _ := filepath.Glob(filepath.Join(s.root, "agent", "log", "*.log"))
	for _, path := range append(logs, filepath.Join(s.root, "agent.out")) {
		text, _ := os.ReadFile(path)
		lines := strings.SplitAfter(strings.TrimRight(string(text), "\n"), "\n")
		b.WriteString(strings.Join(lines[max(0, len(lines)-30):], ""))
		b.WriteString("\n")
	}
	return strings.TrimSpace(b.String())
}

// settle waits for a hook that still runs: it outlives the agent and could start the web server after we have left.
func (s *stage) settle() {
	if s.agent == nil {
		return
	}
	for deadline := time.Now().Add(agentStop); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if len(s.server.Hosts()[0].Running) == 0 {
			return
		}
	}
}

// strike ends everything and removes the directory.
func (s *stage) strike(keep bool) error {
	s.settle()
	err := s.stopAgent()
	if stopping := s.stopWeb(); err == nil {
		err = stopping
	}
	if s.server != nil {
		s.server.Close()
	}
	if s.output != nil {
		_ = s.output.Close()
	}
	if keep {
		s.show.line("\nKept: %s", s.root)
		return err
	}
	if removing := os.RemoveAll(s.root); err == nil && removing != nil {
		err = fmt.Errorf("cannot remove the temporary directory: %w", removing)
	}
	return err
}

// stopAgent ends the agent as systemd would: TERM, and KILL when that does not help.
func (s *stage) stopAgent() error {
	if s.agent == nil {
		return nil
	}
	_ = s.agent.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-s.ended:
		if err != nil {
			return fmt.Errorf("the agent ended badly after TERM: %w", err)
		}
		return nil
	case <-time.After(agentStop):
		_ = s.agent.Process.Kill()
		<-s.ended
		return fmt.Errorf("the agent did not end within %s after TERM and was killed", agentStop)
	}
}

// stopWeb ends the web server that the last deployment started.
func (s *stage) stopWeb() error {
	pid, err := pidIn(s.pidFile)
	if err != nil {
		return nil // none runs
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err := syscall.Kill(pid, syscall.SIGTERM); errors.Is(err, syscall.ESRCH) {
			return nil
		}
		if _, err := os.Stat(s.pidFile); errors.Is(err, fs.ErrNotExist) {
			return nil // it removes the file as the last thing
		}
	}
	return fmt.Errorf("the web server (pid %d) does not stop", pid)
}
