package behaviour

import (
	"fmt"
	"time"

	"codedeploy-agent/internal/stub"
)

// noops answers the acknowledgement of a no-op in another way than the service usually does.
func noops(answer stub.Status) stub.Options { return stub.Options{AnswerNoop: answer} }

// withHooks is a bundle without files whose AppSpec ends in the given text.
func withHooks(hooks string) Bundle {
	return Bundle{
		"appspec.yml": "version: 0.0\nos: linux\n" + hooks,
		"hook.sh":     "#!/bin/sh\necho $LIFECYCLE_EVENT of $DEPLOYMENT_ID >> HOST/trace\n",
	}
}

// noopIs is a case in which one event after DownloadBundle is acknowledged as a no-op, or as work.
func noopIs(name string, hooks, event string, want bool) Case {
	return Case{Name: name, Run: func(h *Host) {
		h.Service(noops(stub.InProgress))
		h.Start()
		info := h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle", event}, Revision: h.Push(withHooks(hooks))})
		h.Same("no-op", want, h.Event(info, event).Noop)
		h.Same("payload", `{"error_code":0,"script_name":"","message":"Succeeded: ","log":""}`, h.Event(info, event).Diagnostics.Payload)
		h.Same("the hook ran", !want, h.Exists("trace"))
	}}
}

var _ = add(Protocol,
	noopIs("a hook that the AppSpec does not have is a no-op", "hooks:\n  AfterInstall:\n    - location: hook.sh\n", "BeforeInstall", true),
	noopIs("a hook that is null is a no-op", "hooks:\n  BeforeInstall:\n", "BeforeInstall", true),
	noopIs("a hook that is an empty list is a no-op", "hooks:\n  BeforeInstall: []\n", "BeforeInstall", true),
	noopIs("without hooks everything is a no-op", "hooks:\n", "ValidateService", true),
	noopIs("a hook with a script is none", "hooks:\n  ValidateService:\n    - location: hook.sh\n", "ValidateService", false),
	noopIs("the script of an event with another case is not its own", "hooks:\n  validateservice:\n    - location: hook.sh\n", "ValidateService", true),

	Case{Name: "a stop hook without an earlier successful revision is a no-op", Run: func(h *Host) {
		h.Service(noops(stub.InProgress))
		h.Start()
		info := h.Succeed(stub.DeployOptions{LoadBalancer: true, Revision: h.Push(withHooks(
			"hooks:\n  ApplicationStop: &s\n    - location: hook.sh\n  BeforeBlockTraffic: *s\n  AfterBlockTraffic: *s\n"))})
		for _, event := range []string{"BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop"} {
			h.Same(event+" is a no-op", true, h.Event(info, event).Noop)
		}
		h.Same("hooks", 0, len(h.Lines("trace")))
	}},
	Case{Name: "an unknown command is a no-op and completed as succeeded", Run: func(h *Host) {
		h.Service(noops(stub.InProgress))
		h.Start()
		for _, events := range [][]string{{"MakeCoffee"}, {"DownloadBundle", "MakeCoffee"}, {"BlockTraffic2", "AllowTraffic2"}} {
			info := h.Succeed(stub.DeployOptions{Events: events, Revision: h.Push(web("AfterInstall"))})
			last := events[len(events)-1]
			h.Same(last+" is a no-op", true, h.Event(info, last).Noop)
			h.Same("code", 0, h.Event(info, last).Diagnostics.ErrorCode)
		}
	}},
	Case{Name: "a lifecycle event of the customer's own runs its hook", Run: func(h *Host) {
		h.Start()
		info := h.Succeed(stub.DeployOptions{
			Events:                     []string{"DownloadBundle", "Install", "WarmUpCaches"},
			AllPossibleLifecycleEvents: []string{"ApplicationStop", "DownloadBundle", "Install", "WarmUpCaches"},
			Revision:                   h.Push(withHooks("hooks:\n  WarmUpCaches:\n    - location: hook.sh\n")),
		})
		h.Same("hooks", []string{"WarmUpCaches of " + info.ID}, h.Lines("trace"))
	}},
	Case{Name: "Install refuses hooks for events that the deployment cannot have", Run: func(h *Host) {
		h.Start()
		d := h.Fail("Install", stub.DeployOptions{
			AllPossibleLifecycleEvents: []string{"ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall"},
			Revision:                   h.Push(withHooks("hooks:\n  BeforInstall:\n    - location: hook.sh\n")),
		})
		h.Failure(d, 5, "", "BeforInstall")
	}},
	Case{Name: "Install refuses a deployment with an own event that the AppSpec does not have", Run: func(h *Host) {
		h.Start()
		d := h.Fail("Install", stub.DeployOptions{
			AllPossibleLifecycleEvents: []string{"DownloadBundle", "Install", "WarmUpCaches"},
			Revision:                   h.Push(withHooks("hooks: {}\n")),
		})
		h.Failure(d, 5, "", "WarmUpCaches")
	}},
	Case{Name: "an update of the agent is a no-op with a warning, and nothing is installed over it", Run: func(h *Host) {
		h.Service(noops(stub.InProgress))
		h.Start()
		c := h.Carry(stub.RawCommand{Name: "UpdateDeploymentAgent", NoSpecification: true})
		h.Same("status", stub.Succeeded, c.Status)
		h.Same("no-op", true, *c.Noop)
		h.Same("code", 0, h.Diagnostics(c).ErrorCode)
		for _, r := range h.Twin.Transcript() {
			h.Same("asked services", "commands", r.Service)
		}
		h.Matches("the agent's log", `(?i)warn.*update`, h.AgentLog())
	}},
	Case{Name: "ids may be ARNs: folders, variables and reuse go by the short id", Run: func(h *Host) {
		h.Start()
		r := h.Push(withHooks("hooks:\n  AfterInstall:\n    - location: hook.sh\n"))
		spec := h.Specification(r, map[string]any{"DeploymentId": "arn:aws:codedeploy:us-east-1:123456789012:deployment/d-SHORT0001"})
		for _, name := range []string{"DownloadBundle", "AfterInstall"} {
			h.Same(name, stub.Succeeded, h.Carry(stub.RawCommand{Name: name, Specification: spec}).Status)
		}
		h.Same("hooks", []string{"AfterInstall of d-SHORT0001"}, h.Lines("trace"))
		h.Same("the folder is there", true, h.Exists(h.Root("a-group-id", "d-SHORT0001", "deployment-archive")))
	}},
	Case{Name: "members that are null or empty count as absent", Run: func(h *Host) {
		h.Start()
		r := h.Push(web("AfterInstall"))
		spec := h.Specification(r, map[string]any{
			"DeploymentCreator": nil, "DeploymentType": "", "AppSpecFilename": nil, "AgentActionOverrides": nil,
			"AllPossibleLifecycleEvents": nil, "GitHubAccessToken": nil, "ReuseArchiveFromDeploymentId": "", "ApplicationId": nil, "Whatever": map[string]any{"x": 1},
		})
		for _, name := range []string{"DownloadBundle", "Install", "AfterInstall"} {
			h.Same(name, stub.Succeeded, h.Carry(stub.RawCommand{Name: name, Specification: spec}).Status)
		}
		h.Same("page", "page\n", h.Text("www/index.html"))
	}},
	Case{Name: "large and unknown members of a command do no harm", Run: func(h *Host) {
		h.Start()
		r := h.Push(web("AfterInstall"))
		c := h.Carry(stub.RawCommand{Name: "DownloadBundle", Nonce: 1<<62 + 1, Specification: h.Specification(r, nil)})
		h.Same("status", stub.Succeeded, c.Status)
	}},
)

// answered is a case about one answer to acknowledgements.
func answered(name string, answer stub.Status, check func(*Host, stub.Command)) Case {
	return Case{Name: name, Run: func(h *Host) {
		h.Start()
		r := h.Push(withHooks("hooks:\n  AfterInstall:\n    - location: hook.sh\n"))
		spec := h.Specification(r, nil)
		h.Same("download", stub.Succeeded, h.Carry(stub.RawCommand{Name: "DownloadBundle", Specification: spec}).Status)
		s := h.Send(stub.RawCommand{Name: "AfterInstall", Specification: spec, AckAnswer: answer})
		h.Await("an acknowledgement", func() bool { return s.Command().Acknowledgements > 0 })
		if answer == stub.Failed {
			h.PollsMore(3)
			time.Sleep(briefly)
		} else {
			h.Ended(s)
			h.PollsMore(2)
		}
		check(h, s.Command())
	}}
}

func ranAndReported(h *Host, c stub.Command) {
	h.Same("hooks", 1, len(h.Lines("trace")))
	h.Same("reports", 1, len(c.Reports))
	h.Same("status", stub.Succeeded, c.Status)
}

var _ = add(Protocol,
	answered("acknowledgement answered InProgress: carried out and completed", stub.InProgress, ranAndReported),
	answered("acknowledgement answered Pending: carried out and completed", stub.Pending, ranAndReported),
	answered("acknowledgement answered without a status: carried out and completed", stub.NoStatus, ranAndReported),
	answered("acknowledgement answered Succeeded: neither carried out nor completed", stub.Succeeded, func(h *Host, c stub.Command) {
		h.Same("hooks", 0, len(h.Lines("trace")))
		h.Same("reports", 0, len(c.Reports))
	}),
	answered("acknowledgement of a real command answered Failed: neither carried out nor completed", stub.Failed, func(h *Host, c stub.Command) {
		h.Same("hooks", 0, len(h.Lines("trace")))
		h.Same("reports", 0, len(c.Reports))
		h.Same("tracking file", false, h.Exists(h.Root("ongoing-deployment", "d-ABCDEF123")))
	}),
	Case{Name: "acknowledgement of a no-op answered Failed: the specification is looked at again and the no-op completed as succeeded", Run: func(h *Host) {
		h.Service(noops(stub.Failed))
		h.Start()
		r := h.Push(withHooks("hooks: {}\n"))
		c := h.Carry(stub.RawCommand{Name: "ApplicationStop", Specification: h.Specification(r, nil)})
		h.Same("operations", []string{
			"GetDeploymentSpecification", "PutHostCommandAcknowledgement", "GetDeploymentSpecification", "PutHostCommandComplete",
		}, h.Operations(c))
		h.Same("status", stub.Succeeded, c.Status)
		h.Same("code", 0, h.Diagnostics(c).ErrorCode)
		h.Matches("message", "^Succeeded: CompletedNoopCommand$", h.Diagnostics(c).Message)
	}},
	Case{Name: "acknowledgement of a no-op answered Succeeded: no report", Run: func(h *Host) {
		h.Start()
		h.Succeed(stub.DeployOptions{Revision: h.Push(withHooks("hooks: {}\n"))})
		h.PollsMore(2)
		for _, c := range h.Twin.Commands() {
			h.Same(fmt.Sprintf("reports of %s", c.Name), c.Name == "DownloadBundle" || c.Name == "Install", len(c.Reports) == 1)
		}
	}},
	Case{Name: "the specification is fetched for every command anew: a change of it counts from the next command on", Run: func(h *Host) {
		h.Start()
		r := h.Push(Bundle{
			"appspec.yml": "version: 0.0\nos: linux\n", "other.yml": "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: hook.sh\n",
			"hook.sh": "#!/bin/sh\necho $APPLICATION_NAME >> HOST/trace\n",
		})
		h.Carry(stub.RawCommand{Name: "DownloadBundle", Specification: h.Specification(r, nil)})
		h.Carry(stub.RawCommand{Name: "AfterInstall", Specification: h.Specification(r, map[string]any{
			"AppSpecFilename": "other.yml", "ApplicationName": "renamed",
		})})
		h.Same("hooks", []string{"renamed"}, h.Lines("trace"))
	}},
)
