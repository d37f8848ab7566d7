package config

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// row is a line of a table of the documentation whose first cell is a key.
var row = regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\|([^|]*)\\|(.*)\\|$")

func TestTheDocumentationHasEveryKeyWithItsDefault(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs, ok := strings.Cut(string(text), "\n## Keys of other agents\n")
	if !ok {
		t.Fatal("the table of the other agents' keys is missing")
	}
	type line struct{ key, value string }
	var want, got []line
	for _, s := range Default().Settings() {
		want = append(want, line{s.Key, s.Value})
	}
	for _, m := range row.FindAllStringSubmatch(ours, -1) {
		got = append(got, line{m[1], strings.Trim(m[2], "` ")})
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(line{})); diff != "" {
		t.Errorf("keys and defaults (-code +documentation):\n%s", diff)
	}
	var wantOthers, gotOthers []string
	for _, o := range others {
		wantOthers = append(wantOthers, o.name)
	}
	for _, m := range row.FindAllStringSubmatch(theirs, -1) {
		gotOthers = append(gotOthers, m[1])
	}
	if diff := cmp.Diff(wantOthers, gotOthers); diff != "" {
		t.Errorf("keys of other agents (-code +documentation):\n%s", diff)
	}
}

func TestTheExampleOfTheDocumentationHasNoFindings(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(text), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	c, findings := parse("example", []byte(example))
	if len(findings) > 0 || c.MaxRevisions != 3 {
		t.Errorf("%+v\n%v", c, findings)
	}
}

// FuzzConfig: whatever is in the file, reading it ends, and every finding has its place.
func FuzzConfig(f *testing.F) {
	for _, seed := range []string{
		":verbose: yes\nmax_revisions: 3\n", "a: &a [*a]\n", "root_dir: &x /srv\npid_dir: *x\n", "archive_max_bytes: 99999999TB\n", "proxy_uri: http://a:b@\n",
		"- 1\n", "? [a]\n: b\n", "compatibility: 1.x\nwait_between_runs: 1e9\n", "\xff\xfe", "max_revisions_age: 99999999d\n", "a:\n\tb\n", "*x", "<<: {a: b}\n", "\"\r",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, findings := parse("f", data)
		for _, finding := range findings {
			if finding.Line < 1 || finding.Column < 1 || finding.Message == "" {
				t.Errorf("%+v", finding)
			}
		}
		if findings.Err() != nil {
			return
		}
		if c.MaxRevisions < 1 || c.WaitBetweenRuns <= 0 || c.HTTPReadTimeout <= 0 || c.KillAgentMaxWaitTime < 0 || c.MaxRevisionsAge < 0 ||
			c.MaxRevisionsBytes < 0 || c.ArchiveMaxBytes < 0 || c.ProgramName == "" || c.RootDir == "" {
			t.Errorf("%+v", c)
		}
	})
}
