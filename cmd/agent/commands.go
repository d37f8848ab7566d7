package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/pflag"
)

// Exit codes beyond 0 and 1.
const (
	exitUsage      = 2
	exitNotRunning = 3  // status, as the Linux Standard Base has it
	exitUnknown    = 4  // status
	exitRunning    = 75 // another agent runs: EX_TEMPFAIL
	exitBadConfig  = 78 // the configuration cannot be used: EX_CONFIG
)

// exitCode is an error that only says how to exit; what there was to say has been said.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// commandLine is what goes for every command.
type commandLine struct {
	// ConfigFile is the absolute path of the configuration that was named, empty for that of the host.
	ConfigFile string
}

// verb is one command of codedeploy-agent.
type verb struct {
	name string
	// arguments are shown in the help; a verb without them takes none.
	arguments string
	summary   string
	command   interface {
		// flags adds the command's own.
		flags(*pflag.FlagSet)
		run(cli *commandLine, arguments []string) error
	}
}

func verbs() []verb {
	return []verb{
		{"run", "", "Poll for commands in the foreground; what systemd starts.", &runCommand{}},
		{"start", "", "Start the agent in the background, through systemd where its unit is installed.", &startCommand{}},
		{"stop", "", "Stop the agent.", &stopCommand{}},
		{"restart", "", "Stop and start the agent.", &restartCommand{}},
		{"status", "", "Say whether the agent runs and does its work. Exit code 0: healthy, 1: not healthy, 3: not running, 4: unknown.", &statusCommand{}},
		{"version", "", "Print the version.", &versionCommand{}},
		{"validate", "PATH", "Check a revision: its AppSpec file and its scripts. Exit code 1 when a deployment would fail.", &validateCommand{}},
		{"plan", "PATH", "Show what Install would do on this host, without doing it.", &planCommand{}},
		{"hook-env", "", "Print the environment that a hook script gets.", &hookEnvCommand{}},
		{deployLocal, "", "Deploy a bundle on this host without the service; the same as codedeploy-local.", nil},
	}
}

func runAgent(args []string) int {
	err := dispatch(args)
	if code := exitCode(0); errors.As(err, &code) {
		return int(code)
	}
	if err != nil {
		return fail(err)
	}
	return 0
}

// fail says on the error stream what is wrong.
func fail(err error) int {
	fmt.Fprintf(os.Stderr, "%s: %s\n", agentProgram, strings.TrimSpace(err.Error()))
	return 1
}

// dispatch finds the verb and runs it. The configuration file may be named before or after it.
func dispatch(args []string) error {
	cli := &commandLine{}
	global := newFlags(agentProgram, cli)
	global.SetInterspersed(false)
	showVersion := global.BoolP("version", "v", false, "Print the version and exit.")
	if err := parse(global, args, usage); err != nil {
		return err
	}
	switch {
	case *showVersion:
		fmt.Println(version)
		return nil
	case global.NArg() == 0:
		usage(os.Stderr, global)
		return exitCode(exitUsage)
	}
	for _, v := range verbs() {
		switch {
		case v.name != global.Arg(0):
		case v.command == nil: // deploy-local has flags of its own
			args := global.Args()[1:]
			if cli.ConfigFile != "" {
				args = append([]string{"--agent-configuration-file", cli.ConfigFile}, args...)
			}
			return exitCode(runLocal(args))
		default:
			return v.execute(cli, global.Args()[1:])
		}
	}
	fmt.Fprintf(os.Stderr, "%s: there is no command %q\nTry: %s --help\n", agentProgram, global.Arg(0), agentProgram)
	return exitCode(exitUsage)
}

func (v verb) execute(cli *commandLine, args []string) error {
	flags := newFlags(agentProgram+" "+v.name, cli)
	v.command.flags(flags)
	help := func(w io.Writer, f *pflag.FlagSet) {
		line := strings.TrimRight(fmt.Sprintf("Usage: %s %s [flags] %s", agentProgram, v.name, v.arguments), " ")
		_, _ = fmt.Fprintf(w, "%s\n\n%s\n\nFlags:\n%s", line, v.summary, f.FlagUsagesWrapped(100))
	}
	if err := parse(flags, args, help); err != nil {
		return err
	}
	if want := len(strings.Fields(v.arguments)); flags.NArg() != want {
		fmt.Fprintf(os.Stderr, "%s %s: %d arguments were given, %d are wanted\n", agentProgram, v.name, flags.NArg(), want)
		help(os.Stderr, flags)
		return exitCode(exitUsage)
	}
	return v.command.run(cli, flags.Args())
}

// newFlags makes a set with the flags that every command has. 1.x wrote underscores where this agent has hyphens.
func newFlags(name string, cli *commandLine) *pflag.FlagSet {
	f := pflag.NewFlagSet(name, pflag.ContinueOnError)
	f.SortFlags = false
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-"))
	})
	f.Usage = func() {}
	if cli != nil {
		f.Var((*pathValue)(&cli.ConfigFile), "config-file", "Configuration file (default: /etc/codedeploy-agent/conf/codedeployagent.yml).")
	}
	return f
}

// parse reads the flags; help and mistakes are dealt with here and end the program.
func parse(f *pflag.FlagSet, args []string, help func(io.Writer, *pflag.FlagSet)) error {
	err := f.Parse(args)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		help(os.Stdout, f)
		return exitCode(0)
	case err != nil:
		fmt.Fprintf(os.Stderr, "%s: %v\nTry: %s --help\n", f.Name(), err, f.Name())
		return exitCode(exitUsage)
	}
	return nil
}

func usage(w io.Writer, f *pflag.FlagSet) {
	_, _ = fmt.Fprintf(w, `Usage: %s [flags] COMMAND

The on-instance agent of AWS CodeDeploy: it fetches revisions, copies their files and runs their
lifecycle event hooks.

Commands:
`, agentProgram)
	for _, v := range verbs() {
		_, _ = fmt.Fprintf(w, "  %-14s %s\n", strings.TrimSpace(v.name+" "+v.arguments), v.summary)
	}
	_, _ = fmt.Fprintf(w, "\nFlags:\n%s\n%s COMMAND --help tells more of a command.\n", f.FlagUsagesWrapped(100), agentProgram)
}

// pathValue is a flag for a path; it is made absolute, so that it means the same file after a change of directory.
type pathValue string

func (p *pathValue) String() string { return string(*p) }
func (p *pathValue) Type() string   { return "PATH" }
func (p *pathValue) Set(path string) error {
	absolute, err := filepath.Abs(path)
	if err == nil && path == "" {
		err = errors.New("it is empty")
	}
	*p = pathValue(absolute)
	return err
}

// choice is a flag with few values.
type choice struct {
	value   *string
	allowed []string
}

func (c choice) String() string { return *c.value }
func (c choice) Type() string   { return strings.Join(c.allowed, "|") }
func (c choice) Set(s string) error {
	for _, a := range c.allowed {
		if s == a {
			*c.value = s
			return nil
		}
	}
	return fmt.Errorf("it must be one of %s", strings.Join(c.allowed, ", "))
}

// versionCommand prints the version, for people or for scripts.
type versionCommand struct{ json bool }

func (v *versionCommand) flags(f *pflag.FlagSet) {
	f.BoolVar(&v.json, "json", false, "Print version, Go version and platform as JSON.")
}

func (v *versionCommand) run(*commandLine, []string) error {
	if v.json {
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
