package install

import (
	"context"
	"errors"
	"fmt"
	"os"

	"codedeploy-agent/internal/atomicfile"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// finish puts the records in place and removes what the new tree replaced. Every part of it may run again.
func (r *replay) finish() error {
	r.syncHosts()
	if err := r.publishRecords(); err != nil {
		return err
	}
	r.removeOld()
	return removeTransaction(r.group)
}

// publishRecords gives the waiting records their names. The manifest comes before the pointer: once the pointer names
// the deployment, Done says so.
func (r *replay) publishRecords() error {
	for _, record := range []struct{ waiting, path string }{
		{waitingInstall, r.group.InstallFile()},
		{waitingCleanup, r.group.CleanupFile()},
		{waitingManifest, manifestFile(r.group)},
	} {
		err := os.Rename(r.group.File(record.waiting), record.path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("cannot write the records of the Install: %w", err)
		}
	}
	if err := atomicfile.SyncDir(r.group.Root().Instructions()); err != nil {
		return err
	}
	return r.group.SetLastSuccessful(r.group.Deployment(r.Deployment))
}

// removeOld removes the replaced objects and the empty directories. The new tree is in place: what cannot be removed is
// worth a warning, not a failed deployment.
func (r *replay) removeOld() {
	err := r.eachAtOnce(func(h *hand, _ int, op operation) error {
		if err := h.removeOldOf(op); err != nil && !errors.Is(err, unix.ENOENT) {
			h.log.Warn("a file that was replaced could not be removed", zap.String("path", h.path(op)), zap.Error(err))
		}
		return nil
	})
	err = errors.Join(err, r.each(func(_ int, op operation) error {
		switch op.verb {
		case "rmdir":
			r.removeEmpty(op.name)
		case "unlabel": // as in 1.x it does not matter whether there was such a rule
			_ = hostSELinux.removeLabelRule(context.Background(), op.name)
		}
		return nil
	}))
	if err != nil {
		r.log.Warn("replaced files may be left", zap.Error(err))
	}
}

func (h *hand) removeOldOf(op operation) error {
	if op.verb == "attr" || op.verb == "new" && !h.resume {
		return nil
	}
	fd, err := h.dirOf(op)
	if err != nil {
		return err
	}
	if err := removeAt(fd, h.temp(tempNew, op)); err != nil || op.verb != "swap" {
		return err
	}
	if !h.resume && !h.asides.Load() {
		return nil
	}
	return errors.Join(removeAt(fd, h.temp(tempOld, op)), removeAt(fd, h.temp(tempBackup, op)))
}

// removeEmpty removes a directory if nothing is in it and nobody uses it as a mount point.
func (r *replay) removeEmpty(path string) {
	dir, name := parentOf(path)
	fd, err := r.cache.open(dir)
	if err == nil {
		err = unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
	}
	for _, usual := range []error{unix.ENOTEMPTY, unix.EEXIST, unix.ENOENT, unix.ENOTDIR, unix.EBUSY} {
		if errors.Is(err, usual) {
			return
		}
	}
	if err != nil {
		r.log.Warn("an empty directory could not be removed", zap.String("path", path), zap.Error(err))
	}
}

// syncHosts writes the file systems of the host directories out. A failure is logged only: the kernel keeps trying, and
// there is nothing better to do.
func (r *replay) syncHosts() {
	seen := make(map[uint64]bool)
	for _, h := range r.hosts {
		if seen[h.dev] {
			continue
		}
		seen[h.dev] = true
		if err := syncFileSystem(r.root, h.path); err != nil && !errors.Is(err, unix.ENOENT) {
			r.log.Warn("a file system could not be synced", zap.String("path", h.path), zap.Error(err))
		}
	}
}

func syncFileSystem(r root, path string) error {
	fd, err := r.open(path, unix.O_RDONLY)
	if errors.Is(err, unix.EACCES) {
		unix.Sync()
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return retry(func() error { return unix.Syncfs(fd) })
}
