package behaviour

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// listed is an access control list in an AppSpec file, and the setfacl that makes the same of a file or directory that
// has the mode which the object has at that time.
type listed struct {
	name string
	// mode of the file f and the directory d in the bundle; directories come out as 0755 whatever it is.
	mode string
	// entry is the permission entry below object and type; the object is f, or d for a type of directory.
	entry string
	// set is the full list for setfacl --set; empty means no list.
	set string
	// after is the mode of the reference before setfacl, when it is not that of the bundle.
	after string
	// directory says that the entry is for d.
	directory bool
}

func (l listed) play(h *Host) {
	h.begin()
	object, kind := "HOST/srv/site/f", "file"
	if l.directory {
		object, kind = "HOST/srv/site", "directory"
	}
	h.Succeed(h.Release("tar", "files: [{source: www, destination: HOST/srv/site}]\npermissions: [{object: "+object+", type: ["+kind+"], "+l.entry+"}]",
		"mkdir -p www/d; echo f > www/f; chmod "+l.mode+" www/f"))
	mode := l.mode
	if l.after != "" {
		mode = l.after
	}
	commands := "mkdir d; echo f > f; chmod " + mode + " f\n"
	if l.directory {
		commands = "mkdir d; echo f > f; chmod " + l.mode + " f\n"
		if l.after != "" {
			commands += "chmod " + l.after + " d\n"
		}
	}
	if l.set != "" {
		commands += "setfacl --set " + l.set + " " + map[bool]string{false: "f", true: "d"}[l.directory]
	}
	h.Shell("reference", commands)
	h.Same("the tree beside what setfacl makes", h.Tree("reference"), h.Tree(disk, "site"))
}

var _ = add(Permissions, func() []Case {
	cases := []Case{}
	for _, l := range []listed{
		{name: "a named user joins owner, group, mask and others of the mode", mode: "640", entry: `acls: ["u:daemon:rw"]`, set: "u::rw,u:daemon:rw,g::r,m::r,o::-"},
		{name: "the mask is the group's part of the mode, even when it takes rights away", mode: "600", entry: `acls: ["u:daemon:rwx"]`, set: "u::rw,u:daemon:rwx,g::-,m::-,o::-"},
		{name: "a named group", mode: "754", entry: `acls: ["g:daemon:r-x"]`, set: "u::rwx,g:daemon:rx,g::rx,m::rx,o::r"},
		{name: "a mask that is given counts", mode: "640", entry: `acls: ["u:daemon:rw", "m::rwx"]`, set: "u::rw,u:daemon:rw,g::r,m::rwx,o::-"},
		{name: "a mask alone", mode: "664", entry: `acls: ["mask::r"]`, set: "u::rw,g::rw,m::r,o::r"},
		{name: "all spellings of entries", mode: "644",
			entry: `acls: ["user:daemon:rw-", "u:bin:6", "sys:r", "group:daemon:--x", "g:bin:7", "m:rwx"]`,
			set:   "u::rw,u:daemon:rw,u:bin:rw,u:sys:r,g::r,g:daemon:x,g:bin:rwx,m::rwx,o::r"},
		{name: "users and groups by number", mode: "644", entry: `acls: ["u:12345:r", "g:23456:w"]`, set: "u::rw,u:12345:r,g::r,g:23456:w,m::r,o::r"},
		{name: "the mode of the same entry is set before the list", mode: "600", after: "750", entry: `mode: 750, acls: ["u:daemon:rw"]`, set: "u::rwx,u:daemon:rw,g::rx,m::rx,o::-"},
		{name: "without a list only the mode counts", mode: "600", after: "750", entry: `mode: 750`},
		{name: "an empty list leaves the mode alone", mode: "640", entry: `acls: []`},
		{name: "default entries for a directory bring those of its mode", directory: true, mode: "644", entry: `acls: ["d:u:daemon:rwx"]`,
			set: "u::rwx,g::rx,o::rx,d:u::rwx,d:u:daemon:rwx,d:g::rx,d:m::rx,d:o::rx"},
		{name: "default entries that are given replace those of the mode", directory: true, mode: "644", after: "750",
			entry: `mode: 750, acls: ["d:g:daemon:rw", "default:user::rw", "d:group::r", "default:mask::rwx", "d:other::x"]`,
			set:   "u::rwx,g::rx,o::-,d:u::rw,d:g::r,d:g:daemon:rw,d:m::rwx,d:o::x"},
		{name: "a default entry for the group alone needs no mask", directory: true, mode: "644", entry: `acls: ["d:g::rwx"]`, set: "u::rwx,g::rx,o::rx,d:u::rwx,d:g::rwx,d:o::rx"},
		{name: "the default mask is the default group's rights", directory: true, mode: "644", entry: `acls: ["d:g::rw", "d:u:daemon:rwx"]`,
			set: "u::rwx,g::rx,o::rx,d:u::rwx,d:u:daemon:rwx,d:g::rw,d:m::rw,d:o::rx"},
		{name: "default and other entries together", directory: true, mode: "644", entry: `acls: ["daemon:rwx", "d:daemon:r"]`,
			set: "u::rwx,u:daemon:rwx,g::rx,m::rx,o::rx,d:u::rwx,d:u:daemon:r,d:g::rx,d:m::rx,d:o::rx"},
	} {
		cases = append(cases, Case{Name: "access control lists: " + l.name, Run: l.play})
	}
	return cases
}()...)

var _ = add(Permissions, placings(
	rights(placed{
		name:   "access control lists: each object gets the entries of its own mode",
		bundle: "mkdir www; cd www; echo a > a; echo b > b; echo c > c; chmod 600 a; chmod 775 b; chmod 640 c",
		want: `site/
			site/a 0600 [user::rw- user:daemon:r-- group::--- mask::--- other::---]: a
			site/b 0775 [user::rwx user:daemon:r-- group::rwx mask::rwx other::r-x]: b
			site/c 0640 [user::rw- user:daemon:r-- group::r-- mask::r-- other::---]: c`,
	}, `object: HOST/srv/site, acls: ["u:daemon:r"]`),
	rights(placed{
		name:  "access control lists: default entries for a file are refused",
		fails: `srv/site/page`,
	}, `object: HOST/srv/site/page, acls: ["d:u:daemon:r"]`),
	rights(placed{
		name:  "access control lists: an unknown user is refused, and nothing is changed",
		host:  "echo mine > mine",
		fails: `no-such-user`,
	}, `object: HOST/srv/site/page, acls: ["u:no-such-user:r"]`),
	rights(placed{
		name: "access control lists: with owner and setuid in one entry all of them hold",
		root: true,
		want: tree("site/page 4750 1:2 [user::rwx user:sys:rwx group::r-x mask::r-x other::---]"),
	}, `object: HOST/srv/site/page, mode: 4750, owner: daemon, group: bin, acls: ["u:sys:rwx"]`),
	rights(placed{
		name:   "access control lists: what a copied link leads to keeps its own",
		host:   "echo mine > mine",
		bundle: "mkdir www; ln -s HOST/srv/mine www/link; echo a > www/a",
		want:   "mine: mine\n site/\n site/a [user::rw- user:daemon:rw- group::r-- mask::r-- other::r--]: a\n site/link -> HOST/srv/mine",
	}, `object: HOST/srv/site, acls: ["u:daemon:rw"]`),
)...)

var _ = add(Files, Case{Name: "files and directories made in a directory with a default access control list inherit it", Run: func(h *Host) {
	const inherits = "mkdir site; setfacl -d -m u:daemon:rwx,g:bin:r site\n"
	h.Shell(disk, inherits)
	h.begin()
	h.Succeed(h.Release("tar", "files: [{source: www, destination: HOST/srv/site}]",
		"mkdir -p www/sub; echo a > www/a; echo b > www/sub/b; chmod 640 www/a; chmod 755 www/sub/b"))
	h.Shell("reference", inherits+"cd site; mkdir sub; echo a > a; chmod 640 a; echo b > sub/b; chmod 755 sub/b")
	h.Same("the tree beside what mkdir and chmod make", h.Tree("reference"), h.Tree(disk))
}})

// What is no access control list is refused before anything happens.
var _ = add(AppSpecs, func() []Case {
	cases := []Case{}
	for _, text := range []string{"u:daemon:rwz", "u:daemon:8", "u::rw", "g::r", "o::r", "m:daemon:r", "d:o:daemon:r", "x:y:z:r", "daemon", "u:daemon:r:w:x", "d:x:y:z:r"} {
		cases = append(cases, Case{Name: "the list entry " + text + " is refused with its line", Run: func(h *Host) {
			h.begin()
			o := h.Release("zip", "files: [{source: a, destination: HOST/srv}]\npermissions:\n  - object: HOST/srv/a\n    acls:\n      - u:bin:r\n      - \""+text+"\"", "echo a > a")
			h.Failure(h.Fail("DownloadBundle", o), 5, "", `appspec\.yml:8\b(.|\n)*acls`)
			h.HasTree("")
		}})
	}
	return cases
}()...)

var _ = add(Permissions, Case{Name: "a context does not keep a host without SELinux from being deployed to", Run: func(h *Host) {
	if _, err := os.Stat("/sys/fs/selinux/enforce"); err == nil {
		return
	}
	h.begin()
	h.Succeed(h.Release("zip", "files: [{source: a, destination: HOST/srv}]\npermissions: [{object: HOST/srv/a, mode: 600, context: {type: httpd_sys_content_t}}]", "echo a > a"))
	h.HasTree("a 0600: a")
}}, Case{Name: "semanage is told the context of each object by its real path, and told to forget it when the object goes", NeedsRoot: true, Run: func(h *Host) {
	h.Shell("bin", `printf '#!/bin/sh\nfor a; do printf "[%%s]" "$a"; done >> HOST/semanage.calls; echo >> HOST/semanage.calls\n' > semanage; chmod 755 semanage
printf '#!/bin/sh\n' > restorecon; chmod 755 restorecon`)
	h.Setenv("PATH", h.Path("bin")+":"+os.Getenv("PATH"))
	h.Shell(disk, "mkdir real; ln -s real site")
	h.begin()
	info := h.Succeed(h.Release("zip", "files: [{source: www, destination: HOST/srv/site}]\npermissions:\n"+
		"  - {object: HOST/srv/site/a, mode: 600, context: {name: system_u, type: httpd_sys_content_t, range: \"s0:c1,c2,c3\"}}\n"+
		"  - {object: HOST/srv/site/b c, context: {type: tmp_t}}", "mkdir www; echo a > www/a; echo b > 'www/b c'"))
	a, b := h.Path(disk, "real", "a"), h.Path(disk, "real", "b c")
	h.HasTree("real/\nreal/a 0600: a\n\"real/b c\": b\nsite -> real")
	h.Same("calls of semanage", []string{"[fcontext][-a][-s][system_u][-t][httpd_sys_content_t][-r][s0:c1.c3][" + a + "]", "[fcontext][-a][-t][tmp_t][" + b + "]"}, h.Lines("semanage.calls"))
	for _, path := range []string{a, b} {
		h.Matches("the list for the next clean-up", "(?m)^semanage\x00"+path+"$", h.Owned(info.GroupID))
	}
	h.Succeed(h.Release("zip", "files:", "echo x > x"))
	h.Same("calls of semanage", []string{"[fcontext][-d][" + a + "]", "[fcontext][-d][" + b + "]"}, slices.Sorted(slices.Values(h.Lines("semanage.calls")[2:])))
}}, Case{Name: "a retained file's directory above is not the agent's to change", Run: func(h *Host) {
	h.Shell(disk, "mkdir -m 700 site; echo mine > site/a; chmod 604 site/a")
	before := h.changed(disk, "site", "a")
	h.begin()
	o := h.Release("tgz", "file_exists_behavior: RETAIN\nfiles: [{source: a, destination: HOST/srv/site}]\npermissions: [{object: HOST/srv/site, mode: 755}]", "echo a > a")
	h.Succeed(o)
	h.HasTree("site/ 0700\nsite/a 0604: mine")
	h.Same("the file", before, h.changed(filepath.Join(disk, "site", "a")))
	h.Same("the list for the next clean-up", "", strings.TrimSpace(h.Owned(groupOf(h))))
}})
