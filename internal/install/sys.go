package install

import (
	"bytes"
	"encoding/binary"
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// retry repeats a system call that a signal interrupted: the runtime's own signals do that on FUSE and NFS.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

func retryInt(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != unix.EINTR {
			return n, err
		}
	}
}

// lookMask is what the plan wants to know of a target; the attributes come with every answer.
const lookMask = unix.STATX_TYPE | unix.STATX_MODE | unix.STATX_INO | unix.STATX_UID | unix.STATX_GID |
	unix.STATX_SIZE | unix.STATX_BLOCKS | unix.STATX_MTIME | unix.STATX_NLINK

// look reads the attributes of a name without following a link; found is false when there is nothing.
func look(dirfd int, name string) (st unix.Statx_t, found bool, err error) {
	err = retry(func() error { return unix.Statx(dirfd, name, unix.AT_SYMLINK_NOFOLLOW, lookMask, &st) })
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return st, false, nil
	}
	return st, err == nil, err
}

// lookAt reads the attributes of an open file.
func lookAt(fd int) (st unix.Statx_t, err error) {
	err = retry(func() error { return unix.Statx(fd, "", unix.AT_EMPTY_PATH, lookMask, &st) })
	return st, err
}

func kindOf(st *unix.Statx_t) uint16   { return st.Mode & unix.S_IFMT }
func inodeOf(st *unix.Statx_t) inode   { return inode{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino} }
func deviceOf(st *unix.Statx_t) uint64 { return unix.Mkdev(st.Dev_major, st.Dev_minor) }
func frozen(st *unix.Statx_t) bool {
	return st.Attributes&(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND) != 0
}
func isMountPoint(st *unix.Statx_t) bool { return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 }

// setTimes sets the modification time of an open file; the access time is left alone.
func setTimes(fd int, sec int64, nsec uint32) error {
	ts := [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: sec, Nsec: int64(nsec)}}
	// With a nil path utimensat means the descriptor itself; the x/sys wrapper cannot say that.
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&ts[0])), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// setTimesAt sets the modification time of a name below a directory; "." is the directory itself.
func setTimesAt(dirfd int, name string, sec int64, nsec uint32) error {
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: sec, Nsec: int64(nsec)}}
	return unix.UtimesNanoAt(dirfd, name, ts, unix.AT_SYMLINK_NOFOLLOW)
}

// eachEntry calls f for the entries of a directory, "." and ".." left out, in the order of the file system.
func eachEntry(fd int, buf []byte, f func(name []byte, kind uint8) error) error {
	for {
		n, err := retryInt(func() (int, error) { return unix.Getdents(fd, buf) })
		if err != nil || n <= 0 {
			return err
		}
		for rest := buf[:n]; len(rest) > 0; {
			size := binary.NativeEndian.Uint16(rest[16:])
			kind, name := rest[18], rest[19:size]
			rest = rest[size:]
			if i := bytes.IndexByte(name, 0); i >= 0 {
				name = name[:i]
			}
			if string(name) == "." || string(name) == ".." {
				continue
			}
			if err := f(name, kind); err != nil {
				return err
			}
		}
	}
}

// readLink returns the text of a symbolic link.
func readLink(dirfd int, name string) (string, error) {
	for size := 256; ; size *= 4 {
		buf := make([]byte, size)
		n, err := unix.Readlinkat(dirfd, name, buf)
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}
