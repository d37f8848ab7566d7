package install

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"

	"codedeploy-agent/appspec"
)

// Operation is one thing that an Install does, as a plan shows it.
type Operation struct {
	// Do is mkdir, create, replace, retain, attributes (of a directory that stays) or remove.
	Do   string `json:"do"`
	Path string `json:"path"`
	// Source is relative to the bundle, for create, replace and retain.
	Source string `json:"source,omitempty"`
	// IfEmpty is set for a directory that is removed only if nothing else is in it.
	IfEmpty bool `json:"if_empty,omitempty"`
	// Rule is the object of the permission entry that applies.
	Rule string `json:"permissions,omitempty"`
}

// Summary counts the operations of a plan.
type Summary struct {
	Directories int   `json:"directories"`
	Created     int   `json:"created"`
	Replaced    int   `json:"replaced"`
	Retained    int   `json:"retained"`
	Removed     int   `json:"removed"`
	Bytes       int64 `json:"bytes"`
}

// Operations calls f for all that the Install does, in its order.
func (p *Plan) Operations(f func(Operation)) {
	for _, st := range p.steps {
		if !st.isRun {
			d := &p.dirs[st.index]
			op := Operation{Do: "mkdir", Path: d.path, Rule: p.ruleName(d.rule)}
			if d.state == dirRecreated {
				op.Do = "attributes"
			}
			f(op)
			continue
		}
		r := &p.runs[st.index]
		for i := r.first; i < r.first+r.count; i++ {
			x := &p.files[i]
			do := map[action]string{create: "create", replace: "replace", retain: "retain"}[x.action]
			f(Operation{Do: do, Path: p.path(r.dir, x), Source: filepath.Join(r.src, p.name(x)), Rule: p.ruleName(x.rule)})
		}
	}
	for _, s := range p.stale {
		if !s.isDir {
			f(Operation{Do: "remove", Path: p.previous.path(s.entry)})
		}
	}
	for _, path := range p.emptyDirs() {
		f(Operation{Do: "remove", Path: path, IfEmpty: true})
	}
}

func (p *Plan) ruleName(rule uint16) string {
	if rule == 0 {
		return ""
	}
	return p.rules[rule-1].Object
}

// Summary counts what the Install does.
func (p *Plan) Summary() Summary {
	var s Summary
	for i := range p.files {
		s.Bytes += p.files[i].size
	}
	p.Operations(func(op Operation) {
		switch op.Do {
		case "mkdir":
			s.Directories++
		case "create":
			s.Created++
		case "replace":
			s.Replaced++
		case "retain":
			s.Retained++
		case "remove":
			s.Removed++
		}
	})
	return s
}

// Text writes the plan for people: a line for each operation, then a summary and the warnings.
func (p *Plan) Text(to io.Writer) error {
	w := bufio.NewWriter(to)
	p.Operations(func(op Operation) {
		_, _ = fmt.Fprintf(w, "%-10s %s", op.Do, printable(op.Path))
		if op.IfEmpty {
			_, _ = w.WriteString("  (if it is empty)")
		}
		if op.Rule != "" {
			_, _ = fmt.Fprintf(w, "  (permissions of %s)", printable(op.Rule))
		}
		_ = w.WriteByte('\n')
	})
	s := p.Summary()
	_, _ = fmt.Fprintf(w, "%d directories to make, %d files to create, %d to replace, %d to keep, %d paths to remove; %d bytes\n",
		s.Directories, s.Created, s.Replaced, s.Retained, s.Removed, s.Bytes)
	_, _ = fmt.Fprintf(w, "file_exists_behavior is %s (%s)\n", p.exists.value, p.exists.setBy)
	for _, warning := range p.Warnings() {
		_, _ = fmt.Fprintf(w, "warning: %s\n", warning)
	}
	return w.Flush()
}

// printable quotes a path that would spoil a line.
func printable(path string) string {
	if quoted := fmt.Sprintf("%q", path); quoted != `"`+path+`"` {
		return quoted
	}
	return path
}

// JSON writes the plan for programs.
func (p *Plan) JSON(to io.Writer) error {
	operations := []Operation{}
	p.Operations(func(op Operation) { operations = append(operations, op) })
	out := struct {
		Group      string                     `json:"deployment_group"`
		Deployment string                     `json:"deployment"`
		Root       string                     `json:"root"`
		Behavior   appspec.FileExistsBehavior `json:"file_exists_behavior"`
		SetBy      string                     `json:"file_exists_behavior_set_by"`
		Summary    Summary                    `json:"summary"`
		Operations []Operation                `json:"operations"`
		Warnings   []string                   `json:"warnings"`
	}{p.in.Group.ID(), p.in.Deployment.ID(), p.root.disk("/"), p.exists.value, p.exists.setBy, p.Summary(), operations, append([]string{}, p.Warnings()...)}
	e := json.NewEncoder(to)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(out)
}
