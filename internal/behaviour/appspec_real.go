package behaviour

import (
	"fmt"
	"strings"

	"codedeploy-agent/internal/stub"
)

// written deploys a bundle whose AppSpec file is the text as it is. The bundle has a file a, a directory www with the
// file page, and the scripts ok.sh and more.sh, which leave their name and the event in HOST/trace.
func (h *Host) written(name, text string) stub.DeployOptions {
	h.Helper()
	dir := h.Made(`mkdir www scripts; echo a > a; echo page > www/page
for s in ok.sh scripts/more.sh; do printf '#!/bin/sh\necho %s of $LIFECYCLE_EVENT >> HOST/trace\n' $s > $s; chmod 755 $s; done`)
	h.Write(dir+"/"+name, text)
	o := stub.DeployOptions{Revision: h.PushArchive("zip", h.Pack("zip", dir)), Events: []string{"ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ApplicationStart"}}
	return o
}

// goodSpecs are AppSpec files as people write them. Each deploys; tree and trace are what comes of it.
var goodSpecs = []struct {
	name, text  string
	tree, trace string
}{
	{"mode: 0644 and 0755 without quotes", "version: 0.0\nos: linux\nfiles: [{source: a, destination: HOST/srv}, {source: www, destination: HOST/srv}]\npermissions:\n  - object: HOST/srv/a\n    mode: 0755\n  - object: HOST/srv/page\n    mode: 0644\n",
		"a 0755: a\npage: page", ""},
	{"the object / with ** means only what this deployment copies", "version: 0.0\nos: linux\nfiles:\n  - source: /www\n    destination: HOST/srv\npermissions:\n  - object: /\n    pattern: \"**\"\n    mode: 600\n    type: [file]\n",
		"page 0600: page", ""},
	{"keys that do nothing beside source", "version: 0.0\nos: linux\nfiles:\n  - source: www\n    destination: HOST/srv\n    overwrite: true\n    mode: 600\n    owner: nobody-here\n    except: [page]\n", "page: page", ""},
	{"keys that nobody knows at the top and on scripts", "version: 0.0\nos: linux\nenvironment: {A: b}\nowner: me\nhooks:\n  AfterInstall:\n    - location: ok.sh\n      log-group-name: x\n      args: [1]\n", "", "ok.sh of AfterInstall"},
	{"hooks at the top level run nothing", "version: 0.0\nos: linux\nfiles: [{source: a, destination: HOST/srv}]\nAfterInstall:\n  - location: ok.sh\n", "a: a", ""},
	{"events that do not exist run nothing", "version: 0.0\nos: linux\nhooks:\n  After Install: [{location: ok.sh}]\n  ApplicattionStop: [{location: ok.sh}]\n  Install: [{location: ok.sh}]\n  applicationstart: [{location: ok.sh}]\n  ApplicationStart: [{location: scripts/more.sh}]\n",
		"", "scripts/more.sh of ApplicationStart"},
	{"a leading slash of a location and a source is the bundle's", "version: 0.0\nos: linux\nfiles: [{source: /a, destination: HOST/srv}]\nhooks: {AfterInstall: [{location: /scripts/more.sh}]}\n", "a: a", "scripts/more.sh of AfterInstall"},
	{"blanks around a location", "version: 0.0\nos: linux\nhooks: {AfterInstall: [{location: '  ok.sh '}]}\n", "", "ok.sh of AfterInstall"},
	{"null for hooks", "version: 0.0\nos: linux\nfiles: [{source: a, destination: HOST/srv}]\nhooks:\n", "a: a", ""},
	{"null and empty events", "version: 0.0\nos: linux\nhooks:\n  BeforeInstall:\n  AfterInstall: []\n  ApplicationStart: ~\n", "", ""},
	{"null for files and permissions", "version: 0.0\nos: linux\nfiles:\npermissions:\n", "", ""},
	{"nothing but version and os", "version: 0.0\nos: linux", "", ""},
	{"version: 0", "version: 0\nos: linux\nfiles: [{source: a, destination: HOST/srv}]\n", "a: a", ""},
	{"a version in quotes", "version: '0.0'\nos: linux\nfiles: [{source: a, destination: HOST/srv}]\n", "a: a", ""},
	{"lists that are not indented", "version: 0.0\nos: linux\nfiles:\n- source: a\n  destination: HOST/srv\nhooks:\n  AfterInstall:\n  - location: ok.sh\n  - location: scripts/more.sh\n", "a: a", "ok.sh of AfterInstall\nscripts/more.sh of AfterInstall"},
	{"document markers and comments", "# Bereitstellung für größe 日本語\n---\nversion: 0.0 # the only one\nos: linux\nfiles: # here\n  - source: a # there\n    destination: HOST/srv\n...\n", "a: a", ""},
	{"CRLF line ends", "version: 0.0\r\nos: linux\r\nfiles:\r\n  - source: a\r\n    destination: HOST/srv\r\nhooks:\r\n  AfterInstall:\r\n    - location: ok.sh\r\n      timeout: 30\r\n", "a: a", "ok.sh of AfterInstall"},
	{"no final newline", "version: 0.0\nos: linux\nfiles: [{source: a, destination: HOST/srv}]\nhooks: {AfterInstall: [{location: ok.sh}]}", "a: a", "ok.sh of AfterInstall"},
	{"a byte order mark", "\ufeffversion: 0.0\nos: linux\nfiles: [{source: a, destination: HOST/srv}]\n", "a: a", ""},
	{"time-outs of more than an hour together", "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - {location: ok.sh, timeout: 3600}\n    - {location: scripts/more.sh, timeout: 3600}\n", "", "ok.sh of AfterInstall\nscripts/more.sh of AfterInstall"},
	{"time-outs in quotes, with a fraction, with a unit", "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - {location: ok.sh, timeout: \"300\"}\n    - {location: ok.sh, timeout: 300.7}\n    - {location: ok.sh, timeout: 300s}\n", "", "ok.sh of AfterInstall\nok.sh of AfterInstall\nok.sh of AfterInstall"},
	{"the same key twice: the last one counts", "version: 0.0\nos: linux\nfiles: [{source: www, destination: HOST/srv}]\nfiles: [{source: a, destination: HOST/nowhere, destination: HOST/srv}]\nhooks:\n  AfterInstall: [{location: ok.sh}]\n  AfterInstall: [{location: scripts/more.sh}]\n", "a: a", "scripts/more.sh of AfterInstall"},
	{"anchors, aliases and merge keys", "version: 0.0\nos: linux\nfiles:\n  - &one {source: a, destination: HOST/srv/one}\n  - <<: *one\n    destination: HOST/srv/two\nhooks:\n  AfterInstall: &h [{location: ok.sh}]\n  ApplicationStart: *h\n",
		"one/\none/a: a\ntwo/\ntwo/a: a", "ok.sh of AfterInstall\nok.sh of ApplicationStart"},
	{"a second document is not read", "version: 0.0\nos: linux\nfiles: [{source: a, destination: HOST/srv}]\n---\nversion: 9\nos: bsd\n", "a: a", ""},
	{"scalars where a list is due: type and except", "version: 0.0\nos: linux\nfiles: [{source: www, destination: HOST/srv}, {source: a, destination: HOST/srv}]\npermissions: [{object: HOST/srv, type: file, except: page, mode: 600}]\n", "page: page\na 0600: a", ""},
	{"a destination that looks like a file becomes a folder", "version: 0.0\nos: linux\nfiles: [{source: a, destination: HOST/srv/a.conf}]\n", "a.conf/\na.conf/a: a", ""},
	{"a star in an object is a letter", "version: 0.0\nos: linux\nfiles: [{source: a, destination: HOST/srv}]\npermissions: [{object: HOST/srv/*, mode: 600}]\n", "a: a", ""},
	{"sudo as root means nothing", "version: 0.0\nos: linux\nhooks: {AfterInstall: [{location: ok.sh, sudo: false}, {location: scripts/more.sh, sudo: no}]}\n", "", "ok.sh of AfterInstall\nscripts/more.sh of AfterInstall"},
	{"literal and folded blocks", "version: 0.0\nos: linux\nfiles:\n  - source: >-\n      a\n    destination: |-\n      HOST/srv\n", "a: a", ""},
	{"all in one line of JSON", `{"version": 0.0, "os": "linux", "files": [{"source": "a", "destination": "HOST/srv"}], "hooks": {"AfterInstall": [{"location": "ok.sh", "timeout": 9}]}}`, "a: a", "ok.sh of AfterInstall"},
	{"empty lists everywhere", "version: 0.0\nos: linux\nfiles: []\npermissions: []\nhooks: {}\n", "", ""},
	{"a quoted os and odd spacing", "version:   0.0\nos:     'linux'\n\n\nfiles:\n\n    -   source:      a\n        destination:   'HOST/srv'\n\n", "a: a", ""},
}

var _ = add(AppSpecs, func() []Case {
	cases := []Case{}
	for _, a := range goodSpecs {
		cases = append(cases, Case{Name: "accepted: " + a.name, Run: func(h *Host) {
			h.begin()
			h.Succeed(h.written("appspec.yml", a.text))
			h.HasTree(a.tree)
			h.Same("what ran", a.trace, strings.TrimSpace(h.Text("trace")))
		}})
	}
	return cases
}()...)

// badSpecs are AppSpec files that people write and that mean nothing. says are patterns of what the message has to name:
// the line, the key, and what was probably meant.
var badSpecs = []struct {
	name, text string
	says       []string
}{
	{"an empty file", "", []string{`appspec\.yml`, "empty"}},
	{"only comments", "# nothing\n", []string{`appspec\.yml`, "empty"}},
	{"no version", "os: linux\n", []string{"version"}},
	{"a version of the service's future", "version: 1.0\nos: linux\n", []string{`:1\b`, "version", `0\.0`}},
	{"no os", "version: 0.0\nfiles:\n", []string{`\bos\b`}},
	{"os: windows", "version: 0.0\nos: windows\n", []string{`:2\b`, "(?i)windows"}},
	{"os: Linux", "version: 0.0\nos: Linux\n", []string{`:2\b`, "linux"}},
	{"an AppSpec file of ECS", "version: 0.0\nResources:\n  - TargetService:\n      Type: AWS::ECS::Service\n      Properties:\n        TaskDefinition: arn\n", []string{"ECS"}},
	{"an AppSpec file of Lambda", "version: 0.0\nResources:\n  - fn:\n      Type: AWS::Lambda::Function\n      Properties: {Name: f}\nHooks:\n  - BeforeAllowTraffic: x\n", []string{"Lambda"}},
	{"localtion", "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - localtion: ok.sh\n", []string{`:5\b`, "localtion", "location"}},
	{"destinaion", "version: 0.0\nos: linux\nfiles:\n  - source: a\n    destinaion: /srv\n", []string{`:[45]\b`, "destinaion", "destination"}},
	{"a source without destination", "version: 0.0\nos: linux\nfiles:\n  - source: a\n", []string{`:4\b`, "destination"}},
	{"a destination without source", "version: 0.0\nos: linux\nfiles:\n  - destination: /srv\n", []string{`:4\b`, "source"}},
	{"a permission without object", "version: 0.0\nos: linux\npermissions:\n  - mode: 644\n", []string{`:4\b`, "object"}},
	{"a type that does not exist", "version: 0.0\nos: linux\npermissions:\n  - object: /srv\n    type: [files]\n", []string{`:5\b`, "type", `\bfile\b`}},
	{"a timeout of nothing", "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: ok.sh\n      timeout: 0\n", []string{`:6\b`, "timeout"}},
	{"a negative timeout", "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: ok.sh\n      timeout: -1\n", []string{`:6\b`, "timeout"}},
	{"a timeout of words", "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: ok.sh\n      timeout: ten minutes\n", []string{`:6\b`, "timeout"}},
	{"a script that is a text", "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - ok.sh\n", []string{`:5\b`, "location"}},
	{"an event that is a mapping", "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    location: ok.sh\n", []string{`:[45]\b`, "AfterInstall", "list"}},
	{"an event that is a text", "version: 0.0\nos: linux\nhooks:\n  AfterInstall: ok.sh\n", []string{`:4\b`, "AfterInstall"}},
	{"hooks that are a list", "version: 0.0\nos: linux\nhooks:\n  - AfterInstall:\n      - location: ok.sh\n", []string{`:[34]\b`, "hooks"}},
	{"files that are a mapping", "version: 0.0\nos: linux\nfiles:\n  source: a\n  destination: /srv\n", []string{`:[34]\b`, "files", "list"}},
	{"files that are a text", "version: 0.0\nos: linux\nfiles: a\n", []string{`:3\b`, "files"}},
	{"a tab", "version: 0.0\nos: linux\nfiles:\n\t- source: a\n\t  destination: /srv\n", []string{`:4\b`, "(?i)tab"}},
	{"a bracket that is never closed", "version: 0.0\nos: linux\nfiles: [{source: a\n", []string{`appspec\.yml:\d`}},
	{"wrong indentation", "version: 0.0\nos: linux\nfiles:\n  - source: a\n   destination: /srv\n", []string{`appspec\.yml:[45]`}},
	{"a colon without a blank", "version:0.0\nos:linux\n", []string{`appspec\.yml`}},
	{"a star without quotes", "version: 0.0\nos: linux\npermissions:\n  - object: /srv\n    pattern: **\n", []string{`:5\b`, "quote"}},
	{"a merge conflict", "version: 0.0\nos: linux\n<<<<<<< HEAD\nfiles:\n=======\nhooks:\n>>>>>>> other\n", []string{`:3\b`, "(?i)conflict"}},
	{"a list at the top", "- version: 0.0\n- os: linux\n", []string{`appspec\.yml`}},
	{"a Ruby object", "version: 0.0\nos: linux\nfiles: !ruby/object:Gem::Installer {}\n", []string{`:3\b`}},
	{"bytes that are no UTF-8", "version: 0.0\nos: linux\n# caf\xe9\nfiles:\n", []string{"UTF-8"}},
	{"a list entry between files that is nothing", "version: 0.0\nos: linux\nfiles:\n  -\n  - source: a\n    destination: /srv\n", []string{`:4\b`}},
}

var _ = add(AppSpecs, func() []Case {
	cases := []Case{}
	for _, r := range badSpecs {
		cases = append(cases, Case{Name: "refused at DownloadBundle with line and key: " + r.name, Run: func(h *Host) {
			h.Shell(disk, "echo mine > mine")
			h.begin()
			d := h.Fail("DownloadBundle", h.written("appspec.yml", r.text))
			for _, pattern := range r.says {
				h.Failure(d, 5, "", "(?s)"+pattern)
			}
			h.HasTree("mine: mine")
		}})
	}
	return cases
}()...)

var _ = add(AppSpecs,
	Case{Name: "several mistakes are all named at once", Run: func(h *Host) {
		h.begin()
		d := h.Fail("DownloadBundle", h.written("appspec.yml", "version: 2\nos: bsd\nfiles:\n  - source: a\npermissions:\n  - object: /srv\n    mode: 999\nhooks:\n  AfterInstall:\n    - location: ok.sh\n      timeout: x\n"))
		for _, line := range []int{1, 2, 4, 7, 11} {
			h.Failure(d, 5, "", fmt.Sprintf(`appspec\.yml:%d\b`, line))
		}
	}},
	Case{Name: "a broken hook of a later event is found before anything is stopped or copied", Run: func(h *Host) {
		h.begin()
		good := h.withHook("files: [{source: a, destination: HOST/srv}]", "echo 1 > a", "ApplicationStop", "echo stopped >> HOST/trace")
		h.Succeed(good)
		bad := h.written("appspec.yml", "version: 0.0\nos: linux\nfiles: [{source: a, destination: HOST/srv}]\nhooks:\n  ValidateService:\n    - location: ok.sh\n      timeout: never\n")
		bad.Events = []string{"DownloadBundle", "BeforeInstall", "Install"}
		h.Failure(h.Fail("DownloadBundle", bad), 5, "", `appspec\.yml:7\b`)
		h.HasTree("a: 1")
		h.Same("what ran", "", h.Text("trace"))
	}},
	Case{Name: "a location with arguments fails when its event comes, as the name of a file that is not there", Run: func(h *Host) {
		h.begin()
		d := h.Fail("AfterInstall", h.written("appspec.yml", "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: ok.sh --fast\n"))
		h.Failure(d, 1, "ok.sh --fast", "ok.sh --fast")
	}},
	Case{Name: "appspec.yaml is good for every command when the deployment names no other", Run: func(h *Host) {
		h.begin()
		text := "version: 0.0\nos: linux\nfiles: [{source: a, destination: HOST/srv}]\nhooks:\n"
		for _, event := range []string{"ApplicationStop", "BeforeInstall", "AfterInstall", "ApplicationStart"} {
			text += "  " + event + ": [{location: ok.sh}]\n"
		}
		o := h.written("appspec.yaml", text)
		h.Succeed(o)
		h.Succeed(o)
		h.Same("what ran", []string{"ok.sh of BeforeInstall", "ok.sh of AfterInstall", "ok.sh of ApplicationStart", "ok.sh of ApplicationStop",
			"ok.sh of BeforeInstall", "ok.sh of AfterInstall", "ok.sh of ApplicationStart"}, h.Lines("trace"))
	}},
	Case{Name: "the deployment may name another AppSpec file, also in a directory, for every command", Run: func(h *Host) {
		h.begin()
		const text = "version: 0.0\nos: linux\nfiles: [{source: a, destination: HOST/srv}]\nhooks: {ApplicationStop: [{location: ok.sh}], AfterInstall: [{location: ok.sh}]}\n"
		for _, name := range []string{"deploy.yml", "ci/appspec-prod.yml", "spec with blanks"} {
			o := h.written(name, text)
			o.AppSpecFilename, o.Group = name, strings.ReplaceAll(name, "/", "-")
			h.Succeed(o)
			h.Succeed(o)
			h.clear()
		}
		h.Same("what ran", strings.Repeat("ok.sh of AfterInstall\nok.sh of ApplicationStop\nok.sh of AfterInstall\n", 3), h.Text("trace"))
	}},
	Case{Name: "the AppSpec file that the deployment names wins over appspec.yml", Run: func(h *Host) {
		h.begin()
		dir := h.releaseDir("files: [{source: a, destination: HOST/srv/wrong}]", "echo a > a")
		h.Write(dir+"/prod.yml", "version: 0.0\nos: linux\nfiles: [{source: a, destination: HOST/srv/right}]\n")
		o := placing(h.PushArchive("zip", h.Pack("zip", dir)))
		o.AppSpecFilename = "prod.yml"
		h.Succeed(o)
		h.HasTree("right/\nright/a: a")
	}},
	Case{Name: "AppSpec files under names that are nearly right are named by the error", Run: func(h *Host) {
		h.begin()
		for _, name := range []string{"AppSpec.yml", "appspec.yml.txt", "appspec.json", "Appspec.yaml"} {
			h.Failure(h.Fail("DownloadBundle", h.written(name, "version: 0.0\nos: linux\n")), 5, "", strings.ReplaceAll(name, ".", `\.`))
		}
	}},
)
