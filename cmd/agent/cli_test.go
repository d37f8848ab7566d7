package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestCommandLine plays the scripts in testdata as a user would type them.
func TestCommandLine(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			conf := "root_dir: " + filepath.Join(e.WorkDir, "root") + "\nlog_dir: " + filepath.Join(e.WorkDir, "log") +
				"\npid_dir: " + filepath.Join(e.WorkDir, "pid") + "\nproxy_uri: http://127.0.0.1:9\non_premises_config_file: " +
				filepath.Join(e.WorkDir, "none.yml") + "\n"
			// AppSpec files have absolute paths: WORK stands for the directory of the test.
			for _, name := range []string{"app/appspec.yml", "app/trace.sh"} {
				path := filepath.Join(e.WorkDir, name)
				if text, err := os.ReadFile(path); err == nil {
					_ = os.WriteFile(path, bytes.ReplaceAll(text, []byte("WORK"), []byte(e.WorkDir)), 0o755)
				}
			}
			e.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")
			return os.WriteFile(filepath.Join(e.WorkDir, "agent.yml"), []byte(conf), 0o600)
		},
	})
}
