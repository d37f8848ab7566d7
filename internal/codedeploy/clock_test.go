package codedeploy

import (
	"net/http"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// skewed is a service whose clock differs from this host's and that minds.
func skewed(t *testing.T, ahead func() time.Duration) (*Client, *[]received, *observer.ObservedLogs) {
	core, logs := observer.New(zap.InfoLevel)
	c, requests := service(t, Options{Log: zap.New(core)}, func(w http.ResponseWriter, r *http.Request) {
		now := time.Now().Add(ahead())
		w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
		at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if err != nil || now.Sub(at).Abs() > 5*time.Minute {
			says(400, `{"__type":"InvalidSignatureException","message":"Signature expired: x is now earlier than y"}`)(w, r)
			return
		}
		says(200, `{}`)(w, r)
	})
	return c, requests, logs
}

func TestAWrongClockIsCorrectedAndNamed(t *testing.T) {
	for _, off := range []time.Duration{20 * time.Minute, -20 * time.Minute, 30 * 24 * time.Hour} {
		c, requests, logs := skewed(t, func() time.Duration { return off })
		for range 3 {
			if _, err := c.Poll(t.Context(), "host"); err != nil {
				t.Errorf("off by %v: %v", off, err)
			}
		}
		if len(*requests) != 4 {
			t.Errorf("off by %v: %d requests for three polls", off, len(*requests))
		}
		if logs.Len() != 1 || logs.All()[0].ContextMap()["clock_skew"] == nil {
			t.Errorf("off by %v: log %v", off, logs.All())
		}
		if (c.ClockSkew() - off).Abs() > 2*time.Second {
			t.Errorf("skew %v, want %v", c.ClockSkew(), off)
		}
	}
}

func TestAClockThatIsSetRightIsUsedAgain(t *testing.T) {
	off := time.Hour
	c, _, logs := skewed(t, func() time.Duration { return off })
	for range 2 {
		if _, err := c.Poll(t.Context(), "host"); err != nil {
			t.Fatal(err)
		}
		off = 0
	}
	if _, err := c.Poll(t.Context(), "host"); err != nil {
		t.Fatal(err)
	}
	if c.ClockSkew() != 0 || logs.Len() != 2 {
		t.Errorf("skew %v, log %v", c.ClockSkew(), logs.All())
	}
}

func TestASmallDifferenceIsLeftAlone(t *testing.T) {
	c, _, logs := skewed(t, func() time.Duration { return 2 * time.Minute })
	if _, err := c.Poll(t.Context(), "host"); err != nil || c.ClockSkew() != 0 || logs.Len() != 0 {
		t.Errorf("%v, skew %v, log %v", err, c.ClockSkew(), logs.All())
	}
}

func TestAProxysClockIsNotBelieved(t *testing.T) {
	c, _ := service(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", "Thu, 01 Jan 1970 00:00:00 GMT")
		says(502, "<html>no</html>")(w, r)
	})
	if _, err := c.Poll(t.Context(), "host"); err == nil || c.ClockSkew() != 0 {
		t.Errorf("%v, skew %v", err, c.ClockSkew())
	}
}
