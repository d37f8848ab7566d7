package behaviour

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"

	"codedeploy-agent/internal/stub"
	"codedeploy-agent/internal/stub/fault"
)

var _ = add(Protocol,
	answered("acknowledgement answered with a status of tomorrow: carried out and completed", "Dispatched", ranAndReported),
	Case{Name: "identifiers of commands may hold anything: slashes, quotes, line ends, a thousand characters", Run: func(h *Host) {
		h.Service(noops(stub.InProgress))
		h.Start()
		spec := h.Specification(h.Push(withHooks(oneHook)), nil)
		h.Carry(stub.RawCommand{Name: "DownloadBundle", Specification: spec})
		ids := []string{
			"../../etc/passwd", "/absolute/id", `{"json":"id","n":1}`, "line\nend", "Größe 大小", strings.Repeat("x", 1200), "..", "a\tb", "=+/base64==",
		}
		for _, id := range ids {
			c := h.Carry(stub.RawCommand{Name: "AfterInstall", ID: id, Specification: spec})
			h.Same("status of "+id, stub.Succeeded, c.Status)
		}
		h.Same("hooks", len(ids), len(h.Lines("trace")))
		h.OneReport()
	}},
	Case{Name: "every line of the agent's log has time, level, program and pid", Run: func(h *Host) {
		h.Set("verbose", true)
		h.Start()
		h.hook("#!/bin/sh\nexit 1\n")
		line := regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (DEBUG|INFO |WARN |ERROR) \[codedeploy-agent\(\d+\)\]: .`)
		for _, l := range h.Lines("conf/log/codedeploy-agent.log") {
			if !line.MatchString(l) && !strings.HasPrefix(l, "\t") && !strings.HasPrefix(l, " ") {
				h.Errorf("a line of the log: %q", l)
			}
		}
	}},
	Case{Name: "directories of logs and pids that are not there are made", Run: func(h *Host) {
		h.Set("log_dir", h.Path("new/log"))
		h.Set("pid_dir", h.Path("new/state/.pid"))
		h.Set("root_dir", h.Path("new/root"))
		h.Start()
		h.Succeed(stub.DeployOptions{Revision: h.Push(web("AfterInstall"))})
		h.Same("log", true, h.Exists("new/log/codedeploy-agent.log"))
		h.Same("pid", true, h.Exists("new/state/.pid/codedeploy-agent.pid"))
	}},
	Case{Name: "the folders of deployments have mode 0755, scripts.log and the pointers 0644", Run: func(h *Host) {
		h.Start()
		info := h.Succeed(stub.DeployOptions{Revision: h.Push(web("AfterInstall"))})
		for path, want := range map[string]os.FileMode{
			h.Root(): 0o755, h.Root(info.GroupID): 0o755, h.Folder(info): 0o755, h.Folder(info, "deployment-archive"): 0o755,
			h.Folder(info, "logs"): 0o755, h.Folder(info, "logs", "scripts.log"): 0o644, h.pointer(info, lastSuccessful): 0o644, h.pointer(info, mostRecent): 0o644,
			h.Root("deployment-instructions"): 0o755, h.Root("ongoing-deployment"): 0o755,
		} {
			got, err := os.Stat(path)
			if err != nil || got.Mode().Perm() != want {
				h.Errorf("%s has mode %v (%v), want %v", strings.TrimPrefix(path, h.Dir), got.Mode(), err, want)
			}
		}
	}},
	Case{Name: "an answer to the acknowledgement that is lost after the service took it: a no-op is dropped in silence", Run: func(h *Host) {
		h.Service(stub.Options{}) // answers no-ops with Succeeded
		h.Start()
		h.fault(fault.Fault{Operation: acknowledgement, Kind: fault.Lost})
		c := h.Carry(stub.RawCommand{Name: "ApplicationStop", Specification: h.Specification(stub.Revision{Bucket: "b", Key: "k", BundleType: "zip"}, nil)})
		h.Await("the second acknowledgement", func() bool { return len(h.Operations(c)) >= 3 })
		h.PollsMore(2)
		h.Same("operations", []string{getSpecification, acknowledgement, acknowledgement}, h.Operations(c))
	}},
	Case{Name: "an acknowledgement that the service refuses: reported as failed, not carried out", Run: func(h *Host) {
		h.Start()
		spec := h.Specification(h.Push(withHooks(oneHook)), nil)
		h.Carry(stub.RawCommand{Name: "DownloadBundle", Specification: spec})
		h.fault(fault.Fault{Operation: acknowledgement, Kind: fault.Status, Status: 400, Code: "ClientException", Message: "not any more"})
		c := h.Carry(stub.RawCommand{Name: "AfterInstall", Specification: spec})
		h.Failure(h.Diagnostics(c), 5, "", `not any more`)
		h.Same("hooks", 0, len(h.Lines("trace")))
	}},
	Case{Name: "a clock that is two hours off does not keep a host from the service", Run: func(h *Host) {
		later := func() time.Time { return time.Now().Add(2 * time.Hour) }
		h.Service(stub.Options{Now: later})
		target, err := url.Parse(h.Twin.URL())
		if err != nil {
			h.Fatal(err)
		}
		proxy := &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
			ModifyResponse: func(r *http.Response) error {
				r.Header.Set("Date", later().UTC().Format(http.TimeFormat)) // the twin's answers bear the real time
				return nil
			},
		}
		front := httptest.NewServer(proxy)
		h.Cleanup(front.Close)
		h.Set("deploy_control_endpoint", front.URL)
		h.Start()
		c := h.Carry(stub.RawCommand{Name: "ApplicationStop", Specification: h.Specification(stub.Revision{Bucket: "b", Key: "k", BundleType: "zip"}, nil)})
		h.Same("status", stub.Succeeded, c.Status)
	}},
	Case{Name: "over TLS with an authority of one's own, named by SSL_CERT_FILE", Run: func(h *Host) {
		h.Service(stub.Options{TLS: true})
		h.Set("deploy_control_endpoint", h.Twin.SecureURL())
		h.Set("s3_endpoint_override", h.Twin.SecureURL())
		h.Setenv("SSL_CERT_FILE", h.Twin.CAFile())
		h.Start()
		h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle"}, Revision: h.Push(withHooks("hooks: {}\n"))})
	}},
	Case{Name: "over TLS without that authority nothing is sent", Run: func(h *Host) {
		h.Service(stub.Options{TLS: true})
		h.Set("deploy_control_endpoint", h.Twin.SecureURL())
		h.Start()
		h.Await("a complaint", func() bool { return strings.Contains(h.AgentLog(), "certificate") })
		h.Same("requests", 0, len(h.Twin.Transcript()))
	}},
)

// page is an answer that a proxy gives in the service's name, with status 200.
func page(operation string) fault.Fault {
	return fault.Fault{Operation: operation, Kind: fault.Garbage, Status: 200, Body: "<html><body>Please log in</body></html>"}
}

var _ = add(Traps,
	weathered("a login page with status 200 instead of the specification is no specification", page(getSpecification)),
	weathered("a login page with status 200 is no answer to an acknowledgement", page(acknowledgement)),
	weathered("a login page with status 200 does not take a report", page(complete)),
	weathered("faults at every step of one command do no harm",
		fault.Fault{Operation: getSpecification, Kind: fault.Status, Status: 500}, fault.Fault{Operation: acknowledgement, Kind: fault.Reset},
		fault.Fault{Operation: complete, Kind: fault.Lost}),
	Case{Name: "killed while it acknowledges: acknowledged again, and carried out once", Run: func(h *Host) {
		h.Start()
		spec := h.Specification(h.Push(withHooks(oneHook)), nil)
		h.Carry(stub.RawCommand{Name: "DownloadBundle", Specification: spec})
		id := h.fault(fault.Fault{Operation: acknowledgement, Kind: fault.Hang, Count: -1})
		s := h.Send(stub.RawCommand{Name: "AfterInstall", Specification: spec})
		h.Await("the acknowledgement", func() bool { return h.Twin.Faults()[id-1].Hits > 0 })
		h.Kill()
		h.Twin.ClearFaults()
		h.Start()
		h.Same("status", stub.Succeeded, h.Ended(s).Status)
		h.PollsMore(2)
		h.Same("hooks", 1, len(h.Lines("trace")))
		h.OneReport()
	}},
	Case{Name: "killed in the middle of a download: done again, reported once", Run: func(h *Host) {
		h.Start()
		b := withHooks(oneHook)
		b["big"] = strings.Repeat("0123456789abcdef", 1<<14)
		r := h.PushAs("tar", h.Directory(b))
		id := h.fault(fault.Fault{Service: "s3", Operation: "GetObject", Kind: fault.Stall, After: 50_000, Count: -1})
		d := h.Begin(stub.DeployOptions{Events: hookEvents, Revision: r})
		h.Await("the download", func() bool { return h.Twin.Faults()[id-1].Hits > 0 })
		h.Kill()
		h.Twin.ClearFaults()
		h.Start()
		h.Same("status", stub.Succeeded, h.End(d).Status)
		h.Same("hooks", 1, len(h.Lines("trace")))
		h.OneReport()
	}},
	Case{Name: "a stop waits no longer than kill_agent_max_wait_time_seconds, and the hook's result is not lost", Run: func(h *Host) {
		h.Set("kill_agent_max_wait_time_seconds", 1)
		h.Start()
		d := h.Begin(stub.DeployOptions{Events: hookEvents, Revision: h.Push(waiting(""))})
		h.Await("the hook", func() bool { return len(h.Lines("trace")) == 1 })
		h.Signal(syscall.SIGTERM)
		began := time.Now()
		h.Exit()
		if took := time.Since(began); took > 15*time.Second {
			h.Errorf("it took %s", took)
		}
		h.Start()
		h.Write("go", "")
		h.Same("status", stub.Succeeded, h.End(d).Status)
		h.Same("the hook", 2, len(h.Lines("trace")))
		h.OneReport()
	}},
	Case{Name: "a machine made from an image of another does not report that one's commands", Run: func(h *Host) {
		h.Start()
		d := h.Begin(stub.DeployOptions{Events: hookEvents, Revision: h.Push(waiting(""))})
		h.Await("the hook", func() bool { return len(h.Lines("trace")) == 1 })
		h.Kill()
		h.Write("go", "")
		first := h.Self
		clone, err := h.Twin.AddHost(stub.Host{Name: "the-clone"})
		if err != nil {
			h.Fatal(err)
		}
		h.Self = clone
		h.Start()
		h.PollsMore(3)
		commands := h.Twin.Commands()
		h.Same("reports of the other host's command", 0, len(commands[len(commands)-1].Reports))
		h.Same("its host", first.ID, commands[len(commands)-1].Host)
		_ = d
	}},
)
