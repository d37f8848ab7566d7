package codedeploy

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// How long the gate stays shut: after the first throttled call, and at most.
const (
	gateFirst = time.Second
	gateMost  = 30 * time.Second
)

// Gate holds all calls of a process back for a while after the service has throttled one of them, twice as long each
// time. The zero value is open.
type Gate struct {
	mu       sync.Mutex
	wait     time.Duration // of the next time
	deadline time.Time
	urgent   int // calls that wait and go before the others
}

// Wait returns when the gate is open, or with the context's error. Calls that are not urgent (polls) let the others
// pass first, and all are spread by up to a quarter of the wait.
func (g *Gate) Wait(ctx context.Context, urgent bool) error {
	left := g.left()
	if left <= 0 {
		return ctx.Err()
	}
	if urgent {
		g.addUrgent(1)
		defer g.addUrgent(-1)
	}
	for ; left > 0; left = g.leftFor(urgent) {
		timer := time.NewTimer(left + rand.N(left/4+1))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
	return nil
}

// Shut tells whether calls are held back now.
func (g *Gate) Shut() bool { return g.left() > 0 }

// Report tells the gate how a call went. A throttled one shuts it, one that succeeded opens it.
func (g *Gate) Report(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case err == nil:
		g.wait, g.deadline = 0, time.Time{}
	case KindOf(err) == Throttled:
		now := time.Now()
		if after := RetryAfter(err); after > 0 && now.Add(after).After(g.deadline) {
			g.deadline = now.Add(after)
		}
		if now.Before(g.deadline) {
			return // one shut gate is enough for all the calls that were under way
		}
		g.wait = min(max(2*g.wait, gateFirst), gateMost)
		g.deadline = now.Add(g.wait)
	}
}

func (g *Gate) addUrgent(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.urgent += n
}

func (g *Gate) left() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Until(g.deadline)
}

// leftFor is how long a call that has waited has to go on waiting.
func (g *Gate) leftFor(urgent bool) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	left := time.Until(g.deadline)
	if left <= 0 && !urgent && g.urgent > 0 {
		return 100 * time.Millisecond
	}
	return left
}
