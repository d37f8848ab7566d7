package bundle

import (
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestContentRange(t *testing.T) {
	for text, want := range map[string]contentRange{
		"bytes 0-9/10":                   {0, 10, 10},
		"bytes 5-5/*":                    {5, 6, -1},
		"Bytes 1-2/30":                   {1, 3, 30},
		" bytes  0 - 9 / 10 ":            {},
		"bytes 0-9/9":                    {},
		"bytes 9-0/10":                   {},
		"bytes */10":                     {},
		"bytes 0-9":                      {},
		"0-9/10":                         {},
		"bytes -1-9/10":                  {},
		"bytes +1-9/10":                  {},
		"bytes 0-9223372036854775807/*":  {},
		"bytes 0-99999999999999999999/*": {},
		"":                               {},
	} {
		got, err := parseContentRange(text)
		if (err == nil) != (want != contentRange{}) || got != want {
			t.Errorf("parseContentRange(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestAdviceToWaitIsRead(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-7": 0, "soon": 0, "99999999999": 0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute,
		"Fri, 02 Jan 2026 03:04:00 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", text, got, want)
		}
	}
}

func TestWaitsGrowAndStayBounded(t *testing.T) {
	p := pace{}
	p.setDefaults()
	for failed := 1; failed < 100; failed++ {
		if w := p.wait(failed, 0); w < 0 || w > p.longestWait {
			t.Fatalf("after %d failures: %v", failed, w)
		}
		if w := p.wait(failed, time.Hour); w < p.longestAdvice || w > p.longestAdvice+p.longestWait {
			t.Fatalf("after %d failures, with advice: %v", failed, w)
		}
	}
	if w := p.wait(1, 0); w > p.firstWait {
		t.Errorf("the first wait is %v", w)
	}
}

func FuzzContentRange(f *testing.F) {
	for _, seed := range []string{"bytes 0-9/10", "bytes 0-9/*", "bytes */10", "bytes 18446744073709551615-0/1", "bytes 0-9223372036854775806/9223372036854775807"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseContentRange(text)
		if err == nil && (r.start < 0 || r.end <= r.start || (r.total >= 0 && r.end > r.total)) {
			t.Errorf("parseContentRange(%q) = %v", text, r)
		}
		if n := parseUnsatisfied(text); n < -1 {
			t.Errorf("parseUnsatisfied(%q) = %d", text, n)
		}
	})
}

func FuzzPartsCoverTheObject(f *testing.F) {
	f.Add(int64(1), int64(1))
	f.Add(int64(10_000_001), int64(4096))
	f.Fuzz(func(t *testing.T, total, size int64) {
		if total < 1 || size < 1 || total/size > 100_000 || total > math.MaxInt64-size {
			return
		}
		l, at := newPartList(total, size), int64(0)
		for i := range l.parts {
			p := &l.parts[i]
			if p.start != at || p.at != at || p.end <= p.start || p.end-p.start > size {
				t.Fatalf("part %d is %d-%d behind %d", i, p.start, p.end, at)
			}
			at = p.end
		}
		if at != total || l.total() != total || l.left != len(l.parts) {
			t.Errorf("%d parts end at %d of %d", len(l.parts), at, total)
		}
	})
}

// Two connections race for parts in every order that a test can name.
func TestPartsAreHandedOutOnce(t *testing.T) {
	l := newPartList(40, 10)
	const stream, other = 1, 2
	p0 := l.claimAt(0, stream)
	p3 := l.claim(t.Context(), other)
	if p3 == nil || p3.start != 30 {
		t.Fatal("the last part is not handed out first")
	}
	p2 := l.claim(t.Context(), other)
	if got := l.claimAt(20, stream); got != p2 {
		t.Error("a part whose bytes have not begun to come is not taken over")
	}
	if l.begin(p2, other) {
		t.Error("the connection that lost its part may begin it")
	}
	if _, mine := l.at(p2, other); mine {
		t.Error("the connection that lost its part still owns it")
	}
	if !l.begin(p3, other) || l.claimAt(30, stream) != nil {
		t.Error("a part that has begun was taken over")
	}
	p3.at = 35
	l.release(p3, stream)
	p1 := l.claim(t.Context(), stream)
	if p1 == nil || p1.start != 10 {
		t.Error("a stranger released a part")
	}
	l.release(p3, other)
	if p := l.claim(t.Context(), stream); p != p3 || p.at != 35 {
		t.Error("a part that was given up is not gone on with")
	}
	for _, p := range []*part{p0, p1, p2, p3} {
		l.finish(p)
	}
	if !l.complete() || l.claim(t.Context(), other) != nil {
		t.Error("parts are left")
	}
	if diff := cmp.Diff(int64(40), l.total()); diff != "" {
		t.Error(diff)
	}
}
