package journal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"codedeploy-agent/internal/journal"
)

func open(t *testing.T, dir string) (*journal.Journal, []error) {
	t.Helper()
	j, warnings, err := journal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return j, warnings
}

func TestACommandIsRememberedInEveryPhaseAcrossRestarts(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	r := journal.Record{HostCommandIdentifier: "../a/b\n", CommandName: "Install", DeploymentID: "d-1", At: time.Now().UTC()}
	result := journal.Result{Status: "Succeeded", Diagnostics: `{"error_code":0}`}
	var err error
	for _, step := range []struct {
		phase journal.Phase
		do    func() error
	}{
		{journal.Received, func() error { r, err = j.Receive(r); return err }},
		{journal.Begun, func() error { r, err = j.Begin(r); return err }},
		{journal.Done, func() error { r, err = j.Done(r, result); return err }},
		{journal.Reported, func() error { return j.End(r) }},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		again, warnings := open(t, dir)
		if len(warnings) > 0 {
			t.Fatal(warnings)
		}
		got, ok := again.Lookup("../a/b\n")
		if !ok || got.Phase != step.phase {
			t.Errorf("after a restart the phase is %q, want %q", got.Phase, step.phase)
		}
	}
	got, _ := j.Lookup(r.HostCommandIdentifier)
	if diff := cmp.Diff(&result, got.Result); diff != "" {
		t.Error("the result changed:", diff)
	}
}

func TestUnreadableRecordsArePutAsideAndNeverFatal(t *testing.T) {
	for name, content := range map[string]string{
		"empty":                "",
		"cut off":              `{"version":1,"host_command`,
		"another name":         `{"version":1,"host_command_identifier":"x","phase":"begun"}`,
		"a later version":      `{"version":99}`,
		"not even JSON":        "\x00\x01\x02",
		"done without results": `{"version":1,"host_command_identifier":"","phase":"done"}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "e3b0c44298fc1c149afbf4c8996fb924.json")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			j, warnings := open(t, dir)
			if len(warnings) != 1 || !strings.Contains(warnings[0].Error(), path) {
				t.Errorf("warnings %v do not name the record", warnings)
			}
			if len(j.All()) != 0 {
				t.Error("the record is used")
			}
			if _, err := os.Stat(path + ".unreadable"); err != nil {
				t.Error("the record is gone:", err)
			}
		})
	}
}

func TestReportedCommandsAreForgottenAfterADayAndInBoundedNumber(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	for i := range 300 {
		r := journal.Record{HostCommandIdentifier: fmt.Sprint(i), At: time.Now().Add(-time.Duration(i) * time.Second)}
		if i == 1 {
			r.At = time.Now().Add(-25 * time.Hour)
		}
		r, err := j.Done(r, journal.Result{Status: "Succeeded"})
		if err != nil {
			t.Fatal(err)
		}
		if err := j.End(r); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(j.All()); n != 256 {
		t.Errorf("%d records are kept, want 256", n)
	}
	if _, ok := j.Lookup("1"); ok {
		t.Error("a command of yesterday is still known")
	}
	again, _ := open(t, dir)
	if diff := cmp.Diff(len(j.All()), len(again.All())); diff != "" {
		t.Error("memory and disk differ:", diff)
	}
}

func TestAFullDiskKeepsTheResultInMemory(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	if err := os.RemoveAll(dir); err != nil { // as unwritable for root as a full disk
		t.Fatal(err)
	}
	r, err := j.Done(journal.Record{HostCommandIdentifier: "x"}, journal.Result{Status: "Failed"})
	if err == nil {
		t.Error("the lost write is not told")
	}
	if got, ok := j.Lookup("x"); !ok || got.Result.Status != "Failed" || r.Phase != journal.Done {
		t.Errorf("the result is lost: %+v", got)
	}
}

func TestWhatBelongsToNoCommandIsRemovedAfterAWeek(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	r, err := j.Receive(journal.Record{HostCommandIdentifier: "a hook runs", At: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	old, young := []string{"local-1", "0123.1", "4567.json.unreadable"}, []string{"local-2", "89ab.1", "cdef.json.unreadable"}
	for _, name := range append(append([]string{filepath.Base(j.HookRecord(r))}, old...), young...) {
		if err := os.MkdirAll(filepath.Join(dir, name, "x"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lastMonth := time.Now().AddDate(0, -1, 0)
	for _, name := range append([]string{filepath.Base(j.HookRecord(r))}, old...) {
		if err := os.Chtimes(filepath.Join(dir, name), lastMonth, lastMonth); err != nil {
			t.Fatal(err)
		}
	}
	open(t, dir)
	for _, name := range old {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Error("it is still there:", name)
		}
	}
	for _, name := range append([]string{filepath.Base(j.HookRecord(r))}, young...) {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestTheRecordsOfAReportedHookDoNotOutliveTheAgentThatWasKilled(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	r, err := j.Done(journal.Record{HostCommandIdentifier: "x", At: time.Now()}, journal.Result{Status: "Succeeded"})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.End(r); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(j.HookRecord(r), 0o700); err != nil { // End was cut short
		t.Fatal(err)
	}
	open(t, dir)
	if _, err := os.Stat(j.HookRecord(r)); err == nil {
		t.Error("they are still there")
	}
}
