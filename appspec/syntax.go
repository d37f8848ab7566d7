package appspec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"codedeploy-agent/internal/report"
)

// document returns the root of the first document in data, or nil after saying why there is none.
func (r *reader) document(data []byte) *yaml.Node {
	start := &yaml.Node{Line: 1, Column: 1}
	r.lines = lines(bytes.TrimRight(data, " \t\r\n")) + 1
	if len(data) > MaxSize {
		r.add(ruleTooLarge, start, "", fmt.Sprintf("the file has %d bytes; an AppSpec file has at most %d", len(data), MaxSize),
			"check that this is the AppSpec file")
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	doc, err := decode(dec)
	if err != nil {
		// The scanner looks a little ahead: what it stumbles over may belong to the next document.
		if first := firstDocument(data); len(first) < len(data) {
			alone := yaml.NewDecoder(bytes.NewReader(first))
			if d, e := decode(alone); e == nil {
				doc, err = d, nil
			}
		}
	}
	switch {
	case errors.Is(err, io.EOF):
		r.add(ruleEmpty, start, "", "the file is empty", "begin with version: 0.0 and os: linux")
		return nil
	case err != nil:
		r.syntaxError(dec, data, err)
		return nil
	}
	r.budget = maxAliased + r.inspect(doc.Content[0])
	root := r.visit(doc.Content[0])
	second, err := decode(dec)
	if err == nil || !errors.Is(err, io.EOF) {
		at := &yaml.Node{Line: lines(firstDocument(data)) + 1, Column: 1}
		r.add(ruleSeveralDocuments, at, "", "another document follows the first; only the first is read",
			"remove the line --- and everything after it, or merge the two")
	}
	if isNull(root) {
		hint := "begin with version: 0.0 and os: linux"
		if second != nil {
			hint = "remove the first line ---: it ends an empty document, and only the first document is read"
		}
		r.add(ruleEmpty, root, "", "the document is empty", hint)
		return nil
	}
	return root
}

// firstDocument returns data up to the marker that ends its first document.
func firstDocument(data []byte) []byte {
	content := false
	for offset := 0; offset < len(data); {
		line := data[offset:]
		if end := bytes.IndexByte(line, '\n'); end >= 0 {
			line = line[:end+1]
		}
		text := strings.TrimRight(string(line), " \t\r\n")
		marker, rest, _ := strings.Cut(text, " ")
		switch {
		case (marker == "---" || marker == "...") && content:
			return data[:offset]
		case marker == "---":
			content = strings.TrimSpace(rest) != ""
		case text != "" && !strings.HasPrefix(text, "%") && !strings.HasPrefix(strings.TrimSpace(text), "#"):
			content = true
		}
		offset += len(line)
	}
	return data
}

// decode reads the next document. yaml.v3 panics on a few odd inputs; that is an error like any other.
func decode(dec *yaml.Decoder) (doc *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			doc, err = nil, fmt.Errorf("yaml: %v", r)
		}
	}()
	doc = &yaml.Node{}
	if err := dec.Decode(doc); err != nil {
		return nil, err
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, io.EOF
	}
	return doc, nil
}

// inspect counts the values that are written in the file, and refuses tags that ask for a Ruby object: agent 1.x
// refuses them too, or builds the object.
func (r *reader) inspect(n *yaml.Node) (count int) {
	if n.Style&yaml.TaggedStyle != 0 && (strings.HasPrefix(n.Tag, "!ruby/") || strings.HasPrefix(n.Tag, "tag:ruby.yaml.org,")) {
		switch n.Tag {
		case "!ruby/string", "!ruby/sym", "!ruby/symbol", "!ruby/hash", "!ruby/array":
		default:
			r.add(ruleRubyObject, n, "", fmt.Sprintf("the tag %s asks for a Ruby object", quote(n.Tag)), "remove the tag")
		}
	}
	for _, child := range n.Content {
		count += r.inspect(child)
	}
	return count + 1
}

// syntaxError says where data stops being YAML and what is probably wrong there.
func (r *reader) syntaxError(dec *yaml.Decoder, data []byte, err error) {
	if at, what, ok := badCharacter(data); ok {
		r.addAt(data, at, what, "save the file as plain UTF-8 text")
		return
	}
	s := scannerState(dec)
	problem := strings.TrimPrefix(err.Error(), "yaml: ")
	if s.problem == "" || !strings.Contains(problem, s.problem) {
		// Not the scanner's or the parser's own error: the event in hand is the place.
		s.problem, s.at, s.from = problem, s.event, report.Position{}
	}
	at, message, hint := explain(s, data)
	r.addAt(data, at, message, hint)
}

// addAt names the key that stands on the line, if there is one: there is no tree to tell its path from.
func (r *reader) addAt(data []byte, at report.Position, message, hint string) {
	key := ""
	if match := keyOnLine.FindStringSubmatch(lineAt(data, r.inside(at).Line)); match != nil {
		key = match[1]
	}
	r.add(ruleSyntax, &yaml.Node{Line: at.Line, Column: at.Column}, key, message, hint)
}

var keyOnLine = regexp.MustCompile(`^\s*(?:- +)*["']?([A-Za-z0-9_-]{1,60})["']?\s*:`)

// scanner is what yaml.v3 knows about a syntax error. from is where the broken construct begins.
type scanner struct {
	problem         string
	at, from, event report.Position
}

// scannerState reads the place of an error, which yaml.v3 keeps to itself: its message has no column, and its line
// is the one of the enclosing construct. Reflection may read unexported numbers; where a field is not as expected
// the place stays unknown.
func scannerState(dec *yaml.Decoder) (s scanner) {
	field := func(v reflect.Value, name string) reflect.Value {
		if v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
		if v.Kind() != reflect.Struct {
			return reflect.Value{}
		}
		return v.FieldByName(name)
	}
	mark := func(v reflect.Value) report.Position {
		line, column := field(v, "line"), field(v, "column")
		if !line.IsValid() || !column.IsValid() || !line.CanInt() || !column.CanInt() {
			return report.Position{}
		}
		return report.Position{Line: int(line.Int()) + 1, Column: int(column.Int()) + 1}
	}
	outer := field(reflect.ValueOf(dec), "parser")
	inner := field(outer, "parser")
	if problem := field(inner, "problem"); problem.IsValid() && problem.Kind() == reflect.String {
		s.problem = problem.String()
	}
	s.at = mark(field(inner, "problem_mark"))
	if context := field(inner, "context"); context.IsValid() && context.Kind() == reflect.String && context.String() != "" {
		s.from = mark(field(inner, "context_mark"))
	}
	s.event = mark(field(field(outer, "event"), "start_mark"))
	return s
}

// badCharacter finds the first byte that is not UTF-8, or the first control character.
func badCharacter(data []byte) (at report.Position, what string, found bool) {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return at, "", false // UTF-16
	}
	at = report.Position{Line: 1, Column: 1}
	rest := bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	for len(rest) > 0 {
		c, size := utf8.DecodeRune(rest)
		switch {
		case c == utf8.RuneError && size == 1:
			return at, fmt.Sprintf("the byte 0x%02x here is not UTF-8", rest[0]), true
		case c < ' ' && c != '\t' && c != '\n' && c != '\r', c == 0x7f, c >= 0x80 && c < 0xa0 && c != 0x85, c == 0xfffe, c == 0xffff:
			return at, fmt.Sprintf("the control character U+%04X stands here", c), true
		}
		rest = rest[size:]
		if c == '\n' || c == '\r' && (len(rest) == 0 || rest[0] != '\n') {
			at.Line++
			at.Column = 1
		} else if c != '\r' {
			at.Column++
		}
	}
	return at, "", false
}

// lines counts the ends of lines.
func lines(data []byte) int {
	return bytes.Count(data, []byte("\n")) + bytes.Count(data, []byte("\r")) - bytes.Count(data, []byte("\r\n"))
}

// lineAt returns the line with the number, counted from 1, without its end.
func lineAt(data []byte, number int) string {
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data))
	for line := range strings.SplitSeq(text, "\n") {
		if number--; number == 0 {
			return line
		}
	}
	return ""
}
