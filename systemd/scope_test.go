package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// inGuest skips a test that needs systemd as the service manager. The lab runs this package's tests in a booted guest.
func inGuest(t *testing.T) context.Context {
	t.Helper()
	if !Booted() || os.Geteuid() != 0 {
		t.Skip("NOT RUN HERE (needs root on a host that systemd has booted; the tests of internal/lab run it there)")
	}
	t.Cleanup(func() { goleak.VerifyNone(t) })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestStartScopeMovesProcesses(t *testing.T) {
	ctx := inGuest(t)
	name := ScopeName("d-MOVE/é x", "Before Install", 0)
	child := sleeper(t)
	if err := StartScope(ctx, ScopeOptions{Unit: name, Description: "a hook", PIDs: []int{child}, Delegate: true, StopTimeout: time.Second}); err != nil {
		t.Fatal(err)
	}

	if unit, err := UnitOf(child); err != nil || unit != name {
		t.Errorf("the child is in %q (%v), want %q", unit, err, name)
	}
	cgroup, err := CgroupOf(child)
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(cgroup) != name {
		t.Errorf("cgroup %q", cgroup)
	}
	if pids, err := Processes(cgroup); err != nil || !slices.Equal(pids, []int{child}) {
		t.Errorf("processes of the scope: %v (%v), want %d alone", pids, err, child)
	}
	show := systemctl(t, "show", "-p", "Description", "-p", "Slice", "-p", "TimeoutStopUSec", "-p", "Delegate", name)
	for _, want := range []string{"Description=a hook", "Slice=system.slice", "TimeoutStopUSec=1s", "Delegate=yes"} {
		if !strings.Contains(show, want) {
			t.Errorf("%q is missing in\n%s", want, show)
		}
	}
}

func TestStartScopeRefusesANameInUse(t *testing.T) {
	ctx := inGuest(t)
	name := ScopeName("d-TWICE", "X", 0)
	first, second := sleeper(t), sleeper(t)
	if err := StartScope(ctx, ScopeOptions{Unit: name, PIDs: []int{first}}); err != nil {
		t.Fatal(err)
	}
	err := StartScope(ctx, ScopeOptions{Unit: name, PIDs: []int{second}})
	if !errors.Is(err, ErrScopeExists) {
		t.Errorf("got %v, want %v", err, ErrScopeExists)
	}
	if unit, _ := UnitOf(second); unit == name {
		t.Error("the second process was moved although the name was taken")
	}
}

func TestScopeLivesInTheSliceAskedFor(t *testing.T) {
	ctx := inGuest(t)
	child := sleeper(t)
	if err := StartScope(ctx, ScopeOptions{Unit: ScopeName("d-SLICE", "X", 0), Slice: "hooks.slice", PIDs: []int{child}}); err != nil {
		t.Fatal(err)
	}
	if cgroup, err := CgroupOf(child); err != nil || !strings.Contains(cgroup, "/hooks.slice/") {
		t.Errorf("cgroup %q (%v)", cgroup, err)
	}
}

func TestScopeGoesWithItsLastProcess(t *testing.T) {
	ctx := inGuest(t)
	name := ScopeName("d-GONE", "X", 0)
	for round := range 3 { // the name is free again each time
		child := sleeper(t)
		if err := StartScope(ctx, ScopeOptions{Unit: name, PIDs: []int{child}}); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		cgroup, err := CgroupOf(child)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the scope is gone", func() bool {
			state, err := ScopeState(ctx, name)
			_, gone := os.Stat(cgroup)
			return err == nil && state == "inactive" && errors.Is(gone, os.ErrNotExist)
		})
	}
}

func TestScopeOfAProcessThatHasEnded(t *testing.T) {
	ctx := inGuest(t)
	gone := exec.Command("/bin/true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	name := ScopeName("d-DEAD", "X", 0)
	if err := StartScope(ctx, ScopeOptions{Unit: name, PIDs: []int{gone.Process.Pid}}); err == nil {
		t.Error("no error")
	}
	eventually(t, "the name is free again", func() bool {
		return StartScope(ctx, ScopeOptions{Unit: name, PIDs: []int{sleeper(t)}}) == nil
	})
}

func TestKillScopeReachesEveryProcessOfIt(t *testing.T) {
	ctx := inGuest(t)
	name := ScopeName("d-KILL", "X", 0)
	children := []int{sleeper(t), sleeper(t)}
	if err := StartScope(ctx, ScopeOptions{Unit: name, PIDs: children}); err != nil {
		t.Fatal(err)
	}
	if err := KillScope(ctx, name, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are gone", func() bool { return !running(children[0]) && !running(children[1]) })
	eventually(t, "a scope that is gone has nothing to kill", func() bool {
		state, err := ScopeState(ctx, name)
		return err == nil && state == "inactive" && KillScope(ctx, name, syscall.SIGKILL) == nil && StopScope(ctx, name) == nil
	})
}

func TestStopScopeKillsWhatIgnoresTerm(t *testing.T) {
	ctx := inGuest(t)
	name := ScopeName("d-STOP", "X", 0)
	stubborn := start(t, "trap '' TERM; echo up; while :; do sleep 1; done")
	if err := StartScope(ctx, ScopeOptions{Unit: name, PIDs: []int{stubborn}, StopTimeout: time.Second}); err != nil {
		t.Fatal(err)
	}
	if err := StopScope(ctx, name); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the process is gone", func() bool { return !running(stubborn) })
}

func TestStartScopeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(inGuest(t))
	cancel()
	if err := StartScope(ctx, ScopeOptions{Unit: ScopeName("d-CTX", "X", 0), PIDs: []int{sleeper(t)}}); err == nil {
		t.Error("no error")
	}
}

func TestScopesAreMadeWhileTheBusIsDown(t *testing.T) {
	ctx := inGuest(t)
	systemctl(t, "stop", "dbus.socket", "dbus.service")
	t.Cleanup(func() { systemctl(t, "start", "dbus.socket") })
	if err := StartScope(ctx, ScopeOptions{Unit: ScopeName("d-NOBUS", "X", 0), PIDs: []int{sleeper(t)}}); err != nil {
		t.Error(err)
	}
}

func TestScopesAreMadeOverTheBusWithoutThePrivateSocket(t *testing.T) {
	ctx := inGuest(t)
	const private, aside = "/run/systemd/private", "/run/systemd/private.aside"
	if err := os.Rename(private, aside); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Rename(aside, private) })
	name := ScopeName("d-BUS", "X", 0)
	child := sleeper(t)
	if err := StartScope(ctx, ScopeOptions{Unit: name, PIDs: []int{child}}); err != nil {
		t.Fatal(err)
	}
	if unit, _ := UnitOf(child); unit != name {
		t.Errorf("the child is in %q", unit)
	}
}

func TestStartScopeSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name string
		o    ScopeOptions
		want string
	}{
		{"no suffix", ScopeOptions{Unit: "a.service", PIDs: []int{1}}, `cannot start scope "a.service": its name does not end in .scope`},
		{"no processes", ScopeOptions{Unit: "a.scope"}, `cannot start scope "a.scope": it would have no processes`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := StartScope(t.Context(), c.o); err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestWithoutSystemdThereAreNoScopes(t *testing.T) {
	if Booted() {
		t.Skip("NOT RUN HERE (systemd is the service manager)")
	}
	err := StartScope(t.Context(), ScopeOptions{Unit: "a.scope", PIDs: []int{os.Getpid()}})
	if !errors.Is(err, ErrNotBooted) {
		t.Errorf("got %v, want %v", err, ErrNotBooted)
	}
}

func BenchmarkStartScope(b *testing.B) {
	if !Booted() || os.Geteuid() != 0 {
		b.Skip("NOT RUN HERE (needs root on a host that systemd has booted)")
	}
	for n := 0; b.Loop(); n++ {
		b.StopTimer()
		cmd := exec.Command("/bin/sleep", "60")
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		err := StartScope(b.Context(), ScopeOptions{Unit: ScopeName("d-BENCH", "X", n), PIDs: []int{cmd.Process.Pid}})
		b.StopTimer()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func sleeper(t *testing.T) int { return start(t, "echo up; exec sleep 60") }

// start runs a shell script that first prints a line, and returns its pid.
func start(t *testing.T, script string) int {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := fmt.Fscanln(out, new(string)); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

// running tells whether the process has not ended; a zombie has.
func running(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(text), ") Z ")
}

func systemctl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("systemctl", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("systemctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
