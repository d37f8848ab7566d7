package hooks

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"codedeploy-agent/appspec"
)

func TestScriptsRunInOrder(t *testing.T) {
	l := newBench(t)
	l.sh("scripts/one.sh", "echo first; echo oops >&2").sh("/two.sh", "echo second; printf 'no newline'")
	res := l.run()
	if res.Outcome != Succeeded || res.Message != "" || res.Script != "" || len(res.Warnings) > 0 {
		t.Errorf("result %+v", res)
	}
	for _, order := range []string{
		"LifecycleEvent - AfterInstall\nScript - scripts/one.sh\n",
		"[stdout]first\n",
		"Script - /two.sh\n[stdout]second\n[stdout]no newline\n",
	} {
		if !strings.Contains(res.Log, order) {
			t.Errorf("no %q in the log:\n%s", order, res.Log)
		}
	}
	if !strings.Contains(res.Log, "[stderr]oops\n") {
		t.Errorf("no standard error in the log:\n%s", res.Log)
	}
	scripts := l.read(l.req.ScriptsLog)
	if !regexp.MustCompile(`(?m)\A\d{4}-\d\d-\d\d \d\d:\d\d:\d\d LifecycleEvent - AfterInstall$`).MatchString(scripts) ||
		!regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[stdout\]no newline\n\z`).MatchString(scripts) {
		t.Errorf("scripts.log is\n%s", scripts)
	}
	all := l.read(l.req.DeploymentsLog)
	if !regexp.MustCompile(`(?m)^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\] \[d-TEST12345\]\[stdout\]second$`).MatchString(all) {
		t.Errorf("the deployments log is\n%s", all)
	}
}

func TestHowHooksEnd(t *testing.T) {
	for name, c := range map[string]struct {
		set     func(*bench)
		outcome Outcome
		code    int
		signal  string
		message string // in it
		log     string // in it
	}{
		"no scripts": {set: func(*bench) {}, outcome: Succeeded},
		"exit code": {
			set:     func(l *bench) { l.sh("a.sh", "echo why; exit 3").sh("b.sh", "echo never") },
			outcome: Failed, code: 3, message: `Script "a.sh" failed with exit code 3 after `, log: "[stdout]why\n",
		},
		"a command that does not exist": {
			set:     func(l *bench) { l.sh("a.sh", "no-such-command") },
			outcome: Failed, code: 127, message: "when it does not find a command", log: "no-such-command",
		},
		"killed by a signal": {
			set:     func(l *bench) { l.sh("a.sh", "ulimit -c 0; kill -SEGV $$") },
			outcome: Failed, signal: "SIGSEGV", message: `Script "a.sh" was killed by signal SIGSEGV`,
		},
		"missing": {
			set:     func(l *bench) { l.req.Scripts = []appspec.Script{{Location: "scripts/none.sh"}} },
			outcome: ScriptMissing, message: "does not exist at ", log: "LifecycleEvent - AfterInstall\n",
		},
		"missing below a file": {
			set: func(l *bench) {
				l.file("scripts", "", 0o644)
				l.req.Scripts = []appspec.Script{{Location: "scripts/none.sh"}}
			},
			outcome: ScriptMissing, message: "does not exist at ",
		},
		"a command with arguments": {
			set:     func(l *bench) { l.file("a.sh", "", 0o755); l.req.Scripts = []appspec.Script{{Location: "a.sh --now"}} },
			outcome: ScriptMissing, message: "cannot have arguments",
		},
		"leading dots": {
			set:     func(l *bench) { l.req.Scripts = []appspec.Script{{Location: "/../../x.sh"}} },
			outcome: Error, message: "leads out of the revision",
		},
		"a link that leads out": {
			set: func(l *bench) {
				_ = os.Symlink("/bin/true", filepath.Join(l.req.Archive, "a.sh"))
				l.req.Scripts = []appspec.Script{{Location: "a.sh"}}
			},
			outcome: Error, message: "/true",
		},
		"a link inside": {
			set: func(l *bench) {
				l.sh("real.sh", "exit 0")
				_ = os.Symlink("real.sh", filepath.Join(l.req.Archive, "a.sh"))
				l.req.Scripts[0].Location = "a.sh"
			},
			outcome: Succeeded,
		},
		"a directory": {
			set:     func(l *bench) { l.file("dir/x", "", 0o644); l.req.Scripts = []appspec.Script{{Location: "dir"}} },
			outcome: Failed, message: "no regular file",
		},
		"not executable": {
			set:     func(l *bench) { l.sh("a.sh", "echo ran"); _ = os.Chmod(filepath.Join(l.req.Archive, "a.sh"), 0o644) },
			outcome: Succeeded, log: "[stdout]ran\n",
		},
		"no interpreter line": {
			set:     func(l *bench) { l.script("a.sh", "echo $0\n") },
			outcome: Succeeded, log: "/deployment-archive/a.sh\n",
		},
		"empty": {set: func(l *bench) { l.script("a.sh", "") }, outcome: Succeeded},
		"interpreter missing": {
			set:     func(l *bench) { l.script("a.sh", "#!/no/such/shell -x\necho\n") },
			outcome: Failed, message: `its interpreter "/no/such/shell" does not exist on this host`,
		},
		"Windows line ends": {
			set:     func(l *bench) { l.script("a.sh", "#!/bin/sh\r\necho\r\n") },
			outcome: Failed, message: "CR LF",
		},
		"odd names": {
			set:     func(l *bench) { l.sh("a b;$(touch x)'\".sh", "echo ok $#") },
			outcome: Succeeded, log: "[stdout]ok 0\n",
		},
		"time limit": {
			set: func(l *bench) {
				l.sh("a.sh", "echo begun; exec sleep 60").last(func(s *appspec.Script) { s.Timeout = 300 * time.Millisecond })
			},
			outcome: TimedOut, signal: "SIGTERM", message: "did not end within its time limit of 0.3 seconds", log: "[stdout]begun\n",
		},
		"time limit, whatever the answer": {
			set: func(l *bench) {
				l.sh("a.sh", "trap 'exit 0' TERM; while :; do sleep 0.05; done").last(func(s *appspec.Script) { s.Timeout = 300 * time.Millisecond })
			},
			outcome: TimedOut,
		},
		"the whole archive goes": {
			set:     func(l *bench) { l.sh("a.sh", `rm -r "$(dirname "$0")"`).sh("b.sh", "") },
			outcome: ScriptMissing, message: "the revision itself is missing",
		},
		"bytes that are no text": {
			set:     func(l *bench) { l.sh("a.sh", `printf 'a\377\376b\000c\303\n'; exit 1`) },
			outcome: Failed, code: 1, log: "[stdout]a\uFFFDb\x00c\uFFFD\n",
		},
		"outputs closed": {
			set:     func(l *bench) { l.misbehave("a.sh", "close-stdin") },
			outcome: Succeeded, log: "[stderr]still here\n",
		},
		"a script of another deployment": {
			set: func(l *bench) {
				l.sh("a.sh", "exit 7")
				old := filepath.Join(l.root, "group", "d-OLD", "deployment-archive")
				_ = os.MkdirAll(filepath.Dir(old), 0o755)
				_ = os.Rename(l.req.Archive, old)
				l.req.Archive, l.req.Event = old, ApplicationStop
			},
			outcome: Failed, code: 7, message: "earlier deployment d-OLD",
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newBench(t)
			c.set(l)
			res := l.run()
			if res.Outcome != c.outcome || res.ExitCode != c.code || (c.signal != "" && res.Signal != c.signal) {
				t.Errorf("outcome %s, code %d, signal %q; want %s, %d, %q\n%s", res.Outcome, res.ExitCode, res.Signal, c.outcome, c.code, c.signal, res.Message)
			}
			if !strings.Contains(res.Message, c.message) || !strings.Contains(res.Log, c.log) {
				t.Errorf("message %q, log %q", res.Message, res.Log)
			}
			failed := res.Outcome != Succeeded
			if failed != (res.Script != "") || failed != strings.Contains(res.Message, l.req.ScriptsLog) {
				t.Errorf("script %q, message %q", res.Script, res.Message)
			}
			if failed {
				t.Log(res.Message)
			}
		})
	}
}

// What facts a script can find out about itself.
func TestWhatAScriptSees(t *testing.T) {
	l := newBench(t)
	l.sh("dir/see.sh", `echo "self=$0 args=$#"
pwd
umask
cat; echo "stdin at its end"
echo "group leader: $([ $(cut -d' ' -f5 /proc/$$/stat) = $$ ] && echo yes)"
grep -E 'Sig(Ign|Blk)' /proc/$$/status | tr -d '\t'
ulimit -n`)
	l.misbehave("fds.sh", "descriptors")
	res := l.run()
	cwd, _ := os.Getwd()
	for _, want := range []string{
		"self=" + l.req.Archive + "/dir/see.sh args=0", cwd, "stdin at its end", "group leader: yes",
		"SigIgn:0000000000000000", "SigBlk:0000000000000000", "fd 0", "fd 1", "fd 2",
	} {
		if !strings.Contains(res.Log, "[stdout]"+want+"\n") {
			t.Errorf("no %q", want)
		}
	}
	if n := strings.Count(res.Log, "[stdout]fd "); n != 3 {
		t.Errorf("the script has %d open files", n)
	}
	t.Log(res.Log)
}

func TestStartRefuses(t *testing.T) {
	for name, change := range map[string]func(*Request){
		"no event":                    func(r *Request) { r.Event = "" },
		"a relative archive":          func(r *Request) { r.Archive = "x" },
		"a relative record":           func(r *Request) { r.Record = "x" },
		"a runner that is no program": func(r *Request) { r.Options.Runner = []string{"/no/such/program"} },
	} {
		t.Run(name, func(t *testing.T) {
			l := newBench(t).sh("a.sh", "touch "+t.TempDir()+"/ran")
			change(&l.req)
			if _, err := Start(t.Context(), l.req, nopLog); err == nil || !strings.HasPrefix(err.Error(), "cannot ") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestOneRecordIsOneExecution(t *testing.T) {
	l := newBench(t)
	l.sh("a.sh", "echo x >> "+l.path("runs"))
	l.run()
	if _, err := Start(t.Context(), l.req, nopLog); err == nil || !strings.Contains(err.Error(), "started before") {
		t.Errorf("a second start: %v", err)
	}
	if got := l.read(l.path("runs")); got != "x\n" {
		t.Errorf("ran %q", got)
	}
}
