package hooks

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"codedeploy-agent/systemd"
)

// cell is what one script and everything it starts is kept in, as far as the host can tell that from what earlier
// scripts have left running:
//
//   - with cgroup v2 a cgroup of the script's own, below the runner's;
//   - in a scope of cgroup v1 the process groups of the scope that were not there before the script;
//   - otherwise nothing but the script's process group, which a process leaves by setsid.
type cell struct {
	dir    string   // the script's own cgroup
	handle *os.File // dir, open
	scope  string   // the scope's v1 cgroup
	before []string // process groups in it when the script began
}

// newCell makes the cell for the n-th script; cgroup is the runner's own, "" when it shares the agent's.
func newCell(cgroup string, n int) *cell {
	c := &cell{}
	switch {
	case cgroup == "":
	case isCgroup2(cgroup):
		dir := filepath.Join(cgroup, fmt.Sprintf("script-%d", n))
		if err := os.Mkdir(dir, 0o755); err != nil {
			break
		}
		handle, err := os.Open(dir)
		if err != nil {
			_ = unix.Rmdir(dir)
			break
		}
		c.dir, c.handle = dir, handle
	default:
		c.scope = cgroup
		for _, pid := range c.members() {
			if fields, err := processStat(pid); err == nil {
				c.before = append(c.before, fields[2])
			}
		}
	}
	return c
}

func (c *cell) members() []int {
	dir := c.dir
	if dir == "" {
		dir = c.scope
	}
	if dir == "" {
		return nil
	}
	pids, _ := systemd.Processes(dir)
	return pids
}

// strays lists the living processes of the script that are not in its process group.
func (c *cell) strays(pgid int) []int {
	group := strconv.Itoa(pgid)
	return slices.DeleteFunc(c.members(), func(pid int) bool {
		fields, err := processStat(pid)
		return err != nil || fields[0] == "Z" || fields[2] == group || pid == os.Getpid() || slices.Contains(c.before, fields[2])
	})
}

// kill ends everything in the cell at once, where the kernel can (5.14 and later), else one by one.
func (c *cell) kill(pgid int) {
	if c.dir != "" && os.WriteFile(filepath.Join(c.dir, "cgroup.kill"), []byte("1"), 0) == nil {
		return
	}
	for _, pid := range c.strays(pgid) {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// close removes the script's cgroup if nothing lives in it.
func (c *cell) close() {
	if c.handle != nil {
		_ = c.handle.Close()
		_ = unix.Rmdir(c.dir)
	}
}

// groupAlive tells whether a process group has a member that is no zombie.
func groupAlive(pgid int) bool {
	if unix.Kill(-pgid, 0) == unix.ESRCH {
		return false
	}
	group := strconv.Itoa(pgid)
	return slices.ContainsFunc(processes(), func(pid int) bool {
		fields, err := processStat(pid)
		return err == nil && fields[2] == group && fields[0] != "Z"
	})
}

// oomKills counts the processes of this process's memory cgroup that the kernel has killed because memory ran out; 0
// where it does not tell.
func oomKills() int {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		var counter string
		switch {
		case slices.Contains(strings.Split(parts[1], ","), "memory"):
			counter = filepath.Join("/sys/fs/cgroup/memory", parts[2], "memory.oom_control")
		case parts[0] == "0":
			counter = filepath.Join("/sys/fs/cgroup", parts[2], "memory.events")
		}
		if n, ok := oomCounter(counter); ok {
			return n
		}
	}
	return 0
}

func oomCounter(path string) (int, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, err := strconv.Atoi(strings.TrimSpace(v))
			return n, err == nil
		}
	}
	return 0, false
}
