package hooks

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"codedeploy-agent/appspec"
	"codedeploy-agent/internal/lab"
)

// guest is a booted system in which the test binary is the agent, as a service whose processes systemd kills with it:
// the worst unit that it could have.
type guest struct {
	*lab.Guest
	t *testing.T
}

func bootGuest(t *testing.T) guest {
	t.Helper()
	path := self(t)
	g := guest{lab.Boot(t, lab.Options{Binds: map[string]string{"/t": filepath.Dir(path)}}), t}
	g.Sh("mkdir -p /d/deployment-archive; ln -s /t/%s /agent", filepath.Base(path))
	return g
}

// start runs a hook of the given shell scripts from the service "agent".
func (g guest) start(record string, scripts ...string) {
	g.t.Helper()
	req := Request{
		Event: ApplicationStart, Archive: "/d/deployment-archive", DeploymentID: "d-GUEST", Record: record,
		ScriptsLog: "/d/logs/scripts.log", Variables: []string{"DEPLOYMENT_ID=d-GUEST"},
		Options: Options{KillGrace: 300 * time.Millisecond, Drain: 300 * time.Millisecond, Slice: "deployments.slice"},
	}
	for i, text := range scripts {
		name := string(rune('a'+i)) + ".sh"
		script := appspec.Script{Location: name, Timeout: time.Minute}
		if rest, ok := strings.CutPrefix(text, "limit 1s; "); ok {
			text, script.Timeout = rest, time.Second
		}
		if rest, ok := strings.CutPrefix(text, "runas remote; "); ok {
			text, script.RunAs = rest, "remote"
		}
		g.WriteFile("/d/deployment-archive/"+name, "#!/bin/sh\n"+text+"\n", 0o755)
		req.Scripts = append(req.Scripts, script)
	}
	b, err := json.Marshal(req)
	if err != nil {
		g.t.Fatal(err)
	}
	g.WriteFile("/request", string(b), 0o600)
	g.Sh("systemctl reset-failed agent 2>/dev/null; systemd-run -q --collect --unit=agent -p KillMode=control-group -p TimeoutStopSec=2 -p StandardInput=file:/request /agent test-agent start")
	g.await(record + "/started")
}

// result is what the next agent gets.
func (g guest) result(record string) Result {
	g.t.Helper()
	out := g.Sh("timeout 60 /agent test-agent attach %s", record)
	var res Result
	if err := json.Unmarshal([]byte(out), &res); err != nil {
		g.t.Fatalf("%v: %s", err, out)
	}
	return res
}

func (g guest) await(file string) string {
	g.t.Helper()
	return g.Eventually(20*time.Second, "cat %s", file)
}

func TestUnderSystemd(t *testing.T) {
	g := bootGuest(t)

	t.Run("stopping the agent's unit reaches neither hook nor daemon", func(t *testing.T) {
		g := guest{g.Guest, t}
		g.start("/r1", "setsid sleep 300 >/dev/null 2>&1 & echo $! > /daemon; touch /up; while [ ! -e /go ]; do sleep 0.05; done; echo end; exit 4")
		g.await("/up")
		scope := g.Sh("systemctl list-units --no-legend --plain 'codedeploy-hook-*' | cut -d' ' -f1")
		if !strings.HasPrefix(scope, "codedeploy-hook-d-GUEST-ApplicationStart-") || strings.Contains(scope, "\n") {
			t.Errorf("scopes: %q", scope)
		}
		if got := g.Sh("cat /proc/$(cat /daemon)/cgroup"); !strings.Contains(got, "/deployments.slice/"+scope) {
			t.Errorf("the daemon is in %q", got)
		}
		g.Sh("systemctl stop agent; touch /go")
		if res := g.result("/r1"); res.Outcome != Failed || res.ExitCode != 4 || !strings.Contains(res.Log, "[stdout]end\n") {
			t.Errorf("result %+v", res)
		}
		g.Sh("test -d /proc/$(cat /daemon)")
		// The scope goes with the daemon.
		g.Sh("systemctl is-active '%s'; kill $(cat /daemon)", scope)
		g.Eventually(10*time.Second, "! systemctl is-active '%s'", scope)
	})

	t.Run("the agent is killed", func(t *testing.T) {
		g := guest{g.Guest, t}
		g.start("/r2", "touch /up2; sleep 1; echo end")
		g.await("/up2")
		g.Sh("systemctl kill -s KILL --kill-who=main agent")
		if res := g.result("/r2"); res.Outcome != Succeeded || !strings.Contains(res.Log, "[stdout]end\n") {
			t.Errorf("result %+v", res)
		}
	})

	t.Run("a time limit ends what its script has started, wherever it went", func(t *testing.T) {
		g := guest{g.Guest, t}
		g.start("/r3", "setsid sleep 300 >/dev/null 2>&1 & echo $! > /kept",
			"limit 1s; /agent misbehave deaf /pids")
		res := g.result("/r3")
		if res.Outcome != TimedOut || res.Script != "b.sh" {
			t.Errorf("result %+v", res)
		}
		g.Sh("test -d /proc/$(cat /kept); for p in $(cat /pids); do ! kill -0 $p || exit 1; done; kill $(cat /kept)")
	})

	t.Run("a user known only to getent, with limits of limits.d", func(t *testing.T) {
		g := guest{g.Guest, t}
		g.Sh("sed -i 's/^\\(passwd\\|group\\):.*/\\1: files extrausers/' /etc/nsswitch.conf; mkdir -p /var/lib/extrausers")
		g.WriteFile("/var/lib/extrausers/passwd", "remote:x:54321:54322::/:/usr/sbin/nologin\n", 0o644)
		g.WriteFile("/var/lib/extrausers/group", "remote:x:54322:\nstaff2:x:54323:remote\n", 0o644)
		g.WriteFile("/etc/security/limits.d/remote.conf", "@staff2 - nofile 777\n", 0o644)
		g.WriteFile("/etc/environment", "FROM=pam\n", 0o644)
		g.start("/r4", "runas remote; id -u; id -G; ulimit -n; echo $FROM $USER $SHELL")
		res := g.result("/r4")
		if want := "[stdout]54321\n[stdout]54322 54323\n[stdout]777\n[stdout]pam remote /usr/sbin/nologin\n"; res.Outcome != Succeeded || !strings.HasSuffix(res.Log, want) {
			t.Errorf("result %+v", res)
		}
	})

	t.Run("what /etc/profile sets reaches the script", func(t *testing.T) {
		g := guest{g.Guest, t}
		g.WriteFile("/etc/profile.d/site.sh", "umask 027\nulimit -Sn 600\nSITE='a b'\n", 0o644)
		g.start("/r6", "umask; ulimit -Sn; echo $SITE", "runas remote; umask; ulimit -Sn; echo $SITE")
		res := g.result("/r6")
		want := "Script - a.sh\n[stdout]0027\n[stdout]600\n[stdout]a b\nScript - b.sh\n[stdout]0027\n[stdout]777\n[stdout]a b\n"
		if res.Outcome != Succeeded || !strings.HasSuffix(res.Log, want) {
			t.Errorf("result %+v", res)
		}
	})

	t.Run("nothing is left", func(t *testing.T) {
		g := guest{g.Guest, t}
		g.Eventually(10*time.Second, "[ -z \"$(systemctl list-units --all --no-legend 'codedeploy-hook-*')$(find /sys/fs/cgroup -name 'codedeploy-hook-*')\" ]")
	})

	t.Run("the host's power fails", func(t *testing.T) {
		g := guest{g.Guest, t}
		g.start("/r5", "touch /up5; sleep 300")
		g.await("/up5")
		g.Sh("sync")
		g.Crash()
		if res := g.result("/r5"); res.Outcome != Lost || !strings.Contains(res.Message, "the host was restarted") {
			t.Errorf("result %+v", res)
		}
	})
}
