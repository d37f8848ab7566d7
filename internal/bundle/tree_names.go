package bundle

import (
	"fmt"
	"hash/maphash"
	"strings"
)

// Longest names that the kernel takes: a component, and a path with its final NUL.
const (
	nameMax = 255
	pathMax = 4096
)

// memberPath turns a member's name into a clean path below the archive: no empty or "." components, no slash at
// either end; "" is the archive itself. room is how long the path may be.
func memberPath(name string, room int) (path string, absolute bool, err error) {
	refuse := func(reason string, args ...any) (string, bool, error) {
		return "", false, &RefusedError{Member: name, Reason: fmt.Sprintf(reason, args...)}
	}
	if strings.IndexByte(name, 0) >= 0 {
		return refuse("has a NUL byte in its name")
	}
	absolute = strings.HasPrefix(name, "/")
	clean := true // most names are
	for rest := name; ; {
		part, after, more := strings.Cut(rest, "/")
		switch {
		case part == "..":
			return refuse(`climbs out of the archive with ".."`)
		case part == "" || part == ".":
			clean = false
		case len(part) > nameMax:
			return refuse("has a component of %d bytes; %d is the most that Linux takes", len(part), nameMax)
		}
		if !more {
			break
		}
		rest = after
	}
	path = name
	if !clean {
		var b strings.Builder
		for part := range strings.SplitSeq(name, "/") {
			if part == "" || part == "." {
				continue
			}
			if b.Len() > 0 {
				b.WriteByte('/')
			}
			b.WriteString(part)
		}
		path = b.String()
	}
	if len(path) > room {
		return refuse("has a path of %d bytes; %d is the most that fits below the deployment's folder", len(path), room)
	}
	return path, absolute, nil
}

// splitPath cuts a clean path into its folder and its base name.
func splitPath(path string) (dir, base string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

func joinPath(dir, base string) string {
	if dir == "" {
		return base
	}
	return dir + "/" + base
}

// nameSet remembers which paths were seen, at eight bytes for each: their keyed hashes. Two paths with one hash cost
// a moment of waiting and nothing else.
type nameSet struct {
	seed  maphash.Seed
	slots []uint64
	used  int
}

func newNameSet() *nameSet {
	return &nameSet{seed: maphash.MakeSeed(), slots: make([]uint64, 1024)}
}

// add tells whether the path is new to the set.
func (s *nameSet) add(path string) bool {
	if s.used*4 >= len(s.slots)*3 {
		s.grow()
	}
	i, found := s.find(s.hash(path))
	if found {
		return false
	}
	s.slots[i] = s.hash(path)
	s.used++
	return true
}

func (s *nameSet) has(path string) bool {
	_, found := s.find(s.hash(path))
	return found
}

func (s *nameSet) hash(path string) uint64 {
	return maphash.String(s.seed, path) | 1 // 0 is an empty slot
}

func (s *nameSet) find(h uint64) (slot int, found bool) {
	mask := uint64(len(s.slots) - 1)
	for i := h >> 1 & mask; ; i = (i + 1) & mask {
		switch s.slots[i] {
		case 0:
			return int(i), false
		case h:
			return int(i), true
		}
	}
}

func (s *nameSet) grow() {
	old := s.slots
	s.slots = make([]uint64, 2*len(old))
	for _, h := range old {
		if h != 0 {
			i, _ := s.find(h)
			s.slots[i] = h
		}
	}
}
