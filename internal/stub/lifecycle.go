package stub

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"
)

var (
	inPlace = []string{"ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ApplicationStart", "ValidateService"}
	block   = []string{"BeforeBlockTraffic", "BlockTraffic", "AfterBlockTraffic"}
	allow   = []string{"BeforeAllowTraffic", "AllowTraffic", "AfterAllowTraffic"}
)

// order returns the events of the hosts and, in blue/green deployments, those of the original hosts.
func (o DeployOptions) order() (hosts, originals []string) {
	switch {
	case len(o.Events) > 0:
		return o.Events, o.Events
	case len(o.Originals) > 0 && o.Rollback:
		return block, allow
	case len(o.Originals) > 0:
		return slices.Concat(inPlace, allow), block
	case o.LoadBalancer:
		return slices.Concat(block, inPlace, allow), nil
	}
	return inPlace, nil
}

// byService tells which events never reach a host.
func byService(event string) bool { return event == "BlockTraffic" || event == "AllowTraffic" }

// proceed starts every host whose turn it is, and ends the deployment when none is left. The lock is held.
func (d *Deployment) proceed() {
	if d.info.Status.Ended() {
		return
	}
	for phase := range 2 {
		busy := false
		for _, t := range d.targets {
			if t.phase != phase || t.result.Status.Ended() {
				continue
			}
			if t.result.Status == Pending && !(d.options.OneAtATime && busy) {
				t.result.Status = InProgress
				d.step(t)
			}
			if !t.result.Status.Ended() {
				busy = true
			}
		}
		if busy || d.info.Status.Ended() {
			return
		}
	}
	d.finish(Succeeded, "")
}

// step does the host's next event, or ends its part after the last. The lock is held.
func (d *Deployment) step(t *target) {
	for t.next < len(t.result.Events) {
		event := &t.result.Events[t.next]
		if !byService(event.Name) {
			d.command(t, event)
			return
		}
		event.Status, event.Start, event.End = Succeeded, time.Now(), time.Now()
		d.emit(Event{Host: t.host.ID, Name: event.Name, Status: Succeeded, Message: "done by the service"})
		t.next++
	}
	t.result.Status = Succeeded
	d.emit(Event{Host: t.host.ID, Status: Succeeded})
}

// command sends an event to the host. The lock is held.
func (d *Deployment) command(t *target, event *LifecycleEvent) {
	event.Status = Pending
	raw := RawCommand{
		Name: event.Name, Specification: d.specification(), Signing: d.options.Signing, AckAnswer: d.options.AckAnswer,
		ExecutionID:  fmt.Sprintf("%s/%s/%s/%d-%s", d.engine.server.options.Account, d.info.ID, random(8), t.next+1, event.Name),
		StartTimeout: d.engine.server.options.StartTimeout, EventTimeout: d.engine.server.options.EventTimeout,
	}
	if d.options.Each != nil {
		d.options.Each(event.Name, &raw)
	}
	c, err := d.engine.enqueue(t.host, raw, func(c *command) { d.ended(t, c) })
	if err != nil {
		d.failHost(t, err.Error()) // an identifier chosen by Each is in use
		return
	}
	c.Deployment = d.info.ID
	event.Command = c.ID
}

// eventStarted notes the first delivery of a deployment's command. The lock is held.
func (e *engine) eventStarted(c *command) {
	for _, d := range e.deployments {
		if d.info.ID != c.Deployment {
			continue
		}
		for _, t := range d.targets {
			if t.next < len(t.result.Events) && t.result.Events[t.next].Command == c.ID {
				event := &t.result.Events[t.next]
				event.Status, event.Start = InProgress, c.Delivered
				d.emit(Event{Host: t.host.ID, Name: event.Name, Status: InProgress})
			}
		}
	}
}

// ended goes on after the end of a command. The lock is held.
func (d *Deployment) ended(t *target, c *command) {
	event := &t.result.Events[t.next]
	event.Status, event.End, event.Reason = c.Status, c.Ended, c.Reason
	event.Diagnostics = c.Diagnostics()
	event.Noop = c.Noop != nil && *c.Noop
	if event.Start.IsZero() {
		event.Start = event.End
	}
	d.emit(Event{
		Host: t.host.ID, Name: event.Name, Status: event.Status, Duration: event.End.Sub(event.Start),
		Diagnostics: event.Diagnostics, Noop: event.Noop, Message: event.Reason,
	})
	if d.info.Status.Ended() {
		return
	}
	if c.Status == Failed && !d.forgives(event.Name) {
		d.failHost(t, event.Name+" failed")
		return
	}
	t.next++
	d.step(t)
	d.proceed()
}

// forgives tells whether a failure of the event does not matter.
func (d *Deployment) forgives(event string) bool {
	return d.options.IgnoreApplicationStopFailures &&
		(event == "ApplicationStop" || event == "BeforeBlockTraffic" || event == "AfterBlockTraffic")
}

// failHost ends the host's part and with it the deployment, once no other host is in the middle of its own.
func (d *Deployment) failHost(t *target, why string) {
	t.skipRest()
	t.result.Status = Failed
	d.emit(Event{Host: t.host.ID, Status: Failed, Message: why})
	d.info.Message = cmp.Or(d.info.Message, fmt.Sprintf("%s on %s", why, t.host.Name))
	for _, other := range d.targets {
		if other.result.Status == Pending {
			other.skipRest()
			other.result.Status = Skipped
		}
	}
	for _, other := range d.targets {
		if !other.result.Status.Ended() {
			return // it goes on; its own end comes back to proceed
		}
	}
	d.finish(Failed, d.info.Message)
}

func (t *target) skipRest() {
	for i := range t.result.Events {
		if t.result.Events[i].Status == Pending {
			t.result.Events[i].Status = Skipped
		}
	}
}

// finish gives the deployment its final status; a host that failed decides. The lock is held.
func (d *Deployment) finish(status Status, message string) {
	for _, t := range d.targets {
		if t.result.Status == Failed {
			status = Failed
		}
		if !t.result.Status.Ended() {
			t.skipRest()
			t.result.Status = status
		}
	}
	d.info.Status, d.info.Message, d.info.Ended = status, cmp.Or(d.info.Message, message), time.Now()
	d.emit(Event{Status: status, Message: d.info.Message, Duration: d.info.Ended.Sub(d.info.Created)})
}

// groupID makes an id that looks like the service's and is the same every time.
func groupID(application, group string) string {
	h := sha256.Sum256([]byte(application + "/" + group))
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16])
}
