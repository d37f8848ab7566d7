package bundle

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// ownersOf lists "MODE UID:GID PATH" of what lies in the archive.
func ownersOf(t *testing.T, dir string) []string {
	t.Helper()
	var lines []string
	for _, l := range fullListing(t, dir) {
		path, _, _ := strings.Cut(strings.TrimSuffix(strings.Fields(listedPath(l))[0], "/"), " ")
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(dir, path), &st))
		lines = append(lines, fmt.Sprintf("%04o %d:%d %s", st.Mode&0o7777, st.Uid, st.Gid, path))
	}
	return lines
}

var ownedMembers = []archiveMember{
	aDir("dir").ownedBy(1234, 2345).withMode(0o2775),
	aFile("dir/file", "").ownedBy(1234, 2345).withMode(0o664),
	aHardLink("dir/other", "dir/file").ownedBy(1234, 2345).withMode(0o664),
	aFile("plain", ""),
	aFile("secret", "").ownedBy(1234, 2345).withMode(0o640),
	aFile("suid", "").ownedBy(1234, 2345).withMode(0o4755),
	aLink("link", "plain").ownedBy(1234, 2345).withMode(0o777),
}

func TestCompatibleUnpackKeepsOwnersAndModesAsTarDoes(t *testing.T) {
	needRoot(t)
	h := newUnpackHost(t)
	_, err := h.unpack(tarOf(t, ownedMembers...), "tar", UnpackOptions{KeepOwners: true})
	must(t, err)
	want := []string{"2775 1234:2345 dir", "0664 1234:2345 dir/file", "0664 1234:2345 dir/other", "0777 1234:2345 link", "0644 0:0 plain",
		"0640 1234:2345 secret", "4755 1234:2345 suid"}
	if diff := cmp.Diff(want, ownersOf(t, h.dst)); diff != "" {
		t.Errorf("owners and modes (-want +got):\n%s", diff)
	}
	if _, err := os.Lstat(filepath.Join(filepath.Dir(h.dst), AttributesName)); err == nil {
		t.Error("there is a record of attributes, although all are on the disk")
	}
}

func TestArchiveIsPrivateByDefault(t *testing.T) {
	h := newUnpackHost(t)
	_, err := h.unpack(tarOf(t, ownedMembers...), "tar", UnpackOptions{})
	must(t, err)
	me := fmt.Sprintf("%d:%d", os.Geteuid(), os.Getegid())
	var writable []string
	for _, l := range ownersOf(t, h.dst) {
		var mode uint32
		var owner, path string
		_, err := fmt.Sscanf(l, "%o %s %s", &mode, &owner, &path)
		must(t, err)
		if owner != me || path != "link" && mode&0o7022 != 0 {
			writable = append(writable, l)
		}
	}
	if writable != nil {
		t.Errorf("others may change these or use their rights: %q", writable)
	}
}

func TestRecordKeepsWhatMembersHad(t *testing.T) {
	uid, gid := 1234, 2345
	if os.Geteuid() != 0 {
		uid, gid = os.Geteuid(), os.Getegid() // what tar gives them then
	}
	wrap := func(members []archiveMember) (all []archiveMember) {
		for _, m := range members {
			m.name = "top/" + m.name
			if m.kind == '1' {
				m.target = "top/" + m.target
			}
			all = append(all, m)
		}
		return append(all, aFile("top/appspec.yml", ""))
	}
	for name, data := range map[string][]byte{"as it is": tarOf(t, ownedMembers...), "wrapped": tarOf(t, wrap(ownedMembers)...)} {
		t.Run(name, func(t *testing.T) {
			h := newUnpackHost(t)
			_, err := h.unpack(data, "tar", UnpackOptions{})
			must(t, err)
			a, err := ReadAttributes(filepath.Dir(h.dst))
			must(t, err)
			for path, want := range map[string]string{
				"dir": "2775 U:G", "dir/file": "0664 U:G", "dir/other": "0664 U:G", "suid": "4755 U:G", "plain": "none", "nothing": "none", "": "none",
			} {
				got := "none"
				if uid, gid, mode, ok := a.Of(path); ok {
					got = fmt.Sprintf("%04o %d:%d", mode, uid, gid)
				}
				want = strings.NewReplacer("U", fmt.Sprint(uid), "G", fmt.Sprint(gid)).Replace(want)
				if got != want {
					t.Errorf("%q: got %s, want %s", path, got, want)
				}
			}
		})
	}
}

func TestRecordOfAMemberThatCameTwice(t *testing.T) {
	h := newUnpackHost(t)
	_, err := h.unpack(tarOf(t,
		aFile("wide to narrow", "").withMode(0o666), aFile("wide to narrow", "").withMode(0o644),
		aFile("narrow to wide", "").withMode(0o644), aFile("narrow to wide", "").withMode(0o666),
		aFile("wide to wider", "").withMode(0o664), aFile("wide to wider", "").withMode(0o666),
		aFile("wide to link", "").withMode(0o664), aLink("wide to link", "x"),
		aDir("dir").withMode(0o777), aDir("dir").withMode(0o755),
	), "tar", UnpackOptions{})
	must(t, err)
	a, err := ReadAttributes(filepath.Dir(h.dst))
	must(t, err)
	for path, want := range map[string]uint32{"wide to narrow": 0, "narrow to wide": 0o666, "wide to wider": 0o666, "wide to link": 0, "dir": 0} {
		if _, _, mode, ok := a.Of(path); ok != (want != 0) || ok && mode != want {
			t.Errorf("%s: got %o, %v, want %o", path, mode, ok, want)
		}
	}
}

func TestDamagedRecordIsNoticed(t *testing.T) {
	good := attributesHead + "664 1 2 a\x00- b\x00" + "end 2 \x00"
	if _, err := parseAttributes([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"empty": "", "another head": "x" + good, "cut": good[:len(good)-8], "cut in a line": good[:len(good)-2], "a record too few": strings.Replace(good, "end 2", "end 3", 1),
		"a record too many": strings.Replace(good, "end 2", "end 1", 1), "a bad mode": strings.Replace(good, "664", "669", 1), "a bad owner": strings.Replace(good, "664 1", "664 x", 1),
	} {
		if _, err := parseAttributes([]byte(data)); err == nil {
			t.Errorf("%s: taken for a good record", name)
		}
	}
}

func TestOwnerOfAScriptCanStillRunIt(t *testing.T) {
	needRoot(t)
	dir, err := os.MkdirTemp("/var/tmp", "bundle-test-") // t.TempDir is closed to others
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	dst := filepath.Join(dir, "deployment-archive")
	archive := filepath.Join(dir, "bundle")
	script := "#!/bin/sh\ncat \"$(dirname \"$0\")/for-the-group\"\n"
	must(t, os.WriteFile(archive, tarOf(t,
		aDir("closed").ownedBy(1234, 0).withMode(0o700),
		aFile("closed/run", script).ownedBy(1234, 0).withMode(0o700),
		aFile("closed/for-the-group", "shared").ownedBy(0, 2345).withMode(0o640),
	), 0o600))
	_, err = Unpack(t.Context(), archive, "tar", dst, UnpackOptions{}, testLog(t))
	must(t, err)
	run := func(uid, gid uint32, args ...string) (string, error) {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	acl := make([]byte, 100)
	if _, err := unix.Getxattr(filepath.Join(dst, "closed", "run"), aclName, acl); err != nil {
		loudSkip(t, "needs a file system with ACLs")
	}
	if out, err := run(1234, 2345, filepath.Join(dst, "closed", "run")); err != nil || out != "shared" {
		t.Errorf("the owner in the archive, in the group: %q, %v", out, err)
	}
	// A deployment that reuses the archive has a copy of it.
	again := filepath.Join(dir, "copy")
	_, err = CopyDirectory(t.Context(), dst, again, UnpackOptions{}, testLog(t))
	must(t, err)
	if out, err := run(1234, 2345, filepath.Join(again, "closed", "run")); err != nil || out != "shared" {
		t.Errorf("the owner in the archive, in a copy: %q, %v", out, err)
	}
	for _, c := range [][]string{
		{"cat", filepath.Join(dst, "closed", "run")},
		{"cat", filepath.Join(dst, "closed", "for-the-group")},
	} {
		if out, err := run(4321, 4321, c...); err == nil {
			t.Errorf("a stranger reads %q by %q", out, c)
		}
	}
	for _, c := range [][]string{
		{"sh", "-c", "echo >> " + filepath.Join(dst, "closed", "run")},
		{"touch", filepath.Join(dst, "closed", "new")},
		{"chmod", "777", filepath.Join(dst, "closed", "run")},
	} {
		if _, err := run(1234, 2345, c...); err == nil {
			t.Errorf("the owner in the archive can do this: %q", c)
		}
	}
}

func TestOwnersAreFoundByNameFirst(t *testing.T) {
	needRoot(t)
	known := aFile("known", "").ownedBy(4321, 4321)
	known.user = "daemon"
	unknown := aFile("unknown", "").ownedBy(4321, 4321)
	unknown.user = "nobody-has-this-name"
	h := newUnpackHost(t)
	_, err := h.unpack(tarOf(t, known, unknown), "tar", UnpackOptions{KeepOwners: true})
	must(t, err)
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(h.dst, "known"), &st))
	want, err := lookupUserID("daemon")
	must(t, err)
	if int(st.Uid) != want {
		t.Errorf("a name that this host has: uid %d, want %d", st.Uid, want)
	}
	must(t, unix.Stat(filepath.Join(h.dst, "unknown"), &st))
	if st.Uid != 4321 {
		t.Errorf("a name that this host does not have: uid %d, want 4321", st.Uid)
	}
}

func FuzzAttributes(f *testing.F) {
	f.Add([]byte(attributesHead+"664 1 2 a\x00- b\x00end 2 top\x00"), "a")
	f.Fuzz(func(t *testing.T, data []byte, path string) {
		a, err := parseAttributes(bytes.Clone(data))
		if err != nil {
			return
		}
		if _, _, mode, ok := a.Of(path); ok && mode > 0o7777 {
			t.Errorf("mode %o", mode)
		}
	})
}
