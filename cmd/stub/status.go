package main

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"codedeploy-agent/internal/stub"
)

type statusCommand struct {
	connection
	JSON bool `help:"Print as JSON." name:"json"`
}

// Run shows what the service knows.
func (c *statusCommand) Run(ctx context.Context, o output) error {
	client := stub.NewClient(c.Server)
	defer client.Close()
	state, err := client.State(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		out := json.NewEncoder(o.out)
		out.SetIndent("", "  ")
		return out.Encode(state)
	}
	s := newScreen(o.out)
	s.line("Hosts")
	for _, h := range state.Hosts {
		s.line("  %-20s %s", h.Name, hostLine(h))
	}
	s.line("Deployments")
	for _, d := range state.Deployments {
		s.line("  %s  %s  %s %s", d.ID, s.status(d.Status), d.Created.Local().Format(time.TimeOnly), d.Message)
	}
	if len(state.Faults) > 0 {
		s.line("Faults")
		showFaults(s, state.Faults)
	}
	return nil
}

func hostLine(h stub.HostState) string {
	line := "no agent has polled yet"
	if !h.LastPoll.IsZero() {
		line = "polled " + time.Since(h.LastPoll).Round(time.Second).String() + " ago, agent " + h.AgentVersion
	}
	if len(h.Running) > 0 {
		line += ", runs " + strings.Join(h.Running, ", ")
	}
	if len(h.Waiting) > 0 {
		line += ", has to do " + strings.Join(h.Waiting, ", ")
	}
	return line
}
