package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestOldArchiveIsReplacedWholeOrNotAtAll(t *testing.T) {
	old := tarOf(t, aFile("old", "1").withMode(0o666), aDir("closed").withMode(0o100))
	for _, c := range []struct {
		name string
		data []byte
		ok   bool
		want []string
	}{
		{"a good bundle", tarOf(t, aFile("new", "2")), true, []string{"0644 new = 2"}},
		{"a good bundle in a directory", tarOf(t, aFile("top/appspec.yml", "2")), true, []string{"0644 appspec.yml = 2"}},
		{"a bad bundle", broken(tarOf(t, aFile("new", "2"), aFile("next", "3")), 1030), false, []string{"0100 closed/", "0644 old = 1"}},
		{"an empty bundle", nil, false, []string{"0100 closed/", "0644 old = 1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newUnpackHost(t)
			_, err := h.unpack(old, "tar", UnpackOptions{})
			must(t, err)
			_, err = h.unpack(c.data, "tar", UnpackOptions{})
			if (err == nil) != c.ok {
				t.Fatalf("unexpected error %v", err)
			}
			a, err := ReadAttributes(filepath.Dir(h.dst))
			must(t, err)
			if _, _, mode, ok := a.Of("old"); ok == c.ok || (ok && mode != 0o666) {
				t.Errorf("the record does not belong to the archive: old has mode %o, %v", mode, ok)
			}
			if os.Geteuid() != 0 {
				must(t, os.Chmod(filepath.Join(h.dst, "."), 0o755))
			}
			wantListing(t, h.dst, c.want...)
		})
	}
}

func TestWhateverLiesAtTheArchivesPlaceIsReplaced(t *testing.T) {
	for name, put := range map[string]func(dst string) error{
		"nothing":     func(string) error { return nil },
		"a file":      func(dst string) error { return os.WriteFile(dst, nil, 0o600) },
		"a link":      func(dst string) error { return os.Symlink("../outside", dst) },
		"a directory": func(dst string) error { return os.MkdirAll(filepath.Join(dst, "a", "b"), 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newUnpackHost(t)
			must(t, put(h.dst))
			_, err := h.unpack(tarOf(t, aFile("new", "2")), "tar", UnpackOptions{})
			must(t, err)
			wantListing(t, h.dst, "0644 new = 2")
		})
	}
}

func TestLeftoversOfACrashAreRemovedUnlessInUse(t *testing.T) {
	h := newUnpackHost(t)
	dir := filepath.Dir(h.dst)
	dead := filepath.Join(dir, placePrefix+"deployment-archive-dead")
	alive := filepath.Join(dir, placePrefix+"deployment-archive-alive")
	foreign := filepath.Join(dir, placePrefix+"other-dead")
	for _, d := range []string{dead, alive, foreign} {
		must(t, os.MkdirAll(filepath.Join(d, "closed"), 0o755))
		must(t, os.Chmod(filepath.Join(d, "closed"), 0))
	}
	deadRecord := filepath.Join(dir, recordPrefix+"deployment-archive-dead")
	aliveRecord := filepath.Join(dir, recordPrefix+"deployment-archive-alive")
	must(t, os.WriteFile(deadRecord, nil, 0o600))
	must(t, os.WriteFile(aliveRecord, nil, 0o600))
	lock, err := os.Open(alive)
	must(t, err)
	defer func() { _ = lock.Close() }()
	must(t, unix.Flock(int(lock.Fd()), unix.LOCK_EX))

	archive := filepath.Join(h.dir, "bundle.tar")
	must(t, os.WriteFile(archive, tarOf(t, aFile("a", "")), 0o600))
	_, err = Unpack(context.Background(), archive, "tar", h.dst, UnpackOptions{}, testLog(t))
	must(t, err)
	for path, want := range map[string]bool{dead: false, deadRecord: false, alive: true, aliveRecord: true, foreign: true} {
		if _, err := os.Lstat(path); (err == nil) != want {
			t.Errorf("%s: is there: %v, want %v", filepath.Base(path), err == nil, want)
		}
	}
}

func TestLimits(t *testing.T) {
	var many []archiveMember
	for i := range 30 {
		many = append(many, aFile(fmt.Sprint("f", i), strings.Repeat("x", 100)))
	}
	for _, c := range []struct {
		name string
		opts UnpackOptions
		key  string
	}{
		{"just enough", UnpackOptions{MaxBytes: 3000, MaxEntries: 30}, ""},
		{"a byte too many", UnpackOptions{MaxBytes: 2999}, "archive_max_bytes"},
		{"an entry too many", UnpackOptions{MaxEntries: 29}, "archive_max_entries"},
	} {
		t.Run(c.name, func(t *testing.T) {
			plain := tarOf(t, many...)
			for kind, data := range map[string][]byte{"tar": plain, "tgz": gzipOf(t, plain), "zip": zipOf(t, many...)} {
				h := newUnpackHost(t)
				s, err := h.unpack(data, kind, c.opts)
				if c.key == "" {
					must(t, err)
					if s.Entries != 30 || s.Bytes != 3000 {
						t.Errorf("%s: summary %+v", kind, s)
					}
					continue
				}
				var limit *LimitError
				if !errors.As(err, &limit) || limit.Key != c.key || !strings.Contains(err.Error(), "raise "+c.key) {
					t.Errorf("%s: got %v, want the limit %s", kind, err, c.key)
				}
			}
		})
	}
}

// zerosOf writes n zeros, quickly.
func zerosOf(w io.Writer, n int64) error {
	zeros := make([]byte, 1<<20)
	for n > 0 {
		m, err := w.Write(zeros[:min(n, int64(len(zeros)))])
		if err != nil {
			return err
		}
		n -= int64(m)
	}
	return nil
}

func TestBombs(t *testing.T) {
	bomb := func(name string, write func(w io.Writer) error) string {
		path := filepath.Join(fastTemp(t), name)
		f, err := os.Create(path)
		must(t, err)
		must(t, write(f))
		must(t, f.Close())
		return path
	}
	header := func(name string, size int64) []byte {
		var b bytes.Buffer
		must(t, tar.NewWriter(&b).WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o644, Format: tar.FormatGNU}))
		return b.Bytes()
	}
	zip100GB := func(w io.Writer) error { // says 100 GB; nobody needs to read so far
		plain := zipOf(t, aFile("a", "x"), aFile("b", strings.Repeat("0", 1000)))
		i := bytes.LastIndex(plain, []byte(zipIndexMark))
		copy(plain[i+24:], "\xf0\xff\xff\xff") // 4 GB
		_, err := w.Write(plain)
		return err
	}
	for _, c := range []struct {
		name, kind, key string
		opts            UnpackOptions
		write           func(w io.Writer) error
	}{
		{"a member of 100 GB in a tgz", "tgz", limitKeyBytes, UnpackOptions{}, func(w io.Writer) error {
			z := gzip.NewWriter(w)
			_, err := z.Write(header("zeros", 100<<30))
			return errors.Join(err, zerosOf(z, 8<<20), z.Close())
		}},
		{"zeros after the end of a tgz", "tgz", limitKeyRatio, UnpackOptions{}, func(w io.Writer) error {
			zeros := gzipOf(t, make([]byte, 8<<20))
			data := gzipOf(t, tarOf(t, aFile("a", "")))
			for range 40 { // members of one gzip file
				data = append(data, zeros...)
			}
			_, err := w.Write(data)
			return err
		}},
		{"a small zip that says 4 GB", "zip", limitKeyRatio, UnpackOptions{}, zip100GB},
		{"empty entries without end", "tgz", limitKeyEntries, UnpackOptions{MaxEntries: 2000}, func(w io.Writer) error {
			z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
			for i := range 3000 {
				if _, err := z.Write(header(fmt.Sprint("d", i%100, "/", i), 0)); err != nil {
					return err
				}
			}
			return z.Close()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newUnpackHost(t)
			_, err := h.unpackFile(bomb("b", c.write), c.kind, c.opts)
			var limit *LimitError
			if !errors.As(err, &limit) || limit.Key != c.key {
				t.Errorf("got %v, want the limit %s", err, c.key)
			}
			if _, err := os.Lstat(h.dst); err == nil {
				t.Error("a part of the archive was kept")
			}
		})
	}
}

// smallDisk mounts a file system of its own.
func smallDisk(t *testing.T, options string) string {
	needRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, options); err != nil {
		loudSkip(t, "needs to mount a tmpfs: "+err.Error())
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func TestFullDisk(t *testing.T) {
	noise := func(n int) string {
		b := make([]byte, n)
		x := uint64(1)
		for i := range b {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			b[i] = byte(x)
		}
		return string(b)
	}
	var large, many []archiveMember
	for i := range 40 {
		large = append(large, aFile(fmt.Sprint("f", i), noise(300_000)))
	}
	for i := range 2000 {
		many = append(many, aFile(fmt.Sprintf("d%d/f%d", i%7, i), "x"))
	}
	for _, c := range []struct {
		name, options, says string
		members             []archiveMember
		wantFree            bool
	}{
		{"too few bytes", "size=8m", "is too full: at least", large, true},
		{"too few inodes", "size=64m,nr_inodes=1000", "is short of inodes: at least", many, false},
	} {
		plain := tarOf(t, c.members...)
		for kind, data := range map[string][]byte{"tar": plain, "tgz": gzipOf(t, plain), "zip": zipOf(t, c.members...)} {
			t.Run(c.name+", "+kind, func(t *testing.T) {
				disk := smallDisk(t, c.options)
				archive := filepath.Join(fastTemp(t), "bundle")
				must(t, os.WriteFile(archive, data, 0o600))
				_, err := Unpack(context.Background(), archive, kind, filepath.Join(disk, "deployment-archive"), UnpackOptions{}, testLog(t))
				var space *SpaceError
				if !errors.As(err, &space) || space.FileSystem != disk || !strings.Contains(err.Error(), c.says) {
					t.Errorf("got %v, want a lack of space on %s", err, disk)
				}
				if diff := cmp.Diff([]string(nil), fullListing(t, disk)); diff != "" {
					t.Errorf("leftovers:\n%s", diff)
				}
				// The next one works.
				must(t, os.WriteFile(archive, tarOf(t, aFile("a", "x")), 0o600))
				_, err = Unpack(context.Background(), archive, "tar", filepath.Join(disk, "deployment-archive"), UnpackOptions{}, testLog(t))
				must(t, err)
			})
		}
	}
}

func TestCancelledUnpackLeavesNothing(t *testing.T) {
	var many []archiveMember
	for i := range 3000 {
		many = append(many, aFile(fmt.Sprintf("d%d/f%d", i%7, i), strings.Repeat("x", 2000)))
	}
	plain := tarOf(t, many...)
	for kind, data := range map[string][]byte{"tar": plain, "tgz": gzipOf(t, plain), "zip": zipOf(t, many...)} {
		h := newUnpackHost(t)
		archive := filepath.Join(h.dir, "bundle")
		must(t, os.WriteFile(archive, data, 0o600))
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := Unpack(ctx, archive, kind, h.dst, UnpackOptions{}, testLog(t)); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v", kind, err)
		}
		if diff := cmp.Diff(h.before, h.around()); diff != "" {
			t.Errorf("%s: leftovers (-before +after):\n%s", kind, diff)
		}
	}
}
