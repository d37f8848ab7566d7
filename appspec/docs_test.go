package appspec

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"codedeploy-agent/internal/report"
)

func document(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../docs/appspec.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// section returns the text below a heading, up to the next heading of any level.
func section(t *testing.T, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(document(t), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("docs/appspec.md has no heading %q", heading)
	}
	text, _, _ := strings.Cut(rest, "\n#")
	return text
}

var ruleName = regexp.MustCompile("`([a-z-]+)`")

// documentedRules are the names in the first column of a table.
func documentedRules(t *testing.T, heading string) (rules []string) {
	t.Helper()
	for line := range strings.SplitSeq(section(t, heading), "\n") {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		for _, match := range ruleName.FindAllStringSubmatch(strings.Split(line, "|")[1], -1) {
			rules = append(rules, match[1])
		}
	}
	slices.Sort(rules)
	return rules
}

func TestEveryFindingIsDocumented(t *testing.T) {
	for heading, severity := range map[string]report.Severity{"### Errors": report.Error, "### Warnings": report.Warning} {
		var want []string
		for rule, s := range severities {
			if s == severity {
				want = append(want, rule)
			}
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, documentedRules(t, heading)); diff != "" {
			t.Errorf("%s: -code +docs/appspec.md\n%s", heading, diff)
		}
	}
}

// A rule that no file of the corpus breaks is a rule whose message nobody has read.
func TestEveryFindingOccursInTheCorpus(t *testing.T) {
	entries, err := os.ReadDir("testdata/corpus")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{
		ruleTooLarge: true, // tested with sizes that do not belong into a repository
		ruleAliases:  true,
	}
	for _, entry := range entries {
		data, err := os.ReadFile("testdata/corpus/" + entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		for rule := range severities {
			if strings.HasSuffix(entry.Name(), ".want") && strings.Contains(string(data), " ["+rule+"]\n") {
				seen[rule] = true
			}
		}
	}
	for _, rule := range slices.Sorted(maps.Keys(severities)) {
		if !seen[rule] {
			t.Errorf("no file of the corpus leads to %s", rule)
		}
	}
}

func TestEveryKeyIsDocumented(t *testing.T) {
	grammar := section(t, "## The whole grammar")
	for _, key := range slices.Concat(topKeys, fileKeys, permissionKeys, scriptKeys, contextKeys) {
		if !regexp.MustCompile(`(?m)\b` + key + `:`).MatchString(grammar) {
			t.Errorf("docs/appspec.md does not show the key %q", key)
		}
	}
	events := section(t, "### Events")
	for _, event := range slices.Concat(scriptable, slices.Collect(maps.Keys(unscriptable))) {
		if !strings.Contains(events, event) {
			t.Errorf("docs/appspec.md does not name the event %s", event)
		}
	}
}

func TestTheDocumentedGrammarIsAcceptedWithoutFindings(t *testing.T) {
	_, rest, _ := strings.Cut(document(t), "```yaml\n")
	example, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("docs/appspec.md has no example")
	}
	spec, findings := Parse("docs/appspec.md", []byte(example))
	if len(findings) > 0 {
		t.Errorf("%v", findings)
	}
	if spec == nil || len(spec.Files) != 1 || len(spec.Permissions) != 1 || len(spec.Permissions[0].ACLs) != 2 || len(spec.Hooks["AfterInstall"]) != 1 {
		t.Errorf("%+v", spec)
	}
}
