package appspec

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the expectations of the corpus anew; read the difference")

// Every file of the corpus has an expectation beside it: accepted or not, what it says, and each finding.
// Names say what to expect: ok and odd files are accepted, bad and other ones are refused.
func TestCorpus(t *testing.T) {
	names, err := filepath.Glob("testdata/corpus/*.yml")
	if err != nil || len(names) < 60 {
		t.Fatalf("only %d files in the corpus (%v)", len(names), err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".yml"), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got, accepted := outcome(data)
			kind, _, _ := strings.Cut(filepath.Base(name), "-")
			if want := kind == "ok" || kind == "odd"; accepted != want {
				t.Errorf("accepted: %t, want %t", accepted, want)
			}
			golden := strings.TrimSuffix(name, ".yml") + ".want"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// outcome writes down everything that Parse makes of the data.
func outcome(data []byte) (text string, accepted bool) {
	spec, findings := Parse("appspec.yml", data)
	var b bytes.Buffer
	accepted = findings.Err() == nil
	if accepted {
		b.WriteString("accepted\n")
		describe(&b, spec)
	} else {
		b.WriteString("refused\n")
	}
	for _, f := range findings {
		fmt.Fprintf(&b, "%s [%s]\n", f, f.Rule)
	}
	return b.String(), accepted
}

func describe(b *bytes.Buffer, spec *Spec) {
	if spec.FileExistsBehavior != "" {
		fmt.Fprintf(b, "file_exists_behavior %s\n", spec.FileExistsBehavior)
	}
	for _, f := range spec.Files {
		fmt.Fprintf(b, "file %q -> %q at %d:%d\n", f.Source, f.Destination, f.Pos.Line, f.Pos.Column)
	}
	for _, p := range spec.Permissions {
		fmt.Fprintf(b, "permission %q pattern %q except %q files %t directories %t owner %q group %q mode %q acls %v context %v at %d:%d\n",
			p.Object, p.Pattern, p.Except, p.OnFiles, p.OnDirectories, p.Owner, p.Group, p.Mode, p.ACLs, p.Context, p.Pos.Line, p.Pos.Column)
	}
	var events []string
	for event := range spec.Hooks {
		events = append(events, event)
	}
	slices.Sort(events)
	for _, event := range events {
		fmt.Fprintf(b, "event %q\n", event)
		for _, s := range spec.Hooks[event] {
			fmt.Fprintf(b, "  script %q runas %q sudo %t timeout %v at %d:%d\n", s.Location, s.RunAs, s.Sudo, s.Timeout, s.Pos.Line, s.Pos.Column)
		}
	}
}
