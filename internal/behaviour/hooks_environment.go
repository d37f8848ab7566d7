package behaviour

import (
	"strings"

	"codedeploy-agent/internal/stub"
)

// environment runs a hook and returns the variables that it had.
func (h *Host) environment(o stub.DeployOptions, b Bundle) (map[string]string, stub.DeploymentInfo) {
	h.Helper()
	b["hook.sh"] = "#!/bin/sh\nenv -0 > HOST/found\n"
	o.Events = hookEvents
	if o.Revision.Type == "" {
		o.Revision = h.Push(b)
	}
	info := h.Succeed(o)
	vars := map[string]string{}
	for v := range strings.SplitSeq(strings.TrimSuffix(h.Text("found"), "\x00"), "\x00") {
		name, value, _ := strings.Cut(v, "=")
		vars[name] = value
	}
	return vars, info
}

// documented picks the variables of a deployment; those that are not set are not in the result.
func documented(vars map[string]string) map[string]string {
	out := map[string]string{}
	for _, name := range []string{
		"LIFECYCLE_EVENT", "DEPLOYMENT_ID", "APPLICATION_NAME", "DEPLOYMENT_GROUP_NAME", "DEPLOYMENT_GROUP_ID",
		"BUNDLE_BUCKET", "BUNDLE_KEY", "BUNDLE_VERSION", "BUNDLE_ETAG", "BUNDLE_COMMIT",
	} {
		if value, ok := vars[name]; ok {
			out[name] = value
		}
	}
	return out
}

var oneHook = "hooks:\n  AfterInstall:\n    - location: hook.sh\n"

var _ = add(Hooks,
	Case{Name: "a script gets the variables of its deployment", Run: func(h *Host) {
		h.Start()
		r := h.Push(hookBundle("#!/bin/sh\nenv -0 > HOST/found\n"))
		vars, info := h.environment(stub.DeployOptions{Application: "Shop & Söhne", Group: "blue fleet", Revision: r}, Bundle{})
		h.Same("variables", map[string]string{
			"LIFECYCLE_EVENT": "AfterInstall", "DEPLOYMENT_ID": info.ID, "APPLICATION_NAME": "Shop & Söhne", "DEPLOYMENT_GROUP_NAME": "blue fleet",
			"DEPLOYMENT_GROUP_ID": info.GroupID, "BUNDLE_BUCKET": r.Bucket, "BUNDLE_KEY": r.Key, "BUNDLE_VERSION": r.Version, "BUNDLE_ETAG": r.ETag,
		}, documented(vars))
	}},
	Case{Name: "BUNDLE_VERSION and BUNDLE_ETAG are unset, not empty, when the revision has none", Run: func(h *Host) {
		h.Start()
		r := h.Push(hookBundle("#!/bin/sh\nenv -0 > HOST/found\n"))
		r.Version, r.ETag = "", ""
		vars, info := h.environment(stub.DeployOptions{Revision: r}, Bundle{})
		h.Same("variables", map[string]string{
			"LIFECYCLE_EVENT": "AfterInstall", "DEPLOYMENT_ID": info.ID, "APPLICATION_NAME": "demo-application", "DEPLOYMENT_GROUP_NAME": "demo-group",
			"DEPLOYMENT_GROUP_ID": info.GroupID, "BUNDLE_BUCKET": r.Bucket, "BUNDLE_KEY": r.Key,
		}, documented(vars))
	}},
	Case{Name: "a local revision sets no BUNDLE variables", Run: func(h *Host) {
		h.Service(stub.Options{})
		h.Start()
		dir := h.Directory(hookBundle("#!/bin/sh\nenv -0 > HOST/found\n"))
		vars, _ := h.environment(stub.DeployOptions{Revision: stub.Revision{Type: "Local Directory", Location: dir, BundleType: "directory"}}, Bundle{})
		for name := range documented(vars) {
			if strings.HasPrefix(name, "BUNDLE_") {
				h.Errorf("%s is set: %q", name, vars[name])
			}
		}
	}},
	Case{Name: "the agent's own environment is passed on", Run: func(h *Host) {
		h.Setenv("JAVA_HOME", "/opt/java with blank")
		h.Setenv("MULTILINE", "a\nb=c")
		h.Setenv("EMPTY", "")
		h.Start()
		vars, _ := h.environment(stub.DeployOptions{}, withHooks(oneHook))
		for name, want := range map[string]string{"JAVA_HOME": "/opt/java with blank", "MULTILINE": "a\nb=c", "EMPTY": "", "HOME": h.Dir, "LANG": "C.UTF-8"} {
			got, set := vars[name]
			h.Same(name, want, got)
			h.Same(name+" is set", true, set)
		}
	}},
	Case{Name: "variables of the agent's own environment do not win over those of the deployment", Run: func(h *Host) {
		h.Setenv("DEPLOYMENT_ID", "d-FORGED")
		h.Setenv("LIFECYCLE_EVENT", "Nothing")
		h.Start()
		vars, info := h.environment(stub.DeployOptions{}, withHooks(oneHook))
		h.Same("DEPLOYMENT_ID", info.ID, vars["DEPLOYMENT_ID"])
		h.Same("LIFECYCLE_EVENT", "AfterInstall", vars["LIFECYCLE_EVENT"])
	}},
	Case{Name: "with hook_environment: clean a script gets the documented variables and little else", Run: func(h *Host) {
		h.Set("hook_environment", "clean")
		h.Setenv("JAVA_HOME", "/opt/java")
		h.Start()
		vars, info := h.environment(stub.DeployOptions{}, withHooks(oneHook))
		h.Same("DEPLOYMENT_ID", info.ID, vars["DEPLOYMENT_ID"])
		_, set := vars["JAVA_HOME"]
		h.Same("JAVA_HOME is set", false, set)
		h.Matches("PATH", "/usr/bin", vars["PATH"])
	}},
)

var _ = add(Security,
	Case{Name: "5: no script sees the agent's keys, wherever they come from", Run: func(h *Host) {
		for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_CREDENTIAL_FILE"} {
			h.Setenv(name, "canary-"+name)
		}
		h.Start()
		vars, _ := h.environment(stub.DeployOptions{}, withHooks(oneHook))
		for name, value := range vars {
			if strings.Contains(value, "canary-") || strings.Contains(value, h.Self.SecretAccessKey) || strings.Contains(value, h.Self.AccessKeyID) {
				h.Errorf("a script has %s=%s", name, value)
			}
		}
	}},
	Case{Name: "5: AWS_REGION and AWS_HOST_IDENTIFIER of an on-premises host are there for scripts", Run: func(h *Host) {
		h.Start()
		vars, _ := h.environment(stub.DeployOptions{}, withHooks(oneHook))
		h.Same("AWS_REGION", "us-east-1", vars["AWS_REGION"])
		h.Same("AWS_HOST_IDENTIFIER", h.Self.ID, vars["AWS_HOST_IDENTIFIER"])
	}},
	Case{Name: "libraries that are preloaded into the agent are not for its scripts, nor is its way to talk to systemd", Run: func(h *Host) {
		h.Setenv("LD_LIBRARY_PATH", "/canary")
		h.Setenv("NOTIFY_SOCKET", h.Path("no-such-socket"))
		h.Setenv("WATCHDOG_USEC", "0")
		h.Start()
		vars, _ := h.environment(stub.DeployOptions{}, withHooks(oneHook))
		for _, name := range []string{"LD_LIBRARY_PATH", "NOTIFY_SOCKET", "WATCHDOG_USEC"} {
			if value, set := vars[name]; set {
				h.Errorf("a script has %s=%s", name, value)
			}
		}
	}},
)
