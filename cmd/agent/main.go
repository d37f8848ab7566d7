// Codedeploy-agent is the agent of AWS CodeDeploy for EC2 and on-premises Linux hosts. Called as codedeploy-local it
// deploys a bundle on this host without the service.
package main

import (
	"os"
	"path/filepath"

	"codedeploy-agent/hooks"
)

// version is set at build time. The service reads it with every call, so it stays MAJOR.MINOR.PATCH.
var version = "3.0.0"

const (
	agentProgram = "codedeploy-agent"
	localProgram = "codedeploy-local"
	// hookRunner is the hidden command with which the agent starts its own program for every hook.
	hookRunner = "hook-runner"
	// deployLocal is codedeploy-local as a command of the agent, as in 2.x.
	deployLocal = "deploy-local"
)

func main() {
	os.Exit(run(os.Args))
}

// run is the program without its process: arguments in, exit code out.
func run(argv []string) int {
	switch {
	case len(argv) > 1 && argv[1] == hookRunner:
		return hooks.RunnerMain(argv[2:])
	case filepath.Base(argv[0]) == localProgram:
		return runLocal(argv[1:])
	case len(argv) > 1 && argv[1] == deployLocal:
		return runLocal(argv[2:])
	}
	return runAgent(argv[1:])
}
