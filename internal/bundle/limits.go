package bundle

import (
	"errors"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The limits' configuration keys and generous defaults.
const (
	limitKeyBytes   = "archive_max_bytes"
	limitKeyEntries = "archive_max_entries"
	limitKeyRatio   = "archive_max_ratio"

	// DefaultMaxBytes, DefaultMaxEntries and DefaultMaxRatio hold where UnpackOptions has 0.
	DefaultMaxBytes   = 64 << 30
	DefaultMaxEntries = 1_000_000
	DefaultMaxRatio   = 200
)

// ratioFloor is what an archive may unpack to whatever its own size: small archives of zeros harm nobody.
const ratioFloor = 256 << 20

// meter counts what an archive unpacks to and stops it at the limits and at the end of the free space.
type meter struct {
	maxBytes, maxEntries, maxRatio int64
	archive                        int64 // size of the archive, 0 when a ratio means nothing

	entries, bytes int64
	space          *spaceWatch
}

func newMeter(opts UnpackOptions, archive int64, space *spaceWatch) *meter {
	m := &meter{maxBytes: opts.MaxBytes, maxEntries: opts.MaxEntries, maxRatio: opts.MaxRatio, archive: archive, space: space}
	if m.maxBytes <= 0 {
		m.maxBytes = DefaultMaxBytes
	}
	if m.maxEntries <= 0 {
		m.maxEntries = DefaultMaxEntries
	}
	if m.maxRatio <= 0 {
		m.maxRatio = DefaultMaxRatio
	}
	return m
}

// entry counts one more member of the given size before anything of it is written. Stored is how much of it
// takes space on the disk: less than size for a sparse file.
func (m *meter) entry(size, stored int64) error {
	m.entries++
	if m.entries > m.maxEntries {
		return &LimitError{Key: limitKeyEntries, Limit: m.maxEntries}
	}
	if err := m.add(size); err != nil {
		return err
	}
	if m.space == nil {
		return nil // the whole was looked at before
	}
	return m.space.take(stored)
}

// add counts bytes that come out of the archive.
func (m *meter) add(n int64) error {
	if n > m.maxBytes-m.bytes {
		return &LimitError{Key: limitKeyBytes, Limit: m.maxBytes}
	}
	m.bytes += n
	return m.ratio(m.bytes)
}

func (m *meter) ratio(bytes int64) error {
	if m.archive > 0 && bytes > ratioFloor && bytes/m.maxRatio > m.archive {
		return &LimitError{Key: limitKeyRatio, Limit: m.maxRatio}
	}
	return nil
}

// spaceWatch knows how much room the file system has and asks again now and then, because others write there, too.
type spaceWatch struct {
	fd  int
	dir string

	taken     int64 // since the last look, with what may not have reached the disk yet
	files     int64
	room      int64 // at the last look
	inodes    int64 // -1: the file system makes them as needed
	blockSize int64
	reserve   int64
}

// spaceStep is how much is unpacked between two looks at the free space.
const (
	spaceStep      = 8 << 20
	spaceStepFiles = 2048
	spaceReserve   = 16 << 20
)

func newSpaceWatch(fd int, dir string) *spaceWatch {
	w := &spaceWatch{fd: fd, dir: dir}
	w.look()
	return w
}

func (w *spaceWatch) look() {
	w.taken, w.files = 0, 0
	var st unix.Statfs_t
	if err := unix.Fstatfs(w.fd, &st); err != nil || st.Blocks == 0 {
		w.room, w.inodes, w.blockSize = 1<<62, -1, 1 // nothing known: the writes will tell
		return
	}
	w.blockSize = max(int64(st.Frsize), int64(st.Bsize), 1)
	unit := int64(st.Frsize)
	if unit == 0 {
		unit = int64(st.Bsize)
	}
	free := st.Bavail
	if unix.Geteuid() == 0 {
		free = st.Bfree
	}
	w.room = int64(free) * unit
	w.inodes = -1
	if st.Files > 0 {
		w.inodes = int64(st.Ffree)
	}
	// What the agent needs to report the failure and to record it.
	w.reserve = min(spaceReserve, int64(st.Blocks)*unit/64)
}

// whole demands room for everything before anything is written.
func (w *spaceWatch) whole(bytes, entries int64) error {
	if w.inodes >= 0 && entries > w.inodes {
		return &SpaceError{FileSystem: unpackMountPoint(w.dir), NeedEntries: entries, FreeEntries: w.inodes}
	}
	if bytes > w.room-w.reserve {
		return w.short(bytes + w.reserve)
	}
	return nil
}

// take accounts for one more file of n bytes.
func (w *spaceWatch) take(n int64) error {
	need := (n + w.blockSize - 1) / w.blockSize * w.blockSize
	if w.taken+need > min(spaceStep, (w.room-w.reserve)/2) || w.files >= spaceStepFiles {
		w.look()
		if need > w.room-w.reserve {
			return w.short(need + w.reserve)
		}
		if w.inodes == 0 {
			return &SpaceError{FileSystem: unpackMountPoint(w.dir), NeedEntries: 1}
		}
	}
	w.taken += need
	w.files++
	return nil
}

func (w *spaceWatch) short(need int64) error {
	return &SpaceError{FileSystem: unpackMountPoint(w.dir), NeedBytes: need, FreeBytes: w.room}
}

// explain turns the kernel's "no space" into an error that says where and how much.
func (w *spaceWatch) explain(err error, need int64) error {
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return err
	}
	w.look()
	if w.inodes == 0 || (w.inodes > 0 && w.inodes < 16 && w.room > need) {
		return &SpaceError{FileSystem: unpackMountPoint(w.dir), NeedEntries: w.inodes + 1, FreeEntries: w.inodes}
	}
	return w.short(max(need, w.room) + w.blockSize)
}

// unpackMountPoint is the top directory of the file system that dir lies on.
func unpackMountPoint(dir string) string {
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return dir
	}
	for dir != "/" {
		up := filepath.Dir(dir)
		var above unix.Stat_t
		if unix.Stat(up, &above) != nil || above.Dev != st.Dev {
			return dir
		}
		dir = up
	}
	return dir
}
