package bundle

import (
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// folder is a directory of the tree, held open so that names below it are looked up in one step and never through a
// link.
type folder struct {
	fd           int
	path         string
	users        atomic.Int32 // the cache and every batch that will write here; the last one closes it
	newer, older *folder
}

func (f *folder) hold() { f.users.Add(1) }

func (f *folder) release() {
	if f.users.Add(-1) == 0 {
		_ = unix.Close(f.fd)
	}
}

// folderCache keeps the most recently used folders open.
type folderCache struct {
	limit  int
	byPath map[string]*folder
	ends   folder // ends.older is the newest, ends.newer the oldest
}

// folderLimit bounds the descriptors of the cache.
const folderLimit = 512

func newFolderCache() *folderCache {
	c := &folderCache{limit: folderLimit, byPath: make(map[string]*folder, 64)}
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) == nil && r.Cur/4 < uint64(c.limit) {
		c.limit = max(int(r.Cur/4), 8)
	}
	c.ends.newer, c.ends.older = &c.ends, &c.ends
	return c
}

func (c *folderCache) get(path string) *folder {
	f := c.byPath[path]
	if f != nil && c.ends.older != f {
		f.unlink()
		c.link(f)
	}
	return f
}

// put adds an open directory to the cache, which from then on owns it.
func (c *folderCache) put(path string, fd int) *folder {
	if len(c.byPath) >= c.limit {
		c.drop(c.ends.newer)
	}
	f := &folder{fd: fd, path: path}
	f.hold()
	c.byPath[path] = f
	c.link(f)
	return f
}

func (c *folderCache) drop(f *folder) {
	f.unlink()
	delete(c.byPath, f.path)
	f.release()
}

func (c *folderCache) clear() {
	for c.ends.newer != &c.ends {
		c.drop(c.ends.newer)
	}
}

func (c *folderCache) link(f *folder) {
	f.older, f.newer = c.ends.older, &c.ends
	f.older.newer, c.ends.older = f, f
}

func (f *folder) unlink() {
	f.newer.older, f.older.newer = f.older, f.newer
}

// openFolder opens one component as a directory, never through a link.
func openFolder(at int, name string) (int, error) {
	return retryEINTR(func() (int, error) {
		return unix.Openat(at, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
}

// folder opens the directory at a clean path, and makes it and what is missing above it when make is set.
func (t *tree) folder(path string, make bool) (*folder, error) {
	if path == "" {
		return t.root, nil
	}
	if f := t.folders.get(path); f != nil {
		return f, nil
	}
	at, end := t.root, 0
	for i := strings.LastIndexByte(path, '/'); i > 0; i = strings.LastIndexByte(path[:i], '/') {
		if f := t.folders.get(path[:i]); f != nil {
			at, end = f, i+1
			break
		}
	}
	at.hold()
	for {
		next := len(path)
		if i := strings.IndexByte(path[end:], '/'); i >= 0 {
			next = end + i
		}
		fd, err := t.enter(at, path[:next], path[end:next], make)
		at.release()
		if err != nil {
			return nil, err
		}
		at = t.folders.put(strings.Clone(path[:next]), fd)
		if next == len(path) {
			return at, nil
		}
		at.hold()
		end = next + 1
	}
}

// enter opens the directory path, whose base name is name, in the folder at.
func (t *tree) enter(at *folder, path, name string, make bool) (int, error) {
	fd, err := openFolder(at.fd, name)
	if err == unix.ENOENT && t.names.has(path) {
		// A file of this name may still wait to be written.
		if err := t.drain(); err != nil {
			return -1, err
		}
		fd, err = openFolder(at.fd, name)
	}
	if err == unix.ENOENT && make {
		t.names.add(path)
		if err = unix.Mkdirat(at.fd, name, 0o755); err == nil && !t.exact {
			err = unix.Fchmodat(at.fd, name, 0o755, 0)
		}
		if err == nil {
			fd, err = openFolder(at.fd, name)
		}
	}
	switch err {
	case nil:
		return fd, nil
	case unix.ENOTDIR, unix.ELOOP:
		if isLink(at.fd, name) {
			return -1, &throughLinkError{path}
		}
		return -1, &belowFileError{path}
	}
	return -1, err
}

func isLink(at int, name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK
}

// throughLinkError and belowFileError become a RefusedError where the member's name is known.
type throughLinkError struct{ link string }

func (e *throughLinkError) Error() string {
	return "would be written through the link \"" + unpackShorten(e.link) + "\", which an earlier member made"
}

type belowFileError struct{ file string }

func (e *belowFileError) Error() string {
	return "lies below \"" + unpackShorten(e.file) + "\", which an earlier member made a file"
}
