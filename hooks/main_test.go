package hooks

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain lets the test binary play the parts that the agent's program has in the real thing, and those of hooks
// that misbehave.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "hook-runner":
			os.Exit(RunnerMain(os.Args[2:]))
		case "test-agent":
			os.Exit(agentMain(os.Args[2:]))
		case "misbehave":
			os.Exit(misbehave(os.Args[2:]))
		}
	}
	// The race detector holds every process for a second at its end, also those that play runners.
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	code := m.Run()
	// Runners end a little after their result is there.
	for deadline := time.Now().Add(15 * time.Second); len(children()) > 0 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
