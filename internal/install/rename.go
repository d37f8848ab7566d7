package install

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// How a commit changes names. All of it happens inside one directory, given by its descriptor.

func unsupported(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP)
}

// renameNew gives a staged object its name; a name that is taken is unix.EEXIST.
func renameNew(dirfd int, from, to string) error {
	err := unix.Renameat2(dirfd, from, dirfd, to, unix.RENAME_NOREPLACE)
	if !unsupported(err) {
		return err
	}
	// A hard link fails for a taken name, too. Directories have none: look first.
	if err := unix.Linkat(dirfd, from, dirfd, to, 0); err == nil || errors.Is(err, unix.EEXIST) {
		if err != nil {
			return err
		}
		return unix.Unlinkat(dirfd, from, 0)
	}
	if _, found, err := look(dirfd, to); err != nil || found {
		if found {
			err = unix.EEXIST
		}
		return err
	}
	return unix.Renameat(dirfd, from, dirfd, to)
}

// exchange puts a staged object in the place of another one. The old one is under the temporary name afterwards, or
// under aside where names cannot be exchanged. There is no instant without the name, except on file systems that have
// neither exchange nor hard links, and where a directory is replaced without exchange.
func exchange(dirfd int, staged, name, aside string) (usedAside bool, err error) {
	err = unix.Renameat2(dirfd, staged, dirfd, name, unix.RENAME_EXCHANGE)
	if !unsupported(err) {
		return false, err
	}
	return true, replaceAside(dirfd, staged, name, aside)
}

func replaceAside(dirfd int, staged, name, aside string) error {
	if unix.Linkat(dirfd, name, dirfd, aside, 0) == nil {
		err := unix.Renameat(dirfd, staged, dirfd, name)
		if err == nil {
			return nil
		}
		if unlinkErr := unix.Unlinkat(dirfd, aside, 0); unlinkErr != nil {
			return errors.Join(err, unlinkErr)
		}
		if !errors.Is(err, unix.ENOTDIR) { // a directory does not take the place of something else
			return err
		}
	}
	if err := unix.Renameat(dirfd, name, dirfd, aside); err != nil {
		return err
	}
	if err := unix.Renameat(dirfd, staged, dirfd, name); err != nil {
		return errors.Join(err, unix.Renameat(dirfd, aside, dirfd, name))
	}
	return nil
}

// overwrite puts the content, owner, mode and time of one file into another one that is a mount point and cannot be
// renamed. backup gets a copy of the old one first; it stays until the end.
func overwrite(dirfd int, staged, name, backup string) error {
	if err := copyInto(dirfd, name, backup, unix.O_CREAT|unix.O_EXCL); err != nil {
		return fmt.Errorf("cannot make a backup: %w", err)
	}
	if err := copyInto(dirfd, staged, name, unix.O_TRUNC); err != nil {
		return errors.Join(err, copyInto(dirfd, backup, name, unix.O_TRUNC))
	}
	return nil
}

// copyInto copies a regular file with its owner, mode, ACL and time to another name of the directory.
func copyInto(dirfd int, from, to string, flags int) error {
	src, err := unix.Openat(dirfd, from, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(src) }()
	st, err := lookAt(src)
	if err != nil {
		return err
	}
	if kindOf(&st) != unix.S_IFREG {
		return errors.New("only a regular file can take the place of a mount point")
	}
	dst, err := unix.Openat(dirfd, to, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|flags, 0o600)
	if err != nil {
		return err
	}
	err = copyAll(src, dst, make([]byte, 256<<10))
	if err == nil {
		err = copyAttrs(src, dst)
	}
	if err == nil {
		err = setTimes(dst, st.Mtime.Sec, st.Mtime.Nsec)
	}
	if err == nil {
		err = unix.Fsync(dst)
	}
	return errors.Join(err, unix.Close(dst))
}

func copyAttrs(src, dst int) error {
	a, err := readAttrs(src)
	if err != nil {
		return err
	}
	a.Default, a.Label = nil, nil // files have no default ACL, and the target keeps its label
	return a.set(dst)
}

// removeAt removes whatever has the name, a directory with all that is in it.
func removeAt(dirfd int, name string) error {
	err := unix.Unlinkat(dirfd, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	st, found, lookErr := look(dirfd, name)
	if lookErr != nil || !found || kindOf(&st) != unix.S_IFDIR {
		return errors.Join(err, lookErr)
	}
	if err := emptyDir(dirfd, name); err != nil {
		return err
	}
	return unix.Unlinkat(dirfd, name, unix.AT_REMOVEDIR)
}

// emptyDir removes all that is in a directory. It reads the names again until there are none, because removing while
// reading may skip some.
func emptyDir(dirfd int, name string) error {
	fd, err := unix.Openat(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	for {
		var names []string
		err := eachEntry(fd, make([]byte, 32<<10), func(name []byte, _ uint8) error {
			names = append(names, string(name))
			if len(names) == 1024 {
				return errEnough
			}
			return nil
		})
		if err != nil && err != errEnough {
			return err
		}
		for _, n := range names {
			if err := removeAt(fd, n); err != nil {
				return err
			}
		}
		if len(names) == 0 {
			return nil
		}
		if _, err := unix.Seek(fd, 0, 0); err != nil {
			return err
		}
	}
}

var errEnough = errors.New("enough")
