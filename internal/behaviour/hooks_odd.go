package behaviour

import (
	"os"
	"os/exec"
	"path/filepath"

	"codedeploy-agent/internal/stub"
)

var _ = add(Hooks,
	tells("an empty script succeeds", "", just("")),
	tells("standard output and error are pipes", "#!/bin/sh\nx=$(stat -L -c %F /proc/$$/fd/1 /proc/$$/fd/2)\necho \"$x\" > HOST/found\n", just("fifo\nfifo\n")),
	tells("a script that closes its outputs may go on", "#!/bin/sh\nexec >&- 2>&-\nsleep 0.3\necho done > HOST/found\n", just("done\n")),
	tells("a script that removes its own revision has succeeded all the same", "#!/bin/sh\nrm -rf \"$(dirname \"$0\")\"\necho done > HOST/found\n", just("done\n")),
	tells("a script that removes its own log has succeeded all the same", "#!/bin/sh\nrm -rf \"$(dirname \"$0\")/../logs\"\necho more\necho done > HOST/found\n", just("done\n")),
	failing("a script that closes its outputs and fails later is code 4", "#!/bin/sh\necho first\nexec >&- 2>&-\nsleep 0.2\nexit 3\n", "", 4, `exit code 3\b`, `\[stdout\]first\n`),
	failing("zero bytes and carriage returns in the output arrive", "#!/bin/sh\nprintf 'a\\0b\\r\\n10%%\\r20%%\\n'\nexit 1\n", "", 4, `exit code 1\b`, "\\[stdout\\]a\x00b\r\n\\[stdout\\]10%\r20%\n"),
	failing("an awk script with an error shows awk's own words", "#!/usr/bin/awk -f\nBEGIN { print \"from awk\"; exit 7 }\n", "", 4, `exit code 7\b`, `\[stdout\]from awk\n`),
	failing("a shell option that ends the script counts", "#!/bin/sh -e\nfalse\necho not here\n", "", 4, `exit code 1\b`, ""),
	failing("a script that does not parse shows the shell's words", "#!/bin/sh\nif then\n", "", 4, `exit code 2\b`, `\[stderr\].*(?i:syntax).*`),
	Case{Name: "a name in another language is reported as it is", Run: func(h *Host) {
		h.Start()
		b := withHooks("hooks:\n  AfterInstall:\n    - location: skripte/größe 大.sh\n")
		b["skripte/größe 大.sh"] = "#!/bin/sh\necho ä\nexit 3\n"
		d := h.Fail("AfterInstall", stub.DeployOptions{Events: hookEvents, Revision: h.PushAs("tar", h.Directory(b))})
		h.Failure(d, 4, "skripte/größe 大.sh", "größe 大")
		h.Matches("log", "Script - skripte/größe 大.sh\n\\[stdout\\]ä\n", d.Log)
	}},
	Case{Name: "a script that kills whoever started it does not hold up the deployment: code 7, once", Run: func(h *Host) {
		h.Start()
		d := h.hook("#!/bin/sh\necho $PPID > HOST/found\nkill -KILL $PPID\n")
		h.Same("code", 7, d.ErrorCode)
		h.OneReport()
		h.Succeed(stub.DeployOptions{Events: hookEvents, Revision: h.Push(withHooks(oneHook))})
	}},
	Case{Name: "a script whose x bits cannot be set is code 2", NeedsRoot: true, Run: func(h *Host) {
		h.Start()
		r := h.PushAs("tar", h.withoutX())
		spec := h.Specification(r, nil)
		h.Carry(stub.RawCommand{Name: "DownloadBundle", Specification: spec})
		script := h.Root("a-group-id", "d-ABCDEF123", "deployment-archive", "hook.sh")
		if out, err := exec.Command("chattr", "+i", script).CombinedOutput(); err != nil {
			h.Logf("NOT RUN HERE (the file system has no immutable files): %s", out)
			return
		}
		defer func() { _ = exec.Command("chattr", "-i", script).Run() }()
		c := h.Carry(stub.RawCommand{Name: "AfterInstall", Specification: spec})
		h.Failure(h.Diagnostics(c), 2, "hook.sh", `executable`)
	}},
	Case{Name: "scripts of one event may be of several users and time limits", NeedsRoot: true, Run: func(h *Host) {
		h.open()
		h.Start()
		b := withHooks("hooks:\n  AfterInstall:\n    - {location: who.sh, runas: nobody, timeout: 10}\n    - {location: who.sh}\n    - {location: who.sh, runas: root, timeout: 20}\n")
		b["who.sh"] = "#!/bin/sh\nid -un >> HOST/open/found\n"
		h.Write("open/found", "")
		if err := os.Chmod(h.Path("open/found"), 0o666); err != nil {
			h.Fatal(err)
		}
		h.Succeed(stub.DeployOptions{Events: hookEvents, Revision: h.Push(b)})
		h.Same("who", []string{"nobody", "root", "root"}, h.Lines("open/found"))
	}},
	Case{Name: "a hook sees the files of the last revision before Install and those of its own after it", Run: func(h *Host) {
		h.Start()
		deploy := func(text string) {
			h.Succeed(stub.DeployOptions{Revision: h.Push(Bundle{
				"appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - {source: page, destination: HOST/www}\nhooks:\n" +
					"  ApplicationStop: [{location: look.sh}]\n  BeforeInstall: [{location: look.sh}]\n  AfterInstall: [{location: look.sh}]\n",
				"look.sh": "#!/bin/sh\necho $LIFECYCLE_EVENT $(cat HOST/www/page 2>&1 | tail -c 4) >> HOST/trace\n",
				"page":    text,
			})})
		}
		deploy("one")
		h.clearTrace()
		deploy("two")
		h.Same("what they saw", []string{"ApplicationStop one", "BeforeInstall one", "AfterInstall two"}, h.Lines("trace"))
	}},
	Case{Name: "events that come twice run twice", Run: func(h *Host) {
		h.Start()
		h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle", "AfterInstall", "AfterInstall"}, Revision: h.Push(withHooks(oneHook))})
		h.Same("runs", 2, len(h.Lines("trace")))
	}},
)

// withoutX is a bundle whose hook is not executable.
func (h *Host) withoutX() string {
	h.Helper()
	dir := h.Directory(hookBundle("#!/bin/sh\necho ran > HOST/found\n"))
	if err := os.Chmod(filepath.Join(dir, "hook.sh"), 0o644); err != nil {
		h.Fatal(err)
	}
	return dir
}
