package bundle

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"codedeploy-agent/internal/atomicfile"
	"golang.org/x/sys/unix"
)

// landing is the private file that a download fills. It lies beside its final place, under a name that one deployment
// uses for one download at a time, so that what a crash leaves behind is replaced by the next try.
type landing struct {
	file *os.File
	dst  string
}

func newLanding(dst string) (*landing, error) {
	path := filepath.Join(filepath.Dir(dst), "."+filepath.Base(dst)+".part")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot remove what an earlier download left: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot create the file to download to: %w", err)
	}
	return &landing{file: f, dst: dst}, nil
}

// restart empties the file.
func (l *landing) restart() error {
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	_, err := l.file.Seek(0, 0)
	return err
}

// reserve takes the disk space for size bytes, asking makeRoom once (it may be nil) when there is too little.
func (l *landing) reserve(size int64, makeRoom func(bytes int64)) error {
	err := l.allocate(size)
	if errors.Is(err, unix.ENOSPC) && makeRoom != nil {
		makeRoom(size)
		err = l.allocate(size)
	}
	switch {
	case errors.Is(err, unix.ENOSPC):
		return l.tooSmall(size)
	case errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("it has %s, more than the disk quota allows in %q", byteText(size), filepath.Dir(l.dst))
	case errors.Is(err, unix.EFBIG):
		return fmt.Errorf("it has %s, more than a file may have in %q", byteText(size), filepath.Dir(l.dst))
	}
	return err
}

func (l *landing) tooSmall(size int64) error {
	place := filepath.Dir(l.dst)
	if free, err := l.free(); err == nil {
		return fmt.Errorf("it has %s, and only %s are free in %q; free some space, or keep fewer revisions (max_revisions)",
			byteText(size), byteText(free), place)
	}
	return fmt.Errorf("the disk that holds %q is full; free some space, or keep fewer revisions (max_revisions)", place)
}

// allocate checks the free space before it asks for it: a file system that fills up half way hurts everybody on it.
func (l *landing) allocate(size int64) error {
	if size <= 0 {
		return nil
	}
	if free, err := l.free(); err == nil && size > free {
		return unix.ENOSPC
	}
	if l.onTmpfs() {
		return l.file.Truncate(size)
	}
	var err error
	for range 100 { // signals interrupt long allocations
		if err = unix.Fallocate(int(l.file.Fd()), 0, 0, size); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINTR) {
		return l.file.Truncate(size)
	}
	return err
}

// onTmpfs tells whether memory holds the file: there, taking all pages beforehand is slower than taking each with the
// bytes that come.
func (l *landing) onTmpfs() bool {
	var s unix.Statfs_t
	return unix.Fstatfs(int(l.file.Fd()), &s) == nil && s.Type == unix.TMPFS_MAGIC
}

const landingReserve = 16 << 20

// free is how many bytes a download may take.
func (l *landing) free() (int64, error) {
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(l.file.Fd()), &s); err != nil {
		return 0, err
	}
	free := s.Bavail
	if os.Geteuid() == 0 {
		free = s.Bfree
	}
	// The rest is for the agent itself, which has to record and report that the disk is full.
	kept := min(s.Blocks/64, uint64(landingReserve/s.Bsize))
	if free < kept {
		return 0, nil
	}
	return int64(free-kept) * s.Bsize, nil
}

// commit gives the file its final name, whole and, when sync is set, safe from a power loss.
func (l *landing) commit(size int64, sync bool) error {
	if err := l.file.Truncate(size); err != nil {
		return err
	}
	if sync {
		if err := l.file.Sync(); err != nil {
			return fmt.Errorf("cannot write the bundle to the disk: %w", err)
		}
	}
	if err := os.Rename(l.file.Name(), l.dst); err != nil {
		return err
	}
	if err := l.file.Close(); err != nil {
		return err
	}
	if sync {
		return atomicfile.SyncDir(filepath.Dir(l.dst))
	}
	return nil
}

// discard removes the file unless it has been committed.
func (l *landing) discard() {
	if l.file.Close() == nil { // committed files are closed
		_ = os.Remove(l.file.Name())
	}
}

// byteText returns a size as people read it.
func byteText(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1023.95 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}
