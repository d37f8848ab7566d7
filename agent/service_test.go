package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"codedeploy-agent/internal/codedeploy"
	"codedeploy-agent/internal/deployspec"
	"codedeploy-agent/internal/identity"
	"codedeploy-agent/internal/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The operations of the service.
const (
	poll        = "PollHostCommand"
	specify     = "GetDeploymentSpecification"
	acknowledge = "PutHostCommandAcknowledgement"
	complete    = "PutHostCommandComplete"
)

const thisHost = "arn:aws:iam::123456789012:user/web-1"

// service is what the agent's client talks to, in the virtual time of a test. It delivers its commands in order and
// lets everything pass, unless an answer says otherwise.
type service struct {
	// answer overrides the answer to a call; a status of 0 means the usual one.
	answer func(s *service, operation string, r *http.Request) (status int, header http.Header, body string)

	mu       sync.Mutex
	commands []string // CommandNames that wait for their delivery
	calls    []call
}

// call is one request: the operation with the command it is about, or the status of a report.
type call struct {
	operation, what string
	at              time.Time
}

func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	var in struct{ HostCommandIdentifier, DeploymentExecutionID, CommandStatus string }
	_ = json.NewDecoder(r.Body).Decode(&in)
	s.mu.Lock()
	s.calls = append(s.calls, call{operation, strings.TrimSpace(cmp.Or(in.HostCommandIdentifier, in.DeploymentExecutionID) + " " + in.CommandStatus), time.Now()})
	s.mu.Unlock()
	status, header, body := 0, http.Header(nil), ""
	if s.answer != nil {
		status, header, body = s.answer(s, operation, r)
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if status == 0 {
		status, body = http.StatusOK, s.usual(operation)
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func (s *service) usual(operation string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case operation == poll && len(s.commands) > 0:
		name := s.commands[0]
		s.commands = s.commands[1:]
		return encode(map[string]any{"HostCommand": map[string]any{
			"HostCommandIdentifier": "hc-" + name, "HostIdentifier": thisHost, "DeploymentExecutionId": "execution-" + name, "CommandName": name,
		}})
	case operation == specify:
		return encode(map[string]any{"DeploymentSystem": "CodeDeploy", "DeploymentSpecification": map[string]any{
			"GenericEnvelope": map[string]any{"Format": "TEXT/JSON", "Payload": `{
				"DeploymentId": "d-1", "DeploymentGroupId": "g", "DeploymentGroupName": "web", "ApplicationName": "shop",
				"Revision": {"RevisionType": "S3", "S3Revision": {"Bucket": "b", "Key": "k", "BundleType": "zip"}}}`},
		}})
	case operation == acknowledge:
		return `{"CommandStatus": "InProgress"}`
	}
	return "{}"
}

func encode(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// seen lists the calls of an operation.
func (s *service) seen(operation string) (calls []call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if c.operation == operation {
			calls = append(calls, c)
		}
	}
	return calls
}

// hang never answers.
func hang(r *http.Request) { <-r.Context().Done() }

func (s *service) host(id string) *Host {
	return &Host{
		Host: &identity.Host{ID: id, Region: "eu-west-1"},
		Client: codedeploy.New(codedeploy.Options{
			Endpoint: &url.URL{Scheme: "http", Host: "service"}, Region: "eu-west-1", HTTP: &http.Client{Transport: s},
			Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
		}),
	}
}

// running is an agent that runs in a bubble of synctest.
type running struct {
	*Agent
	depart chan Departure
	how    chan Departure
}

// agentOf makes an agent of the service with its root in dir; it does not run yet.
func agentOf(t *testing.T, s *service, dir string) *Agent {
	root := state.NewRoot(filepath.Join(dir, "root"), "")
	log := zaptest.NewLogger(t)
	return New(Options{
		Executor:        &Executor{Root: root, Log: log},
		Connect:         func(context.Context) (*Host, error) { return s.host(thisHost), nil },
		Specifications:  deployspec.Options{AllowUnsigned: true, CheckID: root.CheckID},
		WaitBetweenRuns: time.Second,
		PollTimeout:     codedeploy.DefaultReadTimeout,
		MaxStopWait:     time.Hour,
		Health:          NewHealth(filepath.Join(dir, "status"), "3.0.0", 2*time.Minute),
		Log:             log,
	})
}

func start(t *testing.T, a *Agent) *running {
	r := &running{a, make(chan Departure, 3), make(chan Departure, 1)}
	go func() {
		how, err := a.Run(r.depart, func() {})
		if err != nil {
			t.Error(err)
		}
		r.how <- how
	}()
	return r
}

// leave asks the agent to leave in these ways, one after the other, and returns how it left and how long it took.
func (r *running) leave(ways ...Departure) (Departure, time.Duration) {
	began := time.Now()
	for _, way := range ways {
		r.depart <- way
		synctest.Wait()
	}
	how := <-r.how
	return how, time.Since(began)
}

// says is what the agent says of itself.
func (a *Agent) says() Status {
	a.Health.mu.Lock()
	defer a.Health.mu.Unlock()
	return a.Health.status
}
