package agent

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"codedeploy-agent/hooks"
	installer "codedeploy-agent/internal/install"
	"codedeploy-agent/internal/journal"
	"codedeploy-agent/internal/state"
)

const (
	// recordLifetime is how old a command may be before an agent has nothing more to do with it.
	recordLifetime = 24 * time.Hour
	// redoWithin is how long after its acceptance interrupted work is done again. Later somebody may have repaired the
	// host by hand.
	redoWithin = time.Hour
	// firstReports is how long polling waits for the first attempt to deliver earlier results.
	firstReports = 5 * time.Second
)

// recoverLocally brings the disk in order: it needs no network and is over before systemd hears READY.
func (a *Agent) recoverLocally() error {
	root := a.Executor.Root
	if err := root.Create(); err != nil {
		return err
	}
	j, warnings, err := journal.Open(root.Journal())
	if err != nil {
		return err
	}
	for _, w := range warnings {
		a.Log.Warn("A record of the journal is put aside.", zap.Error(w))
	}
	a.journal = j
	if err := installer.Recover(root, a.Log); err != nil {
		// The next Install of that group says what is in its way; other groups are not held up.
		a.Log.Error("cannot finish an interrupted install", zap.Error(err))
	}
	return nil
}

// resume takes up every command that an earlier agent left. Results that only wait for their report are offered once
// before polling begins.
func (a *Agent) resume() {
	a.adoptTracked()
	var first sync.WaitGroup
	for _, r := range a.journal.All() {
		log := a.Log.With(zap.String("command", r.CommandName), zap.String("deployment", r.DeploymentID))
		switch {
		case r.Phase == journal.Reported:
		case r.HostIdentifier != a.host.Load().ID:
			log.Warn("A command of another host is put aside; was this machine made from an image?", zap.String("host", r.HostIdentifier))
			a.putAside(r, log)
		case time.Since(r.At) > recordLifetime:
			log.Warn("A command of an earlier day is put aside.", zap.Time("received", r.At))
			a.putAside(r, log)
		default:
			log.Info("Going on with a command of an earlier run.", zap.String("phase", string(r.Phase)))
			tried := func() {}
			if r.Phase == journal.Done {
				first.Add(1)
				tried = sync.OnceFunc(first.Done)
			}
			a.mu.Lock()
			a.active[r.HostCommandIdentifier] = true
			a.mu.Unlock()
			a.carrying.Go(func() {
				defer a.release(r.HostCommandIdentifier)
				a.takeUp(r, log, tried)
			})
		}
	}
	offered := make(chan struct{})
	go func() { first.Wait(); close(offered) }()
	select {
	case <-offered:
	case <-time.After(firstReports):
	case <-a.leaving.Done():
	}
}

// takeUp goes on where the journal says that the command was.
func (a *Agent) takeUp(r journal.Record, log *zap.Logger, tried func()) {
	if r.Phase == journal.Received {
		a.carry(r, log)
		return
	}
	defer a.Health.working(describe(r))()
	switch r.Phase {
	case journal.Begun:
		a.takeUpWork(r, log)
	case journal.Done:
		a.deliver(r, log, tried)
	}
}

// takeUpWork finds out what became of work that had been begun, or does it again where that is safe.
func (a *Agent) takeUpWork(r journal.Record, log *zap.Logger) {
	execution, err := hooks.Attach(a.journal.HookRecord(r))
	if err == nil {
		log.Info("Waiting again for a hook of an earlier run.")
		out, err := a.await(r.CommandName, execution)
		if !errors.Is(err, errLeft) {
			a.report(r, out, log)
		}
		return
	}
	if !errors.Is(err, hooks.ErrNotStarted) {
		log.Warn("cannot tell what became of the hook", zap.Error(err))
		a.report(r, interrupted("the lifecycle event "+r.CommandName), log)
		return
	}
	if a.installDone(r, log) {
		a.report(r, succeeded(""), log)
		return
	}
	if time.Since(r.Begun) > redoWithin {
		a.report(r, interrupted(fmt.Sprintf("%s, begun more than %s ago,", r.CommandName, redoWithin)), log)
		return
	}
	r, step, err := a.prepare(r)
	switch {
	case errors.Is(err, errLeft):
	case err != nil:
		a.report(r, failed(err), log)
	default:
		log.Info("Doing interrupted work again.")
		a.perform(r, step, log)
	}
}

// installDone tells whether an Install whose result is missing had been committed.
func (a *Agent) installDone(r journal.Record, log *zap.Logger) bool {
	if r.CommandName != hooks.Install || r.GroupID == "" {
		return false
	}
	done, err := installer.Done(a.Executor.Root.Group(r.GroupID), r.HostCommandIdentifier)
	if err != nil {
		log.Warn("cannot tell whether the install was done", zap.Error(err))
	}
	return done
}

// adoptTracked turns the tracking files of an agent that kept no journal into results: nobody knows how their commands
// ended.
func (a *Agent) adoptTracked() {
	root := a.Executor.Root
	tracked, err := root.AllTracked()
	if err != nil {
		a.Log.Warn("cannot look for commands of an earlier agent", zap.Error(err))
	}
	for _, t := range tracked {
		r, known := a.journal.Lookup(t.HostCommandIdentifier)
		if known && r.Phase != journal.Reported {
			continue
		}
		if known || t.HostCommandIdentifier == "" || time.Since(t.Since) > recordLifetime {
			a.dropTracked(root, t)
			continue
		}
		a.Log.Warn("A command of an earlier agent was interrupted; it is reported as failed.", zap.String("deployment", t.DeploymentID))
		out := interrupted("a lifecycle event of deployment " + t.DeploymentID)
		_, err := a.journal.Done(journal.Record{
			HostCommandIdentifier: t.HostCommandIdentifier,
			HostIdentifier:        a.host.Load().ID,
			DeploymentID:          t.DeploymentID,
			At:                    t.Since,
		}, journal.Result{Status: string(out.status), Diagnostics: out.diagnostics.Envelope().Payload})
		if err != nil {
			a.Log.Warn("The result of an earlier agent's command is only in memory.", zap.Error(err))
		}
	}
}

func (a *Agent) dropTracked(root state.Root, t state.Tracked) {
	if err := root.RemoveTracked(t.DeploymentID); err != nil {
		a.Log.Warn("An old tracking file cannot be removed.", zap.Error(err))
	}
}
