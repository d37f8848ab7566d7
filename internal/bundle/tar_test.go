package bundle

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTarMembers(t *testing.T) {
	long := strings.Repeat("n", 250)
	deep := strings.Repeat("directory/", 30)
	big := strings.Repeat("0123456789abcdef", 100_000)
	for _, c := range []struct {
		name    string
		members []archiveMember
		want    []string
		refused string // what the error names
	}{
		{name: "files, directories and links", members: []archiveMember{
			aDir("./"), aFile("./a", "one"), aDir("./d/"), aFile("./d/b", "two").withMode(0o755), aLink("./l", "a"), aHardLink("./h", "./a"),
		}, want: []string{"0644 a (2 names) = one", "0755 d/", "0755 d/b = two", "0644 h (2 names) = one", "l -> a"}},
		{name: "directories that have no member", members: []archiveMember{aFile("a/b/c", "x")},
			want: []string{"0755 a/", "0755 a/b/", "0644 a/b/c = x"}},
		{name: "long names", members: []archiveMember{aFile(long, "1"), aFile(deep+"f", "2"), aLink("l", deep+long)},
			want: append(dirs(deep), "0644 "+long+" = 1", "0644 "+deep+"f = 2", "l -> "+deep+long)},
		{name: "odd bytes in names", members: []archiveMember{aFile("\xff\xfe\n \\", "x"), aFile("Datei ü", "y"), aFile("A", "1"), aFile("a", "2")},
			want: []string{"0644 \xff\xfe\n \\ = x", "0644 Datei ü = y", "0644 A = 1", "0644 a = 2"}},
		{name: "needless dots and slashes", members: []archiveMember{aFile(".//a/./b", "x")}, want: []string{"0755 a/", "0644 a/b = x"}},
		{name: "a file of many chunks, and one after it", members: []archiveMember{aFile("big", big), aFile("small", "x")},
			want: []string{"0644 big = 1600000 bytes, " + hex64(big), "0644 small = x"}},
		{name: "a leading slash is taken away", members: []archiveMember{aDir("/"), aFile("/etc/x", "1"), aHardLink("h", "/etc/x")},
			want: []string{"0755 etc/", "0644 etc/x (2 names) = 1", "0644 h (2 names) = 1"}},

		{name: "two members of one name: the last wins", members: []archiveMember{aFile("a", "first"), aFile("b", ""), aFile("a", "last").withMode(0o600)},
			want: []string{"0600 a = last", "0644 b = "}},
		{name: "a second name does not lose its content", members: []archiveMember{aFile("a", "first"), aHardLink("b", "a"), aFile("a", "last")},
			want: []string{"0644 a = last", "0644 b = first"}},
		{name: "a file replaces a link, not what it leads to", members: []archiveMember{aFile("f", "old"), aLink("l", "f"), aFile("l", "new")},
			want: []string{"0644 f = old", "0644 l = new"}},
		{name: "a link replaces a file", members: []archiveMember{aFile("l", "x"), aLink("l", "y")}, want: []string{"l -> y"}},
		{name: "a link replaces a link", members: []archiveMember{aLink("l", "x"), aLink("l", "y")}, want: []string{"l -> y"}},
		{name: "a directory replaces a file", members: []archiveMember{aFile("a", "x"), aDir("a")}, want: []string{"0755 a/"}},
		{name: "a directory replaces a link to a directory", members: []archiveMember{aDir("d"), aLink("a", "d"), aDir("a"), aFile("a/x", "1")},
			want: []string{"0755 a/", "0644 a/x = 1", "0755 d/"}},
		{name: "a file replaces an empty directory", members: []archiveMember{aDir("a").withMode(0o700), aFile("a", "x")}, want: []string{"0644 a = x"}},
		{name: "a link replaces an empty directory, whose mode goes with it", members: []archiveMember{aFile("victim", "x").withMode(0o600), aDir("a").withMode(0o777), aLink("a", "victim")},
			want: []string{"a -> victim", "0600 victim = x"}},
		{name: "a file does not replace a full directory", members: []archiveMember{aFile("a/b", "x"), aFile("a", "y")}, refused: `member "a"`},
		{name: "a link does not replace a full directory", members: []archiveMember{aFile("a/b", "x"), aLink("a", "/etc")}, refused: `member "a"`},
		{name: "nothing lies below a file", members: []archiveMember{aFile("a", "x"), aFile("a/b", "y")}, refused: `member "a/b" is refused: it lies below "a"`},
		{name: "a directory twice has its last mode", members: []archiveMember{aDir("a"), aFile("a/b", "x"), aDir("a").withMode(0o711)},
			want: []string{"0711 a/", "0644 a/b = x"}},
		{name: "the content of a closed directory", members: []archiveMember{aDir("a").withMode(0o500), aDir("a/b").withMode(0o500), aFile("a/b/c", "x")},
			want: []string{"0500 a/", "0500 a/b/", "0644 a/b/c = x"}},
		{name: "a hard link to itself", members: []archiveMember{aFile("a", "x"), aHardLink("a", "a")}, want: []string{"0644 a = x"}},
		{name: "a hard link over another file", members: []archiveMember{aFile("a", "x"), aFile("b", "y"), aHardLink("b", "a")},
			want: []string{"0644 a (2 names) = x", "0644 b (2 names) = x"}},
		{name: "a second name of a link", members: []archiveMember{aLink("s", "q"), aHardLink("h", "s")}, want: []string{"s -> q", "h -> q"}},

		{name: "dots that climb out", members: []archiveMember{aFile("../x", "")}, refused: `member "../x" is refused: it climbs out`},
		{name: "dots that climb out and come back", members: []archiveMember{aFile("a/../../d-1/file", "")}, refused: `climbs out`},
		{name: "dots that stay inside", members: []archiveMember{aFile("a/../b", "")}, refused: `climbs out`},
		{name: "a file below a link", members: []archiveMember{aLink("l", "../../outside"), aFile("l/file", "evil")}, refused: `member "l/file" is refused: it would be written through the link "l"`},
		{name: "a file below a link inside", members: []archiveMember{aDir("d"), aLink("l", "d"), aFile("l/file", "evil")}, refused: `through the link "l"`},
		{name: "a directory below a link", members: []archiveMember{aLink("l", "../../outside"), aDir("l/new")}, refused: `through the link "l"`},
		{name: "a link below a link", members: []archiveMember{aLink("l", "../../outside"), aLink("l/new", "x")}, refused: `through the link "l"`},
		{name: "a file below a link of a link", members: []archiveMember{aLink("a", "../.."), aLink("b", "a"), aFile("b/outside/file", "evil")}, refused: `through the link "b"`},
		{name: "a hard link through a link", members: []archiveMember{aLink("l", "../../outside"), aHardLink("h", "l/file")}, refused: `through the link "l"`},
		{name: "a hard link outside", members: []archiveMember{aHardLink("h", "../file")}, refused: `hard link to "../file", which is outside`},
		{name: "a hard link to nothing", members: []archiveMember{aHardLink("h", "a")}, refused: `hard link to "a", which is not in the archive`},
		{name: "a hard link to a directory", members: []archiveMember{aDir("d"), aHardLink("h", "d")}, refused: `hard link to a directory`},
		{name: "a link outside is only a link", members: []archiveMember{aLink("l", "/etc/passwd"), aLink("m", "../../outside/file")},
			want: []string{"l -> /etc/passwd", "m -> ../../outside/file"}},
		{name: "a directory over a link outside does not change what is there", members: []archiveMember{aLink("l", "../../outside"), aDir("l").withMode(0o700)},
			want: []string{"0700 l/"}},
		{name: "a pipe", members: []archiveMember{{name: "p", kind: tar.TypeFifo}}, refused: `member "p" is refused: it is a named pipe`},
		{name: "a character device", members: []archiveMember{{name: "p", kind: tar.TypeChar}}, refused: `a character device`},
		{name: "a block device", members: []archiveMember{{name: "p", kind: tar.TypeBlock}}, refused: `a block device`},
		{name: "a name that Linux cannot have", members: []archiveMember{aFile("d/"+strings.Repeat("x", 256), "")}, refused: `a component of 256 bytes`},
		{name: "a path that Linux cannot have", members: []archiveMember{aFile(strings.Repeat("abcdefghi/", 420)+"x", "")}, refused: `has a path of 4201 bytes`},
		{name: "a file without a name", members: []archiveMember{aFile(".", "x")}, refused: `member "."`},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := tarOf(t, c.members...)
			for kind, data := range map[string][]byte{"tar": data, "tgz": gzipOf(t, data)} {
				h := newUnpackHost(t)
				_, err := h.unpack(data, kind, UnpackOptions{})
				if c.refused != "" {
					var refused *RefusedError
					if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.refused) {
						t.Errorf("%s: got error %v, want a refusal with %q", kind, err, c.refused)
					}
					if _, err := os.Lstat(h.dst); err == nil {
						t.Errorf("%s: a part of the archive was kept", kind)
					}
					continue
				}
				must(t, err)
				wantListing(t, h.dst, c.want...)
			}
		})
	}
}

func dirs(deep string) []string {
	var all []string
	for i := range len(deep) {
		if deep[i] == '/' {
			all = append(all, "0755 "+deep[:i+1])
		}
	}
	return all
}

func hex64(s string) string { return fmt.Sprintf("%x", sum64([]byte(s))) }

func TestTarContent(t *testing.T) {
	plain := tarOf(t, aFile("appspec.yml", "x"), aFile("b", strings.Repeat("y", 5000)))
	noEnd := plain[:len(plain)-2*tarBlock]
	half := len(plain) / 2
	for _, c := range []struct {
		name, declared string
		data           []byte
		damaged, kind  string
	}{
		{name: "tar", declared: "tar", data: plain},
		{name: "a type that nobody knows is tar", declared: "", data: plain},
		{name: "tar that is compressed by gzip", declared: "tar", data: gzipOf(t, plain)},
		{name: "tar that is compressed by zstd", declared: "tar", data: zstdOf(t, plain)},
		{name: "tgz", declared: "tgz", data: gzipOf(t, plain)},
		{name: "tgz of several gzip members", declared: "tgz", data: append(gzipOf(t, plain[:half]), gzipOf(t, plain[half:])...)},
		{name: "tgz with zeros after it", declared: "tgz", data: append(gzipOf(t, plain), make([]byte, 3000)...)},
		{name: "tgz with garbage after it", declared: "tgz", data: append(gzipOf(t, plain), "garbage"...)},
		{name: "tar without an end marker", declared: "tar", data: noEnd},
		{name: "tgz without an end marker", declared: "tgz", data: gzipOf(t, noEnd)},
		{name: "tar with garbage after the end marker", declared: "tar", data: append(bytes.Clone(plain), "garbage"...)},

		{name: "empty", declared: "tar", damaged: "the tar archive (0 bytes) is damaged: it is empty"},
		{name: "empty tgz", declared: "tgz", damaged: "the tgz archive (0 bytes) is damaged: it is empty"},
		{name: "empty zip", declared: "zip", damaged: "the zip archive (0 bytes) is damaged: it is empty"},
		{name: "garbage", declared: "tar", data: bytes.Repeat([]byte("garbage "), 200), damaged: "its first bytes are not those"},
		{name: "short garbage", declared: "tar", data: []byte("garbage"), damaged: "its first bytes are not those"},
		{name: "cut inside a member", declared: "tar", data: plain[:2000], damaged: `at entry 2 ("b"), offset 1024: it ends too early`},
		{name: "cut inside a header", declared: "tar", data: plain[:1300], damaged: `at entry 2, offset 1024: it ends too early`},
		{name: "a bad header", declared: "tar", data: broken(plain, 1024+5), damaged: `at entry 2, offset 1024: the header's checksum is wrong`},
		{name: "gzip cut short", declared: "tgz", data: gzipOf(t, plain)[:60], damaged: `it ends too early`},
		{name: "gzip without its trailer", declared: "tgz", data: gzipOf(t, plain)[:len(gzipOf(t, plain))-8], damaged: `it ends too early`},
		{name: "gzip with a wrong checksum", declared: "tgz", data: broken(gzipOf(t, plain), -6), damaged: `checksum`},
		{name: "gzip of garbage", declared: "tgz", data: gzipOf(t, bytes.Repeat([]byte("garbage "), 200)), damaged: `the header's checksum is wrong`},
		{name: "gzip of nothing", declared: "tgz", data: gzipOf(t, nil), damaged: `it is empty`},
		{name: "zstd cut short", declared: "tar", data: zstdOf(t, plain)[:40], damaged: `it ends too early`},
		{name: "zip named tgz", declared: "tgz", data: zipOf(t, aFile("a", "")), kind: `the deployment says "tgz", but the content is a zip archive; set the revision's bundle type to "zip"`},
		{name: "zip named tar", declared: "tar", data: zipOf(t, aFile("a", "")), kind: "a zip archive"},
		{name: "tar named zip", declared: "zip", data: plain, kind: `the deployment says "zip", but the content is a tar archive`},
		{name: "tgz named zip", declared: "zip", data: gzipOf(t, plain), kind: `compressed by gzip`},
		{name: "xz", declared: "tar", data: []byte("\xfd7zXZ\x00\x00"), kind: `compressed by xz`},
		{name: "an error page", declared: "tgz", data: []byte("<!DOCTYPE html><html>"), kind: `a web page`},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newUnpackHost(t)
			_, err := h.unpack(c.data, c.declared, UnpackOptions{})
			var damaged *DamagedError
			var kind *KindError
			switch {
			case c.damaged != "":
				if !errors.As(err, &damaged) || !strings.Contains(err.Error(), c.damaged) {
					t.Errorf("got error %v, want damage with %q", err, c.damaged)
				}
			case c.kind != "":
				if !errors.As(err, &kind) || !strings.Contains(err.Error(), c.kind) {
					t.Errorf("got error %v, want the kind %q", err, c.kind)
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

// broken flips a byte; a negative offset counts from the end.
func broken(data []byte, at int) []byte {
	data = bytes.Clone(data)
	if at < 0 {
		at += len(data)
	}
	data[at] ^= 0x55
	return data
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		name, declared, want string
		data                 []byte
	}{
		{"leading slash", "tar", "leading / of member \"/a\"", tarOf(t, aFile("/a", ""), aFile("/b", ""))},
		{"garbage after tar", "tar", "7 bytes after the end of the tar archive were ignored", append(tarOf(t, aFile("a", "")), "garbage"...)},
		{"garbage after gzip", "tgz", "after the end of the gzip data", append(gzipOf(t, tarOf(t, aFile("a", ""))), "garbage"...)},
		{"leading slash in zip", "zip", "leading / of member \"/a\"", zipOf(t, aFile("/a", ""))},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := newUnpackHost(t).unpack(c.data, c.declared, UnpackOptions{})
			must(t, err)
			if len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], c.want) {
				t.Errorf("got warnings %q, want one with %q", s.Warnings, c.want)
			}
		})
	}
}

func TestStripOfASingleTopDirectory(t *testing.T) {
	for _, c := range []struct {
		name    string
		members []archiveMember
		want    string
	}{
		{"wrapped", []archiveMember{aDir("top").withMode(0o700), aFile("top/appspec.yml", "")}, "top"},
		{"any name with appspec in it, in any case", []archiveMember{aFile("top/my-AppSpec.txt", "")}, "top"},
		{"a directory of that name", []archiveMember{aFile("top/appspecs/x", "")}, "top"},
		{"no appspec", []archiveMember{aFile("top/x", "")}, ""},
		{"deeper", []archiveMember{aFile("top/next/appspec.yml", "")}, ""},
		{"not alone", []archiveMember{aFile("top/appspec.yml", ""), aFile("x", "")}, ""},
		{"a file", []archiveMember{aFile("appspec.yml", "")}, ""},
		{"a link to a directory", []archiveMember{aLink("top", "/")}, ""},
		{"closed by its mode", []archiveMember{aDir("top").withMode(0o300), aFile("top/appspec.yml", "")}, "top"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for kind, data := range map[string][]byte{"tar": tarOf(t, c.members...), "zip": zipOf(t, c.members...)} {
				h := newUnpackHost(t)
				s, err := h.unpack(data, kind, UnpackOptions{})
				must(t, err)
				if s.Stripped != c.want {
					t.Errorf("%s: stripped %q, want %q", kind, s.Stripped, c.want)
				}
				info, err := os.Stat(h.dst)
				must(t, err)
				if info.Mode().Perm() != 0o755 {
					t.Errorf("%s: the archive has mode %v, so its users cannot enter it", kind, info.Mode())
				}
				if _, err := os.Lstat(filepath.Join(h.dst, "top")); (err == nil) != (c.want == "" && c.name != "a file") {
					t.Errorf("%s: the top directory: %v", kind, err)
				}
			}
		})
	}
}
