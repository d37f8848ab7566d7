package install

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// attrs are the attributes of a directory that stays.
type attrs struct {
	Mode    uint32 `json:"mode"`
	UID     uint32 `json:"uid"`
	GID     uint32 `json:"gid"`
	Access  []byte `json:"access,omitempty"`  // ACL
	Default []byte `json:"default,omitempty"` // ACL for what is made in it later
	Label   []byte `json:"label,omitempty"`   // SELinux
}

// attrChange is what a commit makes of a directory's attributes, and what an undo makes of them again.
type attrChange struct {
	Old attrs `json:"old"`
	New attrs `json:"new"`
}

func (c attrChange) empty() bool {
	return c.Old.Mode == c.New.Mode && c.Old.UID == c.New.UID && c.Old.GID == c.New.GID &&
		bytes.Equal(c.Old.Access, c.New.Access) && bytes.Equal(c.Old.Default, c.New.Default) && bytes.Equal(c.Old.Label, c.New.Label)
}

func readAttrs(fd int) (attrs, error) {
	st, err := lookAt(fd)
	if err != nil {
		return attrs{}, err
	}
	a := attrs{Mode: uint32(st.Mode) & 0o7777, UID: st.Uid, GID: st.Gid}
	if a.Access, err = getXattr(fd, xattrAccess); err != nil {
		return attrs{}, err
	}
	if a.Default, err = getXattr(fd, xattrDefault); err != nil {
		return attrs{}, err
	}
	a.Label, err = getXattr(fd, xattrLabel)
	return a, err
}

// set gives an open directory the attributes. The owner comes first, because changing it takes setuid and setgid away;
// the ACL comes last, because with one a mode means the mask.
func (a attrs) set(fd int) error {
	st, err := lookAt(fd)
	if err != nil {
		return err
	}
	if st.Uid != a.UID || st.Gid != a.GID {
		if err := unix.Fchown(fd, int(a.UID), int(a.GID)); err != nil {
			return err
		}
	}
	if a.Access == nil {
		if err := putXattr(fd, xattrAccess, nil); err != nil {
			return err
		}
	}
	if err := unix.Fchmod(fd, a.Mode); err != nil {
		return err
	}
	if a.Access != nil {
		if err := putXattr(fd, xattrAccess, a.Access); err != nil {
			return err
		}
	}
	if err := putXattr(fd, xattrDefault, a.Default); err != nil {
		return err
	}
	if a.Label != nil {
		return putXattr(fd, xattrLabel, a.Label)
	}
	return nil
}
