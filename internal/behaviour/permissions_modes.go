package behaviour

import "strings"

// tool is a bundle with a few files at several depths, which the permission entries of cases are about.
const tool = `mkdir -p www/bin/deep www/etc; cd www
for f in run.sh page bin/tool.sh bin/tool bin/deep/deep.sh bin/deep/deep etc/app.conf .hidden; do echo $f > $f; done`

// rights deploys the bundle tool to HOST/srv/site with permission entries, given as the lines of a YAML list.
func rights(p placed, entries ...string) placed {
	if p.bundle == "" {
		p.bundle = tool
	}
	p.appspec = "files: [{source: www, destination: HOST/srv/site}]\npermissions:\n"
	for _, e := range entries {
		p.appspec += "  - {" + e + "}\n"
	}
	return p
}

// tree is what the bundle tool becomes, with everything as it is usual but for what the lines say: a path and what
// stands behind it, such as "run.sh 0755".
func tree(differences ...string) string {
	var b strings.Builder
	for line := range strings.SplitSeq("site/ site/bin/ site/bin/deep/ site/etc/ site/run.sh site/page site/bin/tool.sh site/bin/tool site/bin/deep/deep.sh site/bin/deep/deep site/etc/app.conf site/.hidden", " ") {
		for _, d := range differences {
			if path, rest, _ := strings.Cut(d, " "); path == line {
				line += " " + rest
				break
			}
		}
		path, _, _ := strings.Cut(line, " ")
		if !strings.HasSuffix(path, "/") {
			line += ": " + strings.TrimPrefix(path, "site/")
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// under is tree with the same behind each of the paths.
func under(rest string, paths ...string) []string {
	all := []string{}
	for _, p := range paths {
		all = append(all, "site/"+p+" "+rest)
	}
	return all
}

var allFiles = []string{"run.sh", "page", "bin/tool.sh", "bin/tool", "bin/deep/deep.sh", "bin/deep/deep", "etc/app.conf", ".hidden"}
var allDirectories = []string{"bin/", "bin/deep/", "etc/"}

var _ = add(Permissions, placings(
	rights(placed{
		name: "an entry without pattern and type is for everything below the object, whatever the depth, and not for the object",
		want: tree(append(under("0700", allFiles...), under("0700", allDirectories...)...)...),
	}, `object: HOST/srv/site, mode: 700`),
	rights(placed{
		name: "the pattern ** is for everything below the object",
		want: tree(append(under("0700", allFiles...), under("0700", allDirectories...)...)...),
	}, `object: HOST/srv/site, pattern: "**", mode: 700`),
	rights(placed{
		name: "type file is for files at any depth",
		want: tree(under("0600", allFiles...)...),
	}, `object: HOST/srv/site, type: [file], mode: 600`),
	rights(placed{
		name: "type directory is for directories at any depth",
		want: tree(under("0711", allDirectories...)...),
	}, `object: HOST/srv/site, type: [directory], mode: 711`),
	rights(placed{
		name: "a type need not be a list",
		want: tree(under("0600", allFiles...)...),
	}, `object: HOST/srv/site, type: file, mode: 600`),
	rights(placed{
		name: "both types are the same as none",
		want: tree(append(under("0700", allFiles...), under("0700", allDirectories...)...)...),
	}, `object: HOST/srv/site, type: [directory, file], mode: 700`),
	rights(placed{
		name: "the pattern * is for what lies directly in the object, hidden files included",
		want: tree(append(under("0700", "run.sh", "page", ".hidden"), under("0700", "bin/", "etc/")...)...),
	}, `object: HOST/srv/site, pattern: "*", mode: 700`),
	rights(placed{
		name: "a pattern with a star is for direct children only",
		want: tree(under("0755", "run.sh")...),
	}, `object: HOST/srv/site, pattern: "*.sh", mode: 755`),
	rights(placed{
		name: "a pattern without a star is a name",
		want: tree(under("0755", "bin/tool")...),
	}, `object: HOST/srv/site/bin, pattern: tool, mode: 755`),
	rights(placed{
		name: "stars stand for any letters, none included, anywhere in the name",
		want: tree(under("0755", "run.sh")...),
	}, `object: HOST/srv/site, pattern: "*r*n*.s*h*", mode: 755`),
	rights(placed{
		name: "a pattern with a slash never matches",
		want: tree(),
	}, `object: HOST/srv/site, pattern: "bin/*", mode: 755`, `object: HOST/srv/site, pattern: "bin/tool", mode: 755`, `object: HOST/srv/site, pattern: "**/*.sh", mode: 755`),
	rights(placed{
		name:   "question marks, brackets and braces are letters",
		bundle: "mkdir www; cd www; for f in a b '?' '[ab]' '{a,b}' '\\a'; do echo x > \"$f\"; done",
		want:   "site/\n site/a: x\n site/b: x\n site/? 0600: x\n site/[ab] 0640: x\n site/{a,b} 0700: x\n \"site/\\\\a\" 0400: x",
	}, `object: HOST/srv/site, pattern: "?", mode: 600`, `object: HOST/srv/site, pattern: "[ab]", mode: 640`,
		`object: HOST/srv/site, pattern: "{a,b}", mode: 700`, `object: HOST/srv/site, pattern: '\a', mode: 400`),
	rights(placed{
		name: "except leaves out direct children, and with a directory not what is in it",
		want: tree(append(under("0700", "page", ".hidden", "bin/tool.sh", "bin/tool", "bin/deep/deep.sh", "bin/deep/deep", "etc/app.conf"), under("0700", "bin/deep/", "etc/")...)...),
	}, `object: HOST/srv/site, except: ["*.sh", bin], mode: 700`),
	rights(placed{
		name: "except: ** leaves out all direct children",
		want: tree(append(under("0700", "bin/tool.sh", "bin/tool", "bin/deep/deep.sh", "bin/deep/deep", "etc/app.conf"), under("0700", "bin/deep/")...)...),
	}, `object: HOST/srv/site, except: ["**"], mode: 700`),
	rights(placed{
		name: "except with a slash leaves out nothing",
		want: tree(under("0600", allFiles...)...),
	}, `object: HOST/srv/site, except: ["bin/tool"], type: [file], mode: 600`),
	rights(placed{
		name: "except need not be a list, and goes with a pattern",
		want: tree(under("0600", "page", ".hidden")...),
	}, `object: HOST/srv/site, pattern: "*", except: "*.sh", type: [file], mode: 600`),
	rights(placed{
		name: "an object that is a file of this deployment gets what the entry says",
		want: tree(under("0755", "bin/tool")...),
	}, `object: HOST/srv/site/bin/tool, mode: 755`, `object: HOST/srv/site/run.sh, mode: 700, type: [directory]`),
	rights(placed{
		name: "slashes and dots in an object mean nothing",
		want: tree(append(under("0755", "bin/tool"), under("0600", "etc/app.conf")...)...),
	}, `object: HOST/srv//site/./etc/../bin/tool, mode: 755`, `object: HOST/srv/site/etc//, mode: 600`),
	rights(placed{
		name:  "an object that is a file cannot have a pattern",
		fails: `srv/site/page`,
	}, `object: HOST/srv/site/page, pattern: "*", mode: 755`),
	rights(placed{
		name:  "an object that is a file cannot have exceptions",
		fails: `srv/site/page`,
	}, `object: HOST/srv/site/page, except: [page], mode: 755`),
	rights(placed{
		name: "an object that is not there, and a relative one, match nothing",
		want: tree(),
	}, `object: HOST/srv/nowhere, mode: 700`, `object: srv/site, mode: 700`, `object: HOST/srv/sit, mode: 700`, `object: "HOST/srv/sit*", mode: 700`),
	rights(placed{
		name: "the object / is for what this deployment made, and nothing else of the disk",
		host: "echo mine > mine; mkdir dir",
		want: "mine: mine\n dir/\n" + tree(under("0600", allFiles...)...),
	}, `object: /, type: [file], mode: 600`),
	rights(placed{
		name: "the object / is for the directories that this deployment made, the destination included",
		host: "mkdir dir",
		want: "dir/\n" + tree(append(under("0711", allDirectories...), "site/ 0711")...),
	}, `object: /, type: [directory], mode: 711`),
	rights(placed{
		name: "files and directories that were there before stay as they are",
		host: "mkdir -p site/bin/mine; echo mine > site/bin/own; echo mine > site/bin/mine/own; chmod 700 site/bin site/bin/mine",
		want: tree(append(append(under("0751", allFiles...), under("0751", "bin/deep/", "etc/")...), "site/bin/ 0700")...) +
			"site/bin/own: mine\n site/bin/mine/ 0700\n site/bin/mine/own: mine",
	}, `object: HOST/srv/site, mode: 751`),
	rights(placed{
		name:     "a file that was retained stays as it is",
		host:     "mkdir site; echo mine > site/page; chmod 640 site/page",
		behavior: "RETAIN",
		want: strings.Replace(tree(append(under("0600", "run.sh", "bin/tool.sh", "bin/tool", "bin/deep/deep.sh", "bin/deep/deep", "etc/app.conf", ".hidden"),
			"site/page 0640")...), "0640: page", "0640: mine", 1),
	}, `object: HOST/srv/site, type: [file], mode: 600`),
	rights(placed{
		name: "a retained file that is the object stays as it is",
		host: "mkdir site; echo mine > site/page; chmod 640 site/page", behavior: "RETAIN",
		want: strings.Replace(tree("site/page 0640"), "0640: page", "0640: mine", 1),
	}, `object: HOST/srv/site/page, mode: 600`),
	rights(placed{
		name:     "a file that was overwritten gets what the entry says",
		host:     "mkdir site; echo mine > site/page; chmod 640 site/page",
		behavior: "OVERWRITE",
		want:     tree(under("0600", "page")...),
	}, `object: HOST/srv/site/page, mode: 600`),
	rights(placed{
		name:   "what a copied link leads to stays as it is",
		host:   "echo mine > mine",
		bundle: "mkdir www; ln -s HOST/srv/mine www/link; ln -s nowhere www/dangling; echo a > www/a",
		want:   "mine: mine\n site/\n site/a 0600: a\n site/link -> HOST/srv/mine\n site/dangling -> nowhere",
	}, `object: HOST/srv/site, mode: 600`),
	rights(placed{
		name:  "an object in two entries is refused",
		fails: `srv/site/run.sh`,
	}, `object: HOST/srv/site, pattern: "*.sh", mode: 755`, `object: HOST/srv/site/run.sh, mode: 700`),
	rights(placed{
		name:  "an object that two patterns match is refused",
		fails: `srv/site/(run.sh|bin|page|etc|\.hidden)`,
	}, `object: HOST/srv/site, mode: 755`, `object: HOST/srv/site, pattern: "*.sh", mode: 700`),
	rights(placed{
		name: "entries that share no object are fine",
		want: tree(append(under("0755", "run.sh"), under("0600", "page", ".hidden")...)...),
	}, `object: HOST/srv/site, pattern: "*.sh", mode: 755`, `object: HOST/srv/site, except: ["*.sh"], pattern: "*", type: [file], mode: 600`),
	rights(placed{
		name: "the directories above a destination belong to what the deployment made",
		want: tree("site/ 0750"),
	}, `object: HOST/srv, pattern: site, mode: 750`),
)...)

// Ways to write a mode.
var _ = add(Permissions, func() []Case {
	rows := []placed{}
	for written, mode := range map[string]string{
		"644": "", "0644": "", `"0644"`: "", `"644"`: "", "'0755'": "0755", "0755": "0755", "755": "0755", "75": "0075", "6": "0006", `"6"`: "0006",
		"4755": "4755", "2750": "2750", "1777": "1777", "0": "0000", "000": "0000", "0600": "0600", "7777": "7777",
	} {
		want := "site/\n site/a"
		if mode != "" {
			want += " " + mode
		}
		rows = append(rows, rights(placed{
			root: strings.HasPrefix(mode, "00"), // nobody else could read it
			name: "mode: " + written + " is " + mode + strings.Repeat("0644", 1-min(1, len(mode))), bundle: "mkdir www; echo a > www/a",
			want: want + ": a",
		}, "object: HOST/srv/site/a, mode: "+written))
	}
	return placings(rows...)
}()...)

// What is no mode is refused before anything happens.
var _ = add(AppSpecs, func() []Case {
	cases := []Case{}
	for _, written := range []string{"888", "0789", "12345", "u+x", "-1", "rwxr-xr-x", "6.4", "0o644", "[6]", `"64 4"`} {
		cases = append(cases, Case{Name: "mode: " + written + " is refused with its line", Run: func(h *Host) {
			h.begin()
			o := h.Release("zip", "files: [{source: a, destination: HOST/srv}]\npermissions:\n  - object: HOST/srv/a\n    mode: "+written, "echo a > a")
			h.Failure(h.Fail("DownloadBundle", o), 5, "", `appspec\.yml:6\b(.|\n)*mode`)
			h.HasTree("")
		}})
	}
	return cases
}()...)
