// Package agent polls the CodeDeploy Commands service and carries each command from its receipt to its report.
//
// One command flows through the package in one line, in carry:
//
//	Poll -> Specification -> deployspec.Open -> Executor.Prepare -> journal.Receive -> Acknowledge
//	     -> journal.Begin -> run -> journal.Done -> Complete -> journal.End
//
// Every arrow behind the acknowledgement is on stable storage before the next begins, and recover picks each command
// up where the journal says it was: an agent that is killed at any instant goes on by itself.
//
// The Executor decides what a command means on this host; the local tool uses it without a service.
package agent

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"codedeploy-agent/internal/bundle"
	"codedeploy-agent/internal/codedeploy"
	"codedeploy-agent/internal/deployspec"
	"codedeploy-agent/internal/identity"
	"codedeploy-agent/internal/journal"
)

// maxCommands is how many commands are carried out at once, as in 1.x. More wait, unacknowledged.
const maxCommands = 16

// Host is who this host is to the service, and how it talks to it. It may be made anew at any time.
type Host struct {
	*identity.Host
	// Client talks to the Commands service.
	Client *codedeploy.Client
	// Bundles is where revisions come from, with the same credentials.
	Bundles bundle.Clients
}

// variables are what scripts learn of the host, as with 1.x: where an on-premises host belongs, and its name.
func (h *Host) variables() []string {
	if !h.OnPremises {
		return nil
	}
	return []string{"AWS_REGION=" + h.Region, "AWS_HOST_IDENTIFIER=" + h.ID}
}

// Options are what an Agent is made of.
type Options struct {
	Executor *Executor
	// Connect finds out who this host is. It is called until it succeeds, and again when credentials fail.
	Connect func(ctx context.Context) (*Host, error)
	// Specifications says which deployment specifications are accepted.
	Specifications deployspec.Options
	// WaitBetweenRuns is the pause after a poll that brought nothing.
	WaitBetweenRuns time.Duration
	// PollTimeout is the longest that one poll may take.
	PollTimeout time.Duration
	// MaxStopWait is how long a stop waits for work in progress.
	MaxStopWait time.Duration
	// Health is told how the agent is doing.
	Health *Health
	Log    *zap.Logger
}

// Agent is the daemon.
type Agent struct {
	Options
	journal *journal.Journal
	host    atomic.Pointer[Host]

	carrying sync.WaitGroup
	slots    chan struct{}
	finished chan struct{} // wakes the poll loop when a command is done
	rest     func()        // makes the process small

	mu     sync.Mutex
	active map[string]bool // HostCommandIdentifiers that a goroutine carries
	// settled are the last commands that ended with their acknowledgement: a poll that crossed it delivers them again.
	settled []string

	behind atomic.Bool // whether a departing agent leaves every hook behind

	// leaving ends what may be cut short: polling, waiting for an answer, waiting for a hook that lives on.
	leaving context.Context
	// working ends what must not be cut short before its time: a download, an install, the last report.
	working context.Context
}

// New returns an agent that is not running yet.
func New(o Options) *Agent {
	a := &Agent{
		Options:  o,
		slots:    make(chan struct{}, maxCommands),
		finished: make(chan struct{}, 1),
		rest:     giveMemoryBack,
		active:   map[string]bool{},
	}
	o.Executor.Clients = func() bundle.Clients { return a.host.Load().Bundles }
	o.Executor.HostVariables = func() []string { return a.host.Load().variables() }
	o.Executor.Waiting = o.Health.working
	return a
}

// Departure says how a running agent is to leave.
type Departure int

// The ways to leave.
const (
	// Stop ends the agent; running downloads and installs are finished first, hooks go on under their runners.
	Stop Departure = iota
	// Reload is a Stop after which another image of the agent goes on in the same process.
	Reload
)

// Run recovers what an earlier agent left, then polls until a value arrives in depart. ready is called once everything
// local is in order, before the network is needed. While the agent leaves, a Stop turns a Reload into a Stop, and a
// second Stop leaves at once: the next agent sorts it out. Run returns how the agent has left.
func (a *Agent) Run(depart <-chan Departure, ready func()) (Departure, error) {
	leaving, leave := context.WithCancel(context.Background())
	working, abandon := context.WithCancel(context.Background())
	defer leave()
	defer abandon()
	a.leaving, a.working = leaving, working

	if err := a.recoverLocally(); err != nil {
		return Stop, err
	}
	ready()

	polling := make(chan struct{})
	go func() {
		defer close(polling)
		a.serve()
	}()
	how := <-depart
	a.Log.Info("Stopping.", zap.Bool("reload", how == Reload))
	a.behind.Store(how == Reload)
	leave()
	<-polling
	a.Health.beat(a.MaxStopWait)
	return a.drain(how, depart, abandon), nil
}

// serve is what needs the network: find out who we are, bring earlier commands to their end, poll.
func (a *Agent) serve() {
	host, err := a.connect(a.leaving)
	if err != nil {
		return // only when leaving
	}
	a.host.Store(host)
	a.resume()
	a.poll()
}

// connect finds out who this host is, however long the metadata service or the network takes.
func (a *Agent) connect(ctx context.Context) (*Host, error) {
	backoff := codedeploy.Backoff{Max: firstContact}
	for {
		host, err := a.connectOnce(ctx)
		if err == nil {
			a.Log.Info("This host is known to the service.", zap.String("host", host.ID), zap.String("region", host.Region),
				zap.String("from", host.Source))
			return host, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		a.Log.Error("cannot find out who this host is; trying again", zap.Error(err))
		a.Health.failed(err)
		pause := backoff.Next()
		a.Health.beat(pause)
		if !sleep(ctx, pause) {
			return nil, ctx.Err()
		}
	}
}

// connectFor bounds one try to find out who this host is.
const connectFor = 30 * time.Second

func (a *Agent) connectOnce(ctx context.Context) (*Host, error) {
	a.Health.beat(connectFor)
	ctx, cancel := context.WithTimeout(ctx, connectFor)
	defer cancel()
	return a.Connect(ctx)
}

// drain waits for the commands in progress, at most for MaxStopWait or until a second request to stop.
func (a *Agent) drain(how Departure, depart <-chan Departure, abandon func()) Departure {
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.carrying.Wait()
	}()
	timeout := time.NewTimer(a.MaxStopWait)
	defer timeout.Stop()
	for waiting := true; waiting; {
		select {
		case <-done:
			return how
		case <-timeout.C:
			a.Log.Warn("Work in progress did not end in time; the next agent goes on with it.", zap.Duration("waited", a.MaxStopWait))
			waiting = false
		case next := <-depart:
			switch {
			case next == Reload: // it is leaving already
			case how == Reload:
				a.Log.Info("Stopping instead of reloading.")
				how = Stop
			default:
				waiting = false
			}
		}
	}
	a.Log.Warn("Leaving at once; the next agent goes on with the work in progress.")
	abandon()
	select { // work that heeds the context cleans up behind itself
	case <-done:
	case <-time.After(2 * time.Second):
	}
	return how
}

// sleep waits for d or for the context, and tells whether the wait was whole.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
