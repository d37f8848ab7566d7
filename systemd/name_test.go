package systemd

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestScopeName(t *testing.T) {
	for _, c := range []struct {
		name, deployment, event string
		n                       int
		want                    string
	}{
		{"as the service names things", "d-ABCDEF123", "BeforeInstall", 0, "codedeploy-hook-d-ABCDEF123-BeforeInstall-0.scope"},
		{"a later run", "d-ABCDEF123", "ApplicationStop", 17, "codedeploy-hook-d-ABCDEF123-ApplicationStop-17.scope"},
		{"an event of the customer's own", "d-1", "My Event/é", 1, `codedeploy-hook-d-1-My\x20Event\x2f\xc3\xa9-1.scope`},
		{"an at sign would make it an instance", "d@1", "X", 1, `codedeploy-hook-d\x401-X-1.scope`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := ScopeName(c.deployment, c.event, c.n); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestScopeNameIsCutToWhatSystemdTakes(t *testing.T) {
	long := strings.Repeat("d", 300)
	a, b := ScopeName(long+"a", "X", 12), ScopeName(long+"b", "X", 12)
	if len(a) != nameMax || !strings.HasPrefix(a, "codedeploy-hook-ddd") || !strings.HasSuffix(a, "-12.scope") {
		t.Errorf("got %q", a)
	}
	if a == b {
		t.Errorf("two deployments share %q", a)
	}
}

func TestScopeNamesAreValidUnitNamesAndDiffer(t *testing.T) {
	const valid = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:-_.\\"
	rapid.Check(t, func(t *rapid.T) {
		event := rapid.String().Draw(t, "event")
		n := rapid.IntRange(0, 1<<20).Draw(t, "n")
		got := ScopeName("d-1", event, n)
		if len(got) > nameMax || strings.Trim(got, valid) != "" {
			t.Fatalf("%q is no unit name", got)
		}
		other := rapid.String().Draw(t, "other")
		if other != event && ScopeName("d-1", other, n) == got {
			t.Fatalf("events %q and %q share %q", event, other, got)
		}
	})
}
