package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"codedeploy-agent/appspec"

	"golang.org/x/sys/unix"
)

// maxMembers bounds a tree that links inside the archive multiply without end.
const maxMembers = 10_000_000

// addMapping adds one entry of the AppSpec's files to the wished-for tree.
func (p *Plan) addMapping(ctx context.Context, m appspec.File) error {
	source, ok := inside(m.Source)
	if !ok {
		p.problems.add("cannot install %q%s: the source leaves the bundle", m.Source, p.at(m.Pos))
		return nil
	}
	destination, ok := absolute(m.Destination)
	if !ok {
		p.problems.add("cannot install to %q%s: the destination climbs above the root", m.Destination, p.at(m.Pos))
		return nil
	}
	real, isDir, err := p.resolveSource(source)
	var outside *outsideError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.problems.add("cannot install %q%s: the bundle has no such file or directory", m.Source, p.at(m.Pos))
		return nil
	case errors.As(err, &outside):
		p.problems.add("cannot install %q%s: %v", m.Source, p.at(m.Pos), err)
		return nil
	case err != nil:
		return fmt.Errorf("cannot read %q of the bundle: %w", m.Source, err)
	}
	dir, err := p.dirAt(destination)
	if err != nil {
		return err
	}
	w := walker{p: p, ctx: ctx, buf: make([]byte, 64<<10)}
	if isDir {
		w.makeRoom(real)
		return w.directory(real, dir)
	}
	parent, name := parentOf("/" + source)
	if parent, _, err = p.resolveSource(parent[1:]); err != nil {
		return fmt.Errorf("cannot read %q of the bundle: %w", m.Source, err)
	}
	return w.single(parent, name, dir)
}

// outsideError says that a source leads out of the archive through a link.
type outsideError struct{ target string }

func (e *outsideError) Error() string {
	return fmt.Sprintf("a symbolic link on the way leads out of the bundle, to %q", e.target)
}

// resolveSource follows the links in a relative path of the archive and tells whether a directory lies there. Links on
// the way must stay inside; a last component that leads to a file, to nowhere or outside is not followed.
func (p *Plan) resolveSource(rel string) (real string, isDir bool, err error) {
	if rel == "" {
		return "", true, nil
	}
	parent, name := parentOf("/" + rel)
	up, err := p.realInside(parent[1:])
	if err != nil {
		return "", false, err
	}
	real = strings.TrimPrefix(up+"/"+name, "/")
	info, err := os.Lstat(filepath.Join(p.archive, real))
	if err != nil {
		return "", false, err
	}
	if info.Mode()&fs.ModeSymlink == 0 {
		return real, info.IsDir(), nil
	}
	if to, ok := p.linkedDir(real); ok {
		return to, true, nil
	}
	return real, false, nil
}

func (p *Plan) realInside(rel string) (string, error) {
	abs, err := filepath.EvalSymlinks(filepath.Join(p.archive, rel))
	if err != nil {
		return "", err
	}
	if abs == p.archive {
		return "", nil
	}
	if !below(p.archive, abs) {
		return "", &outsideError{abs}
	}
	return strings.TrimPrefix(abs[len(p.archive):], "/"), nil
}

// linkedDir returns the directory inside the archive that a link leads to. Links to files, to nowhere and out of the
// archive are no such links: they are installed as links.
func (p *Plan) linkedDir(rel string) (string, bool) {
	info, err := os.Stat(filepath.Join(p.archive, rel))
	if err != nil || !info.IsDir() {
		return "", false
	}
	to, err := p.realInside(rel)
	return to, err == nil
}

// walker adds directories of the archive to the tree.
type walker struct {
	p     *Plan
	ctx   context.Context
	buf   []byte
	stack []string // the real directories being walked, for finding loops
}

// makeRoom makes room for the files below a directory of the archive: growing step by step would take several times as
// much memory. It is a guess where links are followed, and nothing where something cannot be read.
func (w *walker) makeRoom(real string) {
	files, names := w.count(filepath.Join(w.p.archive, real))
	w.p.files = slices.Grow(w.p.files, files)
	w.p.names = slices.Grow(w.p.names, names)
}

func (w *walker) count(path string) (files, names int) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, 0
	}
	var dirs []string
	_ = eachEntry(fd, w.buf, func(name []byte, kind uint8) error {
		if kind == unix.DT_DIR {
			dirs = append(dirs, join(path, string(name)))
		} else {
			files, names = files+1, names+len(name)
		}
		return nil
	})
	_ = unix.Close(fd)
	for _, d := range dirs {
		f, n := w.count(d)
		files, names = files+f, names+n
	}
	return files, names
}

type subdir struct {
	name string
	real string // where its content lies in the archive
}

// directory adds the content of a directory of the archive to one of the tree: its files first, then its directories.
func (w *walker) directory(real string, d int32) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if slices.Contains(w.stack, real) {
		w.p.problems.add("cannot install %q: symbolic links in the bundle form a loop through %q", w.p.dirs[d].path, "/"+real)
		return nil
	}
	if len(w.p.files)+len(w.p.dirs) > maxMembers {
		return fmt.Errorf("cannot install: the bundle has more than %d files and directories, its links counted as copies", maxMembers)
	}
	w.stack = append(w.stack, real)
	defer func() { w.stack = w.stack[:len(w.stack)-1] }()
	subdirs, err := w.list(real, d)
	if err != nil {
		return fmt.Errorf("cannot read %q of the bundle: %w", "/"+real, err)
	}
	for _, s := range subdirs {
		sub, err := w.p.subdir(d, s.name)
		if err != nil {
			return err
		}
		if err := w.directory(s.real, sub); err != nil {
			return err
		}
	}
	return nil
}

// list adds the files of a directory as one run and returns its directories, both sorted by name.
func (w *walker) list(real string, d int32) ([]subdir, error) {
	p := w.p
	fd, err := retryInt(func() (int, error) {
		return unix.Open(filepath.Join(p.archive, real), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	first := len(p.files)
	var subdirs []subdir
	err = eachEntry(fd, w.buf, func(name []byte, kind uint8) error {
		switch kind {
		case unix.DT_DIR:
			subdirs = append(subdirs, subdir{string(name), strings.TrimPrefix(real+"/"+string(name), "/")})
			return nil
		case unix.DT_REG: // looked at with its target
			p.files = append(p.files, file{nameOff: p.addName(name), nameLen: uint8(len(name))})
			return nil
		}
		sub, err := w.member(fd, real, string(name), kind)
		if sub != nil {
			subdirs = append(subdirs, *sub)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(p.files[first:], func(a, b file) int { return strings.Compare(p.name(&a), p.name(&b)) })
	slices.SortFunc(subdirs, func(a, b subdir) int { return strings.Compare(a.name, b.name) })
	return subdirs, p.addRun(fd, real, d, first)
}

// single adds one file or link of the archive.
func (w *walker) single(parent, name string, d int32) error {
	p := w.p
	fd, err := retryInt(func() (int, error) {
		return unix.Open(filepath.Join(p.archive, parent), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return fmt.Errorf("cannot read %q of the bundle: %w", "/"+parent, err)
	}
	defer func() { _ = unix.Close(fd) }()
	first := len(p.files)
	sub, err := w.member(fd, parent, name, unix.DT_UNKNOWN)
	if err != nil || sub != nil {
		return err
	}
	return p.addRun(fd, parent, d, first)
}

// member adds a link, or a file of which the directory did not say what it is; a directory, or a link to one inside the
// archive, is returned instead.
func (w *walker) member(fd int, real, name string, kind uint8) (*subdir, error) {
	p := w.p
	rel := strings.TrimPrefix(real+"/"+name, "/")
	f := file{mode: unix.S_IFLNK}
	if kind != unix.DT_LNK {
		var st unix.Stat_t
		err := retry(func() error { return unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
		if err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			f.mode = 0 // to be looked at with its target
		case unix.S_IFLNK:
		case unix.S_IFDIR:
			return &subdir{name, rel}, nil
		default:
			p.problems.add("cannot install %q of the bundle: it is neither a file nor a directory nor a symbolic link", "/"+rel)
			return nil, nil
		}
	}
	if f.mode == unix.S_IFLNK {
		if to, ok := p.linkedDir(rel); ok {
			return &subdir{name, to}, nil
		}
	}
	f.nameOff, f.nameLen = p.addName([]byte(name)), uint8(len(name))
	p.files = append(p.files, f)
	return nil, nil
}

// fill completes a regular file's record from what was found in the archive.
func (p *Plan) fill(f *file, src string, st *unix.Stat_t) error {
	by := owner{st.Uid, st.Gid}
	f.size, f.mtime, f.mtimeNs, f.mode = st.Size, st.Mtim.Sec, uint32(st.Mtim.Nsec), uint16(st.Mode)
	if p.in.Attributes != nil {
		if uid, gid, mode, ok := p.in.Attributes(strings.TrimPrefix(src+"/"+p.name(f), "/")); ok {
			by = owner{uint32(uid), uint32(gid)}
			f.mode = uint16(unix.S_IFREG | mode&0o7777)
		}
	}
	var err error
	f.owner, err = p.ownerIndex(by)
	return err
}
