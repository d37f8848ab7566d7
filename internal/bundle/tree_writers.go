package bundle

import (
	"context"
	"sync"

	"codedeploy-agent/internal/exactmode"
)

// writers are the goroutines that put files on the disk. What is handed to them is done in any order; drain waits
// for all of it.
type writers struct {
	ctx     context.Context
	fail    context.CancelCauseFunc
	queue   chan batch
	pending sync.WaitGroup
	running sync.WaitGroup
}

// batch is work for one writer.
type batch interface {
	// perform does the work.
	perform(ctx context.Context, by *writer) error
	// done gives the batch's memory and folders back, whether it was performed or not.
	done()
}

// writer is one of the goroutines.
type writer struct {
	keeper
	zip *zipMember // made when the first member comes
}

// writerCount is two, because the reader and the decompressor want a processor, too, and more gain nothing.
const writerCount = 2

// startWriters starts the writers of t. The context that it returns ends with the first error, which is its cause.
func startWriters(ctx context.Context, t *tree) (*writers, context.Context) {
	ctx, fail := context.WithCancelCause(ctx)
	w := &writers{ctx: ctx, fail: fail, queue: make(chan batch, writerCount)}
	for range writerCount {
		w.running.Go(func() {
			exactmode.Run(func(exact bool) {
				by := &writer{keeper: t.keeper}
				by.exact = exact
				w.run(by)
			})
		})
	}
	t.drain = w.drain
	return w, ctx
}

func (w *writers) run(by *writer) {
	for b := range w.queue {
		if w.ctx.Err() == nil {
			if err := b.perform(w.ctx, by); err != nil {
				w.fail(err)
			}
		}
		b.done()
		w.pending.Done()
	}
}

// hand gives a batch to the writers; they own it from then on.
func (w *writers) hand(b batch) {
	w.pending.Add(1)
	w.queue <- b
}

// drain waits until everything handed over is done.
func (w *writers) drain() error {
	w.pending.Wait()
	return w.failure()
}

func (w *writers) failure() error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	return nil
}

// stop ends the writers after what they have and returns the first error of all.
func (w *writers) stop(err error) error {
	if err != nil {
		w.fail(err)
	}
	close(w.queue)
	w.running.Wait()
	err = w.failure()
	w.fail(nil)
	return err
}
