package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"codedeploy-agent/agent"
	"codedeploy-agent/internal/config"
	"codedeploy-agent/systemd"
)

const unit = "codedeploy-agent.service"

// unitFiles are the places where a package puts the unit.
var unitFiles = []string{"/etc/systemd/system/" + unit, "/usr/lib/systemd/system/" + unit, "/lib/systemd/system/" + unit}

// throughSystemd tells whether the service manager of this host runs the agent: our unit is installed and the person
// did not name another configuration.
func throughSystemd(cli *commandLine) bool {
	if cli.ConfigFile != "" || !systemd.Booted() {
		return false
	}
	for _, path := range unitFiles {
		if _, err := os.Stat(path); err == nil {
			return true
		}
	}
	return false
}

func systemctl(verb string) error {
	cmd := exec.Command("systemctl", verb, unit)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("systemctl %s failed: %w; look at: journalctl -u %s", verb, err, unit)
	}
	return nil
}

type startCommand struct{}

func (*startCommand) flags(*pflag.FlagSet) {}

func (*startCommand) run(cli *commandLine, _ []string) error {
	if throughSystemd(cli) {
		return systemctl("start")
	}
	c, _, err := loadConfig(cli.ConfigFile)
	if err != nil {
		return err
	}
	return startDetached(cli, c)
}

// startFor is how long start waits for the agent to be up.
const startFor = 10 * time.Second

// startDetached runs the agent in a session of its own and returns when it holds its lock.
func startDetached(cli *commandLine, c *config.Config) error {
	if pid, err := runningPID(c); err == nil && pid != 0 {
		fmt.Printf("The AWS CodeDeploy agent is running as PID %d\n", pid)
		return nil
	}
	path, err := imagePath()
	if err != nil {
		return err
	}
	messages, err := os.CreateTemp("", "codedeploy-agent-start-")
	if err != nil {
		return fmt.Errorf("cannot start: %w", err)
	}
	defer func() { _ = messages.Close() }()
	_ = os.Remove(messages.Name()) // only this process reads it
	cmd := exec.Command(path, runArguments(cli)...)
	cmd.Dir = "/"
	cmd.Stderr = messages
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start %q: %w", path, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	deadline := time.After(startFor)
	for {
		select {
		case err := <-ended:
			said, _ := io.ReadAll(io.NewSectionReader(messages, 0, 1<<16))
			return fmt.Errorf("the agent did not start: %w\n%s", err, said)
		case <-deadline:
			return fmt.Errorf("the agent did not start within %s; look at its log in %q", startFor, c.LogDir)
		case <-time.After(20 * time.Millisecond):
			if pid, err := runningPID(c); err == nil && pid == cmd.Process.Pid {
				fmt.Printf("The AWS CodeDeploy agent is running as PID %d\n", pid)
				return nil
			}
		}
	}
}

type stopCommand struct{}

func (*stopCommand) flags(*pflag.FlagSet) {}

func (*stopCommand) run(cli *commandLine, _ []string) error {
	if throughSystemd(cli) {
		return systemctl("stop")
	}
	c, _, err := loadConfig(cli.ConfigFile)
	if err != nil {
		return err
	}
	return stopDetached(c)
}

// stopDetached asks the agent to stop and waits until it has: for a running download or install, however long the
// configuration allows it.
func stopDetached(c *config.Config) error {
	pid, err := runningPID(c)
	if err != nil {
		return err
	}
	if pid == 0 {
		fmt.Println("Nothing running that could be stopped")
		return nil
	}
	if err := syscall.Kill(pid, unix.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("cannot stop the agent with PID %d: %w", pid, err)
	}
	deadline := time.Now().Add(c.KillAgentMaxWaitTime + 10*time.Second)
	for told := false; ; time.Sleep(20 * time.Millisecond) {
		if now, err := runningPID(c); err == nil && now != pid {
			fmt.Println("The AWS CodeDeploy agent has stopped")
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the agent with PID %d has not stopped within %s", pid, c.KillAgentMaxWaitTime)
		}
		if !told && time.Until(deadline) < c.KillAgentMaxWaitTime+7*time.Second {
			told = true
			fmt.Println("Waiting for work in progress; a second TERM to the agent ends it at once")
		}
	}
}

type restartCommand struct{}

func (*restartCommand) flags(*pflag.FlagSet) {}

func (*restartCommand) run(cli *commandLine, _ []string) error {
	if throughSystemd(cli) {
		return systemctl("restart")
	}
	c, _, err := loadConfig(cli.ConfigFile)
	if err != nil {
		return err
	}
	if err := stopDetached(c); err != nil {
		return err
	}
	return startDetached(cli, c)
}

// statusCommand says how the agent is doing. Its first line and its exit codes are for scripts.
type statusCommand struct{ json bool }

func (s *statusCommand) flags(f *pflag.FlagSet) {
	f.BoolVar(&s.json, "json", false, "Print what the agent says of itself as JSON.")
}

func (s *statusCommand) run(cli *commandLine, _ []string) error {
	c, _, err := loadConfig(cli.ConfigFile)
	if err != nil {
		_ = fail(err)
		return exitCode(exitUnknown)
	}
	pid, err := runningPID(c)
	if err != nil {
		_ = fail(err)
		return exitCode(exitUnknown)
	}
	if pid == 0 {
		fmt.Println("No AWS CodeDeploy agent running")
		return exitCode(exitNotRunning)
	}
	status, err := agent.ReadStatus(statusFile(c))
	if errors.Is(err, fs.ErrNotExist) || (err == nil && status.PID != pid) {
		// Between taking the lock and the first word, or another agent than ours.
		fmt.Printf("The AWS CodeDeploy agent is running as PID %d\n", pid)
		return nil
	}
	if err != nil {
		_ = fail(err)
		return exitCode(exitUnknown)
	}
	return s.print(status)
}

func (s *statusCommand) print(status agent.Status) error {
	healthy := status.Healthy(time.Now())
	if s.json {
		if err := printJSON(struct {
			agent.Status
			Healthy bool `json:"healthy"`
		}{status, healthy}); err != nil {
			return err
		}
	} else {
		fmt.Printf("The AWS CodeDeploy agent is running as PID %d\n", status.PID)
		fmt.Printf("Version %s, started %s\n", status.Version, status.Started.Local().Format(time.DateTime))
		switch {
		case status.LastPoll.IsZero():
			fmt.Println("The service has not answered yet")
		default:
			fmt.Printf("The service last answered %s ago\n", time.Since(status.LastPoll).Round(time.Second))
		}
		for _, work := range status.Working {
			fmt.Println("Working: " + work)
		}
		if status.LastError != "" {
			fmt.Println("Since then: " + status.LastError)
		}
	}
	if !healthy {
		return exitCode(1)
	}
	return nil
}
