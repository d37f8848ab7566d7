// Codedeploy-agent is the agent of AWS CodeDeploy for EC2 and on-premises Linux hosts. Called as codedeploy-local it
// deploys a bundle on this host without the service.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/alecthomas/kong"

	"codedeploy-agent/hooks"
)

// version is set at build time. The service reads it with every call, so it stays MAJOR.MINOR.PATCH.
var version = "3.0.0"

// Exit codes beyond 0 and 1.
const (
	exitUsage      = 2
	exitRunning    = 75 // another agent runs: EX_TEMPFAIL
	exitBadConfig  = 78 // the configuration cannot be used: EX_CONFIG
	exitNotRunning = 3  // status, as the Linux Standard Base has it
	exitUnknown    = 4  // status
	hookRunner     = "hook-runner"
	localProgram   = "codedeploy-local"
	programSummary = "The on-instance agent of AWS CodeDeploy: it fetches revisions, copies their files and runs their lifecycle event hooks."
)

func main() {
	os.Exit(run(os.Args))
}

// run is the program without its process: arguments in, exit code out.
func run(argv []string) int {
	if len(argv) > 1 && argv[1] == hookRunner {
		return hooks.RunnerMain(argv[2:]) // before everything else: a runner is started for every hook
	}
	if filepath.Base(argv[0]) == localProgram {
		return runLocal(argv[1:])
	}
	if len(argv) > 1 && argv[1] == "deploy-local" {
		return runLocal(argv[2:])
	}
	return runAgent(argv[1:])
}

// commandLine is what codedeploy-agent understands.
type commandLine struct {
	ConfigFile string           `help:"Configuration file (default: /etc/codedeploy-agent/conf/codedeployagent.yml)." aliases:"config_file" placeholder:"PATH" type:"path"`
	Version    kong.VersionFlag `help:"Print the version and exit." short:"v"`

	Run         runCommand         `cmd:"" help:"Poll for commands in the foreground; what systemd starts."`
	Start       startCommand       `cmd:"" help:"Start the agent in the background, through systemd where its unit is installed."`
	Stop        stopCommand        `cmd:"" help:"Stop the agent."`
	Restart     restartCommand     `cmd:"" help:"Stop and start the agent."`
	Status      statusCommand      `cmd:"" help:"Say whether the agent runs and does its work (exit code 0: healthy, 1: not healthy, 3: not running, 4: unknown)."`
	VersionVerb versionCommand     `cmd:"" name:"version" help:"Print the version."`
	Validate    validateCommand    `cmd:"" help:"Check a revision: its AppSpec file and its scripts. Exit code 1 when a deployment would fail."`
	Plan        planCommand        `cmd:"" help:"Show what Install would do on this host, without doing it."`
	HookEnv     hookEnvCommand     `cmd:"" name:"hook-env" help:"Print the environment that a hook script gets."`
	DeployLocal deployLocalCommand `cmd:"" name:"deploy-local" help:"Deploy a bundle on this host without the service; the same as codedeploy-local."`
}

// exitCode is an error that only says how to exit; what there was to say has been said.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func runAgent(args []string) int {
	var cli commandLine
	parser, err := kong.New(&cli,
		kong.Name("codedeploy-agent"),
		kong.Description(programSummary),
		kong.Vars{"version": version},
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Exit(func(code int) { panic(exitCode(code)) }),
	)
	if err != nil {
		return fail(err)
	}
	return guard(func() int {
		if len(args) == 0 {
			args = []string{"--help"}
		}
		context, err := parser.Parse(args)
		if err != nil {
			fmt.Fprintf(os.Stderr, "codedeploy-agent: %v\nTry: codedeploy-agent --help\n", err)
			return exitUsage
		}
		return exitOf(context.Run(&cli))
	})
}

// guard turns kong's wish to exit into an exit code.
func guard(do func() int) (code int) {
	defer func() {
		if r := recover(); r != nil {
			wish, ok := r.(exitCode)
			if !ok {
				panic(r)
			}
			code = int(wish)
		}
	}()
	return do()
}

func exitOf(err error) int {
	if err == nil {
		return 0
	}
	if code := exitCode(0); errors.As(err, &code) {
		return int(code)
	}
	return fail(err)
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, "codedeploy-agent: "+strings.TrimSpace(err.Error()))
	return 1
}

// versionCommand prints the version, for people or for scripts.
type versionCommand struct {
	JSON bool `help:"Print version, Go version and platform as JSON."`
}

func (v versionCommand) Run() error {
	if v.JSON {
		return printJSON(map[string]string{"version": version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
	}
	fmt.Println(version)
	return nil
}

func printJSON(v any) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
