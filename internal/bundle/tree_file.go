package bundle

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fileMeta is what a file or directory gets besides its content.
type fileMeta struct {
	mode     uint32 // permission bits, with setuid, setgid and sticky
	uid, gid int
	mtime    unix.Timespec
	acl      []byte // nil: none
}

// keeper knows what a new file has without further calls.
type keeper struct {
	uid, gid int  // of every file this process makes
	exact    bool // this thread's umask is 0
}

// newFile is a file to be written whole.
type newFile struct {
	at   *folder
	name string
	data []byte
	meta fileMeta
}

// write makes the file: four calls when nothing is special about it.
func (k keeper) write(f *newFile) error {
	fd, err := k.create(f)
	if err != nil {
		return err
	}
	err = writeAll(fd, f.data)
	if err == nil {
		err = k.settle(fd, &f.meta)
	}
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	return err
}

// create makes an empty file, never through a link and never over something that is there.
func (k keeper) create(f *newFile) (int, error) {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	return retryEINTR(func() (int, error) {
		return unix.Openat(f.at.fd, f.name, flags, f.meta.mode&0o777)
	})
}

// settle gives a written file its owner, its mode and its time. The owner comes before the mode, because a change of
// owner clears setuid, and the time comes last, because a write changes it.
func (k keeper) settle(fd int, m *fileMeta) error {
	if m.uid != k.uid || m.gid != k.gid {
		if err := unix.Fchown(fd, m.uid, m.gid); err != nil {
			return err
		}
	}
	if m.mode&0o7000 != 0 || !k.exact {
		if err := unix.Fchmod(fd, m.mode&0o7777); err != nil {
			return err
		}
	}
	if err := share(fd, m.acl); err != nil {
		return err
	}
	return setFileTime(fd, m.mtime)
}

// setFileTime sets the modification time of an open file. x/sys has this call for names only.
func setFileTime(fd int, mtime unix.Timespec) error {
	times := [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, mtime}
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func setNameTime(at int, name string, mtime unix.Timespec) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, mtime}
	return unix.UtimesNanoAt(at, name, times, unix.AT_SYMLINK_NOFOLLOW)
}

func writeAll(fd int, p []byte) error {
	for len(p) > 0 {
		n, err := unix.Write(fd, p)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

func writeAllAt(fd int, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := unix.Pwrite(fd, p, off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

func retryEINTR(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// openedFile is a file that arrives in pieces, from several batches. Whoever writes the last piece settles it.
type openedFile struct {
	fd       int
	name     string // of the member, for messages
	meta     fileMeta
	length   int64 // when truncate is set
	truncate bool
	left     atomic.Int32
	bad      atomic.Bool
}

// piece is a part of an openedFile.
type piece struct {
	file *openedFile
	data []byte
	off  int64
}

func (k keeper) writePiece(p *piece) error {
	err := writeAllAt(p.file.fd, p.data, p.off)
	if err != nil {
		p.file.bad.Store(true)
	}
	if ferr := p.file.finish(k); err == nil {
		err = ferr
	}
	return err
}

// finish gives up one share of the file.
func (o *openedFile) finish(k keeper) error {
	if o.left.Add(-1) > 0 {
		return nil
	}
	var err error
	if !o.bad.Load() {
		if o.truncate {
			err = unix.Ftruncate(o.fd, o.length)
		}
		if err == nil {
			err = k.settle(o.fd, &o.meta)
		}
	}
	if cerr := unix.Close(o.fd); err == nil {
		err = cerr
	}
	return err
}
