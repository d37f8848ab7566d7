package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"go.uber.org/zap"

	"codedeploy-agent/appspec"
	"codedeploy-agent/hooks"
	"codedeploy-agent/internal/account"
	"codedeploy-agent/internal/install"
	"codedeploy-agent/internal/state"
)

// planCommand shows what Install would do, computed by the same code.
type planCommand struct {
	Path               string `arg:"" help:"A revision: a directory or an archive (tar, tgz, zip)."`
	Root               string `help:"Plan against the tree below this directory instead of this host's." placeholder:"DIR"`
	Group              string `default:"default-local-deployment-group" help:"Deployment group whose earlier files count as replaceable." placeholder:"ID"`
	FileExistsBehavior string `short:"b" default:"DISALLOW" enum:"DISALLOW,OVERWRITE,RETAIN" help:"DISALLOW, OVERWRITE or RETAIN."`
	AppspecFilename    string `default:"appspec.yml" placeholder:"NAME" help:"Name of the AppSpec file."`
	JSON               bool   `help:"Print the plan as JSON."`
}

func (p planCommand) Run(cli *commandLine) error {
	c, _, err := loadConfig(cli.ConfigFile)
	if err != nil {
		return err
	}
	info, err := os.Stat(p.Path)
	if err != nil {
		return fmt.Errorf("cannot read the revision: %w", err)
	}
	dir, remove, err := revisionDirectory(p.Path, info.IsDir())
	if err != nil {
		return err
	}
	defer remove()
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	spec, _, err := appspec.Load(dir, p.AppspecFilename)
	if err != nil {
		return err
	}
	root := state.NewRoot(filepath.Join(p.Root, c.RootDir), c.OngoingDeploymentTracking)
	if err := root.CheckID("deployment group", p.Group); err != nil {
		return err
	}
	plan, err := install.Make(context.Background(), install.Input{
		Archive:    dir,
		Spec:       spec,
		Behavior:   appspec.FileExistsBehavior(p.FileExistsBehavior),
		Group:      root.Group(p.Group),
		Deployment: root.Group(p.Group).Deployment("plan"),
		RootDir:    p.Root,
	})
	if err != nil {
		return err
	}
	if p.JSON {
		return plan.JSON(os.Stdout)
	}
	return plan.Text(os.Stdout)
}

// hookEnvCommand prints what a hook script finds in its environment.
type hookEnvCommand struct {
	Event string `required:"" help:"Lifecycle event, for example ApplicationStart." placeholder:"EVENT"`
	RunAs string `name:"runas" help:"User that the script runs as." placeholder:"USER"`
}

func (h hookEnvCommand) Run(cli *commandLine) error {
	c, _, err := loadConfig(cli.ConfigFile)
	if err != nil {
		return err
	}
	if h.RunAs != "" {
		if _, err := account.LookupUser(h.RunAs); err != nil {
			return err
		}
	}
	x := newExecutor(c, zap.NewNop())
	environment, err := hooks.Environment(hooks.Request{
		Event:   h.Event,
		Scripts: []appspec.Script{{Location: "script", RunAs: h.RunAs}},
		Archive: "/", Record: "/",
		DeploymentID: "d-EXAMPLE00",
		Variables: []string{
			"LIFECYCLE_EVENT=" + h.Event, "DEPLOYMENT_ID=d-EXAMPLE00", "APPLICATION_NAME=example",
			"DEPLOYMENT_GROUP_NAME=example", "DEPLOYMENT_GROUP_ID=00000000-0000-0000-0000-000000000000",
			"BUNDLE_BUCKET=example", "BUNDLE_KEY=example.zip",
		},
		Options: x.Hooks,
	})
	if err != nil {
		return err
	}
	slices.Sort(environment)
	for _, variable := range environment {
		fmt.Println(variable)
	}
	return nil
}
