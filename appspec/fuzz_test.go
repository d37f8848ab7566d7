package appspec

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever the bytes: Parse ends, does not crash, gives every finding a place inside the file, and a file that it
// accepts has nothing in it that later code would trip over.
func FuzzParse(f *testing.F) {
	names, _ := filepath.Glob("testdata/corpus/*.yml")
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, seed := range []string{
		"version: 0.0\nos: linux\nhooks: &a {BeforeInstall: [*a]}\n",
		"a: &a [*a, *a]\n", "&a {<<: *a}\n", "version: 0.0\nos: linux\nx: &x {<<: [*x, *x]}\nhooks: {<<: *x}\n",
		"? [a, b]\n: c\n", "\xff\xfeo\x00s\x00", "\xef\xbb\xbf", "%YAML 1.1\n---\nos: linux\n", "!!binary x: y\n",
		"version: !!float '0.0'\nos: !!str linux\n", "- - - - -\n", strings.Repeat("[", 20000), strings.Repeat("{a: ", 3000),
		"os: \"a\\0b\"\n", "--- |\n text\n...\n# c\n", "version: 0.0\r\ros: linux\r",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		spec, findings := Parse("appspec.yml", data)
		lines := strings.Count(strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n").Replace(string(data)), "\n") + 1
		utf16 := strings.HasPrefix(string(data), "\xff\xfe") || strings.HasPrefix(string(data), "\xfe\xff")
		for _, finding := range findings {
			if finding.Line < 1 || finding.Column < 1 || finding.Line > lines && !utf16 {
				t.Errorf("place outside of the file's %d lines: %v", lines, finding)
			}
			if finding.Rule == "" || finding.Message == "" || strings.ContainsAny(finding.String(), "\n\r\x1b\x00") {
				t.Errorf("not a proper finding: %q", finding.String())
			}
		}
		if findings.Err() != nil {
			return
		}
		if spec == nil {
			t.Fatal("accepted, but there is no spec")
		}
		for _, file := range spec.Files {
			if strings.ContainsRune(file.Source+file.Destination, 0) && strings.Trim(file.Source+file.Destination, blanks) != "" {
				t.Errorf("NUL in %q -> %q", file.Source, file.Destination)
			}
		}
		for _, permission := range spec.Permissions {
			if _, ok := permission.FileMode(); permission.Object == "" || permission.Pattern == "" && len(findings) == 0 || ok != (permission.Mode != "") {
				t.Errorf("unusable permission: %+v", permission)
			}
		}
		for event, scripts := range spec.Hooks {
			for _, script := range scripts {
				if script.Location == "" || script.Timeout <= 0 {
					t.Errorf("unusable script of %q: %+v", event, script)
				}
			}
		}
	})
}
