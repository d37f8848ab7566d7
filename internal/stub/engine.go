package stub

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"codedeploy-agent/internal/stub/cms"
)

// engine knows hosts, commands and deployments. One lock guards all of it; nothing under the lock waits.
type engine struct {
	server *Server

	mu          sync.Mutex
	changed     chan struct{} // closed and replaced whenever something happened
	closed      bool
	hosts       []*host
	commands    map[string]*command // by host command identifier
	executions  map[string]*command // by execution id and host
	deployments []*Deployment
	sequence    int64
}

func newEngine(s *Server) *engine {
	return &engine{server: s, changed: make(chan struct{}), commands: map[string]*command{}, executions: map[string]*command{}}
}

// command is a Command with what only the engine needs.
type command struct {
	Command
	order         int64
	raw           RawCommand
	host          *host
	lastDelivered time.Time
	answer        Status // to acknowledgements, "" before the first
	timer         *time.Timer
	ended         func(*command) // called under the lock
}

func (e *engine) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	for _, c := range e.commands {
		c.stopTimer()
	}
	e.signal()
}

// signal wakes everybody who waits. The lock is held.
func (e *engine) signal() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// await calls done under the lock until it says true.
func (e *engine) await(ctx context.Context, done func() bool) error {
	for {
		e.mu.Lock()
		ok, closed, changed := done(), e.closed, e.changed
		e.mu.Unlock()
		switch {
		case ok:
			return nil
		case closed:
			return errClosed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (e *engine) addHost(h Host) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if old := e.findHost(h.ID); old != nil {
		old.Host = h
		return
	}
	e.hosts = append(e.hosts, &host{Host: h})
}

func (e *engine) findHost(id string) *host {
	i := slices.IndexFunc(e.hosts, func(h *host) bool { return h.ID == id || h.Name == id })
	if i < 0 {
		return nil
	}
	return e.hosts[i]
}

func (e *engine) hostStates() []HostState {
	e.mu.Lock()
	defer e.mu.Unlock()
	states := make([]HostState, 0, len(e.hosts))
	for _, h := range e.hosts {
		state := HostState{ID: h.ID, Name: h.Name, Groups: h.Groups, LastPoll: h.lastPoll, Polls: h.polls, AgentVersion: h.agentVersion}
		for _, c := range h.commands {
			if c.answer == "" {
				state.Waiting = append(state.Waiting, c.Name)
			} else {
				state.Running = append(state.Running, c.Name)
			}
		}
		states = append(states, state)
	}
	return states
}

// RawCommand is a single command for one host, sound or not.
type RawCommand struct {
	// Name is the CommandName, a lifecycle event as a rule.
	Name string
	// ID, ExecutionID and HostIdentifier replace what the service would say. Nonce comes along as it is.
	ID, ExecutionID, HostIdentifier string
	Nonce                           int64
	// Specification is the JSON text that is signed: text, bytes, or a value to encode.
	Specification any
	// System is the DeploymentSystem; empty means CodeDeploy.
	System string
	// Signing says how the specification is signed.
	Signing cms.Options
	// Format and Payload replace the signed envelope when Format is set.
	Format, Payload string
	// NoSpecification leaves the envelope out of the answer.
	NoSpecification bool
	// AckAnswer replaces the answer to acknowledgements.
	AckAnswer Status
	// StartTimeout and EventTimeout end a command that is not acknowledged or completed; zero means never.
	StartTimeout, EventTimeout time.Duration
}

// Sent is a command on its way.
type Sent struct {
	engine  *engine
	command *command
}

// Command returns what is known by now.
func (s *Sent) Command() Command {
	s.engine.mu.Lock()
	defer s.engine.mu.Unlock()
	return s.command.snapshot()
}

// Wait returns the command when it has ended.
func (s *Sent) Wait(ctx context.Context) (Command, error) {
	err := s.engine.await(ctx, func() bool { return s.command.Status.Ended() })
	return s.Command(), err
}

func (c *command) snapshot() Command {
	out := c.Command
	out.Reports = slices.Clone(c.Reports)
	return out
}

// Send gives a host one command outside of any deployment.
func (s *Server) Send(hostID string, raw RawCommand) (*Sent, error) {
	s.engine.mu.Lock()
	defer s.engine.mu.Unlock()
	h := s.engine.findHost(hostID)
	if h == nil {
		return nil, fmt.Errorf("cannot send command %q: no host %q is known", raw.Name, hostID)
	}
	c, err := s.engine.enqueue(h, raw, nil)
	if err != nil {
		return nil, err
	}
	return &Sent{s.engine, c}, nil
}

// Commands returns every command so far, in the order of their making.
func (s *Server) Commands() []Command {
	s.engine.mu.Lock()
	defer s.engine.mu.Unlock()
	var all []*command
	for _, c := range s.engine.commands {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *command) int { return int(a.order - b.order) })
	out := make([]Command, 0, len(all))
	for _, c := range all {
		out = append(out, c.snapshot())
	}
	return out
}

// enqueue makes a command ready for the host's next poll. The lock is held.
func (e *engine) enqueue(h *host, raw RawCommand, ended func(*command)) (*command, error) {
	e.sequence++
	c := &command{raw: raw, host: h, ended: ended, order: e.sequence}
	c.Command = Command{ID: raw.ID, Name: raw.Name, Host: h.ID, ExecutionID: raw.ExecutionID, Status: Pending, Created: time.Now()}
	if c.ID == "" {
		c.ID = "hc-" + random(16)
	}
	if c.ExecutionID == "" {
		c.ExecutionID = fmt.Sprintf("%s/raw/%d/%s", e.server.options.Account, e.sequence, random(8))
	}
	if e.commands[c.ID] != nil && !e.commands[c.ID].Status.Ended() {
		return nil, fmt.Errorf("cannot send command %q: its identifier %q is in use", raw.Name, c.ID)
	}
	if raw.Nonce == 0 {
		c.raw.Nonce = e.sequence
	}
	e.commands[c.ID] = c
	e.executions[c.ExecutionID] = c
	h.commands = append(h.commands, c)
	c.limit(e, raw.StartTimeout, "no agent acknowledged the command within %s: is it running, and does it poll?")
	e.signal()
	return c, nil
}

// limit ends the command after d. The lock is held.
func (c *command) limit(e *engine, d time.Duration, reason string) {
	c.stopTimer()
	if d <= 0 {
		return
	}
	c.timer = time.AfterFunc(d, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if !c.Status.Ended() {
			c.Reason = fmt.Sprintf(reason, d)
			e.end(c, Failed)
		}
	})
}

func (c *command) stopTimer() {
	if c.timer != nil {
		c.timer.Stop()
	}
}

// end gives the command its final status. The lock is held.
func (e *engine) end(c *command, status Status) {
	c.stopTimer()
	c.Status, c.Ended = status, time.Now()
	c.host.commands = slices.DeleteFunc(c.host.commands, func(o *command) bool { return o == c })
	if c.ended != nil && !e.closed {
		c.ended(c)
	}
	e.signal()
}

// poll waits for a command for the host, at most as long as a long poll lasts. Nil means nothing to do.
func (e *engine) poll(ctx context.Context, hostID, agentVersion string) (*command, error) {
	ctx, cancel := context.WithTimeout(ctx, e.server.options.LongPoll)
	defer cancel()
	first := true
	var found *command
	var unknown bool
	err := e.await(ctx, func() bool {
		h := e.findHost(hostID)
		if unknown = h == nil || h.ID != hostID; unknown {
			return true
		}
		if first {
			first = false
			h.lastPoll, h.agentVersion = time.Now(), agentVersion
			h.polls++
		}
		found = e.next(h)
		return found != nil
	})
	switch {
	case unknown:
		return nil, clientError("The host identifier %s is not known to this service.", hostID)
	case err != nil:
		return nil, nil // the wait is over
	}
	return found, nil
}

// next picks the command that was delivered the longest time ago, or never. The lock is held.
func (e *engine) next(h *host) *command {
	var best *command
	again := e.server.options.RedeliverAfter
	for _, c := range h.commands {
		delivered := c.Deliveries > 0
		if c.answer != "" || delivered && (again < 0 || time.Since(c.lastDelivered) < again) {
			continue
		}
		if best == nil || c.lastDelivered.Before(best.lastDelivered) {
			best = c
		}
	}
	if best == nil {
		return nil
	}
	best.Deliveries++
	best.lastDelivered = time.Now()
	if best.Deliveries == 1 {
		best.Delivered = best.lastDelivered
		if best.ended != nil {
			e.eventStarted(best)
		}
	}
	return best
}

// acknowledge notes an acknowledgement and returns the answer.
func (e *engine) acknowledge(id string, noop bool) (Status, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.commands[id]
	if c == nil {
		return "", clientError("The host command identifier %s is not valid.", id)
	}
	c.Acknowledgements++
	c.Noop = &noop
	if c.raw.AckAnswer != "" && !c.Status.Ended() {
		c.answer = c.raw.AckAnswer
	}
	switch {
	case c.Status.Ended() && c.raw.AckAnswer == "":
		return c.Status.onTheWire(), nil
	case c.answer == "" && noop:
		c.answer = e.server.options.AnswerNoop
	case c.answer == "":
		c.answer = InProgress
	}
	if c.Acknowledged.IsZero() {
		c.Acknowledged = time.Now()
		c.limit(e, c.raw.EventTimeout, "the command was not completed within %s")
	}
	if !c.Status.Ended() {
		c.Status = InProgress
		if c.answer == Succeeded {
			e.end(c, Succeeded)
		}
	}
	e.signal()
	return c.answer, nil
}

// complete notes a report. A second one is accepted only when it says the same.
func (e *engine) complete(id string, status Status, diagnostics *Diagnostics) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.commands[id]
	if c == nil {
		return clientError("The host command identifier %s is not valid.", id)
	}
	report := Report{Time: time.Now(), Status: status, Diagnostics: diagnostics, Accepted: true}
	ended := c.Status.Ended()
	if ended && c.Status != status {
		report.Accepted = false
	}
	c.Reports = append(c.Reports, report)
	if !report.Accepted {
		return clientError("The command %s has already ended as %s.", id, c.Status)
	}
	if ended {
		return nil
	}
	c.answer = status
	e.end(c, status)
	return nil
}

// specification returns what GetDeploymentSpecification answers.
func (e *engine) specification(executionID, hostID string) (system string, env *envelope, err error) {
	e.mu.Lock()
	c := e.executions[executionID]
	e.mu.Unlock()
	if c == nil || c.host.ID != hostID {
		return "", nil, clientError("There is no deployment execution %s for the host %s.", executionID, hostID)
	}
	system = c.raw.System
	if system == "" {
		system = "CodeDeploy"
	}
	if c.raw.NoSpecification {
		return system, nil, nil
	}
	if c.raw.Format != "" {
		return system, &envelope{Format: c.raw.Format, Payload: c.raw.Payload}, nil
	}
	text, err := specificationText(c.raw.Specification)
	if err != nil {
		return "", nil, err
	}
	payload, err := e.server.signer.Sign(text, c.raw.Signing)
	if err != nil {
		return "", nil, err
	}
	return system, &envelope{Format: "PKCS7/JSON", Payload: payload}, nil
}

func specificationText(value any) ([]byte, error) {
	switch v := value.(type) {
	case string:
		return []byte(v), nil
	case []byte:
		return v, nil
	case json.RawMessage:
		return v, nil
	}
	b, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the specification: %w", err)
	}
	return b, nil
}
