package install

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// addTop makes the root of the wished-for tree, which always exists.
func (p *Plan) addTop() error {
	fd, err := p.root.open("/", unix.O_PATH)
	if err != nil {
		return fmt.Errorf("cannot open the destination root %q: %w", p.root.disk("/"), err)
	}
	defer func() { _ = unix.Close(fd) }()
	st, err := lookAt(fd)
	if err != nil {
		return fmt.Errorf("cannot open the destination root %q: %w", p.root.disk("/"), err)
	}
	p.dirs = append(p.dirs, dir{path: "/", first: -1, id: inodeOf(&st), state: dirExists, gid: st.Gid})
	p.dirs[0].fs = p.fileSystem(deviceOf(&st))
	p.byPath["/"] = 0
	p.byInode[p.dirs[0].id] = 0
	return nil
}

// dirAt returns the directory of the tree at a clean absolute path. Ancestors that are missing become part of the
// tree, top down, as in 1.x.
func (p *Plan) dirAt(path string) (int32, error) {
	if d, ok := p.byPath[path]; ok {
		return d, nil
	}
	up, name := parentOf(path)
	parent, err := p.dirAt(up)
	if err != nil {
		return 0, err
	}
	return p.subdir(parent, name)
}

// subdir returns the directory of the given name in another one of the tree.
func (p *Plan) subdir(parent int32, name string) (int32, error) {
	path := join(p.dirs[parent].path, name)
	if d, ok := p.byPath[path]; ok {
		return d, nil
	}
	if f := p.fileAt(parent, name); f != nil {
		p.problems.add("cannot make the directory %q: the AppSpec file puts a file there, too", path)
		return p.addDir(dir{path: path, parent: parent, state: dirBlocked}), nil
	}
	up := &p.dirs[parent]
	d := dir{path: path, parent: parent, state: dirMissing, fs: up.fs, acl: up.acl, gid: up.gid, setgid: up.setgid}
	if up.state == dirBlocked {
		d.state = dirBlocked
	}
	if up.onDisk() {
		same, err := p.lookAtDir(&d, up.path, name)
		if err != nil {
			return 0, err
		}
		if same >= 0 { // another path to a directory that the tree has already
			p.byPath[path] = same
			return same, nil
		}
	}
	return p.addDir(d), nil
}

func (p *Plan) addDir(d dir) int32 {
	d.first = -1
	i := int32(len(p.dirs))
	p.dirs = append(p.dirs, d)
	p.byPath[d.path] = i
	p.dirs[d.parent].hasDirs = true
	if d.onDisk() {
		p.byInode[d.id] = i
	}
	if d.made() {
		p.steps = append(p.steps, step{index: i})
	}
	if d.made() && !d.onDisk() {
		p.systems[d.fs].add(block)
		p.dirs[d.parent].host = p.dirs[d.parent].onDisk()
	}
	return i
}

// lookAtDir finds out what is where a directory is wished for: a directory, perhaps behind a link, nothing, something
// of the previous deployment, or something in the way. same is the directory of the tree that it is already, or -1.
func (p *Plan) lookAtDir(d *dir, parent, name string) (same int32, err error) {
	fail := func(err error) (int32, error) {
		return -1, fmt.Errorf("cannot look at %q: %w", p.root.disk(d.path), err)
	}
	fd, err := p.looking.open(parent)
	if err != nil {
		return fail(err)
	}
	st, found, err := look(fd, name)
	if err != nil {
		return fail(err)
	}
	if !found {
		return -1, nil
	}
	mine := p.previous.lookup(d.path)
	if mine >= 0 {
		p.previous.mark(mine, flagWished)
	}
	if kindOf(&st) == unix.S_IFDIR {
		empty := false
		if mine >= 0 && !isMountPoint(&st) {
			if empty, err = p.emptyAfterCleanup(d.path); err != nil {
				return fail(err)
			}
		}
		return p.openExisting(d, empty)
	}
	if mine >= 0 {
		d.state, d.old = dirReplaces, st.Ino
		return -1, nil
	}
	if kindOf(&st) == unix.S_IFLNK && p.leadsToDir(d.path) {
		return p.openExisting(d, false)
	}
	d.state = dirBlocked
	p.addConflict(Conflict{Path: d.path, Reason: inTheWayOfDirectory, Kind: kindName(&st)})
	return -1, nil
}

// leadsToDir tells whether the link at a path leads to a directory.
func (p *Plan) leadsToDir(path string) bool {
	fd, err := p.root.open(path, unix.O_PATH)
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}

// openExisting fills in what later steps need to know of a directory on the disk.
func (p *Plan) openExisting(d *dir, recreated bool) (same int32, err error) {
	fd, err := p.root.open(d.path, unix.O_RDONLY)
	if errors.Is(err, unix.EACCES) { // a directory may be writable and not readable
		fd, err = p.root.open(d.path, unix.O_PATH)
	}
	if err != nil {
		return -1, fmt.Errorf("cannot open %q: %w", p.root.disk(d.path), err)
	}
	defer func() { _ = unix.Close(fd) }()
	st, err := lookAt(fd)
	if err != nil {
		return -1, fmt.Errorf("cannot look at %q: %w", p.root.disk(d.path), err)
	}
	if same, ok := p.byInode[inodeOf(&st)]; ok {
		return same, nil
	}
	d.state, d.id = dirExists, inodeOf(&st)
	d.fs = p.fileSystem(deviceOf(&st))
	if recreated {
		// What a new directory here would be like; d has that from its parent already.
		d.state = dirRecreated
		return -1, nil
	}
	d.gid, d.setgid = st.Gid, st.Mode&unix.S_ISGID != 0
	d.acl = hasDefaultACL(fd)
	if mine := p.previous.lookup(d.path); mine >= 0 {
		p.inherit = append(p.inherit, d.path)
	}
	return -1, nil
}

// emptyAfterCleanup tells whether a directory of the previous deployment would be empty, and so removed, if all that
// the deployment owns below it were removed.
func (p *Plan) emptyAfterCleanup(path string) (bool, error) {
	if empty, ok := p.empty[path]; ok {
		return empty, nil
	}
	i := p.previous.lookup(path)
	if i < 0 || p.previous.has(i, flagShared) {
		return false, nil
	}
	fd, err := p.root.open(path, unix.O_RDONLY|unix.O_NOFOLLOW)
	if err != nil {
		return false, err
	}
	defer func() { _ = unix.Close(fd) }()
	empty := true
	err = eachEntry(fd, make([]byte, 8<<10), func(name []byte, kind uint8) error {
		if !empty {
			return nil
		}
		empty, err = p.goesAtCleanup(fd, path, string(name), kind)
		return err
	})
	p.empty[path] = empty && err == nil
	return empty, err
}

func (p *Plan) goesAtCleanup(dirfd int, dir, name string, kind uint8) (bool, error) {
	i := p.previous.lookupIn(dir, name)
	if i < 0 || p.previous.has(i, flagShared) {
		return false, nil
	}
	if kind == unix.DT_UNKNOWN {
		st, found, err := look(dirfd, name)
		if err != nil || !found {
			return true, err
		}
		if kindOf(&st) == unix.S_IFDIR {
			kind = unix.DT_DIR
		}
	}
	if kind == unix.DT_DIR {
		return p.emptyAfterCleanup(join(dir, name))
	}
	return true, nil
}

// fileSystem returns the index of a device among those that the plan touches.
func (p *Plan) fileSystem(dev uint64) int32 {
	for i := range p.systems {
		if p.systems[i].dev == dev {
			return int32(i)
		}
	}
	p.systems = append(p.systems, fileSystem{dev: dev})
	return int32(len(p.systems) - 1)
}

// kindDirectory is what kindName says of directories.
const kindDirectory = "directory"

func kindName(st *unix.Statx_t) string {
	switch kindOf(st) {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return kindDirectory
	case unix.S_IFLNK:
		return "symbolic link"
	case unix.S_IFIFO:
		return "named pipe"
	case unix.S_IFSOCK:
		return "socket"
	}
	return "device"
}
