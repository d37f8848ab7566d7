package stub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"codedeploy-agent/internal/stub/cms"
	"codedeploy-agent/internal/stub/fault"
	"codedeploy-agent/internal/stub/record"
)

func TestBadSignaturesAreRefused(t *testing.T) {
	s := start(t, Options{})
	h := addHost(t, s, Host{Name: "mine"})
	other := addHost(t, s, Host{Name: "other"})
	for name, tc := range map[string]struct {
		change func(*fakeAgent)
		want   string
	}{
		"a good one":         {func(*fakeAgent) {}, ""},
		"the secure stack":   {func(a *fakeAgent) { a.secure = true }, ""},
		"a wrong secret":     {func(a *fakeAgent) { a.secret = "wrong" }, "InvalidSignatureException"},
		"an unknown key":     {func(a *fakeAgent) { a.keyID = "AKIAUNKNOWN" }, "UnrecognizedClientException"},
		"a stray token":      {func(a *fakeAgent) { a.token = "stray" }, "UnrecognizedClientException"},
		"a wrong region":     {func(a *fakeAgent) { a.region = "eu-west-1" }, "InvalidSignatureException"},
		"a slow clock":       {func(a *fakeAgent) { a.at = time.Now().Add(-20 * time.Minute) }, "InvalidSignatureException"},
		"a clock just right": {func(a *fakeAgent) { a.at = time.Now().Add(-10 * time.Minute) }, ""},
		"another host":       {func(a *fakeAgent) { a.hostID = other.ID }, "AccessDeniedException"},
	} {
		a := newAgent(t, s, h)
		tc.change(a)
		_, err := a.call(t.Context(), "PollHostCommand", map[string]any{"HostIdentifier": a.hostID})
		if !isType(err, tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func TestRequestsWithoutASignatureAreRefused(t *testing.T) {
	s := start(t, Options{})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+"/", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("X-Amz-Target", legacyTarget+"PollHostCommand")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer func() { _ = response.Body.Close() }()
	if _, err := decodeAnswer(response); !isType(err, "MissingAuthenticationTokenException") {
		t.Errorf("the answer is %v", err)
	}
}

func isType(err error, want string) bool {
	var refused *apiError
	if errors.As(err, &refused) {
		return want != "" && strings.HasSuffix(refused.Type, "#"+want)
	}
	return err == nil && want == ""
}

func TestBadRequestsAreRefused(t *testing.T) {
	s := start(t, Options{})
	a := newAgent(t, s, addHost(t, s, Host{}))
	long := map[string]any{"Format": "JSON", "Payload": strings.Repeat("x", 8193)}
	for name, tc := range map[string]struct {
		operation string
		in        any
		want      string
	}{
		"no such operation":     {"Nothing", map[string]any{}, "UnknownOperationException"},
		"no host":               {"PollHostCommand", map[string]any{}, "ClientException"},
		"not an object":         {"PollHostCommand", []int{1}, "SerializationException"},
		"an unknown command":    {"PutHostCommandAcknowledgement", map[string]any{"HostCommandIdentifier": "none"}, "ClientException"},
		"no command":            {"PutHostCommandAcknowledgement", map[string]any{}, "ClientException"},
		"an unknown execution":  {"GetDeploymentSpecification", map[string]any{"HostIdentifier": a.hostID, "DeploymentExecutionId": "a/b/c/d"}, "ClientException"},
		"a malformed execution": {"GetDeploymentSpecification", map[string]any{"HostIdentifier": a.hostID, "DeploymentExecutionId": "abc"}, "ClientException"},
		"long diagnostics":      {"PutHostCommandComplete", map[string]any{"HostCommandIdentifier": "x", "CommandStatus": "Failed", "Diagnostics": long}, "ClientException"},
		"an unknown status":     {"PutHostCommandComplete", map[string]any{"HostCommandIdentifier": "x", "CommandStatus": "Done"}, "ClientException"},
		"an update of nothing":  {"PostHostCommandUpdate", map[string]any{"HostCommandIdentifier": "x"}, "ClientException"},
	} {
		if _, err := a.call(t.Context(), tc.operation, tc.in); !isType(err, tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func TestSpecificationsAreSignedOrSpoiledAsTold(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("NOT RUN HERE (needs openssl): nobody independent can judge the signature")
	}
	s := start(t, Options{})
	h := addHost(t, s, Host{})
	a := newAgent(t, s, h)
	for _, flaw := range []cms.Flaw{cms.Sound, cms.ContentChanged, cms.WrongDigest} {
		sent, err := s.Send(h.ID, RawCommand{Name: "Install", Specification: `{"a":1}`, Signing: cms.Options{Indefinite: true, Flaw: flaw}})
		if err != nil {
			t.Fatal(err)
		}
		out, err := a.call(t.Context(), "GetDeploymentSpecification", map[string]any{"HostIdentifier": h.ID, "DeploymentExecutionId": sent.Command().ExecutionID})
		if err != nil {
			t.Fatal(err)
		}
		payload := out["DeploymentSpecification"].(map[string]any)["GenericEnvelope"].(map[string]any)["Payload"].(string)
		file := filepath.Join(t.TempDir(), "payload")
		if err := os.WriteFile(file, []byte(payload), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := exec.Command("openssl", "cms", "-verify", "-binary", "-inform", "PEM", "-noverify", "-in", file).Output()
		if good := err == nil && string(got) == `{"a":1}`; good != (flaw == cms.Sound) {
			t.Errorf("flaw %q: openssl says %v, content %q", flaw, err, got)
		}
	}
}

func TestRawEnvelopes(t *testing.T) {
	s := start(t, Options{})
	h := addHost(t, s, Host{})
	a := newAgent(t, s, h)
	sent, err := s.Send(h.ID, RawCommand{
		Name: "Install", ID: "my-id", ExecutionID: "1/2/3/4", HostIdentifier: "somebody-else", Format: "TEXT/JSON", Payload: "{}", System: "Other", AckAnswer: NoStatus,
	})
	if err != nil {
		t.Fatal(err)
	}
	poll, err := a.call(t.Context(), "PollHostCommand", map[string]any{"HostIdentifier": h.ID})
	if err != nil {
		t.Fatal(err)
	}
	command := poll["HostCommand"].(map[string]any)
	if command["HostIdentifier"] != "somebody-else" || command["HostCommandIdentifier"] != "my-id" || command["DeploymentExecutionId"] != "1/2/3/4" {
		t.Errorf("the command is %v", command)
	}
	spec, err := a.call(t.Context(), "GetDeploymentSpecification", map[string]any{"HostIdentifier": h.ID, "DeploymentExecutionId": "1/2/3/4"})
	if err != nil || spec["DeploymentSystem"] != "Other" {
		t.Errorf("the specification is %v, %v", spec, err)
	}
	ack, err := a.call(t.Context(), "PutHostCommandAcknowledgement", map[string]any{"HostCommandIdentifier": "my-id"})
	if _, has := ack["CommandStatus"]; err != nil || has {
		t.Errorf("the answer is %v, %v; want none", ack, err)
	}
	if got := sent.Command(); got.Acknowledgements != 1 {
		t.Errorf("%d acknowledgements", got.Acknowledgements)
	}
}

func TestFaultsOfTheCommandService(t *testing.T) {
	s := start(t, Options{})
	h := addHost(t, s, Host{})
	a := newAgent(t, s, h)
	a.client.Timeout = 300 * time.Millisecond
	poll := func() error {
		_, err := a.call(t.Context(), "PollHostCommand", map[string]any{"HostIdentifier": h.ID})
		return err
	}
	for name, tc := range map[string]struct {
		fault fault.Fault
		check func(error) bool
	}{
		"500":            {fault.Fault{Kind: fault.Status}, func(err error) bool { return isType(err, "ServerException") }},
		"named error":    {fault.Fault{Kind: fault.Status, Status: 400, Code: "X"}, func(err error) bool { return isType(err, "X") }},
		"throttle":       {fault.Fault{Kind: fault.Throttle, RetryAfter: time.Second}, func(err error) bool { return isType(err, "ThrottlingException") }},
		"reset":          {fault.Fault{Kind: fault.Reset}, func(err error) bool { return err != nil && !isTimeout(err) }},
		"lost answer":    {fault.Fault{Kind: fault.Lost}, func(err error) bool { return err != nil && !isTimeout(err) }},
		"hang":           {fault.Fault{Kind: fault.Hang}, isTimeout},
		"garbage":        {fault.Fault{Kind: fault.Garbage}, func(err error) bool { return err != nil && strings.Contains(err.Error(), "invalid character") }},
		"delay":          {fault.Fault{Kind: fault.Delay, Delay: 10 * time.Millisecond}, func(err error) bool { return err == nil }},
		"for other host": {fault.Fault{Kind: fault.Reset, Host: "other"}, func(err error) bool { return err == nil }},
		"truncated":      {fault.Fault{Kind: fault.Truncate, After: 3}, func(err error) bool { return err != nil }},
	} {
		t.Run(name, func(t *testing.T) {
			s.ClearFaults()
			tc.fault.Service, tc.fault.Operation = "commands", "PollHostCommand"
			if _, err := s.Fault(tc.fault); err != nil {
				t.Fatal(err)
			}
			if err := poll(); !tc.check(err) {
				t.Errorf("the poll says %v", err)
			}
			if err := poll(); err != nil {
				t.Errorf("the next poll says %v", err)
			}
		})
	}
}

func isTimeout(err error) bool {
	var e interface{ Timeout() bool }
	return errors.As(err, &e) && e.Timeout()
}

func TestALostAnswerWasProcessed(t *testing.T) {
	s := start(t, Options{})
	h := addHost(t, s, Host{})
	a := newAgent(t, s, h)
	sent, err := s.Send(h.ID, RawCommand{Name: "Install", Specification: "{}"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Fault(fault.Fault{Operation: "PutHostCommandComplete", Kind: fault.Lost}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.step(t.Context()); err == nil {
		t.Error("the agent got an answer to its report")
	}
	if got := sent.Command(); got.Status != Succeeded {
		t.Errorf("the command is %s", got.Status)
	}
}

func TestAnOutageAndItsEnd(t *testing.T) {
	s := start(t, Options{})
	h := addHost(t, s, Host{})
	a := newAgent(t, s, h)
	url := s.URL()
	s.Down()
	if _, err := a.step(t.Context()); err == nil {
		t.Error("the service answered although it is down")
	}
	if err := s.Up(); err != nil {
		t.Fatal(err)
	}
	if s.URL() != url {
		t.Errorf("the address changed from %s to %s", url, s.URL())
	}
	if _, err := a.step(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTheTranscriptTellsTheOrder(t *testing.T) {
	s := start(t, Options{})
	h := addHost(t, s, Host{})
	a := newAgent(t, s, h)
	if _, err := s.Send(h.ID, RawCommand{Name: "Install", Specification: "{}"}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range s.Transcript() {
		got = append(got, r.Operation)
		if r.Host != h.ID || r.AgentVersion != "9.9.9" || r.Status != 200 || !r.Done || len(r.Input) == 0 {
			t.Errorf("the entry is %+v", r)
		}
	}
	if want := "PollHostCommand GetDeploymentSpecification PutHostCommandAcknowledgement PutHostCommandComplete"; strings.Join(got, " ") != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestHTTPS(t *testing.T) {
	s := start(t, Options{TLS: true})
	h := addHost(t, s, Host{})
	a := newAgent(t, s, h)
	pem, err := os.ReadFile(s.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	a.url, a.client = s.SecureURL(), &http.Client{Transport: transport}
	for range 2 {
		if _, err := a.step(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Fault(fault.Fault{Operation: "PollHostCommand", Kind: fault.Reset}); err != nil {
			t.Fatal(err)
		}
		if _, err := a.step(t.Context()); err == nil {
			t.Error("a reset did nothing")
		}
	}
}

func TestTheRootAnswersSomething(t *testing.T) {
	s := start(t, Options{})
	response, err := http.Get(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer func() { _ = response.Body.Close() }()
	if b, err := io.ReadAll(response.Body); err != nil || response.StatusCode != 200 || len(b) == 0 {
		t.Errorf("GET / says %d %q %v", response.StatusCode, b, err)
	}
}

func TestOnlyLoopback(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "192.0.2.1:80", "example.com:80", "nonsense"} {
		if s, err := Start(context.Background(), Options{Listen: address}); err == nil {
			s.Close()
			t.Errorf("%s was accepted", address)
		}
	}
}

func TestTheEndOfTheContextClosesTheTwin(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s, err := Start(ctx, Options{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := s.WaitRequest(contextWithLimit(t), func(record.Request) bool { return false }); err == nil {
		t.Error("a request came")
	}
	s.Close()
	if _, err := os.Stat(s.Dir()); err == nil {
		t.Error("the temporary directory is still there")
	}
}

func contextWithLimit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}
