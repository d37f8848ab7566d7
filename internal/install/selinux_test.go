package install

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"codedeploy-agent/appspec"
)

func TestContextOfAnEntryIsPutIntoTheLabel(t *testing.T) {
	const current = "unconfined_u:object_r:default_t:s0\x00"
	for _, c := range []struct {
		context appspec.Context
		current string
		want    string
	}{
		{appspec.Context{Type: "httpd_t"}, current, "unconfined_u:object_r:httpd_t:s0"},
		{appspec.Context{User: "system_u", Type: "httpd_t", Range: "s0-s1:c0.c3"}, current, "system_u:object_r:httpd_t:s0-s1:c0.c3"},
		{appspec.Context{Type: "httpd_t"}, "u:r:t:s0-s0:c0.c1023", "u:r:httpd_t:s0-s0:c0.c1023"},
		{appspec.Context{Type: "httpd_t", User: "system_u"}, "", "system_u:object_r:httpd_t"},
	} {
		same(t, "label", label(c.current, &c.context), c.want)
	}
}

// pretendSELinux makes the host one with SELinux whose semanage writes its arguments down.
func pretendSELinux(t *testing.T) (arguments string) {
	dir := t.TempDir()
	arguments = filepath.Join(dir, "arguments")
	must(t, os.WriteFile(dir+"/enforce", []byte("1"), 0o644))
	must(t, os.WriteFile(dir+"/semanage", []byte("#!/bin/sh\nfor a; do printf '[%s]' \"$a\"; done >>"+arguments+"\necho >>"+arguments+"\n"), 0o755))
	old := hostSELinux
	hostSELinux = selinux{mount: dir, semanage: dir + "/semanage"}
	t.Cleanup(func() { hostSELinux = old })
	return arguments
}

func TestRuleOfThePolicyIsGivenWithoutAShell(t *testing.T) {
	arguments := pretendSELinux(t)
	must(t, hostSELinux.addLabelRule(context.Background(), "/srv/a b; rm -rf *", &appspec.Context{User: "u", Type: "t", Range: "s0"}, false))
	must(t, hostSELinux.addLabelRule(context.Background(), "/srv/x", &appspec.Context{Type: "t"}, true))
	must(t, hostSELinux.removeLabelRule(context.Background(), "/srv/x"))
	b, err := os.ReadFile(arguments)
	must(t, err)
	same(t, "arguments", string(b), "[fcontext][-a][-s][u][-t][t][-r][s0][/srv/a b; rm -rf *]\n[fcontext][-m][-t][t][/srv/x]\n[fcontext][-d][/srv/x]\n")
}

func TestContextWithoutSELinuxIsAWarning(t *testing.T) {
	old := hostSELinux
	hostSELinux = selinux{mount: t.TempDir(), semanage: "no-such-program"}
	t.Cleanup(func() { hostSELinux = old })
	h := newHost(t)
	in := h.input(h.revision(map[string]string{"a": ""}), to("/srv/app"))
	in.Spec.Permissions = []appspec.Permission{{Object: "/srv/app", Pattern: "**", OnFiles: true, Context: &appspec.Context{Type: "t"}}}
	p, err := Make(context.Background(), in)
	must(t, err)
	must(t, p.Preflight())
	if len(p.Warnings()) != 1 {
		t.Errorf("warnings: %q", p.Warnings())
	}
	must(t, install(in))

	must(t, os.WriteFile(hostSELinux.mount+"/enforce", nil, 0o644))
	if err := p.Preflight(); err == nil {
		t.Error("SELinux is enabled, its tool is missing, and nothing says so")
	}
}

func TestContextOfADeployment(t *testing.T) {
	needsRoot(t)
	arguments := pretendSELinux(t)
	h := newHost(t)
	write(t, h.disk, map[string]string{"srv/link": "-> app", "srv/app/": ""})
	deploy := func(bundle map[string]string) error {
		in := h.input(h.revision(bundle), to("/srv/link"))
		in.Spec.Permissions = []appspec.Permission{{Object: "/srv/link", Pattern: "**", OnFiles: true, Context: &appspec.Context{Type: "app_t"}}}
		return install(in)
	}
	must(t, deploy(map[string]string{"a": "1", "b": "1"}))
	same(t, "label", xattrOf(h.disk+"/srv/app/a", xattrLabel), fmt.Sprintf("%x", ":object_r:app_t"))
	same(t, "cleanup list", h.cleanupList(), []string{"/srv/link/a", "/srv/link/b", "semanage\x00/srv/app/a", "semanage\x00/srv/app/b"})
	must(t, deploy(map[string]string{"b": "2", "c": "2"}))
	b, err := os.ReadFile(arguments)
	must(t, err)
	same(t, "calls of semanage", string(b), "[fcontext][-a][-t][app_t][/srv/app/a]\n[fcontext][-a][-t][app_t][/srv/app/b]\n"+
		"[fcontext][-m][-t][app_t][/srv/app/b]\n[fcontext][-a][-t][app_t][/srv/app/c]\n[fcontext][-d][/srv/app/a]\n")

	must(t, os.WriteFile(hostSELinux.semanage, []byte("#!/bin/sh\ncase $* in *-a*) echo no policy; exit 1;; esac\n"), 0o755))
	before := snapshot(t, h.disk)
	if err := deploy(map[string]string{"d": "3"}); err == nil || !strings.Contains(err.Error(), "no policy") {
		t.Errorf("got %v", err)
	}
	same(t, "tree", snapshot(t, h.disk), before)
	h.expectTidy()
}
