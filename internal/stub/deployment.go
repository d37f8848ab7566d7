package stub

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"iter"
	"slices"
	"time"

	"codedeploy-agent/internal/stub/cms"
)

// DeployOptions say what is deployed where, and how the service goes about it.
type DeployOptions struct {
	// Application and Group default to "demo-application" and "demo-group".
	Application string `json:"application,omitempty"`
	Group       string `json:"group,omitempty"`
	// GroupID is the id that becomes a directory on the host; empty derives one from the names.
	GroupID string `json:"group_id,omitempty"`
	// Revision is what to deploy, as a rule from Push.
	Revision Revision `json:"revision"`
	// Hosts are ids or names; empty means every host of the group.
	Hosts []string `json:"hosts,omitempty"`
	// Originals are the hosts that lose their traffic in a blue/green deployment, which having them makes it.
	Originals []string `json:"originals,omitempty"`
	// Rollback turns a blue/green deployment back: originals get the traffic again.
	Rollback bool `json:"rollback,omitempty"`
	// LoadBalancer adds the traffic events to an in-place deployment.
	LoadBalancer bool `json:"load_balancer,omitempty"`
	// Events replaces the service's order of events.
	Events []string `json:"events,omitempty"`
	// OneAtATime starts a host when the one before it has succeeded.
	OneAtATime                    bool   `json:"one_at_a_time,omitempty"`
	IgnoreApplicationStopFailures bool   `json:"ignore_application_stop_failures,omitempty"`
	FileExistsBehavior            string `json:"file_exists_behavior,omitempty"`
	AppSpecFilename               string `json:"appspec_filename,omitempty"`
	// Creator and Type replace what follows from the other fields.
	Creator                    string   `json:"creator,omitempty"`
	Type                       string   `json:"type,omitempty"`
	AllPossibleLifecycleEvents []string `json:"all_possible_lifecycle_events,omitempty"`
	ReuseArchiveFrom           string   `json:"reuse_archive_from,omitempty"`
	// Specification is laid over the specification; a nil value removes the member.
	Specification map[string]any `json:"specification,omitempty"`
	// Signing says how specifications are signed, soundly or not.
	Signing cms.Options `json:"-"`
	// AckAnswer replaces the answer to acknowledgements.
	AckAnswer Status `json:"-"`
	// Each may change the command of an event before it is sent; it must not call the twin.
	Each func(event string, raw *RawCommand) `json:"-"`
}

// LifecycleEvent is one event on one host.
type LifecycleEvent struct {
	Name        string       `json:"name"`
	Status      Status       `json:"status"`
	Start       time.Time    `json:"start,omitzero"`
	End         time.Time    `json:"end,omitzero"`
	Diagnostics *Diagnostics `json:"diagnostics,omitempty"`
	// Command is the host command identifier; empty for events that the service does itself.
	Command string `json:"command,omitempty"`
	Noop    bool   `json:"noop,omitempty"`
	// Reason says why the service ended the event, for example a time limit.
	Reason string `json:"reason,omitempty"`
}

// HostResult is a host's part in a deployment.
type HostResult struct {
	Host   string           `json:"host"`
	Status Status           `json:"status"`
	Events []LifecycleEvent `json:"events"`
}

// DeploymentInfo is the state of a deployment.
type DeploymentInfo struct {
	ID          string       `json:"id"`
	Application string       `json:"application"`
	Group       string       `json:"group"`
	GroupID     string       `json:"group_id"`
	Status      Status       `json:"status"`
	Message     string       `json:"message,omitempty"`
	Created     time.Time    `json:"created"`
	Ended       time.Time    `json:"ended,omitzero"`
	Revision    Revision     `json:"revision"`
	Hosts       []HostResult `json:"hosts"`
}

// Event is one step of a deployment.
type Event struct {
	Seq        int       `json:"seq"`
	Time       time.Time `json:"time"`
	Deployment string    `json:"deployment"`
	// Host is empty for steps of the deployment as a whole.
	Host string `json:"host,omitempty"`
	// Name is the lifecycle event; empty for steps of a host or of the whole.
	Name        string        `json:"name,omitempty"`
	Status      Status        `json:"status"`
	Duration    time.Duration `json:"duration"`
	Diagnostics *Diagnostics  `json:"diagnostics,omitempty"`
	Noop        bool          `json:"noop,omitempty"`
	Message     string        `json:"message,omitempty"`
}

// Deployment is a deployment under way or over.
type Deployment struct {
	engine  *engine
	options DeployOptions
	info    DeploymentInfo
	targets []*target
	events  []Event
}

// target is a host's part with what only the engine needs.
type target struct {
	host   *host
	phase  int
	result HostResult
	next   int // index of the event to do
}

// Deploy starts a deployment. It fails when there is no host for it or the group is busy.
func (s *Server) Deploy(ctx context.Context, o DeployOptions) (*Deployment, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	o.Application, o.Group = cmp.Or(o.Application, "demo-application"), cmp.Or(o.Group, "demo-group")
	o.GroupID = cmp.Or(o.GroupID, groupID(o.Application, o.Group))
	e := s.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	d := &Deployment{engine: e, options: o}
	d.info = DeploymentInfo{ID: deploymentID(), Application: o.Application, Group: o.Group, GroupID: o.GroupID, Status: Created, Created: time.Now(), Revision: o.Revision}
	if err := e.admit(d); err != nil {
		return nil, fmt.Errorf("cannot deploy to group %q: %w", o.Group, err)
	}
	e.deployments = append(e.deployments, d)
	d.info.Status = InProgress
	d.emit(Event{Status: InProgress})
	d.proceed()
	return d, nil
}

// Deployment finds a deployment by its id.
func (s *Server) Deployment(id string) (*Deployment, bool) {
	s.engine.mu.Lock()
	defer s.engine.mu.Unlock()
	for _, d := range s.engine.deployments {
		if d.info.ID == id {
			return d, true
		}
	}
	return nil, false
}

// Deployments returns all deployments, the oldest first.
func (s *Server) Deployments() []DeploymentInfo {
	s.engine.mu.Lock()
	defer s.engine.mu.Unlock()
	out := make([]DeploymentInfo, 0, len(s.engine.deployments))
	for _, d := range s.engine.deployments {
		out = append(out, d.snapshot())
	}
	return out
}

// admit finds the hosts and their events. The lock is held.
func (e *engine) admit(d *Deployment) error {
	for _, other := range e.deployments {
		if other.info.GroupID == d.info.GroupID && !other.info.Status.Ended() {
			return fmt.Errorf("deployment %s is still in progress; wait for it or stop it", other.info.ID)
		}
	}
	first, second := d.options.order()
	hosts, err := e.hostsFor(d.options)
	if err != nil {
		return err
	}
	for _, h := range hosts {
		d.addTarget(h, 0, first)
	}
	for _, name := range d.options.Originals {
		h := e.findHost(name)
		if h == nil {
			return fmt.Errorf("no host %q is known", name)
		}
		d.addTarget(h, 1, second)
	}
	if d.options.Rollback {
		for _, t := range d.targets {
			t.phase = 1 - t.phase
		}
	}
	return nil
}

func (e *engine) hostsFor(o DeployOptions) ([]*host, error) {
	var hosts []*host
	for _, name := range o.Hosts {
		h := e.findHost(name)
		if h == nil {
			return nil, fmt.Errorf("no host %q is known", name)
		}
		hosts = append(hosts, h)
	}
	if len(o.Hosts) > 0 {
		return hosts, nil
	}
	for _, h := range e.hosts {
		if h.in(o.Group) && !slices.Contains(o.Originals, h.ID) && !slices.Contains(o.Originals, h.Name) {
			hosts = append(hosts, h)
		}
	}
	if len(hosts) == 0 {
		return nil, fmt.Errorf("no host belongs to it; add one first")
	}
	return hosts, nil
}

func (d *Deployment) addTarget(h *host, phase int, events []string) {
	t := &target{host: h, phase: phase, result: HostResult{Host: h.ID, Status: Pending}}
	for _, name := range events {
		t.result.Events = append(t.result.Events, LifecycleEvent{Name: name, Status: Pending})
	}
	d.targets = append(d.targets, t)
}

// deploymentID makes an id as the service's are: d- and nine letters or digits.
func deploymentID() string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	b := make([]byte, 9)
	_, _ = rand.Read(b)
	for i := range b {
		b[i] = letters[int(b[i])%len(letters)]
	}
	return "d-" + string(b)
}

// ID is the deployment's id.
func (d *Deployment) ID() string { return d.info.ID }

// GroupID is the id of the deployment group, the name of its directory on the host.
func (d *Deployment) GroupID() string { return d.info.GroupID }

// Info returns the state as it is now.
func (d *Deployment) Info() DeploymentInfo {
	d.engine.mu.Lock()
	defer d.engine.mu.Unlock()
	return d.snapshot()
}

func (d *Deployment) snapshot() DeploymentInfo {
	out := d.info
	out.Hosts = nil
	for _, t := range d.targets {
		r := t.result
		r.Events = slices.Clone(r.Events)
		out.Hosts = append(out.Hosts, r)
	}
	return out
}

// Wait returns the final state; before that only an error of ctx or the end of the twin.
func (d *Deployment) Wait(ctx context.Context) (DeploymentInfo, error) {
	err := d.engine.await(ctx, func() bool { return d.info.Status.Ended() })
	return d.Info(), err
}

// Events yields every step from the beginning, each as it happens, and ends with the deployment or with ctx.
func (d *Deployment) Events(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for n := 0; ; n++ {
			over := false
			var event Event
			err := d.engine.await(ctx, func() bool {
				if n < len(d.events) {
					event = d.events[n]
					return true
				}
				over = d.info.Status.Ended()
				return over
			})
			if err != nil || over || !yield(event) {
				return
			}
		}
	}
}

// Stop ends the deployment: commands that no agent has acknowledged are withdrawn, running ones may finish.
func (d *Deployment) Stop() {
	d.engine.mu.Lock()
	defer d.engine.mu.Unlock()
	if d.info.Status.Ended() {
		return
	}
	d.finish(Stopped, "stopped on request")
	for _, t := range d.targets {
		for _, c := range slices.Clone(t.host.commands) {
			if c.Deployment == d.info.ID && c.answer == "" {
				d.engine.end(c, Stopped)
			}
		}
	}
}

// emit adds a step. The lock is held.
func (d *Deployment) emit(e Event) {
	e.Seq, e.Time, e.Deployment = len(d.events)+1, time.Now(), d.info.ID
	d.events = append(d.events, e)
	d.engine.signal()
}
