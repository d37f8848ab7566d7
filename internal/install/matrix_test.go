package install

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"codedeploy-agent/appspec"
)

// The kinds of objects that can be at a destination, or in a bundle.
var kinds = []struct {
	name  string
	tree  map[string]string // with the object called x
	shown map[string]string // what it looks like when it is installed from a bundle, as content shows it
}{
	{"nothing", map[string]string{}, nil},
	{"file", map[string]string{"x": "content"}, map[string]string{"/x": "content"}},
	{"directory", map[string]string{"x/inner": "content"}, map[string]string{"/x": "dir", "/x/inner": "content"}},
	{"link to a file", map[string]string{"x": "-> y-file", "y-file": "linked"}, map[string]string{"/x": "-> y-file", "/y-file": "linked"}},
	{"link to a directory", map[string]string{"x": "-> y-dir", "y-dir/inner": "linked"},
		map[string]string{"/x": "dir", "/x/inner": "linked", "/y-dir": "dir", "/y-dir/inner": "linked"}},
	{"dangling link", map[string]string{"x": "-> y-nowhere"}, map[string]string{"/x": "-> y-nowhere"}},
}

// outcome is what a customer sees of one cell of the matrix.
type outcome byte

const (
	taken    outcome = 'T' // the bundle's object is in place
	kept     outcome = 'K' // the host's object stays
	conflict outcome = 'C' // the deployment is refused and nothing changes
	merged   outcome = 'M' // a directory takes in the bundle's content
)

func TestWhatIsThereAgainstWhatComes(t *testing.T) {
	// A row for each kind in the bundle, a letter for each kind on the host, in the order of kinds from "file" on.
	// "link to a directory" in the bundle becomes a directory, one on the host counts as the directory it leads to.
	want := map[appspec.FileExistsBehavior]map[string]string{
		appspec.Disallow: {
			"file": "CCCCC", "directory": "CMCMC", "link to a file": "CCCCC", "link to a directory": "CMCMC", "dangling link": "CCCCC",
		},
		appspec.Overwrite: {
			"file": "TCTTT", "directory": "CMCMC", "link to a file": "TCTTT", "link to a directory": "CMCMC", "dangling link": "TCTTT",
		},
		appspec.Retain: {
			"file": "KKKKK", "directory": "CMCMC", "link to a file": "KKKKK", "link to a directory": "CMCMC", "dangling link": "KKKKK",
		},
	}
	for behavior, rows := range want {
		for _, comes := range kinds[1:] {
			for i, there := range kinds[1:] {
				t.Run(fmt.Sprintf("%s/%s comes/%s is there", behavior, comes.name, there.name), func(t *testing.T) {
					tryCell(t, behavior, comes.tree, there.tree, outcome(rows[comes.name][i]))
				})
			}
		}
	}
}

func tryCell(t *testing.T, behavior appspec.FileExistsBehavior, comes, there map[string]string, want outcome) {
	h := newHost(t)
	// What the host's links lead to must not be what the bundle's links lead to.
	host := make(map[string]string)
	for p, c := range there {
		host["srv/app/"+rename(p)] = rename(c)
	}
	host["srv/app/"] = ""
	write(t, h.disk, host)
	before := snapshot(t, h.disk)
	in := h.input(h.revision(comes), to("/srv/app"))
	in.Behavior = behavior
	err := install(in)
	h.expectTidy()
	if want == conflict {
		var c *ConflictError
		if !errors.As(err, &c) {
			t.Errorf("wanted a conflict, got %v", err)
		}
		same(t, "tree", snapshot(t, h.disk), before)
		return
	}
	must(t, err)
	got := describe(t, filepath.Join(h.disk, "srv/app/x"))
	bundleX, hostX := describe(t, filepath.Join(in.Archive, "x")), ""
	{
		probe := newHost(t)
		write(t, probe.disk, host)
		hostX = describe(t, filepath.Join(probe.disk, "srv/app/x"))
	}
	switch want {
	case taken:
		same(t, "x", got, bundleX)
	case kept:
		same(t, "x", got, hostX)
	case merged:
		if _, err := os.Stat(filepath.Join(h.disk, "srv/app/x/inner")); err != nil {
			t.Error(err)
		}
	}
	for p, line := range before { // what links on the host lead to is never written to
		if filepath.Base(p) == "host-file" && snapshot(t, h.disk)[p] != line {
			t.Errorf("%s was written through a link", p)
		}
	}
}

// rename gives the helpers of the host's tree other names than those of the bundle's.
func rename(s string) string {
	switch s {
	case "y-file":
		return "host-file"
	case "-> y-file":
		return "-> host-file"
	case "y-dir/inner":
		return "host-dir/inner-of-host"
	case "-> y-dir":
		return "-> host-dir"
	case "-> y-nowhere":
		return "-> host-nowhere"
	case "x/inner":
		return "x/inner-of-host"
	}
	return s
}

func describe(t *testing.T, path string) string {
	info, err := os.Lstat(path)
	must(t, err)
	switch {
	case info.Mode()&os.ModeSymlink != 0:
		to, err := os.Readlink(path)
		must(t, err)
		return "-> " + to
	case info.IsDir():
		return "dir"
	}
	b, err := os.ReadFile(path)
	must(t, err)
	return string(b)
}

// TestWhatThePreviousDeploymentOwnedDoesNotCount: whatever kind of object the last deployment put somewhere, the next
// one may put any other kind there, under every behaviour, without an instant in which the name is missing.
func TestWhatThePreviousDeploymentOwnedDoesNotCount(t *testing.T) {
	for _, behavior := range []appspec.FileExistsBehavior{appspec.Disallow, appspec.Overwrite, appspec.Retain} {
		for _, there := range kinds {
			for _, comes := range kinds {
				t.Run(fmt.Sprintf("%s/%s comes/%s is there", behavior, comes.name, there.name), func(t *testing.T) {
					h := newHost(t)
					h.deploy(there.tree, to("/srv/app"))
					in := h.input(h.revision(comes.tree), to("/srv/app"))
					in.Behavior = behavior
					must(t, install(in))
					h.expectTidy()
					want := map[string]string{}
					for p, c := range comes.shown {
						want["/srv"], want["/srv/app"], want["/srv/app"+p] = "dir", "dir", c
					}
					if len(comes.tree) == 0 {
						want["/srv"], want["/srv/app"] = "dir", "dir"
					}
					same(t, "tree", h.content(), want)
				})
			}
		}
	}
}
