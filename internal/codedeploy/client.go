// Package codedeploy talks to the CodeDeploy Commands service, the one that tells a host what to do and hears how it
// went. Every call is one attempt: whoever calls decides, by the kind of the error, whether and when to try again.
package codedeploy

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"go.uber.org/zap"
)

// DefaultReadTimeout is how long one call may take. The service may hold the answer to a poll for a good minute.
const DefaultReadTimeout = 80 * time.Second

// maxAnswer bounds what is read of an answer; specifications have some ten thousand bytes.
const maxAnswer = 4 << 20

// Options are what a Client is made of. Endpoint, Region and Credentials are needed.
type Options struct {
	// Endpoint receives every call; see the function Endpoint, or the key deploy_control_endpoint.
	Endpoint *url.URL
	Region   string
	// Secure selects the API of the secure service: other targets, another name to sign for.
	Secure      bool
	Credentials aws.CredentialsProvider
	// AgentVersion is told to the service with every call.
	AgentVersion string
	// HTTP sends the requests; nil for http.DefaultClient. Redirects are never followed.
	HTTP *http.Client
	// ReadTimeout bounds a call from its first to its last byte; 0 for DefaultReadTimeout.
	ReadTimeout time.Duration
	// Gate holds calls back after the service has throttled one. Clients of one process share it; nil for an own one.
	Gate *Gate
	// Log hears of a wrong clock; nil for silence.
	Log *zap.Logger
}

// Client calls the service. It may be used by many goroutines.
type Client struct {
	endpoint     string
	region       string
	service      string
	target       string
	secure       bool
	credentials  aws.CredentialsProvider
	agentVersion string
	http         http.Client
	readTimeout  time.Duration
	gate         *Gate
	signer       *v4.Signer
	clock        clock
}

// New returns a client. It talks to nobody yet.
func New(o Options) *Client {
	c := &Client{
		region:       o.Region,
		service:      serviceName(o.Secure),
		target:       "CodeDeployCommandService_v20141006.",
		secure:       o.Secure,
		credentials:  o.Credentials,
		agentVersion: o.AgentVersion,
		readTimeout:  o.ReadTimeout,
		gate:         o.Gate,
		signer:       v4.NewSigner(),
		clock:        clock{log: o.Log},
	}
	if o.Secure {
		c.target = "CodeDeployCommandService."
	}
	endpoint := *o.Endpoint
	if endpoint.Path == "" {
		endpoint.Path = "/"
	}
	c.endpoint = endpoint.String()
	if o.HTTP != nil {
		c.http = *o.HTTP
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if c.readTimeout <= 0 {
		c.readTimeout = DefaultReadTimeout
	}
	if c.gate == nil {
		c.gate = new(Gate)
	}
	if c.clock.log == nil {
		c.clock.log = zap.NewNop()
	}
	return c
}

// call makes one call: it waits for the gate, sends the request and reads the answer. When the service refuses the
// signature because of this host's clock, the clock's error is learned from the answer and the request signed anew,
// once; the service has not looked at the first one.
func (c *Client) call(ctx context.Context, operation string, in, out any) error {
	if err := c.gate.Wait(ctx, operation != poll); err != nil {
		return &Error{Kind: Network, Operation: operation, Err: err}
	}
	body := encode(in)
	err, again := c.attempt(ctx, operation, body, out)
	if again {
		err, _ = c.attempt(ctx, operation, body, out)
	}
	c.gate.Report(err)
	return err
}

func (c *Client) attempt(ctx context.Context, operation string, body []byte, out any) (err error, again bool) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.readTimeout,
		fmt.Errorf("no whole answer within %s (key http_read_timeout)", c.readTimeout))
	defer cancel()
	req, err := c.request(ctx, operation, body)
	if err != nil {
		return err, false
	}
	res, err := c.http.Do(req)
	if err != nil {
		return &Error{Kind: Network, Operation: operation, Err: cmp.Or(context.Cause(ctx), withoutURL(err))}, false
	}
	arrived := time.Now()
	answer, readErr := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	_ = res.Body.Close()
	if res.StatusCode/100 != 2 {
		e := answerError(operation, res, answer, c.secure, time.Now())
		return e, c.clock.learn(res.Header, arrived, e)
	}
	if e := readAnswer(operation, res, answer, cmp.Or(context.Cause(ctx), readErr), out); e != nil {
		return e, false
	}
	c.clock.learn(res.Header, arrived, nil)
	return nil, false
}

// request builds and signs a request.
func (c *Client) request(ctx context.Context, operation string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, &Error{Kind: Network, Operation: operation, Err: err}
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", c.target+operation)
	req.Header.Set("X-Amz-Codedeploy-Agent-Version", c.agentVersion)
	req.Header.Set("User-Agent", "codedeploy-agent/"+c.agentVersion)
	credentials, err := c.credentials.Retrieve(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, &Error{Kind: Network, Operation: operation, Err: cause}
		}
		return nil, &Error{Kind: Denied, Operation: operation, Err: err}
	}
	digest := sha256.Sum256(body)
	if err := c.signer.SignHTTP(ctx, credentials, req, hex.EncodeToString(digest[:]), c.service, c.region, c.clock.now()); err != nil {
		return nil, &Error{Kind: Denied, Operation: operation, Err: err}
	}
	if operation == poll || operation == specification {
		// Asking twice does no harm. So net/http may send the request again when the service closes a kept connection at
		// the very moment; the name marks it as repeatable, and without a value it is not sent.
		req.Header["X-Idempotency-Key"] = nil
	}
	return req, nil
}

// readAnswer reads the answer of a success. When nothing is expected in it, it only has to be the service's.
func readAnswer(operation string, res *http.Response, answer []byte, readErr error, out any) *Error {
	answer = bytes.TrimSpace(trimBOM(answer))
	if len(answer) > 0 && answer[0] != '{' && !bytes.HasPrefix([]byte("null"), answer) {
		return notTheService(operation, res, answer)
	}
	if out == nil {
		return nil
	}
	switch {
	case readErr != nil:
		return &Error{Kind: Network, Operation: operation, HTTPStatus: res.StatusCode, Message: "the answer broke off: " + readErr.Error(), Err: readErr}
	case len(answer) > maxAnswer:
		return &Error{Kind: ServerFault, Operation: operation, HTTPStatus: res.StatusCode, Message: fmt.Sprintf("the answer is longer than %d bytes", maxAnswer)}
	case len(answer) == 0:
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return &Error{Kind: ServerFault, Operation: operation, HTTPStatus: res.StatusCode, Message: "the answer cannot be read: " + err.Error(), Err: err}
	}
	return nil
}

// withoutURL drops what net/http puts around an error, which repeats the address.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
