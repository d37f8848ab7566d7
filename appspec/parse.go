package appspec

import (
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"

	"codedeploy-agent/internal/report"
)

// MaxSize is the largest AppSpec file that is read, in bytes.
const MaxSize = 1 << 20

// Parse reads an AppSpec file. The name is only for messages. The findings are in the order of the file.
//
// With an error among the findings no agent deploys the file. The Spec then holds what could be read, so that
// more can be checked; it is nil when nothing could.
func Parse(file string, data []byte) (*Spec, report.Findings) {
	r := &reader{file: file}
	spec := r.spec(r.document(data))
	r.findings.Sort()
	return spec, r.findings
}

var topKeys = []string{"version", "os", "files", "permissions", "hooks", "file_exists_behavior"}

var topAdvice = map[string]string{
	"resources":             "that is for Amazon ECS and AWS Lambda; hosts know files and hooks",
	"overwrite":             "write file_exists_behavior: OVERWRITE",
	"file_exists":           "write file_exists_behavior: OVERWRITE, RETAIN or DISALLOW",
	"environment":           "no agent sets variables from here; source a file in the scripts",
	"env":                   "no agent sets variables from here; source a file in the scripts",
	"variables":             "no agent sets variables from here; source a file in the scripts",
	"location":              "indent it: it belongs to an entry of an event under hooks",
	"timeout":               "indent it: it belongs to an entry of an event under hooks",
	"runas":                 "indent it: it belongs to an entry of an event under hooks",
	"source":                "indent it: it belongs to an entry under files",
	"destination":           "indent it: it belongs to an entry under files",
	"object":                "indent it: it belongs to an entry under permissions",
	"mode":                  "indent it: it belongs to an entry under permissions",
	"owner":                 "indent it: it belongs to an entry under permissions",
	"phases":                "that is for AWS CodeBuild; hosts know files and hooks",
	"artifacts":             "that is for AWS CodeBuild; hosts know files and hooks",
	"fileexistsbehavior":    "write file_exists_behavior",
	"file_exists_behaviour": "write file_exists_behavior",
}

func (r *reader) spec(root *yaml.Node) *Spec {
	if root == nil {
		return nil
	}
	if root.Kind != yaml.MappingNode {
		hint := "begin with version: 0.0 and os: linux"
		if gluedKey.MatchString(root.Value) {
			hint = "write a colon and a blank after each key"
		}
		r.add(ruleNotAMapping, root, "", kind(root)+" stands where the keys of an AppSpec file should be", hint)
		return nil
	}
	top := r.object(root, "")
	if r.otherPlatform(top) {
		return nil
	}
	r.version(top)
	r.os(top)
	spec := &Spec{File: r.file}
	spec.FileExistsBehavior = r.fileExistsBehavior(top)
	spec.Files = r.files(top)
	spec.Permissions = r.permissions(top)
	spec.Hooks = r.hooks(top)
	r.misplacedEvents(top)
	r.unknown(top, topKeys, topAdvice)
	return spec
}

func (r *reader) version(top *object) {
	v := top.value("version")
	switch {
	case isNull(v):
		r.missing(top, ruleVersion, "version", topKeys, "write version: 0.0")
	case v.Kind != yaml.ScalarNode:
		r.add(ruleVersion, v, "version", fmt.Sprintf("%s stands where the version should be", kind(v)), "write version: 0.0")
	default:
		// 1.x wants a number; the same number between quotes can mean nothing else.
		if f, ok := number(trim(v.Value)); !ok || f != 0 {
			r.add(ruleVersion, v, "version", fmt.Sprintf("there is no version %s of AppSpec files", quote(v.Value)), "write version: 0.0")
		}
	}
}

func (r *reader) os(top *object) {
	v := top.value("os")
	switch {
	case isNull(v):
		r.missing(top, ruleOS, "os", topKeys, "write os: linux")
	case v.Kind != yaml.ScalarNode:
		r.add(ruleOS, v, "os", fmt.Sprintf("%s stands where the operating system should be", kind(v)), "write os: linux")
	case v.Value == "linux":
	case strings.EqualFold(trim(v.Value), "linux"):
		r.add(ruleOS, v, "os", fmt.Sprintf("agents do not know the operating system %s", quote(v.Value)), "write linux in lower case, without blanks")
	default:
		r.add(ruleOS, v, "os", fmt.Sprintf("CodeDeploy knows no operating system %s", quote(v.Value)), "write os: linux")
	}
}

func (r *reader) fileExistsBehavior(top *object) FileExistsBehavior {
	v := top.value("file_exists_behavior")
	if isNull(v) {
		return ""
	}
	if v.Kind == yaml.ScalarNode {
		switch b := FileExistsBehavior(v.Value); b {
		case Disallow, Overwrite, Retain:
			return b
		}
	}
	hint := "write DISALLOW, OVERWRITE or RETAIN"
	if meant := report.Suggest(v.Value, []string{string(Disallow), string(Overwrite), string(Retain)}); meant != "" {
		hint = "write " + meant
	}
	r.add(ruleFileExists, top.at("file_exists_behavior"), "file_exists_behavior", kind(v)+" is no such behavior", hint)
	return ""
}

// otherPlatform recognises files that are not meant for Linux hosts, about which nothing else is worth saying.
func (r *reader) otherPlatform(top *object) bool {
	os := top.value("os")
	if os != nil && os.Kind == yaml.ScalarNode {
		name := strings.ToLower(trim(os.Value))
		if strings.HasPrefix(name, "windows") {
			r.add(ruleOtherPlatform, os, "os", "this AppSpec file is for Windows Server; this agent deploys to Linux",
				"deploy it to Windows instances, or write os: linux and Linux paths")
			return true
		}
		if name == "linux" {
			return false
		}
	}
	for _, name := range top.names {
		what, ok := "", false
		switch strings.ToLower(name) {
		case "resources":
			what, ok = foreignResources(top.fields[name].value), true
		case "phases":
			what, ok = "this is a build specification of AWS CodeBuild, not an AppSpec file", !top.has("hooks")
		case "services":
			what, ok = "this is a Compose file, not an AppSpec file", !top.has("hooks") && !top.has("files")
		}
		if ok {
			r.add(ruleOtherPlatform, top.keyNode(name), name, what, "an AppSpec file for hosts has version: 0.0, os: linux, files and hooks")
			return true
		}
	}
	return false
}

// foreignResources tells ECS from Lambda by the types of the resources.
func foreignResources(n *yaml.Node) string {
	const platform = "this AppSpec file is for %s deployments; this agent deploys to EC2 and on-premises hosts"
	var find func(n *yaml.Node, depth int) string
	find = func(n *yaml.Node, depth int) string {
		if n == nil || depth > 6 {
			return ""
		}
		switch {
		case strings.HasPrefix(n.Value, "AWS::ECS::"), n.Value == "TargetService":
			return fmt.Sprintf(platform, "Amazon ECS")
		case strings.HasPrefix(n.Value, "AWS::Lambda::"), n.Value == "CurrentVersion":
			return fmt.Sprintf(platform, "AWS Lambda")
		}
		for _, child := range n.Content {
			if what := find(child, depth+1); what != "" {
				return what
			}
		}
		return ""
	}
	if what := find(n, 0); what != "" {
		return what
	}
	return fmt.Sprintf(platform, "Amazon ECS or AWS Lambda")
}
