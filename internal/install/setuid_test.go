package install

import (
	"io/fs"
	"os"
	"strconv"
	"testing"

	"codedeploy-agent/appspec"
)

// A new owner without a mode takes setuid and setgid away, as chown has always done: a program that ran as the builder's
// user must not come to run as another one unasked.
func TestSetuidGoesToANewOwnerOnlyWhenAskedFor(t *testing.T) {
	for name, c := range map[string]struct {
		mode string
		want fs.FileMode
	}{
		"the owner alone":        {"", 0o755},
		"the owner and the mode": {"4755", 0o755 | fs.ModeSetuid},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			in := h.input(h.revision(map[string]string{"tool": "x"}), to("/srv/app"))
			in.Attributes = func(string) (int, int, uint32, bool) { return os.Getuid(), os.Getgid(), 0o4755, true }
			entry := both("/srv/app", "**")
			entry.Owner, entry.Mode = "", c.mode
			entry.Group = groupOfTheTest(t)
			in.Spec.Permissions = []appspec.Permission{entry}
			must(t, install(in))
			info, err := os.Lstat(h.disk + "/srv/app/tool")
			must(t, err)
			if info.Mode() != c.want {
				t.Errorf("the mode is %v, want %v", info.Mode(), c.want)
			}
		})
	}
}

// groupOfTheTest is the name of the group that the test runs as.
func groupOfTheTest(t *testing.T) string {
	t.Helper()
	if os.Getgid() == 0 {
		return "root"
	}
	return strconv.Itoa(os.Getgid())
}
