package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"codedeploy-agent/appspec"
	"codedeploy-agent/hooks"
	"codedeploy-agent/internal/bundle"
	"codedeploy-agent/internal/deployspec"
	installer "codedeploy-agent/internal/install"
)

// install carries out Install: the files of the revision are in place, all of them or none.
func (x *Executor) install(ctx context.Context, spec *deployspec.Specification, token string) outcome {
	plan, err := x.Plan(ctx, spec, token)
	if err != nil {
		return failed(err)
	}
	if err := plan.Apply(ctx, x.Log.With(zap.String("deployment", spec.DeploymentID))); err != nil {
		return failed(err)
	}
	return succeeded("")
}

// Plan computes what Install would do, without doing it.
func (x *Executor) Plan(ctx context.Context, spec *deployspec.Specification, token string) (*installer.Plan, error) {
	d := x.deployment(spec)
	as, _, err := appspec.Load(d.Archive(), spec.AppSpecFilename)
	if err != nil {
		return nil, err
	}
	if err := checkLifecycleEvents(spec.AllPossibleLifecycleEvents, as); err != nil {
		return nil, err
	}
	attributes, err := bundle.ReadAttributes(d.Dir())
	if err != nil {
		return nil, err
	}
	return installer.Make(ctx, installer.Input{
		Archive:    d.Archive(),
		Attributes: attributes.Of,
		Spec:       as,
		Behavior:   appspec.FileExistsBehavior(spec.FileExistsBehavior),
		Group:      x.Root.Group(spec.DeploymentGroupID),
		Deployment: d,
		Token:      token,
		Compat1x:   x.Compat1x,
	})
}

// checkLifecycleEvents compares the events that the deployment may run with those that have hooks. An empty list
// means that nothing is demanded.
func checkLifecycleEvents(possible []string, as *appspec.Spec) error {
	if len(possible) == 0 {
		return nil
	}
	var unknown, missing []string
	for event := range as.Hooks {
		if !slices.Contains(possible, event) {
			unknown = append(unknown, event)
		}
	}
	for _, event := range possible {
		if _, has := as.Hooks[event]; !has && !slices.Contains(hooks.Events(), event) {
			missing = append(missing, event)
		}
	}
	slices.Sort(unknown)
	switch {
	case unknown != nil:
		return fmt.Errorf("the AppSpec file has hooks for lifecycle events that this deployment does not know: %s. It knows: %s",
			strings.Join(unknown, ", "), strings.Join(possible, ", "))
	case missing != nil:
		return fmt.Errorf("the deployment has lifecycle events for which the AppSpec file has no hook: %s. Add them under hooks",
			strings.Join(missing, ", "))
	}
	return nil
}
