package stub

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"codedeploy-agent/internal/stub/record"

	"github.com/google/go-cmp/cmp"
)

func eventNames(h HostResult) (names []string) {
	for _, e := range h.Events {
		names = append(names, e.Name+" "+string(e.Status))
	}
	return names
}

func TestEventsComeInTheServicesOrder(t *testing.T) {
	cases := map[string]struct {
		options DeployOptions
		want    string
	}{
		"in place": {want: "ApplicationStop DownloadBundle BeforeInstall Install AfterInstall ApplicationStart ValidateService"},
		"in place with a load balancer": {
			options: DeployOptions{LoadBalancer: true},
			want: "BeforeBlockTraffic AfterBlockTraffic ApplicationStop DownloadBundle BeforeInstall Install AfterInstall ApplicationStart " +
				"ValidateService BeforeAllowTraffic AfterAllowTraffic",
		},
		"custom": {options: DeployOptions{Events: []string{"DownloadBundle", "Mine"}}, want: "DownloadBundle Mine"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := start(t, Options{})
			h := addHost(t, s, Host{})
			newAgent(t, s, h).work()
			if info := wait(t, deploy(t, s, c.options)); info.Status != Succeeded {
				t.Errorf("the deployment ended as %s: %s", info.Status, info.Message)
			}
			var got []string
			for _, command := range s.Commands() {
				got = append(got, command.Name)
			}
			if diff := cmp.Diff(strings.Fields(c.want), got); diff != "" {
				t.Errorf("commands (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBlueGreenGivesTheOriginalsTheirEventsLast(t *testing.T) {
	s := start(t, Options{})
	green, blue := addHost(t, s, Host{Name: "green"}), addHost(t, s, Host{Name: "blue"})
	newAgent(t, s, green).work()
	newAgent(t, s, blue).work()
	for _, rollback := range []bool{false, true} {
		d := deploy(t, s, DeployOptions{Originals: []string{"blue"}, Rollback: rollback})
		if info := wait(t, d); info.Status != Succeeded {
			t.Fatalf("rollback %v: %s: %s", rollback, info.Status, info.Message)
		}
		var hosts []string
		for _, c := range s.Commands() {
			if c.Deployment == d.ID() {
				hosts = append(hosts, c.Host)
			}
		}
		want := []string{green.ID, blue.ID}
		if rollback {
			want = []string{blue.ID, green.ID}
		}
		if diff := cmp.Diff(want, slices.Compact(hosts)); diff != "" {
			t.Errorf("rollback %v: order of hosts (-want +got):\n%s", rollback, diff)
		}
	}
}

func TestTheSpecificationSaysWhatIsDeployed(t *testing.T) {
	s := start(t, Options{})
	addHost(t, s, Host{})
	d := deploy(t, s, DeployOptions{
		FileExistsBehavior: "OVERWRITE", AppSpecFilename: "x.yml", Revision: Revision{Bucket: "b", Key: "k", BundleType: "tgz", ETag: "e"},
		Specification: map[string]any{"DeploymentCreator": "autoscaling", "ApplicationName": nil},
	})
	defer d.Stop()
	b, err := json.Marshal(d.specification())
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"DeploymentId": d.ID(), "DeploymentGroupId": groupID("demo-application", "demo-group"), "DeploymentGroupName": "demo-group",
		"DeploymentCreator": "autoscaling", "DeploymentType": "IN_PLACE", "AppSpecFilename": "x.yml",
		"AgentActionOverrides": map[string]any{"AgentOverrides": map[string]any{"FileExistsBehavior": "OVERWRITE"}},
		"Revision": map[string]any{"RevisionType": "S3", "S3Revision": map[string]any{
			"Bucket": "b", "Key": "k", "BundleType": "tgz", "ETag": "e", "Version": nil,
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("specification (-want +got):\n%s", diff)
	}
}

func TestOneCommandOfADeploymentCanBeChanged(t *testing.T) {
	s := start(t, Options{})
	a := newAgent(t, s, addHost(t, s, Host{}))
	a.work()
	info := wait(t, deploy(t, s, DeployOptions{Each: func(event string, raw *RawCommand) {
		if event == "Install" {
			raw.ID, raw.AckAnswer = "special", Succeeded
		}
	}}))
	if e := info.Hosts[0].Events[3]; info.Status != Succeeded || e.Command != "special" || e.Diagnostics != nil {
		t.Errorf("%s, and the event is %+v", info.Status, e)
	}
}

func TestAFailedEventEndsTheDeployment(t *testing.T) {
	s := start(t, Options{})
	a := newAgent(t, s, addHost(t, s, Host{}))
	a.complete = func(command string) (string, map[string]any) {
		if command == "BeforeInstall" {
			return "Failed", map[string]any{"error_code": 4, "script_name": "hooks/before.sh", "message": "exit code 3", "log": "LifecycleEvent - BeforeInstall\n"}
		}
		return "Succeeded", nil
	}
	a.work()
	info := wait(t, deploy(t, s, DeployOptions{}))
	want := []string{
		"ApplicationStop Succeeded", "DownloadBundle Succeeded", "BeforeInstall Failed",
		"Install Skipped", "AfterInstall Skipped", "ApplicationStart Skipped", "ValidateService Skipped",
	}
	if diff := cmp.Diff(want, eventNames(info.Hosts[0])); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if info.Status != Failed || !strings.HasPrefix(info.Message, "BeforeInstall failed on") {
		t.Errorf("the deployment ended as %s: %q", info.Status, info.Message)
	}
	got := info.Hosts[0].Events[2].Diagnostics
	if got == nil || got.ErrorCode != 4 || got.Script != "hooks/before.sh" || got.Message != "exit code 3" {
		t.Errorf("diagnostics are %+v", got)
	}
}

func TestAFailedApplicationStopIsForgivenOnRequest(t *testing.T) {
	s := start(t, Options{})
	a := newAgent(t, s, addHost(t, s, Host{}))
	a.complete = func(command string) (string, map[string]any) {
		if command == "ApplicationStop" {
			return "Failed", nil
		}
		return "Succeeded", nil
	}
	a.work()
	if info := wait(t, deploy(t, s, DeployOptions{IgnoreApplicationStopFailures: true})); info.Status != Succeeded {
		t.Errorf("forgiven, it ended as %s", info.Status)
	}
	if info := wait(t, deploy(t, s, DeployOptions{})); info.Status != Failed {
		t.Errorf("not forgiven, it ended as %s", info.Status)
	}
}

func TestNoopsAreDoneWithTheirAcknowledgement(t *testing.T) {
	for answer, reports := range map[Status]int{Succeeded: 0, InProgress: 1, Failed: 1} {
		t.Run(string(answer), func(t *testing.T) {
			s := start(t, Options{AnswerNoop: answer})
			a := newAgent(t, s, addHost(t, s, Host{}))
			a.noop = func(string) bool { return true }
			a.work()
			info := wait(t, deploy(t, s, DeployOptions{Events: []string{"AfterInstall"}}))
			if e := info.Hosts[0].Events[0]; e.Status != Succeeded || !e.Noop {
				t.Errorf("the event is %+v", e)
			}
			if got := len(s.Commands()[0].Reports); got != reports {
				t.Errorf("%d reports came, want %d", got, reports)
			}
		})
	}
}

func TestUnacknowledgedCommandsAreDeliveredAgain(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration
		want  int
	}{"at every poll": {0, 3}, "never": {-1, 1}} {
		t.Run(name, func(t *testing.T) {
			s := start(t, Options{RedeliverAfter: c.after})
			h := addHost(t, s, Host{})
			a := newAgent(t, s, h)
			a.forgetAck = true
			sent, err := s.Send(h.ID, RawCommand{Name: "Install", Specification: "{}"})
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if _, err := a.step(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if got := sent.Command().Deliveries; got != c.want {
				t.Errorf("delivered %d times, want %d", got, c.want)
			}
		})
	}
}

func TestReportsAreCountedAndContradictionsRefused(t *testing.T) {
	s := start(t, Options{})
	h := addHost(t, s, Host{})
	a := newAgent(t, s, h)
	sent, err := s.Send(h.ID, RawCommand{Name: "Install", Specification: "{}"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := map[string]any{"HostCommandIdentifier": sent.Command().ID, "CommandStatus": "Succeeded"}
	if _, err := a.call(t.Context(), "PutHostCommandComplete", again); err != nil {
		t.Errorf("the same report again was refused: %v", err)
	}
	again["CommandStatus"] = "Failed"
	var refused *apiError
	if _, err := a.call(t.Context(), "PutHostCommandComplete", again); !errors.As(err, &refused) || !strings.HasSuffix(refused.Type, "#ClientException") {
		t.Errorf("the opposite report: %v, want a ClientException", err)
	}
	if got := sent.Command(); got.Status != Succeeded || len(got.Reports) != 3 || got.Reports[2].Accepted {
		t.Errorf("the command is %+v", got)
	}
}

func TestTimeLimits(t *testing.T) {
	s := start(t, Options{StartTimeout: 20 * time.Millisecond})
	addHost(t, s, Host{})
	info := wait(t, deploy(t, s, DeployOptions{}))
	if e := info.Hosts[0].Events[0]; e.Status != Failed || !strings.Contains(e.Reason, "no agent acknowledged") {
		t.Errorf("the event is %+v", e)
	}
}

func TestALongPollIsWokenByACommand(t *testing.T) {
	s := start(t, Options{LongPoll: 10 * time.Second})
	h := addHost(t, s, Host{})
	a := newAgent(t, s, h)
	done := make(chan string, 1)
	go func() {
		name, _ := a.step(t.Context())
		done <- name
	}()
	if _, err := s.WaitRequest(t.Context(), func(r record.Request) bool { return r.Operation == "PollHostCommand" }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Send(h.ID, RawCommand{Name: "Install", Specification: "{}"}); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got != "Install" {
		t.Errorf("the poll got %q", got)
	}
}

func TestEventsAreStreamedFromTheBeginning(t *testing.T) {
	s := start(t, Options{})
	newAgent(t, s, addHost(t, s, Host{Name: "web-1"})).work()
	d := deploy(t, s, DeployOptions{Events: []string{"DownloadBundle", "Install"}})
	var got []string
	for e := range d.Events(t.Context()) {
		got = append(got, strings.TrimSpace(e.Name+" "+string(e.Status)))
	}
	want := []string{"InProgress", "DownloadBundle InProgress", "DownloadBundle Succeeded", "Install InProgress", "Install Succeeded", "Succeeded", "Succeeded"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestABusyGroupAndAStop(t *testing.T) {
	s := start(t, Options{})
	h := addHost(t, s, Host{})
	d := deploy(t, s, DeployOptions{})
	if _, err := s.Deploy(t.Context(), DeployOptions{}); err == nil || !strings.Contains(err.Error(), d.ID()) {
		t.Errorf("a second deployment: %v, want an error that names the first", err)
	}
	d.Stop()
	info := wait(t, d)
	if info.Status != Stopped {
		t.Errorf("stopped, it is %s", info.Status)
	}
	withdrawn := map[string]any{"HostCommandIdentifier": info.Hosts[0].Events[0].Command}
	if out, err := newAgent(t, s, h).call(t.Context(), "PutHostCommandAcknowledgement", withdrawn); err != nil || out["CommandStatus"] != "Failed" {
		t.Errorf("the withdrawn command is answered %v, %v", out, err)
	}
	if state := s.Hosts()[0]; len(state.Waiting)+len(state.Running) != 0 {
		t.Errorf("the host still has commands: %+v", state)
	}
}

func TestSeveralHosts(t *testing.T) {
	s := start(t, Options{})
	for _, name := range []string{"a", "b", "c"} {
		agent := newAgent(t, s, addHost(t, s, Host{Name: name, Groups: []string{"g"}}))
		agent.complete = func(command string) (string, map[string]any) {
			if name == "b" && command == "Install" {
				return "Failed", nil
			}
			return "Succeeded", nil
		}
		agent.work()
	}
	addHost(t, s, Host{Name: "other", Groups: []string{"other"}})
	info := wait(t, deploy(t, s, DeployOptions{Group: "g", OneAtATime: true}))
	var got []string
	for _, h := range info.Hosts {
		got = append(got, string(h.Status))
	}
	if diff := cmp.Diff([]string{"Succeeded", "Failed", "Skipped"}, got); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
}

func TestClosingTheTwinEndsEveryWait(t *testing.T) {
	s := start(t, Options{LongPoll: time.Minute})
	a := newAgent(t, s, addHost(t, s, Host{}))
	go func() {
		_, _ = s.WaitRequest(context.Background(), func(r record.Request) bool { return r.Operation == "PollHostCommand" })
		s.Close()
	}()
	_, _ = a.step(t.Context())
}
