package install

import (
	"fmt"
	"slices"
	"unsafe"

	"codedeploy-agent/appspec"

	"golang.org/x/sys/unix"
)

// Plan is what an Install will do: the wished-for tree, how each of its members comes into place, and what goes.
//
// A bundle may hold hundreds of thousands of files, so a file is a small fixed record and its name lies in an arena.
type Plan struct {
	in      Input
	archive string // Input.Archive without symbolic links
	root    root
	exists  existsRule

	dirs    []dir
	byPath  map[string]int32
	byInode map[inode]int32
	files   []file
	names   []byte
	owners  []owner
	runs    []run
	steps   []step           // creation order, as the 1.x records want it
	hostOf  map[string]int32 // index of a directory in the transaction

	systems []fileSystem
	empty   map[string]bool // directories of the previous deployment: would its cleanup remove them?
	swapped []string        // directories of the previous deployment that files replace
	looking dirCache
	seen    []glance // scratch

	previous *owned
	stale    []stale
	frozen   []string // paths to be replaced or removed that are immutable or append-only
	inherit  []string // directories of earlier deployments that stay ours although this one did not make them

	rules     []rule
	problems  problems
	conflicts []Conflict
	warnings  []string

	// Found by Preflight.
	notes   []string // warnings
	selinux bool     // it is enabled
	labels  bool     // contexts are to be put into the policy
	tight   bool     // there is no room for old and new side by side
}

// existsRule decides what happens to a file that is in the way, and who decided so.
type existsRule struct {
	value appspec.FileExistsBehavior
	setBy string
}

type inode struct{ dev, ino uint64 }

// dirState says what is at the place of a wished-for directory.
type dirState uint8

const (
	dirExists    dirState = iota // stays as it is
	dirRecreated                 // 1.x would have removed and made it again: stays, but gets the attributes of a new one
	dirMissing                   // has to be made
	dirReplaces                  // has to be made in the place of something the previous deployment owned
	dirBlocked                   // cannot be made; a conflict or problem has been noted
)

// dir is one directory of the wished-for tree.
type dir struct {
	path    string
	byName  map[string]int32 // its files by name, once a second run comes to it
	id      inode            // of one that exists or is staged
	old     uint64           // inode of what it replaces
	parent  int32
	first   int32 // first run with files for it, -1 when none
	fs      int32 // the file system it is or will be on
	gid     uint32
	rule    uint16 // 1 + index of the permission entry that matched
	state   dirState
	setgid  bool // new members inherit its group
	acl     bool // new members inherit an ACL
	hasDirs bool // the tree has directories in it
	host    bool // exists, and names in it will change
}

func (d *dir) onDisk() bool { return d.state == dirExists || d.state == dirRecreated }
func (d *dir) made() bool {
	return d.state == dirRecreated || d.state == dirMissing || d.state == dirReplaces
}

// name is the last component of the directory's path.
func (d *dir) name() string {
	for i := len(d.path) - 1; i >= 0; i-- {
		if d.path[i] == '/' {
			return d.path[i+1:]
		}
	}
	return d.path
}

type action uint8

const (
	create action = iota
	replace
	retain
	blocked
)

// file is one regular file or symbolic link to install, in 40 bytes.
type file struct {
	size    int64
	mtime   int64  // seconds
	ino     uint64 // of the file it replaces; after staging, of a new one
	nameOff uint32
	mtimeNs uint32
	mode    uint16 // as stat has it: kind and permission bits
	rule    uint16 // 1 + index of the permission entry that matched
	owner   uint16 // index in the plan's owners
	nameLen uint8
	action  action
}

func (f *file) isLink() bool { return f.mode&unix.S_IFMT == unix.S_IFLNK }

// perm are the permission bits, with setuid, setgid and sticky.
func (f *file) perm() uint32 { return uint32(f.mode) & 0o7777 }

// owner is a user and a group: of many files few pairs.
type owner struct{ uid, gid uint32 }

// maxOwners is how many of them a file's record can tell apart.
const maxOwners = 1 << 16

func (p *Plan) ownerIndex(o owner) (uint16, error) {
	if i := slices.Index(p.owners, o); i >= 0 {
		return uint16(i), nil
	}
	if len(p.owners) == maxOwners {
		return 0, fmt.Errorf("the bundle's files have more than %d different owners", maxOwners)
	}
	p.owners = append(p.owners, o)
	return uint16(len(p.owners) - 1), nil
}

// run is a sequence of files from one directory of the archive to one directory of the tree, sorted by name.
type run struct {
	src   string // relative to the archive; "" is the archive itself
	dir   int32
	first int32
	count int32
	next  int32 // next run for the same directory, -1 when none
}

// step is one entry of the creation order: a directory or a run of files.
type step struct {
	isRun bool
	index int32
}

// stale is a path of the previous deployment that this one does not have.
type stale struct {
	entry int32 // index in previous
	isDir bool
	ino   uint64
}

func (p *Plan) name(f *file) string {
	return unsafe.String(&p.names[f.nameOff], int(f.nameLen))
}

func (p *Plan) addName(s []byte) uint32 {
	off := len(p.names)
	p.names = append(p.names, s...)
	return uint32(off)
}

func (p *Plan) path(d int32, f *file) string { return join(p.dirs[d].path, p.name(f)) }

// join appends a name to a clean absolute path.
func join(dir, name string) string {
	if dir == "/" {
		return dir + name
	}
	return dir + "/" + name
}
