package bundle

import (
	"bytes"
	"slices"

	"golang.org/x/sys/unix"
)

// dirList remembers what directories get when nothing is made in them any more: about 70 bytes for each, because an
// archive may hold very many.
type dirList struct {
	metas [][]dirMeta // in slabs, which never move
	paths [][]byte
	acls  map[uint32][]byte
	count uint32
}

type dirMeta struct {
	sec      int64
	nsec     int32
	uid, gid uint32
	slab     uint32 // where the path stands
	off, len uint16
	mode     uint16
	chmod    bool // the directory was made with another mode
}

const (
	dirSlab     = 512
	dirPathSlab = 1 << 15 // longer than any path
)

func (l *dirList) add(path string, m fileMeta, chmod bool) {
	if l.count%dirSlab == 0 {
		l.metas = append(l.metas, make([]dirMeta, 0, dirSlab))
	}
	if n := len(l.paths); n == 0 || len(l.paths[n-1])+len(path) > dirPathSlab {
		l.paths = append(l.paths, make([]byte, 0, dirPathSlab))
	}
	if m.acl != nil {
		if l.acls == nil {
			l.acls = make(map[uint32][]byte)
		}
		l.acls[l.count] = m.acl
	}
	last := len(l.paths) - 1
	d := dirMeta{
		sec: m.mtime.Sec, nsec: int32(m.mtime.Nsec), uid: uint32(m.uid), gid: uint32(m.gid), mode: uint16(m.mode), chmod: chmod,
		slab: uint32(last), off: uint16(len(l.paths[last])), len: uint16(len(path)),
	}
	l.paths[last] = append(l.paths[last], path...)
	slab := &l.metas[len(l.metas)-1]
	*slab = append(*slab, d)
	l.count++
}

func (l *dirList) at(i uint32) *dirMeta { return &l.metas[i/dirSlab][i%dirSlab] }

func (l *dirList) path(i uint32) []byte {
	d := l.at(i)
	return l.paths[d.slab][d.off:][:d.len]
}

func (l *dirList) meta(i uint32) fileMeta {
	d := l.at(i)
	return fileMeta{mode: uint32(d.mode), uid: int(d.uid), gid: int(d.gid), mtime: unix.Timespec{Sec: d.sec, Nsec: int64(d.nsec)}, acl: l.acls[i]}
}

// deepestFirst calls f for each directory, for those that came more than once with what came last, and for what lies
// in a directory before the directory itself.
func (l *dirList) deepestFirst(f func(path string, m fileMeta, chmod bool) error) error {
	order := make([]uint32, l.count)
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int {
		if c := bytes.Compare(l.path(b), l.path(a)); c != 0 {
			return c
		}
		return int(b) - int(a)
	})
	for n, i := range order {
		if n > 0 && bytes.Equal(l.path(order[n-1]), l.path(i)) {
			continue
		}
		if err := f(string(l.path(i)), l.meta(i), l.at(i).chmod); err != nil {
			return err
		}
	}
	return nil
}
