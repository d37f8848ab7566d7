package bundle

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"codedeploy-agent/internal/state"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Policy says how many revisions of a deployment group stay on the disk. A limit of 0 does not exist.
type Policy struct {
	// Revisions is how many stay, the one about to be downloaded included (max_revisions).
	Revisions int
	// Bytes is how much disk space those of earlier deployments may take (max_revisions_bytes).
	Bytes int64
	// Age is how long ago a deployment's folder last changed (max_revisions_age).
	Age time.Duration
	// Current is the deployment about to be downloaded. It does not count as an earlier one, and it stays.
	Current state.Deployment
	// Protected stay, too: deployments whose hooks run. The last successful one need not be named.
	Protected []state.Deployment
}

// Doomed are the paths of folders that may be removed, the first one first.
type Doomed []string

// doomedPrefix marks a folder whose removal has begun. No deployment's id begins with a dot.
const doomedPrefix = ".removed-"

// revision is the folder of an earlier deployment.
type revision struct {
	path    string
	changed time.Time
	kept    bool
	bytes   int64
}

// Retain chooses which earlier deployments of the group are to go, oldest first, and removes nothing. It is asked before
// a download and heeded after its success, so that a deployment that fails takes nothing away.
//
// As with the 1.x agents the number is made up from all folders, and then the oldest ones that may go do go: the last
// successful deployment is passed over, and a younger one goes in its place. Folders that an earlier removal did not
// finish come first.
func Retain(group state.Group, keep Policy) (Doomed, error) {
	revisions, doomed, err := listRevisions(group, keep)
	if err != nil {
		return nil, err
	}
	surplus := 0
	if keep.Revisions > 0 {
		surplus = len(revisions) - keep.Revisions + 1
	}
	free := slices.DeleteFunc(slices.Clone(revisions), func(r revision) bool { return r.kept })
	slices.SortStableFunc(free, func(a, b revision) int {
		return cmp.Or(a.changed.Compare(b.changed), cmp.Compare(a.path, b.path))
	})
	excess := excessBytes(revisions, keep.Bytes)
	for _, r := range free {
		old := keep.Age > 0 && time.Since(r.changed) > keep.Age
		if surplus <= 0 && excess <= 0 && !old {
			break // all that follow are younger
		}
		doomed = append(doomed, r.path)
		surplus--
		excess -= r.bytes
	}
	return doomed, nil
}

// listRevisions returns the folders of earlier deployments, and those whose removal was not finished.
func listRevisions(group state.Group, keep Policy) (revisions []revision, unfinished Doomed, err error) {
	entries, err := os.ReadDir(group.Dir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cannot list the revisions on this host: %w", err)
	}
	kept, err := keptNames(group, keep)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		path := filepath.Join(group.Dir(), e.Name())
		switch info, err := e.Info(); {
		case err != nil || !info.IsDir(): // gone, or a link or a file: not ours
		case strings.HasPrefix(e.Name(), doomedPrefix):
			unfinished = append(unfinished, path)
		case strings.HasPrefix(e.Name(), "."), e.Name() == keep.Current.ID() && keep.Current != (state.Deployment{}):
		default:
			r := revision{path: path, changed: info.ModTime(), kept: kept[e.Name()]}
			if keep.Bytes > 0 {
				r.bytes = diskUsage(path)
			}
			revisions = append(revisions, r)
		}
	}
	return revisions, unfinished, nil
}

// keptNames are the folders that must not go. The pointer may lead to a root that was moved since, so names count.
func keptNames(group state.Group, keep Policy) (map[string]bool, error) {
	kept := map[string]bool{}
	for _, d := range keep.Protected {
		kept[d.ID()] = true
	}
	last, ok, err := group.LastSuccessful()
	if err != nil {
		return nil, err
	}
	if ok {
		kept[last.ID()] = true
	}
	return kept, nil
}

func excessBytes(revisions []revision, limit int64) int64 {
	if limit <= 0 {
		return 0
	}
	sum := -limit
	for _, r := range revisions {
		sum += r.bytes
	}
	return sum
}

// diskUsage is the space that a tree takes. Blocks that it shares with others count, because their removal is what frees
// them at last.
func diskUsage(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // what cannot be read is left out
		}
		if info, err := e.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				bytes += st.Blocks * 512
			}
		}
		return nil
	})
	return bytes
}

// Remove removes the folders. One that cannot be removed is a warning in the log, with its path; it comes first the next
// time.
func (d Doomed) Remove(log *zap.Logger) { d.RemoveUntil(func() bool { return false }, log) }

// RemoveUntil removes folders, the first one first, for as long as enough says no, and returns those that are left.
func (d Doomed) RemoveUntil(enough func() bool, log *zap.Logger) Doomed {
	for i, path := range d {
		if enough() {
			return d[i:]
		}
		if err := removeRevision(path); err != nil {
			log.Warn("An old revision cannot be removed", zap.String("path", path), zap.Error(err))
			continue
		}
		log.Info("Removed an old revision", zap.String("path", path))
	}
	return nil
}

// removeRevision gives the folder another name before it removes it: a crash in between must not leave half of a
// revision that looks like a whole one.
func removeRevision(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return withoutPath(err)
	}
	if !info.IsDir() {
		return errors.New("it is no directory")
	}
	dir, name := filepath.Split(path)
	if !strings.HasPrefix(name, doomedPrefix) {
		hidden, err := hide(dir, name)
		if err != nil {
			return err
		}
		path = hidden
	}
	return uproot(path)
}

func hide(dir, name string) (string, error) {
	short := name[max(0, len(name)-200):] // so that the new name is not too long
	for i := range 1000 {
		hidden := filepath.Join(dir, doomedPrefix+short)
		if i > 0 {
			hidden += fmt.Sprintf("-%d", i)
		}
		// An ordinary rename goes over an empty directory, which is right here, and over nothing else.
		err := unix.Rename(filepath.Join(dir, name), hidden)
		if !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENOTEMPTY) {
			return hidden, err
		}
	}
	return "", errors.New("too many earlier removals were not finished")
}
