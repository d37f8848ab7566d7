package install

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"

	"codedeploy-agent/appspec"

	"golang.org/x/sys/unix"
)

// settle drops the conflicts that are none: files that this deployment group itself wrote although its last cleanup
// list does not say so, with the content that is to be installed.
//
// Two things lose the trace of a file: the list names it by another path, through a directory link, or the list is gone
// and an older revision on the disk shows that the file came from there.
func (p *Plan) settle(conflicts []Conflict) []Conflict {
	var left []Conflict
	var aliases map[string]int32
	var older []olderRevision
	for _, c := range conflicts {
		if c.Reason != existsAlready || c.Kind == kindDirectory { // a directory that stayed holds something of the customer's
			left = append(left, c)
			continue
		}
		if aliases == nil {
			aliases, older = p.aliases(), p.olderRevisions()
		}
		f := &p.files[c.file]
		i, ok := aliases[p.realName(c)]
		switch {
		case ok:
			p.previous.mark(i, flagWished)
			f.action = replace
			p.dirs[c.dir].host = true
		case p.sameAsBefore(c, older):
			f.action = replace
			p.dirs[c.dir].host = true
		default:
			left = append(left, c)
		}
	}
	return left
}

// aliases are the previous deployment's paths whose directory is reached through a link, by the real path.
func (p *Plan) aliases() map[string]int32 {
	out := make(map[string]int32)
	if p.in.RootDir != "" {
		return out
	}
	real := make(map[string]string)
	for i := range int32(p.previous.len()) {
		dir, name := p.previous.dir(i), string(p.previous.name(i))
		r, ok := real[dir]
		if !ok {
			r, _ = filepath.EvalSymlinks(dir)
			real[dir] = r
		}
		if r != "" {
			out[join(r, name)] = i
		}
	}
	return out
}

func (p *Plan) realName(c Conflict) string {
	if p.in.RootDir != "" {
		return ""
	}
	dir, name := parentOf(c.Path)
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return ""
	}
	return join(real, name)
}

// olderRevision is an unpacked revision of this group, with where its files go.
type olderRevision struct {
	archive string
	files   []appspec.File
}

func (p *Plan) olderRevisions() []olderRevision {
	var out []olderRevision
	entries, _ := os.ReadDir(p.in.Group.Dir())
	for _, e := range entries {
		d := p.in.Group.Deployment(e.Name())
		if d == p.in.Deployment || !d.HasArchive() {
			continue
		}
		spec, _, err := appspec.Load(d.Archive(), filepath.Base(p.in.Spec.File))
		if err == nil {
			out = append(out, olderRevision{d.Archive(), spec.Files})
		}
	}
	return out
}

// sameAsBefore tells whether an older revision of the group put a file at the path, and it, what is there now, and what
// is to come are the same.
func (p *Plan) sameAsBefore(c Conflict, older []olderRevision) bool {
	source := p.sourceOf(c.file)
	target := p.root.disk(c.Path)
	if source == "" || !sameContent(source, target) {
		return false
	}
	for _, o := range older {
		for _, m := range o.files {
			if from, ok := o.sourceFor(m, c.Path); ok && sameContent(from, target) {
				return true
			}
		}
	}
	return false
}

// sourceFor returns the file of the older revision that an entry of its AppSpec file puts at the path.
func (o olderRevision) sourceFor(m appspec.File, path string) (string, bool) {
	source, ok := inside(m.Source)
	destination, ok2 := absolute(m.Destination)
	if !ok || !ok2 || !below(destination, path) {
		return "", false
	}
	rel, err := filepath.Rel(destination, path)
	if err != nil {
		return "", false
	}
	from := filepath.Join(o.archive, source)
	if info, err := os.Stat(from); err != nil || !info.IsDir() {
		return from, err == nil && rel == filepath.Base(source)
	}
	return filepath.Join(from, rel), true
}

// sourceOf returns the path in the archive of a file of the plan.
func (p *Plan) sourceOf(i int32) string {
	for _, r := range p.runs {
		if i >= r.first && i < r.first+r.count {
			return filepath.Join(p.archive, r.src, p.name(&p.files[i]))
		}
	}
	return ""
}

// sameContent tells whether two paths are regular files with the same bytes or links with the same text.
func sameContent(a, b string) bool {
	x, errX := os.Lstat(a)
	y, errY := os.Lstat(b)
	if errX != nil || errY != nil || x.Mode().Type() != y.Mode().Type() {
		return false
	}
	if x.Mode()&os.ModeSymlink != 0 {
		s, errS := os.Readlink(a)
		t, errT := os.Readlink(b)
		return errS == nil && errT == nil && s == t
	}
	return x.Mode().IsRegular() && x.Size() == y.Size() && sameBytes(a, b) == nil
}

var errDiffer = errors.New("the files differ")

func sameBytes(a, b string) error {
	f, err := os.OpenFile(a, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	g, err := os.OpenFile(b, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = g.Close() }()
	x, y := make([]byte, 128<<10), make([]byte, 128<<10)
	for {
		n, errX := io.ReadFull(f, x)
		m, errY := io.ReadFull(g, y)
		if !bytes.Equal(x[:n], y[:m]) {
			return errDiffer
		}
		if errX != nil || errY != nil { // the sizes are the same, so both end here
			return nil
		}
	}
}
