package bundle

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// uproot removes a directory and all below it. Unlike os.RemoveAll it opens directories that their permissions close
// to an ordinary agent, and it stops at mount points: a hook may have mounted the customer's data there.
func uproot(path string) error {
	parent, err := openToRemove(unix.AT_FDCWD, filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(parent) }()
	return removeAt(parent, filepath.Base(path), filepath.Base(path))
}

// removeAt removes a name from a directory; path is its place for messages. Links are removed, never followed. It
// removes what it can and returns the first error.
func removeAt(at int, name, path string) error {
	err := unix.Unlinkat(at, name, 0)
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case !errors.Is(err, unix.EISDIR):
		return fmt.Errorf("cannot remove %q: %w", path, err)
	}
	dir, err := openToRemove(at, name)
	if err != nil {
		return fmt.Errorf("cannot open %q: %w", path, err)
	}
	err = emptyDirectory(dir, path)
	if err != nil {
		return err
	}
	if err := unix.Unlinkat(at, name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot remove %q: %w", path, err)
	}
	return nil
}

// emptyDirectory removes all names of the directory, and closes it.
func emptyDirectory(fd int, path string) error {
	dir := os.NewFile(uintptr(fd), path)
	defer func() { _ = dir.Close() }()
	if isMountPoint(fd) {
		return fmt.Errorf("a file system is mounted at %q; unmount it", path)
	}
	names, err := dir.Readdirnames(-1)
	for _, name := range names {
		if e := removeAt(fd, name, path+"/"+name); e != nil && err == nil {
			err = e
		}
	}
	return err
}

// openToRemove opens a directory, never through a link, and gives itself the permissions that removing names takes.
func openToRemove(at int, name string) (int, error) {
	const how = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(at, name, how, 0)
	if errors.Is(err, unix.EACCES) {
		handle, pathErr := unix.Openat(at, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if pathErr != nil {
			return -1, err
		}
		defer func() { _ = unix.Close(handle) }()
		if unix.Chmod("/proc/self/fd/"+strconv.Itoa(handle), 0o700) != nil {
			return -1, err
		}
		return unix.Openat(at, name, how, 0)
	}
	var st unix.Stat_t
	if err == nil && at != unix.AT_FDCWD && unix.Fstat(fd, &st) == nil && st.Mode&0o300 != 0o300 {
		_ = unix.Fchmod(fd, 0o700)
	}
	return fd, err
}

func isMountPoint(fd int) bool {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_TYPE, &st)
	return err == nil && st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}
