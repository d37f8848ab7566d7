package install

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// replay carries the operations of a transaction out, or back. The Install itself and the completion after a crash are
// the same code; after a crash every step first looks whether it has been done, by the inode that it recorded.
type replay struct {
	*script
	root   root
	log    *zap.Logger
	resume bool        // after a crash
	asides atomic.Bool // names other than those of exchanged objects are in use
	cache  dirCache
}

func (s *script) replay(log *zap.Logger, resume bool) *replay {
	r := root{dir: s.Root}
	return &replay{script: s, root: r, log: log, resume: resume, cache: dirCache{root: r}}
}

func (r *replay) dirOf(op operation) (int, error) { return r.cache.open(r.hosts[op.dir].path) }

func (r *replay) path(op operation) string {
	if op.atEnd() {
		return op.name
	}
	return join(r.hosts[op.dir].path, op.name)
}

func (r *replay) temp(kind byte, op operation) string { return temp(r.ID, kind, op.tag) }

// forward carries the operations out. done tells which ones were, when one of them failed.
func (r *replay) forward() (done *doneSet, err error) {
	done = new(doneSet)
	err = r.eachAtOnce(func(h *hand, index int, op operation) error {
		if err := h.do(op); err != nil {
			return err
		}
		done.add(index)
		return nil
	})
	return done, err
}

// doneSet is a set of operations by index.
type doneSet struct {
	mu   sync.Mutex
	bits []uint64
}

func (s *doneSet) add(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.bits) <= i/64 {
		s.bits = append(s.bits, 0)
	}
	s.bits[i/64] |= 1 << (i % 64)
}

func (s *doneSet) has(i int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return i/64 < len(s.bits) && s.bits[i/64]&(1<<(i%64)) != 0
}

func (h *hand) do(op operation) error {
	fd, err := h.dirOf(op)
	if err != nil {
		if h.resume && errors.Is(err, unix.ENOENT) {
			h.log.Warn("a directory of the interrupted Install is gone", zap.String("path", h.hosts[op.dir].path))
			return nil
		}
		return fmt.Errorf("cannot open %q: %w", h.root.disk(h.hosts[op.dir].path), err)
	}
	switch op.verb {
	case "new":
		err = h.doNew(fd, op)
	case "swap":
		err = h.doSwap(fd, op)
	case "gone":
		err = h.doGone(fd, op)
	case "attr":
		err = setDirAttrs(fd, op.attr.New)
	}
	if err != nil {
		verb := map[string]string{"new": "create", "swap": "replace", "gone": "remove", "attr": "set the attributes of"}[op.verb]
		return fmt.Errorf("cannot %s %q: %w", verb, h.path(op), err)
	}
	return nil
}

func (r *replay) doNew(fd int, op operation) error {
	staged := r.temp(tempNew, op)
	if r.resume {
		if _, found, err := look(fd, staged); err != nil || !found {
			return err
		}
	}
	err := renameNew(fd, staged, op.name)
	if errors.Is(err, unix.EEXIST) {
		if !r.resume {
			return errors.New("it was created by somebody else while this deployment was being installed")
		}
		r.leftAlone(op)
		return nil
	}
	return err
}

func (r *replay) leftAlone(op operation) {
	r.log.Warn("a file was changed after the Install was interrupted and is left alone", zap.String("path", r.path(op)))
}

func (r *replay) doSwap(fd int, op operation) error {
	staged := r.temp(tempNew, op)
	if r.resume {
		todo, err := r.swapTodo(fd, op)
		if err != nil || !todo {
			return err
		}
	}
	aside, err := exchange(fd, staged, op.name, r.temp(tempOld, op))
	if aside {
		r.asides.Store(true)
	}
	switch {
	case errors.Is(err, unix.ENOENT): // what was to be replaced is gone meanwhile
		return renameNew(fd, staged, op.name)
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EXDEV):
		r.log.Warn("a mount point cannot be replaced, its content is overwritten", zap.String("path", r.path(op)))
		r.asides.Store(true)
		return r.doOverwrite(fd, op)
	}
	return err
}

// swapTodo looks what a crash has left of an exchange.
func (r *replay) swapTodo(fd int, op operation) (bool, error) {
	staged, foundStaged, err := look(fd, r.temp(tempNew, op))
	if err != nil || !foundStaged {
		return false, err
	}
	target, found, err := look(fd, op.name)
	switch {
	case err != nil:
		return false, err
	case !found, target.Ino == op.ino:
		return true, nil
	case staged.Ino != op.ino:
		r.leftAlone(op)
	}
	return false, nil
}

func (r *replay) doOverwrite(fd int, op operation) error {
	backup := r.temp(tempBackup, op)
	if r.resume { // the backup may be there already, and then it is the old content
		if _, found, err := look(fd, backup); err != nil {
			return err
		} else if found {
			return copyInto(fd, r.temp(tempNew, op), op.name, unix.O_TRUNC)
		}
	}
	return overwrite(fd, r.temp(tempNew, op), op.name, backup)
}

// doGone moves a path of the previous deployment out of the way, if it is still the object it was.
func (r *replay) doGone(fd int, op operation) error {
	st, found, err := look(fd, op.name)
	if err != nil || !found || st.Ino != op.ino || kindOf(&st) == unix.S_IFDIR {
		return err
	}
	return unix.Renameat(fd, op.name, fd, r.temp(tempNew, op))
}

func setDirAttrs(dirfd int, a attrs) error {
	fd, err := unix.Openat(dirfd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return a.set(fd)
}
