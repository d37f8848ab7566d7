package behaviour

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"strings"

	"codedeploy-agent/internal/stub"
)

// member is an entry of a hostile archive. HOST in names and targets is the host's directory.
type member struct {
	name, text, link, hard string
	mode                   int64
	device                 bool
}

const plainAppSpec = "version: 0.0\nos: linux\nfiles:\n  - {source: www, destination: HOST/www}\n"

// hostile packs members behind an AppSpec file and puts the archive into S3.
func (h *Host) hostile(kind string, members ...member) stub.Revision {
	h.Helper()
	members = append([]member{{name: "appspec.yml", text: plainAppSpec}, {name: "www/page", text: "page\n"}}, members...)
	here := func(s string) string { return strings.ReplaceAll(s, "HOST", h.Dir) }
	var b bytes.Buffer
	var err error
	if kind == "zip" {
		w := zip.NewWriter(&b)
		for _, m := range members {
			header := &zip.FileHeader{Name: here(m.name), Method: zip.Deflate}
			header.SetMode(0o644)
			text := here(m.text)
			if m.link != "" {
				header.SetMode(os.ModeSymlink | 0o777)
				text = here(m.link)
			}
			f, e := w.CreateHeader(header)
			if e == nil {
				_, e = f.Write([]byte(text))
			}
			if e != nil {
				h.Fatal(e)
			}
		}
		err = w.Close()
	} else {
		w := tar.NewWriter(&b)
		for _, m := range members {
			text := here(m.text)
			header := &tar.Header{Name: here(m.name), Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}
			switch {
			case m.device:
				header.Typeflag, header.Devmajor, header.Devminor = tar.TypeChar, 1, 3
			case m.link != "":
				header.Typeflag, header.Linkname, header.Size = tar.TypeSymlink, here(m.link), 0
			case m.hard != "":
				header.Typeflag, header.Linkname, header.Size = tar.TypeLink, here(m.hard), 0
			}
			if m.mode != 0 {
				header.Mode = m.mode
			}
			e := w.WriteHeader(header)
			if e == nil && header.Size > 0 {
				_, e = w.Write([]byte(text))
			}
			if e != nil {
				h.Fatal(e)
			}
		}
		err = w.Close()
	}
	if err != nil {
		h.Fatal(err)
	}
	if h.Twin == nil {
		h.Service(stub.Options{})
	}
	r, err := h.Twin.PushStream(&b, "hostile", kind)
	if err != nil {
		h.Fatal(err)
	}
	return r
}

// escaping is a case about an archive with a member that leads out of it: the deployment fails in DownloadBundle, names
// the member, leaves everything outside alone, and the next deployment works.
func escaping(name, kind, message string, members ...member) Case {
	return Case{Name: "2: refused in a " + kind + ": " + name, Run: func(h *Host) {
		h.Write("victim/passwd", "untouched\n")
		h.Start()
		d := h.Fail("DownloadBundle", stub.DeployOptions{Revision: h.hostile(kind, members...)})
		h.Failure(d, 5, "", message)
		h.Same("victim", []string{"passwd"}, h.Entries("victim"))
		h.Same("its file", "untouched\n", h.Text("victim/passwd"))
		h.Succeed(stub.DeployOptions{Revision: h.Push(web("AfterInstall"))})
		h.OneReportEach()
	}}
}

// OneReportEach is OneReport where no-ops were not reported at all.
func (h *Host) OneReportEach() {
	h.Helper()
	for _, c := range h.Twin.Commands() {
		if c.Noop != nil && *c.Noop {
			continue
		}
		h.Same("reports of "+c.Name, 1, len(c.Reports))
	}
}

var _ = add(Security,
	escaping("a file below a link that leads out", "tar", `dir/evil`, member{name: "dir", link: "HOST/victim"}, member{name: "dir/evil", text: "x"}),
	escaping("a file below a link that leads out", "zip", `dir/evil`, member{name: "dir", link: "HOST/victim"}, member{name: "dir/evil", text: "x"}),
	escaping("a file below a relative link that leads out", "tar", `dir/evil`, member{name: "dir", link: "../../../../../victim"}, member{name: "dir/evil", text: "x"}),
	escaping("a file over a link that leads out is not written through it: its name twice", "zip", `.`, member{name: "f", link: "HOST/victim/passwd"}, member{name: "f/x", text: "x"}),
	escaping("a name with ..", "tar", `\.\./`, member{name: "../../../../../victim/evil", text: "x"}),
	escaping("a name with ..", "zip", `\.\./`, member{name: "../../../../../victim/evil", text: "x"}),
	escaping("a hard link to a file outside", "tar", `hard`, member{name: "hard", hard: "HOST/victim/passwd"}, member{name: "hard", text: "overwritten\n"}),
	escaping("a hard link with ..", "tar", `hard`, member{name: "hard", hard: "../../../../../victim/passwd"}),
	escaping("a link to a link that leads out", "tar", `b/evil`, member{name: "a", link: "HOST/victim"}, member{name: "b", link: "a"}, member{name: "b/evil", text: "x"}),
	escaping("a device", "tar", `null`, member{name: "null", device: true}),

	Case{Name: "2: an absolute name in a tar loses its slash, as with GNU tar", Run: func(h *Host) {
		h.Start()
		info := h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle"}, Revision: h.hostile("tar", member{name: "HOST/victim/inside", text: "x"})})
		h.Same("outside", false, h.Exists("victim"))
		h.Same("inside", "x", h.Text(h.Folder(info, "deployment-archive", h.Dir, "victim/inside")))
	}},
	Case{Name: "2: links that lead out are unpacked as links as long as nothing is written through them", Run: func(h *Host) {
		h.Start()
		r := h.hostile("tar", member{name: "www/python", link: "/usr/bin/python3"}, member{name: "www/dangling", link: "no/where"}, member{name: "www/up", link: "../../../x"})
		h.Succeed(stub.DeployOptions{Revision: r})
		for name, want := range map[string]string{"python": "/usr/bin/python3", "dangling": "no/where", "up": "../../../x"} {
			got, _ := os.Readlink(h.Path("www", name))
			h.Same(name, want, got)
		}
	}},
	Case{Name: "2: a tar that replaces a link by a file of the same name writes the file in its place", Run: func(h *Host) {
		h.Write("victim/passwd", "untouched\n")
		h.Start()
		info := h.Deploy(stub.DeployOptions{Events: []string{"DownloadBundle"}, Revision: h.hostile("tar", member{name: "f", link: "HOST/victim/passwd"}, member{name: "f", text: "mine\n"})})
		h.Same("victim", "untouched\n", h.Text("victim/passwd"))
		if info.Status == stub.Succeeded {
			h.Same("the file", "mine\n", h.Text(h.Folder(info, "deployment-archive", "f")))
		}
	}},
)

// outside is a case about an AppSpec file that points out of its revision.
func outside(name, appSpec, event string, code int, message string) Case {
	return Case{Name: "3: " + name, Run: func(h *Host) {
		h.Write("secret/hook.sh", "#!/bin/sh\necho ran > HOST/ran\n")
		h.Start()
		info := h.Deploy(stub.DeployOptions{Revision: h.Push(Bundle{"appspec.yml": appSpec, "hook.sh": "#!/bin/sh\n", "www/page": "x"})})
		h.Same("the deployment", stub.Failed, info.Status)
		for _, e := range info.Hosts[0].Events {
			if e.Status == stub.Failed {
				h.Same("where it failed", true, e.Name == event || e.Name == "DownloadBundle")
				h.Matches("message", message, e.Diagnostics.Message)
				if code != e.Diagnostics.ErrorCode {
					h.Errorf("code %d", e.Diagnostics.ErrorCode)
				}
			}
		}
		h.Same("a script outside ran", false, h.Exists("ran"))
		h.Same("something was copied", false, h.Exists("www"))
	}}
}

const upOut = "../../../../../secret"

var _ = add(Security,
	outside("a source with .. is refused", "version: 0.0\nos: linux\nfiles:\n  - {source: "+upOut+", destination: HOST/www}\n", "Install", 5, `\.\.`),
	outside("a source that goes down and up again is refused", "version: 0.0\nos: linux\nfiles:\n  - {source: www/../"+upOut+", destination: HOST/www}\n", "Install", 5, `\.\.`),
	outside("a location with .. is refused", "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: "+upOut+"/hook.sh\n", "AfterInstall", 5, `hook\.sh`),
	Case{Name: "3: a location that is a link out of the bundle is refused", Run: func(h *Host) {
		h.Write("secret/hook.sh", "#!/bin/sh\necho ran > HOST/ran\n")
		h.Start()
		dir := h.Directory(hookBundle("#!/bin/sh\n"))
		_ = os.Remove(filepath.Join(dir, "hook.sh"))
		if err := os.Symlink(h.Path("secret/hook.sh"), filepath.Join(dir, "hook.sh")); err != nil {
			h.Fatal(err)
		}
		h.Fail("AfterInstall", stub.DeployOptions{Events: hookEvents, Revision: h.PushAs("tar", dir)})
		h.Same("it ran", false, h.Exists("ran"))
	}},
	Case{Name: "3: a location that is a link inside the bundle runs", Run: func(h *Host) {
		h.Start()
		dir := h.Directory(hookBundle("#!/bin/sh\n"))
		_ = os.Remove(filepath.Join(dir, "hook.sh"))
		h.Write(filepath.Join(dir, "bin/real.sh"), "#!/bin/sh\necho ran > HOST/ran\n")
		if err := os.Symlink("bin/real.sh", filepath.Join(dir, "hook.sh")); err != nil {
			h.Fatal(err)
		}
		h.Succeed(stub.DeployOptions{Events: hookEvents, Revision: h.PushAs("tar", dir)})
		h.Same("it ran", true, h.Exists("ran"))
	}},
	Case{Name: "4: OVERWRITE replaces a link at the destination and leaves what it points to alone", Run: func(h *Host) {
		h.Write("victim", "untouched\n")
		h.Write("www/x", "")
		if err := os.Symlink(h.Path("victim"), h.Path("www/index.html")); err != nil {
			h.Fatal(err)
		}
		h.Start()
		h.Succeed(stub.DeployOptions{FileExistsBehavior: "OVERWRITE", Revision: h.Push(web("AfterInstall"))})
		h.Same("victim", "untouched\n", h.Text("victim"))
		h.Same("the page", "page\n", h.Text("www/index.html"))
		if info, err := os.Lstat(h.Path("www/index.html")); err != nil || !info.Mode().IsRegular() {
			h.Error("it is still a link", err)
		}
	}},
	Case{Name: "4: a dangling link at the destination counts as existing", Run: func(h *Host) {
		h.Write("www/x", "")
		if err := os.Symlink(h.Path("created-through-the-link"), h.Path("www/index.html")); err != nil {
			h.Fatal(err)
		}
		h.Start()
		d := h.Fail("Install", stub.DeployOptions{Revision: h.Push(web("AfterInstall"))})
		h.Failure(d, 5, "", `www/index\.html`)
		h.Succeed(stub.DeployOptions{FileExistsBehavior: "OVERWRITE", Revision: h.Push(web("AfterInstall"))})
		h.Same("what the link pointed to", false, h.Exists("created-through-the-link"))
		h.Same("the page", "page\n", h.Text("www/index.html"))
	}},
	Case{Name: "7: blanks, semicolons and quotes in destinations, sources and owners are no shell input", Run: func(h *Host) {
		h.Start()
		b := Bundle{
			"appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - {source: \"/a b;touch $(id)'\", destination: \"HOST/dir; touch HOST-pwned 'x'\"}\n" +
				"permissions:\n  - {object: \"HOST/dir; touch HOST-pwned 'x'\", mode: 640, type: [file]}\n",
			"a b;touch $(id)'/f": "x",
		}
		h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle", "Install"}, Revision: h.Push(b)})
		h.Same("pwned", false, h.Exists(h.Dir+"-pwned"))
		h.Same("the file", "x", h.Text("dir; touch "+h.Dir+"-pwned 'x'", "f"))
		h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle", "Install"}, Revision: h.Push(withHooks("hooks: {}\n"))})
		h.Same("the file after the next deployment", "", h.Text("dir; touch "+h.Dir+"-pwned 'x'", "f"))
	}},
)

// badID is a case about an id that must not become a path.
func badID(name, member, id string) Case {
	return Case{Name: "6: " + name, Run: func(h *Host) {
		h.Write("victim/deployment-archive/appspec.yml", "version: 0.0\nos: linux\n")
		h.Start()
		r := h.Push(withHooks("hooks: {}\n"))
		h.PollsMore(1)
		before := h.Entries("conf", "deployment-root")
		spec := h.Specification(r, map[string]any{member: id})
		c := h.Carry(stub.RawCommand{Name: "DownloadBundle", Specification: spec})
		h.Same("operations", []string{getSpecification, complete}, h.Operations(c))
		h.Failure(h.Diagnostics(c), 5, "", member+`|(?i)deployment`)
		h.Same("the root", before, h.Entries("conf", "deployment-root"))
		h.Same("the host", []string{"conf", "stderr.log", "victim"}, withoutBundles(h.Entries("")))
	}}
}

func withoutBundles(names []string) []string {
	var out []string
	for _, n := range names {
		if !strings.HasPrefix(n, "bundle-") {
			out = append(out, n)
		}
	}
	return out
}

var _ = add(Security,
	badID("a deployment id that leads up is refused", "DeploymentId", "../../victim"),
	badID("a deployment id that is .. is refused", "DeploymentId", ".."),
	badID("a deployment id with a slash is refused", "DeploymentId", "d-A/B"),
	badID("a deployment id with a leading dot is refused", "DeploymentId", ".d-ABC"),
	badID("a deployment id with a line end is refused", "DeploymentId", "d-A\nB"),
	badID("a deployment id with a zero byte is refused", "DeploymentId", "d-A\x00B"),
	badID("a deployment id that is an ARN with a path is refused", "DeploymentId", "arn:aws:codedeploy:us-east-1:123456789012:deployment/../../victim"),
	badID("a deployment id that is longer than a file name is refused", "DeploymentId", strings.Repeat("x", 300)),
	badID("a deployment group id that leads up is refused", "DeploymentGroupId", "../victim"),
	badID("an absolute deployment group id is refused", "DeploymentGroupId", "/tmp"),
	badID("a deployment group id that is one of the agent's own folders is refused", "DeploymentGroupId", "deployment-instructions"),
	badID("an AppSpec file name that leads up is refused", "AppSpecFilename", "../../../victim/deployment-archive/appspec.yml"),
	badID("an absolute AppSpec file name is refused", "AppSpecFilename", "/etc/passwd"),
	Case{Name: "6: an AppSpec file in a folder of the bundle is fine", Run: func(h *Host) {
		h.Start()
		h.Succeed(stub.DeployOptions{AppSpecFilename: "deploy/linux.yml", Revision: h.Push(Bundle{
			"deploy/linux.yml": "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: hook.sh\n", "hook.sh": "#!/bin/sh\necho ran > HOST/ran\n",
		})})
		h.Same("it ran", true, h.Exists("ran"))
	}},
)
