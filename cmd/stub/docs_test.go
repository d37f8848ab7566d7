package main

import (
	"os"
	"strings"
	"testing"

	"codedeploy-agent/internal/stub/fault"

	"github.com/alecthomas/kong"
)

// TestTheManualNamesEverything keeps docs/stub.md in step with the program.
func TestTheManualNamesEverything(t *testing.T) {
	manual, err := os.ReadFile("../../docs/stub.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range fault.Kinds() {
		if !strings.Contains(string(manual), "| `"+string(kind)+"` |") {
			t.Errorf("the manual does not explain the fault %q", kind)
		}
	}
	parser, err := kong.New(&commandLine{}, kong.Name("codedeploy-stub"), kong.Vars{"version": version})
	if err != nil {
		t.Fatal(err)
	}
	ours := map[string]bool{"web": true, "fetch": true} // parts of the sample website
	for _, command := range parser.Model.Children {
		if ours[command.Name] {
			continue
		}
		for _, leaf := range command.Leaves(true) {
			if !strings.Contains(string(manual), leaf.FullPath()) {
				t.Errorf("the manual does not name the command %q", leaf.FullPath())
			}
			for _, flag := range leaf.Flags {
				if !strings.Contains(string(manual), "--"+flag.Name) {
					t.Errorf("the manual does not name --%s of %q", flag.Name, leaf.FullPath())
				}
			}
		}
	}
}
