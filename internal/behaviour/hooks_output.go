package behaviour

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"

	"codedeploy-agent/internal/stub"
)

// stamped strips the time from every line of scripts.log; a line without one fails the case.
func (h *Host) stamped(info stub.DeploymentInfo) []string {
	h.Helper()
	stamp := regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d `)
	lines := h.scriptsLog(info)
	for i, line := range lines {
		if !stamp.MatchString(line) {
			h.Errorf("scripts.log, line %d, has no time: %q", i+1, line)
		}
		lines[i] = stamp.ReplaceAllString(line, "")
	}
	return lines
}

func (h *Host) scriptsLog(info stub.DeploymentInfo) []string {
	return h.Lines(filepath.Join(h.Folder(info), "logs", "scripts.log"))
}

var _ = add(Protocol,
	Case{Name: "the output of a hook that succeeds is not sent, but in scripts.log with time stamps and marks", Run: func(h *Host) {
		h.Start()
		info := h.hookInfo("#!/bin/sh\necho one; echo; printf 'two\\tthree\\n'; sleep 0.5; echo err >&2\n")
		h.Same("payload", `{"error_code":0,"script_name":"","message":"Succeeded: ","log":""}`, h.Event(info, "AfterInstall").Diagnostics.Payload)
		h.Same("scripts.log", []string{
			"LifecycleEvent - AfterInstall", "Script - hook.sh", "[stdout]one", "[stdout]", "[stdout]two\tthree", "[stderr]err",
		}, h.stamped(info))
	}},
	Case{Name: "scripts.log collects all events of the deployment", Run: func(h *Host) {
		h.Start()
		info := h.Succeed(stub.DeployOptions{Revision: h.Push(Bundle{
			"appspec.yml": "version: 0.0\nos: linux\nhooks:\n  BeforeInstall: &x\n    - location: a.sh\n  AfterInstall:\n    - location: b.sh\n    - location: a.sh\n  ApplicationStart: []\n",
			"a.sh":        "#!/bin/sh\necho a\n", "b.sh": "#!/bin/sh\necho b\n",
		})})
		h.Same("scripts.log", []string{
			"LifecycleEvent - BeforeInstall", "Script - a.sh", "[stdout]a",
			"LifecycleEvent - AfterInstall", "Script - b.sh", "[stdout]b", "Script - a.sh", "[stdout]a",
		}, h.stamped(info))
	}},
	Case{Name: "scripts.log grows while the script runs", Run: func(h *Host) {
		h.Start()
		b := waiting("")
		b["hook.sh"] = "#!/bin/sh\necho under way\n" + b["hook.sh"]
		d := h.Begin(stub.DeployOptions{Events: hookEvents, Revision: h.Push(b)})
		h.Await("the line", func() bool {
			return strings.Contains(h.Text(h.Root(d.GroupID(), d.ID(), "logs", "scripts.log")), "[stdout]under way\n")
		})
		h.Write("go", "")
		h.End(d)
	}},
	Case{Name: "the deployments log has every entry with the deployment's id", Run: func(h *Host) {
		h.Start()
		info := h.hookInfo("#!/bin/sh\necho hello\n")
		const stamp = `^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\] \[`
		lines := h.Lines(h.Root("deployment-logs", "codedeploy-agent-deployments.log"))
		want := []string{"LifecycleEvent - AfterInstall", "Script - hook.sh", "[stdout]hello"}
		h.Same("lines", len(want), len(lines))
		for i, line := range lines {
			h.Matches("a line", stamp+info.ID+`\]`+regexp.QuoteMeta(want[i])+"$", line)
		}
	}},
	Case{Name: "without enable_deployments_log there is no deployments log", Run: func(h *Host) {
		h.Set("enable_deployments_log", false)
		h.Start()
		info := h.hookInfo("#!/bin/sh\necho hello\n")
		h.Same("files", 0, len(h.Entries(h.Root("deployment-logs"))))
		h.Same("lines of scripts.log", 3, len(h.stamped(info)))
	}},
	Case{Name: "program_name names the logs and the pid file", Run: func(h *Host) {
		h.Set("program_name", "my-agent")
		h.Start()
		h.hookInfo("#!/bin/sh\necho hello\n")
		h.Same("pid file", true, h.Exists("conf/pid/my-agent.pid"))
		h.Same("log", true, h.Exists("conf/log/my-agent.log"))
		h.Same("deployments log", true, h.Exists(h.Root("deployment-logs", "my-agent-deployments.log")))
	}},
	Case{Name: "the log of a failure has the last whole entries, less than 2048 characters together", Run: func(h *Host) {
		h.Start()
		d := h.hook("#!/bin/sh\ni=0; while [ $i -lt 500 ]; do echo line $i ............; i=$((i+1)); done\nexit 1\n")
		lines := strings.SplitAfter(strings.TrimSuffix(d.Log, "\n"), "\n")
		for i, line := range lines {
			h.Same("line", fmt.Sprintf("[stdout]line %d ............", 500-len(lines)+i), strings.TrimSuffix(line, "\n"))
		}
		entry := utf8.RuneCountInString("[stdout]line 499 ............\n")
		if n := utf8.RuneCountInString(d.Log); n >= 2048 || n+entry < 2048 {
			h.Errorf("%d characters", n)
		}
	}},
	Case{Name: "the limit of the log counts characters, not bytes", Run: func(h *Host) {
		h.Start()
		d := h.hook("#!/bin/sh\ni=0; while [ $i -lt 100 ]; do echo ääääääääääääääääääääääääääääääääääääääää; i=$((i+1)); done\nexit 1\n")
		h.Same("entries", 2047/49, strings.Count(d.Log, "[stdout]"))
		h.Same("whole entries", 49*(2047/49), utf8.RuneCountInString(d.Log))
	}},
	Case{Name: "the log spans all scripts of the hook", Run: func(h *Host) {
		h.Start()
		d := h.Fail("AfterInstall", stub.DeployOptions{Events: hookEvents, Revision: h.Push(Bundle{
			"appspec.yml": "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: a.sh\n    - location: b.sh\n",
			"a.sh":        "#!/bin/sh\necho from a\n", "b.sh": "#!/bin/sh\necho from b\nexit 1\n",
		})})
		h.Same("log", "LifecycleEvent - AfterInstall\nScript - a.sh\n[stdout]from a\nScript - b.sh\n[stdout]from b\n", d.Log)
	}},
	Case{Name: "a report has exactly the four members, whatever the script said", Run: func(h *Host) {
		h.Start()
		d := h.hook("#!/bin/sh\nprintf '\"quoted\" \\\\ back \\001 \\033[31mred <&> \\342\\200\\250\\n'\nexit 3\n")
		h.Matches("payload", `(?s)^\{"error_code":4,"script_name":"hook.sh","message":".*","log":".*"\}$`, d.Payload)
		h.Same("log", "LifecycleEvent - AfterInstall\nScript - hook.sh\n[stdout]\"quoted\" \\ back \x01 \x1b[31mred <&> \u2028\n", d.Log)
	}},
)

var _ = add(Correctness,
	Case{Name: "8: a failure is reported once, with the right code", Run: func(h *Host) {
		h.Service(noops(stub.InProgress))
		h.Start()
		d := h.hook("#!/bin/sh\nexit 7\n")
		h.Same("code", 4, d.ErrorCode)
		h.PollsMore(3)
		h.OneReport()
	}},
	Case{Name: "12: bytes that are no UTF-8 keep code and log, with the bytes replaced", Run: func(h *Host) {
		h.Start()
		d := h.hook("#!/bin/sh\nprintf 'caf\\351 \\377\\376 ok\\n'\nhead -c 3000 /dev/urandom | tr -d '\\n'\necho\necho last\nexit 3\n")
		h.Failure(d, 4, "hook.sh", `exit code 3`)
		h.Matches("log", `last`, d.Log)
		if !utf8.ValidString(d.Payload) {
			h.Error("the payload is no UTF-8")
		}
		d = h.hook("#!/bin/sh\nprintf 'caf\\351 ok\\n'\nexit 3\n")
		h.Same("log", "LifecycleEvent - AfterInstall\nScript - hook.sh\n[stdout]caf\ufffd ok\n", d.Log)
	}},
	Case{Name: "12: scripts.log keeps the bytes as they were", Run: func(h *Host) {
		h.Start()
		info := h.hookInfo("#!/bin/sh\nprintf 'caf\\351\\n'\n")
		h.Same("the last line", "[stdout]caf\xe9", h.stamped(info)[2])
	}},
	Case{Name: "13: of a line over 2048 characters the end is sent", Run: func(h *Host) {
		h.Start()
		d := h.hook("#!/bin/sh\nhead -c 5000 /dev/zero | tr '\\0' x\necho THE REASON\nexit 1\n")
		h.Matches("log", `x{1000}THE REASON\n$`, d.Log)
		if n := utf8.RuneCountInString(d.Log); n >= 2048 {
			h.Errorf("%d characters", n)
		}
	}},
	Case{Name: "13: after an endless line without its end the last lines are sent", Run: func(h *Host) {
		h.Start()
		d := h.hook("#!/bin/sh\nhead -c 3000000 /dev/zero | tr '\\0' x\necho\nsleep 0.5\necho THE REASON >&2\nexit 1\n")
		h.Matches("log", `\[stderr\]THE REASON\n`, d.Log)
	}},
	Case{Name: "megabytes of output cost nothing but the log", Run: func(h *Host) {
		h.Start()
		info := h.hookInfo("#!/bin/sh\nyes 0123456789012345678901234567890123456789 | head -n 200000\nyes e | head -n 20000 >&2\necho done\n")
		h.Same("code", 0, h.Event(info, "AfterInstall").Diagnostics.ErrorCode)
		h.Same("lines", 220003, len(h.scriptsLog(info)))
	}},
	Case{Name: "22: a line without its end does not run into the next entry", Run: func(h *Host) {
		h.Start()
		b := Bundle{
			"appspec.yml": "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: a.sh\n    - location: b.sh\n",
			"a.sh":        "#!/bin/sh\nprintf 'no end'\n", "b.sh": "#!/bin/sh\nprintf last >&2\n",
		}
		info := h.Succeed(stub.DeployOptions{Events: hookEvents, Revision: h.Push(b)})
		lines := h.stamped(info)
		h.Same("scripts.log", "LifecycleEvent - AfterInstall|Script - a.sh|[stdout]no end|Script - b.sh|[stderr]last", strings.Join(lines, "|"))
		if text := h.Text(h.Folder(info, "logs", "scripts.log")); !strings.HasSuffix(text, "\n") {
			h.Error("the file has no end of line at its end")
		}
	}},
	Case{Name: "a report never has more than 8192 characters, however much there is to say", Run: func(h *Host) {
		h.Start()
		d := h.hook("#!/bin/sh\ni=0; while [ $i -lt 2000 ]; do printf '\\001'; i=$((i+1)); done; echo\nexit 1\n")
		h.Same("code", 4, d.ErrorCode) // the twin refuses more
		if n := utf8.RuneCountInString(d.Payload); n > 8192 {
			h.Errorf("%d characters", n)
		}
	}},
	Case{Name: "a log directory that cannot be written does not fail a hook", Run: func(h *Host) {
		h.Start()
		r := h.Push(hookBundle("#!/bin/sh\necho ran > HOST/found\n"))
		spec := h.Specification(r, nil)
		h.Carry(stub.RawCommand{Name: "DownloadBundle", Specification: spec})
		folder := h.Root("a-group-id", "d-ABCDEF123")
		_ = os.RemoveAll(filepath.Join(folder, "logs"))
		h.Write(filepath.Join(folder, "logs"), "a file in the way")
		c := h.Carry(stub.RawCommand{Name: "AfterInstall", Specification: spec})
		h.Same("status", stub.Succeeded, c.Status)
		h.Same("found", "ran\n", h.Text("found"))
	}},
)
