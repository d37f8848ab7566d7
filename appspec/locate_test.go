package appspec

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const minimal = "version: 0.0\nos: linux\n"

// tree makes a revision. A content of "->x" makes a link to x, a name with a final slash a directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	archive := t.TempDir()
	for name, content := range files {
		path := filepath.Join(archive, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch target, isLink := strings.CutPrefix(content, "->"); {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		case isLink:
			err = os.Symlink(target, path)
		default:
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return archive
}

func TestTheAppSpecFileIsFoundLikeForEveryEvent(t *testing.T) {
	cases := map[string]struct {
		name  string
		files map[string]string
		want  string
	}{
		"the name itself":                  {"my.yml", map[string]string{"my.yml": minimal, "appspec.yml": minimal}, "my.yml"},
		"the default name":                 {"", map[string]string{"appspec.yml": minimal}, "appspec.yml"},
		"yaml when yml is asked for":       {"appspec.yml", map[string]string{"appspec.yaml": minimal}, "appspec.yaml"},
		"yml when yaml is asked for":       {"appspec.yaml", map[string]string{"appspec.yml": minimal}, "appspec.yml"},
		"yml before yaml when asked for":   {"appspec.yml", map[string]string{"appspec.yml": minimal, "appspec.yaml": minimal}, "appspec.yml"},
		"yaml before yml else":             {"other.yml", map[string]string{"appspec.yml": minimal, "appspec.yaml": minimal}, "appspec.yaml"},
		"a nested name":                    {"deploy/app.yml", map[string]string{"deploy/app.yml": minimal}, "deploy/app.yml"},
		"a nested name that is not there":  {"deploy/app.yml", map[string]string{"appspec.yml": minimal}, "appspec.yml"},
		"a nested name below a file":       {"appspec.yml/x", map[string]string{"appspec.yml": minimal}, "appspec.yml"},
		"a link inside":                    {"appspec.yml", map[string]string{"appspec.yml": "->conf/a.yml", "conf/a.yml": minimal}, "appspec.yml"},
		"a directory of that name":         {"appspec.yml", map[string]string{"appspec.yml/x": "", "appspec.yaml": minimal}, "appspec.yaml"},
		"a dangling link and another name": {"appspec.yml", map[string]string{"appspec.yml": "->gone", "appspec.yaml": minimal}, "appspec.yaml"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			archive := tree(t, c.files)
			got, err := Locate(archive, c.name)
			if err != nil {
				t.Fatal(err)
			}
			if want := filepath.Join(archive, c.want); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			spec, findings, err := Load(archive, c.name)
			if err != nil || len(findings) > 0 || spec.File != c.want {
				t.Errorf("Load: %+v, %v, %v", spec, findings, err)
			}
		})
	}
}

func TestAMissingAppSpecFileIsExplained(t *testing.T) {
	cases := map[string]struct {
		name  string
		files map[string]string
		want  []string
	}{
		"nothing at all":   {"", nil, []string{`the revision has no "appspec.yml" or "appspec.yaml"; it is empty`}},
		"upper case":       {"", map[string]string{"AppSpec.yml": ""}, []string{`rename "AppSpec.yml" to "appspec.yml"`}},
		"a hidden suffix":  {"", map[string]string{"appspec.yml.txt": "", "a.txt": ""}, []string{`rename "appspec.yml.txt" to "appspec.yml"`}},
		"JSON":             {"", map[string]string{"appspec.json": ""}, []string{`rename "appspec.json" to "appspec.yml"`}},
		"a dash":           {"", map[string]string{"app-spec.yaml": ""}, []string{`rename "app-spec.yaml"`}},
		"a letter swapped": {"", map[string]string{"appsepc.yml": ""}, []string{`rename "appsepc.yml"`}},
		"another name":     {"deploy.yml", map[string]string{"deploy.yaml": ""}, []string{`no "deploy.yml" or "appspec.yaml" or "appspec.yml"`, `rename "deploy.yaml" to "deploy.yml"`}},
		"a packed directory": {"", map[string]string{"my-app/appspec.yml": "", "README": ""},
			[]string{`at its top lie "README", "my-app/"`, `"appspec.yml" lies in the directory "my-app": pack the content of that directory`}},
		"something else":             {"", map[string]string{"index.html": ""}, []string{`at its top lie "index.html"`, "put the AppSpec file at the top"}},
		"a name with an escape code": {"", map[string]string{"\x1b[31m": ""}, []string{`"\x1b[31m"`}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := Locate(tree(t, c.files), c.name)
			var missing *NotFoundError
			if !errors.As(err, &missing) {
				t.Fatalf("got %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %s\nwant it to contain %s", err, want)
				}
			}
		})
	}
}

func TestTheListOfEntriesIsBounded(t *testing.T) {
	files := map[string]string{}
	for i := range 500 {
		files[fmt.Sprintf("file%03d", i)] = ""
	}
	_, err := Locate(tree(t, files), "")
	var missing *NotFoundError
	if !errors.As(err, &missing) || len(missing.Entries) != 20 || missing.More != 480 || !strings.Contains(err.Error(), "and 480 more") {
		t.Errorf("got %v", err)
	}
}

func TestTheAppSpecFileNeverLiesOutsideOfTheRevision(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "appspec.yml")
	if err := os.WriteFile(outside, []byte(minimal), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../appspec.yml", outside, "a/../../appspec.yml", "..", ".", "/", "a/.."} {
		if path, err := Locate(tree(t, map[string]string{"a/x": ""}), name); err == nil {
			t.Errorf("%s: found %s", name, path)
		}
	}
	for _, target := range []string{outside, "../../../../../../../../../../.." + outside} {
		archive := tree(t, map[string]string{"appspec.yml": "->" + target, "appspec.yaml": minimal})
		if path, err := Locate(archive, ""); err == nil {
			t.Errorf("link to %s: found %s", target, path)
		}
		if spec, _, err := Load(archive, ""); err == nil || spec != nil {
			t.Errorf("link to %s: loaded %+v", target, spec)
		}
	}
}

func TestOnlyARegularFileIsAnAppSpecFile(t *testing.T) {
	archive := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(archive, "appspec.yml"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(archive, ""); err == nil {
		t.Error("a pipe was read")
	}
	if _, err := Locate(filepath.Join(archive, "gone"), ""); err == nil || !strings.Contains(err.Error(), "cannot open the revision") {
		t.Errorf("no revision: %v", err)
	}
}

func TestLoadReturnsTheErrorsOfTheFile(t *testing.T) {
	archive := tree(t, map[string]string{"appspec.yml": "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: a.sh\n    - localtion: b.sh\n"})
	spec, findings, err := Load(archive, "")
	if err == nil || !strings.Contains(err.Error(), `appspec.yml:6:7: error: hooks.AfterInstall[1].localtion`) {
		t.Errorf("got %v", err)
	}
	if len(findings) != 1 || spec == nil || len(spec.Hooks["AfterInstall"]) != 1 {
		t.Errorf("what could be read is lost: %+v, %v", spec, findings)
	}
}

func TestAHugeFileIsNotRead(t *testing.T) {
	archive := tree(t, map[string]string{"appspec.yml": minimal})
	if err := os.Truncate(filepath.Join(archive, "appspec.yml"), 1<<40); err != nil {
		t.Skipf("NOT RUN HERE (needs sparse files): %v", err)
	}
	_, findings, err := Load(archive, "")
	if err == nil || len(findings) != 1 || findings[0].Rule != ruleTooLarge {
		t.Errorf("got %v, %v", findings, err)
	}
}
