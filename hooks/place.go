package hooks

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"codedeploy-agent/systemd"
)

// Seams for tests that have no systemd.
var (
	startScope = systemd.StartScope
	booted     = systemd.Booted
)

// place takes the runner out of the agent's unit: into a scope of its own, or without systemd into a cgroup of its own
// where one can be made. A runner that stays where it is still runs the hook, so failures are only logged.
func place(ctx context.Context, req Request, pid int, log *zap.Logger) order {
	if !booted() {
		dir, err := makeCgroup(req, pid)
		if err != nil {
			log.Debug("The hook has no cgroup of its own.", zap.String("event", req.Event), zap.Error(err))
		}
		return order{Cgroup: dir}
	}
	if os.Geteuid() != 0 {
		return order{}
	}
	ctx, cancel := context.WithTimeout(ctx, scopeLimit)
	defer cancel()
	// The pid makes the name unique; a scope of an older runner with the same pid may be held by a daemon.
	for n := pid; ; n += 1 << 22 {
		unit := systemd.ScopeName(req.DeploymentID, req.Event, n)
		err := startScope(ctx, systemd.ScopeOptions{
			Unit:        unit,
			Description: "AWS CodeDeploy hook " + req.Event + " of " + req.DeploymentID,
			Slice:       req.Options.Slice,
			PIDs:        []int{pid},
			Delegate:    true,
		})
		if errors.Is(err, systemd.ErrScopeExists) && n < 1<<25 {
			continue
		}
		if err == nil {
			return order{Unit: unit}
		}
		log.Warn("The hook stays in the agent's unit; unless that has KillMode=process, stopping the agent ends it.",
			zap.String("event", req.Event), zap.String("deployment", req.DeploymentID), zap.Error(err))
		return order{}
	}
}

// scopeLimit bounds the wait for systemd; a hook that has to do without a scope is better than none.
const scopeLimit = 20 * time.Second

// cgroupPrefix begins the names of cgroups made without systemd.
const cgroupPrefix = "codedeploy-hook-"

// cgroupMaking keeps the sweep from removing a cgroup that is about to be used.
var cgroupMaking sync.Mutex

// makeCgroup puts the runner into a new cgroup v2 below the agent's own. It also removes those that earlier hooks could
// not remove because a daemon lived in them.
func makeCgroup(req Request, pid int) (string, error) {
	parent, err := ownCgroup()
	if err != nil {
		return "", err
	}
	cgroupMaking.Lock()
	defer cgroupMaking.Unlock()
	old, _ := filepath.Glob(filepath.Join(parent, cgroupPrefix+"*"))
	for _, dir := range old {
		removeCgroup(dir)
	}
	name := strings.TrimSuffix(systemd.ScopeName(req.DeploymentID, req.Event, pid), ".scope")
	dir := filepath.Join(parent, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	if err := joinCgroup(dir, pid); err != nil {
		_ = unix.Rmdir(dir)
		return "", err
	}
	return dir, nil
}

// ownCgroup is the directory of this process's cgroup v2.
func ownCgroup() (string, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if !ok || strings.HasPrefix(path, "/..") { // outside of our namespace
			continue
		}
		for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
			dir := filepath.Join(mount, path)
			if isCgroup2(dir) {
				return dir, nil
			}
		}
	}
	return "", errors.New("no cgroup v2 is mounted")
}

func isCgroup2(dir string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(dir, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}

func joinCgroup(dir string, pid int) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
}

// removeCgroup removes a cgroup and those below it, as far as no process is in them.
func removeCgroup(dir string) {
	events, _ := os.ReadFile(filepath.Join(dir, "cgroup.events"))
	if strings.Contains(string(events), "populated 1") {
		return
	}
	below, _ := filepath.Glob(filepath.Join(dir, "*", "cgroup.procs"))
	for _, p := range below {
		_ = unix.Rmdir(filepath.Dir(p))
	}
	_ = unix.Rmdir(dir)
}
