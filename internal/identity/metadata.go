package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// The instance metadata service answers from the same machine: in milliseconds, or not at all.
const (
	metadataIPv4    = "http://169.254.169.254"
	metadataIPv6    = "http://[fd00:ec2::254]"
	attemptTimeout  = time.Second
	metadataRetries = 2
	tokenLife       = 6 * time.Hour
	maxMetadata     = 64 << 10
)

// metadata is a client of the instance metadata service, version 2; version 1 only where it is allowed.
type metadata struct {
	base    string
	client  *http.Client
	allowV1 bool
	log     *zap.Logger

	mu        sync.Mutex
	token     string
	renew     time.Time
	toldAbout bool // that version 1 is used
}

func newMetadata(client *http.Client, allowV1 bool, getenv func(string) string, log *zap.Logger) (*metadata, error) {
	base := getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT")
	switch {
	case base != "":
	case strings.EqualFold(getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"), "IPv6"):
		base = metadataIPv6
	default:
		base = metadataIPv4
	}
	if u, err := url.Parse(base); err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("cannot use AWS_EC2_METADATA_SERVICE_ENDPOINT %q: it is no URL with http or https", base)
	}
	if client == nil {
		client = &http.Client{Transport: &http.Transport{Proxy: nil}}
	}
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &metadata{base: strings.TrimSuffix(base, "/"), client: &own, allowV1: allowV1, log: log}, nil
}

// errAbsent is the answer to a question about something that this instance does not have.
var errAbsent = errors.New("the instance metadata service does not know it")

// statusError is an answer that is no success.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

// get returns the text below a path of the service.
func (m *metadata) get(ctx context.Context, path string) (string, error) {
	for renewed := false; ; renewed = true {
		token, err := m.currentToken(ctx)
		if err != nil {
			return "", err
		}
		text, err := m.ask(ctx, http.MethodGet, path, token)
		var status *statusError
		if !errors.As(err, &status) {
			return text, err
		}
		switch {
		case status.status == http.StatusNotFound:
			return "", errAbsent
		case status.status == http.StatusUnauthorized && !renewed:
			m.forget(token)
		case status.status == http.StatusUnauthorized && token == "":
			return "", errors.New("the instance metadata service refuses version 1 (HttpTokens is required) and gives no token for version 2")
		default:
			return "", m.explain(err)
		}
	}
}

// currentToken returns a token of version 2; "" stands for version 1.
func (m *metadata) currentToken(ctx context.Context) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Now().Before(m.renew) {
		return m.token, nil
	}
	token, err := m.ask(ctx, http.MethodPut, "/latest/api/token", "")
	if err == nil && token == "" {
		err = errors.New("the instance metadata service gave an empty token")
	}
	switch {
	case err == nil:
		m.token, m.renew = token, time.Now().Add(tokenLife-10*time.Minute)
		return token, nil
	case !m.allowV1 || ctx.Err() != nil:
		return "", m.explainToken(err)
	}
	if !m.toldAbout {
		m.toldAbout = true
		m.log.Warn("The instance metadata service gives no token; version 1 is used (set disable_imds_v1: true to refuse it).", zap.Error(m.explainToken(err)))
	}
	m.token, m.renew = "", time.Now().Add(time.Minute)
	return "", nil
}

func (m *metadata) forget(token string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.token == token {
		m.renew = time.Time{}
	}
}

// ask sends one question, again when nothing or a server's fault comes back.
func (m *metadata) ask(ctx context.Context, method, path, token string) (text string, err error) {
	for n := 0; ; n++ {
		var status *statusError
		text, err = m.attempt(ctx, method, path, token)
		if err == nil || n == metadataRetries || ctx.Err() != nil || errors.As(err, &status) && status.status < 500 && status.status != http.StatusTooManyRequests {
			return text, err
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(100 * time.Millisecond << n):
		}
	}
}

func (m *metadata) attempt(ctx context.Context, method, path, token string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, m.base+path, nil)
	if err != nil {
		return "", err
	}
	if method == http.MethodPut {
		req.Header.Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", strconv.Itoa(int(tokenLife.Seconds())))
	} else if token != "" {
		req.Header.Set("X-Aws-Ec2-Metadata-Token", token)
	}
	res, err := m.client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxMetadata))
	if err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK {
		return "", &statusError{res.StatusCode, fmt.Sprintf("the instance metadata service answers %s with HTTP %d", path, res.StatusCode)}
	}
	return strings.TrimSpace(string(body)), nil
}

// explain says what an error of the service means and what to do.
func (m *metadata) explain(err error) error {
	var status *statusError
	var timeout net.Error
	switch {
	case errors.As(err, &status) && status.status == http.StatusForbidden:
		return fmt.Errorf("%w: it is switched off for this instance, or a firewall refuses this user (aws ec2 modify-instance-metadata-options --http-endpoint enabled)", err)
	case errors.As(err, &status):
		return err
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the instance metadata service at %s does not answer within %s", m.base, attemptTimeout)
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("the instance metadata service cannot be reached, so this is no EC2 instance or its network is not up: %w", err)
}

// explainToken is explain for the request of a token. A packet that may not make another hop is lost silently.
func (m *metadata) explainToken(err error) error {
	explained := m.explain(err)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w; when the agent runs in a container, its hop limit may be too low (aws ec2 modify-instance-metadata-options --http-put-response-hop-limit 2)", explained)
	}
	return explained
}

// document is the instance identity document.
type document struct {
	Region     string `json:"region"`
	AccountID  string `json:"accountId"`
	InstanceID string `json:"instanceId"`
}

func (d document) arn(partition string) string {
	return fmt.Sprintf("arn:%s:ec2:%s:%s:instance/%s", partition, d.Region, d.AccountID, d.InstanceID)
}

func (m *metadata) document(ctx context.Context) (d document, err error) {
	text, err := m.get(ctx, "/latest/dynamic/instance-identity/document")
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal([]byte(text), &d); err != nil || d.Region == "" || d.AccountID == "" || d.InstanceID == "" {
		return d, errors.New("the instance identity document does not name region, account and instance")
	}
	return d, nil
}

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,62}$`)

// partition returns the partition of the instance, by its region when the service does not tell.
func (m *metadata) partition(ctx context.Context, region string) string {
	if name, err := m.get(ctx, "/latest/meta-data/services/partition"); err == nil && validName.MatchString(name) {
		return name
	}
	for _, p := range []struct{ prefix, partition string }{
		{"cn-", "aws-cn"}, {"us-gov-", "aws-us-gov"}, {"us-isob-", "aws-iso-b"}, {"us-isof-", "aws-iso-f"}, {"us-iso-", "aws-iso"},
		{"eu-isoe-", "aws-iso-e"}, {"eusc-", "aws-eusc"},
	} {
		if strings.HasPrefix(region, p.prefix) {
			return p.partition
		}
	}
	return "aws"
}

// domain returns the domain of the services, empty when the service does not tell.
func (m *metadata) domain(ctx context.Context) string {
	if name, err := m.get(ctx, "/latest/meta-data/services/domain"); err == nil && validName.MatchString(name) {
		return name
	}
	return ""
}
