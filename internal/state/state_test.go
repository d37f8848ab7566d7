package state_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"codedeploy-agent/internal/state"
)

func newRoot(t *testing.T) state.Root {
	t.Helper()
	r := state.NewRoot(filepath.Join(t.TempDir(), "deployment-root"), "")
	if err := r.Create(); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOnlyOneSafePathComponentIsAnID(t *testing.T) {
	r := state.NewRoot("/r", "tracking")
	for _, id := range []string{"d-ABCDEFGHI", "11111111-2222-3333-4444-555555555555", "default-local-deployment-group", "ü"} {
		if err := r.CheckID("id", id); err != nil {
			t.Errorf("%q is refused: %v", id, err)
		}
	}
	for _, id := range []string{
		"", ".", "..", "../x", "a/b", "/etc", ".hidden", "a\x00b", "a\nb", `a\b`, strings.Repeat("x", 256),
		"deployment-instructions", "deployment-logs", "command-journal", "tracking",
	} {
		if r.CheckID("id", id) == nil {
			t.Errorf("%q is accepted", id)
		}
	}
}

func TestPointersOfEveryAgentAreRead(t *testing.T) {
	r := newRoot(t)
	g := r.Group("g")
	if _, ok, err := g.LastSuccessful(); ok || err != nil {
		t.Errorf("a pointer that was never written: %t, %v", ok, err)
	}
	want := g.Deployment("d-1")
	for name, text := range map[string]string{
		"as 1.x writes it": want.Dir(), "with a newline": want.Dir() + "\n", "with a trailing slash": want.Dir() + "/",
	} {
		if err := os.WriteFile(g.File("_last_successful_install"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, ok, err := g.LastSuccessful(); !ok || err != nil || got != want {
			t.Errorf("%s: %v, %t, %v", name, got, ok, err)
		}
	}
	if err := os.WriteFile(g.File("_last_successful_install"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := g.LastSuccessful(); ok || err != nil {
		t.Errorf("a pointer that a power loss emptied: %t, %v", ok, err)
	}
	if err := g.SetMostRecent(want); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(g.File("_most_recent_install")); string(b) != want.Dir() {
		t.Errorf("the pointer holds %q; 1.x writes the bare path", b)
	}
}

func TestACommandIsTrackedUntilItsOwnEnd(t *testing.T) {
	r := newRoot(t)
	if err := r.Track("d-1", "first"); err != nil {
		t.Fatal(err)
	}
	if err := r.Track("d-1", "second"); err != nil {
		t.Fatal(err)
	}
	if err := r.Untrack("d-1", "first"); err != nil {
		t.Fatal(err)
	}
	all, err := r.AllTracked()
	if err != nil || len(all) != 1 || all[0].DeploymentID != "d-1" || all[0].HostCommandIdentifier != "second" {
		t.Errorf("tracked: %+v, %v", all, err)
	}
	if err := r.Untrack("d-1", "second"); err != nil {
		t.Fatal(err)
	}
	if all, err := r.AllTracked(); err != nil || len(all) != 0 {
		t.Errorf("tracked after the end: %+v, %v", all, err)
	}
}
