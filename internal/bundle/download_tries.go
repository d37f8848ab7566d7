package bundle

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
)

// tries counts the attempts at one thing that fail in a row.
type tries struct {
	d      *s3Download
	failed int
}

func (d *s3Download) newTries() *tries { return &tries{d: d} }

// localError is trouble on this host, which no other attempt heals.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// errTooOften ends a download whose connections break for ever, however far each one comes.
var errTooOften = errors.New("the connections to S3 break too often")

// again waits before the next attempt; progressed says that the failed one brought some bytes, which makes it the first
// of a new row. The error is final.
func (t *tries) again(ctx context.Context, err error, progressed bool) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	advice, final := judge(err)
	if final != nil {
		return final
	}
	if progressed {
		t.failed = 0
	}
	t.failed++
	p := t.d.opts.pace
	if t.failed >= p.attempts {
		return &exhaustedError{attempts: t.failed, err: err}
	}
	if t.d.reconnects.Add(1) > p.reconnects {
		return &localError{fmt.Errorf("%w: %w", errTooOften, err)}
	}
	wait := p.wait(t.failed, advice)
	t.d.log.Debug("Trying again", zap.String("bundle", t.d.name), zap.Error(err), zap.Duration("wait", wait))
	return sleep(ctx, wait)
}

// exhaustedError is trouble that may pass, but did not in time.
type exhaustedError struct {
	attempts int
	err      error
}

func (e *exhaustedError) Error() string { return fmt.Sprintf("%v (tried %d times)", e.err, e.attempts) }
func (e *exhaustedError) Unwrap() error { return e.err }

// judge tells whether an error may pass: then final is nil, and advice is how long the server wants to be left alone.
func judge(err error) (advice time.Duration, final error) {
	var local *localError
	var again *errAgain
	var get *getError
	switch {
	case errors.As(err, &local), errors.As(err, &again), errors.Is(err, errNoRanges), errors.Is(err, errTaken):
		return 0, err
	case !errors.As(err, &get):
		return 0, nil
	case get.changed():
		return 0, errReplaced
	case !get.passing():
		return 0, err
	}
	return get.advice, nil
}

// wait is the time before the next attempt after so many failures: random, so that hosts that failed together do not
// come back together.
func (p pace) wait(failed int, advice time.Duration) time.Duration {
	ceiling := p.firstWait
	for range failed - 1 {
		ceiling = min(ceiling*3, p.longestWait)
	}
	wait := rand.N(ceiling + 1)
	if advice > 0 {
		wait += min(advice, p.longestAdvice)
	}
	return wait
}

func sleep(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
