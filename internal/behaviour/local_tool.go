package behaviour

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// local runs codedeploy-local with the host's configuration.
func (h *Host) local(args ...string) (stdout []string, code int) {
	h.Helper()
	out, _, code := h.Local(append([]string{"-c", h.Configure()}, args...)...)
	return strings.Split(strings.TrimSuffix(out, "\n"), "\n"), code
}

// localFolder reads the deployment's folder from the first line of the output.
func (h *Host) localFolder(stdout []string) string {
	h.Helper()
	const start = "Starting to execute deployment from within folder "
	if !strings.HasPrefix(stdout[0], start) {
		h.Fatalf("the first line is %q", stdout[0])
	}
	return strings.TrimPrefix(stdout[0], start)
}

// mistake is a case about a call that is refused with one line.
func mistake(name, message string, args ...string) Case {
	return Case{Name: "one line says what is wrong, exit code 1: " + name, Run: func(h *Host) {
		h.Write("app/appspec.yml", "version: 0.0\nos: linux\n")
		h.Write("app.tar", "x")
		h.Write("empty/x", "")
		stdout, code := h.local(args...)
		h.Same("exit code", 1, code)
		h.Matches("the last line", "^ERROR: .*"+message, stdout[len(stdout)-1])
	}}
}

var _ = add(LocalTool,
	Case{Name: "a success: three lines and exit code 0", Run: func(h *Host) {
		h.Write("app/appspec.yml", "version: 0.0\nos: linux\nfiles:\n  - {source: page, destination: HOST/www}\nhooks:\n  AfterInstall:\n    - location: hook.sh\n")
		h.Write("app/page", "page\n")
		h.Write("app/hook.sh", "#!/bin/sh\necho output of the script\necho $LIFECYCLE_EVENT > HOST/trace\n")
		stdout, code := h.local("-l", "app")
		h.Same("exit code", 0, code)
		folder := h.localFolder(stdout)
		h.Matches("the folder", "^"+regexp.QuoteMeta(h.Root())+`/default-local-deployment-group/d-[A-Z0-9]{9}-local$`, folder)
		h.Same("lines", 3, len(stdout))
		h.Matches("the second line", regexp.QuoteMeta(folder+"/logs/scripts.log"), stdout[1])
		h.Matches("the last line", `(?i)success`, stdout[2])
		h.Lacks("standard output", "output of the script", strings.Join(stdout, "\n"))
		h.Same("page", "page\n", h.Text("www/page"))
		h.Same("hooks", []string{"AfterInstall"}, h.Lines("trace"))
	}},
	Case{Name: "a script that fails: its path in deployment-archive, the log, exit code 1, and no success", Run: func(h *Host) {
		h.Write("app/appspec.yml", "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: scripts/fail.sh\n  ApplicationStart:\n    - location: scripts/next.sh\n")
		h.Write("app/scripts/fail.sh", "#!/bin/sh\necho why\nexit 3\n")
		h.Write("app/scripts/next.sh", "#!/bin/sh\ntouch HOST/next\n")
		stdout, code := h.local("-l", "app")
		h.Same("exit code", 1, code)
		folder := h.localFolder(stdout)
		h.Same("lines", 3, len(stdout))
		h.Matches("the second line", regexp.QuoteMeta(folder+"/deployment-archive/scripts/fail.sh")+"$", stdout[1])
		h.Matches("the third line", regexp.QuoteMeta(folder+"/logs/scripts.log"), stdout[2])
		h.Same("the next event ran", false, h.Exists("next"))
		h.Matches("the log", `\[stdout\]why\n`, h.Text(folder, "logs", "scripts.log"))
	}},
	Case{Name: "the log is named even when no script ran", Run: func(h *Host) {
		h.Write("app/appspec.yml", "version: 0.0\nos: linux\nfiles:\n  - {source: page, destination: HOST/www}\n")
		h.Write("app/page", "new\n")
		h.Write("www/page", "there already\n")
		stdout, code := h.local("-l", "app")
		h.Same("exit code", 1, code)
		folder := h.localFolder(stdout)
		h.Matches("a line", regexp.QuoteMeta(folder+"/logs/scripts.log"), stdout[1])
		h.Matches("the last line", "^ERROR: .*www/page", stdout[len(stdout)-1])
		h.Same("the page", "there already\n", h.Text("www/page"))
	}},
	Case{Name: "a script gets LocalFleet, the location as typed, and no BUNDLE variables", Run: func(h *Host) {
		h.Write("app/appspec.yml", "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: hook.sh\n")
		h.Write("app/hook.sh", "#!/bin/sh\necho $APPLICATION_NAME $DEPLOYMENT_GROUP_NAME $DEPLOYMENT_GROUP_ID $DEPLOYMENT_ID > HOST/trace\nenv | grep -c '^BUNDLE_' >> HOST/trace\n")
		stdout, _ := h.local("-l", "./app")
		h.Same("trace", []string{"./app LocalFleet default-local-deployment-group " + filepath.Base(h.localFolder(stdout)), "0"}, h.Lines("trace"))
		h.local("-l", "app", "-g", "my-group", "-d", "My Fleet", "-a", "My App")
		h.Matches("trace", `^My App My Fleet my-group d-`, h.Text("trace"))
	}},
	Case{Name: "without a location the current directory is deployed, and names the application", Run: func(h *Host) {
		h.Write("appspec.yml", "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: hook.sh\n")
		h.Write("hook.sh", "#!/bin/sh\necho $APPLICATION_NAME > "+"HOST/found\n")
		// The state lies in the directory itself: it must not be copied into itself for ever.
		h.Set("root_dir", os.TempDir()+"/"+filepath.Base(h.Dir)+"-root")
		h.Cleanup(func() { _ = os.RemoveAll(os.TempDir() + "/" + filepath.Base(h.Dir) + "-root") })
		stdout, code := h.local()
		h.Same("exit code", 0, code)
		h.Same("found", h.Dir+"\n", h.Text("found"))
		_ = stdout
	}},
	Case{Name: "all events run in their order, traffic allowed after the validation", Run: func(h *Host) {
		for name, text := range marked("one") {
			h.Write("app/"+name, text)
		}
		_, code := h.local("-l", "app")
		h.Same("exit code", 0, code)
		h.Same("hooks of the first", []string{
			"one BeforeInstall", "one AfterInstall", "one ApplicationStart", "one ValidateService", "one BeforeAllowTraffic", "one AfterAllowTraffic",
		}, h.Lines("trace"))
		h.clearTrace()
		h.Write("app/hook.sh", "#!/bin/sh\necho two $LIFECYCLE_EVENT >> HOST/trace\n")
		h.local("-l", "app")
		h.Same("hooks of the second", []string{
			"one BeforeBlockTraffic", "one AfterBlockTraffic", "one ApplicationStop", "two BeforeInstall", "two AfterInstall", "two ApplicationStart",
			"two ValidateService", "two BeforeAllowTraffic", "two AfterAllowTraffic",
		}, h.Lines("trace"))
	}},
	Case{Name: "-e runs the named events, with DownloadBundle and Install put in front", Run: func(h *Host) {
		for name, text := range marked("one") {
			h.Write("app/"+name, text)
		}
		for events, want := range map[string][]string{
			"ValidateService":                        {"one ValidateService"},
			"AfterInstall,ApplicationStart":          {"one AfterInstall", "one ApplicationStart"},
			"DownloadBundle,BeforeInstall,Install":   {"one BeforeInstall"},
			"Install,DownloadBundle,AfterInstall":    {"one AfterInstall"},
			"AfterInstall,AfterInstall":              {"one AfterInstall", "one AfterInstall"},
			"ValidateService,BeforeInstall":          {"one ValidateService", "one BeforeInstall"},
			"DownloadBundle,Install,ApplicationStop": {"one ApplicationStop"},
		} {
			h.clearTrace()
			_, code := h.local("-l", "app", "-e", events)
			h.Same("exit code of "+events, 0, code)
			h.Same("hooks of "+events, want, h.Lines("trace"))
		}
	}},
	Case{Name: "with -e an ApplicationStop after Install runs from the new revision", Run: func(h *Host) {
		for name, text := range marked("one") {
			h.Write("app/"+name, text)
		}
		h.local("-l", "app")
		h.clearTrace()
		h.Write("app/hook.sh", "#!/bin/sh\necho two $LIFECYCLE_EVENT >> HOST/trace\n")
		h.local("-l", "app", "-e", "ApplicationStop,DownloadBundle,Install,AfterInstall")
		h.local("-l", "app", "-e", "DownloadBundle,Install,ApplicationStop")
		h.Same("hooks", []string{"one ApplicationStop", "two AfterInstall", "two ApplicationStop"}, h.Lines("trace"))
	}},
	Case{Name: "an event of one's own runs when the AppSpec has a hook for it", Run: func(h *Host) {
		h.Write("app/appspec.yml", "version: 0.0\nos: linux\nhooks:\n  WarmUp:\n    - location: hook.sh\n")
		h.Write("app/hook.sh", "#!/bin/sh\necho $LIFECYCLE_EVENT >> HOST/trace\n")
		_, code := h.local("-l", "app", "-e", "WarmUp")
		h.Same("exit code", 0, code)
		h.Same("hooks", []string{"WarmUp"}, h.Lines("trace"))
		stdout, code := h.local("-l", "app")
		h.Same("exit code without -e", 1, code)
		h.Matches("the last line", "^ERROR: .*WarmUp", stdout[len(stdout)-1])
	}},
	Case{Name: "tar, tgz and zip files are deployed; bundle.tar is a link to them as long as it is needed", Run: func(h *Host) {
		b := Bundle{"appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - {source: page, destination: HOST/www}\n", "page": "page\n"}
		for _, kind := range []string{"tar", "tgz", "zip"} {
			archive := h.Archive(kind, b)
			stdout, code := h.local("-l", archive, "-t", kind, "-g", kind, "-b", "OVERWRITE")
			h.Same("exit code for "+kind, 0, code)
			h.Same("page", "page\n", h.Text(h.localFolder(stdout), "deployment-archive", "page"))
			h.Same("the archive is still there", true, h.Exists(archive))
		}
	}},
	Case{Name: "a second deployment replaces the files of the first, also with DISALLOW", Run: func(h *Host) {
		h.Write("app/appspec.yml", "version: 0.0\nos: linux\nfiles:\n  - {source: www, destination: HOST/www}\n")
		h.Write("app/www/a", "1")
		h.Write("app/www/b", "1")
		_, first := h.local("-l", "app")
		_ = os.Remove(h.Path("app/www/b"))
		h.Write("app/www/a", "2")
		_, second := h.local("-l", "app")
		h.Same("exit codes", []int{0, 0}, []int{first, second})
		h.Same("a", "2", h.Text("www/a"))
		h.Same("files", []string{"a"}, h.Entries("www"))
	}},
	Case{Name: "-b OVERWRITE and RETAIN do what they say", Run: func(h *Host) {
		h.Write("app/appspec.yml", "version: 0.0\nos: linux\nfiles:\n  - {source: page, destination: HOST/www}\n")
		h.Write("app/page", "new")
		h.Write("www/page", "old")
		_, code := h.local("-l", "app", "-b", "RETAIN")
		h.Same("exit code", 0, code)
		h.Same("retained", "old", h.Text("www/page"))
		_, code = h.local("-l", "app", "-b", "OVERWRITE")
		h.Same("exit code", 0, code)
		h.Same("overwritten", "new", h.Text("www/page"))
	}},
	Case{Name: "a directory with only appspec.yaml is deployed", Run: func(h *Host) {
		h.Write("app/appspec.yaml", "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: hook.sh\n")
		h.Write("app/hook.sh", "#!/bin/sh\necho ran > HOST/trace\n")
		_, code := h.local("-l", "app")
		h.Same("exit code", 0, code)
		h.Same("hooks", []string{"ran"}, h.Lines("trace"))
	}},
	Case{Name: "-A names the AppSpec file", Run: func(h *Host) {
		h.Write("app/other.yml", "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: hook.sh\n")
		h.Write("app/hook.sh", "#!/bin/sh\necho ran > HOST/trace\n")
		_, code := h.local("-l", "app", "-A", "other.yml")
		h.Same("exit code", 0, code)
		h.Same("hooks", []string{"ran"}, h.Lines("trace"))
	}},
	Case{Name: "a broken AppSpec file is one ERROR line with the place, not a stack trace", Run: func(h *Host) {
		h.Write("app/appspec.yml", "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - timeout: 5\n")
		out, stderr, code := h.Local("-c", h.Configure(), "-l", "app")
		h.Same("exit code", 1, code)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		h.Matches("the last line", `^ERROR: .*appspec\.yml:5`, lines[len(lines)-1])
		h.Lacks("standard error", "goroutine", stderr)
	}},
	Case{Name: "a local deployment needs no service and no identity", Run: func(h *Host) {
		h.Write("app/appspec.yml", "version: 0.0\nos: linux\n")
		h.Set("on_premises_config_file", h.Path("nowhere.yml"))
		h.Set("deploy_control_endpoint", "http://127.0.0.1:1")
		_, code := h.local("-l", "app")
		h.Same("exit code", 0, code)
		h.Same("requests", 0, len(h.Twin.Transcript()))
	}},
	Case{Name: "a local deployment and a running agent do not get in each other's way", Run: func(h *Host) {
		h.Start()
		h.PollsMore(1)
		h.Write("app/appspec.yml", "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: hook.sh\n")
		h.Write("app/hook.sh", "#!/bin/sh\necho ran > HOST/trace\n")
		_, code := h.local("-l", "app")
		h.Same("exit code", 0, code)
		h.Same("calls other than polls", 0, len(h.Requests()))
		h.Same("tracking files", 0, len(h.Entries(h.Root("ongoing-deployment"))))
		h.PollsMore(1)
	}},
	mistake("an unknown option", `nonsense`, "--nonsense"),
	mistake("an unknown type", `rar`, "-l", "app", "-t", "rar"),
	mistake("a file for a directory", `directory`, "-l", "app.tar"),
	mistake("a directory for a file", `app`, "-l", "app", "-t", "zip"),
	mistake("a location that does not exist", `nowhere`, "-l", "nowhere"),
	mistake("a directory without an AppSpec file", `appspec\.yml`, "-l", "empty"),
	mistake("an archive that is none", `.`, "-l", "app.tar", "-t", "tar"),
	mistake("an unknown file exists behaviour", `MERGE`, "-l", "app", "-b", "MERGE"),
	mistake("an event that comes too early", `AfterInstall`, "-l", "app", "-e", "AfterInstall,DownloadBundle,Install"),
	mistake("an event before Install that cannot be there", `ApplicationStart`, "-l", "app", "-e", "DownloadBundle,ApplicationStart,Install"),
	mistake("an event that nobody knows", `BeforInstall`, "-l", "app", "-e", "BeforInstall"),
	mistake("a web page", `http`, "-l", "http://example.com/app.zip", "-t", "zip"),
	mistake("a deployment group that leads up", `\.\./`, "-l", "app", "-g", "../up"),
	Case{Name: "one line says what is wrong, exit code 1: a configuration file that does not exist", Run: func(h *Host) {
		h.Write("app/appspec.yml", "version: 0.0\nos: linux\n")
		out, _, code := h.Local("-c", h.Path("nowhere.yml"), "-l", "app")
		h.Same("exit code", 1, code)
		h.Matches("standard output", `^ERROR: .*nowhere\.yml.*\n$`, out)
	}},
)
