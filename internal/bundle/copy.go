package bundle

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// CopyDirectory copies the directory src, a Local Directory revision or the archive of another deployment, to dst:
// whole or not at all and with the limits of Unpack, except that the ratio has no meaning. Links stay links, hard
// links become files of their own, times are kept.
//
// With opts.KeepOwners owners and modes are kept as `cp -a` keeps them. Otherwise everything belongs to the agent and
// loses the bits that let others write, setuid and setgid: what the 1.x agents' copy came to. ACLs stay, without leave
// to write; those of an archive let the members' owners run their scripts. There is no record for
// ReadAttributes, and an old one beside dst is removed.
func CopyDirectory(ctx context.Context, src, dst string, opts UnpackOptions, log *zap.Logger) (Summary, error) {
	from, err := filepath.EvalSymlinks(src)
	if err == nil {
		from, err = filepath.Abs(from)
	}
	if err != nil {
		return Summary{}, fmt.Errorf("cannot copy directory %q: %w", src, err)
	}
	if to, err := filepath.Abs(dst); err == nil {
		if inside, err := filepath.EvalSymlinks(filepath.Dir(to)); err == nil && strings.HasPrefix(inside+"/", strings.TrimSuffix(from, "/")+"/") {
			return Summary{}, fmt.Errorf("cannot copy directory %q: the copy would lie inside it, at %q", src, dst)
		}
	}
	p := &place{dst: dst, log: log, whole: true}
	return p.build(ctx, opts, func(ctx context.Context, u *unpacking) error {
		fd, err := openReadable(unix.AT_FDCWD, from, unix.O_DIRECTORY)
		if err != nil {
			return &placeError{fmt.Sprintf("copy directory %q", src), err}
		}
		u.meter = newMeter(opts, 0, u.space)
		c := &copier{unpacking: u, ctx: ctx}
		return c.directory(fd, "")
	})
}

// copier copies a tree through descriptors, so that nothing below src is reached through a link.
type copier struct {
	*unpacking
	ctx context.Context
	buf []byte
}

// openReadable opens a file or directory, never a link. A pipe does not block it.
func openReadable(at int, name string, flags int) (int, error) {
	return retryEINTR(func() (int, error) {
		return unix.Openat(at, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK|flags, 0)
	})
}

// directory copies what is in the directory fd, which it closes.
func (c *copier) directory(fd int, path string) error {
	dir := os.NewFile(uintptr(fd), path)
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return c.explain(path, 0, err)
	}
	slices.Sort(names)
	for _, name := range names {
		if c.ctx.Err() != nil {
			return context.Cause(c.ctx)
		}
		if err := c.entry(fd, joinPath(path, name), name); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) entry(at int, path, name string) error {
	if _, err := c.path(path); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return c.explain(path, 0, err)
	}
	meta := fileMeta{mode: st.Mode & 0o7777, uid: int(st.Uid), gid: int(st.Gid), mtime: st.Mtim}
	kind := st.Mode & modeType
	size := st.Size
	if kind != modeRegular {
		size = 0
	}
	if err := c.meter.entry(size, min(size, st.Blocks*512)); err != nil {
		return err
	}
	var err error
	switch kind {
	case modeDir:
		var fd int
		if fd, err = openReadable(at, name, unix.O_DIRECTORY); err != nil {
			break
		}
		meta.acl = readACL(fd)
		if err = c.makeDir(path, meta); err == nil {
			return c.directory(fd, path)
		}
		_ = unix.Close(fd)
	case modeLink:
		var target string
		if target, err = readLinkAt(at, name); err == nil {
			err = c.makeSymlink(path, target, meta)
		}
	case modeRegular:
		err = c.file(at, path, name, size, meta)
	default:
		return &RefusedError{Member: path, Reason: "is a device, a pipe or a socket, which a bundle may not hold"}
	}
	return c.explain(path, size, err)
}

func (c *copier) file(at int, path, name string, size int64, meta fileMeta) error {
	from, err := openReadable(at, name, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(from) }()
	meta.acl = readACL(from)
	f, err := c.placeFile(path, meta)
	if err != nil {
		return err
	}
	to, err := c.create(&f)
	if err != nil {
		return err
	}
	err = c.content(to, from, size)
	if err == nil {
		err = c.settle(to, &f.meta)
	}
	if cerr := unix.Close(to); err == nil {
		err = cerr
	}
	return err
}

// content copies small files through a buffer and large ones inside the kernel.
func (c *copier) content(to, from int, size int64) error {
	if c.buf == nil {
		c.buf = make([]byte, 256<<10)
	}
	var off int64
	if size > int64(len(c.buf)) {
		if err := kernelCopy(c.ctx, to, from, 0, size); err != nil && err != io.ErrUnexpectedEOF {
			return err
		}
		off = size // it may have grown
	}
	for {
		n, err := retryEINTR(func() (int, error) { return unix.Pread(from, c.buf, off) })
		if n == 0 || err != nil {
			return err
		}
		if err := writeAll(to, c.buf[:n]); err != nil {
			return err
		}
		off += int64(n)
	}
}

// copyStep is how much is copied between two looks at the context.
const copyStep = 8 << 20

// kernelCopy copies n bytes from a place in one file to where the other one stands. A file that ends before is
// io.ErrUnexpectedEOF, with all of it copied.
func kernelCopy(ctx context.Context, to, from int, off, n int64) error {
	var buf []byte
	for n > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var m int
		var err error
		if buf == nil {
			m, err = unix.CopyFileRange(from, &off, to, nil, int(min(n, copyStep)), 0)
			if m == 0 && err == nil || err == unix.EXDEV || err == unix.EINVAL || err == unix.ENOSYS || err == unix.EOPNOTSUPP || err == unix.EPERM {
				buf = make([]byte, 128<<10)
				continue
			}
		} else {
			m, err = unix.Pread(from, buf[:min(n, int64(len(buf)))], off)
			if err == nil && m == 0 {
				return io.ErrUnexpectedEOF
			}
			if err == nil {
				err = writeAll(to, buf[:m])
				off += int64(m)
			}
		}
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		n -= int64(m)
	}
	return nil
}

func readLinkAt(at int, name string) (string, error) {
	buf := make([]byte, pathMax)
	n, err := retryEINTR(func() (int, error) { return unix.Readlinkat(at, name, buf) })
	if err == nil && n == len(buf) {
		err = unix.ENAMETOOLONG
	}
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}
