package install

import (
	"errors"
	"sync"
	"sync/atomic"
)

// crew carries the operations of a transaction out with a few workers. Operations of one directory go to one worker,
// as far as they stand together, because the kernel lets one at a time into a directory.
type crew struct {
	r    *replay
	work func(h *hand, index int, op operation) error

	stop atomic.Bool
	mu   sync.Mutex
	errs []error
}

// hand is one worker of a crew.
type hand struct {
	*replay
	cache dirCache
}

type numbered struct {
	index int
	op    operation
}

// enough is how many operations of one directory go to a worker at once.
const enough = 512

// eachAtOnce calls work for the operations, several at a time, until one fails. All of them are independent of each
// other but those that wait for the end, which are left out.
func (r *replay) eachAtOnce(work func(h *hand, index int, op operation) error) error {
	c := &crew{r: r, work: work}
	batches := make(chan []numbered, workers)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() { c.take(batches) })
	}
	var batch []numbered
	err := r.each(func(index int, op operation) error {
		if op.atEnd() {
			return nil
		}
		if len(batch) > 0 && (batch[0].op.dir != op.dir || len(batch) == enough) {
			batches <- batch
			batch = nil
		}
		batch = append(batch, numbered{index, op})
		if c.stop.Load() {
			return errEnough
		}
		return nil
	})
	if len(batch) > 0 && err == nil {
		batches <- batch
	}
	close(batches)
	wg.Wait()
	if err == errEnough {
		err = nil
	}
	return errors.Join(append(c.errs, err)...)
}

func (c *crew) take(batches <-chan []numbered) {
	h := &hand{replay: c.r, cache: dirCache{root: c.r.root}}
	defer h.cache.close()
	for batch := range batches {
		for _, n := range batch {
			if c.stop.Load() {
				break
			}
			if err := c.work(h, n.index, n.op); err != nil {
				c.mu.Lock()
				c.errs = append(c.errs, err)
				c.mu.Unlock()
				c.stop.Store(true)
			}
		}
	}
}

func (h *hand) dirOf(op operation) (int, error) { return h.cache.open(h.hosts[op.dir].path) }
