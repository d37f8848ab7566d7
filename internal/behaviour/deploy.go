package behaviour

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"codedeploy-agent/internal/stub"
	"codedeploy-agent/internal/stub/pack"
	"codedeploy-agent/internal/stub/record"
)

// Bundle is the content of a revision: text by path. HOST in a text is the host's directory; names that end in .sh
// become executable.
type Bundle map[string]string

// Directory writes the bundle and returns where it lies.
func (h *Host) Directory(b Bundle) string {
	h.Helper()
	dir, err := os.MkdirTemp(h.Dir, "bundle-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		h.Fatal(err)
	}
	for name, text := range b {
		h.Write(filepath.Join(dir, name), text)
	}
	return dir
}

// Push puts the bundle into S3 as a zip.
func (h *Host) Push(b Bundle) stub.Revision { return h.PushAs("zip", h.Directory(b)) }

// PushAs packs a directory as zip, tar or tgz and puts it into S3.
func (h *Host) PushAs(kind, dir string) stub.Revision {
	h.Helper()
	if h.Twin == nil {
		h.Service(stub.Options{})
	}
	revision, err := h.Twin.PushAs(h.Context(), dir, kind)
	if err != nil {
		h.Fatal(err)
	}
	return revision
}

// Archive packs the bundle and returns the path of the file.
func (h *Host) Archive(kind string, b Bundle) string {
	h.Helper()
	path := h.Path("bundle-of-" + kind + "." + kind)
	f, err := os.Create(path)
	if err == nil {
		err = pack.Directory(h.Context(), f, h.Directory(b), kind)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		h.Fatal(err)
	}
	return path
}

// Begin starts a deployment.
func (h *Host) Begin(o stub.DeployOptions) *stub.Deployment {
	h.Helper()
	d, err := h.Twin.Deploy(h.Context(), o)
	if err != nil {
		h.Fatal(err)
	}
	return d
}

// End waits for the end of a deployment.
func (h *Host) End(d *stub.Deployment) stub.DeploymentInfo {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), patience)
	defer cancel()
	info, err := d.Wait(ctx)
	if err != nil {
		h.Fatalf("the deployment does not end: %v", err)
	}
	return info
}

// Deploy makes a deployment and waits for its end.
func (h *Host) Deploy(o stub.DeployOptions) stub.DeploymentInfo {
	h.Helper()
	return h.End(h.Begin(o))
}

// Succeed is Deploy for a deployment that has to succeed.
func (h *Host) Succeed(o stub.DeployOptions) stub.DeploymentInfo {
	h.Helper()
	info := h.Deploy(o)
	if info.Status != stub.Succeeded {
		h.Fatalf("the deployment is %s: %s", info.Status, failure(info))
	}
	return info
}

// Fail is Deploy for a deployment that has to fail in the event; it returns what was reported.
func (h *Host) Fail(event string, o stub.DeployOptions) stub.Diagnostics {
	h.Helper()
	info := h.Deploy(o)
	e := h.Event(info, event)
	if info.Status != stub.Failed || e.Status != stub.Failed || e.Diagnostics == nil {
		h.Fatalf("the deployment is %s and its %s %s; it should have failed there: %s", info.Status, event, e.Status, failure(info))
	}
	return *e.Diagnostics
}

func failure(info stub.DeploymentInfo) string {
	for _, host := range info.Hosts {
		for _, e := range host.Events {
			if e.Status == stub.Failed {
				text, _ := json.Marshal(e)
				return string(text)
			}
		}
	}
	return info.Message
}

// Event returns what became of an event on this host.
func (h *Host) Event(info stub.DeploymentInfo, name string) stub.LifecycleEvent {
	h.Helper()
	events := info.Hosts[0].Events
	i := slices.IndexFunc(events, func(e stub.LifecycleEvent) bool { return e.Name == name })
	if i < 0 {
		h.Fatalf("the deployment has no %s", name)
	}
	return events[i]
}

// Send gives the host a single command.
func (h *Host) Send(raw stub.RawCommand) *stub.Sent {
	h.Helper()
	s, err := h.Twin.Send(h.Self.ID, raw)
	if err != nil {
		h.Fatal(err)
	}
	return s
}

// Carry gives the host a single command and waits for its end.
func (h *Host) Carry(raw stub.RawCommand) stub.Command {
	h.Helper()
	return h.Ended(h.Send(raw))
}

// Ended waits for the end of a command.
func (h *Host) Ended(s *stub.Sent) stub.Command {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), patience)
	defer cancel()
	c, err := s.Wait(ctx)
	if err != nil {
		h.Fatalf("the command does not end: %v; it is %+v", err, c)
	}
	return c
}

// Specification is a deployment specification with every member that has to be there.
func (h *Host) Specification(r stub.Revision, more map[string]any) map[string]any {
	revision := map[string]any{"RevisionType": "S3", "S3Revision": map[string]any{"Bucket": r.Bucket, "Key": r.Key, "BundleType": r.BundleType}}
	if r.Location != "" {
		revision = map[string]any{"RevisionType": r.Type, "LocalRevision": map[string]any{"Location": r.Location, "BundleType": r.BundleType}}
	}
	spec := map[string]any{
		"DeploymentId": "d-ABCDEF123", "DeploymentGroupId": "a-group-id", "DeploymentGroupName": "a-group", "ApplicationName": "an-application",
		"DeploymentCreator": "user", "DeploymentType": "IN_PLACE", "Revision": revision,
	}
	for name, value := range more {
		spec[name] = value
	}
	return spec
}

// Folder is where the host keeps a deployment.
func (h *Host) Folder(info stub.DeploymentInfo, elements ...string) string {
	return h.Root(append([]string{info.GroupID, info.ID}, elements...)...)
}

// Requests returns what the agent asked the command service, polls left out, oldest first.
func (h *Host) Requests() []record.Request {
	return slices.DeleteFunc(h.Twin.Transcript(), func(r record.Request) bool {
		return r.Service != "commands" || r.Operation == "PollHostCommand"
	})
}

// Operations names the requests about one command, oldest first.
func (h *Host) Operations(c stub.Command) []string {
	names := []string{}
	for _, r := range h.Requests() {
		var in struct{ HostCommandIdentifier, DeploymentExecutionId string }
		_ = json.Unmarshal(r.Input, &in)
		if in.HostCommandIdentifier == c.ID || in.DeploymentExecutionId == c.ExecutionID {
			names = append(names, r.Operation)
		}
	}
	return names
}

// Polls counts the polls so far.
func (h *Host) Polls() int {
	n := 0
	for _, r := range h.Twin.Transcript() {
		if r.Operation == "PollHostCommand" && r.Done {
			n++
		}
	}
	return n
}

// PollsMore waits for some more polls: what the agent has not done by then it does not do.
func (h *Host) PollsMore(n int) {
	h.Helper()
	have := h.Polls()
	h.Await("more polls", func() bool { return h.Polls() >= have+n })
}

// Diagnostics reads the last report of a command; it fails the case when there is none.
func (h *Host) Diagnostics(c stub.Command) stub.Diagnostics {
	h.Helper()
	d := c.Diagnostics()
	if d == nil {
		h.Fatalf("%s was not reported: %+v", c.Name, c)
	}
	return *d
}

// Same fails the case when two values differ.
func (h *Host) Same(what string, want, got any) {
	h.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		h.Errorf("%s (- wanted, + seen):\n%s", what, diff)
	}
}

// Matches fails the case when the text does not match the pattern.
func (h *Host) Matches(what, pattern, text string) {
	h.Helper()
	if !regexp.MustCompile(pattern).MatchString(text) {
		h.Errorf("%s does not match %s:\n%s", what, pattern, text)
	}
}

// Lacks fails the case when the text contains what it must not.
func (h *Host) Lacks(what, word, text string) {
	h.Helper()
	if strings.Contains(text, word) {
		h.Errorf("%s contains %q:\n%s", what, word, text)
	}
}

// Failure fails the case unless the diagnostics have the code and the script and the message matches.
func (h *Host) Failure(d stub.Diagnostics, code int, script, message string) {
	h.Helper()
	h.Same("error code", code, d.ErrorCode)
	h.Same("script name", script, d.Script)
	h.Matches("the message", message, d.Message)
}

// OneReport fails the case unless every command was reported exactly once.
func (h *Host) OneReport() {
	h.Helper()
	for _, c := range h.Twin.Commands() {
		if len(c.Reports) != 1 {
			h.Errorf("%s was reported %d times: %+v", c.Name, len(c.Reports), c.Reports)
		}
	}
}

// briefly is a time in which nothing may happen, where there is nothing else to wait for.
const briefly = 300 * time.Millisecond

// recorded is a request as the twin wrote it down.
type recorded = record.Request
