package pack

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// site makes a directory with everything that a bundle may hold.
func site(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"appspec.yml": "version: 0.0\n", "hooks/start.sh": "#!/bin/sh\n", "ü b/c": "x"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "hooks/start.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("appspec.yml", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestOtherToolsUnpackTheSameTree(t *testing.T) {
	tools := map[string][]string{"zip": {"unzip", "-q"}, "tar": {"tar", "-xf"}, "tgz": {"tar", "-xzf"}}
	dir := site(t)
	for _, kind := range Types {
		t.Run(kind, func(t *testing.T) {
			tool, err := exec.LookPath(tools[kind][0])
			if err != nil {
				t.Skipf("NOT RUN HERE (needs %s): nobody else unpacked a %s", tools[kind][0], kind)
			}
			file, got, clean, err := File(t.Context(), dir, kind)
			if err != nil || got != kind {
				t.Fatalf("%q, %v", got, err)
			}
			defer clean()
			out := t.TempDir()
			cmd := exec.Command(tool, append(tools[kind][1:], file)...)
			cmd.Dir = out
			cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8") // in another one unzip changes names
			if text, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if text, err := exec.Command("diff", "-r", "--no-dereference", dir, out).CombinedOutput(); err != nil {
				t.Errorf("the trees differ: %v\n%s", err, text)
			}
			info, err := os.Stat(filepath.Join(out, "hooks/start.sh"))
			if err != nil || info.Mode().Perm()&0o111 == 0 {
				t.Errorf("the script lost its x bits: %v, %v", info, err)
			}
		})
	}
}

func TestWhatIsAnArchive(t *testing.T) {
	dir := t.TempDir()
	for name, want := range map[string]string{"a.zip": "zip", "a.tar": "tar", "a.tgz": "tgz", "a.tar.gz": "tgz", "a.bin": ""} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		file, kind, _, err := File(t.Context(), path, "")
		if kind != want || want == "" != (err != nil) || err == nil && file != path {
			t.Errorf("%s: %q, %q, %v", name, file, kind, err)
		}
	}
	if _, _, _, err := File(t.Context(), dir, "rar"); err == nil || !strings.Contains(err.Error(), "zip, tar or tgz") {
		t.Errorf("rar: %v", err)
	}
	if _, _, _, err := File(t.Context(), filepath.Join(dir, "none"), ""); err == nil {
		t.Error("a missing file was packed")
	}
}
