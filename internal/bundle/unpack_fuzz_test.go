package bundle

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// fuzzUnpack unpacks any bytes as the type says: nothing outside of the archive may change, nothing may be left over,
// and nothing may lie in the archive that must not.
func fuzzUnpack(f *testing.F, bundleType string) {
	f.Fuzz(func(t *testing.T, data []byte) {
		dir, err := os.MkdirTemp("/dev/shm", "bundle-fuzz-")
		if err != nil {
			dir = t.TempDir()
		}
		defer func() { _ = removeTree(dir) }()
		sentinel := filepath.Join(dir, "sentinel")
		must(t, os.MkdirAll(filepath.Join(dir, "d"), 0o755))
		must(t, os.WriteFile(sentinel, []byte("precious"), 0o600))
		archive := filepath.Join(dir, "bundle")
		must(t, os.WriteFile(archive, data, 0o600))
		dst := filepath.Join(dir, "d", "deployment-archive")
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err = Unpack(ctx, archive, bundleType, dst, UnpackOptions{MaxBytes: 8 << 20, MaxEntries: 1000}, zap.NewNop())
		if err != nil && (isPlainError(err) || ctx.Err() != nil) {
			t.Errorf("an error without a type: %v", err)
		}
		if b, rerr := os.ReadFile(sentinel); rerr != nil || string(b) != "precious" {
			t.Error("the sentinel has changed")
		}
		names, _ := listNames(filepath.Join(dir, "d"))
		for _, name := range names {
			if err != nil || name != "deployment-archive" && name != AttributesName {
				t.Errorf("left over after %v: %s", err, name)
			}
		}
		if top, _ := listNames(dir); len(top) != 3 {
			t.Errorf("outside: %q", top)
		}
		if err == nil {
			onlyPrivateKinds(t, dst)
		}
	})
}

// isPlainError is an error that neither has a type of the package nor names the member that the kernel refused.
func isPlainError(err error) bool { return !isUnpackError(err) }

func onlyPrivateKinds(t *testing.T, dst string) {
	_ = filepath.WalkDir(dst, func(path string, d os.DirEntry, err error) error {
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil {
			return nil
		}
		switch st.Mode & modeType {
		case modeRegular, modeDir:
			if st.Mode&othersWrite != 0 {
				t.Errorf("%q has mode %o", path, st.Mode)
			}
		case modeLink:
		default:
			t.Errorf("%q has type %o", path, st.Mode&modeType)
		}
		return nil
	})
}

func seedMembers() []archiveMember {
	return []archiveMember{
		aDir("d"), aFile("d/a", "content"), aFile("d/b", strings.Repeat("x", 2000)).withMode(0o4777), aLink("l", "d/a"), aFile(strings.Repeat("long/", 30)+"f", ""),
	}
}

func attackMembers() []archiveMember {
	return []archiveMember{aLink("l", "../../"), aFile("l/sentinel", "evil"), aFile("../sentinel", "evil"), aFile("/sentinel", "evil")}
}

func tarSeeds(f *testing.F) [][]byte {
	withHardLink := append(seedMembers(), aHardLink("h", "d/a"))
	var gnu bytes.Buffer
	w := tar.NewWriter(&gnu)
	must(f, w.WriteHeader(&tar.Header{Name: strings.Repeat("n", 150), Mode: 0o644, Size: 3, Format: tar.FormatGNU, Uid: 1 << 30, Typeflag: tar.TypeReg}))
	_, err := w.Write([]byte("abc"))
	must(f, err)
	must(f, w.Close())
	return [][]byte{tarOf(f, withHardLink...), tarOf(f, attackMembers()...), gnu.Bytes(), tarOf(f, sparseMember())}
}

// sparseMember is a file with holes as GNU tar writes it in the newest way.
func sparseMember() archiveMember {
	extents := "1\n4096\n3\n"
	m := aFile("GNUSparseFile.0/s", extents+strings.Repeat("\x00", tarBlock-len(extents))+"abc")
	m.pax = map[string]string{"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s", "GNU.sparse.realsize": "10000"}
	return m
}

func FuzzTar(f *testing.F) {
	for _, s := range tarSeeds(f) {
		f.Add(s)
	}
	fuzzUnpack(f, "tar")
}

func FuzzTgz(f *testing.F) {
	for _, s := range tarSeeds(f) {
		f.Add(gzipOf(f, s))
	}
	fuzzUnpack(f, "tgz")
}

func FuzzTarZst(f *testing.F) {
	for _, s := range tarSeeds(f) {
		f.Add(zstdOf(f, s))
	}
	fuzzUnpack(f, "tar")
}

func FuzzZip(f *testing.F) {
	f.Add(zipOf(f, seedMembers()...))
	f.Add(zipOf(f, attackMembers()...))
	f.Add(zip64Of(zipOf(f, seedMembers()...)))
	f.Add(zipRaw(f, rawZip{zip.FileHeader{Name: `d\e`, CreatorVersion: 0, NonUTF8: true, Method: zip.Store}, "x"}))
	fuzzUnpack(f, "zip")
}

// FuzzTarLikeTheStandardLibrary compares what both read of a sound archive.
func FuzzTarLikeTheStandardLibrary(f *testing.F) {
	for _, s := range tarSeeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < tarBlock || isZero(data[:tarBlock]) {
			return
		}
		theirs, err := tar.NewReader(bytes.NewReader(data)).Next()
		if err != nil {
			return
		}
		r := &tarReader{unpacking: &unpacking{}}
		var wait func()
		ctx, cancel := context.WithCancel(context.Background())
		r.stream, wait = startTarStream(ctx, bytes.NewReader(data), func(c *tarChunk) { c.done() })
		defer func() { cancel(); wait() }()
		for {
			block, err := r.stream.block()
			if err == io.EOF {
				return // theirs skips what ours reports
			}
			if err != nil {
				return
			}
			if parseTarHeader(block, &r.header) != nil {
				return
			}
			if member, err := r.extension(); err != nil {
				return
			} else if member {
				break
			}
		}
		h := &r.header
		if r.global.apply(h) != nil || r.pax.apply(h) != nil || h.isSparse {
			return
		}
		if r.long.name != "" {
			h.name = r.long.name
		}
		if theirs.Typeflag == tar.TypeReg && h.flag != 0 && h.name == theirs.Name && h.size != theirs.Size {
			t.Errorf("%q: size %d, the standard library says %d", h.name, h.size, theirs.Size)
		}
	})
}
