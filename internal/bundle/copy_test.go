package bundle

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// sourceTree makes a directory with everything that a revision may hold.
func sourceTree(t testing.TB) string {
	t.Helper()
	src := filepath.Join(fastTemp(t), "src")
	must(t, os.MkdirAll(filepath.Join(src, "dir", "empty"), 0o755))
	for name, body := range map[string]string{"appspec.yml": "version: 0.0", "dir/a": "1", "dir/\xff\n": "2", "large": strings.Repeat("0123456789", 60_000), "none": ""} {
		must(t, os.WriteFile(filepath.Join(src, name), []byte(body), 0o600))
		must(t, os.Chmod(filepath.Join(src, name), 0o664))
	}
	must(t, os.Chmod(filepath.Join(src, "dir", "a"), 0o4775))
	must(t, os.Chmod(filepath.Join(src, "dir", "empty"), 0o777))
	must(t, os.Symlink("dir/a", filepath.Join(src, "link")))
	must(t, os.Symlink("/nowhere", filepath.Join(src, "dir", "dangling")))
	must(t, os.Link(filepath.Join(src, "dir", "a"), filepath.Join(src, "second")))
	if os.Geteuid() == 0 {
		must(t, os.Lchown(filepath.Join(src, "large"), 1234, 2345))
		must(t, os.Lchown(filepath.Join(src, "link"), 1234, 2345))
		must(t, os.Lchown(filepath.Join(src, "dir"), 1234, 2345))
	}
	old := time.Unix(1_400_000_000, 123456789)
	for _, name := range []string{"large", "dir/a", "dir/empty", "dir"} {
		must(t, os.Chtimes(filepath.Join(src, name), old, old))
	}
	return src
}

// fullTree lists a tree with owners and times.
func fullTree(t testing.TB, dir string, links bool) []string {
	t.Helper()
	var lines []string
	for _, l := range fullListing(t, dir) {
		rel := listedPath(l)
		for _, cut := range []string{" = ", " -> ", " (", "/\x00"} {
			rel, _, _ = strings.Cut(rel+"\x00", cut)
			rel = strings.TrimSuffix(rel, "\x00")
		}
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(dir, rel), &st))
		if !links {
			l = strings.Replace(l, " (2 names)", "", 1)
		}
		lines = append(lines, l+" "+time.Unix(st.Mtim.Unix()).UTC().Format(time.RFC3339Nano)+" "+owner(st))
	}
	return lines
}

func owner(st unix.Stat_t) string {
	return string(rune('0'+st.Uid%10)) + ":" + string(rune('0'+st.Gid%10))
}

func TestExactCopyOfADirectoryIsWhatCpMakes(t *testing.T) {
	cp := needProgram(t, "cp")
	src := sourceTree(t)
	want := filepath.Join(fastTemp(t), "want")
	if out, err := exec.Command(cp, "-a", src, want).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	h := newUnpackHost(t)
	s, err := CopyDirectory(context.Background(), src, h.dst, UnpackOptions{KeepOwners: true}, testLog(t))
	must(t, err)
	if diff := cmp.Diff(fullTree(t, want, false), fullTree(t, h.dst, false)); diff != "" {
		t.Errorf("tree (-cp +ours):\n%s", diff)
	}
	if diff := cmp.Diff(h.before, h.around()); diff != "" {
		t.Errorf("something outside changed (-before +after):\n%s", diff)
	}
	if s.Entries != 10 || s.Stripped != "" {
		t.Errorf("summary %+v", s)
	}
	for _, name := range []string{"dir/a", "second"} {
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(h.dst, name), &st))
		if st.Nlink != 1 {
			t.Errorf("%s has %d names", name, st.Nlink)
		}
	}
}

func TestCopyOfADirectoryIsPrivateByDefault(t *testing.T) {
	h := newUnpackHost(t)
	_, err := CopyDirectory(context.Background(), sourceTree(t), h.dst, UnpackOptions{}, testLog(t))
	must(t, err)
	for _, l := range fullListing(t, h.dst) {
		if strings.Contains(l, " -> ") {
			continue
		}
		if mode := l[:4]; mode != "0644" && mode != "0755" {
			t.Errorf("others may change this or use its rights: %s", l)
		}
	}
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(h.dst, "large"), &st))
	if int(st.Uid) != os.Geteuid() {
		t.Errorf("it belongs to %d", st.Uid)
	}
}

func TestCopyOfADirectoryThatCannotBe(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, h *unpackHost) (src string)
		opts UnpackOptions
		want string
	}{
		{"missing", func(t *testing.T, h *unpackHost) string { return filepath.Join(h.dir, "missing") }, UnpackOptions{}, "no such file"},
		{"a file", func(t *testing.T, h *unpackHost) string { return filepath.Join(h.dir, "d-1", "file") }, UnpackOptions{}, "not a directory"},
		{"around its copy", func(t *testing.T, h *unpackHost) string { return h.dir }, UnpackOptions{}, "would lie inside it"},
		{"with a pipe", func(t *testing.T, h *unpackHost) string {
			src := sourceTree(t)
			must(t, unix.Mkfifo(filepath.Join(src, "pipe"), 0o600))
			return src
		}, UnpackOptions{}, `member "pipe" is refused`},
		{"too many entries", func(t *testing.T, h *unpackHost) string { return sourceTree(t) }, UnpackOptions{MaxEntries: 3}, "archive_max_entries"},
		{"too many bytes", func(t *testing.T, h *unpackHost) string { return sourceTree(t) }, UnpackOptions{MaxBytes: 3}, "archive_max_bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newUnpackHost(t)
			_, err := CopyDirectory(context.Background(), c.make(t, h), h.dst, c.opts, testLog(t))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			if diff := cmp.Diff(h.before, h.around()); diff != "" {
				t.Errorf("leftovers (-before +after):\n%s", diff)
			}
		})
	}
	h := newUnpackHost(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := CopyDirectory(ctx, sourceTree(t), h.dst, UnpackOptions{}, testLog(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
