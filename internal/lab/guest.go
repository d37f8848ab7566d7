package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	bootLimit = 60 * time.Second
	haltLimit = 20 * time.Second
	// rebootStatus is how systemd-nspawn ends when the guest asks to be booted again.
	rebootStatus = 133
)

// Options says how to boot a guest. The zero value boots one with a network to the host.
type Options struct {
	// Lower is the root file system to boot instead of the cached one.
	Lower string
	// Binds are directories of the host that the guest sees, read-only, by their path in the guest.
	Binds map[string]string
	// Prepare is called with the guest's root before it boots, to put files in place.
	Prepare func(root string) error
}

// Guest is a booted system.
type Guest struct {
	t testing.TB // where failures are reported
	*machine
}

// machine is the part of a guest that does not depend on the test that looks at it.
type machine struct {
	dir     string // the guest's tmpfs: overlay, console log
	root    string
	network *network
	binds   []string // arguments of systemd-nspawn

	mu      sync.Mutex
	nspawn  int // pid
	leader  int // pid of the guest's systemd as the host sees it
	boots   int
	halting bool
	ended   chan struct{} // closed when the guest will not come back
}

// Boot boots a guest and ends it with the test. It calls Require first.
func Boot(t testing.TB, o Options) *Guest {
	t.Helper()
	Require(t)
	g, err := boot(t, o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// In is the same guest for a subtest: what goes wrong is reported there.
func (g *Guest) In(t testing.TB) *Guest { return &Guest{t, g.machine} }

func boot(t testing.TB, o Options) (g *Guest, err error) {
	sweep()
	dir, err := newDir()
	if err != nil {
		return nil, err
	}
	g = &Guest{t, &machine{dir: dir, root: filepath.Join(dir, "root"), ended: make(chan struct{})}}
	t.Cleanup(g.end)
	for inside, outside := range o.Binds {
		g.binds = append(g.binds, "--bind-ro="+outside+":"+inside)
	}

	if err := mountRoot(dir, o.Lower); err != nil {
		return nil, err
	}
	if o.Prepare != nil {
		if err := o.Prepare(g.root); err != nil {
			return nil, fmt.Errorf("cannot prepare the guest: %w", err)
		}
	}
	if g.network, err = newNetwork(); err != nil {
		return nil, err
	}
	go g.supervise()
	return g, g.awaitBoot(1)
}

func mountRoot(dir, lower string) error {
	if lower == "" {
		lower = guestRoot()
	}
	for _, d := range []string{"up", "work", "root"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	data := fmt.Sprintf("lowerdir=%s,upperdir=%s/up,workdir=%s/work", lower, dir, dir)
	if err := unix.Mount("overlay", filepath.Join(dir, "root"), "overlay", 0, data); err != nil {
		return fmt.Errorf("cannot mount the guest's root: %w", err)
	}
	return nil
}

// supervise runs the guest until it ends for good; a reboot inside ends systemd-nspawn, which then is started again.
func (g *Guest) supervise() {
	defer close(g.ended)
	// Pdeathsig is about the thread that started the child, so this thread has to stay.
	runtime.LockOSThread()
	for {
		cmd, err := g.launch()
		if err != nil {
			g.log("cannot launch: " + err.Error())
			return
		}
		g.mu.Lock()
		g.nspawn, g.leader = cmd.Process.Pid, 0
		g.boots++
		halting := g.halting
		g.mu.Unlock()
		if halting {
			_ = cmd.Process.Kill()
		}
		err = cmd.Wait()
		g.log(fmt.Sprintf("systemd-nspawn ended: %v", err))
		var exit *exec.ExitError
		g.mu.Lock()
		again := errors.As(err, &exit) && exit.ExitCode() == rebootStatus && !g.halting
		g.nspawn, g.leader = 0, 0
		g.mu.Unlock()
		if !again {
			return
		}
	}
}

func (g *Guest) launch() (*exec.Cmd, error) {
	console, err := os.OpenFile(g.consoleFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() { _ = console.Close() }()
	// The guest's systemd gets the cgroup that its launcher is in, so that has to be one of its own.
	script := "set -e; "
	for _, c := range g.cgroups() {
		script += fmt.Sprintf("mkdir -p %[1]s; echo $$ >%[1]s/cgroup.procs; ", c)
	}
	script += `exec systemd-nspawn -q --boot --register=no --keep-unit --link-journal=no --console=pipe "$@"`
	args := append([]string{"-c", script, "sh", "-D", g.root, "--machine=" + filepath.Base(g.dir),
		"--network-namespace-path=" + g.network.path()}, g.binds...)
	cmd := exec.Command("/bin/sh", args...)
	cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd, cmd.Start()
}

// cgroups are the guest's cgroups on the host: one on a host with cgroup v2 alone, else one in each hierarchy of systemd's.
func (g *Guest) cgroups() []string { return cgroupsOf(g.dir) }

func cgroupsOf(dir string) []string {
	const root = "/sys/fs/cgroup"
	name := filepath.Base(dir)
	if _, err := os.Stat(root + "/cgroup.controllers"); err == nil {
		return []string{filepath.Join(root, name)}
	}
	var cs []string
	for _, h := range []string{"systemd", "unified"} {
		if _, err := os.Stat(filepath.Join(root, h)); err == nil {
			cs = append(cs, filepath.Join(root, h, name))
		}
	}
	return cs
}

// awaitBoot waits until the n-th boot has brought the guest up.
func (g *Guest) awaitBoot(n int) error {
	for deadline := time.Now().Add(bootLimit); ; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("cannot boot the guest within %v:\n%s", bootLimit, g.Console())
		}
		select {
		case <-g.ended:
			return fmt.Errorf("cannot boot the guest, it ended:\n%s", g.Console())
		default:
		}
		if !g.findLeader(n) {
			continue
		}
		state, _ := g.run(5*time.Second, "", "systemctl", "is-system-running", "--wait")
		switch strings.TrimSpace(state) {
		case "running":
			return nil
		case "degraded":
			failed, _ := g.run(5*time.Second, "", "systemctl", "--failed", "--no-legend")
			g.t.Logf("the guest is up, but not all of it: %s", failed)
			return nil
		}
	}
}

// findLeader looks for the guest's systemd, the child of systemd-nspawn.
func (g *Guest) findLeader(n int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.boots < n || g.nspawn == 0 {
		return false
	}
	if g.leader == 0 {
		g.leader = childNamed(g.nspawn, "systemd")
	}
	return g.leader != 0
}

// childNamed returns the process with that parent and that command name, or 0.
func childNamed(parent int, name string) int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue
		}
		head, rest, ok := strings.Cut(string(text), " ("+name+") ")
		fields := strings.Fields(rest)
		if ok && len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(head)
			return pid
		}
	}
	return 0
}

// Reboot boots the guest again, in order, and waits until it is up.
func (g *Guest) Reboot() {
	g.t.Helper()
	g.reboot(func() { _, _ = g.run(haltLimit, "", "systemctl", "reboot") })
}

// Crash takes the guest's power away: every process is gone at once. Then it boots it again.
func (g *Guest) Crash() {
	g.t.Helper()
	g.reboot(func() { _, _ = g.run(haltLimit, "", "systemctl", "reboot", "--force", "--force") })
}

func (g *Guest) reboot(ask func()) {
	g.t.Helper()
	g.mu.Lock()
	boots := g.boots
	g.mu.Unlock()
	ask()
	if err := g.awaitBoot(boots + 1); err != nil {
		g.t.Fatal(err)
	}
}

// Console is what the guest has written to its console.
func (g *Guest) Console() string {
	text, _ := os.ReadFile(g.consoleFile())
	return string(text)
}

// Root is the guest's root file system as the host sees it, without the guest's own mounts.
func (g *Guest) Root() string { return g.root }

func (g *Guest) consoleFile() string { return filepath.Join(g.dir, "console.log") }

func (g *Guest) log(line string) {
	f, err := os.OpenFile(g.consoleFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	_, _ = fmt.Fprintf(f, "lab: %s\n", line)
	_ = f.Close()
}

// end takes the guest's power away and removes everything that was made for it.
func (g *Guest) end() {
	g.mu.Lock()
	g.halting = true
	nspawn, leader := g.nspawn, g.leader
	started := g.boots > 0
	g.mu.Unlock()
	if leader != 0 { // pid 1 of its namespace: all others go with it
		_ = syscall.Kill(leader, syscall.SIGKILL)
	} else if nspawn != 0 {
		_ = syscall.Kill(nspawn, syscall.SIGKILL)
	}
	if started {
		ctx, cancel := context.WithTimeout(context.Background(), haltLimit)
		defer cancel()
		select {
		case <-g.ended:
		case <-ctx.Done():
			g.t.Errorf("the guest did not end within %v", haltLimit)
			_ = syscall.Kill(nspawn, syscall.SIGKILL)
		}
	}
	if g.t.Failed() {
		g.t.Logf("console of the guest:\n%s", tail(g.Console(), 4096))
	}
	if g.network != nil {
		g.network.remove()
	}
	removeDir(g.dir)
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "..." + s[len(s)-n:]
}
