package stub

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"codedeploy-agent/internal/atomicfile"

	"gopkg.in/yaml.v3"
)

// AgentConfig makes an on-premises host, named after dir, and writes the files with which an agent connects as that
// host. It returns the path of the configuration file. Everything that the agent writes lies below dir.
func (s *Server) AgentConfig(dir string) (string, error) {
	h, err := s.AddHost(Host{Name: filepath.Base(dir) + "-" + random(2)})
	if err != nil {
		return "", err
	}
	return h.WriteConfig(dir, nil)
}

// WriteConfig writes codedeployagent.yml and codedeploy.onpremises.yml into dir, which is made when missing, and returns
// the path of the first. extra keys are laid over the configuration; a nil value removes a key.
func (h *Host) WriteConfig(dir string, extra map[string]any) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("cannot write the agent's configuration: %w", err)
	}
	onPremises := filepath.Join(dir, "codedeploy.onpremises.yml")
	config := map[string]any{
		"root_dir": filepath.Join(dir, "deployment-root"), "log_dir": filepath.Join(dir, "log"), "pid_dir": filepath.Join(dir, "pid"),
		"on_premises_config_file": onPremises,
		"deploy_control_endpoint": h.server.URL(), "s3_endpoint_override": h.server.URL(),
		"wait_between_runs": 1, "wait_after_error": 1, "http_read_timeout": 80, "max_revisions": 5, "verbose": true,
		"log_aws_wire": false, "program_name": "codedeploy-agent",
	}
	for key, value := range extra {
		if config[key] = value; value == nil {
			delete(config, key)
		}
	}
	for _, sub := range []string{"deployment-root", "log", "pid"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return "", fmt.Errorf("cannot write the agent's configuration: %w", err)
		}
	}
	if !h.instance {
		if err := h.writeOnPremises(dir, onPremises); err != nil {
			return "", err
		}
	}
	path := filepath.Join(dir, "codedeployagent.yml")
	return path, writeYAML(path, config, 0o644)
}

// Environment is what an agent must have in its environment to connect as the host: an EC2 instance's agent has to find
// our metadata service instead of the real one.
func (h *Host) Environment() []string {
	if h.instance {
		return []string{"AWS_EC2_METADATA_SERVICE_ENDPOINT=" + h.server.URL()}
	}
	return nil
}

// writeOnPremises writes the file that `aws deploy register` would write, or, for session keys, the one that points to a
// file of credentials.
func (h *Host) writeOnPremises(dir, path string) error {
	if h.SessionToken == "" {
		return writeYAML(path, map[string]any{
			"region": h.server.options.Region, "iam_user_arn": h.ID,
			"aws_access_key_id": h.AccessKeyID, "aws_secret_access_key": h.SecretAccessKey,
		}, 0o600)
	}
	file := filepath.Join(dir, "credentials")
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\n", h.AccessKeyID, h.SecretAccessKey, h.SessionToken)
	if err := atomicfile.Write(file, []byte(text), 0o600); err != nil {
		return err
	}
	return writeYAML(path, map[string]any{"region": h.server.options.Region, "iam_session_arn": h.ID, "aws_credentials_file": file}, 0o600)
}

func writeYAML(path string, value any, perm os.FileMode) error {
	b, err := yaml.Marshal(value)
	if err != nil {
		return fmt.Errorf("cannot write %q: %w", path, err)
	}
	return atomicfile.Write(path, append([]byte("---\n"), b...), perm)
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
