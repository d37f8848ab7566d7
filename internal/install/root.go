package install

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// root opens directories of the destination tree: links inside the paths are followed, as in 1.x, but below another
// root than "/" they never lead out of it.
type root struct{ dir string }

// disk is where a path of the plan really lies, for messages and tools.
func (r root) disk(path string) string {
	if r.dir == "" {
		return path
	}
	return filepath.Join(r.dir, path)
}

// open opens the directory at a clean absolute path. flags are added to O_DIRECTORY|O_CLOEXEC; with O_PATH the
// descriptor serves as a starting point only.
func (r root) open(path string, flags int) (int, error) {
	flags |= unix.O_DIRECTORY | unix.O_CLOEXEC
	if r.dir == "" {
		return retryInt(func() (int, error) { return unix.Open(path, flags, 0) })
	}
	top, err := retryInt(func() (int, error) { return unix.Open(r.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(top) }()
	how := unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_IN_ROOT}
	return retryInt(func() (int, error) { return unix.Openat2(top, path, &how) })
}

// dirCache keeps the directory that was opened last: walks come to the same one many times in a row.
type dirCache struct {
	root root
	path string
	fd   int
	used bool
}

func (c *dirCache) open(path string) (int, error) {
	if c.used && c.path == path {
		return c.fd, nil
	}
	c.close()
	fd, err := c.root.open(path, unix.O_PATH)
	if err != nil {
		return -1, err
	}
	c.path, c.fd, c.used = path, fd, true
	return fd, nil
}

func (c *dirCache) close() {
	if c.used {
		_ = unix.Close(c.fd)
		c.used = false
	}
}
