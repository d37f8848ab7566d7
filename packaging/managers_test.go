package packaging

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"codedeploy-agent/internal/lab"
)

func TestDnfWithSignaturesChecked(t *testing.T) {
	first, second := packages(t, oldVersion), packages(t, newVersion)
	g := lab.Boot(t, lab.Options{})
	configure(g)
	files := bring(g, first.rpm(), second.rpm())
	g.CopyIn(signingKey(t)+".pub", "/key")
	dnf := "dnf -y -q --setopt=localpkg_gpgcheck=1 --disablerepo='*' "

	if out, err := g.Try("%s install %s", dnf, files[0]); err == nil {
		t.Errorf("it was installed although nobody knows its key: %s", out)
	}
	g.Sh("rpmkeys --import /key && rpmkeys -K %s %s", files[0], files[1])
	for _, c := range []struct{ verb, file, version string }{
		{"install", files[0], oldVersion}, {"upgrade", files[1], newVersion}, {"downgrade", files[0], oldVersion},
	} {
		g.Sh("%s %s %s", dnf, c.verb, c.file)
		awaitActive(g, 5*time.Second)
		if got := g.Sh("codedeploy-agent version"); got != c.version {
			t.Errorf("after %s: %q", c.verb, got)
		}
	}
	g.Sh("%s remove codedeploy-agent", dnf)
	if _, err := g.Try("systemctl is-active %s", service); err == nil {
		t.Error("the service still runs")
	}
}

// releaseServer serves a release tree of both versions' packages to the guest; newVersion is the latest.
func releaseServer(t *testing.T, g *lab.Guest, version string) (url string) {
	t.Helper()
	p := packages(t, version)
	run(t, []string{"VERSION=" + version, "DIST=" + p.dir, "SIGNING_KEY=" + signingKey(t)}, "./release-tree")
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(p.dir, "release"))))
	t.Cleanup(server.Close)
	return "http://" + g.Forward(strings.TrimPrefix(server.URL, "http://"))
}

func TestInstallerOnABootedHost(t *testing.T) {
	for _, kind := range []string{"rpm", "deb"} {
		t.Run(kind, func(t *testing.T) {
			g := lab.Boot(t, lab.Options{})
			configure(g)
			url := releaseServer(t, g, oldVersion)
			g.Sh("curl -sSfo /root/install %s/latest/install", url)

			if got := g.Sh("sh /root/install --from %s --dry-run %s; ls /opt/codedeploy-agent 2>&1; true", url, kind); !strings.Contains(got, "would be installed") ||
				!strings.Contains(got, "No such file") {
				t.Errorf("dry run: %q", got)
			}
			if got := g.Sh("sh /root/install --from %s --sanity-check %s", url, kind); got != "codedeploy-agent "+oldVersion+"-1 is installed." {
				t.Errorf("install: %q", got)
			}
			awaitActive(g, time.Second)
			pid := mainPID(g)
			if got := g.Sh("sh /root/install --from %s %s", url, kind); got != "codedeploy-agent "+oldVersion+"-1 is installed already." {
				t.Errorf("again: %q", got)
			}
			if out, err := g.Try("sh /root/install --from %s -v 9.9.9 %s", url+"/nowhere", kind); lab.ExitCode(err) != 1 {
				t.Errorf("a version that does not exist: %v %q", err, out)
			}

			url = releaseServer(t, g, newVersion)
			g.Sh("curl -sSfo /root/install %s/latest/install; sh /root/install --from %s -v %s %s", url, url, newVersion, kind)
			if got := g.Sh("codedeploy-agent version"); got != newVersion || mainPID(g) != pid {
				t.Errorf("version %s as process %s, before %s", got, mainPID(g), pid)
			}
			g.Sh("test -f /tmp/codedeploy-agent.update.log && grep -q 'the signature of' /tmp/codedeploy-agent.update.log")
		})
	}
}

// The deb of the older agent stops its service before any script of ours can run; the installer gets there first.
func TestInstallerKeepsApplicationsOfAnOldDeb(t *testing.T) {
	g := lab.Boot(t, lab.Options{})
	url := releaseServer(t, g, oldVersion)
	g.Sh("dpkg -i %s", bring(g, old2Deb.pack(t))[0])
	application := g.Eventually(5*time.Second, "cat /run/application.pid")
	g.Sh("curl -sSfo /root/install %s/latest/install; sh /root/install --from %s deb", url, url)
	awaitOurs(g)
	g.Sh("kill -0 %s && test -e /run/old-agent", application)
}

func TestStateOfAnOldAgentIsTakenOver(t *testing.T) {
	const group = "b3a12c1e-0000-4000-8000-000000000001"
	s := newSite(t, lab.Options{})
	root := "/opt/codedeploy-agent/deployment-root"
	old := root + "/" + group + "/d-OLDOLDOLD"
	// What 1.x keeps after a deployment that put two files below /srv.
	s.WriteFile(old+"/deployment-archive/appspec.yml",
		"version: 0.0\nos: linux\nhooks:\n  ApplicationStop:\n    - location: stop.sh\nfiles:\n  - {source: page, destination: /srv/old}\n", 0o644)
	s.WriteFile(old+"/deployment-archive/stop.sh", "#!/bin/sh\necho stopped >/run/stopped\n", 0o755)
	s.WriteFile(old+"/bundle.tar", "", 0o644)
	s.WriteFile("/srv/taken/page", "old", 0o644)
	s.WriteFile("/srv/taken/gone", "old", 0o644)
	s.WriteFile("/srv/taken/mine", "the customer's own", 0o644)
	s.WriteFile(root+"/deployment-instructions/"+group+"-cleanup", "/srv/taken\n/srv/taken/page\n/srv/taken/gone\n", 0o644)
	s.WriteFile(root+"/deployment-instructions/"+group+"-install.json", "{\"instructions\":[]}", 0o644)
	s.WriteFile(root+"/deployment-instructions/"+group+"_last_successful_install", old, 0o644)
	s.WriteFile(root+"/deployment-instructions/"+group+"_most_recent_install", old, 0o644)
	// The configuration as 1.x's package wrote it, with symbols for keys.
	s.Sh("sed -i 's/^\\([a-z]\\)/:\\1/' /etc/codedeploy-agent/conf/codedeployagent.yml && grep -q ^:deploy_control_endpoint /etc/codedeploy-agent/conf/codedeployagent.yml")
	configuration := s.ReadFile("/etc/codedeploy-agent/conf/codedeployagent.yml")

	s.Sh("rpm --force-debian -i --nosignature %s", bring(s.Guest, old1RPM.pack(t))[0])
	s.Eventually(5*time.Second, "cat /run/application.pid")
	s.WriteFile("/etc/codedeploy-agent/conf/codedeployagent.yml", configuration, 0o644)
	s.Sh("rpm --force-debian -U --nosignature %s", bring(s.Guest, packages(t, oldVersion).rpm())[0])
	s.awaitPoll(time.Now().Add(-time.Minute))
	if got := s.ReadFile("/etc/codedeploy-agent/conf/codedeployagent.yml"); got != configuration {
		t.Errorf("the configuration has become\n%s", got)
	}

	dir := t.TempDir()
	for name, text := range map[string]string{
		"appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - {source: page, destination: /srv/taken}\n", "page": "new",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.result(s.deployDir(group, dir)); got != "Succeeded" {
		t.Errorf("got %s", got)
	}
	if got := s.Sh("cat /run/stopped; cd /srv/taken && head -n 9 *; ls %s/%s | wc -l", root, group); got !=
		"stopped\n==> mine <==\nthe customer's own\n==> page <==\nnew2" {
		t.Errorf("got %q", got)
	}
}
