package bundle

import (
	"context"
	"sync"
)

// All downloads of the process share their buffers: 4 MiB at most.
const (
	bufferSize  = 256 << 10
	bufferCount = 16
)

var (
	bufferPermits = make(chan struct{}, bufferCount)
	bufferPool    = sync.Pool{New: func() any { return new([bufferSize]byte) }}
)

// takeBuffer waits for a free buffer.
func takeBuffer(ctx context.Context) (*[bufferSize]byte, error) {
	select {
	case bufferPermits <- struct{}{}:
		return bufferPool.Get().(*[bufferSize]byte), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func giveBuffer(b *[bufferSize]byte) {
	bufferPool.Put(b)
	<-bufferPermits
}
