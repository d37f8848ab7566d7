package inflate

import (
	"bytes"
	"compress/flate"
	"io"
	"testing"
	"time"

	peer "github.com/klauspost/compress/flate"
)

// BenchmarkBesideOthers runs us, the standard library and klauspost/compress in turn and reports how much of their time
// we take.
func BenchmarkBesideOthers(b *testing.B) {
	for name, content := range samples() {
		if len(content) < 100_000 {
			continue
		}
		b.Run(name, func(b *testing.B) {
			packed := deflated(b, content, 6)
			z, std, klaus := new(Reader), flate.NewReader(nil), peer.NewReader(nil)
			all := make([]byte, 64<<10)
			var took [3]time.Duration
			for b.Loop() {
				for i, r := range []io.Reader{z, std, klaus} {
					began := time.Now()
					switch r := r.(type) {
					case *Reader:
						r.ResetBytes(packed)
					case flate.Resetter:
						_ = r.Reset(bytes.NewReader(packed), nil)
					}
					if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, all); err != nil {
						b.Fatal(err)
					}
					took[i] += time.Since(began)
				}
			}
			b.ReportMetric(float64(len(content))*float64(b.N)/took[0].Seconds()/1e6, "MB/s")
			b.ReportMetric(took[0].Seconds()/took[1].Seconds(), "ratio-std")
			b.ReportMetric(took[0].Seconds()/took[2].Seconds(), "ratio-klauspost")
			b.ReportMetric(0, "ns/op")
		})
	}
}
