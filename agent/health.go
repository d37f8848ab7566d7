package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"
)

// Status is what `codedeploy-agent status` learns of a running agent. The agent keeps it in a file beside its pid file.
type Status struct {
	PID     int       `json:"pid"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// LastPoll is when the service last answered a poll; zero for never.
	LastPoll time.Time `json:"last_poll,omitzero"`
	// LastError is why the polls since have failed.
	LastError string `json:"last_error,omitempty"`
	// HealthySeconds is how old LastPoll may become before the agent counts as not healthy.
	HealthySeconds int `json:"healthy_seconds"`
	// Working lists the commands in progress and what each of them waits for.
	Working []string `json:"working,omitempty"`
}

// Healthy tells whether the agent does its work: the service answered a poll recently, or the agent has just started.
func (s Status) Healthy(now time.Time) bool {
	limit := time.Duration(s.HealthySeconds) * time.Second
	recent := func(t time.Time) bool { return now.Sub(t).Abs() <= limit } // the clock may have been set back since
	return recent(s.LastPoll) || (s.LastPoll.IsZero() && recent(s.Started))
}

// ReadStatus reads what the agent that owns the file says of itself.
func ReadStatus(path string) (Status, error) {
	var s Status
	b, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("cannot read the agent's status file %q: %w", path, err)
	}
	return s, nil
}

// Health collects how the agent is doing. A nil Health is allowed and collects nothing.
type Health struct {
	path string

	mu       sync.Mutex
	status   Status
	written  time.Time
	deadline time.Time // until when the poll loop has to give its next sign of life
}

// statusEvery is how often the file follows when nothing but the time of the last poll has changed.
const statusEvery = 10 * time.Second

// slack is what a loop may be late before the watchdog counts it as stuck.
const slack = 30 * time.Second

// NewHealth returns the health of an agent that has just started; path is its status file and healthyFor says how old
// the last successful poll may become.
func NewHealth(path, version string, healthyFor time.Duration) *Health {
	h := &Health{path: path, status: Status{
		PID: os.Getpid(), Version: version, Started: time.Now(), HealthySeconds: int(healthyFor / time.Second),
	}}
	h.deadline = time.Now().Add(healthyFor)
	h.write()
	return h
}

// Alive tells whether every loop has given its sign of life in time. A service that does not answer is no reason for
// false.
func (h *Health) Alive() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Before(h.deadline)
}

// Summary says in one line what the agent is doing.
func (h *Health) Summary() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.status.LastError != "":
		return "Cannot reach the service: " + h.status.LastError
	case len(h.status.Working) > 0:
		return "Working: " + h.status.Working[0]
	case h.status.LastPoll.IsZero():
		return "Starting"
	}
	return "Waiting for commands"
}

// beat is the poll loop's sign of life: the next one comes within d.
func (h *Health) beat(d time.Duration) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deadline = time.Now().Add(d + slack)
}

// polled says that the service has answered a poll.
func (h *Health) polled() {
	h.update(func(s *Status) bool {
		changed := s.LastPoll.IsZero() || s.LastError != ""
		s.LastPoll, s.LastError = time.Now(), ""
		return changed
	})
}

// failed says why the service cannot be asked.
func (h *Health) failed(err error) {
	h.update(func(s *Status) bool {
		changed := s.LastError != err.Error()
		s.LastError = err.Error()
		return changed
	})
}

// working says what the agent is doing until the returned function is called.
func (h *Health) working(what string) (done func()) {
	h.update(func(s *Status) bool {
		s.Working = append(s.Working, what)
		return true
	})
	return func() {
		h.update(func(s *Status) bool {
			if i := slices.Index(s.Working, what); i >= 0 {
				s.Working = slices.Delete(s.Working, i, i+1)
			}
			return true
		})
	}
}

func (h *Health) update(change func(*Status) bool) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if change(&h.status) || time.Since(h.written) >= statusEvery {
		h.write()
	}
}

// write replaces the file. It need not survive a power loss, and a full disk must not disturb the work.
func (h *Health) write() {
	h.written = time.Now()
	b, err := json.Marshal(h.status)
	if err != nil {
		return
	}
	temporary := h.path + ".tmp"
	if os.WriteFile(temporary, b, 0o644) == nil {
		_ = os.Rename(temporary, h.path)
	}
}

// Remove removes the status file of an agent that leaves.
func (h *Health) Remove() error {
	if err := os.Remove(h.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove the status file: %w", err)
	}
	return nil
}
