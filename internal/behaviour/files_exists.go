package behaviour

import (
	"fmt"
	"strings"

	"codedeploy-agent/internal/stub"
)

// kind is something that can be at a destination, or come in a bundle, under the name x.
type kind struct {
	name string
	// make are shell commands that make it; WHO becomes the content.
	make string
	// is what Tree shows of x on the host, comes of it after it came from a bundle.
	is, comes string
}

var kinds = []kind{
	{"a file", "echo WHO > x", "x: WHO", "x: WHO"},
	{"a directory", "mkdir x; echo WHO > x/WHO", "x/\nx/WHO: WHO", "x/\nx/WHO: WHO"},
	{"a link to a file", "echo WHO > WHO-file; ln -s WHO-file x", "x -> WHO-file", "x -> WHO-file"},
	{"a link to a directory", "mkdir WHO-dir; echo WHO > WHO-dir/WHO; ln -s WHO-dir x", "x -> WHO-dir", "x/\nx/WHO: WHO"},
	{"a dangling link", "ln -s WHO-nowhere x", "x -> WHO-nowhere", "x -> WHO-nowhere"},
}

// of fills in who made it.
func of(who, text string) string { return strings.ReplaceAll(text, "WHO", who) }

// beside is what lies beside x: what links lead to.
func (k kind) beside(who string) string {
	switch k.name {
	case "a link to a file":
		return of(who, "WHO-file: WHO\n")
	case "a link to a directory":
		return of(who, "WHO-dir/\nWHO-dir/WHO: WHO\n")
	}
	return ""
}

// What becomes of x, for each kind that is there in the order of kinds: T the bundle's is taken, K the host's is kept,
// M a directory takes in the content of the other, R the deployment is refused and nothing changes.
// A link to a directory counts as the directory it leads to; what a link leads to is never written to otherwise, and a
// link that leads nowhere is there, too.
var whatBecomes = map[string]map[string]string{
	"DISALLOW":  {"a file": "RRRRR", "a directory": "RMRMR", "a link to a file": "RRRRR", "a link to a directory": "RMRMR", "a dangling link": "RRRRR"},
	"OVERWRITE": {"a file": "TRTTT", "a directory": "RMRMR", "a link to a file": "TRTTT", "a link to a directory": "RMRMR", "a dangling link": "TRTTT"},
	"RETAIN":    {"a file": "KKKKK", "a directory": "RMRMR", "a link to a file": "KKKKK", "a link to a directory": "RMRMR", "a dangling link": "KKKKK"},
}

var _ = add(Files, func() []Case {
	cases := []Case{}
	for _, behavior := range []string{"DISALLOW", "OVERWRITE", "RETAIN"} {
		for _, comes := range kinds {
			cases = append(cases, Case{
				Name: behavior + ": " + comes.name + " comes to a place where something is",
				Run: func(h *Host) {
					h.begin()
					o := h.Release("tar", "files: [{source: www, destination: HOST/srv}]", of("new", "mkdir www; cd www; "+comes.make))
					o.FileExistsBehavior = behavior
					for i, there := range kinds {
						o.Group = fmt.Sprint("group-", i) // a group that owns nothing
						playCell(h, o, comes, there, whatBecomes[behavior][comes.name][i])
						h.clear()
					}
				},
			})
		}
	}
	return cases
}()...)

func playCell(h *Host, o stub.DeployOptions, comes, there kind, becomes byte) {
	h.Helper()
	h.Shell(disk, of("mine", there.make))
	before := h.Tree(disk)
	info := h.Deploy(o)
	if refused := info.Status != stub.Succeeded; refused != (becomes == 'R') {
		h.Errorf("%s comes to %s: the deployment is %s: %s", comes.name, there.name, info.Status, failure(info))
		return
	}
	what := "what lies there when " + comes.name + " comes to " + there.name
	around := there.beside("mine") + comes.beside("new")
	switch becomes {
	case 'R':
		h.Same(what, before, h.Tree(disk))
		h.Matches("the message", "srv/x", h.Diagnostics(h.lastCommand()).Message)
	case 'T':
		h.Same(what, sorted(around+of("new", comes.comes)), h.Tree(disk))
	case 'K':
		h.Same(what, sorted(around+of("mine", there.is)), h.Tree(disk))
	case 'M':
		inside := "x/new: new"
		if there.name == "a link to a directory" {
			inside = "mine-dir/new: new"
		}
		h.Same(what, sorted(around+of("mine", there.is)+"\n"+inside), h.Tree(disk))
	}
}

// lastCommand is the newest command that the service has sent.
func (h *Host) lastCommand() stub.Command {
	all := h.Twin.Commands()
	return all[len(all)-1]
}

// Whatever the last deployment put somewhere, the next one of the group may put anything else there.
var _ = add(Files, func() []Case {
	cases := []Case{}
	for _, first := range kinds {
		cases = append(cases, Case{
			Name: first.name + " of the last deployment gives way to whatever comes next, also under DISALLOW, and comes back",
			Run: func(h *Host) {
				h.begin()
				const spec = "files: [{source: www, destination: HOST/srv/site}]"
				one := h.Release("tar", spec, of("old", "mkdir www; cd www; "+first.make))
				show := func(k kind, who string) string {
					lines := of(who, k.comes) + "\n" + k.beside(who)
					return "site/\nsite/" + strings.ReplaceAll(strings.TrimSpace(lines), "\n", "\nsite/")
				}
				for _, next := range kinds {
					h.Succeed(one)
					h.HasTree(show(first, "old"))
					h.Succeed(h.Release("tar", spec, of("new", "mkdir www; cd www; "+next.make)))
					h.HasTree(show(next, "new"))
				}
				h.Succeed(h.Release("zip", "files:", "echo a > a"))
				h.HasTree("")
			},
		})
	}
	return cases
}()...)

var _ = add(Files,
	Case{Name: "the deployment's behaviour may be written in lower case", Run: func(h *Host) {
		h.Shell(disk, "echo mine > a; echo mine > b")
		h.begin()
		o := h.Release("zip", "files: [{source: a, destination: HOST/srv}]", "echo new > a")
		o.FileExistsBehavior = "overwrite"
		h.Succeed(o)
		h.HasTree("a: new\nb: mine")
		o = h.Release("zip", "files: [{source: b, destination: HOST/srv}]", "echo new > b")
		o.FileExistsBehavior = "Retain"
		h.Succeed(o)
		h.HasTree("b: mine")
	}},
	Case{Name: "the AppSpec's behaviour wins over the deployment's", Run: func(h *Host) {
		h.Shell(disk, "echo mine > a")
		h.begin()
		o := h.Release("zip", "file_exists_behavior: RETAIN\nfiles: [{source: a, destination: HOST/srv}]", "echo new > a")
		o.FileExistsBehavior = "OVERWRITE"
		h.Succeed(o)
		h.HasTree("a: mine")
		o = h.Release("zip", "file_exists_behavior: DISALLOW\nfiles: [{source: a, destination: HOST/srv}]", "echo new > a")
		o.FileExistsBehavior = "OVERWRITE"
		h.Failure(h.Fail("Install", o), 5, "", "srv/a")
		h.HasTree("a: mine")
	}},
	Case{Name: "the AppSpec's behaviour has to be in upper case", Run: func(h *Host) {
		h.begin()
		o := h.Release("zip", "file_exists_behavior: overwrite\nfiles: [{source: a, destination: HOST/srv}]", "echo new > a")
		h.Failure(h.Fail("DownloadBundle", o), 5, "", `appspec\.yml:3\b(.|\n)*file_exists_behavior(.|\n)*OVERWRITE`)
	}},
	Case{Name: "an unknown behaviour of the deployment is an error at Install that names the known ones", Run: func(h *Host) {
		h.Shell(disk, "echo mine > a")
		h.begin()
		o := h.Release("zip", "files: [{source: a, destination: HOST/srv}]", "echo new > a")
		o.FileExistsBehavior = "REPLACE"
		h.Failure(h.Fail("Install", o), 5, "", "DISALLOW(.|\n)*OVERWRITE(.|\n)*RETAIN")
		h.HasTree("a: mine")
	}},
	Case{Name: "without a behaviour files of the customer are not replaced, and all that are in the way are named", Run: func(h *Host) {
		h.Shell(disk, "mkdir -p site/sub; echo mine > site/a; echo mine > site/sub/b; ln -s a site/c; echo mine > d")
		before := h.Tree(disk)
		h.begin()
		d := h.Fail("Install", h.Release("zip", "files: [{source: www, destination: HOST/srv/site}, {source: d, destination: HOST/srv}]",
			"mkdir -p www/sub; echo new > www/a; echo new > www/sub/b; echo new > www/c; echo new > www/fine; echo new > d"))
		for _, name := range []string{"site/a", "site/sub/b", "site/c", "d"} {
			h.Failure(d, 5, "", "srv/"+name+`\b`)
		}
		h.Lacks("the message", "fine", d.Message)
		h.Same("the tree", before, h.Tree(disk))
	}},
	Case{Name: "files that were kept by RETAIN are the customer's also for the next deployment", Run: func(h *Host) {
		h.Shell(disk, "mkdir site; echo mine > site/a; chmod 640 site/a")
		h.begin()
		o := h.Release("zip", "files: [{source: www, destination: HOST/srv/site}]", "mkdir www; echo new > www/a; echo new > www/b")
		o.FileExistsBehavior = "RETAIN"
		h.Succeed(o)
		h.HasTree("site/\nsite/a 0640: mine\nsite/b: new")
		h.Succeed(o)
		h.HasTree("site/\nsite/a 0640: mine\nsite/b: new")
		h.Succeed(h.Release("zip", "files: [{source: c, destination: HOST/srv/site}]", "echo new > c"))
		h.HasTree("site/\nsite/a 0640: mine\nsite/c: new")
	}},
	Case{Name: "files that were overwritten belong to the deployment: the next one without them removes them", Run: func(h *Host) {
		h.Shell(disk, "mkdir site; echo mine > site/a; echo mine > site/b")
		h.begin()
		o := h.Release("zip", "files: [{source: www, destination: HOST/srv/site}]", "mkdir www; echo new > www/a")
		o.FileExistsBehavior = "OVERWRITE"
		h.Succeed(o)
		h.HasTree("site/\nsite/a: new\nsite/b: mine")
		h.Succeed(h.Release("zip", "files: [{source: c, destination: HOST/srv/site}]", "echo new > c"))
		h.HasTree("site/\nsite/b: mine\nsite/c: new")
	}},
	Case{Name: "overwriting leaves nothing of the old file: mode, owner and time are the bundle's", NeedsRoot: true, Run: func(h *Host) {
		h.Shell(disk, "echo mine, and longer > a; chmod 4711 a; chown 3:3 a; setfacl -m u:daemon:r a; touch -d @1234567890 a; ln a b")
		h.begin()
		o := h.Release("tar", "files: [{source: a, destination: HOST/srv}]", "echo new > a; chmod 600 a")
		o.FileExistsBehavior = "OVERWRITE"
		h.Succeed(o)
		h.Matches("the overwritten file", `^a 0600: new$`, h.Tree(disk)[0])
	}},
	Case{Name: "a program that runs can be overwritten", Run: func(h *Host) {
		h.Shell(disk, "cp $(command -v sleep) tool; chmod 755 tool; ./tool 30 >/dev/null 2>&1 & echo $! > HOST/tool.pid-left")
		h.begin()
		o := h.Release("zip", "files: [{source: tool, destination: HOST/srv}]", "echo new > tool")
		o.FileExistsBehavior = "OVERWRITE"
		h.Succeed(o)
		h.HasTree("tool: new")
	}},
)

var _ = add(Security,
	Case{Name: "OVERWRITE replaces a link at the destination and never writes through it", Run: func(h *Host) {
		h.Shell(disk, "mkdir site; echo secret > passwd; ln -s ../passwd site/a; ln -s ../new site/b; ln -s HOST/srv/passwd site/c")
		h.begin()
		o := h.Release("zip", "files: [{source: www, destination: HOST/srv/site}]", "mkdir www; echo a > www/a; echo b > www/b; ln -s a www/c")
		o.FileExistsBehavior = "OVERWRITE"
		h.Succeed(o)
		h.HasTree("passwd: secret\nsite/\nsite/a: a\nsite/b: b\nsite/c -> a")
	}},
	Case{Name: "a dangling link at the destination never lets a file be made where it leads to", Run: func(h *Host) {
		h.begin()
		for i, behavior := range []string{"DISALLOW", "RETAIN", "OVERWRITE"} {
			h.Shell(disk, "mkdir -p site; ln -sf ../outside site/a")
			o := h.Release("zip", "files: [{source: a, destination: HOST/srv/site}]", "echo a > a")
			o.FileExistsBehavior, o.Group = behavior, fmt.Sprint("group-", i)
			h.Deploy(o)
			if h.Exists(disk, "outside") {
				h.Errorf("%s: the file was made outside", behavior)
			}
		}
	}},
	Case{Name: "a source that climbs out of the bundle is refused", Run: func(h *Host) {
		h.Shell(disk, "echo secret > secret")
		h.begin()
		for _, source := range []string{"../bundle.tar", "../../../../../../../../../../../../../../../HOST/srv/secret", "www/../../x", "/.."} {
			d := h.Fail("Install", h.Release("zip", "files: [{source: "+source+", destination: HOST/srv/site}]", "mkdir www; echo a > www/a"))
			h.Failure(d, 5, "", "source")
			h.HasTree("secret: secret")
		}
	}},
	Case{Name: "a source that leads out of the bundle through a link copies nothing from there", Run: func(h *Host) {
		h.Shell("secrets", "echo secret > secret; mkdir d; echo secret > d/s")
		h.begin()
		for _, source := range []string{"way/secret", "way/d", "way/d/s"} {
			h.Deploy(h.Release("zip", "files: [{source: "+source+", destination: HOST/srv/site}]", "ln -s HOST/secrets way"))
			for _, line := range h.Tree(disk) {
				h.Lacks("the tree", ": secret", line)
			}
		}
	}},
)
