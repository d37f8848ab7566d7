package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"codedeploy-agent/internal/report"
)

// maxFile bounds what is read; a configuration has a few hundred bytes.
const maxFile = 1 << 20

// Load reads a configuration file. The findings are all that is to be said about it; the error is not nil when the file
// cannot be read or a finding is an error, and then holds their text. Keys that the file leaves out have their defaults.
func Load(path string) (*Config, report.Findings, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	if len(data) > maxFile {
		return nil, nil, fmt.Errorf("cannot read the configuration %q: it is larger than %d bytes", path, maxFile)
	}
	c, findings := parse(path, data)
	if err := findings.Err(); err != nil {
		return nil, findings, err
	}
	return c, findings, nil
}

// parse reads a configuration; it is nil when it is no YAML with keys and values.
func parse(file string, data []byte) (*Config, report.Findings) {
	r := &reader{file: file}
	pairs, ok := r.document(data)
	if !ok {
		return nil, r.findings
	}
	// Which defaults hold depends on one of the keys.
	c := Default()
	r.set(c, pairs, "compatibility")
	c = defaultsFor(c.Compatibility)
	for _, p := range pairs {
		r.pair(c, p)
	}
	c.File = file
	r.findings.Sort()
	return c, r.findings
}

// pair is a key of the file with its value.
type pair struct {
	name       string
	key, value *yaml.Node
}

type reader struct {
	file     string
	findings report.Findings
}

func (r *reader) add(s report.Severity, n *yaml.Node, key, message, hint string) {
	r.findings = append(r.findings, report.Finding{Severity: s, File: r.file,
		Position: report.Position{Line: n.Line, Column: n.Column}, Key: key, Message: message, Hint: hint})
}

// document returns the pairs of the file; of two with the same key only the last.
func (r *reader) document(data []byte) ([]pair, bool) {
	var doc yaml.Node
	err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&doc)
	switch {
	case errors.Is(err, io.EOF):
		return nil, true // nothing but comments
	case err != nil:
		r.syntax(data, err)
		return nil, false
	}
	top := resolve(doc.Content[0])
	if top.Kind == yaml.ScalarNode && top.Tag == "!!null" {
		return nil, true
	}
	if top.Kind != yaml.MappingNode {
		r.add(report.Error, top, "", "the file does not consist of keys and values", `each line looks like "max_revisions: 5"`)
		return nil, false
	}
	var pairs []pair
	at := map[string]int{}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := resolve(top.Content[i]), resolve(top.Content[i+1])
		if key.Kind != yaml.ScalarNode {
			r.add(report.Error, key, "", "a key is no text", "")
			continue
		}
		p := pair{strings.TrimPrefix(strings.TrimSpace(key.Value), ":"), key, value}
		if before, ok := at[p.name]; ok {
			r.add(report.Warning, key, p.name, fmt.Sprintf("the key is there twice; this value is used, not the one in line %d", pairs[before].key.Line), "")
			pairs[before] = p
			continue
		}
		at[p.name] = len(pairs)
		pairs = append(pairs, p)
	}
	return pairs, true
}

func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func (r *reader) pair(c *Config, p pair) {
	for _, k := range keys {
		if k.name == p.name {
			r.read(c, k, p)
			return
		}
	}
	for _, o := range others {
		if o.name == p.name {
			r.other(c, o, p)
			return
		}
	}
	hint := ""
	if near := report.Suggest(p.name, known()); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	r.add(report.Warning, p.key, p.name, "the key is unknown and has no effect", hint)
}

// set reads one key ahead of the others, silently.
func (r *reader) set(c *Config, pairs []pair, name string) {
	quiet := &reader{}
	for _, p := range pairs {
		if p.name == name {
			quiet.pair(c, p)
		}
	}
}

// read sets one key. A key without a value keeps its default.
func (r *reader) read(c *Config, k key, p pair) {
	if p.value.Tag == "!!null" {
		return
	}
	if p.value.Kind != yaml.ScalarNode {
		r.add(report.Error, p.value, p.name, kindOf(p.value)+" is not "+k.form, "")
		return
	}
	value := strings.TrimSpace(p.value.Value)
	if value == "" {
		return
	}
	err := k.read(c, value)
	switch note := advice(""); {
	case err == nil:
	case errors.As(err, &note):
		r.add(report.Warning, p.value, p.name, string(note), "")
	default:
		r.add(report.Error, p.value, p.name, fmt.Sprintf("%s is not %s", r.shown(k, value), k.form), "")
	}
}

// shown quotes a value, unless a password may be in it.
func (r *reader) shown(k key, value string) string {
	if strings.Contains(value, "@") && strings.HasSuffix(k.name, "_uri") {
		return "the value"
	}
	return strconv.Quote(value)
}

// other deals with a key that has no effect of its own.
func (r *reader) other(c *Config, o other, p pair) {
	value := strings.TrimSpace(p.value.Value)
	switch {
	case p.value.Tag == "!!null":
	case o.read != nil:
		r.read(c, key{name: o.name, form: "a value of this key", read: o.read}, p)
	case o.note != "" && !strings.EqualFold(value, o.usual):
		r.add(report.Warning, p.key, p.name, o.note, "")
	}
}

func kindOf(n *yaml.Node) string {
	if n.Kind == yaml.SequenceNode {
		return "a list"
	}
	return "a group of keys"
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// syntax reports what the YAML parser says. It knows the line only; the column is where that line's text begins.
func (r *reader) syntax(data []byte, err error) {
	f := report.Finding{Severity: report.Error, File: r.file, Message: "the file is no valid YAML: " + err.Error()}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		f.Line, _ = strconv.Atoi(m[1])
		f.Message = "the file is no valid YAML: " + m[2]
	}
	lines := strings.Split(string(data), "\n")
	f.Line = min(max(f.Line, 1), len(lines))
	line := lines[f.Line-1]
	f.Column = 1 + len(line) - len(strings.TrimLeft(line, " \t"))
	if strings.Contains(line[:f.Column-1], "\t") {
		f.Hint = "indent with blanks, not with tabs"
	}
	r.findings = append(r.findings, f)
}
