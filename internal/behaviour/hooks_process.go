package behaviour

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"codedeploy-agent/internal/stub"
)

// hook deploys a revision whose AfterInstall is the given script and returns what was reported. entry is more YAML for
// the script's entry, for example "timeout: 5".
func (h *Host) hook(script string, entry ...string) stub.Diagnostics {
	h.Helper()
	info := h.hookInfo(script, entry...)
	d := h.Event(info, "AfterInstall").Diagnostics
	if d == nil {
		h.Fatalf("AfterInstall was not reported: %s", failure(info))
	}
	return *d
}

func (h *Host) hookInfo(script string, entry ...string) stub.DeploymentInfo {
	h.Helper()
	return h.Deploy(stub.DeployOptions{Events: hookEvents, Revision: h.Push(hookBundle(script, entry...))})
}

func hookBundle(script string, entry ...string) Bundle {
	return Bundle{
		"appspec.yml": "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: hook.sh\n      " + strings.Join(entry, "\n      ") + "\n",
		"hook.sh":     script,
	}
}

// tells is a case about something that a script finds when it runs: it has to write what is wanted to HOST/found.
func tells(name, script string, want func(h *Host, info stub.DeploymentInfo) string) Case {
	return Case{Name: name, Run: func(h *Host) {
		h.Start()
		info := h.hookInfo(script)
		h.Same("code", 0, h.Event(info, "AfterInstall").Diagnostics.ErrorCode)
		h.Same("what the script found", want(h, info), h.Text("found"))
	}}
}

func just(text string) func(*Host, stub.DeploymentInfo) string {
	return func(*Host, stub.DeploymentInfo) string { return text }
}

var _ = add(Hooks,
	tells("the working directory is the agent's", "#!/bin/sh\npwd > HOST/found\n",
		func(h *Host, _ stub.DeploymentInfo) string { return h.Dir + "\n" }),
	tells("standard input is a pipe at its end", "#!/bin/sh\nread x; echo $? \"$x\" > HOST/found; stat -L -c %F /proc/self/fd/0 >> HOST/found\n",
		just("1 \nfifo\n")),
	tells("a script has no arguments, and its name is its absolute path in the archive", "#!/bin/sh\necho $# $0 > HOST/found\n",
		func(h *Host, info stub.DeploymentInfo) string {
			return "0 " + h.Folder(info, "deployment-archive", "hook.sh") + "\n"
		}),
	tells("a script leads a process group of its own", "#!/bin/sh\nread -r a b c d group rest < /proc/$$/stat\n[ $group = $$ ] && echo leader > HOST/found\n", just("leader\n")),
	tells("no files of the agent are open in a script", "#!/bin/sh\nls /proc/$$/fd > HOST/all\ngrep -vxE '1[0-9]|255' HOST/all | tr '\\n' ' ' > HOST/found # but the shell's own\n", just("0 1 2 ")),
	tells("no signals are ignored or blocked in a script", "#!/bin/sh\ngrep -E '^Sig(Ign|Blk)' /proc/self/status | tr -d '\\t' > HOST/found\n",
		just("SigBlk:0000000000000000\nSigIgn:0000000000000000\n")),
	tells("a script without #! is run by the shell", "echo plain > HOST/found\n", just("plain\n")),
	tells("an empty line before #! makes it a script of the shell", "\n#!/bin/false\necho plain > HOST/found\n", just("plain\n")),
	tells("a script in a directory, with blanks and quotes in its name, is run as it is named", "#!/bin/sh\necho $(basename \"$0\") > HOST/found\n", just("hook.sh\n")),
	Case{Name: "the umask is the agent's", Run: func(h *Host) {
		if strings.Contains(h.Text("/etc/profile"), "umask") {
			h.Log("NOT RUN HERE: /etc/profile sets a umask, which counts for scripts")
			return
		}
		h.Umask = 0o027
		h.Start()
		h.hook("#!/bin/sh\numask > HOST/found\ntouch HOST/made\n")
		h.Same("umask", "0027\n", h.Text("found"))
		if info, err := os.Stat(h.Path("made")); err != nil || info.Mode().Perm() != 0o640 {
			h.Errorf("a file of the script: %v, %v", info, err)
		}
	}},
	Case{Name: "a script that is not executable is made so", Run: func(h *Host) {
		h.Start()
		dir := h.Directory(hookBundle("#!/bin/sh\necho ran > HOST/found\n"))
		if err := os.Chmod(filepath.Join(dir, "hook.sh"), 0o640); err != nil {
			h.Fatal(err)
		}
		info := h.Succeed(stub.DeployOptions{Events: hookEvents, Revision: h.PushAs("tar", dir)})
		h.Same("found", "ran\n", h.Text("found"))
		script, err := os.Stat(h.Folder(info, "deployment-archive", "hook.sh"))
		if err != nil || script.Mode().Perm()&0o100 == 0 {
			h.Error("its mode is", script.Mode(), err)
		}
	}},
	Case{Name: "names with blanks, quotes, dollars and semicolons are names, not shell input", Run: func(h *Host) {
		h.Start()
		name := `a b;touch HOST$(id)'"&.sh`
		b := Bundle{"scripts/" + name: "#!/bin/sh\nbasename \"$0\" > HOST/found\n"}
		b["appspec.yml"] = "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: " + strconv.Quote("scripts/"+name) + "\n"
		dir := h.Directory(Bundle{"appspec.yml": strings.ReplaceAll(b["appspec.yml"], "HOST", "_")})
		h.Write(dir+"/scripts/"+strings.ReplaceAll(name, "HOST", "_"), b["scripts/"+name])
		h.Succeed(stub.DeployOptions{Events: hookEvents, Revision: h.PushAs("tgz", dir)})
		h.Same("found", strings.ReplaceAll(name, "HOST", "_")+"\n", h.Text("found"))
	}},
	Case{Name: "a leading slash in a location is the bundle's own root", Run: func(h *Host) {
		h.Start()
		b := withHooks("hooks:\n  AfterInstall:\n    - location: /hook.sh\n")
		info := h.Succeed(stub.DeployOptions{Events: hookEvents, Revision: h.Push(b)})
		h.Same("hooks", []string{"AfterInstall of " + info.ID}, h.Lines("trace"))
	}},
	Case{Name: "the scripts of an event run in their order, and after the first that fails no other", Run: func(h *Host) {
		h.Start()
		b := Bundle{
			"appspec.yml": "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: one.sh\n    - location: two.sh\n    - location: three.sh\n",
			"one.sh":      "#!/bin/sh\necho one >> HOST/trace\n", "two.sh": "#!/bin/sh\necho two >> HOST/trace\nexit 5\n", "three.sh": "#!/bin/sh\necho three >> HOST/trace\n",
		}
		d := h.Fail("AfterInstall", stub.DeployOptions{Events: hookEvents, Revision: h.Push(b)})
		h.Same("scripts", []string{"one", "two"}, h.Lines("trace"))
		h.Failure(d, 4, "two.sh", `exit code 5`)
		h.Same("log", "LifecycleEvent - AfterInstall\nScript - one.sh\nScript - two.sh\n", d.Log)
	}},
	Case{Name: "the same script may stand twice", Run: func(h *Host) {
		h.Start()
		h.Succeed(stub.DeployOptions{Events: hookEvents, Revision: h.Push(withHooks("hooks:\n  AfterInstall:\n    - location: hook.sh\n    - location: hook.sh\n"))})
		h.Same("runs", 2, len(h.Lines("trace")))
	}},
	Case{Name: "a program that is no script at all is run, too", Run: func(h *Host) {
		h.Start()
		dir := h.Directory(hookBundle(""))
		program, err := os.ReadFile("/bin/true")
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "hook.sh"), program, 0o755)
		}
		if err != nil {
			h.Fatal(err)
		}
		h.Succeed(stub.DeployOptions{Events: hookEvents, Revision: h.PushAs("tar", dir)})
	}},
	Case{Name: "a daemon that has closed its outputs lives on, and the hook is over at once", Run: func(h *Host) {
		h.Start()
		began := time.Now()
		d := h.hook("#!/bin/sh\nsleep 300 > /dev/null 2>&1 < /dev/null &\necho $! > HOST/daemon.pid-left\n")
		h.Same("code", 0, d.ErrorCode)
		if took := time.Since(began); took > 15*time.Second {
			h.Errorf("the hook took %s", took)
		}
		h.Stop()
		h.alive("daemon.pid-left", true)
	}},
	Case{Name: "a background process that keeps the outputs open: the hook succeeds after a short wait, and the process lives on", Run: func(h *Host) {
		h.Start()
		began := time.Now()
		info := h.hookInfo("#!/bin/sh\n(while :; do echo still here; sleep 0.2; done) &\necho $! > HOST/daemon.pid-left\necho started\n", "timeout: 120")
		h.Same("code", 0, h.Event(info, "AfterInstall").Diagnostics.ErrorCode)
		if took := time.Since(began); took > 25*time.Second {
			h.Errorf("the hook took %s", took)
		}
		h.alive("daemon.pid-left", true)
		h.Await("its output in the log", func() bool { return strings.Count(h.Text(h.Folder(info, "logs", "scripts.log")), "still here") > 3 })
		h.Await("a warning in the agent's log", func() bool { return strings.Contains(h.AgentLog(), "kept open") })
	}},
	Case{Name: "compatibility 1.x: outputs that are kept open until the time limit are code 6", Run: func(h *Host) {
		h.Set("compatibility", "1.x")
		h.Start()
		d := h.hook("#!/bin/sh\nsleep 300 &\necho $! > HOST/daemon.pid-left\n", "timeout: 1")
		h.Failure(d, 6, "hook.sh", `stdout`)
		h.alive("daemon.pid-left", true)
	}},
)

// alive fails the case unless the process whose pid is in the file lives, or is gone.
func (h *Host) alive(pidFile string, want bool) {
	h.Helper()
	for _, pid := range h.Lines(pidFile) {
		n, err := strconv.Atoi(pid)
		if err != nil {
			h.Fatal(err)
		}
		h.Same("process "+pid+" of "+pidFile+" lives", want, lives(n))
	}
}

func lives(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err == nil && !strings.Contains(string(stat), ") Z ") && syscall.Kill(pid, 0) == nil
}

// failing is a case about a script that fails.
func failing(name, script, entry string, code int, message, log string) Case {
	return Case{Name: name, Run: func(h *Host) {
		h.Start()
		d := h.hook(script, entry)
		h.Failure(d, code, "hook.sh", message)
		h.Matches("the log", "(?s)^LifecycleEvent - AfterInstall\nScript - hook.sh\n"+log+"$", d.Log)
		h.OneReport()
	}}
}

var _ = add(Hooks,
	failing("exit code 1 is code 4", "#!/bin/sh\nexit 1\n", "", 4, `exit code 1\b`, ""),
	failing("exit code 255 is code 4", "#!/bin/sh\nexit 255\n", "", 4, `exit code 255\b`, ""),
	failing("what the script said is in the log, with marks", "#!/bin/sh\necho out\nsleep 0.5\necho err >&2\nexit 2\n", "", 4, `exit code 2\b`, `\[stdout\]out\n\[stderr\]err\n`),
	failing("an interpreter that does not exist is code 4", "#!/no/such/interpreter\n", "", 4, `/no/such/interpreter`, `.*`),
	failing("Windows line ends in the first line are code 4, and named", "#!/bin/sh\r\necho\r\n", "", 4, `(?i)CR ?LF|line end`, `.*`),
	failing("a directory in place of a script is code 4", "#!/bin/sh\nrm \"$0\"; mkdir \"$0\"; exit 1\n", "", 4, `.`, ""),
	failing("a time limit that is over is code 3", "#!/bin/sh\necho before\nsleep 60\n", "timeout: 1", 3, `1 second`, `\[stdout\]before\n`),
	failing("a time limit in quotes counts", "#!/bin/sh\nsleep 60\n", `timeout: "1"`, 3, `1 second`, ``),
	failing("exit 0 in the answer to TERM is code 3 all the same", "#!/bin/sh\ntrap 'exit 0' TERM\nsleep 60 & wait\n", "timeout: 1", 3, `1 second`, ``),
	failing("19: death by a signal is code 4 and names the signal", "#!/bin/sh\nkill -KILL $$\n", "", 4, `KILL`, ""),
	failing("19: death by SIGSEGV is code 4 and names it", "#!/bin/sh\nkill -SEGV $$\n", "", 4, `SEGV`, ""),
	failing("a script that kills its own group with TERM is code 4", "#!/bin/sh\nkill -TERM 0\nsleep 5\n", "", 4, `TERM`, ""),
	Case{Name: "a script that does not exist is code 1, by its name in the AppSpec", Run: func(h *Host) {
		h.Start()
		for _, location := range []string{"scripts/missing.sh", "/missing.sh", "appspec.yml/below-a-file"} {
			d := h.Fail("AfterInstall", stub.DeployOptions{
				Events: hookEvents, Revision: h.Push(withHooks("hooks:\n  AfterInstall:\n    - location: " + location + "\n")),
			})
			h.Failure(d, 1, location, regexp.QuoteMeta(location))
			h.Same("log", "LifecycleEvent - AfterInstall\n", d.Log)
		}
	}},
	Case{Name: "a command line as location is code 1", Run: func(h *Host) {
		h.Start()
		d := h.Fail("AfterInstall", stub.DeployOptions{
			Events: hookEvents, Revision: h.Push(withHooks("hooks:\n  AfterInstall:\n    - location: hook.sh --now\n")),
		})
		h.Same("code", 1, d.ErrorCode)
		h.Same("script", "hook.sh --now", d.Script)
	}},
	Case{Name: "the time limit ends the whole process group with TERM", Run: func(h *Host) {
		h.Start()
		d := h.hook("#!/bin/sh\nsh -c 'trap \"echo child got TERM >> HOST/trace; exit\" TERM; echo $$ >> HOST/child.pid-left; while :; do sleep 0.05; done' &\n"+
			"trap 'echo got TERM >> HOST/trace; exit 0' TERM\nwhile :; do sleep 0.05; done\n", "timeout: 1")
		h.Same("code", 3, d.ErrorCode)
		h.Await("the child's end", func() bool { return len(h.Lines("trace")) == 2 })
		got := h.Lines("trace")
		slices.Sort(got)
		h.Same("who got it", []string{"child got TERM", "got TERM"}, got)
	}},
	Case{Name: "time limits count for each script, not for the event", Run: func(h *Host) {
		h.Start()
		b := withHooks("hooks:\n  AfterInstall:\n    - {location: slow.sh, timeout: 3}\n    - {location: slow.sh, timeout: 3}\n    - {location: slow.sh, timeout: 3}\n")
		b["slow.sh"] = "#!/bin/sh\nsleep 1.2\n"
		h.Succeed(stub.DeployOptions{Events: hookEvents, Revision: h.Push(b)})
	}},
)

var _ = add(Correctness,
	Case{Name: "11: a script that ignores TERM is killed after a grace time, with all its children; the code stays 3", Run: func(h *Host) {
		h.Set("hook_kill_grace_seconds", 1)
		h.Start()
		d := h.hook("#!/bin/sh\ntrap '' TERM\nsleep 300 &\necho $! > HOST/child.pid-left\necho $$ > HOST/self.pid-left\nwhile :; do sleep 0.1; done\n", "timeout: 1")
		h.Failure(d, 3, "hook.sh", `1 second`)
		h.alive("self.pid-left", false)
		h.alive("child.pid-left", false)
	}},
)
