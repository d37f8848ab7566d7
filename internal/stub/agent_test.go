package stub

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start starts a twin that ends with the test.
func start(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// fakeAgent speaks the protocol by a script; it is signed by the SDK's signer, not by ours.
type fakeAgent struct {
	t         *testing.T
	url       string
	hostID    string
	keyID     string
	secret    string
	token     string
	region    string
	secure    bool
	at        time.Time
	client    *http.Client
	noop      func(command string) bool
	complete  func(command string) (status string, d map[string]any)
	forgetAck bool
}

func newAgent(t *testing.T, s *Server, h *Host) *fakeAgent {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &fakeAgent{
		t: t, url: s.URL(), hostID: h.ID, keyID: h.AccessKeyID, secret: h.SecretAccessKey, token: h.SessionToken, region: "us-east-1",
		client: &http.Client{Transport: transport, Timeout: 10 * time.Second},
		noop:   func(string) bool { return false },
		complete: func(string) (string, map[string]any) {
			return "Succeeded", map[string]any{"error_code": 0, "script_name": "", "message": "Succeeded: ", "log": ""}
		},
	}
}

type apiError struct {
	status        int
	Type, Message string
}

func (e *apiError) Error() string { return fmt.Sprintf("%d %s: %s", e.status, e.Type, e.Message) }

// call sends one signed request.
func (a *fakeAgent) call(ctx context.Context, operation string, in any) (map[string]any, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	target, signing := legacyTarget, legacySigning
	if a.secure {
		target, signing = secureTarget, secureSigning
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url+"/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("X-Amz-Target", target+operation)
	r.Header.Set("X-Amz-Codedeploy-Agent-Version", "9.9.9")
	at := a.at
	if at.IsZero() {
		at = time.Now()
	}
	creds := aws.Credentials{AccessKeyID: a.keyID, SecretAccessKey: a.secret, SessionToken: a.token}
	if err := v4.NewSigner().SignHTTP(ctx, creds, r, hexSum(body), signing, a.region, at); err != nil {
		return nil, err
	}
	response, err := a.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	return decodeAnswer(response)
}

func decodeAnswer(response *http.Response) (map[string]any, error) {
	b, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		e := &apiError{status: response.StatusCode}
		var said map[string]string
		if json.Unmarshal(b, &said) == nil {
			e.Type, e.Message = said["__type"], said["message"]
		}
		return nil, e
	}
	out := map[string]any{}
	if len(b) > 0 {
		err = json.Unmarshal(b, &out)
	}
	return out, err
}

// step polls once and carries the command out; it returns the command's name, empty when there was none.
func (a *fakeAgent) step(ctx context.Context) (string, error) {
	out, err := a.call(ctx, "PollHostCommand", map[string]any{"HostIdentifier": a.hostID})
	if err != nil {
		return "", err
	}
	command, _ := out["HostCommand"].(map[string]any)
	if command == nil {
		return "", nil
	}
	name := command["CommandName"].(string)
	if _, err := a.call(ctx, "GetDeploymentSpecification", map[string]any{"HostIdentifier": a.hostID, "DeploymentExecutionId": command["DeploymentExecutionId"]}); err != nil {
		return name, err
	}
	id := command["HostCommandIdentifier"]
	if a.forgetAck {
		return name, nil
	}
	ack, err := a.call(ctx, "PutHostCommandAcknowledgement", map[string]any{"HostCommandIdentifier": id, "Diagnostics": envelopeOf(map[string]any{"IsCommandNoop": a.noop(name)})})
	if err != nil || ack["CommandStatus"] == "Succeeded" {
		return name, err
	}
	status, diagnostics := a.complete(name)
	_, err = a.call(ctx, "PutHostCommandComplete", map[string]any{"HostCommandIdentifier": id, "CommandStatus": status, "Diagnostics": envelopeOf(diagnostics)})
	return name, err
}

func envelopeOf(payload any) map[string]any {
	b, _ := json.Marshal(payload)
	return map[string]any{"Format": "JSON", "Payload": string(b)}
}

// run works until ctx ends.
func (a *fakeAgent) run(ctx context.Context) {
	for ctx.Err() == nil {
		name, err := a.step(ctx)
		if err != nil && ctx.Err() == nil {
			a.t.Logf("the fake agent met: %v", err)
		}
		if name == "" {
			time.Sleep(2 * time.Millisecond)
		}
	}
}

// work runs the agent beside the test until the test ends.
func (a *fakeAgent) work() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); a.run(ctx) }()
	a.t.Cleanup(func() { cancel(); <-done })
}

func addHost(t *testing.T, s *Server, h Host) *Host {
	t.Helper()
	added, err := s.AddHost(h)
	if err != nil {
		t.Fatal(err)
	}
	return added
}

// deploy deploys nothing in particular.
func deploy(t *testing.T, s *Server, o DeployOptions) *Deployment {
	t.Helper()
	if o.Revision.Key == "" {
		o.Revision = Revision{Bucket: "bucket", Key: "key.zip", BundleType: "zip"}
	}
	d, err := s.Deploy(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func wait(t *testing.T, d *Deployment) DeploymentInfo {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	info, err := d.Wait(ctx)
	if err != nil {
		t.Fatalf("the deployment did not end: %v; it stands at %+v", err, info)
	}
	return info
}
