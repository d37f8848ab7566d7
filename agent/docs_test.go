package agent

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"codedeploy-agent/hooks"
	"codedeploy-agent/internal/deployspec"
	"codedeploy-agent/internal/identity"
)

// column returns the first cells of the rows of one chapter of docs/hooks.md that match.
func column(t *testing.T, chapter, cell string) []string {
	t.Helper()
	text, err := os.ReadFile("../docs/hooks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(text), "\n## "+chapter+"\n")
	if !ok {
		t.Fatalf("docs/hooks.md has no chapter %q", chapter)
	}
	after, _, _ = strings.Cut(after, "\n## ")
	var cells []string
	for _, m := range regexp.MustCompile(`(?m)^\| `+cell+` \|`).FindAllStringSubmatch(after, -1) {
		cells = append(cells, m[1])
	}
	slices.Sort(cells)
	return cells
}

func TestTheDocumentationNamesEveryVariable(t *testing.T) {
	host := &Host{Host: &identity.Host{ID: "h", Region: "r", OnPremises: true}}
	x := &Executor{HostVariables: host.variables}
	names := map[string]bool{}
	for _, revision := range []deployspec.Revision{
		{S3: &deployspec.S3Object{Bucket: "b", Key: "k", Version: "v", ETag: "e"}},
		{GitHub: &deployspec.GitHubCommit{CommitID: "c"}},
	} {
		for _, v := range x.variables(hooks.AfterInstall, &deployspec.Specification{Revision: revision}) {
			name, _, _ := strings.Cut(v, "=")
			names[name] = true
		}
	}
	var want []string
	for name := range names {
		want = append(want, name)
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, column(t, "Variables", "`([A-Z_]+)`")); diff != "" {
		t.Errorf("variables (-code +documentation):\n%s", diff)
	}
}

func TestTheDocumentationNamesEveryCode(t *testing.T) {
	var want []string
	for _, code := range hookCodes {
		want = append(want, strconv.Itoa(int(code)))
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, column(t, "What the console shows", `(\d)`)); diff != "" {
		t.Errorf("codes (-code +documentation):\n%s", diff)
	}
}

func TestTheDocumentationNamesTheDefaultLimits(t *testing.T) {
	text, err := os.ReadFile("../docs/hooks.md")
	if err != nil {
		t.Fatal(err)
	}
	flat := strings.Join(strings.Fields(string(text)), " ")
	for _, limit := range []string{
		"`hook_kill_grace_seconds` (" + strconv.Itoa(int(hooks.DefaultKillGrace.Seconds())) + ")",
		map[bool]string{true: "the agent waits five seconds"}[hooks.DefaultDrain.Seconds() == 5],
		"rotated at " + strconv.Itoa(hooks.DefaultMaxLogBytes>>20) + " MiB",
		map[bool]string{true: "eight files are kept"}[hooks.DefaultLogFiles == 8],
	} {
		if limit == "" || !strings.Contains(flat, limit) {
			t.Errorf("docs/hooks.md does not say %q", limit)
		}
	}
}
