package systemd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// cgroupRoot is where the kernel's cgroups are mounted.
const cgroupRoot = "/sys/fs/cgroup"

// UnitOf returns the unit that the process belongs to, for example "codedeploy-agent.service"; it is empty for a process
// outside of all units. Names are those of systemd, escaped as ScopeName escapes them.
func UnitOf(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", fmt.Errorf("cannot tell the unit of process %d: %w", pid, err)
	}
	_, dir := managedCgroup(string(text))
	return unitIn(dir), nil
}

// CgroupOf returns the directory of the cgroup in which systemd holds the process. It is the one of cgroup v2 where
// that is what systemd uses, else that of its own v1 hierarchy.
func CgroupOf(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", fmt.Errorf("cannot tell the cgroup of process %d: %w", pid, err)
	}
	hierarchy, dir := managedCgroup(string(text))
	if dir == "" {
		return "", fmt.Errorf("cannot tell the cgroup of process %d: no known hierarchy is in use", pid)
	}
	for _, mount := range mounts(hierarchy) {
		full := filepath.Join(cgroupRoot, mount, dir)
		if _, err := os.Stat(filepath.Join(full, "cgroup.procs")); err == nil {
			return full, nil
		}
	}
	return "", fmt.Errorf("cannot tell the cgroup of process %d: %q is not mounted below %q", pid, dir, cgroupRoot)
}

// Processes lists the processes in a cgroup's directory and in those below it. A cgroup that is gone has none.
func Processes(cgroup string) ([]int, error) {
	var pids []int
	err := filepath.WalkDir(cgroup, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(p, "cgroup.procs"))
		if err != nil { // removed meanwhile, or of the threaded kind: nothing that could be listed
			return nil
		}
		for field := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 { // 0 is a process outside of our namespace
				pids = append(pids, pid)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list the processes of cgroup %q: %w", cgroup, err)
	}
	return pids, nil
}

type hierarchy int

const (
	unified   hierarchy = iota // cgroup v2
	namedV1                    // the v1 hierarchy "name=systemd"
	noneKnown hierarchy = -1
)

// managedCgroup picks the line of /proc/PID/cgroup in which systemd keeps track of processes. On a host with both
// kinds that is the v1 line with a unit, when the v2 line has none.
func managedCgroup(text string) (hierarchy, string) {
	found, dir := noneKnown, ""
	for line := range strings.Lines(text) {
		id, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		controllers, p, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		var h hierarchy
		switch {
		case id == "0" && controllers == "":
			h = unified
		case controllers == "name=systemd":
			h = namedV1
		default:
			continue
		}
		if found == noneKnown || unitIn(dir) == "" && unitIn(p) != "" {
			found, dir = h, p
		}
	}
	return found, dir
}

// unitIn returns the innermost service or scope of a cgroup path. A delegated unit may have cgroups of its own below.
func unitIn(dir string) string {
	for dir != "" && dir != "/" && dir != "." {
		base := path.Base(dir)
		if strings.HasSuffix(base, scopeSuffix) || strings.HasSuffix(base, ".service") {
			// systemd puts an underscore before names that would look like the kernel's own files.
			return strings.TrimPrefix(base, "_")
		}
		dir = path.Dir(dir)
	}
	return ""
}

func mounts(h hierarchy) []string {
	if h == namedV1 {
		return []string{"systemd"}
	}
	return []string{"", "unified"}
}
