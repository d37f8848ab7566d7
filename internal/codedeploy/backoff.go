package codedeploy

import (
	"errors"
	"math/rand/v2"
	"time"
)

// Defaults of a Backoff.
const (
	DefaultBackoffBase = 2 * time.Second
	DefaultBackoffMax  = 90 * time.Second
)

// Backoff says how long to wait after failures in a row: a random time below a bound that doubles from Base to Max
// ("full jitter"), so that many hosts do not come back all at once. The zero value is ready. It is for one goroutine.
type Backoff struct {
	// Base is the bound after the first failure; 0 for DefaultBackoffBase.
	Base time.Duration
	// Max is the highest bound; 0 for DefaultBackoffMax.
	Max time.Duration

	failures int
}

// Next counts a failure and returns how long to wait, at least a tenth of the bound and at most the bound.
func (b *Backoff) Next() time.Duration {
	base, most := b.Base, b.Max
	if base <= 0 {
		base = DefaultBackoffBase
	}
	if most <= 0 {
		most = DefaultBackoffMax
	}
	bound := most
	if b.failures < 30 && base<<b.failures < most {
		bound = base << b.failures
		b.failures++
	}
	return bound/10 + rand.N(bound-bound/10+1)
}

// maxUnanswered bounds the wait when nobody has answered: trying again then costs the service nothing, and the host is
// back soon after its network is.
const maxUnanswered = 12 * time.Second

// After is Next for a given failure: at least as long as the service asked for, and at most 12 seconds when it has not
// answered at all.
func (b *Backoff) After(err error) time.Duration {
	wait := b.Next()
	var e *Error
	if errors.As(err, &e) && e.HTTPStatus == 0 {
		return min(wait, maxUnanswered/10+rand.N(maxUnanswered*9/10))
	}
	return max(wait, RetryAfter(err))
}

// Reset forgets the failures.
func (b *Backoff) Reset() { b.failures = 0 }
