package behaviour

var _ = add(Files, placings(
	placed{
		name:    "a file goes into its destination under its own name, and missing directories above are made",
		bundle:  "mkdir www; echo hello > www/page",
		appspec: "files: [{source: www/page, destination: HOST/srv/a/b/site}]",
		want:    "a/\n a/b/\n a/b/site/\n a/b/site/page: hello",
	},
	placed{
		name:    "the content of a directory goes into its destination, empty files and directories included",
		bundle:  "mkdir -p www/css www/empty/er; echo hello > www/page; echo red > www/css/a.css; : > www/nothing; echo dot > www/.hidden",
		appspec: "files: [{source: www, destination: HOST/srv/site}]",
		want: `site/
			site/page: hello
			site/nothing: (empty)
			site/.hidden: dot
			site/css/
			site/css/a.css: red
			site/empty/
			site/empty/er/`,
	},
	placed{
		name:    "a source of / is the whole bundle, with its AppSpec file",
		bundle:  "echo hello > page",
		appspec: "files: [{source: /, destination: HOST/srv/site}]",
		want:    "site/\n site/page: hello\n site/appspec.yml: (AppSpec)",
	},
	placed{
		name:    "what the customer has in the destination stays",
		host:    "mkdir -p site/css; echo mine > site/mine; echo mine > site/css/mine; chmod 700 site",
		bundle:  "mkdir -p www/css; echo red > www/css/a.css",
		appspec: "files: [{source: www, destination: HOST/srv/site}]",
		want:    "site/ 0700\n site/mine: mine\n site/css/\n site/css/mine: mine\n site/css/a.css: red",
	},
	placed{
		name:   "several entries may fill one directory",
		bundle: "mkdir -p a/sub b/sub; echo a > a/sub/a; echo b > b/sub/b; echo c > c",
		appspec: `files:
  - {source: a, destination: HOST/srv/site}
  - {source: b, destination: HOST/srv/site/}
  - {source: c, destination: HOST/srv/site/sub}`,
		want: "site/\n site/sub/\n site/sub/a: a\n site/sub/b: b\n site/sub/c: c",
	},
	placed{
		name:    "one file may go to several places",
		bundle:  "echo a > a",
		appspec: "files: [{source: a, destination: HOST/srv/1}, {source: a, destination: HOST/srv/2}]",
		want:    "1/\n 1/a: a\n 2/\n 2/a: a",
	},
	placed{
		name:    "a destination that looks like a file becomes a directory",
		bundle:  "echo a > app.conf",
		appspec: "files: [{source: app.conf, destination: HOST/srv/etc/app.conf}]",
		want:    "etc/\n etc/app.conf/\n etc/app.conf/app.conf: a",
	},
	placed{
		name:    "stars in a source are letters like others",
		bundle:  "mkdir www; echo star > 'www/*.txt'; echo a > www/a.txt",
		appspec: "files: [{source: 'www/*.txt', destination: HOST/srv}]",
		want:    "*.txt: star",
	},
	placed{
		name:    "nothing to copy is fine",
		host:    "echo mine > mine",
		bundle:  "echo a > a",
		appspec: "files:",
		want:    "mine: mine",
	},
	placed{
		name:    "an empty directory of the bundle makes a directory",
		kind:    "tgz",
		bundle:  "mkdir www",
		appspec: "files: [{source: www, destination: HOST/srv/site/deep}]",
		want:    "site/\n site/deep/",
	},
	placed{
		name:    "dots in a destination mean what they mean in paths",
		host:    "mkdir x",
		bundle:  "echo a > a",
		appspec: "files: [{source: a, destination: HOST/srv/x/../site/./}]",
		want:    "x/\n site/\n site/a: a",
	},
	placed{
		name:    "a destination below a link to a directory is followed",
		host:    "mkdir real real/sub; ln -s real site; ln -s sub real/way",
		bundle:  "mkdir -p www/way/new; echo a > www/a; echo b > www/way/b; echo c > www/way/new/c",
		appspec: "files: [{source: www, destination: HOST/srv/site}]",
		want:    "site -> real\n real/\n real/a: a\n real/sub/\n real/way -> sub\n real/sub/b: b\n real/sub/new/\n real/sub/new/c: c",
	},
	placed{
		name:    "modes and times of files are kept, those of directories are not",
		kind:    "tar",
		bundle:  "mkdir -m 700 www; cd www; for m in 400 600 755 777 640; do echo $m > f$m; chmod $m f$m; done; touch -d @1234567890 f600",
		appspec: "files: [{source: www, destination: HOST/srv/site}]",
		want:    "site/\n site/f400 0400: 400\n site/f600 0600 @1234567890: 600\n site/f755 0755: 755\n site/f777 0777: 777\n site/f640 0640: 640",
	},
	placed{
		name:    "modes and times are kept from a zip, without setuid and setgid",
		bundle:  "mkdir -m 700 www; cd www; for m in 400 600 4755 2755 777; do echo $m > f$m; chmod $m f$m; done; touch -d @1234567890 f600",
		appspec: "files: [{source: www, destination: HOST/srv/site}]",
		want:    "site/\n site/f400 0400: 400\n site/f600 0600 @1234567890: 600\n site/f4755 0755: 4755\n site/f2755 0755: 2755\n site/f777 0777: 777",
	},
	placed{
		name:    "owners, setuid, setgid and the sticky bit are kept from a tar",
		root:    true,
		kind:    "tar",
		bundle:  "mkdir www; cd www; for m in 4755 2755 6711 1644; do echo $m > f$m; chown 1234:5678 f$m; chmod $m f$m; done; mkdir d; chown 1234:5678 d; echo x > d/x",
		appspec: "files: [{source: www, destination: HOST/srv/site}]",
		want: `site/
			site/f4755 4755 1234:5678: 4755
			site/f2755 2755 1234:5678: 2755
			site/f6711 6711 1234:5678: 6711
			site/f1644 1644 1234:5678: 1644
			site/d/
			site/d/x: x`,
	},
	placed{
		name:    "owners are kept from a tgz",
		root:    true,
		kind:    "tgz",
		bundle:  "echo a > a; chown 1:2 a",
		appspec: "files: [{source: a, destination: HOST/srv}]",
		want:    "a 1:2: a",
	},
	placed{
		name:    "owners are not kept from a zip: files are the agent's",
		root:    true,
		bundle:  "echo a > a; chown 1234:5678 a",
		appspec: "files: [{source: a, destination: HOST/srv}]",
		want:    "a: a",
	},
	placed{
		name:    "files keep their modes whatever the agent's umask, which directories go by",
		umask:   0o077,
		bundle:  "mkdir www; echo a > www/a; chmod 666 www/a",
		appspec: "files: [{source: www, destination: HOST/srv/site}]",
		want:    "site/ 0700\n site/a 0666: a",
	},
	placed{
		name:    "directories made in one that hands down its group get it",
		root:    true,
		host:    "mkdir site; chown 0:1 site; chmod 2775 site",
		bundle:  "mkdir -p www/sub; echo a > www/sub/a",
		appspec: "files: [{source: www, destination: HOST/srv/site}]",
		want:    "site/ 2775 0:1\n site/sub/ 2755 0:1\n site/sub/a: a",
	},
	placed{
		name: "links to files, absolute links and dangling ones are copied as links",
		host: "echo mine > mine; chmod 600 mine",
		bundle: `mkdir www other; cd www; echo a > a; echo o > ../other/o
ln -s a to-a; ln -s ../other/o out; ln -s HOST/srv/mine to-mine; ln -s nowhere dangling; ln -s /etc/passwd abs; ln -s '' x 2>/dev/null || :`,
		appspec: "files: [{source: www, destination: HOST/srv/site}]",
		want: `mine 0600: mine
			site/
			site/a: a
			site/to-a -> a
			site/out -> ../other/o
			site/to-mine -> HOST/srv/mine
			site/dangling -> nowhere
			site/abs -> /etc/passwd`,
	},
	placed{
		name:    "the same links out of a tar",
		kind:    "tar",
		bundle:  "mkdir www; cd www; echo a > a; ln -s a to-a; ln -s nowhere dangling; ln -s ../../../../../../etc/passwd out",
		appspec: "files: [{source: www, destination: HOST/srv/site}]",
		want:    "site/\n site/a: a\n site/to-a -> a\n site/dangling -> nowhere\n site/out -> ../../../../../../etc/passwd",
	},
	placed{
		name:    "a link that is the source itself is copied as a link",
		bundle:  "mkdir www; echo a > www/a; ln -s www/a current",
		appspec: "files: [{source: current, destination: HOST/srv}]",
		want:    "current -> www/a",
	},
	placed{
		name:    "a link to a directory of the bundle becomes a directory with its content",
		kind:    "tgz",
		bundle:  "mkdir -p www real/sub; echo a > real/a; ln -s ../a real/sub/up; ln -s ../real www/link",
		appspec: "files: [{source: www, destination: HOST/srv/site}]",
		want:    "site/\n site/link/\n site/link/a: a\n site/link/sub/\n site/link/sub/up -> ../a",
	},
	placed{
		name:    "a source that is a link to a directory of the bundle is that directory",
		bundle:  "mkdir -p releases/7; echo a > releases/7/a; ln -s releases/7 current",
		appspec: "files: [{source: current, destination: HOST/srv/site}]",
		want:    "site/\n site/a: a",
	},
	placed{
		name:    "a link to a directory outside of the bundle stays a link",
		host:    "mkdir data; echo mine > data/mine",
		bundle:  "mkdir www; ln -s HOST/srv/data www/data; ln -s /etc www/etc",
		appspec: "files: [{source: www, destination: HOST/srv/site}]",
		want:    "data/\n data/mine: mine\n site/\n site/data -> HOST/srv/data\n site/etc -> /etc",
	},
	placed{
		name:    "hard links become files of their own",
		kind:    "tar",
		bundle:  "mkdir www; cd www; echo a > a; ln a b; mkdir d; ln a d/c; chmod 640 a",
		appspec: "files: [{source: www, destination: HOST/srv/site}]",
		want:    "site/\n site/a 0640: a\n site/b 0640: a\n site/d/\n site/d/c 0640: a",
	},
	placed{
		name:    "files with holes arrive whole",
		kind:    "tar",
		bundle:  "mkdir www; truncate -s 1M www/hole; echo end >> www/hole; printf start | dd of=www/hole conv=notrunc status=none; cp www/hole dense",
		appspec: "files: [{source: www/hole, destination: HOST/srv}, {source: dense, destination: HOST/srv}]",
		want:    "hole: 1048580 bytes 7805081c245d\n dense: 1048580 bytes 7805081c245d",
	},
	placed{
		name:    "two entries for one path are refused",
		host:    "echo mine > mine",
		bundle:  "mkdir a b; echo 1 > a/x; echo 2 > b/x; echo 3 > c",
		appspec: "files: [{source: c, destination: HOST/srv}, {source: a, destination: HOST/srv}, {source: b, destination: HOST/srv}]",
		fails:   `srv/x`,
	},
	placed{
		name:    "the same file twice to the same place is refused",
		bundle:  "echo 1 > x",
		appspec: "files: [{source: x, destination: HOST/srv}, {source: x, destination: HOST/srv}]",
		fails:   `srv/x`,
	},
	placed{
		name:    "a file where another entry makes a directory is refused",
		bundle:  "mkdir -p a/x b; echo 1 > a/x/f; echo 2 > b/x",
		appspec: "files: [{source: a, destination: HOST/srv}, {source: b, destination: HOST/srv}]",
		fails:   `srv/x`,
	},
	placed{
		name:    "a directory where another entry copies a file is refused",
		bundle:  "mkdir -p a/x b; echo 1 > a/x/f; echo 2 > b/x",
		appspec: "files: [{source: b, destination: HOST/srv}, {source: a, destination: HOST/srv}]",
		fails:   `srv/x`,
	},
	placed{
		name:    "a source that is not in the bundle is refused by name",
		host:    "echo mine > mine",
		bundle:  "echo a > a",
		appspec: "files: [{source: a, destination: HOST/srv}, {source: www/gone, destination: HOST/srv}]",
		fails:   `www/gone`,
	},
	placed{
		name:    "a destination below a file is refused",
		host:    "echo mine > mine",
		bundle:  "echo a > a",
		appspec: "files: [{source: a, destination: HOST/srv/mine/sub}]",
		fails:   `srv/mine`,
	},
	placed{
		name:    "directories that lead into each other by links are refused",
		host:    "echo mine > mine",
		bundle:  "mkdir -p www/sub; echo a > www/a; ln -s .. www/sub/up",
		appspec: "files: [{source: www, destination: HOST/srv/site}]",
		fails:   `up`,
	},
)...)

// spellings of one source.
var _ = add(Files, func() []Case {
	rows := []placed{}
	for _, source := range []string{"www", "/www", "//www", "www/", "www//", "./www", "/./www", "www/.", "other/../www"} {
		rows = append(rows, placed{
			name:    "the source " + source + " is the directory www",
			bundle:  "mkdir www other; echo hello > www/page",
			appspec: "files: [{source: " + source + ", destination: HOST/srv/site}]",
			want:    "site/\n site/page: hello",
		})
	}
	for _, source := range []string{"page", "/page", "./page", "www/../page"} {
		rows = append(rows, placed{
			name:    "the source " + source + " is the file page",
			bundle:  "mkdir www; echo hello > page",
			appspec: "files: [{source: " + source + ", destination: HOST/srv/site/}]",
			want:    "site/\n site/page: hello",
		})
	}
	return placings(rows...)
}()...)
