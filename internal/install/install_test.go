package install

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"codedeploy-agent/appspec"
)

func TestFirstInstallWithRecords(t *testing.T) {
	h := newHost(t)
	h.deploy(map[string]string{"appspec.yml": "spec", "bin/run": "(755) #!/bin/sh", "lib/a/x": "x"}, to("/srv/app"))
	same(t, "tree", h.content(), map[string]string{
		"/srv": "dir", "/srv/app": "dir", "/srv/app/appspec.yml": "spec",
		"/srv/app/bin": "dir", "/srv/app/bin/run": "#!/bin/sh",
		"/srv/app/lib": "dir", "/srv/app/lib/a": "dir", "/srv/app/lib/a/x": "x",
	})
	same(t, "cleanup list", h.cleanupList(), []string{
		"/srv", "/srv/app", "/srv/app/appspec.yml", "/srv/app/bin", "/srv/app/bin/run", "/srv/app/lib", "/srv/app/lib/a", "/srv/app/lib/a/x",
	})
	if got := modeOf(t, h.disk+"/srv/app/bin/run"); got != 0o755 {
		t.Errorf("mode %o", got)
	}
	last, ok, err := h.group.LastSuccessful()
	if err != nil || !ok || last.ID() != "d-1" {
		t.Errorf("last successful Install: %v %v %v", last, ok, err)
	}
	if done, err := Done(h.group, "command-d-1"); !done || err != nil {
		t.Errorf("Done: %v %v", done, err)
	}
	if done, err := Done(h.group, "command-d-2"); done || err != nil {
		t.Errorf("Done of another command: %v %v", done, err)
	}
}

func TestSecondDeploymentReplacesAndRemoves(t *testing.T) {
	h := newHost(t)
	write(t, h.disk, map[string]string{"srv/app/log/": ""})
	h.deploy(map[string]string{"same": "1", "gone": "1", "dir/gone": "1", "to-dir": "f", "to-file/a": "1"}, to("/srv/app"))
	write(t, h.disk, map[string]string{"srv/app/log/current": "mine"})
	h.deploy(map[string]string{"same": "2", "new": "2", "to-dir/x": "2", "to-file": "2"}, to("/srv/app"))
	same(t, "tree", h.content(), map[string]string{
		"/srv": "dir", "/srv/app": "dir", "/srv/app/log": "dir", "/srv/app/log/current": "mine",
		"/srv/app/same": "2", "/srv/app/new": "2", "/srv/app/to-dir": "dir", "/srv/app/to-dir/x": "2", "/srv/app/to-file": "2",
	})
}

func TestForeignFileIsAConflictAndNothingChanges(t *testing.T) {
	h := newHost(t)
	h.deploy(map[string]string{"a": "1"}, to("/srv/app"))
	write(t, h.disk, map[string]string{"srv/app/b": "mine"})
	before := snapshot(t, h.disk)
	err := install(h.input(h.revision(map[string]string{"a": "2", "b": "2"}), to("/srv/app")))
	var conflict *ConflictError
	if !errors.As(err, &conflict) {
		t.Fatalf("got %v", err)
	}

	same(t, "tree", snapshot(t, h.disk), before)
}

func TestFilesKeepTheirTimesAndSpecialBits(t *testing.T) {
	h := newHost(t)
	d := h.revision(map[string]string{"tool": "(4755) x", "plain": "(666) y"})
	must(t, install(h.input(d, &appspec.Spec{File: "appspec.yml", Files: []appspec.File{{Source: "tool", Destination: "/opt"}, {Source: "plain", Destination: "/opt"}}})))
	for name, mode := range map[string]uint32{"tool": 0o4755, "plain": 0o666} {
		if got := modeOf(t, h.disk+"/opt/"+name); got != mode {
			t.Errorf("%s has mode %o", name, got)
		}
		a, err := os.Stat(filepath.Join(d.Archive(), name))
		must(t, err)
		b, err := os.Stat(filepath.Join(h.disk, "opt", name))
		must(t, err)
		if !a.ModTime().Equal(b.ModTime()) {
			t.Errorf("%s has time %v, want %v", name, b.ModTime(), a.ModTime())
		}
	}
}
