package bundle

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

var (
	plainNames = []string{"f", "Datei ü ", "longer-name-" + strings.Repeat("x", 90)}
	oddNames   = append([]string{"\x80\xff", "sp ace\n"}, plainNames...)
)

// randomTree fills a directory with what a program that makes archives may find.
func randomTree(t testing.TB, r *rand.Rand, entries int, names []string) string {
	t.Helper()
	root := filepath.Join(fastTemp(t), "tree")
	must(t, os.Mkdir(root, 0o755))
	folders, files := []string{""}, []string{}
	for i := range entries {
		name := fmt.Sprintf("%s%d", names[r.IntN(len(names))], i)
		path := filepath.Join(folders[r.IntN(len(folders))], name)
		full := filepath.Join(root, path)
		switch n := r.IntN(20); {
		case n < 4:
			must(t, os.Mkdir(full, 0o755))
			folders = append(folders, path)
		case n == 4:
			must(t, os.Symlink([]string{"f0", "../..", "/etc/passwd", strings.Repeat("y", 120)}[r.IntN(4)], full))
		case n == 5 && len(files) > 0:
			must(t, os.Link(filepath.Join(root, files[r.IntN(len(files))]), full))
		case n == 6:
			f, err := os.Create(full) // with holes
			must(t, err)
			for range 3 {
				_, err = f.WriteAt([]byte(strings.Repeat("data", 3000)), r.Int64N(700_000))
				must(t, err)
			}
			must(t, f.Truncate(1<<20))
			must(t, f.Close())
		default:
			size := []int{0, 1, 511, 512, 513, 4096, 70_000, 262_144, 700_000}[r.IntN(9)]
			b := make([]byte, size)
			for i := range b {
				b[i] = "abcdefgh"[r.IntN(8)]
			}
			must(t, os.WriteFile(full, b, 0o600))
			files = append(files, path)
			must(t, os.Chmod(full, os.FileMode([]uint32{0o644, 0o755, 0o600, 0o664, 0o444}[r.IntN(5)])))
			if os.Geteuid() == 0 && r.IntN(4) == 0 {
				must(t, os.Lchown(full, 1000+r.IntN(3), 2000+r.IntN(3)))
				must(t, os.Chmod(full, os.ModeSetuid|0o755))
			}
			at := time.Unix(r.Int64N(2_000_000_000), r.Int64N(1_000_000_000))
			must(t, os.Chtimes(full, at, at))
		}
	}
	for _, d := range folders[1:] {
		at := time.Unix(r.Int64N(2_000_000_000), 0)
		must(t, os.Chmod(filepath.Join(root, d), os.FileMode([]uint32{0o755, 0o700, 0o775}[r.IntN(3)])))
		must(t, os.Chtimes(filepath.Join(root, d), at, at))
	}
	return root
}

func runIn(t testing.TB, dir string, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TZ=UTC")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
}

// peerRounds bounds the time of the comparisons.
const peerRounds = 1

func TestSameTreeAsGNUTar(t *testing.T) {
	gnuTar := needProgram(t, "tar")
	if out, _ := exec.Command(gnuTar, "--version").Output(); !bytes.Contains(out, []byte("GNU tar")) {
		loudSkip(t, "needs GNU tar")
	}
	for seed := range uint64(peerRounds) {
		r := rand.New(rand.NewPCG(seed, 1))
		tree := randomTree(t, r, 100, oddNames)
		for _, format := range [][]string{{"--format=gnu"}, {"--format=pax"}, {"--format=gnu", "-S"}, {"--format=pax", "-S", "--sparse-version=1.0"},
			{"--format=pax", "-S", "--sparse-version=0.1"}, {"--format=pax", "-S", "--sparse-version=0.0"}, {"--format=gnu", "-z"}, {"--format=gnu", "-j"}, {"--format=oldgnu", "-b", "1"}} {
			archive := filepath.Join(fastTemp(t), "bundle")
			runIn(t, tree, gnuTar, append(append([]string{"-cf", archive}, format...), ".")...)
			want := filepath.Join(fastTemp(t), "want")
			must(t, os.Mkdir(want, 0o755))
			runIn(t, want, gnuTar, "-xpf", archive)
			h := newUnpackHost(t)
			_, err := h.unpackFile(archive, "tar", UnpackOptions{KeepOwners: true})
			if err != nil {
				t.Fatalf("seed %d, %q: %v", seed, format, err)
			}
			if diff := cmp.Diff(fullTree(t, want, true), fullTree(t, h.dst, true)); diff != "" {
				t.Fatalf("seed %d, %q: tree (-tar +ours):\n%s", seed, format, diff)
			}
			sameHoles(t, want, h.dst)
		}
	}
}

// sameHoles demands that sparse files take no more room than tar's.
func sameHoles(t *testing.T, want, got string) {
	t.Helper()
	_ = filepath.WalkDir(want, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, _ := filepath.Rel(want, path)
		var a, b unix.Stat_t
		must(t, unix.Lstat(path, &a))
		must(t, unix.Lstat(filepath.Join(got, rel), &b))
		if b.Blocks > a.Blocks+64 {
			t.Errorf("%q takes %d blocks, after tar %d", rel, b.Blocks, a.Blocks)
		}
		return nil
	})
}

func TestSameTreeAsUnzip(t *testing.T) {
	unzip, zipper := needProgram(t, "unzip"), needProgram(t, "zip")
	t.Setenv("TZ", "UTC")
	for seed := range uint64(peerRounds) {
		r := rand.New(rand.NewPCG(seed, 2))
		tree := randomTree(t, r, 100, plainNames) // unzip drops control characters and bytes that are no UTF-8
		for _, options := range [][]string{{"-y"}, {"-y", "-0"}, {"-y", "-X"}, {"-y", "-fz"}} {
			archive := filepath.Join(fastTemp(t), "bundle.zip")
			runIn(t, tree, zipper, append(append([]string{"-qr"}, options...), archive, ".")...)
			want := filepath.Join(fastTemp(t), "want")
			runIn(t, tree, unzip, "-qo", archive, "-d", want)
			h := newUnpackHost(t)
			if _, err := h.unpackFile(archive, "zip", UnpackOptions{KeepOwners: true}); err != nil {
				t.Fatalf("seed %d, %q: %v", seed, options, err)
			}
			if diff := cmp.Diff(withoutLinkTimes(fullTree(t, want, false)), withoutLinkTimes(fullTree(t, h.dst, false))); diff != "" {
				t.Fatalf("seed %d, %q: tree (-unzip +ours):\n%s", seed, options, diff)
			}
		}
	}
}

// withoutLinkTimes leaves out what unzip does not set: the times of links.
func withoutLinkTimes(lines []string) []string {
	for i, l := range lines {
		if before, after, ok := strings.Cut(l, " -> "); ok {
			lines[i] = before + " -> " + after[:strings.LastIndexByte(after[:len(after)-4], ' ')]
		}
	}
	return lines
}
