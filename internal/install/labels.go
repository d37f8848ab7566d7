package install

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
)

// labelled is an object that a permission entry gives an SELinux context, by the path that the policy knows it under.
type labelled struct {
	path string
	rule *rule
}

// labelledObjects lists them in creation order. There are none where SELinux is not enabled.
func (p *Plan) labelledObjects() []labelled {
	if !p.labels {
		return nil
	}
	var out []labelled
	p.eachInstalled(func(dir, name string, rule uint16) {
		if rule != 0 && p.rules[rule-1].Context != nil {
			out = append(out, labelled{join(p.realPath(dir), name), &p.rules[rule-1]})
		}
	})
	return out
}

// realPath resolves the links in the path of a directory of the tree, which need not exist yet.
func (p *Plan) realPath(dir string) string {
	if dir == "/" {
		return dir
	}
	if real, err := filepath.EvalSymlinks(p.root.disk(dir)); err == nil {
		return "/" + relativeTo(p.root.disk("/"), real)
	}
	up, name := parentOf(dir)
	return join(p.realPath(up), name)
}

func relativeTo(base, path string) string {
	rel, err := filepath.Rel(base, path)
	if err != nil {
		return path
	}
	return rel
}

// newLabels are the paths that get a rule in the policy which they do not have yet.
func (p *Plan) newLabels() []string {
	var out []string
	for _, o := range p.labelledObjects() {
		if !slices.Contains(p.previous.labels, o.path) {
			out = append(out, o.path)
		}
	}
	return out
}

// oldLabels are the paths of the previous deployment whose rule goes.
func (p *Plan) oldLabels() []string {
	objects := p.labelledObjects()
	var out []string
	for _, path := range p.previous.labels {
		if !slices.ContainsFunc(objects, func(o labelled) bool { return o.path == path }) {
			out = append(out, path)
		}
	}
	return out
}

func (p *Plan) addLabelRules(ctx context.Context) error {
	for _, o := range p.labelledObjects() {
		known := slices.Contains(p.previous.labels, o.path)
		err := hostSELinux.addLabelRule(ctx, o.path, o.rule.Context, known)
		if err != nil && !p.selinux {
			p.labels = false // there is no policy to be changed, and nothing to be taken out of it
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot add an SELinux rule: %w", err)
		}
	}
	return nil
}
