package bundle

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"codedeploy-agent/internal/exactmode"
)

// place is where a new tree grows: a hidden directory beside the one that it will replace, locked while it is in use.
type place struct {
	dst    string
	tmp    string
	record string // the temporary name of the attributes' record
	whole  bool   // a single top directory stays
	lock   *os.File
	log    *zap.Logger
}

// placeError is an error about dst and what lies beside it, complete as it is.
type placeError struct {
	doing string
	err   error
}

func (e *placeError) Error() string { return fmt.Sprintf("cannot %s: %v", e.doing, e.err) }
func (e *placeError) Unwrap() error { return e.err }

// Prefixes of the temporary names; the name of dst and a random end follow.
const (
	placePrefix  = ".unpacking-"
	recordPrefix = ".unpacking-attributes-"
)

// build makes a tree beside dst with fill and puts it into dst's place.
func (p *place) build(ctx context.Context, opts UnpackOptions, fill func(context.Context, *unpacking) error) (Summary, error) {
	dst, err := filepath.Abs(p.dst)
	if err != nil {
		return Summary{}, err
	}
	p.dst = dst
	if err := p.make(); err != nil {
		return Summary{}, err
	}
	defer p.remove()
	u := &unpacking{}
	var record *attributeWriter
	if !p.whole {
		record = &attributeWriter{path: p.record}
		defer record.close()
	}
	err = inOwnThread(func(exact bool) error {
		fd, err := unix.Open(p.tmp, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return &placeError{fmt.Sprintf("open %q", p.tmp), err}
		}
		u.tree = newTree(p.tmp, dst, fd, opts, record)
		defer u.tree.close()
		u.tree.exact = exact
		u.users.lookup, u.groups.lookup = lookupUserID, lookupGroupID
		u.space = newSpaceWatch(fd, p.tmp)
		if err := fill(ctx, u); err != nil {
			var m *memberError
			if errors.As(err, &m) {
				err = u.explain(m.member, m.size, m.err)
			}
			return err
		}
		return u.tree.finish()
	})
	if err != nil {
		return Summary{}, err
	}
	s := Summary{Warnings: u.warnings}
	if u.meter != nil {
		s.Entries, s.Bytes = u.meter.entries, u.meter.bytes
	}
	return s, p.finish(ctx, &s, record)
}

// inOwnThread runs f in a thread of its own with a umask of 0, if the kernel allows that.
func inOwnThread(f func(exact bool) error) error {
	result := make(chan error, 1)
	go exactmode.Run(func(exact bool) { result <- f(exact) })
	return <-result
}

// make clears away what crashes have left and makes the temporary directory.
func (p *place) make() error {
	dir, base := filepath.Split(p.dst)
	if base == "" || base == "." || base == ".." {
		return &placeError{"unpack the bundle", fmt.Errorf("%q is no name for a directory", p.dst)}
	}
	p.removeLeftovers(dir, base)
	suffix := base + "-" + strings.ToLower(rand.Text()[:10])
	p.tmp = filepath.Join(dir, placePrefix+suffix)
	p.record = filepath.Join(dir, recordPrefix+suffix)
	if err := os.Mkdir(p.tmp, 0o700); err != nil {
		return &placeError{"unpack the bundle", err}
	}
	f, err := os.Open(p.tmp)
	if err == nil {
		p.lock = f
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err == nil { // a parent with setgid hands down its group and that bit
		err = f.Chown(os.Geteuid(), os.Getegid())
	}
	if err == nil {
		err = f.Chmod(0o700)
	}
	if err != nil {
		p.remove()
		return &placeError{"unpack the bundle", err}
	}
	return nil
}

// removeLeftovers removes what earlier runs for the same dst left when they were killed. A directory that is still
// locked is in use.
func (p *place) removeLeftovers(dir, base string) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return // making the directory will fail and say why
	}
	for _, e := range names {
		tree := strings.HasPrefix(e.Name(), placePrefix+base+"-")
		record := strings.HasPrefix(e.Name(), recordPrefix+base+"-")
		path := filepath.Join(dir, e.Name())
		if !tree && !record {
			continue
		}
		if record {
			owner := filepath.Join(dir, placePrefix+strings.TrimPrefix(e.Name(), recordPrefix))
			if inUse(owner) {
				continue
			}
		} else if inUse(path) {
			continue
		}
		if err := removeTree(path); err != nil {
			p.log.Warn("cannot remove what an interrupted unpacking left", zap.String("path", path), zap.Error(err))
		}
	}
}

func inUse(dir string) bool {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == unix.EWOULDBLOCK
}

// remove takes away the temporary names, whatever lies there now: the unfinished tree or the one that was replaced.
func (p *place) remove() {
	for _, path := range []string{p.tmp, p.tmp + ".old", p.record} {
		if err := removeTree(path); err != nil {
			p.log.Warn("cannot remove a temporary directory", zap.String("path", path), zap.Error(err))
		}
	}
	if p.lock != nil {
		_ = p.lock.Close()
	}
}

// finish makes the tree durable and puts it and its record in place.
func (p *place) finish(ctx context.Context, s *Summary, record *attributeWriter) error {
	tree, err := p.strip(s)
	if err != nil {
		return &placeError{"look at the unpacked bundle", err}
	}
	recorded, err := record.finish(s.Stripped)
	if err != nil {
		return &placeError{"record the attributes of the bundle's members", err}
	}
	if err := os.Chmod(tree, 0o755); err != nil {
		return &placeError{"open the unpacked bundle for its users", err}
	}
	if err := unix.Syncfs(int(p.lock.Fd())); err != nil {
		return &placeError{"write the unpacked bundle to the disk", err}
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	return p.swap(tree, recorded)
}

// strip finds the directory that becomes dst: the single top directory, when an appspec file lies in it.
func (p *place) strip(s *Summary) (tree string, err error) {
	names, err := listNames(p.tmp)
	if err != nil {
		return "", err
	}
	tree = p.tmp
	if len(names) == 1 && !p.whole {
		top := filepath.Join(p.tmp, names[0])
		info, err := os.Lstat(top)
		if err != nil {
			return "", err
		}
		if info.IsDir() {
			below, err := listNames(top)
			if errors.Is(err, fs.ErrPermission) {
				// Only its owner's bits are in the way; it gets the usual ones when it becomes dst.
				if err = os.Chmod(top, info.Mode().Perm()|0o500); err == nil {
					below, err = listNames(top)
				}
			}
			if err != nil {
				return "", err
			}
			if slices.ContainsFunc(below, func(n string) bool { return strings.Contains(strings.ToLower(n), "appspec") }) {
				tree, names, s.Stripped = top, below, names[0]
			}
		}
	}
	slices.Sort(names)
	s.TopLevel = slices.Clone(names[:min(len(names), summaryNames)])
	return tree, nil
}

func listNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return f.Readdirnames(-1)
}

// swap exchanges the new tree with what is at dst. The old record goes first and the new one comes last: a tree never
// lies beside the record of another one.
func (p *place) swap(tree string, recorded bool) error {
	final := filepath.Join(filepath.Dir(p.dst), AttributesName)
	aside := p.record + ".old"
	kept := false
	switch err := os.Rename(final, aside); {
	case err == nil:
		kept = true
		defer func() { _ = os.Remove(aside) }()
	case !errors.Is(err, fs.ErrNotExist):
		return &placeError{fmt.Sprintf("replace %q", final), err}
	}
	back, err := exchange(tree, p.dst)
	if err == nil && recorded {
		if err = os.Rename(p.record, final); err != nil {
			err = errors.Join(err, back())
		}
	}
	if err != nil {
		if kept {
			err = errors.Join(err, os.Rename(aside, final))
		}
		return &placeError{fmt.Sprintf("put the unpacked bundle at %q", p.dst), err}
	}
	dir, err := os.Open(filepath.Dir(p.dst))
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	if err != nil {
		return &placeError{fmt.Sprintf("make %q durable", p.dst), err}
	}
	return nil
}

// exchange renames the tree to dst; what was there gets the tree's old name. back undoes it.
func exchange(tree, dst string) (back func() error, err error) {
	if _, err := os.Lstat(dst); errors.Is(err, fs.ErrNotExist) {
		return func() error { return os.Rename(dst, tree) }, os.Rename(tree, dst)
	}
	err = unix.Renameat2(unix.AT_FDCWD, tree, unix.AT_FDCWD, dst, unix.RENAME_EXCHANGE)
	if err == nil {
		return func() error {
			return unix.Renameat2(unix.AT_FDCWD, tree, unix.AT_FDCWD, dst, unix.RENAME_EXCHANGE)
		}, nil
	}
	if err != unix.EINVAL && err != unix.ENOSYS {
		return nil, err
	}
	// Where the file system cannot exchange names there is a moment without dst.
	aside := tree + ".old"
	if err := os.Rename(dst, aside); err != nil {
		return nil, err
	}
	if err := os.Rename(tree, dst); err != nil {
		return nil, errors.Join(err, os.Rename(aside, dst))
	}
	return func() error {
		return errors.Join(os.Rename(dst, tree), os.Rename(aside, dst))
	}, nil
}

// removeTree removes a directory with all that is in it, also where the modes of an archive bar the way.
func removeTree(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(p, 0o700)
		}
		return nil
	})
	return os.RemoveAll(path)
}
