package install

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// applyForward installs where old and new do not fit on the disk side by side: like 1.x, the previous deployment's
// files go first, then file after file takes its place. It cannot be taken back. While it runs the cleanup list names
// what both deployments own, so that an Install after a failure finds no conflict in what this one left.
func (p *Plan) applyForward(ctx context.Context, log *zap.Logger) error {
	log.Warn("the old and the new files do not fit on the disk together: files are replaced one by one, and a failure will leave a mixture")
	hosts, err := p.hostDirs()
	if err != nil {
		return err
	}
	tx, err := begin(p.header(), p.in.Group, hosts, p.newLabels())
	if err != nil {
		return err
	}
	defer func() { _ = tx.file.Close() }()
	if err := p.forward(ctx, tx); err != nil {
		err = fmt.Errorf("%w; the disk had no room for the old and the new files together, so the old ones are partly gone", err)
		return errors.Join(err, p.commit(log, false))
	}
	s, err := openScript(p.in.Group)
	if err != nil {
		return err
	}
	defer s.close()
	r := s.replay(log, false)
	defer r.cache.close()
	return r.finish()
}

func (p *Plan) forward(ctx context.Context, tx *transaction) error {
	if err := p.claimBoth(); err != nil {
		return err
	}
	if err := p.removeStale(); err != nil {
		return err
	}
	s := &staging{p: p, id: tx.ID, forward: true}
	if err := s.stage(ctx); err != nil {
		return err
	}
	for i := range p.dirs {
		if err := p.recreate(&p.dirs[i]); err != nil {
			return err
		}
	}
	if err := p.addLabelRules(ctx); err != nil {
		return err
	}
	for _, path := range p.oldLabels() {
		_ = hostSELinux.removeLabelRule(ctx, path)
	}
	return p.writeRecords(tx)
}

// claimBoth adds the new paths to the cleanup list that is there.
func (p *Plan) claimBoth() error {
	g := p.in.Group
	m := manifest{Deployment: p.in.Deployment.ID(), Inherited: p.previous.inherit}
	for i := range int32(p.previous.len()) {
		if path := p.previous.path(i); !listable(path) {
			m.Unlisted = append(m.Unlisted, path)
		}
	}
	sum := newDigest()
	err := writeRecord(g, waitingCleanup, func(w *bufio.Writer) error {
		if err := copyRecord(w, g.CleanupFile()); err != nil {
			return err
		}
		m.Unlisted = append(m.Unlisted, p.writeCleanup(w)...)
		return nil
	}, sum)
	if err != nil {
		return err
	}
	m.Cleanup = digestText(sum)
	err = writeRecord(g, waitingManifest, func(w *bufio.Writer) error {
		b, err := m.encode()
		if err == nil {
			_, err = w.Write(b)
		}
		return err
	}, nil)
	if err != nil {
		return err
	}
	return errors.Join(os.Rename(g.File(waitingCleanup), g.CleanupFile()), os.Rename(g.File(waitingManifest), manifestFile(g)))
}

// copyRecord copies the whole lines of a list.
func copyRecord(w *bufio.Writer, path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	in := bufio.NewReaderSize(f, 64<<10)
	for {
		line, err := readLine(in)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
}

func (p *Plan) removeStale() error {
	for _, s := range p.stale {
		path := p.previous.path(s.entry)
		dir, name := parentOf(path)
		fd, err := p.looking.open(dir)
		if err == nil && !s.isDir {
			err = unix.Unlinkat(fd, name, 0)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("cannot remove %q of the previous deployment: %w", path, err)
		}
	}
	for _, path := range p.emptyDirs() {
		dir, name := parentOf(path)
		if fd, err := p.looking.open(dir); err == nil {
			_ = unix.Unlinkat(fd, name, unix.AT_REMOVEDIR) // it stays when something is in it
		}
	}
	return nil
}

func (p *Plan) recreate(d *dir) error {
	if d.state != dirRecreated {
		return nil
	}
	c, err := p.recreated(d)
	if err != nil || c.empty() {
		return err
	}
	fd, err := p.looking.open(d.path)
	if err == nil {
		err = setDirAttrs(fd, c.New)
	}
	if err != nil {
		return fmt.Errorf("cannot set the attributes of %q: %w", d.path, err)
	}
	return nil
}

// takePlace moves a copied file to its name. When the disk was full, the old file goes first and the copy is made
// again.
func (c *copier) takePlace(copied error, from, to int, name, target string, f *file, d *dir) error {
	full := errors.Is(copied, unix.ENOSPC) || errors.Is(copied, unix.EDQUOT)
	if full || copied == nil && f.action == replace && c.isDir(to, name) {
		if err := removeAt(to, name); err != nil {
			return errors.Join(copied, err)
		}
	}
	if full {
		if err := removeAt(to, target); err != nil {
			return err
		}
		copied = c.copyOne(from, to, name, target, f, d)
	}
	if copied != nil {
		return copied
	}
	err := unix.Renameat(to, target, to, name)
	if errors.Is(err, unix.EBUSY) {
		return errors.Join(copyInto(to, target, name, unix.O_TRUNC), removeAt(to, target))
	}
	return err
}

func (c *copier) isDir(dirfd int, name string) bool {
	st, found, err := look(dirfd, name)
	return err == nil && found && kindOf(&st) == unix.S_IFDIR
}
