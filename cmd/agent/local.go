package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"

	"github.com/alecthomas/kong"
	"golang.org/x/sys/unix"

	"codedeploy-agent/agent"
	"codedeploy-agent/internal/deployspec"
	"codedeploy-agent/internal/logging"
)

// localCommand is what codedeploy-local understands; the options are those of 1.x.
type localCommand struct {
	BundleLocation         string   `short:"l" default:"." help:"Path, s3://bucket/key[?versionId=V&etag=E] or https://github.com/OWNER/REPOSITORY of the bundle." placeholder:"LOCATION"`
	Type                   string   `short:"t" default:"directory" help:"tgz, tar, zip or directory."`
	FileExistsBehavior     string   `short:"b" default:"DISALLOW" help:"What to do with files that exist already: DISALLOW, OVERWRITE or RETAIN."`
	DeploymentGroup        string   `short:"g" default:"default-local-deployment-group" help:"Folder of the deployment below the deployment root." placeholder:"ID"`
	DeploymentGroupName    string   `short:"d" default:"LocalFleet" help:"DEPLOYMENT_GROUP_NAME of the scripts." placeholder:"NAME"`
	ApplicationName        string   `short:"a" help:"APPLICATION_NAME of the scripts (default: the location)." placeholder:"NAME"`
	Events                 []string `short:"e" help:"Lifecycle events to run, instead of all: A,B,C." placeholder:"EVENTS"`
	AgentConfigurationFile string   `short:"c" default:"/etc/codedeploy-agent/conf/codedeployagent.yml" help:"Configuration of the agent." placeholder:"PATH"`
	AppspecFilename        string   `short:"A" help:"Name of the AppSpec file (default: appspec.yml, else appspec.yaml)." placeholder:"NAME"`
	GithubToken            string   `env:"CODEDEPLOY_GITHUB_TOKEN" help:"Token for a private GitHub repository." placeholder:"TOKEN"`

	Version kong.VersionFlag `short:"v" help:"Print the version and exit."`
}

// deployLocalCommand only documents deploy-local in the help of codedeploy-agent; run gives it to runLocal.
type deployLocalCommand struct {
	Arguments []string `arg:"" optional:"" passthrough:""`
}

func (deployLocalCommand) Run() error { return nil }

func runLocal(args []string) int {
	var l localCommand
	parser, err := kong.New(&l,
		kong.Name(localProgram),
		kong.Description("Deploy a bundle on this host without the CodeDeploy service: the same steps and scripts as a real deployment."),
		kong.Vars{"version": version},
		kong.Exit(func(code int) { panic(exitCode(code)) }),
	)
	if err != nil {
		return fail(err)
	}
	return guard(func() int {
		_, err := parser.Parse(args)
		if err == nil {
			err = l.deploy()
		}
		if err != nil && !errors.Is(err, agent.ErrLocalScript) {
			fmt.Printf("ERROR: %v\n", err)
		}
		if err != nil {
			return 1
		}
		return 0
	})
}

func (l localCommand) deploy() error {
	c, findings, err := loadConfig(l.AgentConfigurationFile)
	if err != nil {
		return fmt.Errorf("the configuration file %q cannot be used: %w", l.AgentConfigurationFile, err)
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
	if l.ApplicationName == "" {
		l.ApplicationName = l.BundleLocation
		if l.BundleLocation == "." {
			l.ApplicationName, _ = os.Getwd()
		}
	}
	return x.DeployLocally(ctx, agent.LocalDeployment{
		Location:           l.BundleLocation,
		Type:               l.Type,
		FileExistsBehavior: l.FileExistsBehavior,
		Group:              l.DeploymentGroup,
		GroupName:          l.DeploymentGroupName,
		Application:        l.ApplicationName,
		Events:             slices.DeleteFunc(l.Events, func(e string) bool { return e == "" }),
		AppSpecFilename:    l.AppspecFilename,
		GitHubToken:        deployspec.Secret(l.GithubToken),
	}, os.Stdout)
}
