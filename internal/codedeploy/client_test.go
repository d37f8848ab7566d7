package codedeploy

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testCredentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret", SessionToken: "token"}, nil
})

// received is one request as the service saw it.
type received struct {
	header http.Header
	host   string
	body   string
}

// service answers every request with the given function and keeps the requests.
func service(t *testing.T, o Options, answer http.HandlerFunc) (*Client, *[]received) {
	t.Helper()
	var requests []received
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests = append(requests, received{r.Header.Clone(), r.Host, string(body)})
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	endpoint, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	o.Endpoint, o.Region, o.HTTP, o.AgentVersion = endpoint, "eu-west-1", server.Client(), "3.0.0"
	if o.Credentials == nil {
		o.Credentials = testCredentials
	}
	t.Cleanup(server.Client().CloseIdleConnections)
	return New(o), &requests
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestOperationsAsTheyGoOverTheWire(t *testing.T) {
	command := &HostCommand{HostCommandIdentifier: "id-1", HostIdentifier: "host", DeploymentExecutionID: "a/b/c/d", CommandName: "Install"}
	commandText := `{"HostCommandIdentifier":"id-1","HostIdentifier":"host","DeploymentExecutionId":"a/b/c/d","CommandName":"Install","Nonce":`
	for _, tc := range []struct {
		name      string
		answer    string
		operation string
		call      func(context.Context, *Client) (any, error)
		sent      string
		want      any
	}{
		{"a poll that finds a command", `{"HostCommand":` + commandText + `12}}`, "PollHostCommand", pollHost, `{"HostIdentifier":"host"}`, command},
		{"a nonce that is a text", `{"HostCommand":` + commandText + `"12"}}`, "PollHostCommand", pollHost, `{"HostIdentifier":"host"}`, command},
		{"a byte order mark", "\ufeff" + `{"HostCommand":` + commandText + `12}}`, "PollHostCommand", pollHost, `{"HostIdentifier":"host"}`, command},
		{"a poll that finds nothing", `{"HostCommand":null}`, "PollHostCommand", pollHost, `{"HostIdentifier":"host"}`, (*HostCommand)(nil)},
		{"a poll that finds nothing and says so briefly", `{}`, "PollHostCommand", pollHost, `{"HostIdentifier":"host"}`, (*HostCommand)(nil)},
		{"a poll without a body", ``, "PollHostCommand", pollHost, `{"HostIdentifier":"host"}`, (*HostCommand)(nil)},
		{
			"a specification",
			`{"DeploymentSystem":"CodeDeploy","DeploymentSpecification":{"GenericEnvelope":{"Format":"PKCS7/JSON","Payload":"p"},"VariantId":"x"}}`,
			"GetDeploymentSpecification",
			func(ctx context.Context, c *Client) (any, error) { return c.Specification(ctx, "a/b/c/d", "host") },
			`{"DeploymentExecutionId":"a/b/c/d","HostIdentifier":"host"}`,
			&DeploymentSpecification{System: "CodeDeploy", Envelope: Envelope{Format: "PKCS7/JSON", Payload: "p"}},
		},
		{
			"a specification that is not there", `{"DeploymentSystem":"CodeDeploy","DeploymentSpecification":null}`, "GetDeploymentSpecification",
			func(ctx context.Context, c *Client) (any, error) { return c.Specification(ctx, "a/b/c/d", "host") },
			`{"DeploymentExecutionId":"a/b/c/d","HostIdentifier":"host"}`, &DeploymentSpecification{System: "CodeDeploy"},
		},
		{
			"an acknowledgement", `{"CommandStatus":"InProgress"}`, "PutHostCommandAcknowledgement",
			func(ctx context.Context, c *Client) (any, error) { return c.Acknowledge(ctx, "id-1", true) },
			`{"HostCommandIdentifier":"id-1","Diagnostics":{"Format":"JSON","Payload":"{\"IsCommandNoop\":true}"}}`, InProgress,
		},
		{
			"an acknowledgement without a status", `{}`, "PutHostCommandAcknowledgement",
			func(ctx context.Context, c *Client) (any, error) { return c.Acknowledge(ctx, "id-1", false) },
			`{"HostCommandIdentifier":"id-1","Diagnostics":{"Format":"JSON","Payload":"{\"IsCommandNoop\":false}"}}`, Status(""),
		},
		{
			"a report", ``, "PutHostCommandComplete",
			func(ctx context.Context, c *Client) (any, error) {
				return nil, c.Complete(ctx, "id-1", Failed, Diagnostics{Code: ScriptFailed, Script: "a.sh", Message: "<no>", Log: "l"})
			},
			`{"HostCommandIdentifier":"id-1","CommandStatus":"Failed","Diagnostics":{"Format":"JSON","Payload":` +
				`"{\"error_code\":4,\"script_name\":\"a.sh\",\"message\":\"<no>\",\"log\":\"l\"}"}}`, nil,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, requests := service(t, Options{}, says(200, tc.answer))
			got, err := tc.call(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			r := (*requests)[0]
			if r.body != tc.sent {
				t.Errorf("sent\n%s\nwant\n%s", r.body, tc.sent)
			}
			for name, want := range map[string]string{
				"Content-Type":                   "application/x-amz-json-1.1",
				"X-Amz-Target":                   "CodeDeployCommandService_v20141006." + tc.operation,
				"X-Amz-Codedeploy-Agent-Version": "3.0.0",
				"X-Amz-Security-Token":           "token",
			} {
				if got := r.header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

func pollHost(ctx context.Context, c *Client) (any, error) { return c.Poll(ctx, "host") }

func TestTheSecureServiceHasItsOwnTarget(t *testing.T) {
	c, requests := service(t, Options{Secure: true}, says(200, `{}`))
	if _, err := c.Poll(t.Context(), "host"); err != nil {
		t.Fatal(err)
	}
	h := (*requests)[0].header
	if got := h.Get("X-Amz-Target"); got != "CodeDeployCommandService.PollHostCommand" {
		t.Errorf("target %q", got)
	}
	if got := h.Get("Authorization"); !strings.Contains(got, "/eu-west-1/codedeploy-commands-secure/aws4_request") {
		t.Errorf("authorization %q", got)
	}
}

func TestStoppingEndsALongPollAtOnce(t *testing.T) {
	entered := make(chan struct{})
	c, _ := service(t, Options{}, func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-entered
		cancel()
	}()
	_, err := c.Poll(ctx, "host")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestACallThatTakesTooLongSaysWhichKeySetsTheLimit(t *testing.T) {
	c, _ := service(t, Options{ReadTimeout: 20 * time.Millisecond}, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	_, err := c.Poll(t.Context(), "host")
	if want := "cannot call PollHostCommand: no whole answer within 20ms (key http_read_timeout)"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if KindOf(err) != Network {
		t.Errorf("kind %v", KindOf(err))
	}
}

func TestMissingCredentialsAreNoNetworkFault(t *testing.T) {
	cause := errors.New("no role")
	c, requests := service(t, Options{Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, cause
	})}, says(200, `{}`))
	_, err := c.Poll(t.Context(), "host")
	if KindOf(err) != Denied || !errors.Is(err, cause) || len(*requests) != 0 {
		t.Errorf("error %v, kind %v, %d requests", err, KindOf(err), len(*requests))
	}
}

func TestDiagnosticsHaveExactlyFourMembers(t *testing.T) {
	e := Diagnostics{Message: "Succeeded: "}.Envelope()
	if want := `{"error_code":0,"script_name":"","message":"Succeeded: ","log":""}`; e.Payload != want || e.Format != "JSON" {
		t.Errorf("%+v", e)
	}
	if !json.Valid([]byte(e.Payload)) {
		t.Error("no JSON")
	}
}

// TestAPollSurvivesAConnectionThatTheServiceHasJustClosed: the service closes kept connections whenever it likes.
func TestAPollSurvivesAConnectionThatTheServiceHasJustClosed(t *testing.T) {
	seen := map[string]int{}
	c, requests := service(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		if seen[r.RemoteAddr]++; seen[r.RemoteAddr] > 1 {
			connection, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = connection.Close()
			}
			return
		}
		says(200, `{}`)(w, r)
	})
	for range 3 {
		if _, err := c.Poll(t.Context(), "host"); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := (*requests)[0].header["X-Idempotency-Key"]; ok {
		t.Error("the mark for repeatable requests was sent")
	}
	// A report is repeated only by those who know whether it was stored.
	if err := c.Complete(t.Context(), "id", Succeeded, Diagnostics{}); KindOf(err) != Network || err == nil {
		t.Errorf("error %v", err)
	}
}

func TestAnEndlessAnswerIsNotRead(t *testing.T) {
	c, _ := service(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"HostCommand":"`)
		for range 64 {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	})
	if _, err := c.Poll(t.Context(), "host"); KindOf(err) != ServerFault || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("error %v", err)
	}
}
