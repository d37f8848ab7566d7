package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.uber.org/zap"

	"codedeploy-agent/internal/codedeploy"
	"codedeploy-agent/internal/journal"
)

const (
	// reportFor is how long a result is offered to the service before it is put aside; the service has long given up.
	reportFor = 24 * time.Hour
	// reportWhenLeaving is how long a departing agent tries to deliver a result. It is stored, so the next one goes on.
	reportWhenLeaving = 5 * time.Second
)

// report stores how a command ended and delivers it. From here on nothing changes the result.
func (a *Agent) report(r journal.Record, out outcome, log *zap.Logger) {
	r, err := a.journal.Done(r, journal.Result{
		Status:      string(out.status),
		Diagnostics: out.diagnostics.Envelope().Payload,
	})
	if err != nil {
		log.Error("The result cannot be stored; it is reported from memory.", zap.Error(err))
	}
	a.deliver(r, log, func() {})
}

// deliver offers a stored result to the service until it is accepted or refused for good. tried is called after the
// first attempt.
func (a *Agent) deliver(r journal.Record, log *zap.Logger, tried func()) {
	var diagnostics codedeploy.Diagnostics
	if err := json.Unmarshal([]byte(r.Result.Diagnostics), &diagnostics); err != nil {
		diagnostics = failed(fmt.Errorf("cannot read the stored result: %w", err)).diagnostics
	}
	backoff := codedeploy.Backoff{Base: firstReportRetry, Max: longestReportRetry}
	ctx, cancel := a.reporting()
	defer cancel()
	for first := true; ; first = false {
		err := a.host.Load().Client.Complete(ctx, r.HostCommandIdentifier, codedeploy.Status(r.Result.Status), diagnostics)
		if first {
			tried()
		}
		switch {
		case err == nil:
			a.wake()
			log.Info("The result is reported.", zap.String("status", r.Result.Status))
			a.end(r, log)
			return
		case codedeploy.KindOf(err) == codedeploy.ClientFault:
			log.Error("The service does not take the result of the command.", zap.Error(err))
			a.end(r, log)
			return
		case time.Since(r.At) > reportFor:
			log.Error("The result could not be reported for a day; it is put aside.", zap.Error(err))
			a.putAside(r, log)
			return
		case ctx.Err() != nil:
			log.Warn("The result is not reported yet; the next agent does it.", zap.Error(err))
			return
		}
		log.Warn("cannot report the result; trying again", zap.Error(err))
		if !sleep(ctx, backoff.After(err)) {
			log.Warn("The result is not reported yet; the next agent does it.")
			return
		}
	}
}

// The pauses between two attempts to report; a deployment waits for it.
const (
	firstReportRetry   = time.Second
	longestReportRetry = 30 * time.Second
)

// reporting returns a context that ends some seconds after the agent began to leave.
func (a *Agent) reporting() (context.Context, func()) {
	ctx, cancel := context.WithCancel(a.working)
	stop := context.AfterFunc(a.leaving, func() {
		time.AfterFunc(reportWhenLeaving, cancel)
	})
	return ctx, func() { stop(); cancel() }
}

// end closes the command in the journal and in the tracking folder of 1.x.
func (a *Agent) end(r journal.Record, log *zap.Logger) {
	if err := a.journal.End(r); err != nil {
		log.Warn("The command cannot be closed in the journal.", zap.Error(err))
	}
	if r.DeploymentID == "" {
		return
	}
	if err := a.Executor.Root.Untrack(r.DeploymentID, r.HostCommandIdentifier); err != nil {
		log.Warn("The tracking file cannot be removed.", zap.Error(err))
	}
}

func (a *Agent) putAside(r journal.Record, log *zap.Logger) {
	if err := a.journal.PutAside(r); err != nil {
		log.Warn("The record of a command cannot be put aside.", zap.Error(err))
	}
	if r.DeploymentID != "" {
		_ = a.Executor.Root.Untrack(r.DeploymentID, r.HostCommandIdentifier)
	}
}
