package systemd

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestWhichCgroupSystemdKeepsTheProcessIn(t *testing.T) {
	for _, c := range []struct {
		name, text string
		hierarchy  hierarchy
		dir, unit  string
	}{
		{"cgroup v2", "0::/system.slice/codedeploy-agent.service\n",
			unified, "/system.slice/codedeploy-agent.service", "codedeploy-agent.service"},
		{"a scope", "0::/system.slice/codedeploy-hook-d-1-X-0.scope\n",
			unified, "/system.slice/codedeploy-hook-d-1-X-0.scope", "codedeploy-hook-d-1-X-0.scope"},
		{"below a delegated unit", "0::/system.slice/a.scope/script\n", unified, "/system.slice/a.scope/script", "a.scope"},
		{"cgroup v1", "4:memory:/system.slice\n1:name=systemd:/system.slice/a.service\n", namedV1, "/system.slice/a.service", "a.service"},
		{"both kinds, managed by v1", "1:name=systemd:/system.slice/a.service\n0::/\n", namedV1, "/system.slice/a.service", "a.service"},
		{"both kinds, managed by v2", "1:name=systemd:/\n0::/system.slice/a.service\n", unified, "/system.slice/a.service", "a.service"},
		{"both kinds agree", "1:name=systemd:/s/a.service\n0::/s/a.service\n", namedV1, "/s/a.service", "a.service"},
		{"in no unit", "0::/\n", unified, "/", ""},
		{"a colon in the path", "0::/system.slice/a:b.service\n", unified, "/system.slice/a:b.service", "a:b.service"},
		{"a name that systemd had to guard", "0::/system.slice/_cgroup.service\n", unified, "/system.slice/_cgroup.service", "cgroup.service"},
		{"no cgroups at all", "", noneKnown, "", ""},
		{"nonsense", "what\n::\n", noneKnown, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, dir := managedCgroup(c.text)
			if h != c.hierarchy || dir != c.dir {
				t.Errorf("cgroup: got %v %q, want %v %q", h, dir, c.hierarchy, c.dir)
			}
			if got := unitIn(dir); got != c.unit {
				t.Errorf("unit: got %q, want %q", got, c.unit)
			}
		})
	}
}

func TestProcessesOfACgroupAndOfThoseBelow(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"cgroup.procs": "1\n22\n", "sub/cgroup.procs": "333\n0\n", "empty/cgroup.procs": ""} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Processes(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := []int{1, 22, 333}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, err := Processes(filepath.Join(dir, "gone")); err != nil || len(got) != 0 {
		t.Errorf("a cgroup that is gone: got %v, %v", got, err)
	}
}

func TestVersionOfTheManager(t *testing.T) {
	for text, want := range map[string]int{
		`"252.39-1~deb12u2"`: 252, `"v255.4-1ubuntu8"`: 255, `"239"`: 239, `"systemd 219"`: 219, `"257~rc1"`: 257, `""`: 0, `"x"`: 0,
	} {
		if got := parseVersion(text); got != want {
			t.Errorf("%s: got %d, want %d", text, got, want)
		}
	}
}

func TestPropertiesAreThoseTheManagerKnows(t *testing.T) {
	o := ScopeOptions{Unit: "a.scope", Description: "d", Slice: "s.slice", PIDs: []int{1}, Delegate: true, StopTimeout: 1}
	old := []string{"PIDs", "Description", "Slice", "TimeoutStopUSec", "Delegate"}
	for version, want := range map[int][]string{
		0:   old,
		219: old,
		239: append(slices.Clone(old), "CollectMode"),
		252: append(slices.Clone(old), "CollectMode"),
		253: append(slices.Clone(old), "CollectMode", "OOMPolicy"),
	} {
		var got []string
		for _, p := range o.properties(version) {
			got = append(got, p.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("systemd %d: got %v, want %v", version, got, want)
		}
	}
}
