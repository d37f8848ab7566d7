package identity

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"go.uber.org/zap"
	"gopkg.in/yaml.v3"

	"codedeploy-agent/internal/codedeploy"
)

// maxFile bounds what is read of files with credentials.
const maxFile = 1 << 20

// noIdentityError says why the on-premises file does not tell who this host is, so that it has to be an instance.
type noIdentityError struct{ why string }

func (e *noIdentityError) Error() string { return e.why }

// onPremises is the content of the on-premises file.
type onPremises struct {
	userARN, sessionARN, region, keyID, secret, credentialsFile string
}

// fromFile reads who this host is from the on-premises file.
func fromFile(path string, log *zap.Logger) (*Host, error) {
	data, err := readSmall(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &noIdentityError{fmt.Sprintf("there is no on-premises file %q", path)}
	case err != nil:
		log.Warn("cannot read the on-premises file; this host is taken for an EC2 instance", zap.Error(err))
		return nil, &noIdentityError{err.Error()}
	}
	f, err := parseOnPremises(data)
	if err != nil {
		return nil, err
	}
	host, err := f.host(log)
	if err != nil {
		return nil, err
	}
	if f.secret != "" {
		warnReadable(path, log)
	}
	host.Source = "on-premises file " + path
	return host, nil
}

func parseOnPremises(data []byte) (*onPremises, error) {
	var pairs map[string]yaml.Node
	if err := yaml.Unmarshal(data, &pairs); err != nil {
		return nil, fmt.Errorf("it is no valid YAML: %s", yamlText(err))
	}
	f := new(onPremises)
	fields := map[string]*string{
		"iam_user_arn": &f.userARN, "iam_session_arn": &f.sessionARN, "region": &f.region,
		"aws_access_key_id": &f.keyID, "aws_secret_access_key": &f.secret, "aws_credentials_file": &f.credentialsFile,
	}
	for name, node := range pairs {
		to, ok := fields[strings.TrimPrefix(name, ":")]
		if !ok || node.Tag == "!!null" {
			continue
		}
		if node.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("line %d: %q is not a text", node.Line, name)
		}
		*to = strings.TrimSpace(node.Value)
	}
	return f, nil
}

// yamlText is the parser's message without the values that some of them show.
func yamlText(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	var kind *yaml.TypeError
	if errors.As(err, &kind) {
		return "it does not consist of keys and values"
	}
	return text
}

func (f *onPremises) host(log *zap.Logger) (*Host, error) {
	host := &Host{Region: f.region, OnPremises: true}
	switch {
	case f.userARN != "" && f.sessionARN != "":
		return nil, errors.New("it has both 'iam_user_arn' and 'iam_session_arn'; only one of them can say who this host is")
	case f.userARN != "":
		if err := needs("iam_user_arn", [][2]string{
			{"region", f.region}, {"aws_access_key_id", f.keyID}, {"aws_secret_access_key", f.secret},
		}); err != nil {
			return nil, err
		}
		host.ID = f.userARN
		keys := aws.Credentials{AccessKeyID: f.keyID, SecretAccessKey: f.secret, Source: "on-premises file"}
		host.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return keys, nil })
	case f.sessionARN != "":
		if err := needs("iam_session_arn", [][2]string{
			{"region", f.region}, {"aws_credentials_file", f.credentialsFile},
		}); err != nil {
			return nil, err
		}
		host.ID = f.sessionARN
		host.Credentials = newSession(f.credentialsFile, log)
	default:
		return nil, &noIdentityError{"the on-premises file has neither 'iam_user_arn' nor 'iam_session_arn'"}
	}
	if err := codedeploy.CheckRegion(host.Region); err != nil {
		return nil, err
	}
	host.Domain = codedeploy.Domain(host.Region)
	return host, nil
}

// needs tells which companion of a key is missing.
func needs(arn string, fields [][2]string) error {
	for _, f := range fields {
		if f[1] == "" {
			return fmt.Errorf("'%s' key is required when '%s' is provided", f[0], arn)
		}
	}
	return nil
}

func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("%q is no file of at most %d bytes", path, maxFile)
	}
	return os.ReadFile(path)
}

// warnReadable warns when everybody on this host can read a file with keys.
func warnReadable(path string, log *zap.Logger) {
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o004 != 0 {
		log.Warn("Every user of this host can read the keys in a file; run chmod 600 on it.", zap.String("file", path))
	}
}
