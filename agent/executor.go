package agent

import (
	"context"
	"fmt"
	"os"
	"slices"

	"go.uber.org/zap"

	"codedeploy-agent/appspec"
	"codedeploy-agent/hooks"
	"codedeploy-agent/internal/bundle"
	"codedeploy-agent/internal/deployspec"
	"codedeploy-agent/internal/state"
)

// updateDeploymentAgent is a command of 2.x that would install another agent over this one.
const updateDeploymentAgent = "UpdateDeploymentAgent"

// Executor turns a command and its deployment specification into work on this host. The daemon and the local tool
// share it.
type Executor struct {
	// Root is where deployments live.
	Root state.Root
	// DeploymentsLog collects the output of all deployments' scripts; empty for none.
	DeploymentsLog string
	// Clients returns where bundles come from; credentials may change while the agent runs.
	Clients func() bundle.Clients
	// HostVariables returns what scripts learn of the host, as NAME=value. It may be nil.
	HostVariables func() []string
	// Revisions says how bundles are handled and what of them is kept.
	Revisions Revisions
	// Hooks says how scripts are run.
	Hooks hooks.Options
	// Compat1x brings back what 1.x did where it was unsafe.
	Compat1x bool
	// Waiting is told what a command waits for, and returns how to say that the wait is over. It may be nil.
	Waiting func(what string) (over func())
	Log     *zap.Logger

	groups groupLocks
}

// Revisions says how bundles are handled and what of them is kept.
type Revisions struct {
	Unpack bundle.UnpackOptions
	// Keep is how many, how much and how long; its Current and Protected are filled in by the executor.
	Keep bundle.Policy
	// KeepBundles leaves the downloaded archive beside the unpacked one.
	KeepBundles bool
	// Reuse allows a restart deployment to take the archive of an earlier one.
	Reuse bool
}

// Step is what one command comes down to on this host. Whether it is a no-op and what carrying it out means are
// decided together, so that the acknowledgement and the work cannot differ.
type Step struct {
	// Noop is told to the service with the acknowledgement.
	Noop bool
	// Hook is set for a lifecycle event with scripts; its work survives the agent.
	Hook *hooks.Request
	// Run carries out a step that is not a hook. It is nil for a no-op.
	Run func(ctx context.Context) outcome
	// group is the DeploymentGroupID that Run has to itself, and name what it is called while others wait for it.
	group, name string
}

// Prepare decides what a command comes down to. It reads the disk and changes nothing but that it makes the deployment's
// folder and those of the root. The token is the command's own name: an Install done for it is never done again.
func (x *Executor) Prepare(command string, spec *deployspec.Specification, token string) (Step, error) {
	// People delete everything below the root to make room, while the agent runs.
	if err := x.Root.Create(); err != nil {
		return Step{}, err
	}
	if err := os.MkdirAll(x.deployment(spec).Dir(), 0o755); err != nil {
		return Step{}, fmt.Errorf("cannot create the deployment's folder: %w", err)
	}
	alone := Step{group: spec.DeploymentGroupID, name: command + " of " + spec.DeploymentID}
	switch command {
	case hooks.DownloadBundle:
		alone.Run = func(ctx context.Context) outcome { return x.download(ctx, spec) }
		return alone, nil
	case hooks.Install:
		alone.Run = func(ctx context.Context) outcome { return x.install(ctx, spec, token) }
		return alone, nil
	}
	return x.prepareHook(command, spec)
}

// prepareHook finds the scripts of a lifecycle event. An event without scripts, and an event that looks into an
// earlier revision where there is none, is a no-op.
func (x *Executor) prepareHook(event string, spec *deployspec.Specification) (Step, error) {
	known := hooks.Scriptable(event) || slices.Contains(spec.AllPossibleLifecycleEvents, event)
	d, ok, err := x.revisionFor(event, spec)
	if err != nil || !ok {
		return Step{Noop: true}, err
	}
	if !known && !d.HasArchive() {
		x.Log.Warn("The service sent an unknown command; nothing was done.", zap.String("command", event))
		return Step{Noop: true}, nil
	}
	as, findings, err := appspec.Load(d.Archive(), spec.AppSpecFilename)
	if err != nil {
		return Step{}, x.explainAppSpec(err, d, spec)
	}
	for _, f := range findings.Warnings() {
		x.Log.Debug(f.String(), zap.String("deployment", d.ID()))
	}
	scripts := as.Hooks[event]
	if len(scripts) == 0 {
		if !known {
			x.Log.Warn("The service sent an unknown command; nothing was done.", zap.String("command", event))
		}
		return Step{Noop: true}, nil
	}
	return Step{Hook: &hooks.Request{
		Event:          event,
		Scripts:        scripts,
		Archive:        d.Archive(),
		Variables:      x.variables(event, spec),
		DeploymentID:   spec.DeploymentID,
		ScriptsLog:     x.deployment(spec).ScriptsLog(),
		DeploymentsLog: x.DeploymentsLog,
		Options:        x.Hooks,
	}}, nil
}

// revisionFor returns the deployment whose scripts an event runs. As soon as the current revision is unpacked every
// event uses it.
func (x *Executor) revisionFor(event string, spec *deployspec.Specification) (state.Deployment, bool, error) {
	current := x.deployment(spec)
	which := hooks.RevisionFor(event, spec.Creator, spec.Type)
	if which == hooks.Current || current.HasArchive() {
		return current, true, nil
	}
	group := x.Root.Group(spec.DeploymentGroupID)
	read := group.LastSuccessful
	if which == hooks.MostRecent {
		read = group.MostRecent
	}
	d, ok, err := read()
	if err != nil || !ok {
		return d, false, err
	}
	if !d.HasArchive() {
		x.Log.Warn("The earlier revision whose scripts this event would run is gone; nothing is run.",
			zap.String("event", event), zap.String("folder", d.Dir()))
		return d, false, nil
	}
	return d, true, nil
}

// explainAppSpec says whose AppSpec it is when it is not that of the revision being deployed.
func (x *Executor) explainAppSpec(err error, d state.Deployment, spec *deployspec.Specification) error {
	if d == x.deployment(spec) {
		return err
	}
	return fmt.Errorf("%w\nThis is the AppSpec file of the earlier deployment %s, whose scripts this lifecycle event runs. "+
		"To get past it, deploy with --ignore-application-stop-failures", err, d.ID())
}

func (x *Executor) deployment(spec *deployspec.Specification) state.Deployment {
	return x.Root.Group(spec.DeploymentGroupID).Deployment(spec.DeploymentID)
}

// variables are what a script learns of its host and its deployment. What is not known is absent, not empty.
func (x *Executor) variables(event string, spec *deployspec.Specification) []string {
	var vars []string
	if x.HostVariables != nil {
		vars = x.HostVariables()
	}
	vars = append(vars,
		"LIFECYCLE_EVENT="+event,
		"DEPLOYMENT_ID="+spec.DeploymentID,
		"APPLICATION_NAME="+spec.ApplicationName,
		"DEPLOYMENT_GROUP_NAME="+spec.DeploymentGroupName,
		"DEPLOYMENT_GROUP_ID="+spec.DeploymentGroupID,
	)
	add := func(name, value string) {
		if value != "" {
			vars = append(vars, name+"="+value)
		}
	}
	switch {
	case spec.Revision.S3 != nil:
		add("BUNDLE_BUCKET", spec.Revision.S3.Bucket)
		add("BUNDLE_KEY", spec.Revision.S3.Key)
		add("BUNDLE_VERSION", spec.Revision.S3.Version)
		add("BUNDLE_ETAG", spec.Revision.S3.ETag)
	case spec.Revision.GitHub != nil:
		add("BUNDLE_COMMIT", spec.Revision.GitHub.CommitID)
	}
	return vars
}

// waiting tells the log and whoever asks for the status what a command waits for.
func (x *Executor) waiting(what string) (over func()) {
	x.Log.Info("A command waits.", zap.String("wait", what))
	if x.Waiting == nil {
		return func() {}
	}
	return x.Waiting(what)
}
