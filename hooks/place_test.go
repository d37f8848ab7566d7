package hooks

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"codedeploy-agent/systemd"
)

// withSystemd lets the given function answer for systemd.
func withSystemd(t *testing.T, answer func(context.Context, systemd.ScopeOptions) error) {
	t.Helper()
	needsRoot(t, "a runner is put into a scope")
	oldStart, oldBooted := startScope, booted
	t.Cleanup(func() { startScope, booted = oldStart, oldBooted })
	startScope, booted = answer, func() bool { return true }
}

func TestSystemdRefuses(t *testing.T) {
	withSystemd(t, func(context.Context, systemd.ScopeOptions) error { return errors.New("no") })
	l := newBench(t).sh("a.sh", "echo ran")
	e := l.start()
	if res := waitFor(t, e); res.Outcome != Succeeded || e.Detached() {
		t.Errorf("result %+v, detached %t", res, e.Detached())
	}
}

func TestScopeOfThatNameExists(t *testing.T) {
	var names []string
	withSystemd(t, func(_ context.Context, o systemd.ScopeOptions) error {
		names = append(names, o.Unit)
		if len(names) == 1 {
			return systemd.ErrScopeExists
		}
		return nil
	})
	l := newBench(t).sh("a.sh", "echo ran")
	e := l.start()
	if res := waitFor(t, e); res.Outcome != Succeeded || !e.Detached() {
		t.Errorf("result %+v, detached %t", res, e.Detached())
	}
	if len(names) != 2 || len(slices.Compact(names)) != 2 || !strings.HasPrefix(names[0], "codedeploy-hook-d-TEST12345-AfterInstall-") {
		t.Errorf("names %q", names)
	}
	again, err := Attach(l.req.Record)
	if err != nil || !again.Detached() {
		t.Errorf("attached: %v, detached %t", err, again.Detached())
	}
}

func TestSystemdHangs(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	withSystemd(t, func(ctx context.Context, _ systemd.ScopeOptions) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	l := newBench(t)
	l.sh("a.sh", "touch "+l.path("ran"))
	if _, err := Start(ctx, l.req, nopLog); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, err := Attach(l.req.Record); !errors.Is(err, ErrNotStarted) || exists(l.path("ran")) {
		t.Errorf("attached: %v, ran: %t", err, exists(l.path("ran")))
	}
}
