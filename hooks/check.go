package hooks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"codedeploy-agent/appspec"
	"codedeploy-agent/internal/account"
	"codedeploy-agent/internal/report"
)

// The kinds of findings that Check adds to those of appspec.Parse.
const (
	ruleScriptOutside       = "script-outside"
	ruleScriptMissing       = "script-missing"
	ruleScriptNotRegular    = "script-not-regular"
	ruleScriptUnreadable    = "script-unreadable"
	ruleScriptNotExecutable = "script-not-executable"
	ruleScriptNoInterpreter = "script-no-interpreter"
	ruleScriptCRLF          = "script-crlf"
	ruleInterpreterMissing  = "interpreter-missing"
	ruleRunAsUnknown        = "runas-unknown"
)

// scriptHead is how much of a script is looked at; the kernel itself reads 256 bytes for the line with "#!".
const scriptHead = 512

// Check looks at the scripts of all events in an unpacked revision, on this host, before any of them runs. All
// findings are warnings: an earlier event may make the user, the interpreter or even the script. Nothing is followed
// out of the archive, nothing is changed, and no more than the first bytes of a script are read.
//
// What can be seen in the AppSpec file alone (events that the service never calls, sums of timeouts, arguments in a
// location) is among the findings of appspec.Parse.
func Check(archive string, spec *appspec.Spec) report.Findings {
	if spec == nil {
		return nil
	}
	return newInspection(spec.File).run(archive, spec)
}

// inspection gathers what Check has to say.
type inspection struct {
	file     string
	findings report.Findings
	// lookupUser and lookPath ask the host; each name is asked about once.
	lookupUser func(name string) error
	lookPath   func(program string) error
	unknown    map[string]error
}

func newInspection(file string) *inspection {
	return &inspection{
		file:       file,
		lookupUser: func(name string) error { _, err := account.LookupUser(name); return err },
		lookPath:   func(program string) error { _, err := exec.LookPath(program); return err },
		unknown:    map[string]error{},
	}
}

func (in *inspection) run(archive string, spec *appspec.Spec) report.Findings {
	root, err := os.OpenRoot(archive)
	if err != nil {
		return report.Findings{{
			Severity: report.Warning, Rule: ruleScriptUnreadable, File: in.file,
			Message: fmt.Sprintf("cannot look at the scripts: %v", err), Hint: "check the directory of the revision",
		}}
	}
	defer func() { _ = root.Close() }()
	for event, scripts := range spec.Hooks {
		for i, s := range scripts {
			where := report.Finding{Severity: report.Warning, File: in.file, Position: s.Pos, Key: fmt.Sprintf("hooks.%s[%d]", keyName(event), i)}
			in.script(root, s, where)
			in.runAs(s, where)
		}
	}
	in.findings.Sort()
	return in.findings
}

// keyName quotes names of events that would make a key hard to read.
func keyName(event string) string {
	if strings.Trim(event, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == "" && event != "" {
		return event
	}
	return fmt.Sprintf("%.80q", event)
}

func (in *inspection) add(where report.Finding, rule, key, message, hint string) {
	where.Rule, where.Message, where.Hint = rule, message, hint
	where.Key += "." + key
	in.findings = append(in.findings, where)
}

func (in *inspection) script(root *os.Root, s appspec.Script, where report.Finding) {
	warn := func(rule, hint, format string, args ...any) {
		in.add(where, rule, "location", fmt.Sprintf("the script %.200q ", s.Location)+fmt.Sprintf(format, args...), hint)
	}
	name := strings.TrimLeft(s.Location, "/")
	if name == "" {
		name = "."
	}
	if !filepath.IsLocal(name) {
		warn(ruleScriptOutside, "name a script of the revision", "lies outside of the revision; the agent does not run it")
		return
	}
	info, err := root.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG):
		message, hint := absentScript(root, name)
		warn(ruleScriptMissing, hint, "%s", message)
		return
	case err != nil && leadsOut(root, name):
		warn(ruleScriptOutside, "put the script itself into the revision", "is reached through a link that leads out of the revision; the agent does not run it")
		return
	case err != nil:
		warn(ruleScriptUnreadable, "check owner and mode in the revision", "cannot be looked at: %v", rootCause(err))
		return
	case info.IsDir():
		warn(ruleScriptNotRegular, "name a script in it", "is a directory")
		return
	case !info.Mode().IsRegular():
		warn(ruleScriptNotRegular, "put a script in its place", "is no regular file")
		return
	}
	if info.Mode()&0o111 == 0 {
		warn(ruleScriptNotExecutable, "set the x bits in the revision: git update-index --chmod=+x", "is not executable; the agent makes it so")
	}
	head, err := readHead(root, name)
	if err != nil {
		warn(ruleScriptUnreadable, "check owner and mode in the revision", "cannot be read: %v", rootCause(err))
		return
	}
	in.content(head, warn)
}

// absentScript says what is missing and what was perhaps meant.
func absentScript(root *os.Root, name string) (message, hint string) {
	if info, err := root.Lstat(name); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return "is a link that leads nowhere", "put the script itself into the revision"
	}
	message, hint = "is not in the revision", "add it, or check the path: it begins at the top of the revision"
	if first, _, blanks := strings.Cut(name, " "); blanks {
		if _, err := root.Stat(first); err == nil {
			return message, fmt.Sprintf("name %q alone: scripts get no arguments", first)
		}
	}
	dir, base := path.Split(path.Clean(name))
	siblings := siblingsOf(root, path.Clean("./"+dir))
	for _, suffix := range []string{".sh", ".bash", ".py"} {
		if slices.Contains(siblings, base+suffix) {
			return message, fmt.Sprintf("did you mean %q?", dir+base+suffix)
		}
	}
	if meant := report.Suggest(base, siblings); meant != "" {
		return message, fmt.Sprintf("did you mean %q?", dir+meant)
	}
	return message, hint
}

// siblingsOf lists a directory of the revision, the first thousand names of it.
func siblingsOf(root *os.Root, dir string) []string {
	d, err := root.Open(dir)
	if err != nil {
		return nil
	}
	defer func() { _ = d.Close() }()
	names, _ := d.Readdirnames(1000)
	slices.Sort(names)
	return names
}

// leadsOut tells a link out of the archive, which os.Root refuses to follow, from other errors.
func leadsOut(root *os.Root, name string) bool {
	for part := path.Clean(name); part != "."; part = path.Dir(part) {
		if info, err := root.Lstat(part); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			_, err := root.Stat(part)
			return err != nil && !errors.Is(err, fs.ErrPermission)
		}
	}
	return false
}

func rootCause(err error) error {
	var perr *fs.PathError
	if errors.As(err, &perr) {
		return perr.Err
	}
	return err
}

func readHead(root *os.Root, name string) ([]byte, error) {
	// O_NONBLOCK: should a pipe take the script's place in this instant, opening it must not wait.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, scriptHead)
	n, err := io.ReadFull(f, head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return head[:n], err
}

// content judges the first bytes of a script.
func (in *inspection) content(head []byte, warn func(rule, hint, format string, args ...any)) {
	const shebang = "write #!/bin/sh or #!/bin/bash at the very beginning of the file"
	line, _, _ := bytes.Cut(head, []byte("\n"))
	switch {
	case len(head) == 0:
		warn(ruleScriptNoInterpreter, shebang, "is empty")
		return
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		return
	case bytes.HasSuffix(line, []byte("\r")):
		warn(ruleScriptCRLF, `convert it: sed -i 's/\r$//'; in git: *.sh text eol=lf`, "has Windows line ends; %s", afterCRLF(line))
		return
	case bytes.HasPrefix(head, []byte("#!")):
		in.interpreter(string(line[2:]), warn)
	case bytes.HasPrefix(bytes.TrimLeft(head, "\xef\xbb\xbf \t\r\n"), []byte("#!")):
		warn(ruleScriptNoInterpreter, shebang, "has something before #!, a byte order mark or blanks, so that /bin/sh runs it")
	default:
		warn(ruleScriptNoInterpreter, shebang, "does not begin with #!; /bin/sh runs it")
	}
}

func afterCRLF(line []byte) string {
	if bytes.HasPrefix(line, []byte("#!")) {
		return fmt.Sprintf("the kernel looks for the interpreter %.100q and does not find it", strings.TrimSpace(string(line[2:]))+"\r")
	}
	return "the shell takes the carriage returns for part of the commands"
}

// interpreter checks what stands behind "#!": the program, and at most one argument, as the kernel splits them.
func (in *inspection) interpreter(line string, warn func(rule, hint, format string, args ...any)) {
	const install = "install it, in BeforeInstall at the latest, or name another"
	program, argument := firstField(strings.Trim(line, " \t"))
	switch {
	case program == "":
		warn(ruleScriptNoInterpreter, "write #!/bin/sh or #!/bin/bash", "has no interpreter behind #!")
		return
	case !path.IsAbs(program):
		warn(ruleInterpreterMissing, "write the whole path, for example #!/bin/bash", "names the interpreter %.100q without its whole path", program)
		return
	case in.ask("program "+program, func() error { return in.lookPath(program) }) != nil:
		warn(ruleInterpreterMissing, install, "wants the interpreter %.100q, which this host does not have", program)
		return
	case path.Base(program) != "env":
		return
	}
	name := argument
	if split, ok := strings.CutPrefix(argument, "-S"); ok {
		name = firstWord(split)
	} else if strings.ContainsAny(argument, " \t") {
		warn(ruleInterpreterMissing, "write #!/usr/bin/env -S "+argument, "makes env look for a program named %.100q, blanks included", argument)
		return
	}
	if name == "" || strings.HasPrefix(name, "-") || strings.Contains(name, "=") {
		return
	}
	if in.ask("program "+name, func() error { return in.lookPath(name) }) != nil {
		warn(ruleInterpreterMissing, install, "wants %.100q, which is not on the PATH of this agent", name)
	}
}

// firstField splits a line at its first blanks.
func firstField(line string) (first, rest string) {
	if at := strings.IndexAny(line, " \t"); at >= 0 {
		return line[:at], strings.TrimLeft(line[at:], " \t")
	}
	return line, ""
}

// firstWord skips the options and variables that may stand before the program in env's arguments.
func firstWord(arguments string) string {
	for _, word := range strings.Fields(arguments) {
		if !strings.HasPrefix(word, "-") && !strings.Contains(word, "=") {
			return word
		}
	}
	return ""
}

func (in *inspection) runAs(s appspec.Script, where report.Finding) {
	if s.RunAs == "" {
		return
	}
	err := in.ask("user "+s.RunAs, func() error { return in.lookupUser(s.RunAs) })
	var unknown *account.UnknownError
	switch {
	case err == nil:
	case errors.As(err, &unknown):
		in.add(where, ruleRunAsUnknown, "runas", fmt.Sprintf("this host has no user %.100q", s.RunAs), "make the user, in BeforeInstall at the latest, or name another")
	default:
		in.add(where, ruleRunAsUnknown, "runas", fmt.Sprintf("the user %.100q cannot be looked up: %v", s.RunAs, err), "check the host's user directory")
	}
}

// ask asks the host about one thing at most once.
func (in *inspection) ask(what string, question func() error) error {
	err, asked := in.unknown[what]
	if !asked {
		err = question()
		in.unknown[what] = err
	}
	return err
}
