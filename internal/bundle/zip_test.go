package bundle

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestZipMembers(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 100_000)
	for _, c := range []struct {
		name    string
		members []archiveMember
		want    []string
		refused string
	}{
		{name: "files, directories and links", members: []archiveMember{
			aFile("a", "one"), aDir("d"), aFile("d/b", "two").withMode(0o755), aLink("l", "a"),
		}, want: []string{"0644 a = one", "0755 d/", "0755 d/b = two", "l -> a"}},
		{name: "directories that have no member", members: []archiveMember{aFile("a/b/c", "x")},
			want: []string{"0755 a/", "0755 a/b/", "0644 a/b/c = x"}},
		{name: "odd bytes in names", members: []archiveMember{aFile("\xff\xfe\n", "x"), aFile("Datei ü", "y"), aFile("A", "1"), aFile("a", "2"), aFile(`b\c`, "3")},
			want: []string{"0644 \xff\xfe\n = x", "0644 Datei ü = y", "0644 A = 1", "0644 a = 2", `0644 b\c = 3`}},
		{name: "a file larger than the buffers", members: []archiveMember{aFile("big", big), aFile("small", "")},
			want: []string{"0644 big = 1600000 bytes, " + hex64(big), "0644 small = "}},
		{name: "setuid, setgid and sticky are dropped", members: []archiveMember{aFile("a", "").withMode(0o7755)}, want: []string{"0755 a = "}},
		{name: "a leading slash is taken away", members: []archiveMember{aFile("/etc/x", "1")}, want: []string{"0755 etc/", "0644 etc/x = 1"}},
		{name: "two members of one name: the last wins", members: []archiveMember{aFile("a", "first"), aFile("b", ""), aFile("a", "last").withMode(0o600)},
			want: []string{"0600 a = last", "0644 b = "}},
		{name: "a file replaces a link", members: []archiveMember{aLink("l", "../../outside/file"), aFile("l", "new")}, want: []string{"0644 l = new"}},
		{name: "a link replaces a file", members: []archiveMember{aFile("l", "x"), aLink("l", "y")}, want: []string{"l -> y"}},
		{name: "a directory replaces a file", members: []archiveMember{aFile("a", "x"), aDir("a")}, want: []string{"0755 a/"}},
		{name: "a file replaces an empty directory", members: []archiveMember{aDir("a"), aFile("a", "x")}, want: []string{"0644 a = x"}},
		{name: "a file does not replace a full directory", members: []archiveMember{aFile("a/b", "x"), aFile("a", "y")}, refused: `member "a"`},
		{name: "nothing lies below a file", members: []archiveMember{aFile("a", "x"), aFile("a/b", "y")}, refused: `it lies below "a"`},
		{name: "the content of a closed directory", members: []archiveMember{aDir("a").withMode(0o500), aFile("a/b", "x")}, want: []string{"0500 a/", "0644 a/b = x"}},
		{name: "dots that climb out", members: []archiveMember{aFile("../x", "")}, refused: `member "../x" is refused: it climbs out`},
		{name: "dots that stay inside", members: []archiveMember{aFile("a/../x", "")}, refused: `climbs out`},
		{name: "a file below a link", members: []archiveMember{aLink("l", "../../outside"), aFile("l/file", "evil")}, refused: `member "l/file" is refused: it would be written through the link "l"`},
		{name: "a directory below a link", members: []archiveMember{aLink("l", "../../outside"), aDir("l/new")}, refused: `through the link "l"`},
		{name: "a link outside is only a link", members: []archiveMember{aLink("l", "/etc/passwd")}, want: []string{"l -> /etc/passwd"}},
		{name: "a link without a target", members: []archiveMember{aLink("l", "")}, refused: `a link without a usable target`},
		{name: "a link with an endless target", members: []archiveMember{aLink("l", strings.Repeat("x", 5000))}, refused: `a target that is longer`},
		{name: "a pipe", members: []archiveMember{{name: "p", kind: tar.TypeFifo}}, refused: `a named pipe`},
		{name: "a character device", members: []archiveMember{{name: "p", kind: tar.TypeChar}}, refused: `a character device`},
		{name: "a name with a NUL", members: []archiveMember{aFile("a\x00b", "")}, refused: `a NUL byte`},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newUnpackHost(t)
			_, err := h.unpack(zipOf(t, c.members...), "zip", UnpackOptions{})
			if c.refused == "" {
				must(t, err)
				wantListing(t, h.dst, c.want...)
				return
			}
			var refused *RefusedError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("got error %v, want a refusal with %q", err, c.refused)
			}
			if _, err := os.Lstat(h.dst); err == nil {
				t.Error("a part of the archive was kept")
			}
		})
	}
}

// rawZip is a zip whose headers a test writes itself.
type rawZip struct {
	header zip.FileHeader
	body   string
}

func zipRaw(t testing.TB, members ...rawZip) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, m := range members {
		f, err := w.CreateHeader(&m.header)
		must(t, err)
		_, err = f.Write([]byte(m.body))
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

func TestZipFromOtherSystems(t *testing.T) {
	const dos, ntfs, unixHost, mac = 0 << 8, 10 << 8, 3 << 8, 19 << 8
	for _, c := range []struct {
		name   string
		header zip.FileHeader
		want   []string
	}{
		{"DOS", zip.FileHeader{Name: "a", CreatorVersion: dos}, []string{"0644 a = x"}},
		{"DOS, read-only", zip.FileHeader{Name: "a", CreatorVersion: dos, ExternalAttrs: 1}, []string{"0444 a = x"}},
		{"NTFS, archive bit", zip.FileHeader{Name: "a", CreatorVersion: ntfs, ExternalAttrs: 32}, []string{"0644 a = x"}},
		{"DOS with Unix modes that agree", zip.FileHeader{Name: "a", CreatorVersion: dos, ExternalAttrs: 0o600 << 16}, []string{"0600 a = x"}},
		{"DOS with Unix modes that do not", zip.FileHeader{Name: "a", CreatorVersion: dos, ExternalAttrs: 0o755 << 16}, []string{"0644 a = x"}},
		{"Unix without a type", zip.FileHeader{Name: "a", CreatorVersion: unixHost, ExternalAttrs: 0o750 << 16}, []string{"0750 a = x"}},
		{"macOS", zip.FileHeader{Name: "a", CreatorVersion: mac, ExternalAttrs: 0o100755 << 16}, []string{"0755 a = x"}},
		{"backslashes from Windows", zip.FileHeader{Name: `d\e\a`, CreatorVersion: dos}, []string{"0755 d/", "0755 d/e/", "0644 d/e/a = x"}},
		{"backslashes beside slashes", zip.FileHeader{Name: `d/e\a`, CreatorVersion: dos}, []string{"0755 d/", `0644 d/e\a = x`}},
		{"the first PC's code page", zip.FileHeader{Name: "gr\x81n", CreatorVersion: dos, NonUTF8: true}, []string{"0644 grün = x"}},
		{"UTF-8 that does not say so", zip.FileHeader{Name: "grün", CreatorVersion: dos, NonUTF8: true}, []string{"0644 grün = x"}},
		{"bytes from Unix stay bytes", zip.FileHeader{Name: "gr\xfcn", CreatorVersion: unixHost, NonUTF8: true, ExternalAttrs: 0o644 << 16}, []string{"0644 gr\xfcn = x"}},
		{"stored", zip.FileHeader{Name: "a", CreatorVersion: dos, Method: zip.Store}, []string{"0644 a = x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newUnpackHost(t)
			s, err := h.unpack(zipRaw(t, rawZip{c.header, "x"}), "zip", UnpackOptions{})
			must(t, err)
			wantListing(t, h.dst, c.want...)
			if strings.Contains(c.name, "backslashes from") != (len(s.Warnings) == 1) {
				t.Errorf("warnings: %q", s.Warnings)
			}
		})
	}
}

func TestZipTimes(t *testing.T) {
	exact := time.Date(2020, 5, 17, 12, 34, 57, 0, time.UTC)
	h := newUnpackHost(t)
	_, err := h.unpack(zipRaw(t,
		rawZip{zip.FileHeader{Name: "utc", Modified: exact}, ""},
		//lint:ignore SA1019 the fields that replaced these always write the exact time, too
		rawZip{zip.FileHeader{Name: "local", ModifiedDate: 40<<9 | 5<<5 | 17, ModifiedTime: 12<<11 | 34<<5 | 28}, ""},
	), "zip", UnpackOptions{})
	must(t, err)
	for name, want := range map[string]time.Time{"utc": exact, "local": time.Date(2020, 5, 17, 12, 34, 56, 0, time.Local)} {
		info, err := os.Stat(h.dst + "/" + name)
		must(t, err)
		if !info.ModTime().Equal(want) {
			t.Errorf("%s: got %v, want %v", name, info.ModTime(), want)
		}
	}
}

func TestZipContent(t *testing.T) {
	plain := zipOf(t, aFile("appspec.yml", "x"), aFile("b", strings.Repeat("y", 5000)))
	patch := func(mark string, at int, bytes ...byte) []byte {
		data := []byte(strings.Clone(string(plain)))
		i := strings.LastIndex(string(data), mark)
		copy(data[i+at:], bytes)
		return data
	}
	for _, c := range []struct {
		name    string
		data    []byte
		damaged string
		refused string
	}{
		{name: "zip", data: plain},
		{name: "self-extracting", data: append([]byte("#!/bin/sh\nexec unzip $0\n"), plain...)},
		{name: "with a comment", data: append(patch(zipEndMark, 20, 5, 0), "PK\x05\x06!"...)},
		{name: "with garbage after it", data: append(bytes.Clone(plain), "garbage"...)},
		{name: "large format", data: zip64Of(plain)},
		{name: "large format after a prefix", data: append([]byte("prefix"), zip64Of(plain)...)},

		{name: "cut short", data: plain[:len(plain)-30], damaged: "the index at its end is missing"},
		{name: "without its beginning", data: plain[40:], damaged: "its beginning is missing"},
		{name: "garbage", data: bytes.Repeat([]byte("garbage "), 100), damaged: "the index at its end is missing"},
		{name: "a hole in the index", data: patch(zipIndexMark, 0, 0), damaged: "at entry 2"},
		{name: "an entry too few", data: patch(zipEndMark, 10, 3, 0), damaged: "its index holds 2 entries, not 3"},
		{name: "no member where it should be", data: patch(zipLocalMark, 0, 0), damaged: `entry 2 ("b"), offset`},
		{name: "content changed", data: broken(plain, strings.LastIndex(string(plain), zipLocalMark)+45), damaged: `entry 2 ("b")`},
		{name: "checksum changed", data: patch(zipIndexMark, 16, 1, 2, 3, 4), damaged: "its checksum is wrong"},
		{name: "longer than told", data: patch(zipIndexMark, 24, 0x10), damaged: "unpacks to more than its index says"},
		{name: "shorter than told", data: patch(zipIndexMark, 24, 0xff), damaged: "its data ends too early"},
		{name: "members point outside", data: patch(zipIndexMark, 42, 0xff, 0xff, 0xff, 0x7f), damaged: "points outside"},
		{name: "members overlap", data: overlapping(t), damaged: "its members overlap"},
		{name: "several volumes", data: patch(zipEndMark, 4, 1), damaged: "several volumes"},
		{name: "encrypted", data: patch(zipIndexMark, 8, 1), refused: `member "b" is refused: it is encrypted`},
		{name: "another method", data: patch(zipIndexMark, 10, 14), refused: `compressed by lzma`},
		{name: "an unknown method", data: patch(zipIndexMark, 10, 77), refused: `compressed by method 77`},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newUnpackHost(t)
			_, err := h.unpack(c.data, "zip", UnpackOptions{})
			var damaged *DamagedError
			var refused *RefusedError
			switch {
			case c.damaged != "":
				if !errors.As(err, &damaged) || !strings.Contains(err.Error(), c.damaged) {
					t.Errorf("got error %v, want damage with %q", err, c.damaged)
				}
			case c.refused != "":
				if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("got error %v, want a refusal with %q", err, c.refused)
				}
			default:
				must(t, err)
				wantListing(t, h.dst, "0644 appspec.yml = x", "0644 b = 5000 bytes, "+hex64(strings.Repeat("y", 5000)))
				return
			}
			if _, err := os.Lstat(h.dst); err == nil {
				t.Error("a part of the archive was kept")
			}
		})
	}
}

// zip64Of gives an archive the end records of the large format.
func zip64Of(plain []byte) []byte {
	at := bytes.LastIndex(plain, []byte(zipEndMark))
	end := bytes.Clone(plain[at:])
	le := binary.LittleEndian
	var b bytes.Buffer
	b.Write(plain[:at])
	large := make([]byte, zip64EndLen)
	copy(large, zip64EndMark)
	le.PutUint64(large[4:], zip64EndLen-12)
	le.PutUint64(large[24:], uint64(le.Uint16(end[8:])))
	le.PutUint64(large[32:], uint64(le.Uint16(end[10:])))
	le.PutUint64(large[40:], uint64(le.Uint32(end[12:])))
	le.PutUint64(large[48:], uint64(le.Uint32(end[16:])))
	b.Write(large)
	place := make([]byte, zip64PlaceLen)
	copy(place, zip64PlaceMrk)
	le.PutUint64(place[8:], uint64(at))
	le.PutUint32(place[16:], 1)
	b.Write(place)
	copy(end[8:], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
	b.Write(end)
	return b.Bytes()
}

// overlapping is an archive whose index names one member many times.
func overlapping(t testing.TB) []byte {
	plain := zipOf(t, aFile("a", strings.Repeat("0", 100_000)))
	index := bytes.LastIndex(plain, []byte(zipIndexMark))
	end := bytes.LastIndex(plain, []byte(zipEndMark))
	entry := bytes.Clone(plain[index:end])
	data := bytes.Clone(plain[:index])
	for i := range 100 {
		copy(entry[zipIndexLen:], fmt.Sprintf("%c", 'A'+i%26))
		data = append(data, entry...)
	}
	last := bytes.Clone(plain[end:])
	binary.LittleEndian.PutUint16(last[8:], 100)
	binary.LittleEndian.PutUint16(last[10:], 100)
	binary.LittleEndian.PutUint32(last[12:], uint32(100*len(entry)))
	return append(data, last...)
}
