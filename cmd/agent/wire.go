package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"go.uber.org/zap"
	"gopkg.in/natefinch/lumberjack.v2"

	"codedeploy-agent/agent"
	"codedeploy-agent/hooks"
	"codedeploy-agent/internal/bundle"
	"codedeploy-agent/internal/codedeploy"
	"codedeploy-agent/internal/config"
	"codedeploy-agent/internal/deployspec"
	"codedeploy-agent/internal/identity"
	"codedeploy-agent/internal/network"
	"codedeploy-agent/internal/state"
)

// wire makes the agent that the configuration describes.
func wire(c *config.Config, health *agent.Health, log *zap.Logger) (*agent.Agent, error) {
	client, err := newHTTPClient(c)
	if err != nil {
		return nil, err
	}
	gate := &codedeploy.Gate{} // one for all clients: the service asks the host for patience, not a client
	x := newExecutor(c, log)
	specifications := deployspec.Options{CheckID: x.Root.CheckID}
	if c.SignerCAFile != "" {
		if specifications.Roots, err = readRoots(c.SignerCAFile); err != nil {
			return nil, err
		}
	}
	return agent.New(agent.Options{
		Executor: x,
		Connect: func(ctx context.Context) (*agent.Host, error) {
			return connect(ctx, c, client, gate, log)
		},
		Specifications:  specifications,
		WaitBetweenRuns: c.WaitBetweenRuns,
		PollTimeout:     c.HTTPReadTimeout,
		MaxStopWait:     c.KillAgentMaxWaitTime,
		Health:          health,
		Log:             log,
	}), nil
}

// connect finds out who this host is and makes the clients that act in its name: one set of credentials for all.
func connect(ctx context.Context, c *config.Config, client *http.Client, gate *codedeploy.Gate, log *zap.Logger) (*agent.Host, error) {
	host, err := identity.Resolve(ctx, c, client, log)
	if err != nil {
		return nil, err
	}
	endpoint, err := commandsEndpoint(c, host)
	if err != nil {
		return nil, err
	}
	return &agent.Host{
		Host: host,
		Client: codedeploy.New(codedeploy.Options{
			Endpoint:     endpoint,
			Region:       host.Region,
			Secure:       c.EnableAuthPolicy,
			Credentials:  host.Credentials,
			AgentVersion: version,
			HTTP:         client,
			ReadTimeout:  c.HTTPReadTimeout,
			Gate:         gate,
			Log:          log,
		}),
		Bundles: bundleClients(c, client, host.Region, host.Credentials),
	}, nil
}

func commandsEndpoint(c *config.Config, host *identity.Host) (*url.URL, error) {
	if c.DeployControlEndpoint == "" {
		return codedeploy.Endpoint(host.Region, host.Domain, c.EnableAuthPolicy, c.UseFIPSMode, c.UseDualStack)
	}
	u, err := url.Parse(c.DeployControlEndpoint)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("cannot use deploy_control_endpoint %q: it is no URL", c.DeployControlEndpoint)
	}
	return u, nil
}

func bundleClients(c *config.Config, client *http.Client, region string, provider aws.CredentialsProvider) bundle.Clients {
	return bundle.Clients{
		S3: bundle.NewS3(bundle.S3Options{
			Region:      region,
			Endpoint:    c.S3EndpointOverride,
			FIPS:        c.UseFIPSMode,
			DualStack:   c.UseDualStack,
			Credentials: provider,
			HTTP:        client,
		}),
		HTTP: client,
	}
}

// localClients reach the places that a local deployment's revision comes from, when it is used. On a laptop the
// credentials come from the environment, on a host they are the agent's.
func localClients(ctx context.Context, c *config.Config, log *zap.Logger) func() bundle.Clients {
	return func() bundle.Clients {
		client, err := newHTTPClient(c)
		if err != nil {
			log.Warn("The configured network settings cannot be used.", zap.Error(err))
			client = http.DefaultClient
		}
		key, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
		if key != "" && secret != "" {
			region := os.Getenv("AWS_REGION")
			if region == "" {
				region = "us-east-1"
			}
			return bundleClients(c, client, region, credentials.NewStaticCredentialsProvider(key, secret, os.Getenv("AWS_SESSION_TOKEN")))
		}
		host, err := identity.Resolve(ctx, c, client, log)
		if err != nil {
			log.Warn("This host has no identity; S3 is asked without credentials.", zap.Error(err))
			return bundleClients(c, client, "us-east-1", nil)
		}
		return bundleClients(c, client, host.Region, host.Credentials)
	}
}

// newExecutor makes the part that the daemon and the local tool share.
func newExecutor(c *config.Config, log *zap.Logger) *agent.Executor {
	root := state.NewRoot(c.RootDir, c.OngoingDeploymentTracking)
	x := &agent.Executor{
		Root: root,
		Revisions: agent.Revisions{
			Unpack: bundle.UnpackOptions{
				MaxBytes:   c.ArchiveMaxBytes,
				MaxEntries: c.ArchiveMaxEntries,
				MaxRatio:   c.ArchiveMaxRatio,
				KeepOwners: !c.IgnoreOwnershipInBundle,
			},
			Keep:        bundle.Policy{Revisions: c.MaxRevisions, Bytes: c.MaxRevisionsBytes, Age: c.MaxRevisionsAge},
			KeepBundles: c.KeepBundles,
			Reuse:       c.EnableArchiveReuse,
		},
		Hooks: hooks.Options{
			CleanEnvironment: c.HookEnvironment == config.HookEnvironmentClean,
			Compat1x:         c.Compat1x(),
			KillGrace:        c.HookKillGrace,
			Slice:            c.HookSlice,
		},
		Compat1x: c.Compat1x(),
		Log:      log,
	}
	if c.EnableDeploymentsLog {
		x.DeploymentsLog = root.DeploymentsLog(c.ProgramName)
	}
	return x
}

// newHTTPClient makes the client for everything that leaves this host. With log_aws_wire what it says and hears is
// written to a file, without secrets.
func newHTTPClient(c *config.Config) (*http.Client, error) {
	o := network.Options{ProxyURI: c.ProxyURI, NoProxy: c.NoProxy}
	if c.LogAWSWire {
		path := filepath.Join(c.LogDir, c.ProgramName+".aws_wire.log")
		_ = os.MkdirAll(c.LogDir, 0o755)
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
		if err != nil {
			return nil, fmt.Errorf("cannot write the wire log: %w", err)
		}
		_ = f.Close() // lumberjack would make the file unreadable for the group
		o.WireLog = &lumberjack.Logger{Filename: path, MaxSize: 64, MaxBackups: 15}
	}
	return network.NewHTTPClient(o)
}

// readRoots reads the certificates that the signers of deployment specifications must lead to.
func readRoots(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read signer_ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("cannot find a certificate in signer_ca_file %q", path)
	}
	return pool, nil
}
