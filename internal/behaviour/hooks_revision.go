package behaviour

import (
	"os"
	"path/filepath"
	"strings"

	"codedeploy-agent/internal/stub"
)

// marked is a bundle whose every hook leaves a line with its event and the mark.
func marked(mark string, more ...string) Bundle {
	var events strings.Builder
	for _, event := range []string{
		"BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop", "BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService",
		"BeforeAllowTraffic", "AfterAllowTraffic",
	} {
		events.WriteString("  " + event + ":\n    - location: hook.sh\n")
	}
	return Bundle{
		"appspec.yml": "version: 0.0\nos: linux\nhooks:\n" + events.String(),
		"hook.sh":     "#!/bin/sh\necho " + mark + " $LIFECYCLE_EVENT >> HOST/trace\n" + strings.Join(more, "\n") + "\n",
	}
}

// stops runs only the events whose scripts come from an earlier revision.
var stops = []string{"BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop"}

// pointer is one of the files that name a deployment of the group.
func (h *Host) pointer(info stub.DeploymentInfo, name string) string {
	return h.Root("deployment-instructions", info.GroupID+name)
}

const (
	lastSuccessful = "_last_successful_install"
	mostRecent     = "_most_recent_install"
)

// clearTrace forgets which hooks ran so far.
func (h *Host) clearTrace() { _ = os.Remove(h.Path("trace")) }

var _ = add(Hooks,
	Case{Name: "block and stop hooks run the scripts of the last revision that was installed", Run: func(h *Host) {
		h.Start()
		h.Succeed(stub.DeployOptions{Revision: h.Push(marked("one"))})
		h.clearTrace()
		h.Succeed(stub.DeployOptions{LoadBalancer: true, Revision: h.Push(marked("two"))})
		h.Same("hooks", []string{
			"one BeforeBlockTraffic", "one AfterBlockTraffic", "one ApplicationStop", "two BeforeInstall", "two AfterInstall",
			"two ApplicationStart", "two ValidateService", "two BeforeAllowTraffic", "two AfterAllowTraffic",
		}, h.Lines("trace"))
	}},
	Case{Name: "the output of a stop hook is in the scripts.log of the deployment under way", Run: func(h *Host) {
		h.Start()
		first := h.Succeed(stub.DeployOptions{Revision: h.Push(marked("one"))})
		before := len(h.scriptsLog(first))
		second := h.Succeed(stub.DeployOptions{Events: stops, Revision: h.Push(marked("two"))})
		h.Same("lines of the first", before, len(h.scriptsLog(first)))
		h.Same("the second", []string{
			"LifecycleEvent - BeforeBlockTraffic", "Script - hook.sh", "LifecycleEvent - AfterBlockTraffic", "Script - hook.sh", "LifecycleEvent - ApplicationStop", "Script - hook.sh",
		}, h.stamped(second))
	}},
	Case{Name: "a stop hook has the variables of the deployment under way and the path of the earlier revision", Run: func(h *Host) {
		h.Start()
		first := h.Succeed(stub.DeployOptions{Revision: h.Push(marked("one", "echo $DEPLOYMENT_ID $0 > HOST/found"))})
		second := h.Succeed(stub.DeployOptions{Events: []string{"ApplicationStop"}, Revision: h.Push(marked("two"))})
		h.Same("found", second.ID+" "+h.Folder(first, "deployment-archive", "hook.sh")+"\n", h.Text("found"))
	}},
	Case{Name: "the pointers are written by DownloadBundle and at the end of Install: one absolute path, no line end", Run: func(h *Host) {
		h.Start()
		r := h.Push(marked("one"))
		info := h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle"}, Revision: r})
		h.Same("most recent", h.Folder(info), h.Text(h.pointer(info, mostRecent)))
		h.Same("last successful", false, h.Exists(h.pointer(info, lastSuccessful)))
		second := h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle", "BeforeInstall", "Install"}, Revision: r})
		h.Same("most recent", h.Folder(second), h.Text(h.pointer(info, mostRecent)))
		h.Same("last successful", h.Folder(second), h.Text(h.pointer(info, lastSuccessful)))
	}},
	Case{Name: "a deployment that fails after Install still supplies the next stop hooks", Run: func(h *Host) {
		h.Start()
		h.Succeed(stub.DeployOptions{Revision: h.Push(marked("one"))})
		h.Fail("ValidateService", stub.DeployOptions{Revision: h.Push(marked("two", "[ $LIFECYCLE_EVENT != ValidateService ]"))})
		h.clearTrace()
		h.Succeed(stub.DeployOptions{Events: stops, Revision: h.Push(marked("three"))})
		h.Same("hooks", []string{"two BeforeBlockTraffic", "two AfterBlockTraffic", "two ApplicationStop"}, h.Lines("trace"))
	}},
	Case{Name: "a deployment that fails before Install does not supply the next stop hooks", Run: func(h *Host) {
		h.Start()
		h.Succeed(stub.DeployOptions{Revision: h.Push(marked("one"))})
		h.Fail("BeforeInstall", stub.DeployOptions{Revision: h.Push(marked("two", "[ $LIFECYCLE_EVENT != BeforeInstall ]"))})
		h.clearTrace()
		h.Succeed(stub.DeployOptions{Events: stops, Revision: h.Push(marked("three"))})
		h.Same("hooks", []string{"one BeforeBlockTraffic", "one AfterBlockTraffic", "one ApplicationStop"}, h.Lines("trace"))
	}},
	Case{Name: "a first deployment that fails before Install leaves the next one nothing to stop", Run: func(h *Host) {
		h.Service(noops(stub.InProgress))
		h.Start()
		h.Fail("BeforeInstall", stub.DeployOptions{Revision: h.Push(marked("one", "[ $LIFECYCLE_EVENT != BeforeInstall ]"))})
		h.clearTrace()
		info := h.Succeed(stub.DeployOptions{Events: stops, Revision: h.Push(marked("two"))})
		h.Same("no-op", true, h.Event(info, "ApplicationStop").Noop)
		h.Same("hooks", 0, len(h.Lines("trace")))
	}},
	Case{Name: "as soon as the revision under way is unpacked stop hooks use it", Run: func(h *Host) {
		h.Start()
		h.Succeed(stub.DeployOptions{Revision: h.Push(marked("one"))})
		h.clearTrace()
		h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle", "ApplicationStop", "BeforeBlockTraffic"}, Revision: h.Push(marked("two"))})
		h.Same("hooks", []string{"two ApplicationStop", "two BeforeBlockTraffic"}, h.Lines("trace"))
	}},
	Case{Name: "every deployment group has its own last revision", Run: func(h *Host) {
		h.Start()
		h.Succeed(stub.DeployOptions{Group: "one", Revision: h.Push(marked("one"))})
		h.Succeed(stub.DeployOptions{Group: "two", Revision: h.Push(marked("two"))})
		h.clearTrace()
		h.Succeed(stub.DeployOptions{Group: "one", Events: []string{"ApplicationStop"}, Revision: h.Push(marked("three"))})
		h.Same("hooks", []string{"one ApplicationStop"}, h.Lines("trace"))
	}},
	Case{Name: "rolling back a blue/green deployment: block hooks from the most recent revision, stop and allow hooks from the last successful one", Run: func(h *Host) {
		h.Start()
		h.Succeed(stub.DeployOptions{Revision: h.Push(marked("installed"))})
		h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle"}, Revision: h.Push(marked("downloaded"))})
		h.clearTrace()
		h.Succeed(stub.DeployOptions{
			Creator: "codeDeployRollback", Type: "BLUE_GREEN", Revision: h.Push(marked("new")),
			Events: []string{"BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop", "BeforeAllowTraffic", "AfterAllowTraffic"},
		})
		h.Same("hooks", []string{
			"downloaded BeforeBlockTraffic", "downloaded AfterBlockTraffic", "installed ApplicationStop",
			"installed BeforeAllowTraffic", "installed AfterAllowTraffic",
		}, h.Lines("trace"))
	}},
	Case{Name: "rolling back in place is a deployment like any other", Run: func(h *Host) {
		h.Start()
		h.Succeed(stub.DeployOptions{Revision: h.Push(marked("installed"))})
		h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle"}, Revision: h.Push(marked("downloaded"))})
		h.clearTrace()
		h.Succeed(stub.DeployOptions{Creator: "codeDeployRollback", Events: stops, Revision: h.Push(marked("new"))})
		h.Same("hooks", []string{"installed BeforeBlockTraffic", "installed AfterBlockTraffic", "installed ApplicationStop"}, h.Lines("trace"))
	}},
	Case{Name: "a blue/green deployment that is no rollback takes allow hooks from its own revision", Run: func(h *Host) {
		h.Start()
		h.Succeed(stub.DeployOptions{Revision: h.Push(marked("old"))})
		h.clearTrace()
		h.Succeed(stub.DeployOptions{Type: "BLUE_GREEN", Events: []string{"DownloadBundle", "BeforeAllowTraffic"}, Revision: h.Push(marked("new"))})
		h.Same("hooks", []string{"new BeforeAllowTraffic"}, h.Lines("trace"))
	}},
	Case{Name: "the AppSpec of an earlier revision is looked up under the name that the deployment under way gives", Run: func(h *Host) {
		h.Start()
		b := marked("default name")
		b["other.yml"] = strings.ReplaceAll(b["appspec.yml"], "hook.sh", "other.sh")
		b["other.sh"] = "#!/bin/sh\necho other name $LIFECYCLE_EVENT >> HOST/trace\n"
		h.Succeed(stub.DeployOptions{Revision: h.Push(b)})
		h.clearTrace()
		h.Succeed(stub.DeployOptions{Events: []string{"ApplicationStop"}, AppSpecFilename: "other.yml", Revision: h.Push(b)})
		h.Same("hooks", []string{"other name ApplicationStop"}, h.Lines("trace"))
	}},
	Case{Name: "an earlier revision that somebody has deleted leaves nothing to stop", Run: func(h *Host) {
		h.Service(noops(stub.InProgress))
		h.Start()
		first := h.Succeed(stub.DeployOptions{Revision: h.Push(marked("one"))})
		h.clearTrace()
		if err := os.RemoveAll(h.Folder(first)); err != nil {
			h.Fatal(err)
		}
		info := h.Succeed(stub.DeployOptions{Revision: h.Push(marked("two"))})
		h.Same("no-op", true, h.Event(info, "ApplicationStop").Noop)
		h.Same("hooks", []string{"two BeforeInstall", "two AfterInstall", "two ApplicationStart", "two ValidateService"}, h.Lines("trace"))
	}},
	Case{Name: "a broken AppSpec file of the earlier revision fails its stop hook with code 5 and says how to get past it", Run: func(h *Host) {
		h.Start()
		first := h.Succeed(stub.DeployOptions{Revision: h.Push(marked("one"))})
		h.Write(h.Folder(first, "deployment-archive", "appspec.yml"), "hooks: [\n")
		d := h.Fail("ApplicationStop", stub.DeployOptions{Revision: h.Push(marked("two"))})
		h.Failure(d, 5, "", `(?s)appspec\.yml.*`+first.ID+`.*ignore`)
		h.Succeed(stub.DeployOptions{IgnoreApplicationStopFailures: true, Revision: h.Push(marked("three"))})
	}},
	Case{Name: "a script of the earlier revision that is gone fails its stop hook with code 1", Run: func(h *Host) {
		h.Start()
		first := h.Succeed(stub.DeployOptions{Revision: h.Push(marked("one"))})
		if err := os.Remove(h.Folder(first, "deployment-archive", "hook.sh")); err != nil {
			h.Fatal(err)
		}
		h.Failure(h.Fail("ApplicationStop", stub.DeployOptions{Revision: h.Push(marked("two"))}), 1, "hook.sh", first.ID)
	}},
)

// handed is a case about a pointer file as another agent, or a hand, may have left it.
func handed(name string, change func(path string) string, want ...string) Case {
	return Case{Name: name, Run: func(h *Host) {
		h.Service(noops(stub.InProgress))
		h.Start()
		first := h.Succeed(stub.DeployOptions{Revision: h.Push(marked("one"))})
		h.clearTrace()
		h.Write(h.pointer(first, lastSuccessful), change(h.Folder(first)))
		h.Succeed(stub.DeployOptions{Events: []string{"ApplicationStop"}, Revision: h.Push(marked("two"))})
		h.Same("hooks", want, h.Lines("trace"))
	}}
}

var _ = add(Hooks,
	handed("a pointer file with a line end counts", func(path string) string { return path + "\n" }, "one ApplicationStop"),
	handed("a pointer file with blanks and Windows line ends counts", func(path string) string { return " " + path + "/ \r\n" }, "one ApplicationStop"),
	handed("an empty pointer file, as a power cut leaves it, counts as none", func(string) string { return "" }),
	handed("a pointer to a deployment that does not exist counts as none", func(path string) string { return filepath.Dir(path) + "/d-NOSUCH000" }),
	Case{Name: "the state of 1.x is taken over: its last revision is stopped, its files are cleaned up, its pointers replaced", Run: func(h *Host) {
		h.Configure()
		const group = "3f2c1b0a-1111-2222-3333-444455556666"
		old := h.Root(group, "d-OLDAGENT1")
		b := marked("old")
		for name, text := range b {
			h.Write(filepath.Join(old, "deployment-archive", name), text)
		}
		h.Write(filepath.Join(old, "bundle.tar"), "x")
		h.Write(filepath.Join(old, "logs", "scripts.log"), "2024-01-01 00:00:00 LifecycleEvent - ApplicationStart\n")
		h.Write(h.Root("deployment-instructions", group+lastSuccessful), old)
		h.Write(h.Root("deployment-instructions", group+mostRecent), old)
		h.Write(h.Root("deployment-instructions", group+"-install.json"), `{"instructions":[]}`)
		h.Write("www/index.html", "old page\n")
		h.Write("www/gone.html", "old\n")
		h.Write(h.Root("deployment-instructions", group+"-cleanup"), "HOST/www\nHOST/www/index.html\nHOST/www/gone.html\n")
		h.Start()
		b = web("AfterInstall")
		info := h.Succeed(stub.DeployOptions{GroupID: group, Revision: h.Push(b)})
		h.Same("hooks", []string{"old ApplicationStop", "AfterInstall of " + info.ID}, h.Lines("trace"))
		h.Same("page", "page\n", h.Text("www/index.html"))
		h.Same("the file that only the old revision had", false, h.Exists("www/gone.html"))
		h.Same("last successful", h.Folder(info), h.Text(h.pointer(info, lastSuccessful)))
		h.Same("cleanup list", []string{h.Path("www"), h.Path("www/index.html")}, h.Lines(h.Root("deployment-instructions", group+"-cleanup")))
		h.Matches("install.json", `"instructions":\s*\[`, h.Text(h.Root("deployment-instructions", group+"-install.json")))
	}},
	Case{Name: "a cleanup list whose last line was cut off by a crash: the cut line is not touched", Run: func(h *Host) {
		h.Configure()
		const group = "3f2c1b0a-1111-2222-3333-444455556666"
		h.Write("www/keep", "not ours\n")
		h.Write("www/old", "old\n")
		h.Write(h.Root("deployment-instructions", group+"-cleanup"), "HOST/www/old\nHOST/www/keep")
		h.Start()
		h.Succeed(stub.DeployOptions{GroupID: group, Revision: h.Push(web("AfterInstall"))})
		h.Same("www", []string{"index.html", "keep"}, h.Entries("www"))
	}},
	Case{Name: "a restart deployment uses the archive of an earlier one again, without a download", Run: func(h *Host) {
		h.Start()
		r := h.Push(marked("one"))
		first := h.Succeed(stub.DeployOptions{Revision: r})
		h.clearTrace()
		downloads := h.downloads()
		second := h.Succeed(stub.DeployOptions{Revision: r, ReuseArchiveFrom: first.ID})
		h.Same("downloads", downloads, h.downloads())
		h.Same("hooks", 5, len(h.Lines("trace")))
		h.Same("scripts of both", h.Text(h.Folder(first, "deployment-archive", "hook.sh")), h.Text(h.Folder(second, "deployment-archive", "hook.sh")))
	}},
	Case{Name: "a restart deployment whose earlier archive is gone downloads", Run: func(h *Host) {
		h.Start()
		r := h.Push(marked("one"))
		h.Succeed(stub.DeployOptions{Revision: r, ReuseArchiveFrom: "d-NOSUCH000"})
		h.Same("downloads", 1, min(1, h.downloads()))
		h.Same("hooks", 4, len(h.Lines("trace")))
	}},
	Case{Name: "a restart deployment with an id that would leave the group downloads", Run: func(h *Host) {
		h.Start()
		h.Write(h.Root("elsewhere", "deployment-archive", "appspec.yml"), "version: 0.0\nos: linux\n")
		h.Succeed(stub.DeployOptions{Revision: h.Push(marked("one")), ReuseArchiveFrom: "../elsewhere"})
		h.Same("hooks", 4, len(h.Lines("trace")))
	}},
)

// downloads counts the requests for objects so far.
func (h *Host) downloads() int {
	n := 0
	for _, r := range h.Twin.Transcript() {
		if r.Service == "s3" && r.Operation == "GetObject" {
			n++
		}
	}
	return n
}
