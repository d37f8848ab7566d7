package behaviour

import (
	"archive/zip"
	"bytes"
	"os/exec"
	"path/filepath"
)

var _ = add(Files, placings(
	placed{
		name:    "a source and a destination with blanks, quotes and shell signs are taken literally",
		bundle:  "mkdir 'my; dir' ; echo a > \"my; dir/it's\"; echo b > 'my; dir/$(id)x'",
		appspec: "files: [{source: 'my; dir', destination: 'HOST/srv/a b; rm -rf $HOME `id`'}]",
		want:    "\"a b; rm -rf $HOME `id`\"/\n \"a b; rm -rf $HOME `id`/it's\": a\n \"a b; rm -rf $HOME `id`/$(id)x\": b",
	},
	placed{
		name:    "the destination / is the root of the disk",
		bundle:  "mkdir -p rootHOST/srv/deep; echo a > rootHOST/srv/deep/a",
		appspec: "files: [{source: root, destination: /}]",
		want:    "deep/\n deep/a: a",
	},
	placed{
		name:     "a directory without any rights of the customer can be deployed into by root",
		root:     true,
		host:     "mkdir site; echo mine > site/mine; chown 1:1 site; chmod 000 site",
		bundle:   "mkdir www; echo a > www/a",
		appspec:  "files: [{source: www, destination: HOST/srv/site}]",
		behavior: "OVERWRITE",
		want:     "site/ 0000 1:1\n site/a: a\n site/mine: mine",
	},
	placed{
		name:     "overwriting one name of a file leaves its other names alone",
		host:     "echo mine > a; ln a b",
		bundle:   "echo new > a",
		appspec:  "files: [{source: a, destination: HOST/srv}]",
		behavior: "OVERWRITE",
		want:     "a: new\n b: mine",
	},
)...)

var _ = add(Files,
	Case{Name: "an immutable file in the way is named, and the old tree stays whole", NeedsRoot: true, Run: func(h *Host) {
		h.begin()
		h.Succeed(site(h, "echo 1 > a; echo 1 > b; echo 1 > c"))
		frozen := h.Path(disk, "site", "b")
		if out, err := exec.Command("chattr", "+i", frozen).CombinedOutput(); err != nil {
			h.Logf("this file system knows no immutable files: %s", out)
			return
		}
		thaw := func() { _ = exec.Command("chattr", "-i", frozen).Run() }
		defer thaw()
		before := h.Tree(disk)
		h.Failure(h.Fail("Install", site(h, "echo 2 > a; echo 2 > b; echo 2 > d")), 5, "", "site/b")
		h.Same("the tree", before, h.Tree(disk))
		h.Failure(h.Fail("Install", site(h, "echo 2 > a")), 5, "", "site/b") // it would have to go
		h.Same("the tree", before, h.Tree(disk))
		thaw()
		h.Succeed(site(h, "echo 2 > a"))
		h.HasTree("site/\nsite/a: 2")
	}},
	Case{Name: "a pipe in a bundle is refused by name, instead of being read for ever", Run: func(h *Host) {
		h.begin()
		d := h.Fail("DownloadBundle", h.Release("tar", "files: [{source: www, destination: HOST/srv}]", "mkdir www; mkfifo www/the-pipe; echo a > www/a"))
		h.Failure(d, 5, "", "the-pipe")
		h.HasTree("")
	}},
	Case{Name: "a name that is one byte too long for the file system is refused by name, and nothing is changed", Run: func(h *Host) {
		h.Shell(disk, "echo mine > mine")
		h.begin()
		long := string(bytes.Repeat([]byte("n"), 256))
		d := h.Fail("Install", h.Release("zip", "files: [{source: a, destination: HOST/srv/"+long+"}]", "echo a > a"))
		h.Failure(d, 5, "", "nnnnn")
		h.HasTree("mine: mine")
	}},
	Case{Name: "a zip from Windows, with backslashes in its names, is unpacked into directories", Run: func(h *Host) {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		for name, text := range map[string]string{
			"appspec.yml": "version: 0.0\r\nos: linux\r\nfiles:\r\n  - source: www\r\n    destination: " + h.Path(disk, "site") + "\r\n",
			`www\a.txt`:   "a\n", `www\sub\b.txt`: "b\n",
		} {
			to, err := w.CreateHeader(&zip.FileHeader{Name: name, Modified: then, CreatorVersion: 0})
			if err == nil {
				_, err = to.Write([]byte(text))
			}
			if err != nil {
				h.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			h.Fatal(err)
		}
		h.begin()
		h.Succeed(placing(h.PushArchive("zip", h.file("windows.zip", b.Bytes()))))
		h.HasTree("site/\nsite/a.txt: a\nsite/sub/\nsite/sub/b.txt: b")
	}},
	Case{Name: "a bundle without any AppSpec file deploys nothing and leaves what is there", Run: func(h *Host) {
		h.begin()
		h.Succeed(site(h, "echo 1 > a"))
		dir := h.Made("mkdir www src; echo 2 > www/a; echo x > src/x")
		h.Failure(h.Fail("DownloadBundle", placing(h.PushArchive("tgz", h.Pack("tgz", dir)))), 5, "", `(?s)appspec\.yml.*(src|www)`)
		h.HasTree("site/\nsite/a: 1")
	}},
	Case{Name: "hooks find the bundle's files with their modes and links", Run: func(h *Host) {
		h.begin()
		o := h.withHook("files:", "mkdir lib; echo lib > lib/x; ln -s lib current; chmod 600 lib/x", "AfterInstall",
			"cd $(dirname $0); cat current/x > HOST/seen; stat -c %a lib/x >> HOST/seen; readlink current >> HOST/seen")
		h.Succeed(o)
		h.Same("what the hook saw", []string{"lib", "600", "lib"}, h.Lines("seen"))
	}},
	Case{Name: "a file that a hook changed after the Install is replaced by the next deployment", Run: func(h *Host) {
		h.begin()
		o := h.withHook("files: [{source: www, destination: HOST/srv/site}]", "mkdir www; echo template > www/conf", "AfterInstall",
			"echo filled in > HOST/srv/site/conf.tmp; mv HOST/srv/site/conf.tmp HOST/srv/site/conf; echo cache > HOST/srv/site/cache")
		for range 2 {
			h.Succeed(o)
			h.Same("the file", "filled in\n", h.Text(disk, "site", "conf"))
		}
		h.Succeed(h.Release("zip", "files:", "echo a > a"))
		h.Same("what is left", []string{"cache"}, names(h, disk, "site"))
	}},
)

// names are the names in a directory.
func names(h *Host, path ...string) []string {
	all := []string{}
	paths, _ := filepath.Glob(filepath.Join(h.Path(path...), "*"))
	for _, p := range paths {
		all = append(all, filepath.Base(p))
	}
	return all
}
