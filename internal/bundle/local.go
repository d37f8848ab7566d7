package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// copyLocal brings an archive on this host into l, sharing its blocks where the file system can.
func copyLocal(ctx context.Context, path string, l *landing, opts FetchOptions) (Info, error) {
	// Not to wait for a writer where the path is a named pipe.
	src, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return Info{}, withoutPath(err)
	}
	defer func() { _ = src.Close() }()
	info, err := src.Stat()
	if err != nil {
		return Info{}, withoutPath(err)
	}
	size := info.Size()
	switch {
	case info.IsDir():
		return Info{}, errors.New("it is a directory; deploy it as one, or give the path of an archive")
	case !info.Mode().IsRegular():
		return Info{}, errors.New("it is no regular file")
	}
	if err := opts.checkSize(size); err != nil {
		return Info{}, err
	}
	if unix.IoctlFileClone(int(l.file.Fd()), int(src.Fd())) == nil {
		return Info{Size: size}, nil
	}
	if err := l.reserve(size, opts.MakeRoom); err != nil {
		return Info{}, err
	}
	return Info{Size: size}, copyBytes(ctx, l.file, src, size)
}

// copyBytes copies in steps, so that a cancelled ctx is noticed. os.File copies within the kernel.
func copyBytes(ctx context.Context, dst, src *os.File, size int64) error {
	const step = 64 << 20
	for left := size; left > 0; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := io.CopyN(dst, src, min(left, step))
		left -= n
		if err == io.EOF {
			return errors.New("it became shorter while it was being read")
		}
		if err != nil {
			return withoutPath(err)
		}
	}
	return nil
}

// LinkLocal makes dst a symbolic link to the archive at location, as codedeploy-local of 1.x does. What was at dst is
// replaced.
func LinkLocal(location, dst string) error {
	path, err := filepath.Abs(location)
	if err != nil {
		return fmt.Errorf("cannot link %q: %w", location, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("cannot use the bundle %q: %w", location, withoutPath(err))
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("cannot use the bundle %q: it is no regular file", location)
	}
	temporary := filepath.Join(filepath.Dir(dst), "."+filepath.Base(dst)+".part")
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot link %q: %w", location, err)
	}
	if err := os.Symlink(path, temporary); err != nil {
		return fmt.Errorf("cannot link %q: %w", location, err)
	}
	if err := os.Rename(temporary, dst); err != nil {
		_ = os.Remove(temporary)
		return fmt.Errorf("cannot link %q: %w", location, err)
	}
	return nil
}

// withoutPath drops the path from an error whose sentence names it already.
func withoutPath(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
