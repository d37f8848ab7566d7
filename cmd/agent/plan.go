package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"codedeploy-agent/agent"
	"codedeploy-agent/appspec"
	"codedeploy-agent/hooks"
	"codedeploy-agent/internal/account"
	"codedeploy-agent/internal/install"
	"codedeploy-agent/internal/state"
)

// planCommand shows what Install would do, computed by the same code.
type planCommand struct {
	root, group, behavior, appSpecFilename string
	json                                   bool
}

func (p *planCommand) flags(f *pflag.FlagSet) {
	p.behavior = string(appspec.Disallow)
	f.Var((*pathValue)(&p.root), "root", "Plan against the tree below this directory instead of this host's.")
	f.StringVar(&p.group, "group", agent.DefaultLocalGroup, "Deployment group whose earlier files count as replaceable.")
	f.VarP(choice{&p.behavior, []string{string(appspec.Disallow), string(appspec.Overwrite), string(appspec.Retain)}},
		"file-exists-behavior", "b", "What to do with files that exist already.")
	f.StringVar(&p.appSpecFilename, "appspec-filename", appspec.DefaultName, "Name of the AppSpec file.")
	f.BoolVar(&p.json, "json", false, "Print the plan as JSON.")
}

func (p *planCommand) run(cli *commandLine, arguments []string) error {
	path := arguments[0]
	c, _, err := loadConfig(cli.ConfigFile)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("cannot read the revision: %w", err)
	}
	dir, remove, err := revisionDirectory(path, info.IsDir())
	if err != nil {
		return err
	}
	defer remove()
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	spec, _, err := appspec.Load(dir, p.appSpecFilename)
	if err != nil {
		return err
	}
	root := state.NewRoot(filepath.Join(p.root, c.RootDir), c.OngoingDeploymentTracking)
	if err := root.CheckID("deployment group", p.group); err != nil {
		return err
	}
	plan, err := install.Make(context.Background(), install.Input{
		Archive:    dir,
		Spec:       spec,
		Behavior:   appspec.FileExistsBehavior(p.behavior),
		Group:      root.Group(p.group),
		Deployment: root.Group(p.group).Deployment("plan"),
		RootDir:    p.root,
	})
	if err != nil {
		return err
	}
	if p.json {
		return plan.JSON(os.Stdout)
	}
	return plan.Text(os.Stdout)
}

// hookEnvCommand prints what a hook script finds in its environment.
type hookEnvCommand struct{ event, runAs string }

func (h *hookEnvCommand) flags(f *pflag.FlagSet) {
	f.StringVar(&h.event, "event", "", "Lifecycle event, for example ApplicationStart.")
	f.StringVar(&h.runAs, "runas", "", "User that the script runs as.")
}

func (h *hookEnvCommand) run(cli *commandLine, _ []string) error {
	if h.event == "" {
		fmt.Fprintln(os.Stderr, "codedeploy-agent hook-env: name the lifecycle event with --event")
		return exitCode(exitUsage)
	}
	c, _, err := loadConfig(cli.ConfigFile)
	if err != nil {
		return err
	}
	request := hooks.Request{
		Event:        h.event,
		DeploymentID: "d-EXAMPLE00",
		Variables: []string{
			"LIFECYCLE_EVENT=" + h.event, "DEPLOYMENT_ID=d-EXAMPLE00", "APPLICATION_NAME=example",
			"DEPLOYMENT_GROUP_NAME=example", "DEPLOYMENT_GROUP_ID=00000000-0000-0000-0000-000000000000",
			"BUNDLE_BUCKET=example", "BUNDLE_KEY=example.zip",
		},
		Options: newExecutor(c, zap.NewNop()).Hooks,
	}
	environment, err := hooks.Environment(request)
	if h.runAs != "" {
		var user account.User
		if user, err = account.LookupUser(h.runAs); err == nil {
			environment, err = hooks.EnvironmentAs(request, user)
		}
	}
	if err != nil {
		return err
	}
	for _, variable := range environment {
		fmt.Println(variable)
	}
	return nil
}
