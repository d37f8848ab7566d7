package appspec

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

var fileKeys = []string{"source", "destination"}

const useBehavior = "write file_exists_behavior: OVERWRITE at the top of the file; it holds for all files"

var fileAdvice = map[string]string{
	"overwrite":             useBehavior,
	"force":                 useBehavior,
	"replace":               useBehavior,
	"file_exists_behavior":  "write it at the top of the file; it holds for all files",
	"file_exists_behaviour": "write file_exists_behavior at the top of the file; it holds for all files",
	"mode":                  "write it in an entry under permissions, with the destination as object",
	"owner":                 "write it in an entry under permissions, with the destination as object",
	"group":                 "write it in an entry under permissions, with the destination as object",
	"permissions":           "write permissions at the top of the file, with the destination as object",
	"object":                "write it in an entry under permissions",
	"pattern":               "write it in an entry under permissions; files are copied whole",
	"type":                  "write it in an entry under permissions",
	"acls":                  "write it in an entry under permissions, with the destination as object",
	"except":                "nothing can be left out of a source; leave it out of the revision",
	"exclude":               "nothing can be left out of a source; leave it out of the revision",
	"ignore":                "nothing can be left out of a source; leave it out of the revision",
	"runas":                 "files are copied by the agent's own user; set the owner under permissions",
	"target":                "did you mean \"destination\"?",
	"dest":                  "did you mean \"destination\"?",
	"from":                  "did you mean \"source\"?",
	"to":                    "did you mean \"destination\"?",
}

func (r *reader) files(top *object) []File {
	at := top.sub("files")
	list, ok := r.list(top, "files", ruleFiles, "- source: ...")
	if !ok {
		return nil
	}
	entries := r.entries(list, at, ruleFile, "source: ... and, below it, destination: ...")
	var files []File
	for i, o := range entries {
		if o == nil {
			continue
		}
		split := splitEntry(entries, i, "source", "destination")
		source, ok1 := r.path(o, "source", ruleSourceMissing, fileKeys, split)
		destination, ok2 := r.path(o, "destination", ruleDestMissing, fileKeys, split)
		r.unknown(o, fileKeys, fileAdvice)
		if !ok1 || !ok2 {
			continue
		}
		f := File{Source: source, Destination: destination, Pos: position(o.node)}
		r.checkSource(o, f)
		r.checkDestination(o, f)
		files = append(files, f)
	}
	return files
}

// splitEntry recognises one entry that a dash too many has made two: one half has only one key, its neighbour only
// the other.
func splitEntry(entries []*object, i int, first, second string) string {
	halves := func(a, b *object) bool {
		return a != nil && b != nil && a.has(first) && !a.has(second) && b.has(second) && !b.has(first)
	}
	if i+1 < len(entries) && halves(entries[i], entries[i+1]) {
		return fmt.Sprintf("remove the dash before %q on line %d: it begins another entry", second, entries[i+1].node.Line)
	}
	if i > 0 && halves(entries[i-1], entries[i]) {
		return fmt.Sprintf("remove the dash before %q: it belongs to the entry on line %d", second, entries[i-1].node.Line)
	}
	return ""
}

// list returns the entries of a list; ok is false when there is none. 1.x takes nothing and false for no list, and
// an empty mapping for an empty one.
func (r *reader) list(o *object, name, rule, example string) ([]*yaml.Node, bool) {
	n := o.value(name)
	switch {
	case isNothing(n):
		return nil, false
	case n.Kind == yaml.SequenceNode:
		return n.Content, true
	case n.Kind == yaml.MappingNode && len(n.Content) == 0:
		return nil, false
	}
	hint := fmt.Sprintf("write a list: begin each entry with a dash and a blank, %q", example)
	r.add(rule, o.at(name), o.sub(name), kind(n)+" stands where a list is wanted", hint)
	return nil, false
}

// entries reads each entry of a list as a mapping; nil stands for one that is none.
func (r *reader) entries(list []*yaml.Node, at, rule, example string) []*object {
	var out []*object
	for i, n := range list {
		// An alias is met where it is used, but its content is shown where it is written.
		real := r.visit(n)
		if real == nil {
			break
		}
		if real.Kind == yaml.MappingNode {
			out = append(out, r.object(real, item(at, i)))
			continue
		}
		out = append(out, nil)
		hint := "write " + example
		switch {
		case isNull(real):
			hint = "remove the lone dash"
		case real.Kind == yaml.ScalarNode && gluedKey.MatchString(real.Value):
			hint = fmt.Sprintf("write %q: a colon and a blank after the key", gluedKey.FindStringSubmatch(real.Value)[1]+": ...")
		case real.Kind == yaml.SequenceNode:
			hint = "remove one of the two dashes"
		}
		r.add(rule, real, item(at, i), kind(real)+" stands where an entry with keys is wanted", hint)
	}
	return out
}

// gluedKey is "location:scripts/x.sh", "location = x" or "location x".
var gluedKey = regexp.MustCompile(`^(version|os|files|permissions|hooks|source|destination|location|timeout|runas|sudo|object|pattern|owner|group|mode|type)(:\S|\s*=|\s+\S)`)

// path returns the text under a required key. It is not trimmed: 1.x does not.
func (r *reader) path(o *object, name, rule string, known []string, hint string) (string, bool) {
	v := o.value(name)
	if isNull(v) {
		if hint == "" {
			hint = fmt.Sprintf("write %s: and a path", name)
		}
		r.missing(o, rule, name, known, hint)
		return "", false
	}
	return r.text(o.at(name), v, o.sub(name))
}

func (r *reader) checkSource(o *object, f File) {
	at, key := o.at("source"), o.sub("source")
	switch {
	case f.Source == "":
		r.add(rulePathEmpty, at, key, "an empty source is the whole revision", "write / if that is meant")
		return
	case outside(f.Source):
		r.add(ruleSourceOutside, at, key, fmt.Sprintf("%s leaves the revision; the Install event refuses that", quote(f.Source)), "name something below the revision")
	}
	r.checkPath(at, key, f.Source, "a source is one file or directory, and")
}

func (r *reader) checkDestination(o *object, f File) {
	at, key := o.at("destination"), o.sub("destination")
	switch {
	case f.Destination == "":
		r.add(rulePathEmpty, at, key, "the destination is empty", "write the directory to copy to")
		return
	case !path.IsAbs(trim(f.Destination)) && !windowsPath.MatchString(f.Destination):
		hint := "begin with a slash"
		if strings.HasPrefix(f.Destination, "~") || strings.HasPrefix(f.Destination, "$") {
			hint = "write the whole path: no agent puts a home directory or variable in"
		}
		r.add(rulePathRelative, at, key, "this path is relative: it depends on the directory the agent was started in", hint)
	}
	r.checkPath(at, key, f.Destination, "a destination is one directory, and")
	if looksLikeFile(f) {
		r.add(ruleDestinationFile, at, key,
			fmt.Sprintf("%s looks like a file, but a destination is always a directory: the file would be %s",
				quote(f.Destination), quote(path.Join(f.Destination, path.Base(f.Source)))),
			fmt.Sprintf("write %s", path.Dir(f.Destination)))
	}
}

var windowsPath = regexp.MustCompile(`^[A-Za-z]:[\\/]`)

// checkPath warns of what a shell would do with a path and an agent does not.
func (r *reader) checkPath(at *yaml.Node, key, text, subject string) {
	switch {
	case windowsPath.MatchString(text):
		r.add(rulePathBackslash, at, key, fmt.Sprintf("%s is a path of Windows", quote(text)), "write a Linux path")
	case strings.Contains(text, `\`):
		r.add(rulePathBackslash, at, key, fmt.Sprintf("a backslash is a letter like any other in %s", quote(text)), "separate directories by slashes")
	}
	if text != trim(text) {
		r.add(rulePathBlanks, at, key, fmt.Sprintf("the blanks around %s are part of the path", quote(text)), "remove them")
	}
	if strings.ContainsAny(text, "*?") || strings.Contains(text, "[") && strings.Contains(text, "]") {
		r.add(rulePathGlob, at, key, fmt.Sprintf("%s %s is taken letter by letter, not as a pattern", subject, quote(text)), "name the directory that holds the files")
	}
	if variable.MatchString(text) {
		r.add(rulePathVariable, at, key, fmt.Sprintf("no agent replaces the variable in %s", quote(text)), "write the whole path")
	}
}

var variable = regexp.MustCompile(`\$[A-Za-z_{(]`)

// outside reports whether a path below the revision leaves it by "..".
func outside(name string) bool {
	depth := 0
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return true
			}
		default:
			depth++
		}
	}
	return false
}

// fileSuffixes are suffixes that a directory hardly ever has.
var fileSuffixes = regexp.MustCompile(`^\.(jar|war|ear|zip|tar|tgz|gz|conf|cnf|cfg|ini|env|json|ya?ml|toml|xml|properties|sh|bash|py|rb|js|mjs|cjs|ts|php|pl|html?|css|txt|md|service|timer|socket|sql|pem|crt|key|log|rpm|deb|so|exe|dll|jpg|png|svg|ico)$`)

// directorySuffixes are suffixes that directories often have.
var directorySuffixes = regexp.MustCompile(`^\.(d|app|com|net|org|io|co|dev|info|biz|local|git|old|bak|new|[a-z]{2}|[0-9]+)$`)

func looksLikeFile(f File) bool {
	if strings.HasSuffix(f.Destination, "/") || strings.HasSuffix(f.Source, "/") {
		return false
	}
	source, destination := path.Base(f.Source), path.Base(f.Destination)
	suffix := strings.ToLower(path.Ext(destination))
	if suffix == "" || suffix == "." || destination == suffix && destination != source {
		return false
	}
	if fileSuffixes.MatchString(suffix) {
		return strings.EqualFold(path.Ext(source), suffix)
	}
	return source == destination && path.Ext(source) != source && !directorySuffixes.MatchString(suffix)
}
