package behaviour

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// rawEntry is an entry of an archive that no honest program would write.
type rawEntry struct {
	name string
	// kind is the tar type: 0 a file, '1' a hard link, '2' a symbolic link, '3' and '4' devices, '5' a directory, '6' a pipe.
	kind byte
	body string // content, or where a link leads to
}

// tarOf writes members behind the AppSpec file and the file www/a.
func (h *Host) tarOf(members ...rawEntry) string {
	h.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	all := append([]rawEntry{{"appspec.yml", 0, "version: 0.0\nos: linux\nfiles: [{source: www, destination: " + h.Path(disk, "site") + "}]\n"}, {"www/a", 0, "a\n"}}, members...)
	for _, m := range all {
		header := &tar.Header{Name: m.name, Typeflag: m.kind, Mode: 0o644, ModTime: then, Uid: os.Geteuid(), Gid: os.Getegid(), Devmajor: 1, Devminor: 3}
		switch m.kind {
		case 0:
			header.Typeflag, header.Size = tar.TypeReg, int64(len(m.body))
		case tar.TypeLink, tar.TypeSymlink:
			header.Linkname, m.body = m.body, ""
		case tar.TypeDir:
			header.Mode = 0o755
		}
		err := w.WriteHeader(header)
		if err == nil && header.Size > 0 {
			_, err = w.Write([]byte(m.body))
		}
		if err != nil {
			h.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		h.Fatal(err)
	}
	return h.file("raw.tar", b.Bytes())
}

// zipOf is tarOf for a zip.
func (h *Host) zipOf(members ...rawEntry) string {
	h.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	all := append([]rawEntry{{"appspec.yml", 0, "version: 0.0\nos: linux\nfiles: [{source: www, destination: " + h.Path(disk, "site") + "}]\n"}, {"www/a", 0, "a\n"}}, members...)
	for _, m := range all {
		header := &zip.FileHeader{Name: m.name, Modified: then}
		header.SetMode(0o644)
		if m.kind == tar.TypeSymlink {
			header.SetMode(fs.ModeSymlink | 0o777)
		}
		to, err := w.CreateHeader(header)
		if err == nil {
			_, err = to.Write([]byte(m.body))
		}
		if err != nil {
			h.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		h.Fatal(err)
	}
	return h.file("raw.zip", b.Bytes())
}

func (h *Host) file(name string, content []byte) string {
	h.Helper()
	path := filepath.Join(h.Directory(nil), name)
	if err := os.WriteFile(path, content, 0o644); err != nil {
		h.Fatal(err)
	}
	return path
}

// Archives that write beside themselves. OUT is a directory of the host, and "../../../out" is it from within the
// deployment-archive of a deployment.
var attacks = []struct {
	name    string
	members []rawEntry
	zip     bool // also as a zip
	kept    bool // the bundle is deployed, without harm
}{
	{"a name with ..", []rawEntry{{"../../../../../out/evil", 0, "evil"}}, true, false},
	{"a name with .. in the middle", []rawEntry{{"www/../../../../../../out/evil", 0, "evil"}}, true, false},
	{"a name that is .. alone", []rawEntry{{"..", 0, "evil"}}, true, false},
	{"a directory with ..", []rawEntry{{"../../../../../out/evil/", '5', ""}}, false, false},
	{"a file below a link to outside", []rawEntry{{"www/way", '2', "OUT"}, {"www/way/evil", 0, "evil"}}, true, false},
	{"a file below a link with .. to outside", []rawEntry{{"way", '2', "../../../../../out"}, {"way/evil", 0, "evil"}}, true, false},
	{"a file below two links", []rawEntry{{"one", '2', "."}, {"two", '2', "one/../../../../../../out"}, {"two/evil", 0, "evil"}}, true, false},
	{"a directory below a link to outside", []rawEntry{{"way", '2', "OUT"}, {"way/evil/", '5', ""}}, false, false},
	{"a link below a link to outside", []rawEntry{{"way", '2', "OUT"}, {"way/evil", '2', "/etc/passwd"}}, true, false},
	{"a hard link to a file outside", []rawEntry{{"www/evil", '1', "OUT/secret"}}, false, false},
	{"a hard link with .. to a file outside", []rawEntry{{"www/evil", '1', "../../../../../out/secret"}}, false, false},
	{"a hard link through a link to a file outside", []rawEntry{{"way", '2', "OUT"}, {"www/evil", '1', "way/secret"}}, false, false},
	{"a device", []rawEntry{{"www/null", '3', ""}}, false, false},
	{"a block device", []rawEntry{{"www/disk", '4', ""}}, false, false},
	{"a file over a link to a file outside", []rawEntry{{"www/x", '2', "OUT/secret"}, {"www/x", 0, "evil"}}, true, true},
	{"a hard link to a link that leads outside, and a file over it", []rawEntry{{"l", '2', "OUT/secret"}, {"www/h", '1', "l"}, {"www/h", 0, "evil"}}, false, true},
	{"an absolute name", []rawEntry{{"OUT/evil", 0, "evil"}}, true, true},
	{"an absolute name with ..", []rawEntry{{"/../OUT/evil", 0, "evil"}}, true, false},
}

var _ = add(Security, func() []Case {
	cases := []Case{}
	for _, a := range attacks {
		kinds := []string{"tar"}
		if a.zip {
			kinds = append(kinds, "zip")
		}
		for _, kind := range kinds {
			cases = append(cases, Case{Name: a.name + " in a " + kind + " touches nothing outside of the archive", Run: func(h *Host) {
				h.Shell("out", "echo secret > secret")
				outside := func() []string {
					return append(h.Tree("out"), h.changed("out"), h.changed("out", "secret"))
				}
				before := outside()
				h.begin()
				members := []rawEntry{}
				for _, m := range a.members {
					m.name, m.body = strings.ReplaceAll(m.name, "OUT", h.Path("out")), strings.ReplaceAll(m.body, "OUT", h.Path("out"))
					members = append(members, m)
				}
				archive := ""
				if kind == "zip" {
					archive = h.zipOf(members...)
				} else {
					archive = h.tarOf(members...)
				}
				o := placing(h.PushArchive(kind, archive))
				if a.kept {
					h.Deploy(o)
				} else {
					last := members[len(members)-1].name
					h.Failure(h.Fail("DownloadBundle", o), 5, "", "(?s)"+quotedPart(last))
					h.HasTree("")
				}
				h.Same("what lies outside", before, outside())
				if text := h.Text("out", "evil"); text != "" {
					h.Errorf("written: %s", text)
				}
			}})
		}
	}
	return cases
}()...)

// quotedPart is what a message has to say of a rawEntry's name: its last part.
func quotedPart(name string) string {
	return strings.ReplaceAll(filepath.Base(strings.TrimSuffix(name, "/")), ".", `\.`)
}

var _ = add(Security,
	Case{Name: "an absolute name in a tar loses its slash", Run: func(h *Host) {
		h.begin()
		h.Succeed(placing(h.PushArchive("tar", h.tarOf(rawEntry{"/www/b", 0, "b"}, rawEntry{"//www//c", 0, "c"}))))
		h.HasTree("site/\nsite/a: a\nsite/b: b\nsite/c: c")
	}},
	Case{Name: "a link of an archive may lead anywhere as long as nothing is written through it", Run: func(h *Host) {
		h.begin()
		h.Succeed(placing(h.PushArchive("tar", h.tarOf(rawEntry{"www/python", '2', "/usr/bin/env"}, rawEntry{"www/up", '2', "../../../../x"}))))
		h.HasTree("site/\nsite/a: a\nsite/python -> /usr/bin/env\nsite/up -> ../../../../x")
	}},
	Case{Name: "a file over a link of the archive replaces the link", Run: func(h *Host) {
		h.begin()
		h.Succeed(placing(h.PushArchive("tar", h.tarOf(rawEntry{"www/x", '2', "a"}, rawEntry{"www/x", 0, "x"}))))
		h.HasTree("site/\nsite/a: a\nsite/x: x")
	}},
	Case{Name: "what was deployed before stays when a bundle is refused", Run: func(h *Host) {
		h.begin()
		h.Succeed(site(h, "echo old > old"))
		h.Fail("DownloadBundle", placing(h.PushArchive("tar", h.tarOf(rawEntry{"../evil", 0, "evil"}))))
		h.HasTree("site/\nsite/old: old")
		h.Succeed(site(h, "echo new > new"))
		h.HasTree("site/\nsite/new: new")
	}},
)
