// Package identity finds out who this host is to the service, where the service is and which credentials to use. There
// is one chain of questions and no other: the on-premises file, else the instance metadata. Keys in the environment or
// in ~/.aws are never used, so an exported variable or a forgotten file cannot change who the agent is.
package identity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"go.uber.org/zap"

	"codedeploy-agent/internal/codedeploy"
	"codedeploy-agent/internal/config"
)

// Host is who this host is.
type Host struct {
	// ID is the host identifier: an ARN of the instance, of the IAM user or of the session.
	ID     string
	Region string
	// Domain is what the names of the region's services end in, for example "amazonaws.com".
	Domain string
	// OnPremises is true when the on-premises file says who the host is.
	OnPremises bool
	// Source says in words where all this comes from.
	Source string
	// Credentials are for every request, to the service and to S3 alike. They refresh themselves.
	Credentials aws.CredentialsProvider
}

// Resolve finds out who this host is: one try, in a few seconds, without any memory of earlier ones. So whoever calls it
// again sees a changed file or a role that was attached late. On EC2 it succeeds without credentials being there; a
// request that needs them says what is missing.
func Resolve(ctx context.Context, cfg *config.Config, client *http.Client, log *zap.Logger) (*Host, error) {
	if log == nil {
		log = zap.NewNop()
	}
	host, err := fromFile(cfg.OnPremisesConfigFile, log)
	if err == nil {
		return host, nil
	}
	var none *noIdentityError
	if !errors.As(err, &none) {
		return nil, fmt.Errorf("cannot use the on-premises file %q: %w", cfg.OnPremisesConfigFile, err)
	}
	m, err := newMetadata(client, !cfg.DisableIMDSv1, os.Getenv, log)
	if err != nil {
		return nil, err
	}
	if host, err = fromMetadata(ctx, m, os.Getenv); err != nil {
		return nil, fmt.Errorf("cannot find out who this host is: %w; and %w", err, none)
	}
	return host, nil
}

// fromMetadata asks the instance metadata. AWS_REGION and AWS_HOST_IDENTIFIER replace what they would answer.
func fromMetadata(ctx context.Context, m *metadata, getenv func(string) string) (*Host, error) {
	host := &Host{
		ID:          getenv("AWS_HOST_IDENTIFIER"),
		Region:      getenv("AWS_REGION"),
		Source:      "instance metadata at " + m.base,
		Credentials: m.credentials(),
	}
	if host.ID == "" || host.Region == "" {
		d, err := m.document(ctx)
		if err != nil {
			return nil, err
		}
		if host.ID == "" {
			host.ID = d.arn(m.partition(ctx, d.Region))
		}
		if host.Region == "" || host.Region == d.Region {
			host.Region = d.Region
			host.Domain = m.domain(ctx)
		}
	}
	if err := codedeploy.CheckRegion(host.Region); err != nil {
		return nil, err
	}
	if host.Domain == "" {
		host.Domain = codedeploy.Domain(host.Region)
	}
	return host, nil
}
