package hooks

import (
	"cmp"
	"fmt"
	"path/filepath"
	"time"

	"codedeploy-agent/appspec"
)

// Defaults of Options.
const (
	DefaultKillGrace   = 10 * time.Second
	DefaultDrain       = 5 * time.Second
	DefaultMaxLogBytes = 64 << 20
	DefaultLogFiles    = 8
	defaultTimeout     = time.Hour
)

// Request is one execution of one event's scripts.
type Request struct {
	// Event is the lifecycle event, as LIFECYCLE_EVENT shows it.
	Event string
	// Scripts run in this order.
	Scripts []appspec.Script
	// Archive is the absolute path of the deployment-archive that the scripts lie in.
	Archive string
	// Variables are the deployment's variables, NAME=value each. A variable without a value is absent, not empty.
	Variables []string
	// DeploymentID is the deployment that the command belongs to, not the one that the scripts may come from.
	DeploymentID string
	// ScriptsLog and DeploymentsLog are absolute paths of logs to append to; "" means none.
	ScriptsLog, DeploymentsLog string
	// Record is the absolute path of a directory for this execution alone. Start makes it; whoever has taken the
	// result removes it.
	Record  string
	Options Options
}

// Options are the host's settings for hooks. The zero value of each field means its default.
type Options struct {
	// CleanEnvironment gives scripts PATH, HOME, USER, LANG and the deployment's variables, nothing else.
	CleanEnvironment bool
	// Compat1x uses su for runas, and fails hooks whose outputs stay open.
	Compat1x bool
	// KillGrace is the time between SIGTERM and SIGKILL at a script's time limit.
	KillGrace time.Duration
	// Drain is how long outputs are read on after a script has exited.
	Drain time.Duration
	// Slice is the systemd slice of the scopes; "" is systemd's own choice.
	Slice string
	// MaxLogBytes is the size at which a log is rotated, LogFiles how many files are kept of each, the live one
	// included.
	MaxLogBytes int64
	LogFiles    int
	// Runner is the program, with its first arguments, that calls RunnerMain with the arguments after these; by default this
	// program's own file with the argument "hook-runner".
	Runner []string
	// Environ is the service's environment; nil means that of this process.
	Environ []string `json:"-"` // a runner has it as its own: values need not be text, and the record needs no secrets
}

func (o Options) withDefaults() Options {
	positive := func(d, otherwise time.Duration) time.Duration {
		return cmp.Or(max(d, 0), otherwise)
	}
	o.KillGrace = positive(o.KillGrace, DefaultKillGrace)
	o.Drain = positive(o.Drain, DefaultDrain)
	o.MaxLogBytes = cmp.Or(max(o.MaxLogBytes, 0), DefaultMaxLogBytes)
	o.LogFiles = cmp.Or(max(o.LogFiles, 0), DefaultLogFiles)
	if o.Runner == nil {
		o.Runner = []string{"/proc/self/exe", "hook-runner"}
	}
	return o
}

func (r Request) validate() error {
	for _, p := range []struct{ what, path string }{
		{"the archive", r.Archive}, {"the record", r.Record}, {"the scripts log", r.ScriptsLog}, {"the deployments log", r.DeploymentsLog},
	} {
		if p.path != "" && !filepath.IsAbs(p.path) {
			return fmt.Errorf("cannot run hook %q: the path of %s is not absolute: %q", r.Event, p.what, p.path)
		}
	}
	if r.Event == "" || r.Archive == "" || r.Record == "" {
		return fmt.Errorf("cannot run hook %q: event, archive and record must be given", r.Event)
	}
	return nil
}

// Outcome says how a hook ended.
type Outcome string

// The outcomes of a hook.
const (
	// Succeeded: every script exited with code 0.
	Succeeded Outcome = "Succeeded"
	// ScriptMissing: the script does not exist.
	ScriptMissing Outcome = "ScriptMissing"
	// NotExecutable: the script is not executable and could not be made so.
	NotExecutable Outcome = "NotExecutable"
	// TimedOut: the script ran into its time limit and was ended, whatever it answered.
	TimedOut Outcome = "TimedOut"
	// Failed: the script could not be started, exited with another code than 0, or died of a signal.
	Failed Outcome = "Failed"
	// OutputsLeftOpen: the script succeeded but its outputs stayed open until its time limit; only with Compat1x.
	OutputsLeftOpen Outcome = "OutputsLeftOpen"
	// Error: the hook was refused, or the runner could not do its work.
	Error Outcome = "Error"
	// Lost: the runner is gone and left no result; the scripts may have run in part.
	Lost Outcome = "Lost"
)

// Result is how a hook ended.
type Result struct {
	Version int
	Outcome Outcome
	// Script is the location, as the AppSpec gives it, of the script that failed; "" when none did.
	Script string
	// Message is for the customer: the cause, then what to do next. It is empty when the hook succeeded.
	Message string
	// Log is the end of the scripts' output with its marks: whole entries of less than 2048 characters together.
	Log string
	// ExitCode is that of the failed script; 0 when it has none.
	ExitCode int
	// Signal names the signal that the failed script died of, for example "SIGKILL".
	Signal string
	// OOMKilled tells that the kernel killed processes of the failed script because memory ran out.
	OOMKilled bool
	// Duration is that of the whole hook.
	Duration time.Duration
	// Warnings are for the agent's log, whether the hook succeeded or not.
	Warnings []string
}
