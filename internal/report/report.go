// Package report holds findings: what is wrong with a file a person wrote, where, and what to do about it.
package report

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Severity says whether a finding stops the work.
type Severity int

const (
	// Warning is worth a look; the work goes on.
	Warning Severity = iota
	// Error stops the work.
	Error
)

// String returns "warning" or "error".
func (s Severity) String() string {
	if s == Error {
		return "error"
	}
	return "warning"
}

// Position is a place in a text, counted from 1; zero means unknown.
type Position struct {
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
}

// Finding is one thing to say about one place.
type Finding struct {
	Severity Severity
	// Rule is a short stable name for this kind of finding, for example "timeout-sum"; it may be empty.
	Rule string
	// File is the name as the user knows it.
	File string
	Position
	// Key is the path of the value inside the file, for example "hooks.BeforeInstall[0].timeout".
	Key string
	// Message says what is wrong; it starts in lower case and has no final full stop.
	Message string
	// Hint says what to do next; it may be empty.
	Hint string
}

// String returns "file:line:column: severity: key: message (hint)", leaving out what is not known.
func (f Finding) String() string {
	var b strings.Builder
	if place := f.Place(); place != "" {
		b.WriteString(place + ": ")
	}
	fmt.Fprintf(&b, "%s: ", f.Severity)
	if f.Key != "" {
		b.WriteString(f.Key + ": ")
	}
	b.WriteString(f.Message)
	if f.Hint != "" {
		fmt.Fprintf(&b, " (%s)", f.Hint)
	}
	return b.String()
}

// Place returns "file:line:column", leaving out what is not known.
func (f Finding) Place() string {
	place := f.File
	if f.Line > 0 {
		place += fmt.Sprintf(":%d", f.Line)
		if f.Column > 0 {
			place += fmt.Sprintf(":%d", f.Column)
		}
	}
	return place
}

// Findings is a list of findings.
type Findings []Finding

// Sort orders the findings by file and place, errors before warnings of one place.
func (fs Findings) Sort() {
	slices.SortStableFunc(fs, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column), cmp.Compare(b.Severity, a.Severity))
	})
}

// Errors returns the findings that stop the work.
func (fs Findings) Errors() Findings { return fs.only(Error) }

// Warnings returns the findings that do not.
func (fs Findings) Warnings() Findings { return fs.only(Warning) }

func (fs Findings) only(s Severity) Findings {
	var out Findings
	for _, f := range fs {
		if f.Severity == s {
			out = append(out, f)
		}
	}
	return out
}

// Err joins the errors into one, a line each; it is nil when there are none.
func (fs Findings) Err() error {
	var lines []string
	for _, f := range fs.Errors() {
		lines = append(lines, f.String())
	}
	if lines == nil {
		return nil
	}
	return errors.New(strings.Join(lines, "\n"))
}
