package behaviour_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"codedeploy-agent/internal/behaviour"
)

var programs behaviour.Programs

// TestMain builds the agent as it is shipped. Cases mostly wait, so more of them run at once than there are processors.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("6")
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "behaviour-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	programs = behaviour.Programs{Agent: filepath.Join(dir, "codedeploy-agent"), Local: filepath.Join(dir, "codedeploy-local")}
	build := exec.Command("go", "build", "-o", programs.Agent, "codedeploy-agent/cmd/agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "cannot build the agent:", err)
		return 1
	}
	if err := os.Symlink("codedeploy-agent", programs.Local); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func TestBehaviour(t *testing.T) {
	for _, c := range behaviour.Cases() {
		t.Run(c.Source+"/"+c.Name, func(t *testing.T) {
			t.Parallel()
			if !c.Play(t, programs) {
				t.Log("NOT RUN HERE (needs root): " + c.Name)
				t.Skip("needs root")
			}
		})
	}
}

func TestEveryCaseHasANameOfItsOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range behaviour.Cases() {
		if c.Name == "" || c.Source == "" || c.Run == nil || seen[c.Source+c.Name] {
			t.Errorf("case %q of %q is not complete, or is there twice", c.Name, c.Source)
		}
		seen[c.Source+c.Name] = true
	}
}
