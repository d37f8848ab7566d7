package hooks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// In a scope of cgroup v1 what a script has started is told from what was there before by process groups.
func TestStraysInACgroupOfVersion1(t *testing.T) {
	needsRoot(t, "telling apart the processes of a scope of cgroup v1")
	dir := filepath.Join("/sys/fs/cgroup/systemd", fmt.Sprintf("hooks-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil || isCgroup2(dir) {
		t.Logf("NOT RUN HERE (needs cgroup v1): %v", err)
		t.SkipNow()
	}
	t.Cleanup(func() {
		eventually(t, "an empty cgroup", func() bool { return unix.Rmdir(dir) == nil })
	})
	start := func(attr syscall.SysProcAttr) int {
		cmd := exec.Command("sleep", "60")
		cmd.SysProcAttr = &attr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		if err := joinCgroup(dir, cmd.Process.Pid); err != nil {
			t.Fatal(err)
		}
		return cmd.Process.Pid
	}
	daemon := start(syscall.SysProcAttr{Setpgid: true})
	c := newCell(dir, 1)
	defer c.close()
	worker := start(syscall.SysProcAttr{Setpgid: true, Pgid: daemon}) // a new process of the old daemon
	script := start(syscall.SysProcAttr{Setpgid: true})
	child := start(syscall.SysProcAttr{Setsid: true})
	if got := c.strays(script); !slices.Equal(got, []int{child}) {
		t.Errorf("strays %v; the daemon is %d, its worker %d, the script %d, its child %d", got, daemon, worker, script, child)
	}
	c.kill(script)
	eventually(t, "an end of the child", func() bool { return !alive(child) })
	if !alive(daemon) || !alive(worker) || !alive(script) {
		t.Error("too much was killed")
	}
}
