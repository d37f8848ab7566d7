package behaviour

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"codedeploy-agent/internal/stub"
)

const wholeToSite = "files: [{source: /, destination: HOST/srv/site}]"

// packed makes a bundle with commands, and its archive with others, which run in the bundle and write to $OUT.
func (h *Host) packed(commands, appspec, pack string) (archive string) {
	h.Helper()
	dir := h.Made(commands)
	if appspec != "" {
		h.Write(filepath.Join(dir, "appspec.yml"), "version: 0.0\nos: linux\n"+appspec+"\n")
		h.Shell(dir, "")
	}
	out, err := os.CreateTemp(h.Dir, "archive-")
	if err != nil {
		h.Fatal(err)
	}
	_ = out.Close()
	_ = os.Remove(out.Name())
	h.Shell(dir, "OUT="+out.Name()+"\n"+pack)
	return out.Name()
}

// What an archive is called and what it is.
var _ = add(Files, func() []Case {
	cases := []Case{}
	for _, c := range []struct {
		kind, name, pack string
		fails            string
	}{
		{"tar", "a plain tar", "tar -cf $OUT .", ""},
		{"tar", "a tar without ./ before the names", "tar -cf $OUT *", ""},
		{"tar", "a tar compressed by gzip", "tar -czf $OUT .", ""},
		{"tar", "a tar compressed by bzip2", "tar -cjf $OUT .", ""},
		{"tar", "a v7 tar", "tar -cf $OUT --format=v7 .", ""},
		{"tar", "a ustar tar", "tar -cf $OUT --format=ustar .", ""},
		{"tar", "a tar of files alone, without directories", "find . ! -type d | tar -cf $OUT -T -", ""},
		{"tar", "a tar with a file twice, the later one counts", "echo older > www/a; tar -cf $OUT .; echo a > www/a; touch -d @1500000000 www/a; tar -rf $OUT ./www/a", ""},
		{"tar", "two tars in one file, of which the first counts", "tar -cf $OUT .; echo more > www/more; tar -cf more.tar www; cat more.tar >> $OUT", ""},
		{"tgz", "a tgz", "tar -czf $OUT .", ""},
		{"tgz", "a tgz in two gzip members", "tar -cf $OUT.t *; split -n 2 $OUT.t $OUT.t.; gzip -c $OUT.t.aa > $OUT; gzip -c $OUT.t.ab >> $OUT", ""},
		{"zip", "a zip", "zip -qry $OUT.zip .; mv $OUT.zip $OUT", ""},
		{"zip", "a zip without directories", "zip -qryD $OUT.zip .; mv $OUT.zip $OUT", ""},
		{"zip", "a zip without compression and extra fields", "zip -qryX0 $OUT.zip .; mv $OUT.zip $OUT", ""},
		{"zip", "a zip written to a pipe, its sizes behind the data", "rm www/link; cp -p www/a www/link; zip -qr - . | cat > $OUT", ""},
		{"zip", "a zip with something in front of it", "zip -qry $OUT.zip .; { echo '#!/bin/sh'; cat $OUT.zip; } > $OUT", ""},
		{"zip", "a zip with a comment", "zip -qry $OUT.zip .; echo 'PK a comment' | zip -qz $OUT.zip; mv $OUT.zip $OUT", ""},
		{"tgz", "a zip called tgz", "zip -qry $OUT.zip .; mv $OUT.zip $OUT", "zip"},
		{"tar", "a zip called tar", "zip -qry $OUT.zip .; mv $OUT.zip $OUT", "zip"},
		{"zip", "a tar called zip", "tar -cf $OUT .", "tar"},
		{"tar", "an empty file called tar", ": > $OUT", "empty|damaged"},
		{"tgz", "an empty file called tgz", ": > $OUT", "empty|damaged"},
		{"zip", "an empty file called zip", ": > $OUT", "empty|damaged"},
		{"zip", "a page called zip", "echo '<html>Not found</html>' > $OUT", "zip"},
		{"tar", "a tar cut short", "head -c 100000 /dev/urandom > r; tar -cf $OUT.t .; head -c 50000 $OUT.t > $OUT", "damaged|short|end"},
		{"tgz", "a tgz cut short", "head -c 100000 /dev/urandom > r; tar -czf $OUT.t .; head -c 50000 $OUT.t > $OUT", "damaged|short|end"},
		{"zip", "a zip cut short", "head -c 100000 /dev/urandom > r; zip -qry $OUT.zip .; head -c 50000 $OUT.zip > $OUT", "damaged|short|end"},
		{"tgz", "a tgz with a changed byte", "head -c 100000 /dev/urandom > r; tar -czf $OUT.t .; printf X | dd of=$OUT.t bs=1 seek=60000 conv=notrunc status=none; printf Y | dd of=$OUT.t bs=1 seek=60100 conv=notrunc status=none; cp $OUT.t $OUT", "damaged"},
		{"zip", "a zip with a changed byte", "head -c 100000 /dev/urandom > r; zip -qry0 $OUT.zip .; printf X | dd of=$OUT.zip bs=1 seek=60000 conv=notrunc status=none; printf Y | dd of=$OUT.zip bs=1 seek=60100 conv=notrunc status=none; mv $OUT.zip $OUT", "damaged"},
	} {
		verb := " deploys as "
		if c.fails != "" {
			verb = " is refused as "
		}
		cases = append(cases, Case{Name: c.name + verb + c.kind, Run: func(h *Host) {
			h.begin()
			h.Succeed(site(h, "echo old > old"))
			o := placing(h.PushArchive(c.kind, h.packed("mkdir www; echo a > www/a; ln -s a www/link; chmod 755 www/a",
				"files: [{source: www, destination: HOST/srv/site}]", c.pack)))
			if c.fails == "" {
				h.Succeed(o)
				link := "site/link -> a"
				if strings.Contains(c.pack, "cp -p www/a www/link") { // zip does not write links to pipes
					link = "site/link 0755: a"
				}
				h.HasTree("site/\nsite/a 0755: a\n" + link)
				return
			}
			h.Failure(h.Fail("DownloadBundle", o), 5, "", c.fails)
			h.HasTree("site/\nsite/old: old")
		}})
	}
	return cases
}()...)

// A single directory at the top.
var _ = add(Files, func() []Case {
	const spec = "printf 'version: 0.0\\nos: linux\\n" + wholeToSite + "\\n'"
	const inside = "mkdir app; echo a > app/a; " + spec + " > app/appspec.yml; "
	cases := []Case{}
	for _, c := range []struct{ name, make, want string }{
		{"with an AppSpec file is taken off", inside, "site/\nsite/a: a\nsite/appspec.yml: (AppSpec)"},
		{"is taken off once only", "mkdir app; " + spec + " > app/appspec.yml; mkdir app/app; echo a > app/app/a; echo x > app/app/appspec.yml",
			"site/\nsite/app/\nsite/app/a: a\nsite/app/appspec.yml: x\nsite/appspec.yml: (AppSpec)"},
		{"may hold something of its own name", inside + "mkdir app/app; echo b > app/app/b", "site/\nsite/a: a\nsite/app/\nsite/app/b: b\nsite/appspec.yml: (AppSpec)"},
		{"may have any name", "mkdir 'my app; 1.0'; echo a > 'my app; 1.0/a'; " + spec + " > 'my app; 1.0/appspec.yml'", "site/\nsite/a: a\nsite/appspec.yml: (AppSpec)"},
		{"keeps hidden files in it", inside + "echo h > app/.h; mkdir app/.d", "site/\nsite/a: a\nsite/.h: h\nsite/.d/\nsite/appspec.yml: (AppSpec)"},
	} {
		for _, kind := range []string{"zip", "tar", "tgz"} {
			cases = append(cases, Case{Name: "a single top directory " + c.name + " (" + kind + ")", Run: func(h *Host) {
				h.begin()
				dir := h.Made(c.make)
				h.Shell(dir, "sed -i s#HOST#"+h.Dir+"# */appspec.yml")
				h.Succeed(placing(h.PushArchive(kind, h.Pack(kind, dir))))
				h.HasTree(c.want)
			}})
		}
	}
	for _, c := range []struct{ name, make string }{
		{"without an AppSpec file in it stays", "mkdir app; echo a > app/a"},
		{"stays when something lies beside it", inside + "echo x > README"},
		{"stays when something hidden lies beside it", inside + "mkdir .git"},
		{"stays when only its own name contains appspec", "mkdir appspec-app; echo a > appspec-app/a"},
		{"is not a single file", "echo a > my-appspec.txt"},
		{"stays with the AppSpec file further down", "mkdir -p app/deep; echo x > app/deep/appspec.yml"},
	} {
		cases = append(cases, Case{Name: "a single top directory " + c.name + ", and DownloadBundle says what lies at the top instead of an AppSpec file", Run: func(h *Host) {
			h.begin()
			dir := h.Made(c.make)
			d := h.Fail("DownloadBundle", placing(h.PushArchive("tgz", h.Pack("tgz", dir))))
			entries, _ := os.ReadDir(dir)
			h.Failure(d, 5, "", `appspec\.yml`)
			for _, e := range entries {
				h.Failure(d, 5, "", e.Name())
			}
		}})
	}
	return append(cases,
		Case{Name: "what makes a single top directory be taken off is any name in it that contains appspec, whatever its case", Run: func(h *Host) {
			h.begin()
			dir := h.Made("mkdir app; echo a > app/a; printf 'version: 0.0\\nos: linux\\n" + wholeToSite + "\\n' > app/My-AppSpec.yaml")
			h.Shell(dir, "sed -i s#HOST#"+h.Dir+"# */My*")
			o := placing(h.PushArchive("zip", h.Pack("zip", dir)))
			o.AppSpecFilename = "My-AppSpec.yaml"
			h.Succeed(o)
			h.HasTree("site/\nsite/a: a\nsite/My-AppSpec.yaml: (AppSpec)")
		}},
	)
}()...)

var _ = add(Files,
	Case{Name: "the unpacked revision lies in deployment-archive, and the agent's folders are open to hooks of other users", Run: func(h *Host) {
		h.begin()
		o := h.Release("tar", "files:", "mkdir -m 700 www; echo a > www/a; chmod 700 .")
		info := h.Succeed(o)
		archive := h.Folder(info, "deployment-archive")
		h.Same("deployment-archive", []string{"appspec.yml: (AppSpec)", "www/ 0700", "www/a: a"}, h.Tree(archive))
		for _, dir := range []string{archive, h.Folder(info), filepath.Dir(h.Folder(info)), h.Root(), h.Instructions()} {
			if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
				h.Errorf("%s is %v (%v)", dir, info.Mode(), err)
			}
		}
	}},
	Case{Name: "bundle.tar goes after it was unpacked", Run: func(h *Host) {
		h.begin()
		info := h.Succeed(h.Release("zip", "files:", "echo a > a"))
		if h.Exists(h.Folder(info, "bundle.tar")) {
			h.Error("bundle.tar is still there")
		}
	}},
	Case{Name: "deployment-archive belongs to the agent, while installed files have the owners of the archive", NeedsRoot: true, Run: func(h *Host) {
		h.begin()
		o := site(h, "echo a > a; mkdir d; echo b > d/b; chown -R 1234:5678 .; chmod 4755 a")
		info := h.Succeed(o)
		h.Same("deployment-archive", []string{"appspec.yml: (AppSpec)", "www/", "www/a 0755: a", "www/d/", "www/d/b: b"}, h.Tree(h.Folder(info, "deployment-archive")))
		h.HasTree("site/\nsite/a 4755 1234:5678: a\nsite/d/\nsite/d/b 1234:5678: b")
	}},
	Case{Name: "with compatibility 1.x bundle.tar stays and deployment-archive has the owners of the archive", NeedsRoot: true, Run: func(h *Host) {
		h.Set("compatibility", "1.x")
		h.begin()
		info := h.Succeed(site(h, "echo a > a; chown 1234:5678 a; chmod 4755 a"))
		if !h.Exists(h.Folder(info, "bundle.tar")) {
			h.Error("bundle.tar is gone")
		}
		h.Same("deployment-archive", []string{"appspec.yml: (AppSpec)", "www/", "www/a 4755 1234:5678: a"}, h.Tree(h.Folder(info, "deployment-archive")))
		h.HasTree("site/\nsite/a 4755 1234:5678: a")
	}},
	Case{Name: "an ETag that differs is refused, quote marks around it mean nothing, and none means no check", Run: func(h *Host) {
		h.begin()
		o := site(h, "echo a > a")
		etag := strings.Trim(o.Revision.ETag, `"`)
		for i, e := range []string{"", etag, `"` + etag + `"`} {
			o.Revision.ETag, o.Group = e, fmt.Sprint("good-", i)
			h.Succeed(o)
			h.HasTree("site/\nsite/a: a")
			h.clear()
		}
		o.Revision.ETag, o.Group = "0123456789abcdef0123456789abcdef", "bad"
		h.Failure(h.Fail("DownloadBundle", o), 5, "", "0123456789abcdef0123456789abcdef")
		h.HasTree("")
	}},
	Case{Name: "the version of the object that the deployment names is fetched", Run: func(h *Host) {
		h.begin()
		versions := []string{}
		path := ""
		for _, text := range []string{"one", "two"} {
			archive := h.Pack("zip", h.releaseDir("files: [{source: a, destination: HOST/srv}]", "echo "+text+" > a"))
			if path == "" {
				path = archive
			} else {
				h.Shell(filepath.Dir(path), "cp "+archive+" "+path)
			}
			versions = append(versions, h.PushArchive("zip", path).Version)
		}
		o := placing(h.PushArchive("zip", path))
		if len(versions) != 2 || versions[0] == versions[1] {
			h.Log("the twin keeps no versions of one object under one name")
			return
		}
		o.Revision.Version, o.Revision.ETag = versions[0], ""
		h.Deploy(o)
		reads := 0
		for _, r := range h.Twin.Transcript() {
			if strings.Contains(r.Path+r.Query, "versionId="+versions[0]) {
				reads++
			}
		}
		if reads == 0 {
			h.Error("nothing was read by its version")
		}
	}},
	Case{Name: "an object that is not there, and a bucket that is not, fail by name", Run: func(h *Host) {
		h.begin()
		o := site(h, "echo a > a")
		good := o.Revision
		o.Revision.Key, o.Revision.Version = "no-such-key.zip", ""
		h.Failure(h.Fail("DownloadBundle", o), 5, "", "no-such-key.zip")
		o.Revision = good
		o.Revision.Bucket = "no-such-bucket"
		h.Failure(h.Fail("DownloadBundle", o), 5, "", "no-such-bucket")
	}},
	Case{Name: "DownloadBundle may come twice: the revision is unpacked anew", Run: func(h *Host) {
		h.begin()
		o := site(h, "echo a > a")
		o.Events = []string{"DownloadBundle", "DownloadBundle", "Install"}
		info := h.Succeed(o)
		h.Same("deployment-archive", []string{"appspec.yml: (AppSpec)", "www/", "www/a: a"}, h.Tree(h.Folder(info, "deployment-archive")))
		h.HasTree("site/\nsite/a: a")
	}},
	Case{Name: "Install may come twice", Run: func(h *Host) {
		h.begin()
		o := site(h, "echo a > a")
		o.Events = []string{"DownloadBundle", "Install", "Install"}
		h.Succeed(o)
		h.HasTree("site/\nsite/a: a")
	}},
	Case{Name: "a local directory is copied whole: modes, times, links, hidden and empty things", Run: func(h *Host) {
		h.begin()
		dir := h.releaseDir("files: [{source: www, destination: HOST/srv/site}]", "mkdir -p www/empty; cd www; echo a > a; chmod 750 a; ln -s a link; echo h > .h; touch -d @1234567890 .h")
		h.Succeed(placing(stub.Revision{Type: "Local Directory", Location: dir, BundleType: "directory"}))
		h.HasTree("site/\nsite/a 0750: a\nsite/link -> a\nsite/.h @1234567890: h\nsite/empty/")
	}},
	Case{Name: "a local file is unpacked and stays", Run: func(h *Host) {
		h.begin()
		for _, kind := range []string{"tar", "tgz", "zip"} {
			archive := h.Pack(kind, h.releaseDir("files: [{source: www, destination: HOST/srv/site}]", "mkdir www; echo "+kind+" > www/a"))
			h.Succeed(placing(stub.Revision{Type: "Local File", Location: archive, BundleType: kind}))
			h.HasTree("site/\nsite/a: " + kind)
			if !h.Exists(archive) {
				h.Error("the customer's archive is gone")
			}
		}
	}},
)

// releaseDir is the directory of a bundle with an AppSpec file, of which the text is what is below version and os.
func (h *Host) releaseDir(appspec, commands string) string {
	h.Helper()
	dir := h.Made(commands)
	h.Write(filepath.Join(dir, "appspec.yml"), "version: 0.0\nos: linux\n"+appspec+"\n")
	h.Shell(dir, "")
	return dir
}
