package appspec

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"codedeploy-agent/internal/report"
)

// maxAliased bounds how many values aliases may add to those that are written in the file.
const maxAliased = 100_000

// maxFindings bounds how much is said about one file.
const maxFindings = 200

// reader walks the nodes of one document and gathers findings.
type reader struct {
	file     string
	findings report.Findings
	lines    int // of the file
	// budget is how many values may still be looked at.
	budget int
	// merging are the mappings whose merge keys are being followed.
	merging []*yaml.Node
}

// add says something about the value at the node.
func (r *reader) add(rule string, at *yaml.Node, key, message, hint string) {
	severity, ok := severities[rule]
	if !ok {
		panic("appspec: no severity for rule " + rule)
	}
	if len(r.findings) >= maxFindings && (severity == report.Warning || len(r.findings.Errors()) >= maxFindings) {
		return
	}
	r.findings = append(r.findings, report.Finding{
		Severity: severity, Rule: rule, File: r.file, Position: r.inside(position(at)), Key: key, Message: message, Hint: hint,
	})
}

// inside keeps a place within the file: what is empty or never ends is found just behind the last line.
func (r *reader) inside(at report.Position) report.Position {
	if at.Line > r.lines {
		return report.Position{Line: r.lines, Column: 1}
	}
	return report.Position{Line: max(at.Line, 1), Column: max(at.Column, 1)}
}

func position(n *yaml.Node) report.Position {
	if n == nil {
		return report.Position{}
	}
	return report.Position{Line: n.Line, Column: n.Column}
}

// visit counts one value and returns what it stands for when it is an alias. It returns nil when there have been
// too many.
func (r *reader) visit(n *yaml.Node) *yaml.Node {
	if n == nil {
		return nil
	}
	if r.budget--; r.budget < 0 {
		if r.budget == -1 {
			r.add(ruleAliases, n, "", "the aliases of this file stand for too many values",
				"write the values out, or use fewer aliases")
		}
		return nil
	}
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// object is a mapping with its merge keys followed and the last of equal keys kept.
type object struct {
	node   *yaml.Node
	path   string
	names  []string // in the order of their first appearance
	fields map[string]field
	// explained are unknown keys about which something better has been said.
	explained map[string]bool
}

type field struct {
	key, value *yaml.Node
}

// value returns the value under the name, nil when there is none.
func (o *object) value(name string) *yaml.Node { return o.fields[name].value }

func (o *object) has(name string) bool { _, ok := o.fields[name]; return ok }

// sub is the path of a value in the object.
func (o *object) sub(name string) string { return join(o.path, name) }

var simpleKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func join(path, name string) string {
	if len(name) > 80 {
		name = strings.ToValidUTF8(name[:80], "") + "..."
	}
	if !simpleKey.MatchString(name) {
		name = quote(name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

func item(path string, index int) string { return fmt.Sprintf("%s[%d]", path, index) }

// quote makes foreign text safe and short enough for a message.
func quote(text string) string {
	const limit = 120
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "..."
	}
	return fmt.Sprintf("%q", text)
}

// object reads a mapping node. Of equal keys the last counts; values under "<<" count from where they stand, as in
// Ruby, so keys further down overrule them and keys further up do not.
func (r *reader) object(n *yaml.Node, path string) *object {
	o := &object{node: n, path: path, fields: map[string]field{}, explained: map[string]bool{}}
	r.merging = append(r.merging, n)
	defer func() { r.merging = r.merging[:len(r.merging)-1] }()
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := r.visit(n.Content[i]), r.visit(n.Content[i+1])
		if key == nil || value == nil {
			break
		}
		if key.Kind != yaml.ScalarNode {
			r.add(ruleUnknownKey, key, path, "a list or mapping stands where a key should be; it is ignored", "write the key as plain text")
			continue
		}
		if key.Value == "<<" && (key.Tag != "!!str" || key.Style&yaml.TaggedStyle == 0) {
			r.merge(o, key, value)
			continue
		}
		if before, ok := o.fields[key.Value]; ok && before.key != nil {
			r.add(ruleDuplicateKey, key, o.sub(key.Value),
				fmt.Sprintf("%s is written twice; the one on line %d is ignored", quote(key.Value), before.key.Line),
				"keep one of the two, or put everything into one")
		}
		o.set(key.Value, field{key: key, value: value})
	}
	return o
}

func (o *object) set(name string, f field) {
	if !o.has(name) {
		o.names = append(o.names, name)
	}
	o.fields[name] = f
}

// merge puts the fields of another mapping, or of a list of mappings of which the first counts most, into o.
func (r *reader) merge(o *object, key, value *yaml.Node) {
	sources := []*yaml.Node{value}
	if value.Kind == yaml.SequenceNode {
		sources = nil
		for _, n := range slices.Backward(value.Content) {
			sources = append(sources, r.visit(n))
		}
	}
	for _, source := range sources {
		if source == nil {
			return
		}
		if source.Kind != yaml.MappingNode {
			r.add(ruleMergeKey, key, o.sub("<<"), "only a mapping, or a list of mappings, can be merged; this is ignored", "name the anchor of a mapping: <<: *name")
			return
		}
	}
	for _, source := range sources {
		if slices.Contains(r.merging, source) || len(r.merging) > 100 {
			continue
		}
		from := r.object(source, o.path)
		for _, name := range from.names {
			if own, ok := o.fields[name]; ok && own.key != nil && own.value != from.value(name) {
				r.add(ruleMergeKey, key, o.sub(name),
					fmt.Sprintf("the merged %s overrules the one on line %d, which stands before it", quote(name), own.key.Line),
					"write << first; keys after it overrule what it brings")
			}
			// Without a key a later one of the same name is no duplicate: that is what merging is for.
			o.set(name, field{value: from.value(name)})
		}
	}
}

// at is where to point for the value under the name: the value when it stands beside its key, else the key.
func (o *object) at(name string) *yaml.Node {
	f := o.fields[name]
	if f.key == nil || f.value != nil && f.value.Line == f.key.Line && !isNull(f.value) {
		return f.value
	}
	return f.key
}

// missing says that the object lacks a key, pointing to the key that was probably meant for it.
func (r *reader) missing(o *object, rule, name string, known []string, hint string) {
	for _, other := range o.names {
		if slices.Contains(known, other) || report.Suggest(other, known) != name {
			continue
		}
		o.explained[other] = true
		r.add(rule, o.keyNode(other), o.sub(other), fmt.Sprintf("%s is missing, and %s is not a key", quote(name), quote(other)),
			fmt.Sprintf("did you mean %s?", quote(name)))
		return
	}
	if o.has(name) {
		r.add(rule, o.at(name), o.sub(name), fmt.Sprintf("%s has no value", quote(name)), hint)
		return
	}
	r.add(rule, o.node, o.path, fmt.Sprintf("%s is missing", quote(name)), hint)
}

func (o *object) keyNode(name string) *yaml.Node {
	if key := o.fields[name].key; key != nil {
		return key
	}
	return o.node
}

// unknown warns of keys that nobody reads. advice knows what to write instead of some of them.
func (r *reader) unknown(o *object, known []string, advice map[string]string) {
	for _, name := range o.names {
		if slices.Contains(known, name) || o.explained[name] {
			continue
		}
		hint := advice[strings.ToLower(name)]
		if meant := report.Suggest(name, known); hint == "" && meant != "" {
			hint = fmt.Sprintf("did you mean %s?", quote(meant))
		}
		if meant := report.Suggest(name, slices.Sorted(maps.Keys(advice))); hint == "" && meant != "" {
			hint = advice[meant]
		}
		if hint == "" {
			hint = "remove it; the keys here are " + strings.Join(known, ", ")
		}
		r.add(ruleUnknownKey, o.keyNode(name), o.sub(name), "no agent knows this key; it is ignored", hint)
	}
}

// text returns a scalar as it is written. Anything else is an error.
func (r *reader) text(at, n *yaml.Node, path string) (string, bool) {
	switch {
	case n.Kind != yaml.ScalarNode:
		r.add(ruleNotText, at, path, fmt.Sprintf("%s stands where text is wanted", kind(n)), "write one value after the colon")
		return "", false
	case strings.ContainsRune(strings.Trim(n.Value, blanks), 0):
		r.add(ruleNotText, at, path, "the text has a NUL character in it, which no path or name may have", "remove \\0")
		return "", false
	}
	return n.Value, true
}

// kind names what a node is, with its article.
func kind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch {
	case isNull(n):
		return "nothing"
	case isTrue(n), isFalse(n):
		return "the truth value " + quote(n.Value)
	}
	return "the text " + quote(n.Value)
}
