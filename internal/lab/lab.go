// Package lab boots small Debian guests under a real systemd, for tests that need one: the unit, packages, upgrades,
// reboots. A guest is an overlay over a cached root file system in systemd-nspawn; it boots in under a second, and
// nothing of it is left when the test is over.
//
// It is a helper for tests and never part of a program. "internal/lab/prepare" installs what it needs.
package lab

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

//go:embed prepare
var prepare []byte

var programs = []string{"systemd-nspawn", "nsenter", "ip"}

// Require skips the test, loudly, where no guest can be booted. Tests that need no guest but other programs of the lab
// name them.
func Require(t testing.TB, more ...string) {
	t.Helper()
	if why := unable(append(more, programs...)); why != "" {
		t.Skip("NOT RUN HERE (needs a booted systemd guest): " + why)
	}
}

func unable(programs []string) string {
	if os.Geteuid() != 0 {
		return "only root can boot one"
	}
	var missing []string
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			missing = append(missing, p)
		}
	}
	if _, err := os.Stat(filepath.Join(guestRoot(), "etc", "os-release")); err != nil {
		missing = append(missing, guestRoot())
	}
	if missing != nil {
		return "missing " + strings.Join(missing, ", ") + "; internal/lab/prepare gets them"
	}
	return ""
}

// guestRoot is where prepare puts the root file system. Its name has the digest of the recipe.
func guestRoot() string {
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		cache = "/var/cache"
	}
	sum := sha256.Sum256(prepare)
	return filepath.Join(cache, "codedeploy-agent-lab", "root-"+hex.EncodeToString(sum[:])[:12])
}
