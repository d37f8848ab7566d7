package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"go.uber.org/zap"
)

// Apply installs: it checks what can be checked, stages, commits, writes the records of the group and makes the
// deployment its last successful one. After an error the destinations are what they were before, unless the error says
// otherwise. Cancelling the context has an effect until the commit begins.
func (p *Plan) Apply(ctx context.Context, log *zap.Logger) error {
	defer beFrugal()()
	switch _, err := os.Lstat(transactionFile(p.in.Group)); {
	case err == nil: // the agent could not finish an earlier Install when it started
		if err := recoverGroup(p.in.Group, log); err != nil {
			return err
		}
		if p, err = Make(ctx, p.in); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("cannot look for an unfinished Install: %w", err)
	}
	if err := p.Preflight(); err != nil {
		return err
	}
	for _, w := range p.Warnings() {
		log.Warn(w)
	}
	defer p.looking.close()
	if p.tight {
		return p.applyForward(ctx, log)
	}
	return p.applyWhole(ctx, log)
}

// Warnings are things worth a look that do not stop an Install.
func (p *Plan) Warnings() []string { return slices.Concat(p.warnings, p.notes) }

func (p *Plan) applyWhole(ctx context.Context, log *zap.Logger) error {
	hosts, err := p.hostDirs()
	if err != nil {
		return err
	}
	tx, err := begin(p.header(), p.in.Group, hosts, p.newLabels())
	if err != nil {
		return err
	}
	defer func() { _ = tx.file.Close() }()
	err = p.prepare(ctx, tx, hosts)
	return errors.Join(err, p.commit(log, err == nil))
}

func (p *Plan) header() header {
	return header{Group: p.in.Group.ID(), Deployment: p.in.Deployment.ID(), Token: p.in.Token, Root: p.in.RootDir}
}

// prepare does all that can be done beside the old tree, ending with the commit line.
func (p *Plan) prepare(ctx context.Context, tx *transaction, hosts []hostDir) error {
	s := &staging{p: p, id: tx.ID}
	if err := s.stage(ctx); err != nil {
		return err
	}
	if err := p.addLabelRules(ctx); err != nil {
		return err
	}
	if err := p.writeRecords(tx); err != nil {
		return err
	}
	if err := p.writeOperations(tx); err != nil {
		return err
	}
	if err := syncAll(p.root, hosts); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := tx.seal(); err != nil {
		return fmt.Errorf("cannot begin the commit: %w", err)
	}
	return nil
}

// commit carries the transaction out, or takes back what has been prepared.
func (p *Plan) commit(log *zap.Logger, prepared bool) error {
	s, err := openScript(p.in.Group)
	if err != nil {
		return err
	}
	defer s.close()
	r := s.replay(log, false)
	defer r.cache.close()
	if !prepared {
		return r.drop()
	}
	if done, err := r.forward(); err != nil {
		if undoErr := r.undo(done); undoErr != nil {
			return fmt.Errorf("%w; and the old files could not all be restored, which is tried again when the agent starts: %w", err, undoErr)
		}
		return err
	}
	return r.finish()
}

// hostDirs are the directories that exist and in which names will change, and those that get other attributes.
func (p *Plan) hostDirs() ([]hostDir, error) {
	p.hostOf = make(map[string]int32)
	var hosts []hostDir
	add := func(path string) error {
		if _, ok := p.hostOf[path]; ok {
			return nil
		}
		fd, err := p.looking.open(path)
		if err != nil {
			return fmt.Errorf("cannot open %q: %w", p.root.disk(path), err)
		}
		st, err := lookAt(fd)
		if err != nil {
			return fmt.Errorf("cannot look at %q: %w", p.root.disk(path), err)
		}
		p.hostOf[path] = int32(len(hosts))
		hosts = append(hosts, hostDir{path: path, mtime: st.Mtime.Sec, mtimeNs: st.Mtime.Nsec, dev: deviceOf(&st)})
		return nil
	}
	for i := range p.dirs {
		if d := &p.dirs[i]; d.host || d.state == dirRecreated {
			if err := add(d.path); err != nil {
				return nil, err
			}
		}
	}
	for _, s := range p.stale {
		if err := add(p.previous.dir(s.entry)); err != nil {
			return nil, err
		}
	}
	return hosts, nil
}

// writeOperations writes what the commit will do. New things come first, what goes comes last.
func (p *Plan) writeOperations(tx *transaction) error {
	for _, st := range p.steps {
		if st.isRun {
			p.writeRun(tx, &p.runs[st.index])
		} else if err := p.writeDir(tx, st.index); err != nil {
			return err
		}
	}
	for i, s := range p.stale {
		if !s.isDir {
			tx.op("gone", p.hostOf[p.previous.dir(s.entry)], tag('s', int32(i)), s.ino, string(p.previous.name(s.entry)))
		}
	}
	for _, path := range p.emptyDirs() {
		tx.path("rmdir", path)
	}
	for _, path := range p.oldLabels() {
		tx.path("unlabel", path)
	}
	return nil
}

func (p *Plan) writeRun(tx *transaction, r *run) {
	d := &p.dirs[r.dir]
	if !d.onDisk() {
		return
	}
	host := p.hostOf[d.path]
	for i := r.first; i < r.first+r.count; i++ {
		switch f := &p.files[i]; f.action {
		case create:
			tx.op("new", host, tag('f', i), f.ino, p.name(f))
		case replace:
			tx.op("swap", host, tag('f', i), f.ino, p.name(f))
		}
	}
}

func (p *Plan) writeDir(tx *transaction, i int32) error {
	d := &p.dirs[i]
	if d.state == dirRecreated {
		c, err := p.recreated(d)
		if err != nil || c.empty() {
			return err
		}
		return tx.attr(p.hostOf[d.path], c)
	}
	up := &p.dirs[d.parent]
	if !up.onDisk() {
		return nil
	}
	if d.state == dirReplaces {
		tx.op("swap", p.hostOf[up.path], tag('d', i), d.old, d.name())
	} else {
		tx.op("new", p.hostOf[up.path], tag('d', i), d.id.ino, d.name())
	}
	return nil
}

// emptyDirs are the directories of earlier deployments that are not needed, deepest first.
func (p *Plan) emptyDirs() []string {
	var out []string
	for _, s := range p.stale {
		if s.isDir {
			out = append(out, p.previous.path(s.entry))
		}
	}
	for _, path := range p.inherit {
		if _, needed := p.byPath[path]; !needed {
			out = append(out, path)
		}
	}
	slices.SortStableFunc(out, func(a, b string) int { return len(b) - len(a) })
	return out
}

// syncAll makes all that was staged durable, once for each file system.
func syncAll(r root, hosts []hostDir) error {
	seen := make(map[uint64]bool)
	for _, h := range hosts {
		if seen[h.dev] {
			continue
		}
		seen[h.dev] = true
		if err := syncFileSystem(r, h.path); err != nil {
			return fmt.Errorf("cannot make the staged files durable: %w", err)
		}
	}
	return nil
}

// eachInstalled calls f for every directory made and every file installed, in creation order.
func (p *Plan) eachInstalled(f func(dir, name string, rule uint16)) {
	for _, st := range p.steps {
		if !st.isRun {
			d := &p.dirs[st.index]
			dir, name := parentOf(d.path)
			f(dir, name, d.rule)
			continue
		}
		r := &p.runs[st.index]
		dir := p.dirs[r.dir].path
		for i := r.first; i < r.first+r.count; i++ {
			if x := &p.files[i]; x.action != retain {
				f(dir, p.name(x), x.rule)
			}
		}
	}
}
