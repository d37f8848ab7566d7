package bundle

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"codedeploy-agent/internal/state"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"
)

// groupWith makes a group's folder with deployments, the oldest first, an hour apart; the last one is an hour old.
func groupWith(t *testing.T, ids ...string) state.Group {
	t.Helper()
	root := state.NewRoot(t.TempDir(), "")
	if err := root.Create(); err != nil {
		t.Fatal(err)
	}
	group := root.Group("group")
	for i, id := range ids {
		dir := group.Deployment(id).Archive()
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "file"), make([]byte, 100_000), 0o644); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-len(ids)) * time.Hour)
		if err := os.Chtimes(filepath.Dir(dir), at, at); err != nil {
			t.Fatal(err)
		}
	}
	return group
}

func ids(doomed Doomed) string {
	var names []string
	for _, path := range doomed {
		names = append(names, filepath.Base(path))
	}
	return strings.Join(names, " ")
}

func TestWhichRevisionsGo(t *testing.T) {
	for _, c := range []struct {
		name         string
		have         string
		last, recent string
		protected    string
		current      string
		keep         Policy
		want         string
	}{
		{name: "none yet", keep: Policy{Revisions: 5}},
		{name: "fewer than the limit", have: "A B C D", keep: Policy{Revisions: 5}},
		{name: "the limit counts the new one", have: "A B C D E", keep: Policy{Revisions: 5}, want: "A"},
		{name: "many more than the limit", have: "A B C D E F G", keep: Policy{Revisions: 5}, want: "A B C"},
		{name: "a younger one goes for the last successful", have: "A B C D E", last: "A", keep: Policy{Revisions: 5}, want: "B"},
		{name: "the most recent one goes like others", have: "A B C D E", last: "A", recent: "B", keep: Policy{Revisions: 5}, want: "B"},
		{name: "a younger one goes for one in use", have: "A B C D E", protected: "A B", keep: Policy{Revisions: 5}, want: "C"},
		{name: "one revision, and it is the last successful", have: "A", last: "A", keep: Policy{Revisions: 1}},
		{name: "one revision, among failed ones", have: "A B C", last: "B", keep: Policy{Revisions: 1}, want: "A C"},
		{name: "the current one does not count", have: "A B C D E", current: "E", keep: Policy{Revisions: 5}},
		{name: "the current one stays, however old", have: "A B C D E F", current: "A", keep: Policy{Revisions: 5}, want: "B"},
		{name: "no limit", have: "A B C D E F G H"},
		{name: "by age", have: "A B C D", keep: Policy{Age: 150 * time.Minute}, want: "A B"},
		{name: "by age, never the last successful", have: "A B C D", last: "A", keep: Policy{Age: 150 * time.Minute}, want: "B"},
		{name: "by bytes", have: "A B C D", keep: Policy{Bytes: 250_000}, want: "A B"},
		{name: "by bytes, never the last successful", have: "A B C D", last: "A", keep: Policy{Bytes: 250_000}, want: "B C"},
		{name: "the strictest limit counts", have: "A B C D", keep: Policy{Revisions: 4, Bytes: 250_000, Age: time.Hour / 2}, want: "A B C D"},
	} {
		t.Run(c.name, func(t *testing.T) {
			group := groupWith(t, strings.Fields(c.have)...)
			if c.last != "" {
				if err := group.SetLastSuccessful(group.Deployment(c.last)); err != nil {
					t.Fatal(err)
				}
			}
			if c.recent != "" {
				if err := group.SetMostRecent(group.Deployment(c.recent)); err != nil {
					t.Fatal(err)
				}
			}
			for _, id := range strings.Fields(c.protected) {
				c.keep.Protected = append(c.keep.Protected, group.Deployment(id))
			}
			c.keep.Current = group.Deployment("NEW")
			if c.current != "" {
				c.keep.Current = group.Deployment(c.current)
			}
			doomed, err := Retain(group, c.keep)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, ids(doomed)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestOnlyFoldersOfDeploymentsGo(t *testing.T) {
	group := groupWith(t, "A", "B", "C")
	outside := t.TempDir()
	for _, err := range []error{
		os.WriteFile(filepath.Join(group.Dir(), "file"), nil, 0o644),
		os.Symlink(outside, filepath.Join(group.Dir(), "0-link")),
		os.Mkdir(filepath.Join(group.Dir(), ".hidden"), 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	doomed, err := Retain(group, Policy{Revisions: 1, Current: group.Deployment("NEW")})
	if err != nil {
		t.Fatal(err)
	}
	doomed.Remove(zap.NewNop())
	onlyIn(t, group.Dir(), ".hidden", "0-link", "file")
	onlyIn(t, outside)
}

func TestRemovalStaysInsideTheRevision(t *testing.T) {
	group := groupWith(t, "A")
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "keep"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	a := group.Deployment("A").Archive()
	for _, err := range []error{
		os.Symlink(outside, filepath.Join(a, "link")),
		os.Symlink(filepath.Join(outside, "keep"), filepath.Join(a, "link-to-file")),
		os.MkdirAll(filepath.Join(a, "closed", "deeper"), 0o755),
		os.WriteFile(filepath.Join(a, "closed", "deeper", "file"), nil, 0o000),
		os.Chmod(filepath.Join(a, "closed", "deeper"), 0o500),
		os.Chmod(filepath.Join(a, "closed"), 0o000),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	Doomed{group.Deployment("A").Dir(), group.Deployment("missing").Dir()}.Remove(zap.NewNop())
	onlyIn(t, group.Dir())
	onlyIn(t, outside, "keep")
}

func TestRemovalCanStopWhenThereIsRoom(t *testing.T) {
	group := groupWith(t, "A", "B", "C", "D")
	doomed, err := Retain(group, Policy{Revisions: 1, Current: group.Deployment("NEW")})
	if err != nil {
		t.Fatal(err)
	}
	rounds := 0
	rest := doomed.RemoveUntil(func() bool { rounds++; return rounds > 2 }, zap.NewNop())
	if got := ids(rest); got != "C D" {
		t.Errorf("%q are left to remove", got)
	}
	onlyIn(t, group.Dir(), "C", "D")
}

func TestAnInterruptedRemovalIsFinishedTheNextTime(t *testing.T) {
	group := groupWith(t, "A", "B", "C")
	for _, half := range []string{"A", "A"} { // the same id can be left twice
		dir := group.Deployment(half).Dir()
		if _, err := hide(group.Dir()+"/", filepath.Base(dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	onlyIn(t, group.Dir(), ".removed-A", ".removed-A-1", "A", "B", "C")
	doomed, err := Retain(group, Policy{Revisions: 4, Current: group.Deployment("NEW")})
	if err != nil {
		t.Fatal(err)
	}
	if got := ids(doomed); got != ".removed-A .removed-A-1" {
		t.Errorf("to remove: %q", got)
	}
	doomed.Remove(zap.NewNop())
	onlyIn(t, group.Dir(), "A", "B", "C")
}

func TestARemovalThatFailsIsAWarningWithThePath(t *testing.T) {
	group := groupWith(t, "A", "B")
	file := filepath.Join(group.Dir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.InfoLevel)
	Doomed{group.Deployment("A").Dir(), file, group.Deployment("B").Dir()}.Remove(zap.New(core))
	onlyIn(t, group.Dir(), "file")
	warnings := logs.FilterLevelExact(zap.WarnLevel).All()
	if len(warnings) != 1 || warnings[0].ContextMap()["path"] != file {
		t.Errorf("warnings: %v", warnings)
	}
}

func TestDeepAndLongNamesAreRemoved(t *testing.T) {
	group := groupWith(t, strings.Repeat("d", 255))
	dir := group.Deployment(strings.Repeat("d", 255)).Archive()
	at, err := unix.Open(dir, unix.O_PATH, 0)
	for i := 0; i < 300 && err == nil; i++ { // the path is much longer than a path may be
		name := fmt.Sprintf("%d-%s", i, strings.Repeat("n", 100))
		if err = unix.Mkdirat(at, name, 0o755); err == nil {
			above := at
			at, err = unix.Openat(above, name, unix.O_PATH, 0)
			_ = unix.Close(above)
		}
	}
	_ = unix.Close(at)
	if err != nil {
		t.Fatal(err)
	}
	Doomed{filepath.Dir(dir)}.Remove(zap.NewNop())
	onlyIn(t, group.Dir())
}

func TestAMountedFileSystemIsNotEmptied(t *testing.T) {
	needRoot(t)
	group := groupWith(t, "A")
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "customer"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	point := filepath.Join(group.Deployment("A").Archive(), "data")
	if err := os.Mkdir(point, 0o755); err != nil {
		t.Fatal(err)
	}
	mountForTest(t, data, point)
	core, logs := observer.New(zap.WarnLevel)
	Doomed{group.Deployment("A").Dir()}.Remove(zap.New(core))
	onlyIn(t, data, "customer")
	if logs.Len() != 1 || !strings.Contains(fmt.Sprint(logs.All()[0].ContextMap()), "a file system is mounted at") {
		t.Errorf("the log says %v", logs.All())
	}
}

// mountForTest makes one directory visible at another place until the test ends.
func mountForTest(t *testing.T, source, target string) {
	t.Helper()
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("NOT RUN HERE (needs mount): %v", err)
	}
	mounted, err := os.Open(target) // knows where the mount is, should its parent be renamed
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		now, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", mounted.Fd()))
		_ = mounted.Close()
		if err := unix.Unmount(now, unix.MNT_DETACH); err != nil {
			t.Errorf("cannot unmount %q: %v", now, err)
		}
	})
}
