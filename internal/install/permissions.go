package install

import (
	"strings"

	"codedeploy-agent/appspec"
)

// rule is one permission entry with what it matched. Who and what it names is looked up before the Install starts.
type rule struct {
	appspec.Permission
	object  string // clean and absolute
	uid     int    // -1: the entry names no owner
	gid     int    // -1: the entry names no group
	acl     []aclEntry
	matched int
}

// mode returns the permission bits that the rule sets, or else the given ones.
func (r *rule) mode(otherwise uint32) uint32 {
	if m, ok := r.FileMode(); ok {
		return m
	}
	return otherwise
}

// maxRules is how many permission entries a file's record can tell apart.
const maxRules = 1<<16 - 2

// matchPermissions finds which files and directories of this deployment each permission entry is for. What was there
// before is never matched, nor is the object of an entry itself unless it is a file.
func (p *Plan) matchPermissions() {
	if len(p.in.Spec.Permissions) > maxRules {
		p.problems.add("cannot apply more than %d permission entries", maxRules)
		return
	}
	for _, spec := range p.in.Spec.Permissions {
		r := rule{Permission: spec, uid: -1, gid: -1}
		if !strings.HasPrefix(spec.Object, "/") {
			p.warn("the permission entry for %q%s matches nothing: the object is a relative path", spec.Object, p.at(spec.Pos))
			p.rules = append(p.rules, r)
			continue
		}
		object, ok := absolute(spec.Object)
		if !ok {
			p.problems.add("cannot apply permissions to %q%s: the object climbs above the root", spec.Object, p.at(spec.Pos))
			p.rules = append(p.rules, r)
			continue
		}
		r.object = object
		p.rules = append(p.rules, r)
		p.match(len(p.rules) - 1)
	}
}

func (p *Plan) match(index int) {
	r := &p.rules[index]
	if f, d := p.installed(r.object); f != nil {
		p.matchFile(index, f, d)
	} else if d, ok := p.byPath[r.object]; ok {
		p.matchBelow(index, d)
	}
	if r.matched == 0 {
		p.warn("the permission entry for %q%s matches nothing that this deployment installs", r.Object, p.at(r.Pos))
	}
}

// installed returns the file that the plan puts at a path, or nil.
func (p *Plan) installed(path string) (*file, int32) {
	dir, name := parentOf(path)
	d, ok := p.byPath[dir]
	if !ok {
		return nil, 0
	}
	f := p.fileAt(d, name)
	if f == nil || f.action == retain || f.action == blocked {
		return nil, 0
	}
	return f, d
}

func (p *Plan) matchFile(index int, f *file, d int32) {
	r := &p.rules[index]
	if !r.OnFiles {
		return
	}
	if r.Pattern != "**" || len(r.Except) > 0 {
		p.problems.add("cannot apply permissions to the file %q%s: pattern and except are for directories; leave them out, or name the directory",
			r.Object, p.at(r.Pos))
		return
	}
	p.give(index, d, p.name(f), &f.rule, true)
}

// matchBelow gives the rule to what lies below a directory of the tree.
func (p *Plan) matchBelow(index int, object int32) {
	r := &p.rules[index]
	for i := range p.dirs {
		d := &p.dirs[i]
		direct := int32(i) == object
		if !direct && !below(p.dirs[object].path, d.path) {
			continue
		}
		if r.OnDirectories && !direct && d.made() && r.matches(d.name(), d.parent == object) {
			p.give(index, d.parent, d.name(), &d.rule, false)
		}
		if r.OnFiles && (direct || r.Pattern == "**") {
			p.matchFilesOf(index, int32(i), direct)
		}
	}
}

func (p *Plan) matchFilesOf(index int, d int32, direct bool) {
	r := &p.rules[index]
	for n := p.dirs[d].first; n >= 0; n = p.runs[n].next {
		for i := p.runs[n].first; i < p.runs[n].first+p.runs[n].count; i++ {
			f := &p.files[i]
			if f.action != retain && f.action != blocked && r.matches(p.name(f), direct) {
				p.give(index, d, p.name(f), &f.rule, true)
			}
		}
	}
}

// give notes that a rule is for an object; one object belongs to one rule.
func (p *Plan) give(index int, dir int32, name string, holder *uint16, isFile bool) {
	r := &p.rules[index]
	if *holder != 0 {
		path, other := join(p.dirs[dir].path, name), p.rules[*holder-1]
		p.problems.add("cannot apply permissions to %q: two entries match it, the one for %q%s and the one for %q%s",
			path, other.Object, p.at(other.Pos), r.Object, p.at(r.Pos))
		return
	}
	*holder = uint16(index) + 1
	r.matched++
	if !isFile {
		return
	}
	for _, a := range r.ACLs {
		if a.Default {
			p.problems.add("cannot apply permissions to the file %q%s: %q is a default ACL entry, and files have none", join(p.dirs[dir].path, name), p.at(r.Pos), a)
			return
		}
	}
}

// matches tells whether the rule's pattern takes a name and none of its exceptions does. Patterns other than "**", and
// all exceptions, are for the object's direct children only.
func (r *rule) matches(name string, direct bool) bool {
	if r.Pattern != "**" && (!direct || !matchName(r.Pattern, name)) {
		return false
	}
	if direct {
		for _, e := range r.Except {
			if matchName(e, name) {
				return false
			}
		}
	}
	return true
}

// matchName compares a name with a pattern in which a star stands for any text and nothing else is special.
func matchName(pattern, name string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	name, ok := strings.CutPrefix(name, first)
	if !ok {
		return false
	}
	for {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(name, part)
		}
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name, rest = name[i+len(part):], after
	}
}
