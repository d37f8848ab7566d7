package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dirPrefix starts the name of a guest's directory; the pid of the process that it belongs to follows.
const dirPrefix = "cdlab-"

// newDir makes a directory on a tmpfs of its own: an overlay's upper layer may not lie on an overlay, as the
// temporary directory of a container often does.
func newDir() (string, error) {
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", dirPrefix, os.Getpid()))
	if err != nil {
		return "", err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2g,mode=755"); err != nil {
		_ = os.Remove(dir)
		return "", fmt.Errorf("cannot mount a tmpfs for the guest: %w", err)
	}
	return dir, nil
}

// removeDir unmounts and removes a guest's directory and its cgroups.
func removeDir(dir string) {
	for _, m := range []string{filepath.Join(dir, "root"), dir} {
		if err := unix.Unmount(m, 0); errors.Is(err, unix.EBUSY) {
			_ = unix.Unmount(m, unix.MNT_DETACH)
		}
	}
	_ = os.Remove(dir)
	name := filepath.Base(dir)
	for _, kept := range []string{"propagate/" + name, "unix-export/" + name} { // systemd-nspawn keeps them
		_ = os.Remove("/run/systemd/nspawn/" + kept)
	}
	for _, c := range cgroupsOf(dir) {
		removeCgroup(c)
	}
}

// removeCgroup removes a cgroup and those below it. The kernel needs a moment after the last process has gone.
func removeCgroup(cgroup string) {
	for range 50 {
		var dirs []string
		_ = filepath.WalkDir(cgroup, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, p)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			_ = os.Remove(dirs[i])
		}
		if _, err := os.Stat(cgroup); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// sweep removes what a test left that was killed before it could clean up.
func sweep() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	for _, dir := range dirs {
		pid, ok := ownerOf(filepath.Base(dir), dirPrefix)
		if ok && !alive(pid) {
			removeDir(dir)
		}
	}
	spaces, _ := filepath.Glob(filepath.Join(namespaceDir, dirPrefix+"*"))
	for _, s := range spaces {
		pid, ok := ownerOf(filepath.Base(s), dirPrefix)
		if ok && !alive(pid) {
			removeNamespace(filepath.Base(s))
		}
	}
}

func ownerOf(name, prefix string) (pid int, ok bool) {
	digits, _, _ := strings.Cut(strings.TrimPrefix(name, prefix), "-")
	pid, err := strconv.Atoi(digits)
	return pid, err == nil && pid > 0
}

func alive(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }
