package agent

import (
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"codedeploy-agent/internal/codedeploy"
	"codedeploy-agent/internal/journal"
)

// reconnectAfter is how many failed polls in a row make the agent find out anew who it is: the role may have been
// attached late, or the on-premises file replaced.
const reconnectAfter = 3

// firstContact bounds the pause between polls until the service has answered once: a host that has just booted should
// be there soon after its network is.
const firstContact = 12 * time.Second

// poll asks for commands until the agent leaves.
func (a *Agent) poll() {
	backoff := codedeploy.Backoff{Max: firstContact}
	failures, empty := 0, 0
	for a.leaving.Err() == nil {
		a.Health.beat(a.longestPoll())
		began := time.Now()
		command, err := a.host.Load().Client.Poll(a.leaving, a.host.Load().ID)
		switch {
		case a.leaving.Err() != nil:
			if command != nil {
				// Not acknowledged, so the service delivers it again.
				a.Log.Info("A command came while stopping; it is left for the next agent.", zap.String("command", command.CommandName))
			}
			return
		case err != nil:
			failures++
			a.pollFailed(err, failures)
			a.pause(max(backoff.After(err)-time.Since(began), codedeploy.RetryAfter(err)))
			continue
		}
		failures, backoff.Max = 0, 0
		a.Health.polled()
		if command != nil && !a.meantForUs(command) {
			a.pause(backoff.Next())
			continue
		}
		backoff.Reset()
		if command != nil && a.dispatch(*command) {
			empty = 0
			continue
		}
		if empty++; a.busy() {
			empty = 0
		}
		if empty == restAfter {
			a.rest()
		}
		a.idle()
	}
}

// longestPoll is what one poll can take: it is signed anew once when the clock was wrong, and it waits while the service
// asks for patience.
func (a *Agent) longestPoll() time.Duration {
	return 2*a.PollTimeout + codedeploy.MaxRetryAfter*5/4
}

// pollFailed says what is wrong and, when it goes on, looks again who this host is.
func (a *Agent) pollFailed(err error, failures int) {
	a.Log.Error("cannot poll for commands; trying again", zap.Error(err), zap.Int("failures", failures))
	a.Health.failed(err)
	if failures%reconnectAfter != 0 {
		return
	}
	host, err := a.connectOnce(a.leaving)
	if err != nil {
		a.Log.Warn("cannot find out anew who this host is", zap.Error(err))
		return
	}
	a.goOnAs(host)
}

// goOnAs replaces who this host is, with its clients. Commands in flight are the old host's to report, so another one
// has to wait for their end.
func (a *Agent) goOnAs(host *Host) {
	old := a.host.Load()
	if host.ID != old.ID {
		log := a.Log.With(zap.String("was", old.ID), zap.String("is", host.ID))
		if a.busy() {
			log.Warn("This host has become another one. The agent follows when the results of its commands are reported, or when it is restarted.")
			return
		}
		log.Warn("This host has become another one.")
	}
	a.host.Store(host)
}

func (a *Agent) busy() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.active) > 0
}

// meantForUs tells whether the command names this host and something to do. As in 1.x it is enough that our identifier
// contains the command's.
func (a *Agent) meantForUs(c *codedeploy.HostCommand) bool {
	switch {
	case c.HostIdentifier == "" || !strings.Contains(a.host.Load().ID, c.HostIdentifier):
		a.Log.Error("The service sent a command for another host; it is ignored.",
			zap.String("for", c.HostIdentifier), zap.String("host", a.host.Load().ID))
		return false
	case c.CommandName == "" || c.HostCommandIdentifier == "":
		a.Log.Error("The service sent a command without a name; it is ignored.")
		return false
	}
	return true
}

// dispatch starts to carry a command. It returns false for a command that is already known: it is in progress, its
// report is on its way, or the service has it.
func (a *Agent) dispatch(c codedeploy.HostCommand) bool {
	if !a.claim(c.HostCommandIdentifier) {
		a.Log.Debug("The service sent a command again that is known.", zap.String("command", c.CommandName))
		return false
	}
	log := a.Log.With(zap.String("command", c.CommandName), zap.String("execution", c.DeploymentExecutionID))
	log.Info("Received a command.", zap.String("id", c.HostCommandIdentifier))
	record := journal.Record{
		HostCommandIdentifier: c.HostCommandIdentifier,
		HostIdentifier:        a.host.Load().ID,
		DeploymentExecutionID: c.DeploymentExecutionID,
		CommandName:           c.CommandName,
		At:                    time.Now(),
	}
	a.carrying.Go(func() {
		defer a.release(c.HostCommandIdentifier)
		select {
		case a.slots <- struct{}{}:
			defer func() { <-a.slots }()
			a.carry(record, log)
		case <-a.leaving.Done():
		}
	})
	return true
}

// claim makes sure that one goroutine carries a command, and none a command that is known. A command leaves active
// last, so it is asked for in all places at once.
func (a *Agent) claim(hostCommandIdentifier string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, recorded := a.journal.Lookup(hostCommandIdentifier); recorded ||
		a.active[hostCommandIdentifier] || slices.Contains(a.settled, hostCommandIdentifier) {
		return false
	}
	a.active[hostCommandIdentifier] = true
	return true
}

func (a *Agent) release(hostCommandIdentifier string) {
	a.mu.Lock()
	delete(a.active, hostCommandIdentifier)
	a.mu.Unlock()
	a.wake()
}

// wake ends the pause between polls: a command is done, so the deployment's next one is likely there.
func (a *Agent) wake() {
	select {
	case a.finished <- struct{}{}:
	default:
	}
}

// idle waits for the next poll: the configured time, or until a command is done.
func (a *Agent) idle() {
	a.Health.beat(a.WaitBetweenRuns)
	timer := time.NewTimer(a.WaitBetweenRuns)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.finished:
	case <-a.leaving.Done():
	}
}

// pause waits after a failure; a command that ends does not shorten it.
func (a *Agent) pause(d time.Duration) {
	d = max(d, 0)
	a.Health.beat(d)
	sleep(a.leaving, d)
}
