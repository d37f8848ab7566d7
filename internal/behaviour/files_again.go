package behaviour

import (
	"fmt"
	"strings"

	"codedeploy-agent/internal/stub"
)

// site is a release with one directory, www, that goes to HOST/srv/site.
func site(h *Host, commands string) stub.DeployOptions {
	h.Helper()
	return h.Release("tar", "files: [{source: www, destination: HOST/srv/site}]", "mkdir www; cd www; "+commands)
}

// with are the options with a hook for each of the events in the order of a deployment.
func (h *Host) withHook(appspec, commands, event, script string) stub.DeployOptions {
	h.Helper()
	o := h.Release("tar", appspec+"\nhooks: {"+event+": [{location: hook.sh}]}",
		commands+"\ncat > hook.sh <<'END'\n#!/bin/sh\n"+script+"\nEND\nchmod 755 hook.sh")
	o.Events = []string{"ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ApplicationStart", "ValidateService"}
	return o
}

var _ = add(Files,
	Case{Name: "the same revision can be deployed again and again, also under DISALLOW", Run: func(h *Host) {
		h.begin()
		o := site(h, "mkdir -p sub/deep; echo a > a; echo b > sub/b; echo c > sub/deep/c; ln -s a link; mkdir empty")
		for range 3 {
			h.Succeed(o)
			h.HasTree("site/\nsite/a: a\nsite/sub/\nsite/sub/b: b\nsite/sub/deep/\nsite/sub/deep/c: c\nsite/link -> a\nsite/empty/")
		}
	}},
	Case{Name: "files and directories of the last deployment that the new one does not have go, the customer's stay", Run: func(h *Host) {
		h.Shell(disk, "mkdir -p site/old; echo mine > site/mine; echo mine > site/old/mine")
		h.begin()
		h.Succeed(site(h, "mkdir -p gone/deep full old; echo 1 > a; echo 1 > gone/deep/x; echo 1 > full/x; echo 1 > old/x; ln -s a link"))
		h.Shell(disk, "echo mine > site/full/mine")
		h.Succeed(site(h, "echo 2 > a; echo 2 > b"))
		h.HasTree("site/\nsite/mine: mine\nsite/old/\nsite/old/mine: mine\nsite/full/\nsite/full/mine: mine\nsite/a: 2\nsite/b: 2")
	}},
	Case{Name: "a deployment to another place clears the old one, with the directories above that were made for it", Run: func(h *Host) {
		h.begin()
		h.Succeed(h.Release("zip", "files: [{source: a, destination: HOST/srv/one/deep/er}]", "echo 1 > a"))
		h.HasTree("one/\none/deep/\none/deep/er/\none/deep/er/a: 1")
		h.Succeed(h.Release("zip", "files: [{source: a, destination: HOST/srv/two}]", "echo 2 > a"))
		h.HasTree("two/\ntwo/a: 2")
	}},
	Case{Name: "a directory that was there before is never removed", Run: func(h *Host) {
		h.Shell(disk, "mkdir -p site/cache")
		h.begin()
		h.Succeed(site(h, "mkdir cache; echo 1 > cache/x"))
		h.Succeed(h.Release("zip", "files:", "echo a > a"))
		h.HasTree("site/\nsite/cache/")
	}},
	Case{Name: "directories that a deployment made are known as its own for as many deployments as they are in", Run: func(h *Host) {
		h.begin()
		for i := range 3 {
			h.Succeed(site(h, fmt.Sprintf("mkdir sub; echo %d > sub/x", i)))
		}
		h.Succeed(h.Release("zip", "files:", "echo a > a"))
		h.HasTree("")
	}},
	Case{Name: "what the customer did to deployed files by hand is undone by the next deployment", Run: func(h *Host) {
		h.begin()
		o := site(h, "mkdir sub; echo a > a; echo b > b; echo c > sub/c; echo d > d")
		h.Succeed(o)
		h.Shell(disk, "cd site; echo changed > a; chmod 600 a; rm b; rm -r sub; rm d; ln -s a d")
		h.Succeed(o)
		h.HasTree("site/\nsite/a: a\nsite/b: b\nsite/sub/\nsite/sub/c: c\nsite/d: d")
	}},
	Case{Name: "a directory with the customer's files where a deployed file was is in the way", Run: func(h *Host) {
		h.begin()
		o := site(h, "echo a > a; echo b > b")
		h.Succeed(o)
		h.Shell(disk, "rm site/a; mkdir site/a; echo mine > site/a/mine")
		before := h.Tree(disk)
		h.Failure(h.Fail("Install", o), 5, "", "site/a")
		h.Same("the tree", before, h.Tree(disk))
	}},
	Case{Name: "two deployment groups may share a directory: neither removes files of the other", Run: func(h *Host) {
		h.begin()
		one, two := site(h, "mkdir sub; echo 1 > one; echo 1 > sub/one"), site(h, "mkdir sub; echo 2 > two; echo 2 > sub/two")
		one.Group, two.Group = "one", "two"
		h.Succeed(one)
		h.Succeed(two)
		h.Succeed(one)
		h.HasTree("site/\nsite/sub/\nsite/one: 1\nsite/two: 2\nsite/sub/one: 1\nsite/sub/two: 2")
		empty := h.Release("zip", "files:", "echo a > a")
		empty.Group = "one"
		h.Succeed(empty)
		h.HasTree("site/\nsite/sub/\nsite/two: 2\nsite/sub/two: 2")
	}},
	Case{Name: "a file of another deployment group is in the way like any other", Run: func(h *Host) {
		h.begin()
		one, two := site(h, "echo 1 > a"), site(h, "echo 2 > a")
		one.Group, two.Group = "one", "two"
		h.Succeed(one)
		h.Failure(h.Fail("Install", two), 5, "", "site/a")
		h.HasTree("site/\nsite/a: 1")
	}},
	Case{Name: "BeforeInstall sees the old files and AfterInstall the new ones", Run: func(h *Host) {
		h.begin()
		h.Succeed(site(h, "echo 1 > a; echo 1 > old"))
		const spec = "files: [{source: www, destination: HOST/srv/site}]\n"
		look := "echo $LIFECYCLE_EVENT $(cat HOST/srv/site/*) >> HOST/trace"
		o := h.withHook(spec, "mkdir www; echo 2 > www/a; echo 2 > www/new", "BeforeInstall: [{location: hook.sh}], AfterInstall", look)
		h.Succeed(o)
		h.Same("what the hooks saw", []string{"BeforeInstall 1 1", "AfterInstall 2 2"}, h.Lines("trace"))
		h.HasTree("site/\nsite/a: 2\nsite/new: 2")
	}},
	Case{Name: "a file that BeforeInstall put into the way is in the way", Run: func(h *Host) {
		h.begin()
		o := h.withHook("files: [{source: a, destination: HOST/srv}]", "echo a > a", "BeforeInstall", "mkdir -p HOST/srv; echo mine > HOST/srv/a")
		h.Failure(h.Fail("Install", o), 5, "", "srv/a")
		h.Matches("the file", "mine", h.Text(disk, "a"))
	}},
	Case{Name: "a deployment that fails after Install is what the next one replaces", Run: func(h *Host) {
		h.begin()
		h.Succeed(site(h, "echo 1 > a; echo 1 > one"))
		o := h.withHook("files: [{source: www, destination: HOST/srv/site}]", "mkdir www; echo 2 > www/a; echo 2 > www/two", "ValidateService", "exit 1")
		h.Failure(h.Fail("ValidateService", o), 4, "hook.sh", "")
		h.HasTree("site/\nsite/a: 2\nsite/two: 2")
		h.Succeed(site(h, "echo 3 > a; echo 3 > three"))
		h.HasTree("site/\nsite/a: 3\nsite/three: 3")
	}},
	Case{Name: "a bundle with 5,000 small files arrives whole, twice", Run: func(h *Host) {
		h.begin()
		o := h.Release("tgz", "files: [{source: www, destination: HOST/srv/site}]\npermissions: [{object: HOST/srv/site, type: [file], mode: 640}]",
			`mkdir www; cd www; for d in 0 1 2 3 4; do mkdir d$d; (cd d$d; seq 1000 | split -l 1 -d -a 4 - file-); done`)
		for range 2 {
			h.Succeed(o)
			lines := h.Tree(disk)
			h.Same("number of objects", 5006, len(lines))
			h.Same("the first and the last file", []string{"site/d0/file-0000 0640: 1", "site/d4/file-0999 0640: 1000"}, []string{lines[2], lines[len(lines)-1]})
			for _, line := range lines {
				if !strings.HasSuffix(line, "/") && !strings.Contains(line, " 0640: ") {
					h.Error(line)
				}
			}
		}
	}},
)

// A refused or failed Install leaves what the last deployment put there, and the next good one goes on from that.
var _ = add(Correctness, func() []Case {
	cases := []Case{}
	for _, f := range []struct{ name, host, appspec, commands, message string }{
		{"a file in the way", "echo mine > c", "files: [{source: www, destination: HOST/srv/site}, {source: c, destination: HOST/srv}]", "echo c > c", "srv/c"},
		{"an unknown owner", "", "files: [{source: www, destination: HOST/srv/site}]\npermissions: [{object: HOST/srv/site, owner: nobody-here}]", "", "nobody-here"},
		{"a source that is missing", "", "files: [{source: www, destination: HOST/srv/site}, {source: gone, destination: HOST/srv}]", "", "gone"},
		{"a place that is taken twice", "", "files: [{source: www, destination: HOST/srv/site}, {source: www/a, destination: HOST/srv/site}]", "", "site/a"},
		{"a directory of the customer in the way", "mkdir site/new; echo mine > site/new/mine", "file_exists_behavior: OVERWRITE\nfiles: [{source: www, destination: HOST/srv/site}]", "", "site/new"},
		{"an object in two permission entries", "", "files: [{source: www, destination: HOST/srv/site}]\npermissions: [{object: HOST/srv/site, mode: 644}, {object: HOST/srv/site/a, mode: 600}]", "", "site/a"},
	} {
		cases = append(cases, Case{Name: "an Install that is refused for " + f.name + " leaves the old version whole", Run: func(h *Host) {
			h.begin()
			h.Succeed(site(h, "mkdir old; echo 1 > a; echo 1 > old/b; chmod 600 a"))
			h.Shell(disk, f.host+"\n:")
			before, untouched := h.Tree(disk), h.changed(disk, "site", "a")
			last := h.Text(h.Instructions(groupOf(h) + "_last_successful_install"))
			list := h.Owned(groupOf(h))
			h.Failure(h.Fail("Install", h.Release("tar", f.appspec, "mkdir www; echo 2 > www/a; echo 2 > www/new\n"+f.commands)), 5, "", f.message)
			h.Same("the tree", before, h.Tree(disk))
			h.Same("the old file itself", untouched, h.changed(disk, "site", "a"))
			h.Same("the last successful revision", last, h.Text(h.Instructions(groupOf(h)+"_last_successful_install")))
			h.Same("what the next deployment cleans up", list, h.Owned(groupOf(h)))
			h.Shell(disk, "rm -rf c site/new")
			h.Succeed(site(h, "echo 3 > a; echo 3 > three"))
			h.HasTree("site/\nsite/a: 3\nsite/three: 3")
		}})
	}
	return cases
}()...)
