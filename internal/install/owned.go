package install

import (
	"hash/maphash"
	"slices"
)

// owned is the set of paths that a deployment made, in creation order. A path is kept as its directory's number and its
// name, which costs about two dozen bytes beside the name.
type owned struct {
	dirs    []string
	dirOf   map[string]int32
	seed    maphash.Seed
	names   []byte
	entries []ownedEntry
	table   []int32 // open addressing: 1 + entry, 0 where free

	labels  []string // SELinux rules that were added, by path
	inherit []string // directories of still earlier deployments
}

type ownedEntry struct {
	end   uint32 // of the name in names
	dir   int32
	flags uint8
}

const (
	flagWished uint8 = 1 << iota // the new deployment has it, too
	flagShared                   // another deployment group lists it, too
)

func newOwned() *owned {
	return &owned{dirOf: make(map[string]int32), seed: maphash.MakeSeed(), table: make([]int32, 64)}
}

// makeRoom prepares for a number of paths and the bytes of their names.
func (o *owned) makeRoom(paths, names int) {
	o.entries = slices.Grow(o.entries, paths)
	o.names = slices.Grow(o.names, names)
	size := len(o.table)
	for 3*paths > 2*size {
		size *= 2
	}
	if size > len(o.table) {
		o.rehash(size)
	}
}

func (o *owned) len() int { return len(o.entries) }

func (o *owned) name(i int32) []byte {
	start := uint32(0)
	if i > 0 {
		start = o.entries[i-1].end
	}
	return o.names[start:o.entries[i].end]
}

func (o *owned) dir(i int32) string { return o.dirs[o.entries[i].dir] }

func (o *owned) path(i int32) string { return join(o.dir(i), string(o.name(i))) }

func (o *owned) has(i int32, flag uint8) bool { return o.entries[i].flags&flag != 0 }

func (o *owned) mark(i int32, flag uint8) { o.entries[i].flags |= flag }

// add appends a clean absolute path; one that is there already is left where it is.
func (o *owned) add(path string) {
	dir, name := parentOf(path)
	d, ok := o.dirOf[dir]
	if !ok {
		d = int32(len(o.dirs))
		dir = string([]byte(dir)) // not the whole line
		o.dirs = append(o.dirs, dir)
		o.dirOf[dir] = d
	}
	if 3*(len(o.entries)+1) > 2*len(o.table) {
		o.rehash(2 * len(o.table))
	}
	slot, i := o.find(d, name)
	if i >= 0 {
		return
	}
	o.names = append(o.names, name...)
	o.entries = append(o.entries, ownedEntry{end: uint32(len(o.names)), dir: d})
	o.table[slot] = int32(len(o.entries))
}

// lookup returns the entry of a path, or -1.
func (o *owned) lookup(path string) int32 {
	dir, name := parentOf(path)
	return o.lookupIn(dir, name)
}

// lookupIn returns the entry of a name in a directory, or -1.
func (o *owned) lookupIn(dir, name string) int32 {
	d, ok := o.dirOf[dir]
	if !ok {
		return -1
	}
	_, i := o.find(d, name)
	return i
}

func (o *owned) find(dir int32, name string) (slot int, entry int32) {
	mask := len(o.table) - 1
	for slot = o.hash(dir, name) & mask; o.table[slot] != 0; slot = (slot + 1) & mask {
		if i := o.table[slot] - 1; o.entries[i].dir == dir && string(o.name(i)) == name {
			return slot, i
		}
	}
	return slot, -1
}

func (o *owned) hash(dir int32, name string) int {
	return int(maphash.String(o.seed, name) + uint64(dir)*0x9e3779b97f4a7c15>>8)
}

func (o *owned) rehash(size int) {
	o.table = make([]int32, size)
	mask := len(o.table) - 1
	for i := range o.entries {
		slot := o.hash(o.entries[i].dir, string(o.name(int32(i)))) & mask
		for o.table[slot] != 0 {
			slot = (slot + 1) & mask
		}
		o.table[slot] = int32(i) + 1
	}
}
