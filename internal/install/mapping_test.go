package install

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"codedeploy-agent/appspec"

	"golang.org/x/sys/unix"
)

// files is an AppSpec with pairs of source and destination.
func files(pairs ...string) *appspec.Spec {
	spec := &appspec.Spec{File: "appspec.yml"}
	for i := 0; i < len(pairs); i += 2 {
		spec.Files = append(spec.Files, appspec.File{Source: pairs[i], Destination: pairs[i+1]})
	}
	return spec
}

func TestWhereFilesGo(t *testing.T) {
	bundle := map[string]string{
		"f": "f", "d/x": "x", "d/e/y": "y", "empty/": "", "link": "-> f", "dangling": "-> nowhere", "self": "-> self",
		"dirlink": "-> d", "outside": "-> /etc", "up": "-> ..",
	}
	for _, c := range []struct {
		name string
		spec *appspec.Spec
		want map[string]string
	}{
		{"a file goes into its destination under its name", files("f", "/srv/app"), expected(map[string]string{"f": "f"}, "/srv/app")},
		{"a destination that looks like a file becomes a directory", files("f", "/srv/app/f"), expected(map[string]string{"f": "f"}, "/srv/app/f")},
		{"the content of a directory goes into its destination", files("d", "/srv"), expected(map[string]string{"x": "x", "e/y": "y"}, "/srv")},
		{"a leading slash in the source means the bundle", files("/d/e", "/srv"), expected(map[string]string{"y": "y"}, "/srv")},
		{"an empty directory is made", files("empty", "/srv/a/b"), map[string]string{"/srv": "dir", "/srv/a": "dir", "/srv/a/b": "dir"}},
		{"a relative destination counts from the root", files("f", "srv"), expected(map[string]string{"f": "f"}, "/srv")},
		{"dots inside are resolved", files("./d/../d/./e/", "/srv/x/../y//"), expected(map[string]string{"y": "y"}, "/srv/y")},
		{"the root itself", files("d/e", "/"), map[string]string{"/y": "y"}},
		{"a link to a file stays a link", files("link", "/srv"), map[string]string{"/srv": "dir", "/srv/link": "-> f"}},
		{"a dangling link stays a link", files("dangling", "/srv"), map[string]string{"/srv": "dir", "/srv/dangling": "-> nowhere"}},
		{"a link to itself stays a link", files("self", "/srv"), map[string]string{"/srv": "dir", "/srv/self": "-> self"}},
		{"a link to a directory of the bundle as source is that directory", files("dirlink", "/srv"), expected(map[string]string{"x": "x", "e/y": "y"}, "/srv")},
		{"a path through a link inside the bundle", files("dirlink/e", "/srv"), expected(map[string]string{"y": "y"}, "/srv")},
		{"a link that leads out of the bundle stays a link", files("outside", "/srv", "up", "/srv"), map[string]string{"/srv": "dir", "/srv/outside": "-> /etc", "/srv/up": "-> .."}},
		{"two sources for one directory", files("d", "/srv", "f", "/srv", "d/e", "/srv"), expected(map[string]string{"x": "x", "e/y": "y", "f": "f", "y": "y"}, "/srv")},
		{"stars are literal", files("f", "/srv/*"), expected(map[string]string{"f": "f"}, "/srv/*")},
		{"no files at all", files(), map[string]string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			h.deploy(bundle, c.spec)
			same(t, "tree", h.content(), c.want)
			h.deploy(bundle, c.spec) // the same once more is never a conflict
			same(t, "tree after the second deployment", h.content(), c.want)
			h.deploy(nil, files())
			same(t, "tree after an empty deployment", h.content(), map[string]string{})
		})
	}
}

func TestFilesThatCannotGoWhereTheyShould(t *testing.T) {
	bundle := map[string]string{
		"f": "f", "g/f": "f", "d/x/y": "y", "e/x": "x", "out": "-> /etc", "loop/a/b": "-> ../..", "mutual/a/to-b": "-> ../b", "mutual/b/to-a": "-> ../a",
	}
	for _, c := range []struct {
		name string
		spec *appspec.Spec
		says string
	}{
		{"a source that does not exist", files("nothing", "/srv", "d/no", "/srv"), `"nothing" (appspec.yml): the bundle has no such file`},
		{"a source outside", files("../d-1/deployment-archive/f", "/srv"), "the source leaves the bundle"},
		{"a source outside for a moment", files("d/../../deployment-archive/f", "/srv"), "the source leaves the bundle"},
		{"a source through a link that leads outside", files("out/passwd", "/srv"), `leads out of the bundle, to "/etc"`},
		{"a destination above the root", files("f", "/srv/../../etc"), "climbs above the root"},
		{"two files at one place", files("f", "/srv", "g", "/srv"), `"/srv/f": the AppSpec file puts two files there`},
		{"one file twice", files("f", "/srv", "f", "/srv/"), `"/srv/f": the AppSpec file puts two files there`},
		{"a file over a directory", files("d", "/srv", "e", "/srv"), `"/srv/x": the AppSpec file makes a directory there`},
		{"a directory over a file", files("e", "/srv", "d", "/srv"), `"/srv/x": the AppSpec file puts a file there`},
		{"a destination below a file", files("f", "/srv", "e", "/srv/f"), `"/srv/f": the AppSpec file puts a file there`},
		{"a loop of links", files("loop", "/srv"), `form a loop through "/loop"`},
		{"links into each other's directories", files("mutual", "/srv"), "form a loop"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			err := install(h.input(h.revision(bundle), c.spec))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %s", err, c.says)
			}
			same(t, "tree", h.content(), map[string]string{})
		})
	}
}

func TestPipesInABundleAreRefused(t *testing.T) {
	h := newHost(t)
	d := h.revision(map[string]string{"a": ""})
	must(t, unix.Mkfifo(d.Archive()+"/pipe", 0o644))
	if err := install(h.input(d, to("/srv"))); err == nil || !strings.Contains(err.Error(), `"/pipe"`) {
		t.Errorf("got %v", err)
	}
}

func TestAllConflictsAreListedAtOnce(t *testing.T) {
	h := newHost(t)
	bundle := make(map[string]string)
	there := make(map[string]string)
	for _, c := range "abcdefghijklmnopqrstuvwxyz" {
		bundle[string(c)], there["srv/"+string(c)] = "new", "mine"
	}
	write(t, h.disk, there)
	err := install(h.input(h.revision(bundle), to("/srv")))
	if err == nil {
		t.Fatal("no conflict")
	}
	for _, says := range []string{"26 locations", "/srv/a,", "/srv/t,", "and 6 more", "file_exists_behavior is DISALLOW (the deployment's option)", "OVERWRITE", "RETAIN"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("%q is not in the message:\n%v", says, err)
		}
	}
	if len(err.Error()) > 2000 {
		t.Errorf("the message has %d bytes", len(err.Error()))
	}
}

func TestWhichBehaviourDecides(t *testing.T) {
	for _, c := range []struct {
		name       string
		deployment appspec.FileExistsBehavior
		appspec    appspec.FileExistsBehavior
		want       string // content of the file afterwards
		says       string
	}{
		{"nothing is said", "", "", "mine", "the default"},
		{"the deployment's option", appspec.Overwrite, "", "new", ""},
		{"the AppSpec file wins", appspec.Overwrite, appspec.Retain, "mine", ""},
		{"the AppSpec file is named", appspec.Overwrite, appspec.Disallow, "mine", "file_exists_behavior in appspec.yml"},
		{"an unknown option", "SOMETIMES", "", "mine", "Valid values are DISALLOW, OVERWRITE and RETAIN"},
		{"the AppSpec file in lower case", appspec.Overwrite, "overwrite", "mine", "Valid values are DISALLOW, OVERWRITE and RETAIN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			write(t, h.disk, map[string]string{"srv/x": "mine"})
			in := h.input(h.revision(map[string]string{"x": "new"}), to("/srv"))
			in.Behavior, in.Spec.FileExistsBehavior = c.deployment, c.appspec
			err := install(in)
			if c.says == "" {
				must(t, err)
			} else if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %s", err, c.says)
			}
			same(t, "content", h.content()["/srv/x"], c.want)
		})
	}
	h := newHost(t)
	in := h.input(h.revision(map[string]string{"x": "new"}), to("/srv"))
	in.Behavior = "SOMETIMES"
	must(t, install(in)) // nothing is in the way, so nobody asks
}

func TestDirectoryLinksAtTheDestinationAreFollowed(t *testing.T) {
	h := newHost(t)
	write(t, h.disk, map[string]string{"data/v1/": "", "srv/app": "-> ../data/v1", "srv/abs": "-> /data/v1"})
	h.deploy(map[string]string{"a": "1", "d/x": "1"}, to("/srv/app"))
	same(t, "tree", h.content(), map[string]string{
		"/data": "dir", "/data/v1": "dir", "/srv": "dir", "/srv/app": "-> ../data/v1", "/srv/abs": "-> /data/v1",
		"/data/v1/a": "1", "/data/v1/d": "dir", "/data/v1/d/x": "1",
	})
	same(t, "cleanup list", h.cleanupList(), []string{"/srv/app/a", "/srv/app/d", "/srv/app/d/x"})
	// By another path to the same directory the files are not removed again after they have been installed.
	in := h.input(h.revision(map[string]string{"a": "2"}), to("/srv/abs"))
	in.Behavior = appspec.Overwrite
	must(t, install(in))
	same(t, "file", h.content()["/data/v1/a"], "2")
}

func TestOneDirectoryByTwoPaths(t *testing.T) {
	h := newHost(t)
	write(t, h.disk, map[string]string{"data/": "", "srv": "-> data"})
	err := install(h.input(h.revision(map[string]string{"a/x": "1", "b/x": "2"}), files("a", "/data", "b", "/srv")))
	if err == nil || !strings.Contains(err.Error(), "two files") {
		t.Errorf("got %v", err)
	}
	h.deploy(map[string]string{"a/x": "1", "b/y": "2"}, files("a", "/data/new", "b", "/srv/new"))
	same(t, "tree", h.content(), map[string]string{"/data": "dir", "/srv": "-> data", "/data/new": "dir", "/data/new/x": "1", "/data/new/y": "2"})
}

func TestPreviousFilesByAnotherPathAreNoConflict(t *testing.T) {
	dir := t.TempDir() // the real root, where links are resolved as the kernel does
	h := hostIn(t, dir)
	write(t, h.disk, map[string]string{"data/": "", "srv": "-> data"})
	deploy := func(destination string, bundle map[string]string) {
		in := h.input(h.revision(bundle), to(h.disk+destination))
		in.RootDir = ""
		must(t, install(in))
	}
	deploy("/srv", map[string]string{"a": "1", "old": "1"})
	deploy("/data", map[string]string{"a": "2"})
	same(t, "tree", h.content(), map[string]string{"/data": "dir", "/srv": "-> data", "/data/a": "2"})
}

func TestHardLinksBecomeFilesOfTheirOwn(t *testing.T) {
	h := newHost(t)
	d := h.revision(map[string]string{"a": "1"})
	must(t, os.Link(d.Archive()+"/a", d.Archive()+"/b"))
	must(t, install(h.input(d, to("/srv"))))
	var st unix.Stat_t
	must(t, unix.Stat(h.disk+"/srv/b", &st))
	if st.Nlink != 1 {
		t.Errorf("%d links", st.Nlink)
	}
}

func TestHardLinksOfTheHostAreNotWrittenThrough(t *testing.T) {
	h := newHost(t)
	write(t, h.disk, map[string]string{"srv/a": "mine"})
	must(t, os.Link(h.disk+"/srv/a", h.disk+"/other"))
	in := h.input(h.revision(map[string]string{"a": "new"}), to("/srv"))
	in.Behavior = appspec.Overwrite
	must(t, install(in))
	same(t, "tree", h.content(), map[string]string{"/srv": "dir", "/srv/a": "new", "/other": "mine"})
}

func TestRunningProgramIsReplaced(t *testing.T) {
	h := newHost(t)
	program, err := os.ReadFile("/bin/sleep")
	must(t, err)
	write(t, h.disk, map[string]string{"srv/tool": "(755) " + string(program)})
	cmd := startProgram(t, h.disk+"/srv/tool", "60")
	defer cmd()
	in := h.input(h.revision(map[string]string{"tool": "(755) new"}), to("/srv"))
	in.Behavior = appspec.Overwrite
	must(t, install(in))
	same(t, "content", h.content()["/srv/tool"], "new")
}

func TestPlanTouchesNothing(t *testing.T) {
	h := newHost(t)
	h.deploy(bigBundle(1), to("/srv/app"))
	before, records := snapshot(t, h.disk), snapshot(t, h.root.Dir())
	in := h.input(h.group.Deployment("d-1"), to("/srv/app"))
	p, err := Make(context.Background(), in)
	must(t, err)
	must(t, p.Preflight())
	var text, js strings.Builder
	must(t, p.Text(&text))
	must(t, p.JSON(&js))
	same(t, "tree", snapshot(t, h.disk), before)
	same(t, "records", snapshot(t, h.root.Dir()), records)
}

func TestPlanAsText(t *testing.T) {
	h := newHost(t)
	h.deploy(map[string]string{"a": "1", "gone/x": "1"}, to("/srv"))
	write(t, h.disk, map[string]string{"srv/kept": "mine"})
	in := h.input(h.revision(map[string]string{"a": "22", "kept": "2", "d/new\nline": "2"}), to("/srv"))
	in.Behavior = appspec.Retain
	in.Spec.Permissions = []appspec.Permission{both("/srv/d", "**"), both("/nothing", "**")}
	p, err := Make(context.Background(), in)
	must(t, err)
	var text strings.Builder
	must(t, p.Text(&text))
	same(t, "plan", text.String(), `replace    /srv/a
retain     /srv/kept
mkdir      /srv/d
create     "/srv/d/new\nline"  (permissions of /srv/d)
remove     /srv/gone/x
remove     /srv/gone  (if it is empty)
1 directories to make, 1 files to create, 1 to replace, 1 to keep, 2 paths to remove; 4 bytes
file_exists_behavior is RETAIN (the deployment's option)
warning: the permission entry for "/nothing" (appspec.yml) matches nothing that this deployment installs
`)
}

func TestDirectoryInUseIsNotReplacedByAFile(t *testing.T) {
	h := hostIn(t, t.TempDir())
	deploy := func(bundle map[string]string) error {
		in := h.input(h.revision(bundle), to(h.disk+"/srv"))
		in.RootDir = "" // the real root, where the paths of the last deployment are compared without links, too
		return install(in)
	}
	must(t, deploy(map[string]string{"x/a": "1"}))
	write(t, h.disk, map[string]string{"srv/x/mine": "mine"})
	before := snapshot(t, h.disk)
	var conflict *ConflictError
	if err := deploy(map[string]string{"x": "2"}); !errors.As(err, &conflict) {
		t.Errorf("got %v", err)
	}
	same(t, "tree", snapshot(t, h.disk), before)
}
