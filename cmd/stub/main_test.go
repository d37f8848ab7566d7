package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/rogpeppe/go-internal/testscript"
	"gopkg.in/yaml.v3"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"codedeploy-stub": func() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) },
		"fake-agent":      fakeAgent,
	})
}

// TestCommandLine types what users type.
func TestCommandLine(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			address, err := freeAddress()
			if err != nil {
				return err
			}
			web, err := freeAddress()
			e.Defer(func() { endWebServer(filepath.Join(e.WorkDir, "pid")) })
			e.Setenv("LISTEN", address)
			e.Setenv("WEB", web)
			e.Setenv("CODEDEPLOY_STUB_URL", "http://"+address)
			return err
		},
		Cmds: commands,
	})
}

// commands are those that the scripts have beyond the usual.
var commands = map[string]func(*testscript.TestScript, bool, []string){"wait-for": waitFor}

// endWebServer ends the server of a script that failed before it could do so.
func endWebServer(pidFile string) {
	if pid, err := pidIn(pidFile); err == nil {
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
}

// waitFor waits until the service answers or a file exists.
func waitFor(ts *testscript.TestScript, _ bool, args []string) {
	for range 500 {
		if args[0] == "service" {
			if response, err := http.Get(ts.Getenv("CODEDEPLOY_STUB_URL")); err == nil {
				_ = response.Body.Close()
				return
			}
		} else if found, _ := filepath.Glob(ts.MkAbs(args[1])); len(found) > 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	ts.Fatalf("%s did not come", args)
}

// fakeAgent is called as `fake-agent CONFIG [EVENT]`: it says yes to everything, only EVENT fails.
func fakeAgent() {
	var config struct {
		Endpoint   string `yaml:"deploy_control_endpoint"`
		OnPremises string `yaml:"on_premises_config_file"`
	}
	var host struct {
		Region, ID, Key, Secret string
	}
	must(yaml.Unmarshal(read(os.Args[1]), &config))
	var fields map[string]string
	must(yaml.Unmarshal(read(config.OnPremises), &fields))
	host.Region, host.ID, host.Key, host.Secret = fields["region"], fields["iam_user_arn"], fields["aws_access_key_id"], fields["aws_secret_access_key"]
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	call := func(operation string, in any) map[string]any {
		body, _ := json.Marshal(in)
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, config.Endpoint+"/", bytes.NewReader(body))
		must(err)
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		r.Header.Set("X-Amz-Target", "CodeDeployCommandService_v20141006."+operation)
		r.Header.Set("X-Amz-Codedeploy-Agent-Version", "1.2.3")
		sum := sha256.Sum256(body)
		must(v4.NewSigner().SignHTTP(ctx, aws.Credentials{AccessKeyID: host.Key, SecretAccessKey: host.Secret}, r, hex.EncodeToString(sum[:]), "codedeploy-commands", host.Region, time.Now()))
		response, err := http.DefaultClient.Do(r)
		if ctx.Err() != nil {
			os.Exit(0)
		}
		must(err)
		defer func() { _ = response.Body.Close() }()
		out := map[string]any{}
		_ = json.NewDecoder(response.Body).Decode(&out)
		return out
	}
	for ctx.Err() == nil {
		command, _ := call("PollHostCommand", map[string]any{"HostIdentifier": host.ID})["HostCommand"].(map[string]any)
		if command == nil {
			continue
		}
		id := command["HostCommandIdentifier"]
		call("PutHostCommandAcknowledgement", map[string]any{"HostCommandIdentifier": id})
		status, payload := "Succeeded", `{"error_code":0,"script_name":"","message":"Succeeded: ","log":""}`
		if len(os.Args) > 2 && command["CommandName"] == os.Args[2] {
			status, payload = "Failed", `{"error_code":4,"script_name":"hooks/x.sh","message":"exit code 3","log":"[stderr]it is broken\n"}`
		}
		call("PutHostCommandComplete", map[string]any{"HostCommandIdentifier": id, "CommandStatus": status, "Diagnostics": map[string]string{"Format": "JSON", "Payload": payload}})
	}
}

func read(path string) []byte {
	b, err := os.ReadFile(filepath.Clean(path))
	must(err)
	return b
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
