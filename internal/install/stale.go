package install

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// findStale finds what the previous deployment made and this one does not have. Files and links go; directories go when
// nothing is left in them. Paths that another deployment group lists, too, stay.
func (p *Plan) findStale() error {
	cache := dirCache{root: p.root}
	defer cache.close()
	prev := p.previous
	for i := range int32(prev.len()) {
		if prev.has(i, flagWished|flagShared) {
			continue
		}
		path := prev.path(i)
		if p.goesWithSwapped(path) {
			continue
		}
		st, found, err := lookPath(&cache, path)
		if err != nil {
			return fmt.Errorf("cannot look at %q, which the previous deployment installed: %w", p.root.disk(path), err)
		}
		if !found {
			continue
		}
		isDir := kindOf(&st) == unix.S_IFDIR
		p.stale = append(p.stale, stale{entry: i, isDir: isDir, ino: st.Ino})
		if frozen(&st) && !isDir {
			p.frozen = append(p.frozen, path)
		}
		if !isDir && st.Nlink == 1 {
			p.systems[p.fileSystem(deviceOf(&st))].freed += int64(st.Blocks) * 512
		}
	}
	p.dropPrevious()
	return p.findInherited(&cache)
}

// dropPrevious forgets what the previous deployment owned, but for what goes: it may be as large as the plan.
func (p *Plan) dropPrevious() {
	prev := newOwned()
	prev.labels, prev.inherit = p.previous.labels, p.previous.inherit
	for i := range p.stale {
		prev.add(p.previous.path(p.stale[i].entry))
		p.stale[i].entry = int32(i)
	}
	p.previous = prev
}

// findInherited adds the directories that even older deployments made: those still there and not needed go when they
// are empty, the others stay on record.
func (p *Plan) findInherited(cache *dirCache) error {
	for _, path := range p.previous.inherit {
		st, found, err := lookPath(cache, path)
		if err != nil {
			return fmt.Errorf("cannot look at %q, which an earlier deployment made: %w", p.root.disk(path), err)
		}
		if found && kindOf(&st) == unix.S_IFDIR && !slices.Contains(p.inherit, path) {
			p.inherit = append(p.inherit, path)
		}
	}
	return nil
}

// lookPath looks at a path without following a link at its end. A path whose directory is gone is not found.
func lookPath(cache *dirCache, path string) (st unix.Statx_t, found bool, err error) {
	dir, name := parentOf(path)
	fd, err := cache.open(dir)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENAMETOOLONG) {
		return st, false, nil
	}
	if err != nil {
		return st, false, err
	}
	st, found, err = look(fd, name)
	if errors.Is(err, unix.ENAMETOOLONG) {
		return st, false, nil
	}
	return st, found, err
}

func (p *Plan) goesWithSwapped(path string) bool {
	return slices.ContainsFunc(p.swapped, func(dir string) bool { return below(dir, path) })
}
