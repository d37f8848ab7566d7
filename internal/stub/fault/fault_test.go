package fault

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAFaultHitsWhatItNamesAsOftenAsItSays(t *testing.T) {
	poll := Request{Service: "commands", Operation: "PollHostCommand", Host: "h"}
	cases := map[string]struct {
		fault Fault
		want  string // one letter a request: b broken, . not
	}{
		"once by default":      {Fault{}, "b...."},
		"so many":              {Fault{Count: 3}, "bbb.."},
		"all":                  {Fault{Count: -1}, "bbbbb"},
		"after some":           {Fault{Skip: 2, Count: 2}, "..bb."},
		"the right operation":  {Fault{Operation: "PollHostCommand", Host: "h", Service: "commands", Count: -1}, "bbbbb"},
		"any, by star":         {Fault{Operation: "*", Count: -1}, "bbbbb"},
		"another operation":    {Fault{Operation: "GetObject", Count: -1}, "....."},
		"another host":         {Fault{Host: "i", Count: -1}, "....."},
		"another service's op": {Fault{Service: "s3", Count: -1}, "....."},
	}
	for name, tc := range cases {
		var set Set
		tc.fault.Kind = Reset
		set.Add(tc.fault)
		got := ""
		for range 5 {
			if set.Take(poll).Kind == Reset {
				got += "b"
			} else {
				got += "."
			}
		}
		if got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

func TestTheNextFaultTakesOverWhenOneIsUsedUp(t *testing.T) {
	var set Set
	set.Add(Fault{Kind: Reset})
	second := set.Add(Fault{Kind: Hang})
	got := []Kind{set.Take(Request{}).Kind, set.Take(Request{}).Kind, set.Take(Request{}).Kind}
	if diff := cmp.Diff([]Kind{Reset, Hang, ""}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	set.Remove(second)
	if n := len(set.List()); n != 1 {
		t.Errorf("%d faults are left", n)
	}
}

func TestFaultsTravelAsJSON(t *testing.T) {
	want := Fault{Kind: Throttle, Service: "commands", Count: 2, RetryAfter: 2 * time.Second, Delay: 1500 * time.Millisecond}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), `"delay":"1.5s"`) {
		t.Errorf("the delay is not for people: %s", b)
	}
	var got Fault
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := json.Unmarshal([]byte(`{"delay":"soon"}`), &got); err == nil {
		t.Error("a delay of \"soon\" was accepted")
	}
}

func TestFaultsThatCannotBe(t *testing.T) {
	for _, f := range []Fault{{}, {Kind: "nonsense"}, {Kind: Rate}, {Kind: Changed, Service: "imds"}} {
		if f.Check() == nil {
			t.Errorf("%+v was accepted", f)
		}
	}
}

// get asks a server whose only answer, of 10,000 bytes, is under the fault.
func get(t *testing.T, f Fault, limit time.Duration) (body string, took time.Duration, err error) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.Serve(w, r, func(w http.ResponseWriter, status int, _, _ string) { w.WriteHeader(status) }, func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "10000")
			_, _ = io.WriteString(w, strings.Repeat("x", 10_000))
		})
	}))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	response, err := server.Client().Do(r)
	if err != nil {
		return "", time.Since(began), err
	}
	defer func() { _ = response.Body.Close() }()
	b, err := io.ReadAll(response.Body)
	return string(b), time.Since(began), err
}

func TestBodies(t *testing.T) {
	const limit = 300 * time.Millisecond
	for name, tc := range map[string]struct {
		fault  Fault
		length int
		want   error
	}{
		"cut by a reset":          {Fault{Kind: Cut, After: 100}, 100, syscall.ECONNRESET},
		"ended early":             {Fault{Kind: Truncate, After: 100}, 100, io.ErrUnexpectedEOF},
		"cut at once":             {Fault{Kind: Truncate}, 0, io.ErrUnexpectedEOF},
		"stalled for ever":        {Fault{Kind: Stall, After: 100}, 100, context.DeadlineExceeded},
		"stalled for a while":     {Fault{Kind: Stall, After: 100, Delay: 20 * time.Millisecond}, 10_000, nil},
		"stalled after the end":   {Fault{Kind: Stall, After: 20_000}, 10_000, nil},
		"slow":                    {Fault{Kind: Rate, Rate: 100_000}, 10_000, nil},
		"slower than the patient": {Fault{Kind: Rate, Rate: 1000}, -1, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			body, _, err := get(t, tc.fault, limit)
			if !errors.Is(err, tc.want) {
				t.Errorf("the error is %v, want %v", err, tc.want)
			}
			if tc.length >= 0 && len(body) != tc.length {
				t.Errorf("%d bytes came, want %d", len(body), tc.length)
			}
		})
	}
}

func TestARateTakesItsTime(t *testing.T) {
	if _, took, err := get(t, Fault{Kind: Rate, Rate: 100_000}, 10*time.Second); err != nil || took < 80*time.Millisecond {
		t.Errorf("10,000 bytes at 100,000 a second took %s, %v", took, err)
	}
}
