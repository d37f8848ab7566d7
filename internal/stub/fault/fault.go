// Package fault breaks answers on purpose: which request, how often, and in what way.
package fault

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Kind is a way to break an answer.
type Kind string

const (
	// Status answers an error with Status, Code and Message instead of doing the work.
	Status Kind = "status"
	// Throttle answers the service's "slow down", with RetryAfter when it is set.
	Throttle Kind = "throttle"
	// Reset cuts the connection before the work is done.
	Reset Kind = "reset"
	// Lost does the work, then cuts the connection without an answer.
	Lost Kind = "lost"
	// Delay waits for Delay, then goes on as usual.
	Delay Kind = "delay"
	// Hang never answers; it ends when the client goes away.
	Hang Kind = "hang"
	// Garbage answers Status (or 200) with Body, or with bytes that are no answer at all.
	Garbage Kind = "garbage"

	// Cut resets the connection after After bytes of the body.
	Cut Kind = "cut"
	// Truncate ends the connection quietly after After bytes of the body, although more were announced.
	Truncate Kind = "truncate"
	// WrongLength announces After bytes and sends just those.
	WrongLength Kind = "wrong-length"
	// Stall sends After bytes of the body, then nothing for Delay, or for ever when Delay is zero.
	Stall Kind = "stall"
	// Rate sends the body with Rate bytes a second.
	Rate Kind = "rate"
	// Changed replaces the object by a slightly different one before the request is served (S3 only).
	Changed Kind = "changed"
	// IgnoreRange answers the whole object although a range was asked for (S3 only).
	IgnoreRange Kind = "ignore-range"
)

// Kinds lists every kind.
func Kinds() []Kind {
	return []Kind{Status, Throttle, Reset, Lost, Delay, Hang, Garbage, Cut, Truncate, WrongLength, Stall, Rate, Changed, IgnoreRange}
}

// Fault says which requests are broken, and how. Empty selectors match everything.
type Fault struct {
	ID int `json:"id"`
	// Service is "commands", "s3" or "imds".
	Service string `json:"service,omitempty"`
	// Operation is an operation's name, for example "PollHostCommand" or "GetObject".
	Operation string `json:"operation,omitempty"`
	// Host is a host identifier.
	Host string `json:"host,omitempty"`
	// Key is "bucket/key" for S3 and the path for IMDS.
	Key string `json:"key,omitempty"`
	// Skip lets that many matching requests pass first.
	Skip int `json:"skip,omitempty"`
	// Count is how many requests are broken: zero means one, a negative number all.
	Count int `json:"count,omitempty"`

	Kind       Kind          `json:"kind"`
	Status     int           `json:"status,omitempty"`
	Code       string        `json:"code,omitempty"`
	Message    string        `json:"message,omitempty"`
	RetryAfter time.Duration `json:"-"`
	Delay      time.Duration `json:"-"`
	// After counts bytes of the body.
	After int64 `json:"after,omitempty"`
	// Rate is in bytes a second.
	Rate int64  `json:"rate,omitempty"`
	Body string `json:"body,omitempty"`

	// Hits is how many requests were broken so far.
	Hits int `json:"hits"`
}

type plain Fault

// wire writes durations the way people do ("1.5s").
type wire struct {
	plain
	RetryAfter string `json:"retry_after,omitempty"`
	Delay      string `json:"delay,omitempty"`
}

// MarshalJSON writes durations as text.
func (f Fault) MarshalJSON() ([]byte, error) {
	w := wire{plain: plain(f)}
	if f.RetryAfter > 0 {
		w.RetryAfter = f.RetryAfter.String()
	}
	if f.Delay > 0 {
		w.Delay = f.Delay.String()
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (f *Fault) UnmarshalJSON(b []byte) error {
	var w wire
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*f = Fault(w.plain)
	var err error
	if w.RetryAfter != "" {
		if f.RetryAfter, err = time.ParseDuration(w.RetryAfter); err != nil {
			return fmt.Errorf("retry_after: %w", err)
		}
	}
	if w.Delay != "" {
		if f.Delay, err = time.ParseDuration(w.Delay); err != nil {
			return fmt.Errorf("delay: %w", err)
		}
	}
	return nil
}

// Check says what is wrong with a fault before it is set.
func (f Fault) Check() error {
	if !slices.Contains(Kinds(), f.Kind) {
		return fmt.Errorf("no such kind of fault %q; known are %q", f.Kind, Kinds())
	}
	if f.Kind == Rate && f.Rate <= 0 {
		return fmt.Errorf("a rate fault needs a rate in bytes a second")
	}
	if (f.Kind == Changed || f.Kind == IgnoreRange) && f.Service != "" && f.Service != "s3" {
		return fmt.Errorf("a %s fault exists for s3 only", f.Kind)
	}
	return nil
}

// Request is what a fault is matched with.
type Request struct {
	Service, Operation, Host, Key string
}

func (f Fault) matches(r Request) bool {
	same := func(want, got string) bool { return want == "" || want == "*" || want == got }
	return same(f.Service, r.Service) && same(f.Operation, r.Operation) && same(f.Host, r.Host) && same(f.Key, r.Key)
}

// Set holds the faults in force. The zero value is ready.
type Set struct {
	mu     sync.Mutex
	last   int
	faults []*Fault
	seen   map[int]int
}

// Add puts a fault in force and returns its number.
func (s *Set) Add(f Fault) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	f.ID, f.Hits = s.last, 0
	s.faults = append(s.faults, &f)
	return f.ID
}

// Remove ends a fault; zero ends all of them.
func (s *Set) Remove(id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = slices.DeleteFunc(s.faults, func(f *Fault) bool { return id == 0 || f.ID == id })
}

// List returns the faults, those that are used up included.
func (s *Set) List() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Fault, 0, len(s.faults))
	for _, f := range s.faults {
		list = append(list, *f)
	}
	return list
}

// Take returns the first fault that the request meets and uses up one of its hits. Without one Kind is empty.
func (s *Set) Take(r Request) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if !f.matches(r) || f.Count >= 0 && f.Hits >= cmp.Or(f.Count, 1) {
			continue
		}
		if s.skipped(f) {
			continue
		}
		f.Hits++
		return *f
	}
	return Fault{}
}

func (s *Set) skipped(f *Fault) bool {
	if s.seen == nil {
		s.seen = map[int]int{}
	}
	s.seen[f.ID]++
	return s.seen[f.ID] <= f.Skip
}
