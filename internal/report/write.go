package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Formats are the names that Write understands.
func Formats() []string { return []string{"text", "json", "github", "sarif"} }

// Write prints the findings to w in one of Formats:
//
//   - text: a line each, "file:line:column: severity: key: message (hint)"
//   - json: one object, {"version": 1, "errors": n, "warnings": n, "findings": [...]}; fields are only ever added
//   - github: workflow commands, which GitHub shows beside the line in a pull request
//   - sarif: SARIF 2.1.0, for code scanning
func Write(w io.Writer, format string, findings Findings) error {
	switch format {
	case "text":
		return writeText(w, findings)
	case "json":
		return writeJSON(w, findings)
	case "github":
		return writeGitHub(w, findings)
	case "sarif":
		return writeSARIF(w, findings)
	}
	known := Formats()
	if meant := Suggest(format, known); meant != "" {
		return fmt.Errorf("cannot write findings as %q: no such format; did you mean %q?", format, meant)
	}
	return fmt.Errorf("cannot write findings as %q: no such format; there are %s", format, strings.Join(known, ", "))
}

func writeText(w io.Writer, findings Findings) error {
	for _, f := range findings {
		if _, err := fmt.Fprintln(w, oneLine(f.String())); err != nil {
			return err
		}
	}
	return nil
}

// oneLine keeps foreign text from moving the terminal's cursor or faking further lines.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, text)
}

type jsonReport struct {
	Version  int           `json:"version"`
	Errors   int           `json:"errors"`
	Warnings int           `json:"warnings"`
	Findings []jsonFinding `json:"findings"`
}

type jsonFinding struct {
	Severity string `json:"severity"`
	Rule     string `json:"rule,omitempty"`
	File     string `json:"file,omitempty"`
	Position
	Key     string `json:"key,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func writeJSON(w io.Writer, findings Findings) error {
	out := jsonReport{
		Version:  1,
		Errors:   len(findings.Errors()),
		Warnings: len(findings.Warnings()),
		Findings: []jsonFinding{},
	}
	for _, f := range findings {
		out.Findings = append(out.Findings, jsonFinding{
			Severity: f.Severity.String(), Rule: f.Rule, File: f.File, Position: f.Position,
			Key: f.Key, Message: f.Message, Hint: f.Hint,
		})
	}
	return writeIndented(w, out)
}

func writeIndented(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// In a workflow command "%", CR and LF would end the message; in a property ":" and "," would end the value.
var (
	githubData     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	githubProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func writeGitHub(w io.Writer, findings Findings) error {
	for _, f := range findings {
		var properties []string
		add := func(name, value string) {
			properties = append(properties, name+"="+githubProperty.Replace(value))
		}
		if f.File != "" {
			add("file", f.File)
		}
		if f.Line > 0 {
			add("line", fmt.Sprint(f.Line))
		}
		if f.Line > 0 && f.Column > 0 {
			add("col", fmt.Sprint(f.Column))
		}
		if f.Rule != "" {
			add("title", f.Rule)
		}
		command := "::" + f.Severity.String()
		if properties != nil {
			command += " " + strings.Join(properties, ",")
		}
		if _, err := fmt.Fprintf(w, "%s::%s\n", oneLine(command), oneLine(githubData.Replace(f.text()))); err != nil {
			return err
		}
	}
	return nil
}

// text is the finding without its place and severity, for formats that carry those apart.
func (f Finding) text() string {
	text := f.Message
	if f.Key != "" {
		text = f.Key + ": " + text
	}
	if f.Hint != "" {
		text += " (" + f.Hint + ")"
	}
	return text
}

// rules returns the names of the rules that occur, sorted; a finding without one counts as "finding".
func (fs Findings) rules() []string {
	var rules []string
	for _, f := range fs {
		rules = append(rules, f.ruleOrDefault())
	}
	slices.Sort(rules)
	return slices.Compact(rules)
}

func (f Finding) ruleOrDefault() string {
	if f.Rule == "" {
		return "finding"
	}
	return f.Rule
}
