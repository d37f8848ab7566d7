package lab

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPackagesThatNeedSystemd runs the tests of packages that speak with systemd inside a guest, as root there.
func TestPackagesThatNeedSystemd(t *testing.T) {
	Require(t)
	module := output(t, "go", "list", "-m", "-f", "{{.Dir}}")
	for _, pkg := range []string{"systemd"} {
		t.Run(pkg, func(t *testing.T) {
			bin := t.TempDir()
			output(t, "go", "test", "-c", "-o", filepath.Join(bin, "tests"), "codedeploy-agent/"+pkg)
			g := Boot(t, Options{Binds: map[string]string{"/module": module, "/tests": bin}})
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			out, err := g.Command(ctx, "sh", "-c", "cd /module/"+pkg+" && exec /tests/tests -test.v -test.timeout=100s").CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, "NOT RUN HERE") && !strings.Contains(line, "systemd is the service manager") {
					t.Errorf("not even in the guest: %s", line)
				}
			}
		})
	}
}

func output(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}
