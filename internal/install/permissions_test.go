package install

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"codedeploy-agent/appspec"

	"golang.org/x/sys/unix"
)

// both is an entry for files and directories with a mode that tells it apart.
func both(object, pattern string, except ...string) appspec.Permission {
	return appspec.Permission{Object: object, Pattern: pattern, Except: except, OnFiles: true, OnDirectories: true, Mode: "0700"}
}

func onFiles(p appspec.Permission) appspec.Permission {
	p.OnDirectories = false
	return p
}

func onDirectories(p appspec.Permission) appspec.Permission {
	p.OnFiles = false
	return p
}

func TestWhichFilesAPermissionEntryIsFor(t *testing.T) {
	bundle := map[string]string{
		"a.sh": "", "b.txt": "", "ab.sh": "", "d/a.sh": "", "d/x": "", "d/e/a.sh": "", "log/": "", "?": "", "[a].sh": "",
	}
	all := []string{"?", "[a].sh", "a.sh", "ab.sh", "b.txt", "d", "d/a.sh", "d/e", "d/e/a.sh", "d/x", "log"}
	for _, c := range []struct {
		name    string
		entry   appspec.Permission
		matches []string // below /srv/app
	}{
		{"two stars mean any depth, the object itself is never changed", both("/srv/app", "**"), all},
		{"the root as object means all that is deployed, and nothing else of the host", both("/", "**"), append([]string{"."}, all...)},
		{"a directory above the destination takes the destination in", both("/srv", "**"), append([]string{"."}, all...)},
		{"other patterns are for direct children", both("/srv/app", "*.sh"), []string{"[a].sh", "a.sh", "ab.sh"}},
		{"a single star is for direct children", both("/srv/app", "*"), []string{"?", "[a].sh", "a.sh", "ab.sh", "b.txt", "d", "log"}},
		{"a star is in the middle", both("/srv/app", "a*.sh"), []string{"a.sh", "ab.sh"}},
		{"a question mark is a question mark", both("/srv/app", "?"), []string{"?"}},
		{"brackets are brackets", both("/srv/app", "[a].sh"), []string{"[a].sh"}},
		{"a pattern with a slash never matches", both("/srv/app", "d/*"), nil},
		{"a plain name", both("/srv/app", "d"), []string{"d"}},
		{"exceptions are for direct children only", both("/srv/app", "**", "a.sh", "d"), []string{"?", "[a].sh", "ab.sh", "b.txt", "d/a.sh", "d/e", "d/e/a.sh", "d/x", "log"}},
		{"two stars as exception are any direct child", both("/srv/app", "**", "**"), []string{"d/a.sh", "d/e", "d/e/a.sh", "d/x"}},
		{"files only", onFiles(both("/srv/app", "**")), []string{"?", "[a].sh", "a.sh", "ab.sh", "b.txt", "d/a.sh", "d/e/a.sh", "d/x"}},
		{"directories only", onDirectories(both("/srv/app", "**")), []string{"d", "d/e", "log"}},
		{"a file as object", onFiles(both("/srv/app/d/x", "**")), []string{"d/x"}},
		{"a file as object, for directories only", onDirectories(both("/srv/app/d/x", "**")), nil},
		{"the object is taken lexically", both("/srv/./app/../app/d/", "**"), []string{"d/a.sh", "d/e", "d/e/a.sh", "d/x"}},
		{"an object that is not deployed", both("/srv/app/nothing", "**"), nil},
		{"a star in the object is a star", both("/srv/*", "**"), nil},
		{"a relative object matches nothing", both("srv/app", "**"), nil},
		{"what was there before is left alone", both("/srv/other", "**"), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			write(t, h.disk, map[string]string{"srv/other/file": "", "srv/other/dir/": ""})
			in := h.input(h.revision(bundle), to("/srv/app"))
			in.Spec.Permissions = []appspec.Permission{c.entry}
			p, err := Make(context.Background(), in)
			must(t, err)
			if len(c.matches) == 0 && len(p.Warnings()) == 0 {
				t.Error("no warning says that the entry matches nothing")
			}
			must(t, install(in))
			var got []string
			for _, name := range append([]string{"."}, all...) {
				if modeOf(t, h.disk+"/srv/app/"+name) == 0o700 {
					got = append(got, name)
				}
			}
			same(t, "changed", got, c.matches)
			for _, name := range []string{"other", "other/file", "other/dir"} {
				if modeOf(t, h.disk+"/srv/"+name) == 0o700 {
					t.Errorf("%s was changed", name)
				}
			}
		})
	}
}

func TestPermissionEntriesThatAreRefused(t *testing.T) {
	for _, c := range []struct {
		name    string
		entries []appspec.Permission
		says    string
	}{
		{"two entries for one file", []appspec.Permission{both("/srv/app", "**"), onFiles(both("/srv/app/d", "*"))}, `"/srv/app/d/x": two entries match it`},
		{"a pattern for a file", []appspec.Permission{both("/srv/app/a", "*")}, "pattern and except are for directories"},
		{"an exception for a file", []appspec.Permission{both("/srv/app/a", "**", "b")}, "pattern and except are for directories"},
		{"an object above the root", []appspec.Permission{both("/../a", "**")}, "climbs above the root"},
		{"a default ACL for a file", []appspec.Permission{{Object: "/srv/app", Pattern: "**", OnFiles: true,
			ACLs: []appspec.ACL{{Default: true, Type: "user", Name: "root", Perms: "r--"}}}}, `"default:user:root:r--" is a default ACL entry, and files have none`},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			in := h.input(h.revision(map[string]string{"a": "", "d/x": ""}), to("/srv/app"))
			in.Spec.Permissions = c.entries
			err := install(in)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
			same(t, "tree", h.content(), map[string]string{})
		})
	}
}

func TestRetainedFilesKeepTheirPermissions(t *testing.T) {
	h := newHost(t)
	write(t, h.disk, map[string]string{"srv/app/kept": "mine"})
	in := h.input(h.revision(map[string]string{"kept": "x", "new": "x"}), to("/srv/app"))
	in.Behavior = appspec.Retain
	in.Spec.Permissions = []appspec.Permission{both("/srv/app", "**")}
	must(t, install(in))
	if got := modeOf(t, h.disk+"/srv/app/kept"); got != 0o644 {
		t.Errorf("mode %o", got)
	}
	same(t, "cleanup list", h.cleanupList(), []string{"/srv/app/new"})
}

func TestOwnersModesAndSetuid(t *testing.T) {
	needsRoot(t)
	h := newHost(t)
	d := h.revision(map[string]string{"tool": "(755) x", "packed": "(4711) x", "link": "-> tool", "dir/x": ""})
	must(t, os.Chown(d.Archive()+"/packed", 41, 42))
	must(t, os.Chmod(d.Archive()+"/packed", 0o711|os.ModeSetuid))
	in := h.input(d, to("/srv/app"))
	in.Attributes = func(rel string) (int, int, uint32, bool) { return 51, 52, 0o640, rel == "dir/x" }
	in.Spec.Permissions = []appspec.Permission{
		{Object: "/srv/app", Pattern: "tool", OnFiles: true, Owner: "1234", Group: "2345", Mode: "6755"},
		{Object: "/srv/app", Pattern: "link", OnFiles: true, Owner: "1234", Mode: "0600"},
		{Object: "/srv/app", Pattern: "dir", OnDirectories: true, Group: "2345", Mode: "2775"},
	}
	must(t, install(in))
	for name, want := range map[string]string{
		"tool": "1234:2345 6755", "packed": "41:42 4711", "link": fmt.Sprintf("1234:%d 777", os.Getegid()), "dir": "0:2345 2775", "dir/x": "51:52 640",
	} {
		var st unix.Stat_t
		must(t, unix.Lstat(h.disk+"/srv/app/"+name, &st))
		same(t, name, fmt.Sprintf("%d:%d %o", st.Uid, st.Gid, st.Mode&0o7777), want)
	}
}

// TestDirectoriesOfThePreviousDeploymentGetFreshAttributes: 1.x removes and makes them again, ours stay, and look the
// same afterwards.
func TestDirectoriesOfThePreviousDeploymentGetFreshAttributes(t *testing.T) {
	h := newHost(t)
	h.deploy(map[string]string{"d/x": "", "used/x": ""}, to("/srv/app"))
	for _, d := range []string{"d", "used"} {
		must(t, os.Chmod(h.disk+"/srv/app/"+d, 0o700))
	}
	write(t, h.disk, map[string]string{"srv/app/used/mine": "mine"})
	h.deploy(map[string]string{"d/x": "", "used/x": ""}, to("/srv/app"))
	if got := modeOf(t, h.disk+"/srv/app/d"); got != 0o755 {
		t.Errorf("a directory that 1.x would have made again has mode %o", got)
	}
	if got := modeOf(t, h.disk+"/srv/app/used"); got != 0o700 {
		t.Errorf("a directory in use has mode %o", got)
	}
}

func TestEffectiveACLIsWhatSetfaclMakes(t *testing.T) {
	if _, err := exec.LookPath("setfacl"); err != nil {
		t.Skip("NOT RUN HERE (needs setfacl): " + t.Name())
	}
	user := func(name, perms string) appspec.ACL { return appspec.ACL{Type: "user", Name: name, Perms: perms} }
	group := func(name, perms string) appspec.ACL { return appspec.ACL{Type: "group", Name: name, Perms: perms} }
	deflt := func(a appspec.ACL) appspec.ACL { a.Default = true; return a }
	for _, c := range []struct {
		name    string
		entries []appspec.ACL
		mode    string
		dir     bool
		setfacl []string // the complete list that 1.x gives to setfacl --set
	}{
		{"named user", []appspec.ACL{user("1001", "rw-")}, "0640", false, []string{"u::rw-", "g::r--", "o::---", "u:1001:rw-", "m::r--"}},
		{"named user and group with a mask", []appspec.ACL{user("1001", "rwx"), group("1002", "r-x"), {Type: "mask", Perms: "r--"}}, "0750", false,
			[]string{"u::rwx", "g::r-x", "o::---", "u:1001:rwx", "g:1002:r-x", "m::r--"}},
		{"mask alone", []appspec.ACL{{Type: "mask", Perms: "r--"}}, "0660", false, []string{"u::rw-", "g::rw-", "o::---", "m::r--"}},
		{"many users in no order", []appspec.ACL{user("9", "r--"), user("3", "-w-"), user("5", "--x")}, "0777", false,
			[]string{"u::rwx", "g::rwx", "o::rwx", "u:9:r--", "u:3:-w-", "u:5:--x", "m::rwx"}},
		{"empty list", []appspec.ACL{}, "0640", false, []string{"u::rw-", "g::r--", "o::---"}},
		{"default entries", []appspec.ACL{deflt(user("1001", "rwx"))}, "0750", true,
			[]string{"u::rwx", "g::r-x", "o::---", "d:u::rwx", "d:g::r-x", "d:o::---", "d:u:1001:rwx", "d:m::r-x"}},
		{"default base entries and a named one", []appspec.ACL{deflt(appspec.ACL{Type: "user", Perms: "r--"}), deflt(appspec.ACL{Type: "group", Perms: "-w-"}),
			deflt(appspec.ACL{Type: "other", Perms: "--x"}), deflt(group("7", "rwx")), user("8", "r--")}, "0755", true,
			[]string{"u::rwx", "g::r-x", "o::r-x", "u:8:r--", "m::r-x", "d:u::r--", "d:g::-w-", "d:o::--x", "d:g:7:rwx", "d:m::-w-"}},
		{"default without names needs no mask", []appspec.ACL{deflt(appspec.ACL{Type: "group", Perms: "rwx"})}, "0700", true,
			[]string{"u::rwx", "g::---", "o::---", "d:u::rwx", "d:g::rwx", "d:o::---"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			object := "/srv/app/x"
			bundle := map[string]string{"x": "(600) "}
			if c.dir {
				bundle = map[string]string{"x/": ""}
			}
			in := h.input(h.revision(bundle), to("/srv/app"))
			in.Spec.Permissions = []appspec.Permission{{Object: "/srv/app", Pattern: "x", OnFiles: !c.dir, OnDirectories: c.dir, Mode: c.mode, ACLs: c.entries}}
			must(t, install(in))
			other := h.disk + "/srv/app/other"
			if c.dir {
				must(t, os.Mkdir(other, 0o755))
			} else {
				must(t, os.WriteFile(other, nil, 0o644))
			}
			if out, err := exec.Command("setfacl", "--set", strings.Join(c.setfacl, ","), other).CombinedOutput(); err != nil {
				t.Fatalf("setfacl: %v %s", err, out)
			}
			for _, x := range []string{xattrAccess, xattrDefault} {
				same(t, x, xattrOf(h.disk+object, x), xattrOf(other, x))
			}
			same(t, "mode", modeOf(t, h.disk+object), modeOf(t, other))
		})
	}
}

func xattrOf(path, name string) string {
	buf := make([]byte, 4096)
	n, err := unix.Lgetxattr(path, name, buf)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%x", buf[:n])
}

func TestFilesInADirectoryWithADefaultACL(t *testing.T) {
	h := newHost(t)
	write(t, h.disk, map[string]string{"srv/app/": ""})
	_, def := effectiveACL([]aclEntry{{isDefault: true, tag: tagUser, perm: 7, id: 4242}}, 0o755)
	must(t, unix.Setxattr(h.disk+"/srv/app", xattrDefault, def, 0))
	h.deploy(map[string]string{"x": "(664) ", "d/y": "(600) "}, to("/srv/app"))
	for name, want := range map[string]uint32{"x": 0o664, "d/y": 0o600} {
		if got := modeOf(t, h.disk+"/srv/app/"+name); got != want {
			t.Errorf("%s has mode %o", name, got)
		}
		if xattrOf(h.disk+"/srv/app/"+name, xattrAccess) == "" {
			t.Errorf("%s did not inherit the ACL", name)
		}
	}
	if xattrOf(h.disk+"/srv/app/d", xattrDefault) == "" {
		t.Error("the new directory did not inherit the ACL")
	}
}

func TestPatternsAgainstASlowMatcher(t *testing.T) {
	var slow func(pattern, name string) bool
	slow = func(pattern, name string) bool {
		switch {
		case pattern == "":
			return name == ""
		case pattern[0] == '*':
			return slow(pattern[1:], name) || name != "" && slow(pattern, name[1:])
		}
		return name != "" && pattern[0] == name[0] && slow(pattern[1:], name[1:])
	}
	words := []string{""}
	for range 5 {
		for _, w := range slices.Clone(words) {
			for _, c := range []string{"a", "b", "*"} {
				words = append(words, w+c)
			}
		}
		slices.Sort(words)
		words = slices.Compact(words)
	}
	for _, pattern := range words {
		for _, name := range words {
			if !strings.Contains(name, "*") && matchName(pattern, name) != slow(pattern, name) {
				t.Errorf("%q against %q: %v", pattern, name, matchName(pattern, name))
			}
		}
	}
}
