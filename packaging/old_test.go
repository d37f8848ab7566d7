package packaging

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"codedeploy-agent/internal/lab"
)

// Packages shaped like those of the older agents: same names, paths, units and habits of their scripts. The program in
// them is a shell script that starts an application, as a hook would, and that finishes its deployment before it ends.

const oldProgram = `#!/bin/sh
pidfile=/opt/codedeploy-agent/state/.pid/codedeploy-agent.pid
main() {
    mkdir -p /opt/codedeploy-agent/state/.pid
    echo $$ >$pidfile
    trap 'end=yes' TERM
    sleep 100000 </dev/null >/dev/null 2>&1 &
    echo $! >/run/application.pid
    while [ -z "$end" ] || [ -e /run/deployment ]; do sleep 0.1; done
    echo ended >/run/old-agent
    rm -f $pidfile
    exit 0
}
case "$1" in
    daemon) main codedeploy-agent ;;
    start) setsid /opt/codedeploy-agent/bin/codedeploy-agent daemon </dev/null >/dev/null 2>&1 & sleep 0.2 ;;
    foreground) main ;;
    stop) kill -TERM "$(cat $pidfile)"; while [ -e $pidfile ]; do sleep 0.1; done ;;
esac
`

const oldUnit1 = `[Unit]
Description=AWS CodeDeploy Host Agent

[Service]
Type=forking
ExecStart=/bin/bash -a -c '[ -f /etc/profile ] && source /etc/profile; /opt/codedeploy-agent/bin/codedeploy-agent start'
ExecStop=/opt/codedeploy-agent/bin/codedeploy-agent stop
RemainAfterExit=no
Restart=on-failure

[Install]
WantedBy=multi-user.target
`

const oldUnit2 = `[Unit]
Description=AWS CodeDeploy Agent
After=network-online.target
Wants=network-online.target

[Service]
Type=simple
ExecStart=/opt/codedeploy-agent/bin/codedeploy-agent foreground
ExecStop=/opt/codedeploy-agent/bin/codedeploy-agent stop
Restart=on-abnormal
RestartSec=10
TimeoutStopSec=7200
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
`

type oldAgent struct {
	name, version, unit  string
	post, preun, postun  string // scripts; the arguments are those of the format
	agentVersion, format string
}

var (
	old1RPM = oldAgent{
		name: "1.x", format: "rpm", version: "1.8.1", unit: oldUnit1, agentVersion: "OFFICIAL_1.8.1-12_rpm",
		post:  "systemctl daemon-reload; [ $1 -gt 1 ] || { systemctl enable codedeploy-agent; systemctl start codedeploy-agent; }",
		preun: "[ $1 -gt 0 ] || systemctl stop codedeploy-agent",
	}
	old2RPM = oldAgent{
		name: "2.x", format: "rpm", version: "2.0.0", unit: oldUnit2, agentVersion: "",
		post: "systemctl daemon-reload; ln -sf codedeploy-agent /opt/codedeploy-agent/bin/codedeploy-local; " +
			"if [ $1 -gt 1 ]; then systemctl try-restart codedeploy-agent; else systemctl enable codedeploy-agent; systemctl start codedeploy-agent; fi",
		preun:  "[ $1 -gt 0 ] || systemctl disable --now codedeploy-agent",
		postun: "rm -f /opt/codedeploy-agent/bin/codedeploy-local; systemctl daemon-reload",
	}
	old1Deb = oldAgent{
		name: "1.x", format: "deb", version: "1.8.1", unit: oldUnit1, agentVersion: "OFFICIAL_1.8.1-12_deb",
		post: "systemctl daemon-reload; systemctl enable codedeploy-agent; systemctl start codedeploy-agent",
	}
	// Its first script stops the service before ours can do anything about it.
	old2Deb = oldAgent{
		name: "2.x", format: "deb", version: "2.0.0", unit: oldUnit2, agentVersion: "",
		post:  "systemctl daemon-reload; systemctl enable codedeploy-agent; systemctl restart codedeploy-agent",
		preun: "systemctl stop codedeploy-agent",
	}
)

// pack builds the package of an old agent and returns its file.
func (o oldAgent) pack(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	script := func(name, body string) string {
		return write(name, "#!/bin/bash\nexec >/dev/null 2>&1\n"+body+"\nexit 0\n")
	}
	unitDir := map[string]string{"rpm": "/usr/lib", "deb": "/lib"}[o.format] + "/systemd/system"
	yaml := strings.NewReplacer(
		"ARCH", runtime.GOARCH, "VERSION", o.version, "DIR", dir, "UNITDIR", unitDir).Replace(`
name: codedeploy-agent
arch: ARCH
version: VERSION
release: "12"
maintainer: tests <root@localhost>
description: an old agent
contents:
  - {src: DIR/agent, dst: /opt/codedeploy-agent/bin/codedeploy-agent}
  - {src: DIR/version, dst: /opt/codedeploy-agent/.version}
  - {src: DIR/unit, dst: UNITDIR/codedeploy-agent.service, file_info: {mode: 0644}}
  - {src: DIR/sysv, dst: /etc/init.d/codedeploy-agent, type: config}
  - {src: DIR/cron, dst: /etc/cron.d/codedeploy-agent-update, type: config, file_info: {mode: 0644}}
  - {src: DIR/yml, dst: /etc/codedeploy-agent/conf/codedeployagent.yml, type: config|noreplace, file_info: {mode: 0644}}
scripts: {postinstall: DIR/post, preremove: DIR/preun, postremove: DIR/postun}
`)
	write("agent", oldProgram)
	write("version", "agent_version: "+o.agentVersion+"\n")
	write("unit", o.unit)
	write("sysv", "#!/bin/sh\n### BEGIN INIT INFO\n# Provides: codedeploy-agent\n# Default-Start: 2 3 4 5\n# Default-Stop: 0 1 6\n### END INIT INFO\nexit 0\n")
	write("cron", "0 0 * * * root /bin/false\n")
	write("yml", "---\n:max_revisions: 5\n")
	script("post", o.post)
	script("preun", o.preun)
	script("postun", o.postun)
	config := write("nfpm.yaml", yaml)
	run(t, nil, "go", "tool", "-modfile=../tools/go.mod", "nfpm", "package", "--config", config, "--packager", o.format, "--target", dir+"/")
	found, _ := filepath.Glob(dir + "/*." + o.format)
	if len(found) != 1 {
		t.Fatalf("found %q", found)
	}
	return found[0]
}

var (
	installCommand = map[string]string{"rpm": "rpm --force-debian -i --nosignature", "deb": "dpkg -i --force-confold"}
	upgradeCommand = map[string]string{"rpm": "rpm --force-debian -U --nosignature", "deb": "dpkg -i --force-confold"}
)

func (b built) file(format string) string {
	if format == "deb" {
		return b.deb()
	}
	return b.rpm()
}

func TestUpgradeFromAnOldAgent(t *testing.T) {
	p := packages(t, oldVersion)
	for _, old := range []oldAgent{old1RPM, old2RPM, old1Deb} {
		t.Run(old.name+" "+old.format, func(t *testing.T) {
			g := lab.Boot(t, lab.Options{})
			files := bring(g, old.pack(t), p.file(old.format))
			g.Sh("%s %s", installCommand[old.format], files[0])
			application := g.Eventually(5*time.Second, "cat /run/application.pid")
			g.Sh("grep -q codedeploy-agent.service /proc/%s/cgroup", application) // it would die with its unit
			g.Sh("echo ':verbose: true' >>/etc/codedeploy-agent/conf/codedeployagent.yml; mkdir -p /opt/codedeploy-agent/deployment-root/deployment-instructions/g")
			configure(g)
			g.Sh("touch /run/deployment") // in progress

			// The upgrade may be part of that deployment, so it must not wait for its end.
			begin := time.Now()
			if out := g.Sh("%s %s", upgradeCommand[old.format], files[1]); old.format == "rpm" && !strings.Contains(out, "codedeployagent.yml.rpmnew") {
				t.Errorf("it says %q", out)
			}
			if took := time.Since(begin); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
			g.Sh("test ! -e /run/old-agent && kill -0 $(cat /opt/codedeploy-agent/state/.pid/codedeploy-agent.pid)")

			g.Sh("rm /run/deployment")
			awaitOurs(g)
			g.Sh("kill -0 %s", application)
			if got := g.Sh("cat /run/old-agent; systemctl is-enabled %s", service); got != "ended\nenabled" {
				t.Errorf("got %q", got)
			}
			for property, want := range map[string]string{"Type": "notify", "KillMode": "process", "WatchdogUSec": "1min", "DropInPaths": ""} {
				if got := show(g, property); got != want {
					t.Errorf("%s is %q, want %q", property, got, want)
				}
			}
			g.Sh("test ! -e /etc/init.d/codedeploy-agent -a ! -e /etc/cron.d/codedeploy-agent-update -a -L /opt/codedeploy-agent/bin/codedeploy-local")
			g.Sh("grep -q verbose /etc/codedeploy-agent/conf/codedeployagent.yml && test -e /etc/codedeploy-agent/conf/codedeploy.onpremises.yml -a -d /opt/codedeploy-agent/deployment-root/deployment-instructions/g")
			g.Sh("! ls /etc/rc?.d/*codedeploy-agent /run/codedeploy-agent.package 2>/dev/null")

			g.Sh("systemctl restart %s", service)
			g.Sh("kill -0 %s", application) // also from now on
		})
	}
}

// awaitOurs waits until the service's main process is our program and ready.
func awaitOurs(g *lab.Guest) {
	g.Eventually(20*time.Second, "test $(readlink /proc/$(systemctl show -p MainPID %s | sed s/MainPID=//)/exe) = /opt/codedeploy-agent/bin/codedeploy-agent", service)
	awaitActive(g, 5*time.Second)
}

func TestDowngradeToAnOldAgent(t *testing.T) {
	p := packages(t, oldVersion)
	g := lab.Boot(t, lab.Options{})
	files := bring(g, old2RPM.pack(t), p.rpm())
	configure(g)
	g.Sh("rpm --force-debian -i --nosignature %s", files[1])
	awaitActive(g, 5*time.Second)
	g.Sh("rpm --force-debian -U --oldpackage --nosignature %s", files[0])
	g.Eventually(10*time.Second, "test -s /run/application.pid && systemctl is-active %s", service)
	if got := show(g, "Type"); got != "simple" {
		t.Errorf("the unit is of type %q", got)
	}
	g.Reboot()
	g.Eventually(10*time.Second, "test -s /run/application.pid && systemctl is-active %s", service)
}
