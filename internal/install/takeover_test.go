package install

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"codedeploy-agent/appspec"

	"github.com/google/go-cmp/cmp"
)

// cleanUpAs1x does what a 1.x agent does at the start of an Install with the list that it finds.
func (h *host) cleanUpAs1x() {
	h.t.Helper()
	text, err := os.ReadFile(h.group.CleanupFile())
	must(h.t, err)
	lines := strings.SplitAfter(string(text), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		line := lines[i]
		if !strings.HasSuffix(line, "\n") {
			continue
		}
		path := filepath.Join(h.disk, strings.TrimSpace(line))
		info, err := os.Lstat(path)
		if err != nil {
			continue
		}
		err = os.Remove(path)
		if err != nil && !info.IsDir() {
			h.t.Fatal(err)
		}
	}
	must(h.t, os.Remove(h.group.CleanupFile()))
}

func TestOldAgentCanCleanUpAfterOurs(t *testing.T) {
	h := newHost(t)
	h.deploy(bigBundle(1), to("/srv/app"))
	h.deploy(bigBundle(2), to("/srv/app"))
	h.cleanUpAs1x()
	if d := cmp.Diff(map[string]string{}, h.content()); d != "" {
		t.Errorf("left on the disk:\n%s", d)
	}
}

func TestTakingOverFromTheOldAgent(t *testing.T) {
	for _, c := range []struct {
		name string
		list string
		disk map[string]string
		want map[string]string // beside what is installed
	}{
		{
			name: "files of the list are replaced or removed, directories only when empty",
			list: "/srv\n/srv/app\n/srv/app/a\n/srv/app/old\n/srv/app/full\n/srv/app/empty\n",
			disk: map[string]string{"srv/app/a": "1", "srv/app/old": "1", "srv/app/full/mine": "mine", "srv/app/empty/": ""},
			want: map[string]string{"/srv/app/full": "dir", "/srv/app/full/mine": "mine"},
		},
		{
			name: "the unfinished last line of a crash is not believed",
			list: "/srv/app/a\n/srv/app/ol",
			disk: map[string]string{"srv/app/a": "1", "srv/app/ol": "mine", "srv/app/old": "mine"},
			want: map[string]string{"/srv/app/ol": "mine", "/srv/app/old": "mine"},
		},
		{
			name: "blank lines, blanks around a path, CRLF",
			list: "\n  /srv/app/a  \r\n\n\t/srv/app/old\r\n   \n",
			disk: map[string]string{"srv/app/a": "1", "srv/app/old": "1"},
		},
		{
			name: "lines that climb above the root are left out",
			list: "/srv/app/a\n/../../../srv/app/victim\n/srv/app/../../../srv/app/victim\n/\n/..\n",
			disk: map[string]string{"srv/app/a": "1", "srv/app/victim": "mine"},
			want: map[string]string{"/srv/app/victim": "mine"},
		},
		{
			name: "a path with dots is cleaned",
			list: "/srv/app/a\n/srv/app/x/../old\n/srv//app/./old2\n",
			disk: map[string]string{"srv/app/a": "1", "srv/app/old": "1", "srv/app/old2": "1", "srv/app/x/": ""},
			want: map[string]string{"/srv/app/x": "dir"},
		},
		{
			name: "a link is unlinked, what it leads to stays",
			list: "/srv/app/a\n/srv/app/link\n",
			disk: map[string]string{"srv/app/a": "1", "srv/app/link": "-> ../data", "srv/data/x": "mine"},
			want: map[string]string{"/srv/data": "dir", "/srv/data/x": "mine"},
		},
		{
			name: "SELinux rules and lines with zero bytes name no files",
			list: "/srv/app/a\nsemanage\x00/srv/app/labelled\n/srv/app/zero\x00x\n",
			disk: map[string]string{"srv/app/a": "1", "srv/app/labelled": "mine", "srv/app/zero": "mine"},
			want: map[string]string{"/srv/app/labelled": "mine", "/srv/app/zero": "mine"},
		},
		{
			name: "listed twice, listed and gone, a file where a directory was",
			list: "/srv/app/a\n/srv/app/a\n/srv/app/gone\n/srv/app/gone/x\n/srv/app/was-dir\n/srv/app/was-dir/x\n",
			disk: map[string]string{"srv/app/a": "1", "srv/app/was-dir": "1"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			write(t, h.disk, c.disk)
			must(t, os.WriteFile(h.group.CleanupFile(), []byte(c.list), 0o644))
			h.deploy(map[string]string{"a": "2"}, to("/srv/app"))
			want := map[string]string{"/srv": "dir", "/srv/app": "dir", "/srv/app/a": "2"}
			for p, content := range c.want {
				want[p] = content
			}
			same(t, "tree", h.content(), want)
		})
	}
}

func TestManifestIsSilentAfterAnotherAgentWroteTheList(t *testing.T) {
	h := newHost(t)
	h.deploy(map[string]string{"a": "1", "odd\nname": "1"}, to("/srv/app"))
	must(t, os.WriteFile(h.group.CleanupFile(), []byte("/srv/app/a\n"), 0o644)) // as a 1.x agent would
	h.deploy(map[string]string{"a": "2"}, to("/srv/app"))
	same(t, "tree", h.content(), map[string]string{"/srv": "dir", "/srv/app": "dir", "/srv/app/a": "2", "/srv/app/odd\nname": "1"})
}

func TestOddNamesComeAndGo(t *testing.T) {
	odd := map[string]string{
		"new\nline": "1", "\n/etc/passwd": "1", "not utf-8 \xff\xfe": "1", " blank ": "1", "tab\t": "1", strings.Repeat("n", 255): "1",
		"ünïcode": "1", `back\slash "quoted"`: "1", "dir\nwith/file": "1", "zero\x01one": "1", "*?[]": "1", "%0A": "1", "semanage": "1",
	}
	h := newHost(t)
	h.deploy(odd, to("/srv/app"))
	same(t, "tree", h.content(), expected(odd, "/srv/app"))
	for _, line := range h.cleanupList() {
		if line == "/etc/passwd" || !strings.HasPrefix(line, "/srv") {
			t.Errorf("the cleanup list names %q", line)
		}
	}
	h.deploy(odd, to("/srv/app")) // the same again is no conflict
	h.deploy(map[string]string{"a": "2"}, to("/srv/app"))
	same(t, "tree", h.content(), expected(map[string]string{"a": "2"}, "/srv/app"))
}

func TestInstructionsAreThoseOf1x(t *testing.T) {
	h := newHost(t)
	d := h.revision(map[string]string{"a": "1", `q"uote`: "1"})
	in := h.input(d, to("/srv"))
	in.Spec.Permissions = []appspec.Permission{{
		Object: "/srv/a", Pattern: "**", OnFiles: true, Mode: "0640", Owner: "root", ACLs: []appspec.ACL{{Type: "user", Name: "root", Perms: "rw-"}},
	}}
	if os.Geteuid() != 0 {
		in.Spec.Permissions[0].Owner = ""
	}
	must(t, install(in))
	b, err := os.ReadFile(h.group.InstallFile())
	must(t, err)
	want := `{"instructions":[{"type":"mkdir","directory":"/srv"},` +
		`{"type":"copy","source":"` + d.Archive() + `/a","destination":"/srv/a"},` +
		`{"type":"copy","source":"` + d.Archive() + `/q\"uote","destination":"/srv/q\"uote"},` +
		`{"type":"chmod","mode":"0640","file":"/srv/a"},{"type":"setfacl","acl":["user:root:rw-"],"file":"/srv/a"}`
	if os.Geteuid() == 0 {
		want += `,{"type":"chown","owner":"root","group":null,"file":"/srv/a"}`
	}
	same(t, "instructions", string(b), want+"]}")
	if !json.Valid(b) {
		t.Error("they are no JSON")
	}
}

func TestTwoGroupsThatShareADirectory(t *testing.T) {
	h := newHost(t)
	h.deploy(map[string]string{"shared": "a", "a": "a"}, to("/srv/app"))
	other := *h
	other.group = h.root.Group("group-2")
	in := other.input(other.revision(map[string]string{"shared": "b", "b": "b"}), to("/srv/app"))
	err := install(in)
	if err == nil || !strings.Contains(err.Error(), "/srv/app/shared, written by deployment d-1 of deployment group group-1") {
		t.Fatalf("the owner is not named: %v", err)
	}
	in.Behavior = appspec.Overwrite
	must(t, install(in))
	h.deploy(map[string]string{"a": "a2"}, to("/srv/app")) // group-1 does not have "shared" any longer, group-2 has
	same(t, "tree", h.content(), expected(map[string]string{"shared": "b", "b": "b", "a": "a2"}, "/srv/app"))
}

func TestDirectoryInUseGoesOnceItIsEmpty(t *testing.T) {
	h := newHost(t)
	h.deploy(map[string]string{"cache/x": "1", "a": "1"}, to("/srv/app"))
	write(t, h.disk, map[string]string{"srv/app/cache/used": "mine"})
	h.deploy(map[string]string{"a": "2"}, to("/srv/app"))
	same(t, "tree", h.content(), expected(map[string]string{"a": "2", "cache/used": "mine"}, "/srv/app"))
	must(t, os.Remove(h.disk+"/srv/app/cache/used"))
	h.deploy(map[string]string{"a": "3"}, to("/srv/app"))
	same(t, "tree", h.content(), expected(map[string]string{"a": "3"}, "/srv/app"))
}

func TestFilesOfThisGroupAreNoConflictWithoutTheList(t *testing.T) {
	spec := "version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv/app\n"
	bundle := map[string]string{"appspec.yml": spec, "a": "1", "b/c": "1"}
	h := newHost(t)
	h.deploy(bundle, to("/srv/app"))
	must(t, os.Remove(h.group.CleanupFile()))
	h.deploy(bundle, to("/srv/app")) // the first revision, which is still there, shows who wrote the files
	must(t, os.Remove(h.group.CleanupFile()))
	bundle["a"] = "2"
	err := install(h.input(h.revision(bundle), to("/srv/app")))
	if err == nil || !strings.Contains(err.Error(), "/srv/app/a") || strings.Contains(err.Error(), "/srv/app/b/c") {
		t.Errorf("only the file that differs is a conflict, got: %v", err)
	}
}

func FuzzCleanupList(f *testing.F) {
	f.Add("/srv\n/srv/app\nsemanage\x00/srv/x\n")
	f.Add("\n\n/../x\n /a b \r\n/unfinished")
	f.Fuzz(func(t *testing.T, text string) {
		o := newOwned()
		must(t, readCleanup(strings.NewReader(text), o.add, func(string) {}))
		for i := range int32(o.len()) {
			path := o.path(i)
			if abs, ok := absolute(path); !ok || abs != path || path == "/" || strings.ContainsAny(path, "\x00\n") {
				t.Fatalf("%q was taken from %q", path, text)
			}
			if o.lookup(path) != i {
				t.Fatalf("%q is not found again", path)
			}
		}
	})
}

func FuzzManifest(f *testing.F) {
	b, err := manifest{Deployment: "d-1", Token: "t", Cleanup: "sha256:00", Unlisted: []string{"/a\nb", "/\xff"}, Inherited: []string{"/x y"}}.encode()
	must(f, err)
	f.Add(string(b), "/srv/\xffx\n%41")
	f.Fuzz(func(t *testing.T, text, path string) {
		if m, err := parseManifest([]byte(text)); err == nil {
			for _, p := range append(m.Unlisted, m.Inherited...) {
				if abs, ok := absolute(p); !ok || abs != p || p == "/" {
					t.Fatalf("%q was taken from %q", p, text)
				}
			}
		}
		if abs, ok := absolute(path); !ok || abs != path || path == "/" || strings.Contains(path, "\x00") {
			return
		}
		b, err := manifest{Unlisted: []string{path}}.encode()
		must(t, err)
		m, err := parseManifest(b)
		must(t, err)
		same(t, "path", m.Unlisted, []string{path})
	})
}

func FuzzTransaction(f *testing.F) {
	f.Add([]byte("{\"version\":1,\"id\":\"abcdef\"}\ndir 1 2 3 \"/srv\"\nnew 0 f000001 5 \"x\"\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		h := hostIn(t, t.TempDir())
		must(t, os.WriteFile(transactionFile(h.group), text, 0o600))
		s, err := openScript(h.group)
		if err != nil {
			return
		}
		defer s.close()
		if s.committed {
			t.Fatal("a digest was guessed")
		}
	})
}
