package behaviour

import (
	"slices"
	"strings"
	"time"

	"codedeploy-agent/internal/stub"
	"codedeploy-agent/internal/stub/fault"
)

// weathered is a case in which calls fail for a while and a deployment with one hook succeeds all the same, with its
// hook run once and every report accepted once.
func weathered(name string, faults ...fault.Fault) Case {
	return Case{Name: name, Run: func(h *Host) {
		h.Service(noops(stub.InProgress))
		h.Start()
		r := h.Push(withHooks("hooks:\n  AfterInstall:\n    - location: hook.sh\n"))
		for _, f := range faults {
			h.fault(f)
		}
		info := h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle", "AfterInstall"}, Revision: r})
		h.Same("hooks", []string{"AfterInstall of " + info.ID}, h.Lines("trace"))
		h.PollsMore(1)
		for _, c := range h.Twin.Commands() {
			for _, r := range c.Reports {
				h.Same("status of "+c.Name, stub.Succeeded, r.Status)
			}
		}
		for _, f := range h.Twin.Faults() {
			h.Same("requests that met the fault "+string(f.Kind), max(f.Count, 1), f.Hits)
		}
		h.Await("the end of the tracking file", func() bool { return len(h.Entries(h.Root("ongoing-deployment"))) == 0 })
	}}
}

const (
	getSpecification = "GetDeploymentSpecification"
	acknowledgement  = "PutHostCommandAcknowledgement"
	complete         = "PutHostCommandComplete"
	pollHostCommand  = "PollHostCommand"
)

var _ = add(Traps,
	weathered("three errors 500 for the specification do not fail the command", fault.Fault{Operation: getSpecification, Kind: fault.Status, Status: 500, Count: 3}),
	weathered("a connection reset while the specification is fetched does not fail the command", fault.Fault{Operation: getSpecification, Kind: fault.Reset}),
	weathered("a page of a proxy instead of the specification does not fail the command", fault.Fault{Operation: getSpecification, Kind: fault.Garbage, Status: 502, Count: 2}),
	weathered("errors 500 for the acknowledgement do not fail the command", fault.Fault{Operation: acknowledgement, Kind: fault.Status, Status: 500, Count: 2}),
	weathered("an acknowledgement whose answer is lost is repeated, and the command carried out once", fault.Fault{Operation: acknowledgement, Kind: fault.Lost}),
	weathered("an acknowledgement that is reset is repeated", fault.Fault{Operation: acknowledgement, Kind: fault.Reset, Count: 2}),
	weathered("a throttled acknowledgement is repeated", fault.Fault{Operation: acknowledgement, Kind: fault.Throttle}),
	weathered("a throttled specification with Retry-After is fetched again", fault.Fault{Operation: getSpecification, Kind: fault.Throttle, RetryAfter: time.Second}),
	weathered("a service unavailable (503) for a poll is survived", fault.Fault{Operation: pollHostCommand, Kind: fault.Status, Status: 503, Count: 1}),
	weathered("a poll that is reset is survived", fault.Fault{Operation: pollHostCommand, Kind: fault.Reset}),
)

var _ = add(Correctness,
	weathered("9: errors 500 for the report of success never turn it into a failure", fault.Fault{Operation: complete, Kind: fault.Status, Status: 500, Count: 2}),
	weathered("9: a report whose answer is lost is repeated word for word", fault.Fault{Operation: complete, Kind: fault.Lost}),
	weathered("9: a report that is reset is repeated", fault.Fault{Operation: complete, Kind: fault.Reset}),
	weathered("9: a throttled report is repeated", fault.Fault{Operation: complete, Kind: fault.Throttle}),
	weathered("9: a report that is answered with a page of a proxy is repeated", fault.Fault{Operation: complete, Kind: fault.Garbage, Status: 502}),
	weathered("9: denied access for a report does not lose it: the role may be attached again",
		fault.Fault{Operation: complete, Kind: fault.Status, Status: 400, Code: "AccessDeniedException", Message: "no"}),
	Case{Name: "9: the tracking file and the result stay until the service has taken the report", Run: func(h *Host) {
		h.Service(stub.Options{})
		h.Start()
		r := h.Push(withHooks("hooks:\n  AfterInstall:\n    - location: hook.sh\n"))
		id := h.fault(fault.Fault{Operation: complete, Kind: fault.Status, Status: 500, Skip: 1, Count: -1})
		d := h.Begin(stub.DeployOptions{Events: []string{"DownloadBundle", "AfterInstall"}, Revision: r})
		h.Await("two reports that were not taken", func() bool { return h.Twin.Faults()[id-1].Hits >= 2 })
		commands := h.Twin.Commands()
		h.Same("the tracking file", commands[len(commands)-1].ID, h.Text(h.Root("ongoing-deployment", d.ID())))
		h.Twin.ClearFaults()
		h.Same("status", stub.Succeeded, h.End(d).Status)
		h.Await("the end of the tracking file", func() bool { return !h.Exists(h.Root("ongoing-deployment", d.ID())) })
		h.Same("hooks", 1, len(h.Lines("trace")))
	}},
	Case{Name: "9: a report that the service refuses for good is given up, and the next deployment goes through", Run: func(h *Host) {
		h.Service(stub.Options{})
		h.Start()
		r := h.Push(web("AfterInstall"))
		h.fault(fault.Fault{Operation: complete, Kind: fault.Status, Status: 400, Code: "ClientException", Message: "too late"})
		s := h.Send(stub.RawCommand{Name: "DownloadBundle", Specification: h.Specification(r, nil)})
		h.Await("the refused report", func() bool { return h.Twin.Faults()[0].Hits == 1 })
		h.Await("the end of the tracking file", func() bool { return !h.Exists(h.Root("ongoing-deployment", "d-ABCDEF123")) })
		h.Same("reports that were taken", 0, len(h.reports(s.Command())))
		h.Succeed(stub.DeployOptions{Revision: r})
		h.Same("reports of the first command in the end", 0, len(h.reports(s.Command())))
	}},
	Case{Name: "10: a command that is delivered again and again while it runs is run once", Run: func(h *Host) {
		h.Service(stub.Options{AnswerNoop: stub.InProgress})
		h.Start()
		b := withHooks("hooks:\n  AfterInstall:\n    - location: hook.sh\n")
		b["hook.sh"] += "while [ ! -e HOST/go ]; do sleep 0.02; done\n"
		spec := h.Specification(h.Push(b), nil)
		h.Carry(stub.RawCommand{Name: "DownloadBundle", Specification: spec})
		// The acknowledgement hangs, so the service delivers the command with every poll.
		h.fault(fault.Fault{Operation: acknowledgement, Kind: fault.Delay, Delay: briefly})
		s := h.Send(stub.RawCommand{Name: "AfterInstall", Specification: spec})
		h.Await("the hook", func() bool { return len(h.Lines("trace")) > 0 })
		if n := s.Command().Deliveries; n < 2 {
			h.Errorf("delivered %d times only", n)
		}
		h.PollsMore(2)
		h.Write("go", "")
		c := h.Ended(s)
		h.PollsMore(2)
		h.Same("hooks", 1, len(h.Lines("trace")))
		h.Same("operations", []string{getSpecification, acknowledgement, complete}, h.Operations(c))
	}},
	Case{Name: "10: a command that is delivered again after its end is ignored", Run: func(h *Host) {
		h.Start()
		spec := h.Specification(h.Push(withHooks("hooks:\n  AfterInstall:\n    - location: hook.sh\n")), nil)
		h.Carry(stub.RawCommand{Name: "DownloadBundle", Specification: spec})
		c := h.Carry(stub.RawCommand{Name: "AfterInstall", Specification: spec})
		again := h.Send(stub.RawCommand{Name: "AfterInstall", ID: c.ID, ExecutionID: c.ExecutionID, Specification: spec})
		h.Await("three deliveries", func() bool { return again.Command().Deliveries >= 3 })
		h.Same("acknowledgements", 0, again.Command().Acknowledgements)
		h.Same("hooks", 1, len(h.Lines("trace")))
		h.Same("operations", []string{getSpecification, acknowledgement, complete}, h.Operations(c))
	}},
	Case{Name: "10: a command that was known is not run again after a restart of the agent either", Run: func(h *Host) {
		h.Start()
		spec := h.Specification(h.Push(withHooks("hooks:\n  AfterInstall:\n    - location: hook.sh\n")), nil)
		h.Carry(stub.RawCommand{Name: "DownloadBundle", Specification: spec})
		c := h.Carry(stub.RawCommand{Name: "AfterInstall", Specification: spec})
		h.Stop()
		h.Start()
		again := h.Send(stub.RawCommand{Name: "AfterInstall", ID: c.ID, ExecutionID: c.ExecutionID, Specification: spec})
		h.Await("three deliveries", func() bool { return again.Command().Deliveries >= 3 })
		h.Same("hooks", 1, len(h.Lines("trace")))
		h.Same("acknowledgements", 0, again.Command().Acknowledgements)
	}},
	Case{Name: "21: polling recovers within seconds from an outage", Run: func(h *Host) {
		h.Service(stub.Options{})
		h.Start()
		h.PollsMore(1)
		h.Twin.Down()
		time.Sleep(briefly)
		if err := h.Twin.Up(); err != nil {
			h.Fatal(err)
		}
		back := time.Now()
		h.PollsMore(1)
		if took := time.Since(back); took > 15*time.Second {
			h.Errorf("the first poll came %s after the service was back", took)
		}
		h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle"}, Revision: h.Push(withHooks("hooks: {}\n"))})
	}},
	Case{Name: "21: a throttled poll heeds Retry-After", Run: func(h *Host) {
		h.Service(stub.Options{})
		h.fault(fault.Fault{Operation: pollHostCommand, Kind: fault.Throttle, RetryAfter: 2 * time.Second, Skip: 1})
		h.Start()
		h.Await("the poll after it", func() bool { return h.Polls() >= 3 })
		polls := slices.DeleteFunc(h.Twin.Transcript(), func(r recorded) bool { return r.Operation != pollHostCommand })
		if pause := polls[2].Time.Sub(polls[1].Time); pause < 1900*time.Millisecond {
			h.Errorf("the next poll came after %s", pause)
		}
	}},
	Case{Name: "21: polls that are refused do not come in a storm", Run: func(h *Host) {
		h.Service(stub.Options{})
		h.fault(fault.Fault{Operation: pollHostCommand, Kind: fault.Status, Status: 400, Code: "AccessDeniedException", Message: "no", Count: -1})
		h.Start()
		h.Await("a poll", func() bool { return h.Polls() > 0 })
		time.Sleep(time.Second)
		if n := h.Polls(); n > 6 {
			h.Errorf("%d polls in a second", n)
		}
		h.Lacks("the agent's log", h.Self.SecretAccessKey, h.AgentLog()+h.Text("stderr.log"))
		h.Matches("the agent's log", `AccessDenied`, h.AgentLog())
	}},
	Case{Name: "secrets are in no log, also with verbose and the wire log", Run: func(h *Host) {
		h.Set("verbose", true)
		h.Set("log_aws_wire", true)
		h.Start()
		h.Succeed(stub.DeployOptions{Revision: h.Push(web("AfterInstall")), Specification: map[string]any{"GitHubAccessToken": "ghp_secret_token_0123456789"}})
		for _, secret := range []string{h.Self.SecretAccessKey, "ghp_secret_token_0123456789"} {
			if strings.Contains(h.AgentLog(), secret) {
				h.Error("a secret is in the logs")
			}
		}
	}},
)
