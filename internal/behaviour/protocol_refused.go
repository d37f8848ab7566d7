package behaviour

import (
	"os"
	"strings"
	"time"

	"codedeploy-agent/internal/stub"
	"codedeploy-agent/internal/stub/fault"
)

// refusal is a case in which a command cannot even be acknowledged: it is reported as failed, once, and the next one is
// carried out as if nothing had been.
func refusal(name string, raw stub.RawCommand, change map[string]any, message string) Case {
	return Case{Name: name, Run: func(h *Host) {
		h.Start()
		r := h.Push(withHooks("hooks: {}\n"))
		if raw.Name == "" {
			raw.Name = "ApplicationStop"
		}
		if raw.Specification == nil {
			raw.Specification = h.Specification(r, change)
		}
		c := h.Carry(raw)
		h.Same("operations", []string{"GetDeploymentSpecification", "PutHostCommandComplete"}, h.Operations(c))
		h.Same("status", stub.Failed, c.Status)
		h.Failure(h.Diagnostics(c), 5, "", message)
		h.Same("log", "", h.Diagnostics(c).Log)
		h.Same("the next command", stub.Succeeded, h.Carry(stub.RawCommand{Name: "DownloadBundle", Specification: h.Specification(r, nil)}).Status)
		h.Same("reports", 1, len(h.reports(c)))
		h.Same("what lies beside the deployment root", []string{"codedeploy.onpremises.yml", "codedeployagent.yml", "deployment-root", "log", "pid"}, h.Entries("conf"))
	}}
}

// reports are those of a command that reached the service, as it is now.
func (h *Host) reports(c stub.Command) []stub.Report {
	for _, now := range h.Twin.Commands() {
		if now.ID == c.ID {
			return now.Reports
		}
	}
	return nil
}

// Entries lists a directory, sorted.
func (h *Host) Entries(path ...string) []string {
	entries, err := os.ReadDir(h.Path(path...))
	if err != nil {
		return nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

const noSpecification = `(?i)specification`

var _ = add(Protocol,
	refusal("a specification of another deployment system is reported as failed without an acknowledgement",
		stub.RawCommand{System: "CodeDeployNG"}, nil, `CodeDeployNG`),
	refusal("an answer without a specification is reported as failed", stub.RawCommand{NoSpecification: true}, nil, noSpecification),
	refusal("a specification of an unknown format is reported as failed", stub.RawCommand{Format: "PKCS7/XML", Payload: "<a/>"}, nil, `PKCS7/XML`),
	refusal("a specification whose signature is no message at all is reported as failed",
		stub.RawCommand{Format: "PKCS7/JSON", Payload: "-----BEGIN PKCS7-----\nnonsense\n-----END PKCS7-----\n"}, nil, noSpecification),
	refusal("an empty payload is reported as failed", stub.RawCommand{Format: "PKCS7/JSON", Payload: ""}, nil, noSpecification),
	refusal("a specification that is no JSON is reported as failed", stub.RawCommand{Specification: "{]"}, nil, noSpecification),
	refusal("a specification that is a list is reported as failed", stub.RawCommand{Specification: "[]"}, nil, noSpecification),
	refusal("a specification that is null is reported as failed", stub.RawCommand{Specification: "null"}, nil, noSpecification),
	refusal("a specification without DeploymentId is reported as failed", stub.RawCommand{}, map[string]any{"DeploymentId": nil}, `DeploymentId`),
	refusal("a specification whose DeploymentId is a number is reported as failed", stub.RawCommand{}, map[string]any{"DeploymentId": 5}, `DeploymentId`),
	refusal("a specification with an empty DeploymentGroupId is reported as failed", stub.RawCommand{}, map[string]any{"DeploymentGroupId": ""}, `DeploymentGroupId`),
	refusal("a specification without ApplicationName is reported as failed", stub.RawCommand{}, map[string]any{"ApplicationName": nil}, `ApplicationName`),
	refusal("a specification without a revision is reported as failed", stub.RawCommand{}, map[string]any{"Revision": nil}, `Revision`),
	refusal("a specification with a revision of an unknown type is reported as failed",
		stub.RawCommand{}, map[string]any{"Revision": map[string]any{"RevisionType": "FTP"}}, `FTP`),
	refusal("a bundle of an unknown type is reported as failed", stub.RawCommand{}, map[string]any{"Revision": map[string]any{
		"RevisionType": "S3", "S3Revision": map[string]any{"Bucket": "b", "Key": "k", "BundleType": "rar"},
	}}, `rar`),
	refusal("a revision without a bucket is reported as failed", stub.RawCommand{}, map[string]any{"Revision": map[string]any{
		"RevisionType": "S3", "S3Revision": map[string]any{"Bucket": nil, "Key": "k", "BundleType": "zip"},
	}}, `Bucket`),
	Case{Name: "a specification that the service refuses to hand out is reported as failed, at once and once", Run: func(h *Host) {
		h.Service(stub.Options{})
		h.fault(fault.Fault{Operation: "GetDeploymentSpecification", Kind: fault.Status, Status: 400, Code: "ClientException", Message: "no such deployment", Count: 1})
		h.Start()
		c := h.Carry(stub.RawCommand{Name: "ApplicationStop", Specification: "{}"})
		h.Failure(h.Diagnostics(c), 5, "", "no such deployment")
		h.PollsMore(2)
		h.Same("operations", []string{"GetDeploymentSpecification", "PutHostCommandComplete"}, h.Operations(c))
	}},
)

// unanswered is a case with a command that the agent must not answer in any way.
func unanswered(name string, raw stub.RawCommand) Case {
	return Case{Name: name, Run: func(h *Host) {
		h.Service(stub.Options{RedeliverAfter: 50 * time.Millisecond})
		raw.Specification = h.Specification(stub.Revision{}, nil)
		h.Start()
		s := h.Send(raw)
		h.Await("the delivery", func() bool { return s.Command().Deliveries > 0 })
		time.Sleep(2 * briefly)
		h.Same("operations", []string{}, h.Operations(s.Command()))
		h.Same("calls other than polls", 0, len(h.Requests()))
		if n := h.Polls(); n > 4 {
			h.Errorf("the agent does not back off: %d polls", n)
		}
	}}
}

var _ = add(Protocol,
	unanswered("a command for another host is not answered at all, and polling slows down",
		stub.RawCommand{Name: "ApplicationStop", HostIdentifier: "arn:aws:iam::123456789012:user/AWS/CodeDeploy/another-host"}),
	unanswered("a command for a host whose name only begins like ours is not answered",
		stub.RawCommand{Name: "ApplicationStop", HostIdentifier: "arn:aws:iam::123456789012:user/AWS/CodeDeploy/a-host-2"}),
	unanswered("a command without a name is not answered", stub.RawCommand{Name: ""}),
	Case{Name: "a command that names only a part of our host identifier is ours", Run: func(h *Host) {
		h.Start()
		c := h.Carry(stub.RawCommand{
			Name: "ApplicationStop", HostIdentifier: "user/AWS/CodeDeploy/a-host", Specification: h.Specification(stub.Revision{Type: "S3", Bucket: "b", Key: "k", BundleType: "zip"}, nil),
		})
		h.Same("status", stub.Succeeded, c.Status)
	}},
	Case{Name: "after a command for another host the agent goes on with its own", Run: func(h *Host) {
		h.Start()
		s := h.Send(stub.RawCommand{Name: "ApplicationStop", HostIdentifier: "someone-else", Specification: "{}"})
		h.Await("its delivery", func() bool { return s.Command().Deliveries > 0 })
		h.Send(stub.RawCommand{ID: s.Command().ID + "-2", Name: "MakeCoffee", Specification: h.Specification(stub.Revision{Bucket: "b", Key: "k", BundleType: "zip"}, nil)})
		h.Await("the other command", func() bool { return len(h.Requests()) >= 2 })
		h.Same("operations of the first", []string{}, h.Operations(s.Command()))
	}},
)

// fault sets a fault in the command service.
func (h *Host) fault(f fault.Fault) int {
	h.Helper()
	if f.Service == "" {
		f.Service = "commands"
	}
	id, err := h.Twin.Fault(f)
	if err != nil {
		h.Fatal(err)
	}
	return id
}

// odd is a case about an answer to a poll that is none.
func odd(name, body string) Case {
	return Case{Name: "an odd answer to a poll is survived: " + name, Run: func(h *Host) {
		h.Service(stub.Options{})
		h.fault(fault.Fault{Operation: "PollHostCommand", Kind: fault.Garbage, Body: body, Count: 1})
		h.Start()
		h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle"}, Revision: h.Push(withHooks("hooks: {}\n"))})
	}}
}

var _ = add(Protocol,
	odd("nothing", " "), odd("null", "null"), odd("an empty object", "{}"), odd("a web page", "<html><body>Welcome to Hotel WiFi</body></html>"),
	odd("a command without members", `{"HostCommand":{}}`), odd("a command with a wrong type", `{"HostCommand":[1]}`), odd("a list", "[]"),
	odd("a very long text", strings.Repeat("x", 1<<20)),
	odd("a command whose members are null", `{"HostCommand":{"HostCommandIdentifier":null,"HostIdentifier":null,"DeploymentExecutionId":null,"CommandName":null}}`),
)
