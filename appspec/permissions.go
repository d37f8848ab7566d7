package appspec

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"codedeploy-agent/internal/report"
)

var permissionKeys = []string{"object", "pattern", "except", "owner", "group", "mode", "acls", "context", "type"}

var permissionAdvice = map[string]string{
	"source":      `did you mean "object"?`,
	"destination": `did you mean "object"?`,
	"location":    `did you mean "object"?`,
	"path":        `did you mean "object"?`,
	"user":        `did you mean "owner"?`,
	"runas":       `did you mean "owner"?`,
	"permission":  `did you mean "mode"?`,
	"permissions": `did you mean "mode"?`,
	"acl":         `did you mean "acls"?`,
	"recursive":   `the pattern "**", which is the default, reaches every depth`,
	"types":       `did you mean "type"?`,
	"overwrite":   useBehavior,
}

func (r *reader) permissions(top *object) []Permission {
	at := top.sub("permissions")
	list, ok := r.list(top, "permissions", rulePermissions, "- object: ...")
	if !ok {
		return nil
	}
	entries := r.entries(list, at, rulePermission, "object: and a path")
	var permissions []Permission
	for i, o := range entries {
		if o == nil {
			continue
		}
		hint := ""
		if i > 0 && entries[i-1] != nil && entries[i-1].has("object") && !o.has("object") && allKnown(o, permissionKeys) {
			hint = fmt.Sprintf("remove the dash before %q: it belongs to the entry on line %d", o.names[0], entries[i-1].node.Line)
		}
		if p, ok := r.permission(o, hint); ok {
			permissions = append(permissions, p)
		}
	}
	return permissions
}

func allKnown(o *object, known []string) bool {
	return len(o.names) > 0 && !slices.ContainsFunc(o.names, func(name string) bool { return !slices.Contains(known, name) })
}

func (r *reader) permission(o *object, hint string) (Permission, bool) {
	p := Permission{Pos: position(o.node)}
	before := len(r.findings.Errors())
	if object, ok := r.trimmed(o, "object", ruleObjectMissing, permissionKeys, hint); ok {
		p.Object = object
		r.checkObject(o, object)
	}
	p.Pattern = r.pattern(o)
	p.Except = r.except(o)
	p.OnFiles, p.OnDirectories = r.types(o)
	p.Owner = r.optionalText(o, "owner")
	p.Group = r.optionalText(o, "group")
	p.Mode = r.mode(o)
	p.ACLs = r.acls(o)
	p.Context = r.context(o)
	r.unknown(o, permissionKeys, permissionAdvice)
	return p, len(r.findings.Errors()) == before
}

func (r *reader) optionalText(o *object, name string) string {
	v := o.value(name)
	if isNull(v) {
		return ""
	}
	text, _ := r.text(o.at(name), v, o.sub(name))
	return text
}

func (r *reader) checkObject(o *object, object string) {
	at, key := o.at("object"), o.sub("object")
	if !path.IsAbs(object) {
		r.add(rulePathRelative, at, key, fmt.Sprintf("%s is relative and matches nothing", quote(object)),
			"write the whole path on the host, as under destination")
		return
	}
	if strings.ContainsAny(object, "*?") || strings.Contains(object, "[") && strings.Contains(object, "]") {
		r.add(rulePathGlob, at, key, fmt.Sprintf("an object is one file or directory, and %s is taken letter by letter", quote(object)),
			"name the directory as object and write the rest as pattern")
	}
	if variable.MatchString(object) {
		r.add(rulePathVariable, at, key, fmt.Sprintf("no agent replaces the variable in %s", quote(object)), "write the whole path")
	}
}

func (r *reader) pattern(o *object) string {
	v := o.value("pattern")
	if isNothing(v) {
		return "**"
	}
	pattern, ok := r.text(o.at("pattern"), v, o.sub("pattern"))
	if ok {
		r.checkPattern(o.at("pattern"), o.sub("pattern"), pattern, pattern == "**")
	}
	return pattern
}

// checkPattern warns of patterns that match nothing, or not what they seem to.
func (r *reader) checkPattern(at *yaml.Node, key, pattern string, deep bool) {
	switch {
	case deep:
	case pattern == "":
		r.add(rulePattern, at, key, "an empty pattern matches nothing", `write "**" for everything`)
	case strings.Contains(pattern, "/"):
		r.add(rulePattern, at, key, fmt.Sprintf("%s never matches: it is compared with names directly in the object, which have no slash", quote(pattern)),
			"make the directory the object, and write the last part alone")
	case strings.ContainsAny(pattern, "?[]{}"):
		r.add(rulePattern, at, key, fmt.Sprintf("only * is special in %s; ? and brackets stand for themselves", quote(pattern)), "use *, or several entries")
	}
}

// except takes one text for a list of one, which 1.x does not.
func (r *reader) except(o *object) []string {
	v := o.value("except")
	if isNothing(v) {
		return nil
	}
	at := o.sub("except")
	nodes := []*yaml.Node{v}
	switch {
	case v.Kind == yaml.SequenceNode:
		nodes = v.Content
	case v.Kind == yaml.MappingNode && len(v.Content) == 0:
		return nil
	case v.Kind == yaml.MappingNode:
		r.add(ruleExcept, o.at("except"), at, "a mapping stands where a list of names is wanted", `write except: ["name", "*.ext"]`)
		return nil
	}
	var except []string
	for i, n := range nodes {
		n, key := r.visit(n), item(at, i)
		if v.Kind != yaml.SequenceNode {
			key = at
		}
		if isNull(n) {
			continue
		}
		if name, ok := r.text(n, n, key); ok {
			r.checkPattern(n, key, name, false)
			except = append(except, name)
		}
	}
	return except
}

var typeNames = []string{"file", "directory"}

// types takes one text for a list of one, which 1.x does not.
func (r *reader) types(o *object) (files, directories bool) {
	v := o.value("type")
	if isNothing(v) {
		return true, true
	}
	at := o.sub("type")
	nodes := []*yaml.Node{v}
	if v.Kind == yaml.SequenceNode {
		nodes = v.Content
	}
	if v.Kind != yaml.ScalarNode && len(v.Content) == 0 {
		r.add(ruleTypeNone, v, at, "the list is empty, so this entry applies to nothing", "write file, directory or both, or remove the key")
		return false, false
	}
	for i, n := range nodes {
		n = r.visit(n)
		switch {
		case n == nil:
		case n.Kind == yaml.ScalarNode && n.Value == "file":
			files = true
		case n.Kind == yaml.ScalarNode && n.Value == "directory":
			directories = true
		default:
			key := at
			if v.Kind == yaml.SequenceNode {
				key = item(at, i)
			}
			hint := "write type: [file], [directory] or [file, directory]"
			meant := report.Suggest(n.Value, typeNames)
			if meant == "" && isOneOf(n.Value, "dir", "folder", "directories") {
				meant = "directory"
			}
			if meant != "" {
				hint = fmt.Sprintf("did you mean %q?", meant)
			}
			r.add(ruleType, n, key, kind(n)+" is no type; there are file and directory", hint)
		}
	}
	return files, directories
}

// mode takes the digits as they are written: to 1.x an unquoted 0644 is an octal number, 420, and ends as 0420.
func (r *reader) mode(o *object) string {
	v := o.value("mode")
	if isNull(v) {
		return ""
	}
	at, key := o.at("mode"), o.sub("mode")
	if v.Kind != yaml.ScalarNode {
		r.add(ruleMode, at, key, kind(v)+" is no mode", "write octal digits, for example 644")
		return ""
	}
	mode := v.Value
	for plain(v) && len(mode) > 4 && mode[0] == '0' {
		mode = mode[1:] // 00644 is a number to 1.x as well
	}
	for len(mode) < 3 {
		mode = "0" + mode
	}
	switch {
	case strings.Trim(mode, "01234567") != "":
		hint := "write octal digits, for example 644"
		if strings.ContainsAny(mode, "ugoarwx") {
			hint = "write octal digits, for example 644; letters are not understood"
		}
		r.add(ruleMode, at, key, fmt.Sprintf("%s is no mode: only the digits 0 to 7 are", quote(v.Value)), hint)
		return ""
	case len(mode) > 4:
		r.add(ruleMode, at, key, fmt.Sprintf("the mode %s has more than four digits", quote(v.Value)), "write three or four octal digits, for example 644")
		return ""
	case v.Value == "":
		r.add(ruleModeOdd, at, key, "an empty mode is 000: nobody may do anything", "write octal digits, or remove the key")
	case plain(v) && v.Value[0] == '0' && strings.Trim(v.Value, "0") != "":
		f, _ := integer(v.Value)
		old := fmt.Sprintf("%04.0f", f)
		what := "agent 1.x refuses it"
		if strings.Trim(old, "01234567") == "" {
			what = "agent 1.x takes it for an octal number and sets " + old
		}
		r.add(ruleModeOdd, at, key, fmt.Sprintf("this agent sets %s; %s", mode, what), fmt.Sprintf("write %q between quotes, or %s", mode, strings.TrimLeft(mode, "0")))
	}
	return mode
}
