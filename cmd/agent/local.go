package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"codedeploy-agent/agent"
	"codedeploy-agent/internal/deployspec"
	"codedeploy-agent/internal/logging"
)

// localCommand is what codedeploy-local understands; the options are those of 1.x.
type localCommand struct {
	agent.LocalDeployment
	configFile string
}

func (l *localCommand) flags() *pflag.FlagSet {
	f := newFlags(localProgram, nil)
	f.StringVarP(&l.Location, "bundle-location", "l", ".", "Path, s3://bucket/key[?versionId=V&etag=E] or https://github.com/OWNER/REPOSITORY of the bundle.")
	f.StringVarP(&l.Type, "type", "t", "directory", "tgz, tar, zip or directory.")
	f.StringVarP(&l.FileExistsBehavior, "file-exists-behavior", "b", "DISALLOW", "What to do with files that exist already: DISALLOW, OVERWRITE or RETAIN.")
	f.StringVarP(&l.Group, "deployment-group", "g", agent.DefaultLocalGroup, "Folder of the deployment below the deployment root.")
	f.StringVarP(&l.GroupName, "deployment-group-name", "d", "LocalFleet", "DEPLOYMENT_GROUP_NAME of the scripts.")
	f.StringVarP(&l.Application, "application-name", "a", "", "APPLICATION_NAME of the scripts (default: the location).")
	f.StringSliceVarP(&l.Events, "events", "e", nil, "Lifecycle events to run instead of all, with commas between.")
	f.StringVarP(&l.configFile, "agent-configuration-file", "c", "/etc/codedeploy-agent/conf/codedeployagent.yml", "Configuration of the agent.")
	f.StringVarP(&l.AppSpecFilename, "appspec-filename", "A", "", "Name of the AppSpec file (default: appspec.yml, else appspec.yaml).")
	f.StringVar((*string)(&l.GitHubToken), "github-token", "", "Token for a private GitHub repository (default: CODEDEPLOY_GITHUB_TOKEN).")
	return f
}

func localUsage(w io.Writer, f *pflag.FlagSet) {
	_, _ = fmt.Fprintf(w, `Usage: %s [flags]

Deploy a bundle on this host without the CodeDeploy service: the same steps and scripts as a real
deployment. Exit code 0 when a deployment succeeded, else 1, also after this help.

Flags:
%s`, localProgram, f.FlagUsagesWrapped(100))
}

func runLocal(args []string) int {
	var l localCommand
	f := l.flags()
	showVersion := f.BoolP("version", "v", false, "Print the version and exit.")
	switch err := f.Parse(args); { // as in 1.x only a deployment that succeeded exits with 0
	case errors.Is(err, pflag.ErrHelp):
		localUsage(os.Stdout, f)
		return 1
	case err != nil:
		fmt.Printf("ERROR: %v; try: %s --help\n", err, localProgram)
		return 1
	case f.NArg() > 0:
		fmt.Printf("ERROR: there is no argument %q; try: %s --help\n", f.Arg(0), localProgram)
		return 1
	case *showVersion:
		fmt.Println(version)
		return 1
	}
	switch err := l.deploy(); {
	case err == nil:
		return 0
	case errors.Is(err, agent.ErrLocalScript): // standard output names the script, as in 1.x; why it failed comes on top
		fmt.Fprintln(os.Stderr, err)
	default:
		fmt.Printf("ERROR: %s\n", strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
	}
	return 1
}

func (l *localCommand) deploy() error {
	c, findings, err := loadConfig(l.configFile)
	if err != nil {
		return fmt.Errorf("the configuration file %q cannot be used: %w", l.configFile, err)
	}
	log, closeLog, err := logging.New(logging.Options{Dir: c.LogDir, Program: localProgram, Verbose: c.Verbose})
	if err != nil {
		return err
	}
	defer closeLog()
	for _, f := range findings {
		log.Warn(f.String())
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	x := newExecutor(c, log)
	x.Clients = localClients(ctx, c, log)
	if l.Application == "" {
		l.Application = l.Location
		if l.Location == "." {
			l.Application, _ = os.Getwd()
		}
	}
	if l.GitHubToken == "" {
		l.GitHubToken = deployspec.Secret(os.Getenv("CODEDEPLOY_GITHUB_TOKEN"))
	}
	l.Events = slices.DeleteFunc(l.Events, func(e string) bool { return e == "" })
	return x.DeployLocally(ctx, l.LocalDeployment, os.Stdout)
}
