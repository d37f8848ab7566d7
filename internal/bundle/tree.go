package bundle

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// tree is the directory that an archive is unpacked into. One goroutine reads the archive and lays out directories
// and links; files go to the writers, which hold the folders they write to, so nobody looks up a path twice.
type tree struct {
	keeper
	dir     string // absolute path, for messages
	root    *folder
	folders *folderCache
	names   *nameSet
	room    int // longest path below the archive that can be opened where it will lie
	private bool
	asRoot  bool

	dirs     dirList // directories that have a mode or a time of their own
	replaced bool    // a directory gave way to something else
	record   *attributeWriter
	space    *spaceWatch
	drain    func() error // waits until every file handed over is written
}

func newTree(dir, final string, fd int, opts UnpackOptions, record *attributeWriter) *tree {
	t := &tree{
		keeper:  keeper{uid: unix.Geteuid(), gid: unix.Getegid()},
		dir:     dir,
		root:    &folder{fd: fd},
		folders: newFolderCache(),
		names:   newNameSet(),
		room:    pathMax - 1 - len(final) - 1,
		private: !opts.KeepOwners,
		asRoot:  unix.Geteuid() == 0,
		record:  record,
		drain:   func() error { return nil },
	}
	t.root.hold()
	return t
}

// othersWrite are the bits that no file of a private archive keeps: those that let others change it, and those that
// would lend out the agent's own rights.
const othersWrite = 0o7022

// meta decides what lies on the disk for a member. What an Install needs beside that goes into the record.
func (t *tree) meta(path string, m fileMeta) (fileMeta, error) {
	if !t.asRoot {
		m.uid, m.gid = t.uid, t.gid
	}
	if !t.private {
		return m, nil
	}
	onDisk := fileMeta{mode: m.mode &^ othersWrite, uid: t.uid, gid: t.gid, mtime: m.mtime}
	if m.mode == onDisk.mode && m.uid == t.uid && m.gid == t.gid && m.acl == nil {
		return onDisk, nil
	}
	if t.record == nil {
		onDisk.acl = withoutWriting(m.acl)
		return onDisk, nil // what 1.x made of it was the agent's, too
	}
	onDisk.acl = sharing(m, onDisk)
	return onDisk, t.record.add(path, m)
}

// makeDir makes a directory or, where there is one already, gives it another mode and time.
func (t *tree) makeDir(path string, m fileMeta) error {
	if path == "" {
		return nil // the archive's own directory is the agent's
	}
	at, name, known, err := t.claim(path)
	if err != nil {
		return err
	}
	if known {
		if err := t.record.forget(path); err != nil {
			return err
		}
	}
	disk, err := t.meta(path, m)
	if err != nil {
		return err
	}
	made := disk.mode & 0o777
	if !t.asRoot {
		made |= 0o700 // its content has to get in; the right mode comes last
	}
	err = unix.Mkdirat(at.fd, name, made)
	chmod := made != disk.mode || !t.exact
	if err == unix.EEXIST && known {
		chmod = true
		err = t.keepOrMakeDir(at, name, made)
	}
	if err != nil {
		return err
	}
	t.dirs.add(path, disk, chmod)
	return nil
}

// keepOrMakeDir keeps the directory that is there and replaces anything else.
func (t *tree) keepOrMakeDir(at *folder, name string, mode uint32) error {
	var st unix.Stat_t
	if err := unix.Fstatat(at.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return nil
	}
	if err := unix.Unlinkat(at.fd, name, 0); err != nil {
		return err
	}
	return unix.Mkdirat(at.fd, name, mode)
}

// claim opens the folder of a path that will be made now. When the path was claimed before, every file that waits is
// written first, so that the last member of a name wins.
func (t *tree) claim(path string) (at *folder, name string, known bool, err error) {
	dir, name := splitPath(path)
	if at, err = t.folder(dir, true); err != nil {
		return nil, "", false, err
	}
	if t.names.add(path) {
		return at, name, false, nil
	}
	// Waiting may not lose the folder, and there may be one of this name in the cache.
	at.hold()
	defer at.release()
	return at, name, true, t.drain()
}

// giveWay removes what an earlier member made, for a file or a link.
func (t *tree) giveWay(at *folder, path, name string) error {
	var st unix.Stat_t
	err := unix.Fstatat(at.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return unix.Unlinkat(at.fd, name, 0)
	}
	switch err := unix.Unlinkat(at.fd, name, unix.AT_REMOVEDIR); err {
	case nil:
		// Its descriptor may be in the cache, and its time on the list.
		t.replaced = true
		if f := t.folders.byPath[path]; f != nil {
			t.folders.drop(f)
		}
		return nil
	case unix.ENOTEMPTY, unix.EEXIST:
		return errFullDirectory
	default:
		return err
	}
}

var (
	errFullDirectory       = errors.New("would replace a directory that earlier members have filled")
	errHardLinkedDirectory = errors.New("is a hard link to a directory")
)

// placeFile finds the place of a new file. The caller must write it before anything else claims the path, or hand it
// to the writers; hold the folder meanwhile.
func (t *tree) placeFile(path string, m fileMeta) (f newFile, err error) {
	if path == "" {
		return f, errFullDirectory
	}
	at, name, known, err := t.claim(path)
	if err != nil {
		return f, err
	}
	if known {
		if err := t.giveWay(at, path, name); err != nil {
			return f, err
		}
		if err := t.record.forget(path); err != nil {
			return f, err
		}
	}
	m, err = t.meta(path, m)
	return newFile{at: at, name: name, meta: m}, err
}

// makeSymlink makes a link; its target may be anything.
func (t *tree) makeSymlink(path, target string, m fileMeta) error {
	f, err := t.placeLink(path)
	if err != nil {
		return err
	}
	if err := unix.Symlinkat(target, f.at.fd, f.name); err != nil {
		return err
	}
	if !t.private && t.asRoot && (m.uid != t.uid || m.gid != t.gid) {
		if err := unix.Fchownat(f.at.fd, f.name, m.uid, m.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
	}
	return setNameTime(f.at.fd, f.name, m.mtime)
}

func (t *tree) placeLink(path string) (f newFile, err error) {
	if path == "" {
		return f, errFullDirectory
	}
	at, name, known, err := t.claim(path)
	if err == nil && known {
		err = errors.Join(t.giveWay(at, path, name), t.record.forget(path))
	}
	return newFile{at: at, name: name}, err
}

// makeHardLink makes path another name of what target, an earlier member, made.
func (t *tree) makeHardLink(path, target string, m fileMeta) error {
	if err := t.drain(); err != nil {
		return err
	}
	dir, base := splitPath(target)
	from, err := t.folder(dir, false)
	if err == unix.ENOENT {
		return &noTargetError{target}
	}
	if err != nil {
		return err
	}
	from.hold()
	defer from.release()
	var st unix.Stat_t
	if err := unix.Fstatat(from.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW); target == "" || err == unix.ENOENT {
		return &noTargetError{target}
	} else if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return errHardLinkedDirectory
	}
	if path == target {
		return nil // GNU tar takes it, too
	}
	f, err := t.placeLink(path)
	if err != nil {
		return err
	}
	if _, err := t.meta(path, m); err != nil {
		return err
	}
	return unix.Linkat(from.fd, base, f.at.fd, f.name, 0)
}

type noTargetError struct{ target string }

func (e *noTargetError) Error() string {
	return fmt.Sprintf("is a hard link to %q, which is not in the archive before it", unpackShorten(e.target))
}

// finish gives the directories their modes and times, the deepest first: a directory that its owner may not enter
// closes last.
func (t *tree) finish() error {
	return t.dirs.deepestFirst(func(path string, m fileMeta, chmod bool) error {
		if err := t.finishDir(path, m, chmod); err != nil {
			return &placeError{fmt.Sprintf("finish directory %q", unpackShorten(path)), err}
		}
		return nil
	})
}

func (t *tree) finishDir(path string, m fileMeta, chmod bool) error {
	dir, name := splitPath(path)
	at, err := t.folder(dir, false)
	if t.replaced {
		var st unix.Stat_t
		if err != nil || unix.Fstatat(at.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return nil // it became something else
		}
	}
	if err != nil {
		return err
	}
	if m.uid != t.uid || m.gid != t.gid {
		if err := unix.Fchownat(at.fd, name, m.uid, m.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
	}
	// The time before the mode: without the x bit of its own folder nothing could be changed any more.
	if err := setNameTime(at.fd, name, m.mtime); err != nil {
		return err
	}
	if chmod {
		if err := unix.Fchmodat(at.fd, name, m.mode, 0); err != nil {
			return err
		}
	}
	return shareDir(at.fd, name, m.acl)
}

// close gives back the descriptors.
func (t *tree) close() {
	t.folders.clear()
	t.root.release()
}

// explain names the member in an error of the tree.
func (t *tree) explain(member string, size int64, err error) error {
	var link *throughLinkError
	var file *belowFileError
	var none *noTargetError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &link), errors.As(err, &file), errors.As(err, &none), errors.Is(err, errFullDirectory), errors.Is(err, errHardLinkedDirectory):
		return &RefusedError{Member: member, Reason: err.Error()}
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return t.space.explain(err, size)
	case isUnpackError(err):
		return err
	}
	return &placeError{fmt.Sprintf("unpack member %q", unpackShorten(member)), err}
}
