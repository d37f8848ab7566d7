package bundle

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// progress tells the log how far a download is.
type progress struct {
	name  string
	every time.Duration
	log   *zap.Logger
	began time.Time
	got   atomic.Int64 // bytes that lie in the file
}

func newProgress(name string, every time.Duration, log *zap.Logger) *progress {
	return &progress{name: name, every: every, log: log, began: time.Now()}
}

func (p *progress) add(n int) { p.got.Add(int64(n)) }
func (p *progress) reset()    { p.got.Store(0) }

// start writes a line every now and then until stop is called; total is -1 when it is unknown.
func (p *progress) start(total int64) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(p.every)
		defer tick.Stop()
		last := int64(0)
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				got := p.got.Load()
				p.line(got, total, float64(got-last)/p.every.Seconds())
				last = got
			}
		}
	}()
	return func() { close(done); <-ended }
}

func (p *progress) line(got, total int64, rate float64) {
	fields := []zap.Field{zap.String("bundle", p.name), zap.Int64("bytes", got), zap.String("rate", byteText(int64(rate))+"/s")}
	if total >= 0 {
		fields = append(fields, zap.Int64("of", total))
		if average := float64(got) / time.Since(p.began).Seconds(); average >= 1 {
			left := time.Duration(float64(total-got) / average * float64(time.Second))
			fields = append(fields, zap.Duration("left", left.Round(time.Second)))
		}
	}
	p.log.Info("Downloading", fields...)
}

// finished writes the last line.
func (p *progress) finished(info Info) {
	took := time.Since(p.began)
	p.log.Info("Downloaded", zap.String("bundle", p.name), zap.Int64("bytes", info.Size), zap.Duration("in", took.Round(time.Millisecond)),
		zap.String("rate", byteText(int64(float64(info.Size)/max(took.Seconds(), 1e-6)))+"/s"), zap.String("digest", info.Digest))
}
