package behaviour

import (
	"time"

	"codedeploy-agent/internal/stub"
	"codedeploy-agent/internal/stub/fault"
)

// everyHook is what a deployment with traffic events leaves in the trace when an earlier revision named one was
// installed and every hook of both runs once.
var everyHook = []string{
	"one BeforeBlockTraffic", "one AfterBlockTraffic", "one ApplicationStop", "two BeforeInstall", "two AfterInstall", "two ApplicationStart",
	"two ValidateService", "two BeforeAllowTraffic", "two AfterAllowTraffic",
}

var _ = add(Traps,
	Case{Name: "a storm of faults: every hook runs once, in order, and every command is reported once", Run: func(h *Host) {
		h.Start()
		h.Succeed(stub.DeployOptions{Revision: h.Push(marked("one"))})
		r := h.Push(marked("two"))
		h.clearTrace()
		for _, f := range []fault.Fault{
			{Operation: getSpecification, Kind: fault.Status, Status: 500, Skip: 1, Count: 2},
			{Operation: getSpecification, Kind: fault.Reset, Skip: 6},
			{Operation: acknowledgement, Kind: fault.Lost, Skip: 2},
			{Operation: acknowledgement, Kind: fault.Garbage, Status: 502, Skip: 5},
			{Operation: complete, Kind: fault.Lost, Skip: 1},
			{Operation: complete, Kind: fault.Status, Status: 503, Skip: 4},
			{Operation: complete, Kind: fault.Reset, Skip: 7},
			{Operation: pollHostCommand, Kind: fault.Reset, Skip: 4},
			{Operation: pollHostCommand, Kind: fault.Lost, Skip: 9},
			{Service: "s3", Operation: "GetObject", Kind: fault.Status, Status: 503},
		} {
			h.fault(f)
		}
		h.Succeed(stub.DeployOptions{LoadBalancer: true, Revision: r})
		h.Same("hooks", everyHook, h.Lines("trace"))
		for _, c := range h.Twin.Commands() {
			for _, r := range c.Reports {
				h.Same("status of "+c.Name, stub.Succeeded, r.Status)
				h.Same("accepted", true, r.Accepted)
			}
		}
	}},
	Case{Name: "killed again and again during one deployment: every hook runs once, in order, and the deployment succeeds", Run: func(h *Host) {
		h.Start()
		h.Succeed(stub.DeployOptions{Revision: h.Push(marked("one", "sleep 0.15"))})
		r := h.Push(marked("two", "sleep 0.15"))
		h.clearTrace()
		d := h.Begin(stub.DeployOptions{LoadBalancer: true, Revision: r})
		for pause := 60 * time.Millisecond; !d.Info().Status.Ended(); pause = min(pause+90*time.Millisecond, 600*time.Millisecond) {
			time.Sleep(pause)
			h.Kill()
			h.Start()
		}
		h.Same("status", stub.Succeeded, h.End(d).Status)
		h.Same("hooks", everyHook, h.Lines("trace"))
		for _, c := range h.Twin.Commands() {
			for _, r := range c.Reports {
				h.Same("payload of "+c.Name, c.Reports[0].Diagnostics.Payload, r.Diagnostics.Payload)
			}
		}
	}},
	Case{Name: "the service goes away in the middle of a deployment and comes back: nothing is lost", Run: func(h *Host) {
		h.Start()
		d := h.Begin(stub.DeployOptions{Events: hookEvents, Revision: h.Push(waiting(""))})
		h.Await("the hook", func() bool { return len(h.Lines("trace")) == 1 })
		h.Twin.Down()
		h.Write("go", "")
		h.Await("the end of the hook", func() bool { return len(h.Lines("trace")) == 2 })
		time.Sleep(briefly)
		if err := h.Twin.Up(); err != nil {
			h.Fatal(err)
		}
		h.Same("status", stub.Succeeded, h.End(d).Status)
		h.OneReport()
	}},
)
