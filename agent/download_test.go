package agent

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"codedeploy-agent/internal/bundle"
	"codedeploy-agent/internal/state"
)

func TestMakingRoomKeepsTheMostRecentRevision(t *testing.T) {
	group := state.NewRoot(t.TempDir(), "").Group("g")
	if err := group.Root().Create(); err != nil {
		t.Fatal(err)
	}
	var old bundle.Doomed
	for _, id := range []string{"d-1", "d-2", "d-3"} {
		if err := os.MkdirAll(group.Deployment(id).Archive(), 0o755); err != nil {
			t.Fatal(err)
		}
		old = append(old, group.Deployment(id).Dir())
	}
	if err := group.SetMostRecent(group.Deployment("d-2")); err != nil {
		t.Fatal(err)
	}
	makeRoom(group, &old, zap.NewNop())
	if diff := cmp.Diff(bundle.Doomed{group.Deployment("d-2").Dir()}, old); diff != "" {
		t.Error("what goes after the success:", diff)
	}
	left, _ := filepath.Glob(filepath.Join(group.Dir(), "d-*"))
	if diff := cmp.Diff([]string{group.Deployment("d-2").Dir()}, left); diff != "" {
		t.Error("what is still there:", diff)
	}
}

func TestDeploymentsInProgressAreKept(t *testing.T) {
	root := state.NewRoot(t.TempDir(), "")
	if err := root.Create(); err != nil {
		t.Fatal(err)
	}
	group := root.Group("g")
	for _, id := range []string{"d-1", "d-2", "d-3"} {
		if err := os.MkdirAll(group.Deployment(id).Dir(), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := root.Track("d-1", "a hook of it runs"); err != nil {
		t.Fatal(err)
	}
	x := &Executor{Root: root, Log: zap.NewNop(), Revisions: Revisions{Keep: bundle.Policy{Revisions: 1}}}
	old, err := x.chooseOldRevisions(group, group.Deployment("d-4"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range old {
		if path == group.Deployment("d-1").Dir() {
			t.Error("a deployment in progress would go")
		}
	}
	if len(old) != 2 {
		t.Errorf("%v would go, want two", old)
	}
}
