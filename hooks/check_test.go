package hooks

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"codedeploy-agent/appspec"
	"codedeploy-agent/internal/account"
	"codedeploy-agent/internal/report"
)

// checkOne puts one script into a revision and returns what Check says about it, "rule: message (hint)" each. The
// host has /bin/sh, env and bash, and the user root.
func checkOne(t *testing.T, location, runas string, prepare func(t *testing.T, archive string)) []string {
	t.Helper()
	archive := t.TempDir()
	if prepare != nil {
		prepare(t, archive)
	}
	spec := &appspec.Spec{File: "appspec.yml", Hooks: map[string][]appspec.Script{
		"BeforeInstall": {{Location: location, RunAs: runas, Pos: report.Position{Line: 5, Column: 7}}},
	}}
	in := newInspection(spec.File)
	in.lookPath = func(program string) error {
		if slices.Contains([]string{"/bin/sh", "/bin/bash", "/usr/bin/env", "bash"}, program) {
			return nil
		}
		return errors.New("not found")
	}
	in.lookupUser = func(name string) error {
		switch name {
		case "root":
			return nil
		case "offline":
			return errors.New("the directory does not answer")
		}
		return &account.UnknownError{Kind: "user", Name: name}
	}
	var got []string
	for _, f := range in.run(archive, spec) {
		if f.Severity != report.Warning || f.File != "appspec.yml" || f.Line != 5 || f.Column != 7 || !strings.HasPrefix(f.Key, "hooks.BeforeInstall[0].") {
			t.Errorf("wrong place or severity: %v", f)
		}
		got = append(got, fmt.Sprintf("%s: %s (%s)", f.Rule, f.Message, f.Hint))
	}
	return got
}

func makeFile(name, content string, mode os.FileMode) func(*testing.T, string) {
	return func(t *testing.T, archive string) {
		t.Helper()
		name := filepath.Join(archive, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
}

func makeLink(name, target string) func(*testing.T, string) {
	return func(t *testing.T, archive string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(archive, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func makeAll(makers ...func(*testing.T, string)) func(*testing.T, string) {
	return func(t *testing.T, archive string) {
		t.Helper()
		for _, m := range makers {
			m(t, archive)
		}
	}
}

func TestCheckWarnsBeforeAScriptFails(t *testing.T) {
	sh := func(content string) func(*testing.T, string) { return makeFile("a.sh", content, 0o755) }
	cases := map[string]struct {
		location, runas string
		prepare         func(*testing.T, string)
		want            []string // each is contained in the finding of the same place
	}{
		"a good script":                   {"a.sh", "root", sh("#!/bin/sh\nexit 0\n"), nil},
		"a leading slash":                 {"/a.sh", "", sh("#!/bin/sh\n"), nil},
		"a leading dot":                   {"./a.sh", "", sh("#!/bin/sh\n"), nil},
		"the interpreter has arguments":   {"a.sh", "", sh("#! /bin/bash -eu\n"), nil},
		"a tab behind the interpreter":    {"a.sh", "", sh("#!/bin/bash\t-eu\n"), nil},
		"env finds the interpreter":       {"a.sh", "", sh("#!/usr/bin/env bash\n"), nil},
		"env splits its argument":         {"a.sh", "", sh("#!/usr/bin/env -S LANG=C bash -x\n"), nil},
		"a program":                       {"a.sh", "", sh("\x7fELF\x02\x01\x01"), nil},
		"a link inside":                   {"l", "", makeAll(sh("#!/bin/sh\n"), makeLink("l", "a.sh")), nil},
		"a file with a blank in its name": {"a b.sh", "", makeFile("a b.sh", "#!/bin/sh\n", 0o755), nil},

		"missing":             {"scripts/a.sh", "", nil, []string{"script-missing: the script \"scripts/a.sh\" is not in the revision"}},
		"missing, other case": {"scripts/A.sh", "", makeFile("scripts/a.sh", "#!/bin/sh\n", 0o755), []string{`did you mean "scripts/a.sh"?`}},
		"missing, suffix":     {"a", "", sh("#!/bin/sh\n"), []string{`did you mean "a.sh"?`}},
		"with arguments":      {"a.sh --now", "", sh("#!/bin/sh\n"), []string{`name "a.sh" alone`}},
		"below a file":        {"a.sh/b", "", sh("#!/bin/sh\n"), []string{"script-missing"}},
		"a very long name":    {strings.Repeat("n", 5000), "", nil, []string{"script-missing"}},
		"a dangling link":     {"l", "", makeLink("l", "nowhere"), []string{"script-missing: the script \"l\" is a link that leads nowhere"}},

		"outside":                        {"../a.sh", "", nil, []string{"script-outside"}},
		"outside by a detour":            {"a/../../b.sh", "", nil, []string{"script-outside"}},
		"a link out":                     {"l", "", makeLink("l", "/bin/sh"), []string{"script-outside: the script \"l\" is reached through a link"}},
		"a relative link out":            {"l", "", makeLink("l", "../../../../bin/sh"), []string{"script-outside"}},
		"a directory that is a link out": {"l/sh", "", makeLink("l", "/bin"), []string{"script-outside"}},
		"a loop of links":                {"l", "", makeAll(makeLink("l", "m"), makeLink("m", "l")), []string{"script-outside"}},

		"a directory":  {"d", "", makeFile("d/x", "", 0o644), []string{"script-not-regular: the script \"d\" is a directory"}},
		"the revision": {"/", "", nil, []string{"script-not-regular"}},
		"a pipe": {"p", "", func(t *testing.T, archive string) {
			if err := syscall.Mkfifo(filepath.Join(archive, "p"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, []string{"script-not-regular: the script \"p\" is no regular file"}},

		"not executable":           {"a.sh", "", makeFile("a.sh", "#!/bin/sh\n", 0o644), []string{"script-not-executable"}},
		"Windows line ends":        {"a.sh", "", sh("#!/bin/bash\r\necho\r\n"), []string{`script-crlf: the script "a.sh" has Windows line ends; the kernel looks for the interpreter "/bin/bash\r"`}},
		"Windows without #!":       {"a.sh", "", sh("echo\r\n"), []string{"the shell takes the carriage returns"}},
		"no #!":                    {"a.sh", "", sh("echo hello\n"), []string{"script-no-interpreter: the script \"a.sh\" does not begin with #!; /bin/sh runs it"}},
		"a byte order mark":        {"a.sh", "", sh("\xef\xbb\xbf#!/bin/sh\n"), []string{"something before #!"}},
		"a blank line before #!":   {"a.sh", "", sh("\n#!/bin/sh\n"), []string{"something before #!"}},
		"empty":                    {"a.sh", "", sh(""), []string{"script-no-interpreter: the script \"a.sh\" is empty"}},
		"nothing behind #!":        {"a.sh", "", sh("#!\n"), []string{"script-no-interpreter"}},
		"no such interpreter":      {"a.sh", "", sh("#!/usr/bin/python2\n"), []string{`interpreter-missing: the script "a.sh" wants the interpreter "/usr/bin/python2"`}},
		"a relative interpreter":   {"a.sh", "", sh("#!bash\n"), []string{"interpreter-missing"}},
		"env does not find it":     {"a.sh", "", sh("#!/usr/bin/env node\n"), []string{`interpreter-missing: the script "a.sh" wants "node"`}},
		"env gets two words":       {"a.sh", "", sh("#!/usr/bin/env bash -x\n"), []string{"write #!/usr/bin/env -S bash -x"}},
		"a first line without end": {"a.sh", "", sh("#!/bin/" + strings.Repeat("x", 100_000)), []string{"interpreter-missing"}},

		"an unknown user":      {"a.sh", "nobody-such", sh("#!/bin/sh\n"), []string{`runas-unknown: this host has no user "nobody-such"`}},
		"users cannot be read": {"a.sh", "offline", sh("#!/bin/sh\n"), []string{"cannot be looked up: the directory does not answer"}},
		"two things at once":   {"a.sh", "nobody-such", makeFile("a.sh", "#!/bin/sh\r\n", 0o600), []string{"script-not-executable", "script-crlf", "runas-unknown"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := checkOne(t, c.location, c.runas, c.prepare)
			if len(got) != len(c.want) {
				t.Fatalf("%d findings, want %d:\n%s", len(got), len(c.want), strings.Join(got, "\n"))
			}
			for i, want := range c.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("got %s\nwant it to contain %s", got[i], want)
				}
			}
		})
	}
}

func TestCheckFollowsTheOrderOfTheFile(t *testing.T) {
	data := []byte(`version: 0.0
os: linux
hooks:
  ValidateService:
    - location: c.sh
  Before Install:
    - location: d.sh
    - location: e.sh
`)
	spec, _ := appspec.Parse("appspec.yml", data)
	var text bytes.Buffer
	for range 5 { // maps have no order
		text.Reset()
		findings := Check(t.TempDir(), spec)
		if err := report.Write(&text, "text", findings); err != nil {
			t.Fatal(err)
		}
		var lines []int
		for _, f := range findings {
			lines = append(lines, f.Line)
		}
		if !slices.Equal(lines, []int{5, 7, 8}) {
			t.Fatalf("lines %v:\n%s", lines, text.String())
		}
	}
	if want := `hooks."Before Install"[1].location: the script "e.sh"`; !strings.Contains(text.String(), want) {
		t.Errorf("no %s in\n%s", want, text.String())
	}
}

func TestCheckOfNothingSaysNothing(t *testing.T) {
	if got := Check(t.TempDir(), nil); got != nil {
		t.Errorf("no spec: %v", got)
	}
	if got := Check(t.TempDir(), &appspec.Spec{}); got != nil {
		t.Errorf("no hooks: %v", got)
	}
	got := Check(filepath.Join(t.TempDir(), "gone"), &appspec.Spec{File: "appspec.yml"})
	if len(got) != 1 || got[0].Rule != ruleScriptUnreadable {
		t.Errorf("no revision: %v", got)
	}
}

func TestCheckAsksTheHostOncePerName(t *testing.T) {
	asked := 0
	in := newInspection("appspec.yml")
	in.lookupUser = func(string) error { asked++; return nil }
	spec := &appspec.Spec{Hooks: map[string][]appspec.Script{"BeforeInstall": {
		{Location: "a", RunAs: "app"}, {Location: "b", RunAs: "app"}, {Location: "c", RunAs: "app"},
	}}}
	in.run(t.TempDir(), spec)
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

func TestEveryFindingAboutScriptsIsDocumented(t *testing.T) {
	data, err := os.ReadFile("../docs/appspec.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(data), "### Warnings about scripts\n")
	if !ok {
		t.Fatal("docs/appspec.md has no chapter about scripts")
	}
	rules := []string{
		ruleScriptOutside, ruleScriptMissing, ruleScriptNotRegular, ruleScriptUnreadable, ruleScriptNotExecutable,
		ruleScriptNoInterpreter, ruleScriptCRLF, ruleInterpreterMissing, ruleRunAsUnknown,
	}
	for _, rule := range rules {
		if !strings.Contains(table, "\n| `"+rule+"` |") {
			t.Errorf("docs/appspec.md does not explain %s", rule)
		}
	}
	if got := strings.Count(table, "\n| `"); got != len(rules) {
		t.Errorf("docs/appspec.md explains %d rules, there are %d", got, len(rules))
	}
}
