package install

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// undo takes the operations back and drops what was staged, so that the tree is what it was, times included. Those in
// done are known to have been carried out; all others are looked at.
func (r *replay) undo(done *doneSet) error {
	if err := markUndo(r.file); err != nil {
		return err
	}
	r.undone = true
	var errs []error
	err := r.each(func(index int, op operation) error {
		if err := r.takeBack(op, done.has(index)); err != nil {
			errs = append(errs, fmt.Errorf("cannot restore %q: %w", r.path(op), err))
		}
		return nil
	})
	// What is under the temporary names is the old tree as long as something is not back in its place.
	if err := errors.Join(append(errs, err)...); err != nil {
		return err
	}
	return r.drop()
}

func (r *replay) takeBack(op operation, known bool) error {
	if op.atEnd() {
		return nil
	}
	fd, err := r.dirOf(op)
	if err != nil {
		return err
	}
	staged := r.temp(tempNew, op)
	switch op.verb {
	case "attr":
		return setDirAttrs(fd, op.attr.Old)
	case "new":
		st, found, err := look(fd, op.name)
		if err != nil || !found || st.Ino != op.ino {
			return err
		}
		if _, stagedStill, err := look(fd, staged); err != nil || stagedStill {
			return err
		}
		return unix.Renameat(fd, op.name, fd, staged)
	case "gone":
		if _, found, err := look(fd, staged); err != nil || !found {
			return err
		}
		return renameNew(fd, staged, op.name)
	}
	return r.swapBack(fd, op, known)
}

func (r *replay) swapBack(fd int, op operation, known bool) error {
	for _, kind := range []byte{tempBackup, tempOld} {
		kept := r.temp(kind, op)
		if _, found, err := look(fd, kept); err != nil {
			return err
		} else if !found {
			continue
		}
		if kind == tempBackup {
			return copyInto(fd, kept, op.name, unix.O_TRUNC)
		}
		return restoreAside(fd, kept, op.name)
	}
	kept := r.temp(tempNew, op)
	st, found, err := look(fd, kept)
	switch {
	case err != nil:
		return err
	case found && (known || st.Ino == op.ino):
		return unix.Renameat2(fd, kept, fd, op.name, unix.RENAME_EXCHANGE)
	case !found && known: // somebody had removed the old one, so the new one just took the name
		return unix.Renameat(fd, op.name, fd, kept)
	}
	return nil
}

// restoreAside gives an object that was linked or moved aside its name back.
func restoreAside(fd int, kept, name string) error {
	a, _, errA := look(fd, kept)
	b, found, errB := look(fd, name)
	if err := errors.Join(errA, errB); err != nil {
		return err
	}
	if found && a.Ino == b.Ino { // two names of one file: rename would do nothing
		return unix.Unlinkat(fd, kept, 0)
	}
	if found && (kindOf(&a) == unix.S_IFDIR || kindOf(&b) == unix.S_IFDIR) {
		if err := removeAt(fd, name); err != nil {
			return err
		}
	}
	return unix.Renameat(fd, kept, fd, name)
}

// drop removes every temporary name of the transaction, the rules it added to the SELinux policy, and the traces of
// both in the times of the directories. The transaction file goes last.
func (r *replay) drop() error {
	var errs []error
	for _, path := range r.labels {
		if err := hostSELinux.removeLabelRule(context.Background(), path); err != nil {
			r.log.Warn("an SELinux rule was not removed", zap.String("path", path), zap.Error(err))
		}
	}
	for _, h := range r.hosts {
		if err := r.dropIn(h); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("cannot remove temporary files from %q: %w", h.path, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	r.syncHosts()
	return removeTransaction(r.group)
}

func (r *replay) dropIn(h hostDir) error {
	fd, err := r.root.open(h.path, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var names []string
	err = eachEntry(fd, make([]byte, 32<<10), func(name []byte, _ uint8) error {
		if n := string(name); strings.HasPrefix(n, tempPrefix+r.ID) {
			names = append(names, n)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := removeAt(fd, n); err != nil {
			return err
		}
	}
	if len(names) == 0 && r.resume && !r.undone { // nothing was done here
		return nil
	}
	return setTimesAt(fd, ".", h.mtime, h.mtimeNs)
}
