package stub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"codedeploy-agent/internal/stub/fault"
	"codedeploy-agent/internal/stub/pack"
)

// Client drives a twin in another process through its control interface.
type Client struct {
	base string
	http *http.Client
}

// NewClient takes the twin's URL.
func NewClient(base string) *Client {
	return &Client{base: strings.TrimSuffix(base, "/"), http: &http.Client{Transport: &http.Transport{Proxy: nil}}}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// State returns hosts, deployments and faults.
func (c *Client) State(ctx context.Context) (State, error) {
	return get[State](ctx, c, "/-/status")
}

// AddHost makes a host known.
func (c *Client) AddHost(ctx context.Context, h Host) (Host, error) {
	return post[Host](ctx, c, "/-/hosts", h)
}

// Push packs a directory, or takes an archive, and puts it into the twin's S3.
func (c *Client) Push(ctx context.Context, dirOrArchive, bundleType string) (Revision, error) {
	var rev Revision
	file, kind, clean, err := pack.File(ctx, dirOrArchive, bundleType)
	if err != nil {
		return rev, err
	}
	defer clean()
	f, err := os.Open(file)
	if err != nil {
		return rev, fmt.Errorf("cannot push the bundle: %w", err)
	}
	defer func() { _ = f.Close() }()
	name := filepath.Base(dirOrArchive)
	if abs, err := filepath.Abs(dirOrArchive); err == nil {
		name = filepath.Base(abs)
	}
	q := url.Values{"name": {name}, "type": {kind}}
	err = c.call(ctx, http.MethodPost, "/-/bundles?"+q.Encode(), f, &rev)
	return rev, err
}

// Deploy starts a deployment.
func (c *Client) Deploy(ctx context.Context, o DeployOptions) (DeploymentInfo, error) {
	return post[DeploymentInfo](ctx, c, "/-/deployments", o)
}

// Deployment returns the state of a deployment.
func (c *Client) Deployment(ctx context.Context, id string) (DeploymentInfo, error) {
	return get[DeploymentInfo](ctx, c, "/-/deployments/"+url.PathEscape(id))
}

// Stop ends a deployment.
func (c *Client) Stop(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/-/deployments/"+url.PathEscape(id), nil, &DeploymentInfo{})
}

// Follow calls each for every step of a deployment until it ends.
func (c *Client) Follow(ctx context.Context, id string, each func(Event)) error {
	response, err := c.do(ctx, http.MethodGet, "/-/deployments/"+url.PathEscape(id)+"/events", nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	in := json.NewDecoder(response.Body)
	for {
		var event Event
		if err := in.Decode(&event); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("cannot follow deployment %s: %w", id, err)
		}
		each(event)
	}
}

// SetFault puts a fault in force.
func (c *Client) SetFault(ctx context.Context, f fault.Fault) (id int, err error) {
	out, err := post[struct{ ID int }](ctx, c, "/-/faults", f)
	return out.ID, err
}

// Faults lists the faults.
func (c *Client) Faults(ctx context.Context) ([]fault.Fault, error) {
	return get[[]fault.Fault](ctx, c, "/-/faults")
}

// ClearFaults ends one fault, or all of them when id is zero.
func (c *Client) ClearFaults(ctx context.Context, id int) error {
	return c.call(ctx, http.MethodDelete, fmt.Sprintf("/-/faults?id=%d", id), nil, &[]fault.Fault{})
}

func get[T any](ctx context.Context, c *Client, path string) (out T, err error) {
	err = c.call(ctx, http.MethodGet, path, nil, &out)
	return out, err
}

func post[T any](ctx context.Context, c *Client, path string, in any) (out T, err error) {
	b, err := json.Marshal(in)
	if err != nil {
		return out, fmt.Errorf("cannot encode the request: %w", err)
	}
	err = c.call(ctx, http.MethodPost, path, bytes.NewReader(b), &out)
	return out, err
}

func (c *Client) call(ctx context.Context, method, path string, body io.Reader, out any) error {
	response, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if err := json.NewDecoder(response.Body).Decode(out); err != nil {
		return fmt.Errorf("cannot read the answer of %s: %w", c.base, err)
	}
	return nil
}

func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("cannot use the address %q: %w", c.base, err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the local service at %s: %w; start it with `codedeploy-stub serve`, or name its address with --server", c.base, errors.Unwrap(err))
	}
	if response.StatusCode < 300 {
		return response, nil
	}
	defer func() { _ = response.Body.Close() }()
	var said struct{ Error string }
	_ = json.NewDecoder(response.Body).Decode(&said)
	if said.Error == "" {
		return nil, fmt.Errorf("%s answered %s; is it a codedeploy-stub?", c.base, response.Status)
	}
	return nil, errors.New(said.Error)
}
