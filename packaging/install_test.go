package packaging

import (
	"path"
	"strings"
	"testing"
	"time"

	"codedeploy-agent/internal/lab"
)

const service = "codedeploy-agent.service"

// configure gives the guest an on-premises identity and a service that is not there, so that the agent has something to try.
func configure(g *lab.Guest) {
	g.WriteFile("/etc/codedeploy-agent/conf/codedeploy.onpremises.yml", `---
region: us-east-1
iam_user_arn: arn:aws:iam::123456789012:user/host
aws_access_key_id: AKIDEXAMPLE
aws_secret_access_key: secret
`, 0o600)
}

// bring copies packages into the guest and returns where they are.
func bring(g *lab.Guest, files ...string) []string {
	var inside []string
	for _, f := range files {
		g.CopyIn(f, "/packages/"+path.Base(f))
		inside = append(inside, "/packages/"+path.Base(f))
	}
	return inside
}

func mainPID(g *lab.Guest) string { return show(g, "MainPID") }

func show(g *lab.Guest, property string) string {
	return strings.TrimPrefix(g.Sh("systemctl show -p %s %s", property, service), property+"=")
}

// silent runs a command that must succeed and say nothing.
func silent(t *testing.T, g *lab.Guest, command string) {
	t.Helper()
	if out := g.Sh("%s", command); out != "" {
		t.Errorf("%s says:\n%s", command, out)
	}
}

func awaitActive(g *lab.Guest, limit time.Duration) {
	g.Eventually(limit, "systemctl is-active --quiet %s", service)
}

// everything lists the paths that a package or its agent may have left, without those of the packages' databases.
func everything(g *lab.Guest) []string {
	out := g.Sh(`find / -xdev \( -path /packages -o -path /var/lib/dpkg -o -path /var/lib/rpm -o -path /var/log/journal -o -path /var/cache \) -prune ` +
		`-o \( -path '*codedeploy*' -o -path /var/log/aws \) -print; find /run -path '*codedeploy*' -print`)
	return strings.Fields(out)
}

func TestRPMFromInstallationToErasure(t *testing.T) {
	p := packages(t, oldVersion)
	g := lab.Boot(t, lab.Options{})
	configure(g)
	rpm := bring(g, p.rpm())[0]

	silent(t, g, "rpm --force-debian -i --nosignature "+rpm)
	awaitActive(g, time.Second)
	if got := g.Sh("systemctl is-enabled %s", service); got != "enabled" {
		t.Errorf("it is %q", got)
	}
	if got := g.Sh("codedeploy-agent version; cat /opt/codedeploy-agent/.version; readlink -f /usr/bin/codedeploy-local"); got !=
		oldVersion+"\nagent_version: "+oldVersion+"\n/opt/codedeploy-agent/bin/codedeploy-agent" {
		t.Errorf("got %q", got)
	}
	silent(t, g, "rpm --force-debian -V codedeploy-agent")
	g.Sh("systemd-analyze --man=no verify %s", service)

	g.Sh("mkdir -p /opt/codedeploy-agent/deployment-root/group/d-1; echo ':verbose: true' >>/etc/codedeploy-agent/conf/codedeployagent.yml")
	silent(t, g, "rpm --force-debian -e codedeploy-agent 2>&1 | grep -v 'saved as /etc/codedeploy-agent/conf/codedeployagent.yml.rpmsave' || true")
	if _, err := g.Try("systemctl is-active %s", service); err == nil {
		t.Error("the service still runs")
	}
	for _, left := range everything(g) {
		kept := strings.HasPrefix(left, "/etc/codedeploy-agent") || strings.HasPrefix(left, "/var/log/aws") ||
			strings.HasPrefix(left, "/opt/codedeploy-agent/deployment-root") || left == "/opt/codedeploy-agent"
		if !kept {
			t.Errorf("%q is left", left)
		}
	}
	g.Sh("test -e /etc/codedeploy-agent/conf/codedeployagent.yml.rpmsave -a -e /etc/codedeploy-agent/conf/codedeploy.onpremises.yml")
}

func TestDebFromInstallationToPurge(t *testing.T) {
	p := packages(t, oldVersion)
	g := lab.Boot(t, lab.Options{})
	before := everything(g)
	deb := bring(g, p.deb())[0]

	g.Sh("DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends %s", deb)
	awaitActive(g, time.Second)
	if got := g.Sh("systemctl is-enabled %s; codedeploy-agent version", service); got != "enabled\n"+oldVersion {
		t.Errorf("got %q", got)
	}
	silent(t, g, "dpkg --verify codedeploy-agent")
	configure(g)
	g.Sh("mkdir -p /opt/codedeploy-agent/deployment-root/group/d-1")

	g.Sh("dpkg -r codedeploy-agent")
	if _, err := g.Try("systemctl is-active %s", service); err == nil {
		t.Error("the service still runs")
	}
	g.Sh("test -e /etc/codedeploy-agent/conf/codedeployagent.yml -a -e /opt/codedeploy-agent/deployment-root/group/d-1")

	// Removed and not purged: a new installation finds everything in place and starts again.
	g.Sh("dpkg -i %s", deb)
	awaitActive(g, time.Second)

	g.Sh("dpkg -P codedeploy-agent")
	after := everything(g)
	if len(after) > len(before) {
		t.Errorf("left after purge: %q", after)
	}
}

func TestDisabledAndStoppedStaysSoThroughAnUpgrade(t *testing.T) {
	first, second := packages(t, oldVersion), packages(t, newVersion)
	for _, c := range []struct{ name, install, upgrade string }{
		{"rpm", "rpm --force-debian -i --nosignature", "rpm --force-debian -U --nosignature"},
		{"deb", "dpkg -i", "dpkg -i"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := lab.Boot(t, lab.Options{})
			files := bring(g, first.rpm(), second.rpm())
			if c.name == "deb" {
				files = bring(g, first.deb(), second.deb())
			}
			g.Sh("%s %s", c.install, files[0])
			g.Sh("systemctl disable --now %s", service)
			g.Sh("%s %s", c.upgrade, files[1])
			if got := g.Sh("codedeploy-agent version; systemctl is-enabled %[1]s; systemctl is-active %[1]s; true", service); got !=
				newVersion+"\ndisabled\ninactive" {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestUpgradeReplacesTheAgentInPlace(t *testing.T) {
	first, second := packages(t, oldVersion), packages(t, newVersion)
	g := lab.Boot(t, lab.Options{})
	configure(g)
	files := bring(g, first.rpm(), second.rpm())
	g.Sh("rpm --force-debian -i --nosignature %s", files[0])
	awaitActive(g, 5*time.Second)
	pid := mainPID(g)
	g.Sh("echo ':verbose: true' >>/etc/codedeploy-agent/conf/codedeployagent.yml")
	edited := g.ReadFile("/etc/codedeploy-agent/conf/codedeployagent.yml")

	silent(t, g, "rpm --force-debian -U --nosignature "+files[1])
	g.Eventually(10*time.Second, "test $(readlink /proc/%s/exe) = /opt/codedeploy-agent/bin/codedeploy-agent", pid)
	if got := mainPID(g); got != pid {
		t.Errorf("main pid %s became %s", pid, got)
	}
	awaitActive(g, 5*time.Second)
	if got := g.ReadFile("/etc/codedeploy-agent/conf/codedeployagent.yml"); got != edited {
		t.Errorf("the configuration was changed: %q", got)
	}
	// Back to the version before, as documented.
	silent(t, g, "rpm --force-debian -U --oldpackage --nosignature "+files[0])
	g.Eventually(10*time.Second, "test $(readlink /proc/%s/exe) = /opt/codedeploy-agent/bin/codedeploy-agent", pid)
	if got := mainPID(g); got != pid || g.Sh("codedeploy-agent version") != oldVersion {
		t.Errorf("main pid %s became %s", pid, got)
	}
}

func TestImageBuildersInstallWithoutSystemdRunning(t *testing.T) {
	p := packages(t, oldVersion)
	for _, c := range []struct{ name, install string }{
		{"rpm", "rpm --force-debian -i --nosignature"},
		{"deb", "dpkg -i"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := lab.Boot(t, lab.Options{})
			file := bring(g, p.rpm())[0]
			if c.name == "deb" {
				file = bring(g, p.deb())[0]
			}
			// A directory with the same files, but without the running system's /run.
			out := g.Sh("mount --bind / /mnt && mount --bind /dev /mnt/dev && chroot /mnt %s %s", c.install, file)
			if c.name == "rpm" && out != "" {
				t.Errorf("it says %q", out)
			}
			g.Sh("test ! -e /mnt/run/codedeploy-agent.package && umount /mnt/dev /mnt")
			if got := g.Sh("systemctl is-enabled %[1]s; systemctl is-active %[1]s; true", service); got != "enabled\ninactive" {
				t.Errorf("got %q", got)
			}
			g.Reboot() // the image's first boot
			awaitActive(g, 5*time.Second)
		})
	}
}
