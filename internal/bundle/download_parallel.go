package bundle

import (
	"cmp"
	"context"
	"errors"
	"sync"
)

var (
	errNoRanges = errors.New("the server knows no ranges")
	errTaken    = errors.New("another connection has come to this part")

	errReplaced = &errAgain{"the object was replaced while it was being downloaded"}
	errResized  = &errAgain{"the object's size changed while it was being downloaded"}
)

// parallel brings the object over several connections, of which the first one's bytes are already coming.
//
// A connection that keeps failing gives its part back and ends; the download fails when none is left, so a server that
// serves one request at a time is slow, but served.
func (d *s3Download) parallel(ctx context.Context, first *reply, partSize int64) (size int64, crc uint64, err error) {
	list := newPartList(first.total, partSize)
	team := &team{}
	ctx, team.stop = context.WithCancelCause(ctx)
	team.ctx = ctx
	defer context.AfterFunc(ctx, func() {
		list.wake()
		first.quiet.cancel(context.Cause(ctx)) // its request is older than this context
	})()

	var running sync.WaitGroup
	for me := range min(d.opts.Connections, len(list.parts)) {
		worker := &partWorker{d: d, list: list, me: me + 1}
		if me == 0 {
			worker.open, worker.first = first, list.claimAt(0, worker.me)
		}
		running.Go(func() { team.left(worker.run(ctx), list) })
	}
	running.Wait()
	defer team.stop(nil)
	if !list.complete() {
		return 0, 0, team.reason()
	}
	for i := range list.parts {
		p := &list.parts[i]
		crc = d.sum.combine(crc, p.crc, p.end-p.start)
	}
	return first.total, crc, nil
}

// team is the connections of one download.
type team struct {
	mu       sync.Mutex
	ctx      context.Context
	stop     context.CancelCauseFunc
	noRanges bool
	err      error // why the download failed
}

// left notes that a connection has ended, and ends the others when they are not needed or cannot succeed.
func (t *team) left(err error, list *partList) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var exhausted *exhaustedError
	switch {
	case list.complete():
		t.stop(nil) // those that wait for an answer need it no more
	case errors.Is(err, errNoRanges):
		t.noRanges = true
	case errors.As(err, &exhausted):
		t.err = cmp.Or(t.err, err)
	case err != nil && context.Cause(t.ctx) == nil:
		t.noRanges, t.err = false, err
		t.stop(err)
	}
}

// reason is why the parts are not complete.
func (t *team) reason() error {
	if t.noRanges {
		return errNoRanges
	}
	return cmp.Or(t.err, context.Cause(t.ctx))
}

// partWorker is one connection.
type partWorker struct {
	d    *s3Download
	list *partList
	me   int

	open  *reply // an answer that brings more than one part, standing at offset at
	at    int64
	first *part // claimed before the others could
}

// run brings parts until there are none.
func (w *partWorker) run(ctx context.Context) error {
	defer w.hangUp()
	for {
		p := w.next(ctx)
		if p == nil {
			return context.Cause(ctx)
		}
		err := w.bring(ctx, p)
		if err != nil {
			w.list.release(p, w.me)
			if errors.Is(err, errTaken) {
				continue
			}
			return err
		}
	}
}

// next prefers the part that the open answer brings anyway.
func (w *partWorker) next(ctx context.Context) *part {
	if p := w.first; p != nil {
		w.first = nil
		return p
	}
	if w.open != nil && ctx.Err() == nil {
		if p := w.list.claimAt(w.at, w.me); p != nil {
			return p
		}
		w.hangUp()
	}
	return w.list.claim(ctx, w.me)
}

// bring completes a part, over as many connections as that takes.
func (w *partWorker) bring(ctx context.Context, p *part) error {
	tries := w.d.newTries()
	for {
		from, mine := w.list.at(p, w.me)
		if !mine {
			return errTaken
		}
		err := w.attempt(ctx, p, from)
		if err == nil {
			w.list.finish(p)
			return nil
		}
		w.hangUp()
		at, mine := w.list.at(p, w.me)
		if !mine {
			return errTaken
		}
		if err := tries.again(ctx, err, at > from); err != nil {
			return err
		}
	}
}

func (w *partWorker) attempt(ctx context.Context, p *part, from int64) error {
	if w.open != nil {
		err := w.d.fill(ctx, p, w.open)
		w.at = p.at
		return err
	}
	r, err := w.d.get(ctx, request{from: from, to: p.end})
	if err != nil {
		return err
	}
	defer r.close()
	switch {
	case !r.ranged:
		return errNoRanges
	case r.total >= 0 && r.total != w.list.total():
		return errResized
	case !w.list.begin(p, w.me):
		return errTaken
	}
	if err := w.d.fill(ctx, p, r); err != nil {
		return err
	}
	if err := r.atEnd(); err != nil {
		w.d.restart(p)
		return err
	}
	return nil
}

func (w *partWorker) hangUp() {
	if w.open != nil {
		w.open.close()
		w.open = nil
	}
}
