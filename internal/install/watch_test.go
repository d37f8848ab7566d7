package install

import (
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// startProgram starts a program and returns what ends it.
func startProgram(t *testing.T, argv ...string) (end func()) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	must(t, cmd.Start())
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// TestNoPathOfBothVersionsIsEverAbsent watches all that two versions have in common while one replaces the other.
func TestNoPathOfBothVersionsIsEverAbsent(t *testing.T) {
	h := newHost(t)
	h.deploy(bigBundle(1), to("/srv/app"))
	var paths []string
	next := expected(bigBundle(2), "/srv/app")
	for p := range h.content() {
		if _, ok := next[p]; ok {
			paths = append(paths, filepath.Join(h.disk, p))
		}
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	rounds := 0
	wg.Go(func() {
		var st unix.Stat_t
		for {
			for _, p := range paths {
				if err := unix.Lstat(p, &st); err != nil {
					t.Errorf("%s: %v", p, err)
					return
				}
			}
			rounds++
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for version := 2; version < 12; version++ {
		h.deploy(bigBundle(version), to("/srv/app"))
	}
	close(stop)
	wg.Wait()
	t.Logf("looked at %d paths %d times", len(paths), rounds)
}
