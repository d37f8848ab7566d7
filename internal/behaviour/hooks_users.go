package behaviour

import (
	"os"
	"path/filepath"

	"codedeploy-agent/internal/stub"
)

// as is a case about a script with runas: nobody. It writes to HOST/open/found, which everybody may.
func as(name, script string, want func(h *Host, info stub.DeploymentInfo) string) Case {
	return Case{Name: name, NeedsRoot: true, Run: func(h *Host) {
		h.open()
		h.Start()
		info := h.hookInfo(script, "runas: nobody")
		h.Same("code", 0, h.Event(info, "AfterInstall").Diagnostics.ErrorCode)
		h.Same("what the script found", want(h, info), h.Text("open/found"))
	}}
}

// open makes a directory that everybody may write to.
func (h *Host) open() {
	h.Helper()
	err := os.Mkdir(h.Path("open"), 0o777)
	if err == nil {
		err = os.Chmod(h.Path("open"), 0o777)
	}
	if err != nil {
		h.Fatal(err)
	}
}

var _ = add(Hooks,
	as("runas: the script runs as the user, with its group", "#!/bin/sh\nid -un > HOST/open/found; id -gn >> HOST/open/found\n", just("nobody\nnogroup\n")),
	as("runas: HOME is the user's, the working directory stays the agent's", "#!/bin/sh\necho $HOME > HOST/open/found; pwd >> HOST/open/found\n",
		func(h *Host, _ stub.DeploymentInfo) string { return "/nonexistent\n" + h.Dir + "\n" }),
	as("runas: the deployment's variables are kept", "#!/bin/sh\necho $LIFECYCLE_EVENT $DEPLOYMENT_ID $DEPLOYMENT_GROUP_ID > HOST/open/found\n",
		func(_ *Host, info stub.DeploymentInfo) string {
			return "AfterInstall " + info.ID + " " + info.GroupID + "\n"
		}),
	as("runas: the script has no groups of the agent", "#!/bin/sh\nid -G > HOST/open/found\n", just("65534\n")),
	as("runas: the script leads its process group and reads an empty input", "#!/bin/sh\nread -r a b c d group rest < /proc/$$/stat\n[ $group = $$ ] && ! read x && echo yes > HOST/open/found\n", just("yes\n")),
	as("runas: the script can open its outputs by name", "#!/bin/sh\necho hello > /dev/stdout && echo hello > /dev/stderr && echo yes > HOST/open/found\n", just("yes\n")),
	Case{Name: "runas: a user whose login shell is nologin runs scripts all the same", NeedsRoot: true, Run: func(h *Host) {
		h.open()
		h.Start()
		d := h.hook("#!/bin/sh\nid -un > HOST/open/found\nexit 3\n", "runas: nobody")
		h.Failure(d, 4, "hook.sh", `(?s)nobody.*exit code 3`)
		h.Same("found", "nobody\n", h.Text("open/found"))
	}},
	Case{Name: "runas: a user that does not exist is code 4, and the message names it", Run: func(h *Host) {
		h.Start()
		d := h.hook("#!/bin/sh\necho ran > HOST/found\n", "runas: no-such-user")
		h.Failure(d, 4, "hook.sh", `no-such-user`)
		h.Same("the script ran", false, h.Exists("found"))
	}},
	Case{Name: "runas: a name that is an option of su is no user", Run: func(h *Host) {
		h.Start()
		info := h.hookInfo("#!/bin/sh\necho ran > HOST/found\n", `runas: "-c id"`)
		h.Same("the deployment", stub.Failed, info.Status)
		h.Same("the script ran", false, h.Exists("found"))
	}},
	Case{Name: "runas: root by name and by id, and the agent's own user, work", Run: func(h *Host) {
		h.Start()
		me := "root"
		if os.Geteuid() != 0 {
			me = os.Getenv("USER")
			if me == "" {
				h.Log("NOT RUN HERE: the user has no name")
				return
			}
		}
		h.hook("#!/bin/sh\nid -u > HOST/found\n", "runas: "+me)
		h.Matches("found", `^\d+\n$`, h.Text("found"))
	}},
	Case{Name: "sudo: true runs the script as root", NeedsRoot: true, Run: func(h *Host) {
		h.Start()
		d := h.hook("#!/bin/sh\nid -u > HOST/found\n", "sudo: true")
		h.Same("code", 0, d.ErrorCode)
		h.Same("found", "0\n", h.Text("found"))
	}},
	Case{Name: "sudo: true with runas runs the script as the user", NeedsRoot: true, Run: func(h *Host) {
		h.open()
		h.Start()
		h.hook("#!/bin/sh\nid -un > HOST/open/found\n", "runas: nobody", "sudo: true")
		h.Same("found", "nobody\n", h.Text("open/found"))
	}},
	Case{Name: "runas: the time limit ends the user's processes as well", NeedsRoot: true, Run: func(h *Host) {
		h.open()
		h.Set("hook_kill_grace_seconds", 1)
		h.Start()
		d := h.hook("#!/bin/sh\ntrap '' TERM\nsleep 300 &\necho $! $$ | tr ' ' '\\n' > HOST/open/pids\nwhile :; do sleep 0.1; done\n", "runas: nobody", "timeout: 1")
		h.Same("code", 3, d.ErrorCode)
		h.alive("open/pids", false)
	}},
	Case{Name: "runas: compatibility 1.x goes through su", NeedsRoot: true, Run: func(h *Host) {
		h.open()
		h.Set("compatibility", "1.x")
		h.Start()
		d := h.hook("#!/bin/sh\nid -un > HOST/open/found\n", "runas: games")
		if d.ErrorCode == 0 {
			h.Same("found", "games\n", h.Text("open/found"))
			return
		}
		h.Failure(d, 4, "hook.sh", `games`) // its shell is nologin: su says so
	}},
	Case{Name: "runas: a script that only root may read is code 4, in words", NeedsRoot: true, Run: func(h *Host) {
		h.open()
		h.Start()
		dir := h.Directory(hookBundle("#!/bin/sh\necho ran > HOST/open/found\n", "runas: nobody"))
		if err := os.Chmod(filepath.Join(dir, "hook.sh"), 0o700); err != nil {
			h.Fatal(err)
		}
		d := h.Fail("AfterInstall", stub.DeployOptions{Events: hookEvents, Revision: h.PushAs("tar", dir)})
		h.Failure(d, 4, "hook.sh", `nobody`)
		h.Same("the script ran", false, h.Exists("open/found"))
	}},
)
