package bundle

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// aclName is where the kernel keeps a file's POSIX ACL.
const aclName = "system.posix_acl_access"

// Tags of ACL entries, in the order in which the kernel wants them.
const (
	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20
)

// sharing is the ACL by which a private copy can still be read and run by those who could read and run the member
// as it was in the archive: a hook that runs as the owner of its script, for example. It is nil when the copy's plain
// mode lets them, which is nearly always. Nobody gets leave to write.
func sharing(was, disk fileMeta) []byte {
	const readAndRun = 5
	owner, group, other := was.mode>>6&readAndRun, was.mode>>3&readAndRun, was.mode&readAndRun
	forOwner := was.uid != disk.uid && owner&^other != 0
	forGroup := was.gid != disk.gid && group&^other != 0
	if !forOwner && !forGroup {
		return nil
	}
	acl := binary.LittleEndian.AppendUint32(make([]byte, 0, 52), 2)
	entry := func(tag uint16, perm uint32, id int) {
		acl = binary.LittleEndian.AppendUint16(acl, tag)
		acl = binary.LittleEndian.AppendUint16(acl, uint16(perm))
		acl = binary.LittleEndian.AppendUint32(acl, uint32(id))
	}
	mask := other
	entry(aclUserObj, was.mode>>6&7, -1)
	if forOwner {
		entry(aclUser, owner, was.uid)
		mask |= owner
	}
	entry(aclGroupObj, other, -1) // the agent's own group had no part in the member
	if forGroup {
		entry(aclGroup, group, was.gid)
		mask |= group
	}
	entry(aclMask, mask, -1)
	entry(aclOther, other, -1)
	return acl
}

// readACL returns the ACL of an open file, nil when it has none beside its mode.
func readACL(fd int) []byte {
	var buf [1024]byte
	n, err := unix.Fgetxattr(fd, aclName, buf[:])
	if err != nil || n <= 0 {
		return nil
	}
	return append([]byte(nil), buf[:n]...)
}

// withoutWriting takes the leave to write from everybody but the owner.
func withoutWriting(acl []byte) []byte {
	const head, entry, write = 4, 8, 2
	for at := head; at+entry <= len(acl); at += entry {
		if binary.LittleEndian.Uint16(acl[at:]) != aclUserObj {
			acl[at+2] &^= write
		}
	}
	return acl
}

// share sets the ACL of an open file. A file system without ACLs is none the worse for it: the copy is private.
func share(fd int, acl []byte) error {
	if acl == nil {
		return nil
	}
	err := unix.Fsetxattr(fd, aclName, acl, 0)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}

// shareDir is share for a directory in the folder at.
func shareDir(at int, name string, acl []byte) error {
	if acl == nil {
		return nil
	}
	fd, err := openReadable(at, name, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return share(fd, acl)
}
