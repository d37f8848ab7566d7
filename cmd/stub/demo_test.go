package main

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestDemo plays the demo with the real agent.
func TestDemo(t *testing.T) {
	agent := filepath.Join(t.TempDir(), "codedeploy-agent")
	if out, err := exec.Command("go", "build", "-o", agent, "codedeploy-agent/cmd/agent").CombinedOutput(); err != nil {
		t.Fatalf("the agent cannot be built: %v\n%s", err, out)
	}
	examples, err := filepath.Abs("../../examples/website")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/demo",
		Cmds: commands,
		Setup: func(e *testscript.Env) error {
			e.Setenv("AGENT", agent)
			e.Setenv("EXAMPLES", examples)
			e.Setenv("TMPDIR", filepath.Join(e.WorkDir, "tmp"))
			return nil
		},
	})
}
