package install

import (
	"errors"
	"slices"

	"codedeploy-agent/internal/account"

	"golang.org/x/sys/unix"
)

// Preflight checks, without touching anything, what an Install would otherwise find out half way: that the users and
// groups exist, that the targets can be written, and that there is room. All that is wrong is one error.
func (p *Plan) Preflight() error {
	var wrong problems
	p.notes = nil
	p.resolveNames(&wrong)
	p.checkSELinux(&wrong)
	p.checkFrozen(&wrong)
	p.checkFileSystems(&wrong)
	return wrong.err()
}

func (p *Plan) resolveNames(wrong *problems) {
	for i := range p.rules {
		r := &p.rules[i]
		if r.matched == 0 {
			continue
		}
		var errs []error
		var err error
		if r.Owner != "" {
			r.uid, err = userID(r.Owner)
			errs = append(errs, err)
		}
		if r.Group != "" {
			r.gid, err = account.LookupGroup(r.Group)
			errs = append(errs, err)
		}
		r.acl, err = resolveACL(r.ACLs, userID, account.LookupGroup)
		errs = append(errs, err)
		if err := errors.Join(errs...); err != nil {
			wrong.add("cannot apply permissions to %q%s: %v", r.Object, p.at(r.Pos), err)
		}
	}
}

func userID(name string) (int, error) {
	u, err := account.LookupUser(name)
	return u.UID, err
}

func (p *Plan) checkSELinux(wrong *problems) {
	p.labels = false
	p.selinux = hostSELinux.enabled()
	i := slices.IndexFunc(p.rules, func(r rule) bool { return r.Context != nil && r.matched > 0 })
	if i < 0 {
		return
	}
	_, err := hostSELinux.tool()
	if !p.selinux && err != nil {
		p.note("the context of %q%s is not set: SELinux is not enabled on this host", p.rules[i].Object, p.at(p.rules[i].Pos))
		return
	}
	p.labels = true
	if !p.selinux { // as 1.x does: it counts from the day on which SELinux is enabled
		p.note("the context of %q%s is only put into the policy: SELinux is not enabled on this host", p.rules[i].Object, p.at(p.rules[i].Pos))
	}
	if err != nil {
		wrong.add("cannot set the context of %q%s: SELinux is enabled, but the program %q is missing; install the package that has it (policycoreutils-python-utils)",
			p.rules[i].Object, p.at(p.rules[i].Pos), hostSELinux.semanage)
	}
}

func (p *Plan) checkFrozen(wrong *problems) {
	for _, path := range p.frozen {
		wrong.add("cannot replace or remove %q: it is immutable or append-only (see lsattr; chattr -i -a changes that)", path)
	}
}

// checkFileSystems looks at every directory that gets new names, and at the room on the file systems.
func (p *Plan) checkFileSystems(wrong *problems) {
	p.tight = false
	for i := range p.dirs {
		d := &p.dirs[i]
		if d.host {
			p.systems[d.fs].sample = d.path
			p.checkDir(d.path, wrong)
		}
	}
	for _, fs := range p.systems {
		if fs.sample != "" {
			p.checkRoom(fs, wrong)
		}
	}
}

// checkDir tells whether names in a directory can be changed.
func (p *Plan) checkDir(path string, wrong *problems) {
	fd, err := p.root.open(path, unix.O_PATH)
	if err != nil {
		wrong.add("cannot open %q: %v", p.root.disk(path), err)
		return
	}
	defer func() { _ = unix.Close(fd) }()
	if st, err := lookAt(fd); err == nil && frozen(&st) {
		wrong.add("cannot install into %q: the directory is immutable or append-only (see lsattr; chattr -i -a changes that)", path)
		return
	}
	switch err := unix.Faccessat(fd, ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS); {
	case errors.Is(err, unix.EROFS):
		wrong.add("cannot install into %q: the file system is mounted read-only", path)
	case err != nil:
		wrong.add("cannot install into %q: %v", path, err)
	}
}

func (p *Plan) checkRoom(fs fileSystem, wrong *problems) {
	fd, err := p.root.open(fs.sample, unix.O_PATH)
	if err != nil {
		wrong.add("cannot open %q: %v", p.root.disk(fs.sample), err)
		return
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Fstatfs(fd, &st) }); err != nil {
		wrong.add("cannot see how much room there is at %q: %v", fs.sample, err)
		return
	}
	if st.Flags&unix.ST_NOEXEC != 0 && p.hasExecutables() {
		p.note("%q is on a file system mounted noexec: executables installed there cannot be run", fs.sample)
	}
	if st.Blocks == 0 { // does not say
		return
	}
	free := int64(st.Bavail) * st.Bsize
	if unix.Geteuid() == 0 {
		free = int64(st.Bfree) * st.Bsize
	}
	switch {
	case fs.needed <= free:
	case fs.needed-fs.freed <= free:
		p.tight = true
	default:
		wrong.add("cannot install: the file system of %q has %d MiB free, and %d MiB are needed", fs.sample, free>>20, (fs.needed+1<<20-1)>>20)
		return
	}
	switch {
	case st.Files == 0, fs.files <= int64(st.Ffree):
	case fs.files-fs.gone <= int64(st.Ffree):
		p.tight = true
	default:
		wrong.add("cannot install: the file system of %q has %d inodes free, and %d are needed", fs.sample, st.Ffree, fs.files)
	}
}

func (p *Plan) hasExecutables() bool {
	return slices.ContainsFunc(p.files, func(f file) bool { return f.mode&0o111 != 0 && !f.isLink() })
}
