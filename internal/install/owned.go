package install

import (
	"hash/maphash"
)

// owned is the set of paths that a deployment made, in creation order. It costs about a dozen bytes a path beside the
// path itself.
type owned struct {
	seed    maphash.Seed
	paths   []byte
	ends    []uint32 // where each path ends in paths
	flags   []uint8
	table   []int32  // open addressing: 1 + entry, 0 where free
	labels  []string // SELinux rules that were added, by path
	inherit []string // directories of still earlier deployments
}

const (
	flagWished uint8 = 1 << iota // the new deployment has it, too
	flagShared                   // another deployment group lists it, too
)

func newOwned() *owned { return &owned{seed: maphash.MakeSeed(), table: make([]int32, 64)} }

func (o *owned) len() int { return len(o.ends) }

func (o *owned) path(i int32) string {
	start := uint32(0)
	if i > 0 {
		start = o.ends[i-1]
	}
	return string(o.paths[start:o.ends[i]])
}

func (o *owned) equals(i int32, path string) bool {
	start := uint32(0)
	if i > 0 {
		start = o.ends[i-1]
	}
	return string(o.paths[start:o.ends[i]]) == path
}

// add appends a clean absolute path; one that is there already is left where it is.
func (o *owned) add(path string) {
	if 2*(len(o.ends)+1) > len(o.table) {
		o.grow()
	}
	slot, i := o.find(path)
	if i >= 0 {
		return
	}
	o.paths = append(o.paths, path...)
	o.ends = append(o.ends, uint32(len(o.paths)))
	o.flags = append(o.flags, 0)
	o.table[slot] = int32(len(o.ends))
}

// lookup returns the entry of a path, or -1.
func (o *owned) lookup(path string) int32 {
	_, i := o.find(path)
	return i
}

func (o *owned) find(path string) (slot int, entry int32) {
	mask := len(o.table) - 1
	for slot = int(maphash.String(o.seed, path)) & mask; o.table[slot] != 0; slot = (slot + 1) & mask {
		if i := o.table[slot] - 1; o.equals(i, path) {
			return slot, i
		}
	}
	return slot, -1
}

func (o *owned) grow() {
	table := make([]int32, 2*len(o.table))
	mask := len(table) - 1
	for i := range o.ends {
		slot := int(maphash.String(o.seed, o.path(int32(i)))) & mask
		for table[slot] != 0 {
			slot = (slot + 1) & mask
		}
		table[slot] = int32(i) + 1
	}
	o.table = table
}
