package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

var sample = Findings{
	{Severity: Error, Rule: "location-missing", File: "appspec.yml", Position: Position{Line: 7, Column: 5},
		Key: "hooks.BeforeInstall[0]", Message: "the script has no location", Hint: `did you mean "location"?`},
	{Severity: Warning, Rule: "timeout-sum", File: "my app/appspec.yml", Position: Position{Line: 12},
		Key: `hooks."a,b:c"`, Message: "100% of one hour\nand more"},
	{Severity: Warning, File: "/etc/codedeploy-agent/conf/codedeployagent.yml", Message: "nothing is known of the place"},
	{Severity: Error, Rule: "location-missing", Message: "no file at all <&>\x1b[31m"},
}

func TestEveryFormatMatchesItsGoldenFile(t *testing.T) {
	for _, format := range Formats() {
		for name, findings := range map[string]Findings{"findings": sample, "none": nil} {
			t.Run(format+"/"+name, func(t *testing.T) {
				var got bytes.Buffer
				if err := Write(&got, format, findings); err != nil {
					t.Fatal(err)
				}
				golden := filepath.Join("testdata", name+"."+format)
				if *update {
					if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), got.String()); diff != "" {
					t.Errorf("-golden +got:\n%s", diff)
				}
			})
		}
	}
}

func TestOneFindingIsOneLineForPeopleAndForGitHub(t *testing.T) {
	for _, format := range []string{"text", "github"} {
		var got bytes.Buffer
		if err := Write(&got, format, sample); err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(got.String(), "\n"); lines != len(sample) {
			t.Errorf("%s: %d lines for %d findings:\n%s", format, lines, len(sample), got.String())
		}
	}
}

func TestSarifPointsIntoItsRules(t *testing.T) {
	var got bytes.Buffer
	if err := Write(&got, "sarif", sample); err != nil {
		t.Fatal(err)
	}
	var log sarifLog
	if err := json.Unmarshal(got.Bytes(), &log); err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	if len(run.Results) != len(sample) {
		t.Fatalf("%d results for %d findings", len(run.Results), len(sample))
	}
	for _, r := range run.Results {
		if run.Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID {
			t.Errorf("rule %d is %q, the result says %q", r.RuleIndex, run.Tool.Driver.Rules[r.RuleIndex].ID, r.RuleID)
		}
	}
}

func TestAnUnknownFormatIsNamedWithTheNearestOne(t *testing.T) {
	for format, want := range map[string]string{
		"jsno":  `did you mean "json"?`,
		"JSON":  `did you mean "json"?`,
		"table": "there are text, json, github, sarif",
	} {
		err := Write(&bytes.Buffer{}, format, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want it to contain %q", format, err, want)
		}
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestAFailedWriteIsReported(t *testing.T) {
	for _, format := range Formats() {
		if err := Write(brokenPipe{}, format, sample); err == nil {
			t.Errorf("%s: no error", format)
		}
	}
}
