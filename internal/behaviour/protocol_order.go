package behaviour

import (
	"encoding/json"
	"slices"

	"codedeploy-agent/internal/stub"
)

// web is a bundle with a page and one script that leaves a line in the file trace.
func web(event string) Bundle {
	return Bundle{
		"appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - {source: www, destination: HOST/www}\n" +
			"hooks:\n  " + event + ":\n    - location: hook.sh\n",
		"hook.sh":        "#!/bin/sh\necho $LIFECYCLE_EVENT of $DEPLOYMENT_ID >> HOST/trace\n",
		"www/index.html": "page\n",
	}
}

var _ = add(Protocol,
	Case{Name: "each command is polled, its specification fetched, acknowledged, carried out and completed, in this order", Run: func(h *Host) {
		h.Service(stub.Options{AnswerNoop: stub.InProgress})
		h.Start()
		info := h.Succeed(stub.DeployOptions{Revision: h.Push(web("AfterInstall"))})
		commands := h.Twin.Commands()
		names := []string{}
		for _, c := range commands {
			names = append(names, c.Name)
			h.Same(c.Name, []string{"GetDeploymentSpecification", "PutHostCommandAcknowledgement", "PutHostCommandComplete"}, h.Operations(c))
			h.Same("report of "+c.Name, `{"error_code":0,"script_name":"","message":"Succeeded: ","log":""}`, h.Diagnostics(c).Payload)
		}
		h.Same("the commands", []string{"ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ApplicationStart", "ValidateService"}, names)
		h.Same("what the hook left", []string{"AfterInstall of " + info.ID}, h.Lines("trace"))
		h.OneReport()
	}},
	Case{Name: "calls have the 2014 target, the JSON 1.1 type, the signature of codedeploy-commands and the agent's version", Run: func(h *Host) {
		h.Start() // the twin refuses other content types and signing names
		h.Succeed(stub.DeployOptions{Revision: h.Push(web("AfterInstall"))})
		for _, r := range h.Twin.Transcript() {
			if r.Service != "commands" {
				continue
			}
			h.Same("target", "CodeDeployCommandService_v20141006."+r.Operation, r.Target)
			h.Matches("version", `^[0-9]+\.[0-9]+\.[0-9]+`, r.AgentVersion)
			h.Same("key", h.Self.AccessKeyID, r.AccessKeyID)
			h.Same("host", h.Self.ID, r.Host)
			h.Same("method and path", "POST /", r.Method+" "+r.Path)
		}
	}},
	Case{Name: "with enable_auth_policy calls go to the secure stack", Run: func(h *Host) {
		h.Set("enable_auth_policy", true)
		h.Start()
		h.Succeed(stub.DeployOptions{Revision: h.Push(web("AfterInstall"))})
		for _, r := range h.Requests() {
			h.Same("target", "CodeDeployCommandService."+r.Operation, r.Target)
		}
	}},
	Case{Name: "the acknowledgement says whether there is anything to do", Run: func(h *Host) {
		h.Start()
		h.Succeed(stub.DeployOptions{LoadBalancer: true, Revision: h.Push(web("AfterInstall"))})
		got := map[string]string{}
		for _, r := range h.Requests() {
			if r.Operation != "PutHostCommandAcknowledgement" {
				continue
			}
			var in struct {
				HostCommandIdentifier string
				Diagnostics           struct{ Format, Payload string }
			}
			if err := json.Unmarshal(r.Input, &in); err != nil {
				h.Fatal(err)
			}
			h.Same("format", "JSON", in.Diagnostics.Format)
			i := slices.IndexFunc(h.Twin.Commands(), func(c stub.Command) bool { return c.ID == in.HostCommandIdentifier })
			got[h.Twin.Commands()[i].Name] = in.Diagnostics.Payload
		}
		const no, yes = `{"IsCommandNoop":false}`, `{"IsCommandNoop":true}`
		h.Same("acknowledgements", map[string]string{
			"BeforeBlockTraffic": yes, "AfterBlockTraffic": yes, "ApplicationStop": yes, "DownloadBundle": no, "BeforeInstall": yes,
			"Install": no, "AfterInstall": no, "ApplicationStart": yes, "ValidateService": yes, "BeforeAllowTraffic": yes, "AfterAllowTraffic": yes,
		}, got)
	}},
)
