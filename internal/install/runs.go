package install

import (
	"fmt"

	"codedeploy-agent/appspec"

	"golang.org/x/sys/unix"
)

// addRun makes the files from first on, which come from an open directory of the archive, a run for a directory of the
// tree and decides what happens to each.
func (p *Plan) addRun(from int, src string, d int32, first int) error {
	if first == len(p.files) {
		return nil
	}
	r := run{src: src, dir: d, first: int32(first), count: int32(len(p.files) - first), next: p.dirs[d].first}
	again := r.next >= 0
	index := int32(len(p.runs))
	p.runs = append(p.runs, r)
	p.dirs[d].first = index
	p.steps = append(p.steps, step{isRun: true, index: index})
	if again {
		p.indexNames(d, r.next)
	}
	to := -1
	if dir := &p.dirs[d]; dir.onDisk() {
		var err error
		if to, err = p.looking.open(dir.path); err != nil {
			return fmt.Errorf("cannot open %q: %w", p.root.disk(dir.path), err)
		}
	}
	if p.seen == nil {
		p.seen = make([]glance, glances)
	}
	for at := r.first; at < r.first+r.count; at += glances {
		seen := p.seen[:min(glances, r.first+r.count-at)]
		p.look(seen, at, from, to)
		for n := range seen {
			if err := p.addFile(at+int32(n), &r, &seen[n], again); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Plan) addFile(i int32, r *run, g *glance, again bool) error {
	if g.err != nil {
		return g.err
	}
	f := &p.files[i]
	if f.mode == 0 {
		if err := p.fill(f, r.src, &g.source); err != nil {
			return err
		}
	}
	if err := p.decide(i, r.dir, g, again); err != nil {
		return err
	}
	if again {
		p.dirs[r.dir].byName[p.nameCopy(i)] = i
	}
	return nil
}

func (p *Plan) nameCopy(i int32) string { return string([]byte(p.name(&p.files[i]))) }

// indexNames prepares the look-up of the files that a directory has from its runs up to the given one. Most
// directories have one run only and need none.
func (p *Plan) indexNames(d, runs int32) {
	if p.dirs[d].byName != nil {
		return
	}
	p.dirs[d].byName = make(map[string]int32)
	for r := runs; r >= 0; r = p.runs[r].next {
		for i := p.runs[r].first; i < p.runs[r].first+p.runs[r].count; i++ {
			p.dirs[d].byName[p.nameCopy(i)] = i
		}
	}
}

// fileAt returns the file of the tree with the given name in a directory, or nil.
func (p *Plan) fileAt(d int32, name string) *file {
	first := p.dirs[d].first
	if first < 0 {
		return nil
	}
	if p.dirs[d].byName == nil && p.runs[first].next < 0 { // one sorted run: no index needed
		if i, ok := p.search(p.runs[first], name); ok {
			return &p.files[i]
		}
		return nil
	}
	p.indexNames(d, first)
	if i, ok := p.dirs[d].byName[name]; ok {
		return &p.files[i]
	}
	return nil
}

func (p *Plan) search(r run, name string) (int32, bool) {
	lo, hi := r.first, r.first+r.count
	for lo < hi {
		mid := lo + (hi-lo)/2
		if p.name(&p.files[mid]) < name {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < r.first+r.count && p.name(&p.files[lo]) == name
}

// decide finds out what installing a file means: a new name, a replacement, or nothing.
func (p *Plan) decide(i, d int32, g *glance, again bool) error {
	f := &p.files[i]
	dir := &p.dirs[d]
	f.action = create
	if again {
		if _, twice := dir.byName[p.name(f)]; twice {
			f.action = blocked
			p.problems.add("cannot install %q: the AppSpec file puts two files there", p.path(d, f))
			return nil
		}
	}
	if dir.state == dirBlocked {
		f.action = blocked
		return nil
	}
	if dir.hasDirs {
		if sub, ok := p.byPath[p.path(d, f)]; ok && p.dirs[sub].made() {
			f.action = blocked
			p.problems.add("cannot install the file %q: the AppSpec file makes a directory there, too", p.path(d, f))
			return nil
		}
	}
	if !dir.onDisk() {
		p.systems[dir.fs].add(f.size)
		return nil
	}
	if !g.found {
		dir.host = true
		p.systems[dir.fs].add(f.size)
		return nil
	}
	return p.decideExisting(i, d, &g.target)
}

// decideExisting decides about a target that is there. What the previous deployment owns does not count as being there.
func (p *Plan) decideExisting(i, d int32, st *unix.Statx_t) error {
	f := &p.files[i]
	mine := p.previous.lookupIn(p.dirs[d].path, p.name(f))
	isDir := kindOf(st) == unix.S_IFDIR
	f.ino = st.Ino
	if mine >= 0 && isDir {
		path := p.path(d, f)
		empty, err := p.emptyAfterCleanup(path)
		if err != nil {
			return fmt.Errorf("cannot look at %q: %w", p.root.disk(path), err)
		}
		if empty && !isMountPoint(st) {
			p.previous.mark(mine, flagWished)
			f.action = replace
			p.dirs[d].host = true
			p.swapped = append(p.swapped, path)
			p.systems[p.dirs[d].fs].add(f.size)
			return nil
		}
		mine = -1
	}
	f.action = blocked
	switch {
	case mine >= 0:
		p.previous.mark(mine, flagWished)
		f.action = replace
	case p.exists.value == appspec.Retain:
		f.action = retain
	case p.exists.value == appspec.Overwrite && isDir:
		p.addConflict(Conflict{Path: p.path(d, f), Reason: directoryInTheWay, Kind: kindName(st)})
	case p.exists.value == appspec.Overwrite:
		f.action = replace
	case p.exists.value == appspec.Disallow:
		p.addConflict(Conflict{Path: p.path(d, f), Reason: existsAlready, Kind: kindName(st), file: i, dir: d})
	default:
		p.addConflict(Conflict{Path: p.path(d, f), Reason: unknownBehavior, Kind: kindName(st)})
	}
	if f.action == replace {
		if frozen(st) {
			p.frozen = append(p.frozen, p.path(d, f))
		}
		p.dirs[d].host = true
		p.systems[p.dirs[d].fs].replace(f.size, int64(st.Blocks)*512)
	}
	return nil
}
