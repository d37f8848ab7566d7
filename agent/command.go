package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"codedeploy-agent/hooks"
	"codedeploy-agent/internal/codedeploy"
	"codedeploy-agent/internal/deployspec"
	"codedeploy-agent/internal/journal"
)

// errLeft ends the carrying of a command that goes on without this agent: the next one takes it up from the journal.
var errLeft = errors.New("the agent left before the command was done")

// carry brings a command from its receipt to its report.
func (a *Agent) carry(r journal.Record, log *zap.Logger) {
	r, step, err := a.prepare(r)
	if errors.Is(err, errLeft) {
		return
	}
	if err != nil {
		log.Error("cannot prepare the command", zap.Error(err))
		a.report(r, failed(err), log)
		return
	}
	if r, err = a.journal.Receive(r); err != nil {
		log.Error("The command cannot be recorded, so it is not carried out.", zap.Error(err))
		a.report(r, failed(err), log)
		return
	}
	a.accept(r, step, log)
}

// prepare reads the deployment specification and decides what the command comes down to. The record learns to which
// deployment it belongs.
func (a *Agent) prepare(r journal.Record) (journal.Record, Step, error) {
	if r.CommandName == updateDeploymentAgent {
		a.Log.Warn("The service asked for an update of the agent. This agent is updated by its package only; nothing is done.")
		return r, Step{Noop: true}, nil
	}
	var answer *codedeploy.DeploymentSpecification
	err := a.insist(func(ctx context.Context) (err error) {
		answer, err = a.host.Load().Client.Specification(ctx, r.DeploymentExecutionID, a.host.Load().ID)
		return err
	})
	if err != nil {
		return r, Step{}, err
	}
	if answer.System != deploymentSystem {
		return r, Step{}, fmt.Errorf("cannot carry out a command of deployment system %q; this agent serves %s", answer.System, deploymentSystem)
	}
	spec, err := deployspec.Open(answer.Envelope.Format, answer.Envelope.Payload, a.Specifications)
	if err != nil {
		return r, Step{}, err
	}
	for _, note := range spec.Notes {
		a.Log.Warn(note, zap.String("deployment", spec.DeploymentID))
	}
	r.DeploymentID, r.GroupID = spec.DeploymentID, spec.DeploymentGroupID
	step, err := a.Executor.Prepare(r.CommandName, spec, r.HostCommandIdentifier)
	return r, step, err
}

// deploymentSystem is the only one whose specifications this agent understands.
const deploymentSystem = "CodeDeploy"

// accept acknowledges the command and does what the service answers.
func (a *Agent) accept(r journal.Record, step Step, log *zap.Logger) {
	defer a.Health.working(describe(r))()
	var answer codedeploy.Status
	err := a.insist(func(ctx context.Context) (err error) {
		answer, err = a.host.Load().Client.Acknowledge(ctx, r.HostCommandIdentifier, step.Noop)
		return err
	})
	switch {
	case errors.Is(err, errLeft):
		return
	case err != nil:
		log.Error("cannot acknowledge the command", zap.Error(err))
		a.report(r, failed(err), log)
	case answer == codedeploy.Succeeded:
		log.Info("The service needs no more of this command.", zap.Bool("noop", step.Noop))
		a.forget(r, log)
	case answer == codedeploy.Failed:
		a.acceptFailed(r, log)
	default:
		a.perform(r, step, log)
	}
}

// describe names a command for people.
func describe(r journal.Record) string {
	return cmp.Or(r.CommandName, "a command") + " of " + cmp.Or(r.DeploymentID, "no deployment")
}

// acceptFailed handles a command that the service counts as failed already. A no-op is reported as done all the same,
// as in 1.x, which looked at the specification once more for it; work is not begun.
func (a *Agent) acceptFailed(r journal.Record, log *zap.Logger) {
	_, step, err := a.prepare(r)
	switch {
	case errors.Is(err, errLeft):
		return
	case err == nil && step.Noop:
		a.report(r, succeeded("CompletedNoopCommand"), log)
		return
	}
	log.Warn("The service counts this command as failed; it is not carried out.", zap.Error(err))
	a.forget(r, log)
}

// perform does the work of a command that the service wants done, and reports how it ended.
func (a *Agent) perform(r journal.Record, step Step, log *zap.Logger) {
	r, err := a.journal.Begin(r)
	if err != nil {
		log.Error("The command cannot be recorded, so it is not carried out.", zap.Error(err))
		a.report(r, failed(err), log)
		return
	}
	if r.DeploymentID != "" {
		if err := a.Executor.Root.Track(r.DeploymentID, r.HostCommandIdentifier); err != nil {
			log.Warn("The tracking file cannot be written; an agent of 1.x would not know of this command.", zap.Error(err))
		}
	}
	began := time.Now()
	out, err := a.run(r, step, log)
	if errors.Is(err, errLeft) {
		log.Info("The command goes on without this agent.")
		return
	}
	log.Info("The command is done.", zap.String("status", string(out.status)), zap.Duration("took", time.Since(began)),
		zap.String("message", out.diagnostics.Message))
	a.report(r, out, log)
}

func (a *Agent) run(r journal.Record, step Step, log *zap.Logger) (outcome, error) {
	if a.leaving.Err() != nil && !step.Noop {
		return outcome{}, errLeft // nothing has been done yet: the next agent does it
	}
	switch {
	case step.Hook != nil:
		request := *step.Hook
		request.Record = a.journal.HookRecord(r)
		execution, err := hooks.Start(a.working, request, log)
		switch {
		case err != nil && a.working.Err() != nil:
			return outcome{}, errLeft // no script has run: the next agent runs it
		case err != nil:
			return failed(err), nil
		}
		return a.await(r.CommandName, execution)
	case step.Run != nil:
		unlock, err := a.Executor.groups.lock(a.leaving, step.group, step.name, a.Executor.waiting)
		if err != nil {
			return outcome{}, errLeft // it has only waited: the next agent does it
		}
		defer unlock()
		out := step.Run(a.working)
		if a.working.Err() != nil && out.status == codedeploy.Failed {
			return outcome{}, errLeft // cut short, not failed: the next agent does it again
		}
		return out, nil
	}
	return succeeded(""), nil
}

// await waits for the end of a hook, or until the agent leaves one that lives on without it.
func (a *Agent) await(event string, e *hooks.Execution) (outcome, error) {
	ctx, cancel := context.WithCancel(a.working)
	defer cancel()
	stop := context.AfterFunc(a.leaving, func() {
		// A hook that has no scope of its own might not outlive us: a stop waits for it, as 1.x did.
		if e.Detached() || a.behind.Load() {
			cancel()
		}
	})
	defer stop()
	result, err := e.Wait(ctx)
	switch {
	case ctx.Err() != nil && err != nil:
		return outcome{}, errLeft
	case errors.Is(err, hooks.ErrNotStarted): // its runner was killed before the first script
		return interrupted("the lifecycle event " + event), nil
	case err != nil:
		return failed(err), nil
	}
	for _, w := range result.Warnings {
		a.Log.Warn(w, zap.String("event", event))
	}
	return hookOutcome(event, result), nil
}

// maxSettled is how many commands are remembered that needed neither work nor report.
const maxSettled = 64

// forget drops a command that needs neither work nor report.
func (a *Agent) forget(r journal.Record, log *zap.Logger) {
	a.mu.Lock()
	a.settled = append(a.settled[max(0, len(a.settled)-maxSettled+1):], r.HostCommandIdentifier)
	a.mu.Unlock()
	if err := a.journal.Forget(r); err != nil {
		log.Warn("The record of the command cannot be removed.", zap.Error(err))
	}
}
