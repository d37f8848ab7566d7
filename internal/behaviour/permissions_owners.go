package behaviour

var _ = add(Permissions, placings(
	rights(placed{
		name: "an owner, a group, and both",
		root: true,
		want: tree("site/page 1:0", "site/run.sh 0:1", "site/.hidden 1:2", "site/bin/tool 1:2"),
	}, `object: HOST/srv/site/page, owner: daemon`, `object: HOST/srv/site/run.sh, group: daemon`, `object: HOST/srv/site/.hidden, owner: daemon, group: bin`,
		`object: HOST/srv/site/bin/tool, owner: 1, group: "2"`),
	rights(placed{
		name: "an owner for everything below a directory",
		root: true,
		want: tree(append(under("1:0", allFiles...), under("1:0", allDirectories...)...)...),
	}, `object: HOST/srv/site, owner: daemon`),
	rights(placed{
		name: "numbers that are nobody's are owners, too",
		root: true,
		want: tree("site/page 45678:56789"),
	}, `object: HOST/srv/site/page, owner: "45678", group: 56789`),
	rights(placed{
		name:   "owner and group that are not named stay those of the archive",
		root:   true,
		kind:   "tar",
		bundle: "mkdir www; cd www; for f in a b c; do echo $f > $f; chown 1234:5678 $f; done",
		want:   "site/\n site/a 1:5678: a\n site/b 1234:1: b\n site/c 0600 1234:5678: c",
	}, `object: HOST/srv/site/a, owner: daemon`, `object: HOST/srv/site/b, group: daemon`, `object: HOST/srv/site/c, mode: 600`),
	rights(placed{
		name:  "an unknown owner is refused, and nothing is changed",
		root:  true,
		host:  "mkdir site; echo mine > site/mine",
		fails: `no-such-user`,
	}, `object: HOST/srv/site, mode: 700, owner: no-such-user`),
	rights(placed{
		name:  "an unknown group is refused, and nothing is changed",
		root:  true,
		fails: `no-such-group`,
	}, `object: HOST/srv/site, group: no-such-group`),
	rights(placed{
		name: "an unknown owner of an object that does not exist is no matter",
		root: true,
		want: tree(),
	}, `object: HOST/srv/site/nothing, owner: root`),
	rights(placed{
		name:   "what a copied link leads to keeps its owner",
		root:   true,
		host:   "echo mine > mine",
		bundle: "mkdir www; ln -s HOST/srv/mine www/link; echo a > www/a",
		want:   "mine: mine\n site/\n site/a 1:2: a\n site/link 1:2 -> HOST/srv/mine",
	}, `object: HOST/srv/site, owner: daemon, group: bin`),
)...)

var _ = add(Correctness, placings(
	rights(placed{
		name: "setuid and setgid survive an owner in the same entry",
		root: true,
		want: tree("site/bin/tool 4755 1:2", "site/run.sh 2755 0:2", "site/page 6750 1:0"),
	}, `object: HOST/srv/site/bin/tool, mode: 4755, owner: daemon, group: bin`, `object: HOST/srv/site/run.sh, mode: "2755", group: bin`,
		`object: HOST/srv/site/page, mode: 6750, owner: daemon`),
	rights(placed{
		name: "mode: 0644 without quotes is rw-r--r--, not the decimal number of it",
		want: tree(append(under("0640", "page"), under("0755", "run.sh")...)...),
	}, `object: HOST/srv/site/page, mode: 0640`, `object: HOST/srv/site/run.sh, mode: 0755`, `object: HOST/srv/site/bin, mode: 0644, type: [file]`),
)...)
