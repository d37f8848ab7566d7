package install

import (
	"errors"
	"fmt"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// replay carries the operations of a transaction out, or back. The Install itself and the completion after a crash are
// the same code; after a crash every step first looks whether it has been done, by the inode that it recorded.
type replay struct {
	*script
	root   root
	log    *zap.Logger
	resume bool // after a crash
	asides bool // names other than those of exchanged objects are in use
	cache  dirCache
}

func (s *script) replay(log *zap.Logger, resume bool) *replay {
	r := root{dir: s.Root}
	return &replay{script: s, root: r, log: log, resume: resume, cache: dirCache{root: r}}
}

func (r *replay) dirOf(op operation) (int, error) { return r.cache.open(r.hosts[op.dir].path) }

func (r *replay) path(op operation) string { return join(r.hosts[op.dir].path, op.name) }

func (r *replay) temp(kind byte, op operation) string { return temp(r.ID, kind, op.tag) }

// forward carries the operations out. done is how many were before the one that failed.
func (r *replay) forward() (done int, err error) {
	err = r.each(func(index int, op operation) error {
		if err := r.do(op); err != nil {
			return err
		}
		done = index + 1
		return nil
	})
	return done, err
}

func (r *replay) do(op operation) error {
	if op.atEnd() {
		return nil
	}
	fd, err := r.dirOf(op)
	if err != nil {
		if r.resume && errors.Is(err, unix.ENOENT) {
			r.log.Warn("a directory of the interrupted Install is gone", zap.String("path", r.hosts[op.dir].path))
			return nil
		}
		return fmt.Errorf("cannot open %q: %w", r.root.disk(r.hosts[op.dir].path), err)
	}
	switch op.verb {
	case "new":
		err = r.doNew(fd, op)
	case "swap":
		err = r.doSwap(fd, op)
	case "gone":
		err = r.doGone(fd, op)
	case "attr":
		err = setDirAttrs(fd, op.attr.New)
	}
	if err != nil {
		verb := map[string]string{"new": "create", "swap": "replace", "gone": "remove", "attr": "set the attributes of"}[op.verb]
		return fmt.Errorf("cannot %s %q: %w", verb, r.path(op), err)
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
	r.asides = r.asides || aside
	switch {
	case errors.Is(err, unix.ENOENT): // what was to be replaced is gone meanwhile
		return renameNew(fd, staged, op.name)
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EXDEV):
		r.log.Warn("a mount point cannot be replaced, its content is overwritten", zap.String("path", r.path(op)))
		r.asides = true
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
