package install

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// staging makes the new tree under temporary names.
type staging struct {
	p       *Plan
	id      string // of the transaction
	forward bool   // there is no room for two trees: everything goes to its place at once
}

// stage makes everything that is new: directories first, then the files, by two workers, then the attributes of the
// directories. Those come last, so that nobody but the agent can write where it is still writing.
func (s *staging) stage(ctx context.Context) error {
	for _, st := range s.p.steps {
		if !st.isRun {
			if err := s.makeDir(st.index); err != nil {
				return err
			}
		}
	}
	if err := s.copyFiles(ctx); err != nil {
		return err
	}
	for _, st := range s.p.steps {
		if !st.isRun {
			if err := s.finishDir(st.index); err != nil {
				return err
			}
		}
	}
	return nil
}

// place is where a directory of the tree is while staging: itself if it exists, else below a temporary name.
func (s *staging) place(d int32) string {
	dir := &s.p.dirs[d]
	switch {
	case dir.onDisk(), s.forward:
		return dir.path
	case s.p.dirs[dir.parent].onDisk():
		return join(s.p.dirs[dir.parent].path, temp(s.id, tempNew, tag('d', d)))
	}
	return join(s.place(dir.parent), dir.name())
}

func (s *staging) makeDir(d int32) error {
	dir := &s.p.dirs[d]
	if dir.onDisk() {
		return nil
	}
	parent, name := parentOf(s.place(d))
	fd, err := s.p.looking.open(parent)
	if err != nil {
		return fmt.Errorf("cannot create the directory %q: %w", dir.path, err)
	}
	if s.forward && dir.state == dirReplaces {
		if err := removeAt(fd, name); err != nil {
			return fmt.Errorf("cannot remove %q: %w", dir.path, err)
		}
	}
	mode := uint32(0o755)
	if dir.acl { // then the inherited list decides
		mode = 0o777
	}
	if err := unix.Mkdirat(fd, name, mode); err != nil {
		return fmt.Errorf("cannot create the directory %q: %w", dir.path, err)
	}
	if s.p.dirs[dir.parent].onDisk() {
		st, _, err := look(fd, name)
		if err != nil {
			return fmt.Errorf("cannot create the directory %q: %w", dir.path, err)
		}
		dir.id = inodeOf(&st)
	}
	return nil
}

// finishDir gives a staged directory what its permission entry says.
func (s *staging) finishDir(d int32) error {
	dir := &s.p.dirs[d]
	if dir.onDisk() || dir.rule == 0 {
		return nil
	}
	fd, err := s.p.root.open(s.place(d), unix.O_RDONLY|unix.O_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("cannot set the permissions of %q: %w", dir.path, err)
	}
	defer func() { _ = unix.Close(fd) }()
	a, err := readAttrs(fd)
	if err == nil {
		err = s.p.withRule(a, dir).set(fd)
	}
	if err != nil {
		return fmt.Errorf("cannot set the permissions of %q: %w", dir.path, err)
	}
	return nil
}

// withRule returns what a directory's permission entry makes of its attributes.
func (p *Plan) withRule(a attrs, d *dir) attrs {
	if d.rule == 0 {
		return a
	}
	r := &p.rules[d.rule-1]
	if r.uid >= 0 {
		a.UID = uint32(r.uid)
	}
	if r.gid >= 0 {
		a.GID = uint32(r.gid)
	}
	a.Mode = r.mode(a.Mode)
	if r.ACLs != nil {
		a.Access, a.Default = effectiveACL(r.acl, a.Mode)
	}
	if r.Context != nil && p.selinux {
		a.Label = []byte(label(string(a.Label), r.Context))
	} else {
		a.Label = nil
	}
	return a
}

// recreated returns what changes at a directory that stays although 1.x would have made it again.
func (p *Plan) recreated(d *dir) (attrChange, error) {
	fd, err := p.root.open(d.path, unix.O_RDONLY|unix.O_NOFOLLOW)
	if err != nil {
		return attrChange{}, fmt.Errorf("cannot open %q: %w", p.root.disk(d.path), err)
	}
	defer func() { _ = unix.Close(fd) }()
	old, err := readAttrs(fd)
	if err != nil {
		return attrChange{}, fmt.Errorf("cannot read the attributes of %q: %w", p.root.disk(d.path), err)
	}
	fresh := attrs{Mode: 0o755, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	if d.setgid {
		fresh.Mode, fresh.GID = fresh.Mode|unix.S_ISGID, d.gid
	}
	if d.acl { // inherited from the directory above, once and now
		fresh.Mode, fresh.Access, fresh.Default = old.Mode, old.Access, old.Default
	}
	fresh = p.withRule(fresh, d)
	if fresh.Label == nil {
		old.Label = nil
	}
	return attrChange{Old: old, New: fresh}, nil
}
