package codedeploy

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

var throttled = &Error{Kind: Throttled}

func TestTheGateShutsTwiceAsLongEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Gate
		for _, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			g.Report(throttled)
			g.Report(throttled) // calls that were under way do not count again
			began := time.Now()
			if err := g.Wait(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took < want*time.Second || took > want*time.Second*5/4+time.Millisecond {
				t.Errorf("waited %v, want %v to a quarter more", took, want*time.Second)
			}
		}
		g.Report(nil)
		g.Report(throttled)
		if left := g.left(); left != time.Second {
			t.Errorf("after a success the gate shuts for %v", left)
		}
	})
}

func TestTheGateHonoursRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Gate
		g.Report(&Error{Kind: Throttled, RetryAfter: time.Minute})
		began := time.Now()
		if err := g.Wait(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < time.Minute {
			t.Errorf("waited %v", took)
		}
	})
}

func TestReportsGoThroughTheGateBeforePolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 50 {
			var g Gate
			g.Report(throttled)
			order := make(chan string, 4)
			for _, name := range []string{"poll", "report", "poll", "report"} {
				go func() {
					if err := g.Wait(t.Context(), name == "report"); err == nil {
						order <- name
					}
				}()
			}
			if a, b := <-order, <-order; a != "report" || b != "report" {
				t.Fatalf("first %s, then %s", a, b)
			}
			<-order
			<-order
		}
	})
}

func TestWaitingAtTheGateEndsWithTheContext(t *testing.T) {
	var g Gate
	g.Report(throttled)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Wait(ctx, true); !errors.Is(err, context.Canceled) || !g.Shut() {
		t.Errorf("error %v", err)
	}
	g.Report(nil)
	if g.Shut() {
		t.Error("a success did not open the gate")
	}
	g.Report(errors.New("network"))
	if err := g.Wait(t.Context(), false); err != nil {
		t.Error(err)
	}
}

func TestOneThrottledCallHoldsBackTheNext(t *testing.T) {
	c, requests := service(t, Options{}, says(429, ""))
	if _, err := c.Poll(t.Context(), "host"); KindOf(err) != Throttled {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.Complete(ctx, "id", Succeeded, Diagnostics{}); !errors.Is(err, context.DeadlineExceeded) || len(*requests) != 1 {
		t.Errorf("error %v, %d requests", err, len(*requests))
	}
}

func TestBackoffGrowsWithFullJitterUpToItsCap(t *testing.T) {
	for _, tc := range []struct {
		name   string
		b      Backoff
		bounds []time.Duration // in seconds
	}{
		{"by default", Backoff{}, []time.Duration{2, 4, 8, 16, 32, 64, 90, 90, 90}},
		{"with a low cap", Backoff{Base: time.Second, Max: 5 * time.Second}, []time.Duration{1, 2, 4, 5, 5}},
	} {
		var highest, lowest [9]time.Duration
		for range 300 {
			tc.b.Reset()
			for i, bound := range tc.bounds {
				d := tc.b.Next()
				if d > bound*time.Second || d < bound*time.Second/10 {
					t.Fatalf("%s: wait %d is %v, bound %v", tc.name, i, d, bound*time.Second)
				}
				highest[i] = max(highest[i], d)
				if lowest[i] == 0 || d < lowest[i] {
					lowest[i] = d
				}
			}
		}
		for i, bound := range tc.bounds {
			if highest[i] < bound*time.Second*8/10 || lowest[i] > bound*time.Second*3/10 {
				t.Errorf("%s: wait %d lies between %v and %v", tc.name, i, lowest[i], highest[i])
			}
		}
	}
	b := Backoff{Max: time.Second}
	if d := b.After(&Error{HTTPStatus: 503, RetryAfter: time.Minute}); d != time.Minute {
		t.Errorf("waited %v", d)
	}
	b = Backoff{Base: time.Hour, Max: time.Hour}
	for range 100 {
		if d := b.After(&Error{Kind: Network}); d > 12*time.Second {
			t.Fatalf("waited %v although nobody answered", d)
		}
	}
}
