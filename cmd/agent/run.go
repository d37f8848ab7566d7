package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"codedeploy-agent/agent"
	"codedeploy-agent/hooks"
	"codedeploy-agent/internal/config"
	"codedeploy-agent/internal/logging"
	"codedeploy-agent/internal/report"
	"codedeploy-agent/systemd"
)

// runCommand is the daemon, in the foreground.
type runCommand struct{ check bool }

func (r *runCommand) flags(f *pflag.FlagSet) {
	f.BoolVar(&r.check, "check", false, "Only check that the configuration can be used, and exit.")
}

func (r *runCommand) run(cli *commandLine, _ []string) error {
	// No core dump of a process that holds credentials. Hooks are not touched: exec resets this.
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	hooks.ReapInherited() // runners of the image that executed this one
	c, findings, err := loadConfig(cli.ConfigFile)
	if err != nil {
		_ = fail(err)
		return exitCode(exitBadConfig)
	}
	if r.check {
		if _, err := wire(c, nil, zap.NewNop()); err != nil {
			_ = fail(err)
			return exitCode(exitBadConfig)
		}
		return report.Write(os.Stdout, "text", findings)
	}
	self, err := claimInstance(c)
	if errors.Is(err, errRunning) {
		_ = fail(err)
		return exitCode(exitRunning)
	}
	if err != nil {
		return err
	}
	defer self.release()
	log, closeLog, err := openLog(c)
	if err != nil {
		return err
	}
	defer closeLog()
	if err := self.writePID(); err != nil {
		log.Warn("The agent runs without a pid file.", zap.Error(err))
	}
	for _, f := range findings {
		log.Warn(f.String())
	}
	return daemon(cli, c, self, log)
}

// loadConfig reads the configuration that the command line names, or the one of the host.
func loadConfig(explicit string) (*config.Config, report.Findings, error) {
	path, _, err := config.Find(explicit)
	if err != nil {
		return nil, nil, err
	}
	if path == "" {
		return config.Default(), nil, nil
	}
	return config.Load(path)
}

// openLog opens the agent's log. A person at a terminal sees all of it, a service manager what is wrong.
func openLog(c *config.Config) (*zap.Logger, func(), error) {
	o := logging.Options{Dir: c.LogDir, Program: c.ProgramName, Verbose: c.Verbose}
	switch {
	case isTerminal(os.Stderr):
		o.Terminal = os.Stderr
	case !isUnlinked(os.Stderr):
		o.Errors = os.Stderr
	}
	return logging.New(o)
}

// isUnlinked tells that nobody can read a file any more: what "start" leaves its agent as error stream would only fill
// the disk.
func isUnlinked(f *os.File) bool {
	var info unix.Stat_t
	return unix.Fstat(int(f.Fd()), &info) == nil && info.Nlink == 0
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// daemon runs the agent until a signal ends it.
func daemon(cli *commandLine, c *config.Config, self *instance, log *zap.Logger) error {
	health := agent.NewHealth(statusFile(c), version, healthyFor(c))
	watch, stopWatch := context.WithCancel(context.Background())
	defer stopWatch()
	go watchdog(watch, health, log)
	for {
		how, err := runOnce(cli, c, health, log)
		if err != nil {
			return err
		}
		if how == agent.Reload {
			// This returns only when it failed; then the agent goes on as it is.
			log.Error("The reload failed; the agent goes on as it is.", zap.Error(reexecute(cli, self, log)))
			continue
		}
		notify(log, systemd.Stopping)
		log.Info("The agent has stopped.")
		return health.Remove()
	}
}

// runOnce runs an agent until a signal makes it leave, and tells how.
func runOnce(cli *commandLine, c *config.Config, health *agent.Health, log *zap.Logger) (agent.Departure, error) {
	depart, stopSignals := handleSignals(cli, log)
	log.Info("The agent starts.", zap.String("version", version), zap.Int("pid", os.Getpid()))
	how, err := runUntil(depart, c, health, log)
	// What had to be finished first may have taken long; the program or the configuration may be others by now.
	for err == nil && how == agent.Reload && !mayReload(context.Background(), cli, log) {
		how, err = runUntil(depart, c, health, log)
	}
	stopSignals()
	for next := range depart { // whoever asks for an end is heard to the last moment
		if next == agent.Stop {
			how = agent.Stop
		}
	}
	return how, err
}

func runUntil(depart <-chan agent.Departure, c *config.Config, health *agent.Health, log *zap.Logger) (agent.Departure, error) {
	a, err := wire(c, health, log)
	if err != nil {
		return agent.Stop, err
	}
	starting, started := context.WithCancel(context.Background())
	defer started()
	go extendStart(starting)
	return a.Run(depart, func() {
		started()
		notify(log, systemd.Ready)
	})
}

// healthyFor is how old the last successful poll may become: the longest poll and the pause after it, with some slack.
func healthyFor(c *config.Config) time.Duration {
	return c.HTTPReadTimeout + c.WaitBetweenRuns + 30*time.Second
}

// handleSignals turns signals into ways to leave, until stop is called. From then on a signal to stop ends the process,
// and one to reload is ignored, also by the image that comes after this one until it handles signals itself: it would
// end the process, too.
func handleSignals(cli *commandLine, log *zap.Logger) (depart <-chan agent.Departure, stop func()) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	// There is room for one Reload and the two Stops that make a difference.
	ways := make(chan agent.Departure, 3)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(ways)
		for s := range signals {
			switch {
			case s != unix.SIGHUP || onTerminal():
				select {
				case ways <- agent.Stop:
				default: // it was told twice
				}
			case ctx.Err() == nil && len(ways) == 0 && mayReload(ctx, cli, log):
				ways <- agent.Reload
			}
		}
	}()
	return ways, func() {
		cancel()
		signal.Ignore(unix.SIGHUP)
		signal.Stop(signals)
		close(signals)
	}
}

// mayReload asks the installed program whether it could go on with this configuration.
func mayReload(ctx context.Context, cli *commandLine, log *zap.Logger) bool {
	err := checkNewImage(ctx, cli)
	if err != nil && ctx.Err() == nil { // else the agent is leaving already, and nobody needs the answer
		log.Error("The reload is refused; the agent goes on as it is.", zap.Error(err))
	}
	return err == nil
}

// onTerminal tells whether this process has a controlling terminal: there SIGHUP means that the person has gone.
func onTerminal() bool {
	f, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}

// extendStart asks systemd for patience while an interrupted install is finished.
func extendStart(ctx context.Context) {
	for {
		_ = systemd.Notify(systemd.ExtendTimeout(30*time.Second), systemd.Status("Finishing interrupted work"))
		select {
		case <-time.After(10 * time.Second):
		case <-ctx.Done():
			return
		}
	}
}

// watchdog tells systemd that every loop of the agent is alive. An outage of the service is no reason to be silent.
func watchdog(ctx context.Context, health *agent.Health, log *zap.Logger) {
	interval := systemd.WatchdogInterval()
	every := interval / 3
	if interval == 0 {
		every = 10 * time.Second
	}
	status := ""
	for {
		if now := health.Summary(); now != status {
			status = now
			notify(log, systemd.Status(status))
		}
		if interval > 0 && health.Alive() {
			notify(log, systemd.Watchdog)
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return
		}
	}
}

func notify(log *zap.Logger, state string) {
	if err := systemd.Notify(state); err != nil {
		log.Debug("cannot tell systemd", zap.String("state", state), zap.Error(err))
	}
}
