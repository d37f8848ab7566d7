package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Times of the role's credentials. They live for six hours, and new ones are there well before.
const (
	renewBefore = 5 * time.Minute
	renewJitter = 0.5
	// renewSpacing keeps a metadata service that is in trouble from being asked for every request.
	renewSpacing = time.Minute
)

// credentials returns the credentials of the instance's role, kept until shortly before they expire.
func (m *metadata) credentials() aws.CredentialsProvider {
	return aws.NewCredentialsCache(&role{metadata: m}, func(o *aws.CredentialsCacheOptions) {
		o.ExpiryWindow = renewBefore
		o.ExpiryWindowJitterFrac = renewJitter
	})
}

// role fetches the credentials of the role in the instance profile.
type role struct {
	metadata *metadata

	mu      sync.Mutex
	expires time.Time // of the last ones, really
}

// Retrieve fetches them.
func (r *role) Retrieve(ctx context.Context) (aws.Credentials, error) {
	const path = "/latest/meta-data/iam/security-credentials/"
	list, err := r.metadata.get(ctx, path)
	name, _, _ := strings.Cut(list, "\n")
	if name = strings.TrimSpace(name); errors.Is(err, errAbsent) || err == nil && name == "" {
		return aws.Credentials{}, errors.New("no role is attached to this instance; attach an instance profile, the agent then goes on by itself")
	}
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("cannot find the role of this instance: %w", err)
	}
	text, err := r.metadata.get(ctx, path+url.PathEscape(name))
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("cannot get credentials of the role %q: %w", name, err)
	}
	c, err := parseRole(text)
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("cannot get credentials of the role %q: %w", name, err)
	}
	r.mu.Lock()
	r.expires = c.Expires
	r.mu.Unlock()
	return c, nil
}

func parseRole(text string) (aws.Credentials, error) {
	var answer struct {
		Code, Message, AccessKeyID, SecretAccessKey, Token string
		Expiration                                         time.Time
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return aws.Credentials{}, errors.New("the answer of the instance metadata service cannot be read")
	}
	switch {
	case answer.Code != "" && answer.Code != "Success":
		return aws.Credentials{}, fmt.Errorf("%s: %s; check that the role trusts ec2.amazonaws.com", answer.Code, answer.Message)
	case answer.AccessKeyID == "" || answer.SecretAccessKey == "":
		return aws.Credentials{}, errors.New("the answer of the instance metadata service has no keys in it")
	}
	return aws.Credentials{
		AccessKeyID: answer.AccessKeyID, SecretAccessKey: answer.SecretAccessKey, SessionToken: answer.Token,
		CanExpire: !answer.Expiration.IsZero(), Expires: answer.Expiration, Source: "instance role",
	}, nil
}

// HandleFailToRefresh keeps the old credentials while they live.
func (r *role) HandleFailToRefresh(_ context.Context, old aws.Credentials, err error) (aws.Credentials, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old.AccessKeyID == "" || !time.Now().Before(r.expires) {
		return aws.Credentials{}, err
	}
	old.Expires = r.expires
	return old, nil
}

// AdjustExpiresBy sets when to ask again: early, but neither at once nor after the real expiry.
func (r *role) AdjustExpiresBy(c aws.Credentials, by time.Duration) (aws.Credentials, error) {
	at := c.Expires.Add(by)
	if soon := time.Now().Add(renewSpacing); at.Before(soon) {
		at = soon
	}
	if at.After(c.Expires) {
		at = c.Expires
	}
	c.Expires = at
	return c, nil
}
