package logging_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"go.uber.org/zap"

	"codedeploy-agent/internal/logging"
)

func TestALineLooksAsIn1x(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log", "aws")
	var terminal, errs bytes.Buffer
	log, closeLog, err := logging.New(logging.Options{Dir: dir, Program: "codedeploy-agent", Terminal: &terminal, Errors: &errs})
	if err != nil {
		t.Fatal(err)
	}
	log.Info("The agent\nstarts")
	log.Debug("not seen")
	log.With(zap.String("deployment", "d-1")).Warn("cannot poll", zap.Error(errors.New("no route")))
	closeLog()

	got, err := os.ReadFile(filepath.Join(dir, "codedeploy-agent.log"))
	if err != nil {
		t.Fatal(err)
	}
	const stamp = `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d `
	want := regexp.MustCompile(`^` + stamp + `INFO  \[codedeploy-agent\(\d+\)\]: The agent\\nstarts
` + stamp + `WARN  \[codedeploy-agent\(\d+\)\]: cannot poll {"deployment":"d-1","error":"no route"}
$`)
	if !want.Match(got) {
		t.Errorf("the log holds\n%s", got)
	}
	if terminal.String() != string(got) {
		t.Error("the terminal shows something else")
	}
	if bytes.Count(errs.Bytes(), []byte("\n")) != 1 {
		t.Errorf("the error stream got\n%s", errs.String())
	}
}

func TestALogFolderThatCannotBeMadeIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := logging.New(logging.Options{Dir: filepath.Join(file, "log"), Program: "x"}); err == nil {
		t.Error("no error")
	}
}

func TestALogThatWasMovedOrRemovedIsBegunAnew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	path := filepath.Join(dir, "x.log")
	log, closeLog, err := logging.New(logging.Options{Dir: dir, Program: "x"})
	if err != nil {
		t.Fatal(err)
	}
	defer closeLog()
	log.Info("one")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	log.Info("two")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	log.Info("three")
	log.Info("four")
	text, err := os.ReadFile(path)
	if err != nil || bytes.Count(text, []byte("\n")) != 2 || !bytes.Contains(text, []byte("three")) {
		t.Errorf("the log holds %q, %v", text, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("its mode: %v, %v", info, err)
	}
}
