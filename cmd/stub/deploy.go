package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"codedeploy-agent/internal/stub"
)

type deployCommand struct {
	connection
	Bundle             string        `arg:"" help:"Directory or archive to deploy." type:"path"`
	Group              string        `help:"Deployment group." default:"demo-group" short:"g"`
	Application        string        `help:"Application." default:"demo-application" short:"a"`
	Type               string        `help:"Archive to make of a directory: zip, tar or tgz; or the type of an archive whose name does not tell." short:"t" placeholder:"TYPE"`
	FileExistsBehavior string        `help:"What to do with files that lie in the way: DISALLOW, OVERWRITE or RETAIN." short:"b" placeholder:"X"`
	Host               []string      `help:"Deploy to this host only; may be repeated." placeholder:"NAME"`
	LoadBalancer       bool          `help:"Add the events of a load balancer."`
	OneAtATime         bool          `help:"Start a host when the one before it has succeeded."`
	IgnoreStopFailures bool          `help:"Go on when ApplicationStop fails."`
	Timeout            time.Duration `help:"Stop the deployment after this time." default:"1h"`
	JSON               bool          `help:"Print the final state as JSON instead of the steps." name:"json"`
}

// Validate is called by the parser.
func (c *deployCommand) Validate() error {
	switch c.FileExistsBehavior {
	case "", "DISALLOW", "OVERWRITE", "RETAIN":
	default:
		return fmt.Errorf("--file-exists-behavior: %q is not one of DISALLOW, OVERWRITE and RETAIN", c.FileExistsBehavior)
	}
	switch c.Type {
	case "", "zip", "tar", "tgz":
		return nil
	}
	return fmt.Errorf("--type: %q is not one of zip, tar and tgz", c.Type)
}

// Run deploys and follows.
func (c *deployCommand) Run(ctx context.Context, o output) error {
	client := stub.NewClient(c.Server)
	defer client.Close()
	rev, err := client.Push(ctx, c.Bundle, c.Type)
	if err != nil {
		return err
	}
	info, err := client.Deploy(ctx, stub.DeployOptions{
		Application: c.Application, Group: c.Group, Revision: rev, Hosts: c.Host, LoadBalancer: c.LoadBalancer, OneAtATime: c.OneAtATime,
		FileExistsBehavior: c.FileExistsBehavior, IgnoreApplicationStopFailures: c.IgnoreStopFailures,
	})
	if err != nil {
		return err
	}
	show := newScreen(o.out)
	if c.JSON {
		show = nil
	}
	if err := c.follow(ctx, client, info, show); err != nil {
		return err
	}
	if info, err = client.Deployment(ctx, info.ID); err != nil {
		return err
	}
	return c.verdict(o, show, info)
}

// follow shows the steps until the deployment ends.
func (c *deployCommand) follow(ctx context.Context, client *stub.Client, info stub.DeploymentInfo, show *screen) error {
	if show != nil {
		show.line("Deployment %s of %s to %s, hosts: %d", show.bold(info.ID), info.Application, info.Group, len(info.Hosts))
	}
	limited, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	remind := time.AfterFunc(3*time.Second, func() { c.remind(limited, client, show) })
	defer remind.Stop()
	err := client.Follow(limited, info.ID, func(e stub.Event) {
		if e.Name != "" {
			remind.Stop()
		}
		if show != nil {
			show.event(e, len(info.Hosts) > 1)
		}
	})
	if limited.Err() != nil && ctx.Err() == nil {
		_ = client.Stop(ctx, info.ID)
		return fmt.Errorf("deployment %s did not end within %s and was stopped", info.ID, c.Timeout)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("deployment %s goes on; see `codedeploy-stub status`", info.ID)
	}
	return err
}

// remind says so when nothing happens because no agent is there.
func (c *deployCommand) remind(ctx context.Context, client *stub.Client, show *screen) {
	state, err := client.State(ctx)
	if err != nil || show == nil {
		return
	}
	for _, h := range state.Hosts {
		if time.Since(h.LastPoll) > 30*time.Second {
			show.line("  %s", show.dim("waiting: no agent polls as "+h.Name+"; `codedeploy-stub serve` has printed how to start one"))
		}
	}
}

func (c *deployCommand) verdict(o output, show *screen, info stub.DeploymentInfo) error {
	if c.JSON {
		out := json.NewEncoder(o.out)
		out.SetIndent("", "  ")
		if err := out.Encode(info); err != nil {
			return err
		}
	} else {
		reason := ""
		if info.Message != "" {
			reason = ": " + info.Message
		}
		show.line("%s in %.1f s%s", show.status(info.Status), info.Ended.Sub(info.Created).Seconds(), reason)
	}
	if info.Status != stub.Succeeded {
		return errFailed
	}
	return nil
}
