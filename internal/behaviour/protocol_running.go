package behaviour

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"codedeploy-agent/internal/stub"
	"codedeploy-agent/internal/stub/fault"
)

// waiting is a bundle whose AfterInstall leaves a line in trace, then waits for the file HOST/go.
func waiting(more string) Bundle {
	b := withHooks("hooks:\n  AfterInstall:\n    - {location: hook.sh, timeout: 60}\n")
	b["hook.sh"] += "while [ ! -e HOST/go ]; do sleep 0.02; done\necho end >> HOST/trace\n" + more
	return b
}

// hookEvents is the shortest deployment with a hook.
var hookEvents = []string{"DownloadBundle", "AfterInstall"}

var _ = add(Protocol,
	Case{Name: "polling goes on while a hook runs", Run: func(h *Host) {
		h.Start()
		d := h.Begin(stub.DeployOptions{Events: hookEvents, Revision: h.Push(waiting(""))})
		h.Await("the hook", func() bool { return len(h.Lines("trace")) == 1 })
		h.PollsMore(3)
		h.Write("go", "")
		h.Same("status", stub.Succeeded, h.End(d).Status)
	}},
	Case{Name: "two deployment groups of one host are deployed at the same time", Run: func(h *Host) {
		h.Start()
		r := h.Push(waiting(""))
		one := h.Begin(stub.DeployOptions{Group: "one", Events: hookEvents, Revision: r})
		two := h.Begin(stub.DeployOptions{Group: "two", Events: hookEvents, Revision: r})
		h.Await("both hooks", func() bool { return len(h.Lines("trace")) == 2 })
		h.Same("tracking files", 2, len(h.Entries(h.Root("ongoing-deployment"))))
		h.Write("go", "")
		h.Same("one", stub.Succeeded, h.End(one).Status)
		h.Same("two", stub.Succeeded, h.End(two).Status)
		h.OneReport()
	}},
	Case{Name: "sixteen commands run at once, and twenty do not stop the polling", Run: func(h *Host) {
		h.Service(noops(stub.InProgress))
		h.Start()
		r := h.Push(waiting(""))
		all := make([]*stub.Sent, 20)
		for _, event := range hookEvents {
			for i := range all {
				all[i] = h.Send(stub.RawCommand{Name: event, Specification: h.Specification(r, map[string]any{
					"DeploymentId": fmt.Sprintf("d-%09d", i), "DeploymentGroupId": fmt.Sprintf("group-%d", i),
				})})
			}
			if event == "DownloadBundle" {
				for _, s := range all {
					h.Ended(s)
				}
			}
		}
		h.Await("sixteen hooks", func() bool { return len(h.Lines("trace")) == 16 })
		h.PollsMore(2)
		h.Write("go", "")
		for _, s := range all {
			h.Same("status", stub.Succeeded, h.Ended(s).Status)
		}
		h.Same("hooks", 40, len(h.Lines("trace")))
		h.OneReport()
	}},
	Case{Name: "a command that the service holds back in a long poll comes at once", Run: func(h *Host) {
		h.Service(stub.Options{LongPoll: time.Minute})
		h.Start()
		h.Await("a poll", func() bool { return len(h.Twin.Transcript()) > 0 })
		h.Succeed(stub.DeployOptions{Revision: h.Push(web("AfterInstall"))})
		h.Stop()
	}},
	Case{Name: "wait_between_runs is for polls that bring nothing: a deployment does not wait for it between its events", Run: func(h *Host) {
		h.Service(stub.Options{})
		h.Set("wait_between_runs", 20)
		r := h.Push(web("AfterInstall"))
		d := h.Begin(stub.DeployOptions{Revision: r})
		h.Start()
		began := time.Now()
		h.Same("status", stub.Succeeded, h.End(d).Status)
		if took := time.Since(began); took > 15*time.Second {
			h.Errorf("the deployment took %s", took)
		}
	}},
)

var _ = add(Hooks,
	Case{Name: "the tracking file names the command from the acknowledgement to the report", Run: func(h *Host) {
		h.Start()
		d := h.Begin(stub.DeployOptions{Events: hookEvents, Revision: h.Push(waiting(""))})
		h.Await("the hook", func() bool { return len(h.Lines("trace")) == 1 })
		commands := h.Twin.Commands()
		h.Same("the folder", []string{d.ID()}, h.Entries(h.Root("ongoing-deployment")))
		h.Same("the file", commands[len(commands)-1].ID, h.Text(h.Root("ongoing-deployment", d.ID())))
		h.Write("go", "")
		h.End(d)
		h.Await("the end of the file", func() bool { return len(h.Entries(h.Root("ongoing-deployment"))) == 0 })
	}},
	Case{Name: "the tracking folder has the configured name", Run: func(h *Host) {
		h.Set("ongoing_deployment_tracking", "in-flight")
		h.Start()
		d := h.Begin(stub.DeployOptions{Events: hookEvents, Revision: h.Push(waiting(""))})
		h.Await("the file", func() bool { return h.Exists(h.Root("in-flight", d.ID())) })
		h.Write("go", "")
		h.End(d)
	}},
	Case{Name: "SIGTERM during a hook: it finishes, its result is reported, then the agent goes and its pid file with it", Run: func(h *Host) {
		h.Start()
		d := h.Begin(stub.DeployOptions{Events: hookEvents, Revision: h.Push(waiting(""))})
		h.Await("the hook", func() bool { return len(h.Lines("trace")) == 1 })
		h.Same("the pid file", fmt.Sprint(h.Pid()), strings.TrimSpace(h.Text("conf/pid/codedeploy-agent.pid")))
		h.Signal(syscall.SIGTERM)
		time.Sleep(briefly)
		h.Write("go", "")
		code, _ := h.Exit()
		h.Same("exit code", 0, code)
		h.Same("the pid file is there", false, h.Exists("conf/pid/codedeploy-agent.pid"))
		h.Same("the hook", 2, len(h.Lines("trace")))
		// Where hooks outlive the agent the next one reports; either way the report is the hook's own.
		if !d.Info().Status.Ended() {
			h.Start()
		}
		h.Same("status", stub.Succeeded, h.End(d).Status)
		h.OneReport()
	}},
	Case{Name: "SIGINT ends an idle agent with exit code 0", Run: func(h *Host) {
		h.Start()
		h.PollsMore(1)
		h.Signal(syscall.SIGINT)
		code, _ := h.Exit()
		h.Same("exit code", 0, code)
		h.Same("the pid file is there", false, h.Exists("conf/pid/codedeploy-agent.pid"))
	}},
	Case{Name: "no command is taken after SIGTERM", Run: func(h *Host) {
		h.Start()
		d := h.Begin(stub.DeployOptions{Events: hookEvents, Revision: h.Push(waiting(""))})
		h.Await("the hook", func() bool { return len(h.Lines("trace")) == 1 })
		h.Signal(syscall.SIGTERM)
		time.Sleep(briefly)
		s := h.Send(stub.RawCommand{Name: "ApplicationStop", Specification: "{}"})
		time.Sleep(2 * briefly)
		h.Same("operations", []string{}, h.Operations(s.Command()))
		h.Write("go", "")
		h.Exit()
		_ = d
	}},
	Case{Name: "a file of 1.x that tracks a command younger than a day: it is reported as failed with code 7", Run: func(h *Host) {
		h.Configure()
		young := h.foreignCommand("d-YOUNG0001")
		h.Start()
		c := h.Ended(young)
		h.Same("status", stub.Failed, c.Status)
		h.Failure(h.Diagnostics(c), 7, "", `(?i)^failed: .*restart`)
		h.Same("operations", []string{complete}, h.Operations(c))
		h.Await("the end of the file", func() bool { return len(h.Entries(h.Root("ongoing-deployment"))) == 0 })
		h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle"}, Revision: h.Push(withHooks("hooks: {}\n"))})
	}},
	Case{Name: "a file of 1.x that tracks a command older than a day is dropped in silence", Run: func(h *Host) {
		h.Configure()
		h.Write(h.Root("ongoing-deployment", "d-OLD000001"), "hc-of-yesterday")
		yesterday := time.Now().Add(-25 * time.Hour)
		if err := os.Chtimes(h.Root("ongoing-deployment", "d-OLD000001"), yesterday, yesterday); err != nil {
			h.Fatal(err)
		}
		h.Start()
		h.PollsMore(2)
		h.Same("calls other than polls", 0, len(h.Requests()))
		h.Same("files", 0, len(h.Entries(h.Root("ongoing-deployment"))))
	}},
	Case{Name: "odd things in the tracking folder keep no agent from starting", Run: func(h *Host) {
		h.Configure()
		h.Write(h.Root("ongoing-deployment", "d-EMPTY0001"), "")
		h.Write(h.Root("ongoing-deployment", "d-UNKNOWN01"), "hc-nobody-knows\n")
		h.Write(h.Root("ongoing-deployment", "a-directory", "x"), "x")
		h.Write(h.Root("ongoing-deployment", "d-BINARY001"), "\xff\xfe\x00")
		if err := os.Symlink("/nowhere", h.Root("ongoing-deployment", "d-LINK00001")); err != nil {
			h.Fatal(err)
		}
		h.Start()
		h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle"}, Revision: h.Push(withHooks("hooks: {}\n"))})
	}},
	Case{Name: "the service refuses the report of a command of 1.x: the agent goes on all the same", Run: func(h *Host) {
		h.Configure()
		h.Write(h.Root("ongoing-deployment", "d-GONE00001"), "hc-that-the-service-has-forgotten")
		h.Start()
		h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle"}, Revision: h.Push(withHooks("hooks: {}\n"))})
		h.Await("the end of the files", func() bool { return len(h.Entries(h.Root("ongoing-deployment"))) == 0 })
	}},
)

// foreignCommand is a command that an agent of 1.x had acknowledged and was carrying out when it ended.
func (h *Host) foreignCommand(deploymentID string) *stub.Sent {
	h.Helper()
	s := h.Send(stub.RawCommand{Name: "AfterInstall", AckAnswer: stub.InProgress, Specification: "{}"})
	h.Write(h.Root("ongoing-deployment", deploymentID), s.Command().ID)
	return s
}

var _ = add(Correctness,
	Case{Name: "18: two groups were running when the agent of 1.x ended: both are reported", Run: func(h *Host) {
		h.Configure()
		one, two := h.foreignCommand("d-ONE000001"), h.foreignCommand("d-TWO000002")
		h.Start()
		for _, s := range []*stub.Sent{one, two} {
			h.Same("code", 7, h.Diagnostics(h.Ended(s)).ErrorCode)
		}
		h.Await("the end of the files", func() bool { return len(h.Entries(h.Root("ongoing-deployment"))) == 0 })
	}},
	Case{Name: "18: two groups are running when the agent is killed: both results are reported", Run: func(h *Host) {
		h.Start()
		r := h.Push(waiting("[ $DEPLOYMENT_GROUP_NAME = one ] || exit 3\n"))
		one := h.Begin(stub.DeployOptions{Group: "one", Events: hookEvents, Revision: r})
		two := h.Begin(stub.DeployOptions{Group: "two", Events: hookEvents, Revision: r})
		h.Await("both hooks", func() bool { return len(h.Lines("trace")) == 2 })
		h.Kill()
		h.Write("go", "")
		h.Start()
		// An agent whose hooks outlive it knows the results; one that lost them says code 7 for both.
		codes := []int{}
		for _, d := range []*stub.Deployment{one, two} {
			codes = append(codes, h.Event(h.End(d), "AfterInstall").Diagnostics.ErrorCode)
		}
		if fmt.Sprint(codes) != "[0 4]" && fmt.Sprint(codes) != "[7 7]" {
			h.Errorf("codes %v", codes)
		}
		h.OneReport()
	}},
	Case{Name: "killed in the middle of a hook: the hook runs once, and the result is its own or code 7", Run: func(h *Host) {
		h.Start()
		d := h.Begin(stub.DeployOptions{Events: hookEvents, Revision: h.Push(waiting("exit 9\n"))})
		h.Await("the hook", func() bool { return len(h.Lines("trace")) == 1 })
		h.Kill()
		h.Start()
		h.Write("go", "")
		got := h.Event(h.End(d), "AfterInstall").Diagnostics
		if got.ErrorCode != 7 {
			h.Failure(*got, 4, "hook.sh", "exit code 9")
		}
		h.PollsMore(2)
		h.Same("the hook", 2, len(h.Lines("trace")))
		h.OneReport()
	}},
	Case{Name: "a second agent with the same pid directory refuses to start and leaves the first alone", Run: func(h *Host) {
		h.Start()
		h.PollsMore(1)
		first, ended := h.agent, h.ended
		h.Start()
		code, said := h.Exit()
		if code == 0 {
			h.Error("the second agent ended with 0")
		}
		h.Matches("what it says", `(?i)already|running`, said)
		h.agent, h.ended = first, ended
		h.Same("the pid file", fmt.Sprint(h.Pid()), strings.TrimSpace(h.Text("conf/pid/codedeploy-agent.pid")))
		h.PollsMore(1)
		h.Stop()
	}},
	Case{Name: "a pid file that a crash left does not keep the agent from starting", Run: func(h *Host) {
		h.Configure()
		h.Write("conf/pid/codedeploy-agent.pid", fmt.Sprintln(os.Getpid()))
		h.Start()
		h.PollsMore(1)
		h.Same("the pid file", fmt.Sprint(h.Pid()), strings.TrimSpace(h.Text("conf/pid/codedeploy-agent.pid")))
	}},
	Case{Name: "killed while it reports: the result is reported after the restart, unchanged", Run: func(h *Host) {
		h.Start()
		r := h.Push(withHooks("hooks:\n  AfterInstall:\n    - location: hook.sh\n"))
		h.fault(fault.Fault{Operation: complete, Kind: fault.Status, Status: 500, Skip: 1, Count: -1})
		d := h.Begin(stub.DeployOptions{Events: hookEvents, Revision: r})
		h.Await("a broken report", func() bool { return h.Twin.Faults()[0].Hits > 0 })
		h.Kill()
		h.Twin.ClearFaults()
		h.Start()
		h.Same("status", stub.Succeeded, h.End(d).Status)
		h.Same("hooks", 1, len(h.Lines("trace")))
	}},
)
