package behaviour

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"codedeploy-agent/internal/stub"
	"codedeploy-agent/internal/stub/fault"
)

// configured is a case about one spelling of the configuration: an agent with it deploys.
func configured(name string, change func(h *Host, config string) (text string, args []string)) Case {
	return Case{Name: "configuration: " + name, Run: func(h *Host) {
		path := h.Configure()
		text, args := change(h, h.Text(path))
		h.Write(path, text)
		if args == nil {
			args = []string{"run", "--config-file", path}
		}
		h.StartAs(args...)
		h.Succeed(stub.DeployOptions{Events: hookEvents, Revision: h.Push(withHooks(oneHook))})
		h.Same("hooks", 1, len(h.Lines("trace")))
	}}
}

// unusable is a case about a configuration that keeps the agent from starting.
func unusable(name, text, message string) Case {
	return Case{Name: "configuration: refused: " + name, Run: func(h *Host) {
		path := h.Configure()
		if text == "" {
			path += ".nowhere"
		} else {
			h.Write(path, text)
		}
		h.StartAs("run", "--config-file", path)
		code, said := h.Exit()
		if code == 0 {
			h.Error("the agent ended with 0")
		}
		h.Matches("what it says", message, said)
		h.Same("requests", 0, len(h.Twin.Transcript()))
	}}
}

func keep(args ...string) func(*Host, string) (string, []string) {
	return func(h *Host, text string) (string, []string) {
		var all []string
		for _, a := range args {
			all = append(all, strings.ReplaceAll(a, "FILE", h.Path("conf/codedeployagent.yml")))
		}
		return text, all
	}
}

var _ = add(Traps,
	configured("keys with leading colons, as 1.x wrote them", func(_ *Host, text string) (string, []string) {
		lines := strings.Split(strings.TrimSpace(text), "\n")
		for i, line := range lines {
			if line != "---" {
				lines[i] = ":" + line
			}
		}
		return strings.Join(lines, "\n") + "\n", nil
	}),
	configured("an on-premises file with leading colons", func(h *Host, text string) (string, []string) {
		file := h.Text("conf/codedeploy.onpremises.yml")
		lines := strings.Split(strings.TrimSpace(file), "\n")
		for i, line := range lines {
			if line != "---" {
				lines[i] = ":" + line
			}
		}
		h.Write("conf/codedeploy.onpremises.yml", strings.Join(lines, "\n"))
		return text, nil
	}),
	configured("comments, Windows line ends and no last line end", func(_ *Host, text string) (string, []string) {
		return strings.ReplaceAll("# ours\n"+strings.TrimSpace(text), "\n", "\r\n"), nil
	}),
	configured("a byte order mark", func(_ *Host, text string) (string, []string) { return "\ufeff" + text, nil }),
	configured("keys of 1.x and 2.x that mean nothing here, and unknown ones", func(_ *Host, text string) (string, []string) {
		return text + "children: 1\nmax_runs_per_worker: 0\nwait_after_throttle_error: 60\nshared_dir: /x\nenable_command_port: false\nno_such_key: [1, {a: b}]\n", nil
	}),
	configured("--config_file, as 1.x spelled it", keep("run", "--config_file", "FILE")),
	configured("--config_file before the command", keep("--config_file", "FILE", "run")),
	configured("--config-file=FILE", keep("--config-file=FILE", "run")),
	Case{Name: "configuration: an unknown key is warned about once, with the likely one", Run: func(h *Host) {
		path := h.Configure()
		h.Write(path, h.Text(path)+"max_revision: 3\n")
		h.StartAs("run", "--config-file", path)
		h.PollsMore(2)
		h.Matches("the agent's log", `max_revision\b.*max_revisions`, h.AgentLog())
		h.Same("warnings", 1, strings.Count(h.AgentLog(), "did you mean"))
	}},
	unusable("a file that does not exist", "", `nowhere`),
	unusable("a file that is no YAML", "root_dir: [\n", `codedeployagent\.yml:\d+`),
	unusable("a list", "- root_dir\n", `codedeployagent\.yml:1`),
	unusable("a number that is none", "root_dir: /tmp/x\nmax_revisions: many\n", `codedeployagent\.yml:2:\d+.*max_revisions`),
	unusable("fewer than one revision", "root_dir: /tmp/x\nmax_revisions: 0\n", `max_revisions`),
	Case{Name: "codedeploy-agent status and its exit codes: 3 when nothing runs, 0 when it works", Run: func(h *Host) {
		path := h.Configure()
		h.StartAs("status", "--config-file", path)
		code, _ := h.Exit()
		h.Same("exit code without an agent", 3, code)
		h.Start()
		h.PollsMore(1)
		running, ended := h.agent, h.ended
		h.StartAs("status", "--config-file", path)
		code, _ = h.Exit()
		h.agent, h.ended = running, ended
		h.Same("exit code with an agent", 0, code)
	}},
	Case{Name: "a host whose identity is not there yet is looked for again, and deploys as soon as it is", Run: func(h *Host) {
		h.Set("on_premises_config_file", h.Path("later.yml"))
		h.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")
		h.Configure()
		h.Start()
		h.Await("a complaint", func() bool { return strings.Contains(h.AgentLog(), "cannot find out who this host is") })
		if h.Exists("conf/codedeploy.onpremises.yml") {
			h.Write("later.yml", h.Text("conf/codedeploy.onpremises.yml"))
		} else {
			h.Write("later.yml", fmt.Sprintf("region: us-east-1\niam_user_arn: %s\naws_access_key_id: %s\naws_secret_access_key: %s\n",
				h.Self.ID, h.Self.AccessKeyID, h.Self.SecretAccessKey))
		}
		h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle"}, Revision: h.Push(withHooks("hooks: {}\n"))})
	}},
	Case{Name: "an EC2 instance finds its identity and credentials in the metadata service, with tokens", Run: func(h *Host) {
		h.Service(stub.Options{})
		h.Self = h.Twin.AddInstance()
		for _, v := range h.Self.Environment() {
			name, value, _ := strings.Cut(v, "=")
			h.Setenv(name, value)
		}
		h.Start()
		h.Succeed(stub.DeployOptions{Hosts: []string{h.Self.ID}, Events: []string{"DownloadBundle"}, Revision: h.Push(withHooks("hooks: {}\n"))})
		for _, r := range h.Twin.Transcript() {
			if r.Service == "imds" && r.Status == http.StatusUnauthorized {
				h.Error("a request without a token:", r.Path)
			}
		}
	}},
	Case{Name: "S3 is asked with the same credentials as the service, whatever the environment holds", Run: func(h *Host) {
		h.Setenv("AWS_ACCESS_KEY_ID", "AKIAFOREIGN000000000")
		h.Setenv("AWS_SECRET_ACCESS_KEY", "foreign")
		h.Setenv("AWS_PROFILE", "nobody")
		h.Start()
		h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle"}, Revision: h.Push(withHooks("hooks: {}\n"))})
		for _, r := range h.Twin.Transcript() {
			if r.Service != "imds" {
				h.Same("key of "+r.Operation, h.Self.AccessKeyID, r.AccessKeyID)
			}
		}
	}},
	Case{Name: "session credentials of an on-premises host are read from their file, and again when they change", Run: func(h *Host) {
		h.Service(stub.Options{})
		session, err := h.Twin.AddHost(stub.Host{
			ID:   "arn:aws:sts::123456789012:assumed-role/fleet/a-session",
			Name: "a-session", AccessKeyID: "ASIASESSION000000000", SecretAccessKey: "session-secret", SessionToken: "session-token",
		})
		if err != nil {
			h.Fatal(err)
		}
		h.Self = session
		h.Start()
		h.Succeed(stub.DeployOptions{Hosts: []string{session.ID}, Events: []string{"DownloadBundle"}, Revision: h.Push(withHooks("hooks: {}\n"))})
		h.Lacks("the agent's log", "session-token", h.AgentLog())
	}},
	Case{Name: "a proxy in the configuration gets the calls, and sees none of the bodies of others", Run: func(h *Host) {
		var seen []string
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen = append(seen, r.Method+" "+r.URL.Host)
			http.Error(w, "the proxy is closed", http.StatusBadGateway)
		}))
		h.Cleanup(proxy.Close)
		h.Service(stub.Options{})
		h.Set("proxy_uri", proxy.URL)
		h.Set("deploy_control_endpoint", "http://codedeploy-commands.example.internal")
		h.Start()
		h.Await("a call", func() bool { return strings.Contains(h.AgentLog(), "502") })
		h.Kill()
		h.Matches("what the proxy saw", `^POST codedeploy-commands\.example\.internal`, strings.Join(seen, "\n"))
	}},
	Case{Name: "a download that breaks half way goes on", Run: func(h *Host) {
		h.Service(stub.Options{})
		h.Start()
		b := withHooks("hooks: {}\n")
		b["big"] = strings.Repeat("0123456789abcdef", 1<<16)
		r := h.PushAs("tar", h.Directory(b))
		h.fault(fault.Fault{Service: "s3", Operation: "GetObject", Kind: fault.Cut, After: 300_000})
		h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle"}, Revision: r})
	}},
	Case{Name: "S3 that answers 500 and 503 for a while is asked again", Run: func(h *Host) {
		h.Service(stub.Options{})
		h.Start()
		r := h.Push(withHooks("hooks: {}\n"))
		h.fault(fault.Fault{Service: "s3", Operation: "GetObject", Kind: fault.Status, Status: 500, Code: "InternalError"})
		h.fault(fault.Fault{Service: "s3", Operation: "GetObject", Kind: fault.Status, Status: 503, Code: "SlowDown"})
		h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle"}, Revision: r})
	}},
	Case{Name: "a revision that does not exist is reported at once, with bucket and key", Run: func(h *Host) {
		h.Start()
		r := h.Push(withHooks("hooks: {}\n"))
		r.Key, r.Version, r.ETag = "no/such/key.zip", "", ""
		began := time.Now()
		d := h.Fail("DownloadBundle", stub.DeployOptions{Revision: r})
		h.Failure(d, 5, "", `no/such/key\.zip`)
		h.Matches("message", r.Bucket, d.Message)
		if took := time.Since(began); took > 15*time.Second {
			h.Errorf("it took %s", took)
		}
	}},
	Case{Name: "a stop takes no longer than a moment although a poll is open", Run: func(h *Host) {
		h.Service(stub.Options{LongPoll: time.Minute})
		h.Start()
		h.Await("a poll", func() bool { return len(h.Twin.Transcript()) > 0 })
		began := time.Now()
		h.Stop()
		if took := time.Since(began); took > 10*time.Second {
			h.Errorf("it took %s", took)
		}
	}},
	Case{Name: "a second deployment of the same files succeeds with DISALLOW", Run: func(h *Host) {
		h.Start()
		r := h.Push(web("AfterInstall"))
		for range 3 {
			h.Succeed(stub.DeployOptions{Revision: r})
		}
		h.Same("page", "page\n", h.Text("www/index.html"))
	}},
	Case{Name: "many scripts with the default time limit are no reason to refuse", Run: func(h *Host) {
		h.Start()
		h.Succeed(stub.DeployOptions{Events: hookEvents, Revision: h.Push(withHooks("hooks:\n  AfterInstall:\n" + strings.Repeat("    - location: hook.sh\n", 5)))})
		h.Same("runs", 5, len(h.Lines("trace")))
	}},
	Case{Name: "the deployment root may be moved into place by a link", Run: func(h *Host) {
		h.Configure()
		if err := os.Rename(h.Root(), h.Path("big-disk")); err != nil {
			h.Fatal(err)
		}
		if err := os.Symlink(h.Path("big-disk"), h.Root()); err != nil {
			h.Fatal(err)
		}
		h.Start()
		h.Succeed(stub.DeployOptions{Revision: h.Push(web("AfterInstall"))})
		h.Same("page", "page\n", h.Text("www/index.html"))
	}},
)

var _ = add(Correctness,
	Case{Name: "a broken AppSpec file is found by DownloadBundle, before anything is stopped or replaced", Run: func(h *Host) {
		h.Start()
		h.Succeed(stub.DeployOptions{Revision: h.Push(web("AfterInstall"))})
		d := h.Fail("DownloadBundle", stub.DeployOptions{Revision: h.Push(Bundle{"appspec.yml": "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - timeout: 5\n"})})
		h.Failure(d, 5, "", `appspec\.yml:5`)
		h.Same("page", "page\n", h.Text("www/index.html"))
		h.OneReportEach()
	}},
	Case{Name: "a missing AppSpec file is found by DownloadBundle, and the message says what lies there", Run: func(h *Host) {
		h.Start()
		d := h.Fail("DownloadBundle", stub.DeployOptions{Revision: h.Push(Bundle{"AppSpec.yml": "version: 0.0\n", "readme": "x"})})
		h.Failure(d, 5, "", `(?s)appspec\.yml.*AppSpec\.yml`)
	}},
	Case{Name: "23: a revision whose AppSpec breaks on the host after its download: Failed without an acknowledgement", Run: func(h *Host) {
		h.Start()
		r := h.Push(withHooks(oneHook))
		spec := h.Specification(r, nil)
		h.Carry(stub.RawCommand{Name: "DownloadBundle", Specification: spec})
		h.Write(h.Root("a-group-id", "d-ABCDEF123", "deployment-archive", "appspec.yml"), "version: 0.0\nos: linux\nhooks:\n  - what\n")
		c := h.Carry(stub.RawCommand{Name: "AfterInstall", Specification: spec})
		h.Same("operations", []string{getSpecification, complete}, h.Operations(c))
		h.Failure(h.Diagnostics(c), 5, "", `appspec\.yml:3`)
	}},
	Case{Name: "an AppSpec file of 1.x without the configured name serves hooks as well as Install", Run: func(h *Host) {
		h.Start()
		b := web("AfterInstall")
		b["appspec.yaml"] = b["appspec.yml"]
		delete(b, "appspec.yml")
		h.Succeed(stub.DeployOptions{Revision: h.Push(b)})
		h.Same("hooks", 1, len(h.Lines("trace")))
	}},
	Case{Name: "bundle.tar is removed after a good unpack, and kept with keep_bundles", Run: func(h *Host) {
		h.Start()
		r := h.Push(web("AfterInstall"))
		info := h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle"}, Revision: r})
		h.Same("bundle.tar", false, h.Exists(h.Folder(info, "bundle.tar")))
		h.Stop()
		h.Set("keep_bundles", true)
		h.Start()
		info = h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle"}, Revision: r})
		h.Same("bundle.tar", true, h.Exists(h.Folder(info, "bundle.tar")))
	}},
)
