package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"codedeploy-agent/internal/atomicfile"
	"codedeploy-agent/internal/state"
	"go.uber.org/zap"
)

// What the record of an archive's origin says, as with 2.x.
const (
	originDownloaded = "downloaded"
	originReused     = "archive-reuse"
)

// RecordDownload notes in the deployment's folder that its archive was downloaded.
func RecordDownload(d state.Deployment, info Info) error {
	if err := atomicfile.Write(d.SourceFile(), []byte(originDownloaded), 0o644); err != nil {
		return err
	}
	if info.ETag == "" {
		return atomicfile.Remove(d.ETagFile())
	}
	return atomicfile.Write(d.ETagFile(), []byte(info.ETag), 0o644)
}

// Reuse gives the deployment "to" a copy of the unpacked archive of an earlier deployment of its group, so that nothing
// has to be downloaded. The copy shares blocks with the original where the file system can, and never files: a hook may
// change its own. Only bundle.tar, if it is still there, is linked. The check is asked whether the earlier archive holds
// the AppSpec.
//
// After an error nothing of the copy is left, and the caller downloads the revision instead.
func Reuse(ctx context.Context, from, to state.Deployment, check func(archive string) error, opts UnpackOptions, log *zap.Logger) error {
	err := reusable(from, to, opts)
	if err == nil {
		err = check(from.Archive())
	}
	if err == nil {
		if err = reuse(ctx, from, to, opts, log); err != nil {
			dropReused(to, log)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot reuse the archive of deployment %q: %w", from.ID(), err)
	}
	return nil
}

// reusable tells whether the earlier archive may be used, before anything is touched.
func reusable(from, to state.Deployment, opts UnpackOptions) error {
	if !isReuseID(from.ID()) {
		return errors.New("this is no id of a deployment")
	}
	group := filepath.Dir(to.Dir())
	if from == to || filepath.Dir(from.Dir()) != group {
		return errors.New("it is no earlier deployment of the same group")
	}
	resolved, err := filepath.EvalSymlinks(from.Archive())
	if err != nil {
		return fmt.Errorf("its archive is not on this host any more: %w", withoutPath(err))
	}
	if group, err = filepath.EvalSymlinks(group); err != nil {
		return withoutPath(err)
	}
	if !strings.HasPrefix(resolved, group+"/") {
		return errors.New("its archive lies outside of the group's folder")
	}
	entries, err := os.ReadDir(resolved)
	if err != nil {
		return withoutPath(err)
	}
	if len(entries) == 0 {
		return errors.New("its archive is empty")
	}
	if _, err := os.Lstat(filepath.Join(from.Dir(), AttributesName)); err != nil && !opts.KeepOwners {
		return noForeignOwners(resolved)
	}
	return nil
}

// isReuseID tells whether an id is one that the service gives, as 2.x demands it.
func isReuseID(id string) bool {
	rest, ok := strings.CutPrefix(id, "d-")
	return ok && rest != "" && len(id) <= 64 && strings.Trim(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}

// noForeignOwners refuses an archive that a 1.x agent unpacked when its files belong to others: there is no record of
// the owners beside it, and a private copy would lose them.
func noForeignOwners(archive string) error {
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	return filepath.WalkDir(archive, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return withoutPath(err)
		}
		info, err := e.Info()
		if err != nil {
			return withoutPath(err)
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if ok && (st.Uid != uid || st.Gid != gid || (info.Mode().IsRegular() && st.Mode&0o6022 != 0)) {
			return errors.New("an older agent unpacked it, with owners and modes that a copy would lose")
		}
		return nil
	})
}

func reuse(ctx context.Context, from, to state.Deployment, opts UnpackOptions, log *zap.Logger) error {
	if _, err := CopyDirectory(ctx, from.Archive(), to.Archive(), opts, log); err != nil {
		return err
	}
	if err := copyAttributes(from.Dir(), to.Dir()); err != nil {
		return err
	}
	if err := linkBundle(from, to, log); err != nil {
		return err
	}
	if err := copyETag(from, to); err != nil {
		return err
	}
	return atomicfile.Write(to.SourceFile(), []byte(originReused), 0o644)
}

// linkBundle links bundle.tar, where there is one, in place of an older one. That the file system has no hard links is
// no reason to download the revision again.
func linkBundle(from, to state.Deployment, log *zap.Logger) error {
	if err := os.Remove(to.Bundle()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	info, err := os.Lstat(from.Bundle())
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	if err := os.Link(from.Bundle(), to.Bundle()); err != nil {
		log.Debug("bundle.tar cannot be linked", zap.Error(err))
	}
	return nil
}

func copyETag(from, to state.Deployment) error {
	etag, err := os.ReadFile(from.ETagFile())
	if errors.Is(err, fs.ErrNotExist) {
		return atomicfile.Remove(to.ETagFile())
	}
	if err != nil {
		return err
	}
	return atomicfile.Write(to.ETagFile(), etag, 0o644)
}

// dropReused removes what a failed reuse left.
func dropReused(d state.Deployment, log *zap.Logger) {
	for _, path := range []string{d.Archive(), d.Bundle(), d.ETagFile(), d.SourceFile(), filepath.Join(d.Dir(), AttributesName)} {
		if err := os.RemoveAll(path); err != nil {
			log.Warn("Part of a copy cannot be removed", zap.String("path", path), zap.Error(err))
		}
	}
}
