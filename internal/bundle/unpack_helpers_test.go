package bundle

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"hash/crc64"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sys/unix"
)

// member describes one entry of an archive that a test makes.
type archiveMember struct {
	name   string
	kind   byte // a tar type flag; 0 is a file
	mode   int64
	body   string
	target string
	uid    int
	gid    int
	user   string
	time   time.Time
	pax    map[string]string
}

func aFile(name, body string) archiveMember {
	return archiveMember{name: name, kind: tar.TypeReg, body: body}
}
func aDir(name string) archiveMember { return archiveMember{name: name, kind: tar.TypeDir} }
func aLink(name, target string) archiveMember {
	return archiveMember{name: name, kind: tar.TypeSymlink, target: target}
}
func aHardLink(name, target string) archiveMember {
	return archiveMember{name: name, kind: tar.TypeLink, target: target}
}
func (m archiveMember) withMode(mode int64) archiveMember { m.mode = mode; return m }
func (m archiveMember) ownedBy(uid, gid int) archiveMember {
	m.uid, m.gid = uid, gid
	return m
}

var archiveTime = time.Unix(1_500_000_000, 0)

func tarOf(t testing.TB, members ...archiveMember) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Typeflag: m.kind, Mode: m.mode, Linkname: m.target, Uid: m.uid, Gid: m.gid, Uname: m.user, ModTime: m.time, PAXRecords: m.pax}
		if h.ModTime.IsZero() {
			h.ModTime = archiveTime
		}
		if h.Mode == 0 {
			h.Mode = map[byte]int64{tar.TypeDir: 0o755}[m.kind]
			if h.Mode == 0 {
				h.Mode = 0o644
			}
		}
		if m.kind == tar.TypeReg || m.kind >= '7' {
			h.Size = int64(len(m.body))
		}
		must(t, w.WriteHeader(h))
		if h.Size > 0 {
			_, err := w.Write([]byte(m.body))
			must(t, err)
		}
	}
	must(t, w.Close())
	return b.Bytes()
}

func zipOf(t testing.TB, members ...archiveMember) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, m := range members {
		h := &zip.FileHeader{Name: m.name, Method: zip.Deflate, Modified: m.time, CreatorVersion: 3 << 8}
		if m.time.IsZero() {
			h.Modified = archiveTime
		}
		mode := uint32(m.mode)
		if mode == 0 {
			mode = 0o644
		}
		body := m.body
		switch m.kind {
		case tar.TypeDir:
			if m.mode == 0 {
				mode = 0o755
			}
			mode |= modeDir
			h.Name = strings.TrimSuffix(h.Name, "/") + "/"
			h.Method = zip.Store
		case tar.TypeSymlink:
			mode |= modeLink
			body = m.target
		case tar.TypeFifo:
			mode |= modeFIFO
		case tar.TypeChar:
			mode |= modeChar
		case tar.TypeBlock:
			mode |= modeBlock
		default:
			mode |= modeRegular
		}
		h.ExternalAttrs = mode << 16
		f, err := w.CreateHeader(h)
		must(t, err)
		_, err = f.Write([]byte(body))
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

func gzipOf(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	must(t, err)
	must(t, w.Close())
	return b.Bytes()
}

func zstdOf(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	must(t, err)
	defer w.Close()
	return w.EncodeAll(data, nil)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// loudSkip ends a test that cannot run here, and says so.
func loudSkip(t testing.TB, why string) {
	t.Helper()
	t.Skipf("NOT RUN HERE (%s): %s", why, t.Name())
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		loudSkip(t, "needs root")
	}
}

func needProgram(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		loudSkip(t, "needs "+name)
	}
	return path
}

// host is a folder with a place to unpack to and things around it that must never change.
type unpackHost struct {
	t      testing.TB
	dir    string
	dst    string
	before string
}

func newUnpackHost(t testing.TB) *unpackHost {
	t.Helper()
	h := &unpackHost{t: t, dir: fastTemp(t)}
	h.dst = filepath.Join(h.dir, "d-1", "deployment-archive")
	must(t, os.MkdirAll(filepath.Dir(h.dst), 0o755))
	must(t, os.MkdirAll(filepath.Join(h.dir, "outside", "empty"), 0o755))
	must(t, os.WriteFile(filepath.Join(h.dir, "outside", "file"), []byte("precious"), 0o600))
	must(t, os.WriteFile(filepath.Join(h.dir, "d-1", "file"), []byte("precious"), 0o600))
	h.before = h.around()
	return h
}

// around is everything but the archive and its record.
func (h *unpackHost) around() string {
	return strings.Join(slices.DeleteFunc(fullListing(h.t, h.dir), func(l string) bool {
		path := listedPath(l)
		return strings.HasPrefix(path, "d-1/deployment-archive") || strings.HasPrefix(path, "d-1/"+AttributesName+" ") || strings.HasPrefix(path, "bundle")
	}), "\n")
}

// unpack unpacks the data and checks that nothing around the archive has changed and nothing was left over.
func (h *unpackHost) unpack(data []byte, bundleType string, opts UnpackOptions) (Summary, error) {
	h.t.Helper()
	archive := filepath.Join(h.dir, "bundle.tar")
	must(h.t, os.WriteFile(archive, data, 0o600))
	return h.unpackFile(archive, bundleType, opts)
}

func (h *unpackHost) unpackFile(archive, bundleType string, opts UnpackOptions) (Summary, error) {
	h.t.Helper()
	s, err := Unpack(context.Background(), archive, bundleType, h.dst, opts, testLog(h.t))
	if diff := cmp.Diff(h.before, h.around()); diff != "" {
		h.t.Errorf("something outside of the archive changed or was left over (-before +after):\n%s", diff)
	}
	return s, err
}

func testLog(t testing.TB) *zap.Logger {
	if _, ok := t.(*testing.F); ok {
		return zap.NewNop()
	}
	return zaptest.NewLogger(t)
}

// fullListing describes every name below dir: "MODE PATH TYPE CONTENT".
func fullListing(t testing.TB, dir string) []string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if rel == "." || err != nil {
			return nil
		}
		lines = append(lines, describe(t, path, rel))
		return nil
	})
	must(t, err)
	return lines
}

func describe(t testing.TB, path, rel string) string {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	line := fmt.Sprintf("%04o %s", st.Mode&0o7777, rel)
	switch st.Mode & modeType {
	case modeDir:
		return line + "/"
	case modeLink:
		target, err := os.Readlink(path)
		must(t, err)
		return fmt.Sprintf("%s -> %s", line[5:], target)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return line + " unreadable"
	}
	text := string(b)
	if len(text) > 40 {
		text = fmt.Sprintf("%d bytes, %x", len(text), sum64(b))
	}
	if st.Nlink > 1 {
		line += fmt.Sprintf(" (%d names)", st.Nlink)
	}
	return line + " = " + text
}

func sum64(b []byte) uint64 { return crc64.Checksum(b, crc64Table) }

var crc64Table = crc64.MakeTable(crc64.ECMA)

// fastTemp is a directory in memory where there is one: every unpacking syncs its file system, which is slow on a
// disk that others use.
func fastTemp(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "bundle-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = removeTree(dir) }) // modes of archives bar the way of os.RemoveAll
	return dir
}

func wantListing(t testing.TB, dir string, want ...string) {
	t.Helper()
	slices.SortFunc(want, func(a, b string) int { return strings.Compare(listedPath(a), listedPath(b)) })
	got := fullListing(t, dir)
	slices.SortFunc(got, func(a, b string) int { return strings.Compare(listedPath(a), listedPath(b)) })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
}

func listedPath(line string) string {
	if len(line) > 5 && line[4] == ' ' && line[0] >= '0' && line[0] <= '7' {
		return line[5:]
	}
	return line
}
