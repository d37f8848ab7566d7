package stub

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

func readYAML(t *testing.T, path string) map[string]any {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := yaml.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTheFilesWithWhichAnAgentConnects(t *testing.T) {
	s := start(t, Options{})
	dir := filepath.Join(t.TempDir(), "agent")
	path, err := s.AgentConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	config := readYAML(t, path)
	for key, want := range map[string]any{
		"deploy_control_endpoint": s.URL(), "s3_endpoint_override": s.URL(), "root_dir": filepath.Join(dir, "deployment-root"),
		"on_premises_config_file": filepath.Join(dir, "codedeploy.onpremises.yml"), "wait_between_runs": 1,
	} {
		if config[key] != want {
			t.Errorf("%s is %v, want %v", key, config[key], want)
		}
	}
	host := readYAML(t, filepath.Join(dir, "codedeploy.onpremises.yml"))
	if host["iam_user_arn"] != s.Hosts()[0].ID || host["region"] != "us-east-1" {
		t.Errorf("the host is %v", host)
	}
	info, err := os.Stat(filepath.Join(dir, "codedeploy.onpremises.yml"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the keys are open to others: %v, %v", info.Mode(), err)
	}
}

func TestSessionKeysAndOwnSettings(t *testing.T) {
	s := start(t, Options{})
	h := addHost(t, s, Host{ID: "arn:aws:sts::1:assumed-role/r/s", AccessKeyID: "ASIAX", SecretAccessKey: "secret", SessionToken: "token"})
	path, err := h.WriteConfig(t.TempDir(), map[string]any{"enable_auth_policy": true, "verbose": nil})
	if err != nil {
		t.Fatal(err)
	}
	config := readYAML(t, path)
	if _, has := config["verbose"]; has || config["enable_auth_policy"] != true {
		t.Errorf("the configuration is %v", config)
	}
	host := readYAML(t, config["on_premises_config_file"].(string))
	want := map[string]any{"region": "us-east-1", "iam_session_arn": h.ID, "aws_credentials_file": filepath.Join(filepath.Dir(path), "credentials")}
	if diff := cmp.Diff(want, host); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	b, err := os.ReadFile(host["aws_credentials_file"].(string))
	if err != nil || !strings.Contains(string(b), "aws_session_token = token") {
		t.Errorf("the credentials are %q, %v", b, err)
	}
	a := newAgent(t, s, h)
	if _, err := a.step(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAnotherHostMayNotTakeAKey(t *testing.T) {
	s := start(t, Options{})
	h := addHost(t, s, Host{Name: "one"})
	if _, err := s.AddHost(Host{Name: "two", AccessKeyID: h.AccessKeyID, SecretAccessKey: "x"}); err == nil {
		t.Error("two hosts share a key")
	}
}
