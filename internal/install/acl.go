package install

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"codedeploy-agent/appspec"

	"golang.org/x/sys/unix"
)

// The extended attributes that hold POSIX ACLs, and their binary form: a version, then entries of tag, permissions and
// id, in the order of the tags and ids, all little endian.
const (
	xattrAccess  = "system.posix_acl_access"
	xattrDefault = "system.posix_acl_default"
	aclVersion   = 2

	tagOwner = 0x01
	tagUser  = 0x02
	tagGroup = 0x04
	tagNamed = 0x08
	tagMask  = 0x10
	tagOther = 0x20

	noID = ^uint32(0)
)

// aclEntry is one entry of an AppSpec's acls with its name looked up.
type aclEntry struct {
	isDefault bool
	tag       uint16
	perm      uint16
	id        uint32
}

// resolveACL looks the names of ACL entries up.
func resolveACL(entries []appspec.ACL, uid, gid func(name string) (int, error)) ([]aclEntry, error) {
	var out []aclEntry
	var errs []error
	for _, a := range entries {
		e := aclEntry{isDefault: a.Default, perm: permBits(a.Perms), id: noID}
		var id int
		var err error
		switch {
		case a.Type == "user" && a.Name != "":
			e.tag = tagUser
			id, err = uid(a.Name)
			e.id = uint32(id)
		case a.Type == "group" && a.Name != "":
			e.tag = tagNamed
			id, err = gid(a.Name)
			e.id = uint32(id)
		case a.Type == "user":
			e.tag = tagOwner
		case a.Type == "group":
			e.tag = tagGroup
		case a.Type == "mask":
			e.tag = tagMask
		default:
			e.tag = tagOther
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("ACL entry %q: %w", a, err))
		}
		out = append(out, e)
	}
	return out, errors.Join(errs...)
}

func permBits(text string) (bits uint16) {
	for _, c := range text {
		switch c {
		case 'r':
			bits |= 4
		case 'w':
			bits |= 2
		case 'x':
			bits |= 1
		}
	}
	return bits
}

// effectiveACL returns the complete access and default lists that the entries mean for an object of the given mode,
// ready for the extended attributes. The base entries come from the mode. A list is nil when the object needs none.
func effectiveACL(entries []aclEntry, mode uint32) (access, def []byte) {
	u, g, o := uint16(mode>>6&7), uint16(mode>>3&7), uint16(mode&7)
	list := []aclEntry{{tag: tagOwner, perm: u, id: noID}, {tag: tagGroup, perm: g, id: noID}, {tag: tagOther, perm: o, id: noID}}
	deflt := slices.Clone(list)
	var anyDefault bool
	for _, e := range entries {
		if e.isDefault {
			anyDefault = true
			deflt = setEntry(deflt, e)
		} else {
			list = setEntry(list, e)
		}
	}
	list = withMask(list, g)
	if len(list) > 3 {
		access = encodeACL(list)
	}
	if anyDefault {
		def = encodeACL(withMask(deflt, permOf(deflt, tagGroup)))
	}
	return access, def
}

func setEntry(list []aclEntry, e aclEntry) []aclEntry {
	for i := range list {
		if list[i].tag == e.tag && list[i].id == e.id {
			list[i].perm = e.perm
			return list
		}
	}
	return append(list, e)
}

// withMask adds a mask with the given permissions when the list has named entries and no mask.
func withMask(list []aclEntry, perm uint16) []aclEntry {
	named := slices.ContainsFunc(list, func(e aclEntry) bool { return e.tag == tagUser || e.tag == tagNamed })
	mask := slices.ContainsFunc(list, func(e aclEntry) bool { return e.tag == tagMask })
	if named && !mask {
		list = append(list, aclEntry{tag: tagMask, perm: perm, id: noID})
	}
	return list
}

func permOf(list []aclEntry, tag uint16) uint16 {
	for _, e := range list {
		if e.tag == tag {
			return e.perm
		}
	}
	return 0
}

func encodeACL(list []aclEntry) []byte {
	slices.SortFunc(list, func(a, b aclEntry) int { return cmp.Or(cmp.Compare(a.tag, b.tag), cmp.Compare(a.id, b.id)) })
	b := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range list {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// hasDefaultACL tells whether what is made in an open directory gets an ACL. When the descriptor cannot say, it is
// assumed so: then modes are set explicitly, which is never wrong.
func hasDefaultACL(fd int) bool {
	_, err := unix.Fgetxattr(fd, xattrDefault, nil)
	return err == nil || errors.Is(err, unix.EBADF)
}

// getXattr returns an extended attribute of an open file, nil when it has none.
func getXattr(fd int, name string) ([]byte, error) {
	buf := make([]byte, 512)
	n, err := unix.Fgetxattr(fd, name, buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, 64<<10) // no value is larger
		n, err = unix.Fgetxattr(fd, name, buf)
	}
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}

// putXattr sets an extended attribute of an open file, or removes it when the value is nil.
func putXattr(fd int, name string, value []byte) error {
	if value != nil {
		return unix.Fsetxattr(fd, name, value, 0)
	}
	err := unix.Fremovexattr(fd, name)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}
