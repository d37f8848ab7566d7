package install

import (
	"errors"
	"fmt"
	"os"

	"codedeploy-agent/appspec"

	"golang.org/x/sys/unix"
)

// wish is what a file's attributes will be: those of the archive, changed by the permission entry that matched.
type wish struct {
	mode     uint32
	uid, gid uint32
	ordered  bool // the AppSpec file asks for the owner or the group
	access   []byte
	acl      bool // the AppSpec file asks for an ACL
	context  *appspec.Context
}

func (p *Plan) wish(f *file) wish {
	by := p.owners[f.owner]
	w := wish{mode: f.perm(), uid: by.uid, gid: by.gid}
	if f.rule == 0 {
		return w
	}
	r := &p.rules[f.rule-1]
	w.mode = r.mode(w.mode)
	w.ordered = r.uid >= 0 || r.gid >= 0
	if _, set := r.FileMode(); w.ordered && !set {
		// As in 1.x: a program that ran as the builder's user must not come to run as the new owner unasked.
		w.mode &^= unix.S_ISUID | unix.S_ISGID
	}
	if r.uid >= 0 {
		w.uid = uint32(r.uid)
	}
	if r.gid >= 0 {
		w.gid = uint32(r.gid)
	}
	if r.ACLs != nil {
		w.acl = true
		w.access, _ = effectiveACL(r.acl, w.mode)
	}
	if p.selinux {
		w.context = r.Context
	}
	return w
}

var (
	euid = uint32(os.Geteuid())
	egid = uint32(os.Getegid())
)

// setAttrs gives a staged file its owner, mode, ACL and label, as far as creating it has not done so. The owner comes
// first: changing it takes setuid and setgid away.
func (c *copier) setAttrs(fd, dirfd int, f *file, d *dir, w wish) error {
	gid := egid
	if d.setgid {
		gid = d.gid
	}
	if w.uid != euid || w.gid != gid {
		err := unix.Fchown(fd, int(w.uid), int(w.gid))
		switch {
		case err == nil:
		case errors.Is(err, unix.EPERM) && euid != 0 && !w.ordered:
			w.mode &^= unix.S_ISUID | unix.S_ISGID // an ordinary user cannot give files away; 1.x goes on, too
		default:
			return fmt.Errorf("owner: %w", err)
		}
	}
	if w.acl && d.acl && w.access == nil {
		if err := putXattr(fd, xattrAccess, nil); err != nil {
			return fmt.Errorf("ACL: %w", err)
		}
	}
	if w.mode&0o7000 != 0 || d.acl || !c.noUmask {
		if err := unix.Fchmod(fd, w.mode); err != nil {
			return fmt.Errorf("mode: %w", err)
		}
	}
	if w.access != nil {
		if err := putXattr(fd, xattrAccess, w.access); err != nil {
			return fmt.Errorf("ACL: %w", err)
		}
	}
	if f.action == replace && c.s.p.selinux {
		if err := keepLabel(dirfd, f, c.s.p.name(f), fd); err != nil {
			return fmt.Errorf("SELinux label: %w", err)
		}
	}
	if w.context != nil {
		if err := setLabel(fd, w.context); err != nil {
			return fmt.Errorf("SELinux context: %w", err)
		}
	}
	return nil
}

// keepLabel gives a staged file the SELinux label of the one it will replace.
func keepLabel(dirfd int, f *file, name string, fd int) error {
	path := fmt.Sprintf("/proc/self/fd/%d/%s", dirfd, name)
	buf := make([]byte, 4096)
	n, err := unix.Lgetxattr(path, xattrLabel, buf)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	return putXattr(fd, xattrLabel, buf[:n])
}
