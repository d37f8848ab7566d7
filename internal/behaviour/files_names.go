package behaviour

import (
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// oddNames are names that are good names of files. The last two are not in zips: Info-ZIP does not keep them.
var oddNames = []string{
	"two words", "  blanks  ", "semi;colon", "quote'd", `double"quoted`, "back`ticks`", "$HOME", "$(id)", "-rf", "--help", "*", "?", "[a]", "{a,b}", "~", "#", "%41",
	"a&b|c>d<e", "umläut-ñ-日本語-🙂", "tab\tbed", "...", "..a", "a..", ".dot", "semanage", strings.Repeat("n", 255), "a:b", "a=b", "CON", "UPPER", "upper", "C:\\dos",
	"new\nline", "bad \xff\xfe bytes",
}

// writeOdd fills a directory with a file and a directory of each name, and a link.
func writeOdd(h *Host, dir string, names []string) {
	h.Helper()
	for _, name := range names {
		err := os.MkdirAll(filepath.Join(dir, "dirs", name), 0o755)
		for _, path := range []string{filepath.Join(dir, name), filepath.Join(dir, "dirs", name, name)} {
			if err == nil {
				err = os.WriteFile(path, []byte("content of "+name[:min(len(name), 9)]), 0o644)
			}
		}
		if err == nil {
			err = os.Symlink(name, filepath.Join(dir, "dirs", name, "link"))
		}
		if err != nil {
			h.Fatal(err)
		}
	}
}

var _ = add(Files, func() []Case {
	cases := []Case{}
	for _, kind := range []string{"zip", "tar", "tgz"} {
		names := oddNames
		if kind == "zip" {
			names = oddNames[:len(oddNames)-3]
		}
		cases = append(cases, Case{Name: "odd names arrive as they are in a " + kind + ", get their permissions, and go with the next deployment", Run: func(h *Host) {
			dir := h.Directory(nil)
			writeOdd(h, filepath.Join(dir, "www"), names)
			h.Write(filepath.Join(dir, "appspec.yml"), "version: 0.0\nos: linux\nfiles: [{source: www, destination: \"HOST/srv/a dir; 'x'\"}]\n"+
				"permissions: [{object: \"HOST/srv/a dir; 'x'\", type: [file], mode: 600}, {object: \"HOST/srv/a dir; 'x'/dirs/--help\", type: [directory], mode: 700}]\n")
			h.Shell(dir, "")
			h.begin()
			o := placing(h.PushArchive(kind, h.Pack(kind, dir)))
			h.Shell("reference", "mkdir \"a dir; 'x'\"")
			writeOdd(h, h.Path("reference", "a dir; 'x'"), names)
			h.Shell("reference", "find . -type f -exec chmod 600 {} +")
			for range 2 {
				h.Succeed(o)
				h.Same("the tree", h.Tree("reference"), h.Tree(disk))
			}
			list := strings.Split(h.Owned(groupOf(h)), "\n")
			sort.Strings(list)
			for _, line := range list {
				if line != "" && !strings.HasPrefix(line, h.Path(disk)) {
					h.Errorf("the list of what was installed names %q", line)
				}
			}
			h.Succeed(h.Release("zip", "files:", "echo a > a"))
			h.HasTree("")
		}})
	}
	return cases
}()...)

var _ = add(Files,
	Case{Name: "names and paths too long for plain tar headers arrive from GNU and pax archives", Run: func(h *Host) {
		deep := strings.Repeat(strings.Repeat("d", 99)+"/", 4)
		for _, format := range []string{"gnu", "pax", "oldgnu"} {
			h.clear()
			dir := h.Made("mkdir -p www/" + deep + "; echo deep > www/" + deep + strings.Repeat("f", 200) + "; ln -s /" + deep + "target www/link; ln www/" + deep + "f* www/hard")
			h.Write(filepath.Join(dir, "appspec.yml"), "version: 0.0\nos: linux\nfiles: [{source: www, destination: HOST/srv}]\n")
			file := h.Path(format + ".tar")
			h.Shell(dir, "touch -d @1500000000.5 www/"+deep+"f*; tar -cf "+file+" --format="+format+" *")
			if h.Twin == nil {
				h.begin()
			}
			o := placing(h.PushArchive("tar", file))
			o.Group = format
			h.Succeed(o)
			want := "hard: deep\nlink -> /" + deep + "target\n" + deep + strings.Repeat("f", 200) + ": deep\n"
			for i := range 4 {
				want += deep[:100*(i+1)] + "\n"
			}
			h.HasTree(want)
		}
	}},
	Case{Name: "a path of two hundred directories and three thousand bytes arrives", Run: func(h *Host) {
		deep := strings.Repeat("fifteen-letters/", 200)
		h.begin()
		o := h.Release("tgz", "files: [{source: www, destination: HOST/srv}]", "mkdir -p www/"+deep+"; echo deep > www/"+deep+"f")
		h.Succeed(o)
		h.Same("the file at the end", "deep\n", h.Text(disk, deep, "f"))
		h.Succeed(o)
		h.Succeed(h.Release("zip", "files:", "echo a > a"))
		h.HasTree("")
	}},
)
