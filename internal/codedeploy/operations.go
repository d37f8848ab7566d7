package codedeploy

import (
	"context"
	"fmt"
)

// The operations, as they are called on the wire.
const (
	poll          = "PollHostCommand"
	specification = "GetDeploymentSpecification"
	acknowledge   = "PutHostCommandAcknowledgement"
	complete      = "PutHostCommandComplete"
)

// Status is where a command stands in the eyes of the service.
type Status string

// The statuses of a command.
const (
	Pending    Status = "Pending"
	InProgress Status = "InProgress"
	Succeeded  Status = "Succeeded"
	Failed     Status = "Failed"
)

// HostCommand is one step of a deployment that this host shall take.
type HostCommand struct {
	HostCommandIdentifier string
	HostIdentifier        string
	DeploymentExecutionID string `json:"DeploymentExecutionId"`
	CommandName           string
}

// Envelope is a text with the name of its format.
type Envelope struct {
	Format  string
	Payload string
}

// DeploymentSpecification is what a deployment is about, still sealed; package deployspec opens the envelope.
type DeploymentSpecification struct {
	// System must be "CodeDeploy".
	System   string
	Envelope Envelope
}

// Poll asks whether there is something to do for this host; nil without an error says no. The service may hold the
// answer back for most of the read timeout.
func (c *Client) Poll(ctx context.Context, hostIdentifier string) (*HostCommand, error) {
	in := struct{ HostIdentifier string }{hostIdentifier}
	var out struct{ HostCommand *HostCommand }
	if err := c.call(ctx, poll, in, &out); err != nil {
		return nil, err
	}
	return out.HostCommand, nil
}

// Specification fetches the specification of a deployment. One that the service leaves out is returned empty.
func (c *Client) Specification(ctx context.Context, executionID, hostIdentifier string) (*DeploymentSpecification, error) {
	in := struct {
		DeploymentExecutionID string `json:"DeploymentExecutionId"`
		HostIdentifier        string
	}{executionID, hostIdentifier}
	var out struct {
		DeploymentSystem        string
		DeploymentSpecification struct{ GenericEnvelope Envelope }
	}
	if err := c.call(ctx, specification, in, &out); err != nil {
		return nil, err
	}
	return &DeploymentSpecification{System: out.DeploymentSystem, Envelope: out.DeploymentSpecification.GenericEnvelope}, nil
}

// Acknowledge tells the service that the command has arrived and whether there is nothing to do for it. The status in
// the answer decides what happens next; it is empty when the service leaves it out.
func (c *Client) Acknowledge(ctx context.Context, hostCommandIdentifier string, noop bool) (Status, error) {
	in := struct {
		HostCommandIdentifier string
		Diagnostics           Envelope
	}{hostCommandIdentifier, Envelope{Format: "JSON", Payload: fmt.Sprintf(`{"IsCommandNoop":%t}`, noop)}}
	var out struct{ CommandStatus Status }
	if err := c.call(ctx, acknowledge, in, &out); err != nil {
		return "", err
	}
	return out.CommandStatus, nil
}

// Complete reports the result of a command. It returns nil when, and only when, the service has taken the report.
func (c *Client) Complete(ctx context.Context, hostCommandIdentifier string, status Status, d Diagnostics) error {
	in := struct {
		HostCommandIdentifier string
		CommandStatus         Status
		Diagnostics           Envelope
	}{hostCommandIdentifier, status, d.Envelope()}
	return c.call(ctx, complete, in, nil)
}
