package agent

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"codedeploy-agent/internal/journal"
)

// play runs a test in virtual time.
func play(t *testing.T, do func(t *testing.T, s *service, a *Agent)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		do(t, s, agentOf(t, s, dir))
	})
}

// whats lists what calls were about.
func whats(calls []call) (list []string) {
	for _, c := range calls {
		list = append(list, c.what)
	}
	return list
}

func TestAServiceThatAcceptsAndNeverAnswersIsAskedAgainWithinThreeMinutesOfItsRecovery(t *testing.T) {
	for _, operation := range []string{poll, specify, acknowledge, complete} {
		t.Run(operation, func(t *testing.T) {
			play(t, func(t *testing.T, s *service, a *Agent) {
				const outage = 4 * time.Minute
				began := time.Now()
				s.commands = []string{"AfterBlockTraffic"} // nothing to do on a new host
				s.answer = func(_ *service, o string, r *http.Request) (int, http.Header, string) {
					if o == operation && time.Since(began) < outage {
						hang(r)
					}
					return 0, nil, ""
				}
				r := start(t, a)
				time.Sleep(outage + 3*time.Minute)
				reports := s.seen(complete)
				if len(reports) == 0 || reports[len(reports)-1].what != "hc-AfterBlockTraffic Succeeded" {
					t.Errorf("reports: %v", whats(reports))
				}
				if status := a.says(); !status.Healthy(time.Now()) || !a.Health.Alive() {
					t.Errorf("not healthy: %+v", status)
				}
				r.leave(Stop)
			})
		})
	}
}

func TestHowAnAgentLeavesWhileAReportIsPending(t *testing.T) {
	for name, c := range map[string]struct {
		ways []Departure
		want Departure
		at   time.Duration // at most
	}{
		"stop":                       {[]Departure{Stop}, Stop, reportWhenLeaving},
		"reload":                     {[]Departure{Reload}, Reload, reportWhenLeaving},
		"reload twice":               {[]Departure{Reload, Reload}, Reload, reportWhenLeaving},
		"stop during a reload":       {[]Departure{Reload, Stop}, Stop, reportWhenLeaving},
		"reload during a stop":       {[]Departure{Stop, Reload}, Stop, reportWhenLeaving},
		"stop twice leaves at once":  {[]Departure{Stop, Stop}, Stop, 0},
		"stop twice during a reload": {[]Departure{Reload, Stop, Stop}, Stop, 0},
		"stop, reload, stop at once": {[]Departure{Stop, Reload, Stop}, Stop, 0},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(t *testing.T, s *service, a *Agent) {
				s.commands = []string{"AfterBlockTraffic"}
				s.answer = func(_ *service, o string, r *http.Request) (int, http.Header, string) {
					if o == complete {
						hang(r)
					}
					return 0, nil, ""
				}
				r := start(t, a)
				time.Sleep(time.Second)
				how, took := r.leave(c.ways...)
				if how != c.want || took > c.at {
					t.Errorf("it left as %v after %s, want %v within %s", how, took, c.want, c.at)
				}
				if got := a.journal.All(); len(got) != 1 || got[0].Phase != journal.Done || got[0].Result.Status != "Succeeded" {
					t.Errorf("the next agent finds %+v", got)
				}
			})
		})
	}
}

func TestAResultIsReportedByTheNextAgentAsItWas(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		s := &service{commands: []string{"AfterBlockTraffic"}, answer: func(_ *service, o string, _ *http.Request) (int, http.Header, string) {
			if o == complete && !up.Load() {
				return http.StatusServiceUnavailable, nil, ""
			}
			return 0, nil, ""
		}}
		r := start(t, agentOf(t, s, dir))
		time.Sleep(10 * time.Minute)
		r.leave(Stop)
		next := agentOf(t, s, dir)
		r = start(t, next)
		time.Sleep(time.Minute)
		if diff := cmp.Diff([]string{"AfterBlockTraffic of d-1"}, next.says().Working); diff != "" {
			t.Error("the status does not show what is taken up:", diff)
		}
		up.Store(true)
		time.Sleep(time.Minute)
		reports := whats(s.seen(complete))
		if got := slices.Compact(reports); len(got) != 1 || got[0] != "hc-AfterBlockTraffic Succeeded" {
			t.Errorf("reports: %v", got)
		}
		r.leave(Stop)
		if left, _ := os.ReadDir(filepath.Join(dir, "root", "ongoing-deployment")); len(left) > 0 {
			t.Errorf("tracked: %v", left)
		}
	})
}

func TestTheServiceIsNotAskedBeforeTheTimeItNames(t *testing.T) {
	play(t, func(t *testing.T, s *service, a *Agent) {
		first := true
		s.answer = func(_ *service, o string, _ *http.Request) (int, http.Header, string) {
			if o != poll || !first {
				return 0, nil, ""
			}
			first = false
			time.Sleep(70 * time.Second) // a long poll that ends badly
			return http.StatusServiceUnavailable, http.Header{"Retry-After": {"60"}}, ""
		}
		r := start(t, a)
		time.Sleep(3 * time.Minute)
		polls := s.seen(poll)
		if wait := polls[1].at.Sub(polls[0].at) - 70*time.Second; wait < time.Minute {
			t.Errorf("the next poll came after %s", wait)
		}
		r.leave(Stop)
	})
}

// TestACommandThatOnlyWaitsDoesNotHoldUpAStop: the next agent carries it out.
func TestACommandThatOnlyWaitsDoesNotHoldUpAStop(t *testing.T) {
	play(t, func(t *testing.T, s *service, a *Agent) {
		unlock, err := a.Executor.groups.lock(t.Context(), "g", "Install of d-0", a.Executor.waiting)
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
		s.commands = []string{"DownloadBundle"}
		r := start(t, a)
		time.Sleep(time.Minute)
		if working := strings.Join(a.says().Working, "; "); !strings.Contains(working, "waits for Install of d-0") {
			t.Errorf("the command does not wait: %q", working)
		}
		if _, took := r.leave(Stop); took > time.Second {
			t.Errorf("the stop took %s", took)
		}
		if reports := s.seen(complete); len(reports) > 0 {
			t.Errorf("it was reported: %v", reports)
		}
		if _, kept := a.journal.Lookup("hc-DownloadBundle"); !kept {
			t.Error("the next agent does not know the command")
		}
	})
}

// TestATrackingFileOfAReportedCommandIsOnlyRemoved: an agent was killed between its two last steps.
func TestATrackingFileOfAReportedCommandIsOnlyRemoved(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := &service{commands: []string{"AfterBlockTraffic"}}
		a := agentOf(t, s, dir)
		r := start(t, a)
		time.Sleep(time.Second)
		r.leave(Stop)
		if err := a.Executor.Root.Track("d-1", "hc-AfterBlockTraffic"); err != nil {
			t.Fatal(err)
		}
		r = start(t, agentOf(t, s, dir))
		time.Sleep(time.Second)
		r.leave(Stop)
		if left, _ := os.ReadDir(filepath.Join(dir, "root", "ongoing-deployment")); len(left) > 0 {
			t.Errorf("tracked: %v", left)
		}
		if got := whats(s.seen(complete)); len(got) != 1 {
			t.Errorf("reports: %v", got)
		}
	})
}

func TestAHostThatIsRegisteredAnewGoesOnAsTheNewOne(t *testing.T) {
	const newName = thisHost + "-new"
	play(t, func(t *testing.T, s *service, a *Agent) {
		var id atomic.Value
		id.Store(thisHost)
		a.Connect = func(context.Context) (*Host, error) { return s.host(id.Load().(string)), nil }
		s.answer = func(_ *service, o string, _ *http.Request) (int, http.Header, string) {
			if o != specify && a.host.Load().ID != id.Load() {
				return http.StatusForbidden, nil, `{"__type":"UnrecognizedClientException"}`
			}
			return 0, nil, ""
		}
		r := start(t, a)
		time.Sleep(time.Minute)
		id.Store(newName)
		time.Sleep(10 * time.Minute)
		if got := a.host.Load().ID; got != newName {
			t.Errorf("the agent still polls as %s", got)
		}
		r.leave(Stop)
	})
}

func TestAHostWithPendingResultsStaysWhoItIs(t *testing.T) {
	play(t, func(t *testing.T, s *service, a *Agent) {
		var id atomic.Value
		id.Store(thisHost)
		s.commands = []string{"AfterBlockTraffic"}
		a.Connect = func(context.Context) (*Host, error) { return s.host(id.Load().(string)), nil }
		s.answer = func(_ *service, o string, _ *http.Request) (int, http.Header, string) {
			if o == complete || id.Load() != thisHost {
				return http.StatusForbidden, nil, `{"__type":"UnrecognizedClientException"}`
			}
			return 0, nil, ""
		}
		r := start(t, a)
		time.Sleep(time.Minute)
		id.Store("another")
		time.Sleep(10 * time.Minute)
		if got := a.host.Load().ID; got != thisHost {
			t.Errorf("the agent would report the commands of %s as %s", thisHost, got)
		}
		r.leave(Stop)
	})
}

func TestTheFoldersOfTheRootMayBeDeletedWhileTheAgentRuns(t *testing.T) {
	play(t, func(t *testing.T, s *service, a *Agent) {
		r := start(t, a)
		time.Sleep(time.Second)
		if err := os.RemoveAll(a.Executor.Root.Dir()); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		s.commands = []string{"AfterBlockTraffic"}
		s.mu.Unlock()
		time.Sleep(time.Minute)
		if diff := cmp.Diff([]string{"hc-AfterBlockTraffic Succeeded"}, whats(s.seen(complete))); diff != "" {
			t.Error("reports:", diff)
		}
		r.leave(Stop)
	})
}
