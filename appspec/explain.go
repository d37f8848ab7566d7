package appspec

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"codedeploy-agent/internal/report"
)

// explain turns an error of the YAML scanner into a sentence and a remedy for people who write AppSpec files.
// It points to where the broken construct begins when that is the line to mend.
func explain(s scanner, data []byte) (at report.Position, message, hint string) {
	line := lineAt(data, s.at.Line)
	message, hint = explainAt(s, line)
	if before := lineAt(data, s.at.Line-1); strings.Contains(s.problem, "mapping values are not allowed") && gluedLine.MatchString(before) {
		return report.Position{Line: s.at.Line - 1, Column: strings.Index(before, ":") + 1}, "a blank is missing after this colon", `write "key: value"`
	}
	if dash := dashedLine.FindString(lineAt(data, s.from.Line)); dash != "" && strings.Contains(s.problem, "'-' indicator") {
		message = "this line belongs to no entry of the list that begins on line " + strconv.Itoa(s.from.Line)
		hint = fmt.Sprintf("begin it in column %d, like the key after the dash, or with a dash in column %d", len(dash)+1, s.from.Column)
	}
	if key := strings.TrimRight(word(line, s.at.Column), ":"); strings.Contains(s.problem, "did not find expected") && slices.Contains(topKeys, key) {
		hint = fmt.Sprintf("begin %s: in the first column", key)
	}
	for _, opened := range []string{"could not find expected ':'", "unexpected end of stream", "unexpected document indicator", "',' or"} {
		if strings.Contains(s.problem, opened) && s.from.Line > 0 {
			s.at = s.from
		}
	}
	if strings.HasPrefix(lineAt(data, s.at.Line), "<<<<<<< ") {
		return s.at, "a merge conflict is not resolved here", "keep one of the two sides, and remove the lines <<<<<<<, ======= and >>>>>>>"
	}
	return s.at, message, hint
}

// dashedLine is what stands before the first key of a list entry.
var dashedLine = regexp.MustCompile(`^ *- +`)

// gluedLine is "version:0.0".
var gluedLine = regexp.MustCompile(`^\s*(- )?[A-Za-z_]+:[^\s:]`)

func explainAt(s scanner, line string) (message, hint string) {
	has := func(text string) bool { return strings.Contains(s.problem, text) }
	switch next := charAt(line, s.at.Column); {
	case has("tab character"), has("cannot start any token") && next == '\t':
		return "a tab stands here, where YAML wants spaces", "indent with spaces only"
	case has("cannot start any token"):
		return fmt.Sprintf("no value can begin with %s", quote(string(next))), "put the value between quotes"
	case has("mapping values are not allowed"):
		return "a second key and colon stand in the value of a key",
			"check the indentation: keys of one entry begin in the same column; put a text with \": \" in it between quotes"
	case has("did not find expected key"):
		return "this line belongs to nothing" + block(s), indentation(s)
	case has("did not find expected '-' indicator"):
		return "this line stands between the entries of a list but does not begin with a dash" + block(s), indentation(s)
	case has("could not find expected ':'"):
		return "a colon is missing: this line should be \"key: value\"",
			"write a colon and a blank after the key; check the quotes and the indentation"
	case has("block sequence entries are not allowed"):
		return "no list entry can begin here", "put the first dash on a line of its own, below the key, and check the indentation"
	case has("alphabetic or numeric character"), has("unknown anchor"):
		value := word(line, s.at.Column)
		return fmt.Sprintf("a value that begins with * is an alias in YAML, and %s is none", quote(value)),
			"put the value between quotes: " + quote(value)
	case has("unexpected end of stream"):
		return "the text in quotes that begins here never ends", "add the closing quote"
	case has("unexpected document indicator"):
		return "the text in quotes that begins here runs into a line of dashes or dots", "add the closing quote"
	case has("',' or ']'"), has("',' or '}'"):
		return "the bracket opened here is not closed, or a comma is missing in it", "check brackets and commas; put texts with commas or brackets between quotes"
	case has("escape"), has("hexdecimal"):
		return "the text between double quotes has a backslash that means nothing", "use single quotes, or write the backslash twice"
	case has("document start"):
		return "this line stands outside of the document" + since(s), "check the indentation: top keys such as hooks begin in the first column"
	case has("max depth"):
		return "the values are nested too deeply", "check that this is the AppSpec file"
	}
	return "this is not YAML: " + s.problem + since(s), "check quotes, colons and the indentation of this line and the one before"
}

// block says where the siblings of a misplaced line begin.
func block(s scanner) string {
	if s.from.Line == 0 || s.from.Column == s.at.Column {
		return ""
	}
	return fmt.Sprintf("; it begins in column %d, the block around it (from line %d) in column %d", s.at.Column, s.from.Line, s.from.Column)
}

func indentation(s scanner) string {
	if s.from.Line > 0 && s.from.Column != s.at.Column {
		return fmt.Sprintf("indent it like its siblings, or close the quotes of the line before; column %d is likely", s.from.Column)
	}
	return "indent it like its siblings, and check the quotes and dashes of the lines before"
}

func since(s scanner) string {
	if s.from.Line == 0 || s.from.Line == s.at.Line {
		return ""
	}
	return fmt.Sprintf(" (the trouble may begin on line %d)", s.from.Line)
}

func charAt(line string, column int) rune {
	for _, c := range line {
		if column--; column == 0 {
			return c
		}
	}
	return 0
}

// word is what stands at the column up to the next blank.
func word(line string, column int) string {
	runes := []rune(line)
	start := min(max(column-1, 0), len(runes))
	for start > 0 && !strings.ContainsRune(" \t:[,", runes[start-1]) {
		start--
	}
	return strings.TrimRight(strings.Fields(string(runes[start:]) + " .")[0], ",]")
}
