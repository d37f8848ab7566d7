package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"codedeploy-agent/internal/stub"

	"golang.org/x/sys/unix"
)

// screen writes for people: plain lines, with colours only on a terminal.
type screen struct {
	w       io.Writer
	colours bool
}

func newScreen(w io.Writer) *screen {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" {
		return &screen{w: w}
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return &screen{w: w, colours: err == nil}
}

func (s *screen) line(format string, args ...any) { _, _ = fmt.Fprintf(s.w, format+"\n", args...) }

func (s *screen) colour(code, text string) string {
	if !s.colours {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *screen) bold(text string) string { return s.colour("1", text) }
func (s *screen) dim(text string) string  { return s.colour("2", text) }

func (s *screen) status(status stub.Status) string {
	switch status {
	case stub.Succeeded:
		return s.colour("32", string(status))
	case stub.Failed:
		return s.colour("31", string(status))
	}
	return s.colour("33", string(status))
}

// event writes one step, if it is worth a line. several says that there is more than one host.
func (s *screen) event(e stub.Event, several bool) {
	if e.Name == "" || !e.Status.Ended() {
		return
	}
	host := ""
	if several {
		host = shortName(e.Host) + "  "
	}
	note := ""
	switch {
	case e.Noop:
		note = s.dim("  no script")
	case e.Status == stub.Succeeded && e.Message != "":
		note = s.dim("  " + e.Message)
	}
	s.line("  %s%-18s %s  %s%s", host, e.Name, s.status(e.Status), seconds(e.Duration), note)
	if e.Status == stub.Failed {
		s.failure(e)
	}
}

// failure writes why an event failed.
func (s *screen) failure(e stub.Event) {
	if e.Message != "" {
		s.line("    %s", e.Message)
	}
	d := e.Diagnostics
	if d == nil {
		return
	}
	s.line("    error code  %d (%s)", d.ErrorCode, errorCode(d.ErrorCode))
	if d.Script != "" {
		s.line("    script      %s", d.Script)
	}
	if d.Message != "" {
		s.block("message     ", d.Message)
	}
	if d.Log != "" {
		s.line("    output")
		s.quote(d.Log)
	}
	if d.ErrorCode < 0 {
		s.block("diagnostics ", d.Payload)
	}
}

// block writes text of several lines under a title.
func (s *screen) block(title, text string) {
	s.line("    %s%s", title, strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    "+strings.Repeat(" ", len(title))))
}

// quote writes lines that somebody else wrote.
func (s *screen) quote(text string) {
	for line := range strings.Lines(text) {
		s.line("      %s %s", s.dim("|"), strings.TrimRight(line, "\r\n"))
	}
}

func errorCode(code int) string {
	names := []string{"Success", "ScriptMissing", "ScriptNotExecutable", "ScriptTimedOut", "ScriptFailed", "UnknownError", "OutputsLeftOpen", "FailedAfterRestart"}
	if code < 0 || code >= len(names) {
		return "not a code of CodeDeploy"
	}
	return names[code]
}

func shortName(hostID string) string { return hostID[strings.LastIndex(hostID, "/")+1:] }

func seconds(d time.Duration) string { return fmt.Sprintf("%6.2f s", d.Seconds()) }
