package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"codedeploy-agent/internal/stub"
	"codedeploy-agent/internal/stub/fault"
)

type faultCommand struct {
	Set   faultSetCommand   `cmd:"" help:"Put a fault in force: status, throttle, reset, lost, delay, hang, garbage, cut, truncate, wrong-length, stall, rate, changed, ignore-range."`
	List  faultListCommand  `cmd:"" help:"List the faults and how often they struck."`
	Clear faultClearCommand `cmd:"" help:"End one fault or all."`
}

type faultSetCommand struct {
	connection
	Kind       string        `arg:"" help:"What goes wrong."`
	Service    string        `help:"commands, s3 or imds; all when left out." placeholder:"NAME"`
	Operation  string        `help:"For example PollHostCommand or GetObject; all when left out." placeholder:"NAME"`
	Host       string        `help:"Host identifier; all when left out." placeholder:"ID"`
	Key        string        `help:"bucket/key for s3, the path for imds." placeholder:"KEY"`
	Skip       int           `help:"Let so many matching requests pass first."`
	Count      int           `help:"How many requests are hit; -1 means all." default:"1"`
	Status     int           `help:"HTTP status to answer." placeholder:"N"`
	Code       string        `help:"Name of the error to answer." placeholder:"NAME"`
	Message    string        `help:"Message of the error to answer." placeholder:"TEXT"`
	RetryAfter time.Duration `help:"Retry-After of a throttle." placeholder:"TIME"`
	Delay      time.Duration `help:"How long to wait (delay, stall)." placeholder:"TIME"`
	After      int64         `help:"After how many bytes of the body (cut, truncate, wrong-length, stall)." placeholder:"N"`
	Rate       int64         `help:"Bytes a second (rate)." placeholder:"N"`
	Body       string        `help:"Body to answer (garbage)." placeholder:"TEXT"`
}

// Run sets the fault.
func (c *faultSetCommand) Run(ctx context.Context, o output) error {
	f := fault.Fault{
		Kind: fault.Kind(c.Kind), Service: c.Service, Operation: c.Operation, Host: c.Host, Key: c.Key, Skip: c.Skip, Count: c.Count,
		Status: c.Status, Code: c.Code, Message: c.Message, RetryAfter: c.RetryAfter, Delay: c.Delay, After: c.After, Rate: c.Rate, Body: c.Body,
	}
	if err := f.Check(); err != nil {
		return usageError{err}
	}
	client := stub.NewClient(c.Server)
	defer client.Close()
	id, err := client.SetFault(ctx, f)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.out, "fault %d is in force; end it with `codedeploy-stub fault clear %d`\n", id, id)
	return err
}

type faultListCommand struct{ connection }

// Run lists the faults.
func (c *faultListCommand) Run(ctx context.Context, o output) error {
	client := stub.NewClient(c.Server)
	defer client.Close()
	faults, err := client.Faults(ctx)
	if err != nil {
		return err
	}
	showFaults(newScreen(o.out), faults)
	return nil
}

func showFaults(s *screen, faults []fault.Fault) {
	for _, f := range faults {
		var where []string
		for _, part := range []string{f.Service, f.Operation, f.Host, f.Key} {
			if part != "" {
				where = append(where, part)
			}
		}
		s.line("  %d  %-12s %-40s struck %d of %d", f.ID, f.Kind, strings.Join(where, " "), f.Hits, f.Count)
	}
}

type faultClearCommand struct {
	connection
	ID int `arg:"" optional:"" help:"Number of the fault; all when left out."`
}

// Run ends faults.
func (c *faultClearCommand) Run(ctx context.Context, _ output) error {
	client := stub.NewClient(c.Server)
	defer client.Close()
	return client.ClearFaults(ctx, c.ID)
}
