package install

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"codedeploy-agent/internal/exactmode"
)

const (
	workers   = 2
	batchSize = 64
	// copyBuffer is read and written in one go; larger files are copied by the kernel, which may share their blocks.
	copyBuffer = 256 << 10
)

// batches hands out the files of the plan, up to 64 of one run at a time.
type batches struct {
	mu   sync.Mutex
	p    *Plan
	run  int
	next int32 // within the run
	err  error
}

func (b *batches) take() (r *run, first, end int32, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.err == nil && b.run < len(b.p.runs) {
		r = &b.p.runs[b.run]
		if b.next == r.count {
			b.run, b.next = b.run+1, 0
			continue
		}
		first = r.first + b.next
		b.next = min(b.next+batchSize, r.count)
		return r, first, r.first + b.next, true
	}
	return nil, 0, 0, false
}

func (b *batches) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
}

// copyFiles stages the files by a few workers. The first error ends them all.
func (s *staging) copyFiles(ctx context.Context) error {
	b := &batches{p: s.p}
	var wg sync.WaitGroup
	for range min(workers, 1+len(s.p.files)/batchSize) {
		wg.Go(func() { exactmode.Run(func(noUmask bool) { s.copyBatches(ctx, b, noUmask) }) })
	}
	wg.Wait()
	return b.err
}

func (s *staging) copyBatches(ctx context.Context, b *batches, noUmask bool) {
	c := copier{s: s, to: dirCache{root: s.p.root}, buf: make([]byte, copyBuffer), noUmask: noUmask}
	defer c.from.close()
	defer c.to.close()
	for {
		r, first, end, ok := b.take()
		if !ok {
			return
		}
		err := ctx.Err()
		if err == nil {
			err = c.copyBatch(r, first, end)
		}
		if err != nil {
			b.fail(err)
			return
		}
	}
}

// copier is one worker.
type copier struct {
	s       *staging
	from    dirCache
	to      dirCache
	buf     []byte
	noUmask bool
}

func (c *copier) copyBatch(r *run, first, end int32) error {
	p := c.s.p
	from, err := c.from.open(filepath.Join(p.archive, r.src))
	if err != nil {
		return fmt.Errorf("cannot open %q of the bundle: %w", "/"+r.src, err)
	}
	d := &p.dirs[r.dir]
	to, err := c.to.open(c.s.place(r.dir))
	if err != nil {
		return fmt.Errorf("cannot open %q: %w", p.root.disk(d.path), err)
	}
	for i := first; i < end; i++ {
		f := &p.files[i]
		if f.action == retain {
			continue
		}
		name := p.name(f)
		target := name
		if d.onDisk() || c.s.forward {
			target = temp(c.s.id, tempNew, tag('f', i))
		}
		err := c.copyOne(from, to, name, target, f, d)
		if c.s.forward {
			err = c.takePlace(err, from, to, name, target, f, d)
		}
		if err != nil {
			return fmt.Errorf("cannot install %q: %w", p.path(r.dir, f), err)
		}
	}
	return nil
}

func (c *copier) copyOne(from, to int, name, target string, f *file, d *dir) error {
	if f.isLink() {
		return c.copyLink(from, to, name, target, f, d)
	}
	return c.copyFile(from, to, name, target, f, d)
}

func (c *copier) copyLink(from, to int, name, target string, f *file, d *dir) error {
	text, err := readLink(from, name)
	if err != nil {
		return err
	}
	if err := unix.Symlinkat(text, to, target); err != nil {
		return err
	}
	if f.rule != 0 { // a link has an owner, but neither mode nor ACL
		r := &c.s.p.rules[f.rule-1]
		if r.uid >= 0 || r.gid >= 0 {
			if err := unix.Fchownat(to, target, r.uid, r.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return err
			}
		}
	}
	if f.action == create && d.onDisk() {
		st, _, err := look(to, target)
		if err != nil {
			return err
		}
		f.ino = st.Ino
	}
	return nil
}

func (c *copier) copyFile(from, to int, name, target string, f *file, d *dir) (err error) {
	src, err := retryInt(func() (int, error) {
		return unix.Openat(from, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(src) }()
	w := c.s.p.wish(f)
	dst, err := retryInt(func() (int, error) {
		return unix.Openat(to, target, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, w.mode&0o777)
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(dst)) }()
	if f.size > copyBuffer {
		err = copyLarge(src, dst, c.buf)
	} else {
		err = copySmall(src, dst, c.buf, f.size)
	}
	if err != nil {
		return err
	}
	if err := c.setAttrs(dst, to, f, d, w); err != nil {
		return err
	}
	if err := setTimes(dst, f.mtime, f.mtimeNs); err != nil {
		return err
	}
	if f.action == create && d.onDisk() {
		var st unix.Stat_t
		if err := unix.Fstat(dst, &st); err != nil {
			return err
		}
		f.ino = st.Ino
	}
	return nil
}

// copySmall copies what fits into the buffer: one read, one write.
func copySmall(src, dst int, buf []byte, size int64) error {
	n, err := retryInt(func() (int, error) { return unix.Read(src, buf) })
	if err != nil {
		return err
	}
	if err := writeAll(dst, buf[:n]); err != nil || int64(n) == size {
		return err
	}
	return copyAll(src, dst, buf) // it is not as long as it was
}

// copyLarge lets the kernel copy, and copies itself where the kernel cannot.
func copyLarge(src, dst int, buf []byte) error {
	for copied := false; ; copied = true {
		n, err := retryInt(func() (int, error) { return unix.CopyFileRange(src, nil, dst, nil, 1<<30, 0) })
		switch {
		case err == nil && n == 0 && copied:
			return nil
		case err == nil && n > 0:
		case copied && !unsupported(err):
			return err
		case err == nil, unsupported(err), errors.Is(err, unix.EXDEV), errors.Is(err, unix.EPERM):
			return copyAll(src, dst, buf)
		default:
			return err
		}
	}
}

// copyAll copies from the current position to the end.
func copyAll(src, dst int, buf []byte) error {
	for {
		n, err := retryInt(func() (int, error) { return unix.Read(src, buf) })
		if err != nil || n == 0 {
			return err
		}
		if err := writeAll(dst, buf[:n]); err != nil {
			return err
		}
	}
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := retryInt(func() (int, error) { return unix.Write(fd, b) })
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
