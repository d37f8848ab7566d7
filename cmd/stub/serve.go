package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"codedeploy-agent/internal/stub"

	"gopkg.in/yaml.v3"
)

type serveCommand struct {
	Listen   string        `help:"Address to listen on; only loopback." default:"127.0.0.1:7474" placeholder:"HOST:PORT"`
	Dir      string        `help:"Directory for the agents' configuration and for objects." default:"codedeploy-stub.d" type:"path"`
	TLS      bool          `help:"Speak HTTPS as well, on the next port if it is free." name:"tls"`
	Host     []string      `help:"Name of a host to make; may be repeated. An agent's files are written into DIR/NAME." default:"host-1" placeholder:"NAME"`
	HostFile []string      `help:"An agent's codedeploy.onpremises.yml: accept the host that it describes." type:"existingfile" placeholder:"FILE"`
	Instance bool          `help:"Accept the EC2 instance that the metadata service describes."`
	Region   string        `help:"Region." default:"us-east-1"`
	LongPoll time.Duration `help:"How long a poll waits for a command; 0 answers at once." default:"20s"`
}

// Run serves until TERM or Ctrl-C.
func (c *serveCommand) Run(ctx context.Context, o output) error {
	s, err := stub.Start(ctx, stub.Options{Listen: c.Listen, Dir: c.Dir, TLS: c.TLS, Region: c.Region, LongPoll: c.LongPoll})
	if err != nil {
		return err
	}
	defer s.Close()
	var connect []string
	for _, name := range c.Host {
		config, err := c.addHost(s, name)
		if err != nil {
			return err
		}
		connect = append(connect, "codedeploy-agent run --config-file "+config)
	}
	for _, file := range c.HostFile {
		h, err := readHostFile(file)
		if err == nil {
			_, err = s.AddHost(h)
		}
		if err != nil {
			return fmt.Errorf("cannot accept the host of %q: %w", file, err)
		}
		connect = append(connect, fmt.Sprintf("the agent of %s, with `deploy_control_endpoint: %s` and `s3_endpoint_override: %s`", file, s.URL(), s.URL()))
	}
	if c.Instance {
		h := s.AddInstance()
		config, err := h.WriteConfig(filepath.Join(s.Dir(), h.Name), nil)
		if err != nil {
			return err
		}
		connect = append(connect, strings.Join(h.Environment(), " ")+" codedeploy-agent run --config-file "+config)
	}
	c.welcome(o, s, connect)
	<-ctx.Done()
	_, _ = fmt.Fprintln(o.out, "codedeploy-stub has ended.")
	return nil
}

func (c *serveCommand) welcome(o output, s *stub.Server, connect []string) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(o.out, format+"\n", args...) }
	say("codedeploy-stub answers at %s", s.URL())
	if s.SecureURL() != "" {
		say("and at %s (trust %s)", s.SecureURL(), s.CAFile())
	}
	say("\nConnect an agent:")
	for _, line := range connect {
		say("  %s", line)
	}
	say("\nDeploy a directory or an archive:")
	say("  codedeploy-stub deploy PATH --server %s", s.URL())
	say("\nUse its S3 with the AWS CLI:")
	say("  export AWS_ENDPOINT_URL_S3=%s AWS_DEFAULT_REGION=%s AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s", s.URL(), c.Region, stub.OperatorKeyID, stub.OperatorSecret)
	say("\nWhoever can reach this address can run programs on the connected hosts. Objects live until the service ends.")
}

// addHost makes a host, or takes the one that an earlier service made, so that a running agent finds its way back.
func (c *serveCommand) addHost(s *stub.Server, name string) (config string, err error) {
	dir := filepath.Join(s.Dir(), name)
	h, err := readHostFile(filepath.Join(dir, "codedeploy.onpremises.yml"))
	if errors.Is(err, fs.ErrNotExist) {
		h, err = stub.Host{Name: name}, nil
	}
	if err != nil {
		return "", err
	}
	added, err := s.AddHost(h)
	if err != nil {
		return "", err
	}
	return added.WriteConfig(dir, nil)
}

// readHostFile reads what `aws deploy register` writes.
func readHostFile(path string) (stub.Host, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return stub.Host{}, err
	}
	var f struct {
		ARN    string `yaml:"iam_user_arn"`
		ID     string `yaml:"aws_access_key_id"`
		Secret string `yaml:"aws_secret_access_key"`
	}
	if err := yaml.Unmarshal(b, &f); err != nil {
		return stub.Host{}, fmt.Errorf("cannot read %q: %w", path, err)
	}
	if f.ARN == "" || f.ID == "" || f.Secret == "" {
		return stub.Host{}, fmt.Errorf("cannot use %q: it needs iam_user_arn, aws_access_key_id and aws_secret_access_key", path)
	}
	return stub.Host{ID: f.ARN, AccessKeyID: f.ID, SecretAccessKey: f.Secret}, nil
}
