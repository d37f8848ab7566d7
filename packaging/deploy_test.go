package packaging

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"codedeploy-agent/internal/lab"
)

const waitForGo = "touch /run/up-$DEPLOYMENT_GROUP_NAME; echo run >>/run/runs-$DEPLOYMENT_GROUP_NAME; while [ ! -e /run/go-$DEPLOYMENT_GROUP_NAME ]; do sleep 0.05; done"

func TestDeploymentsOnABootedHost(t *testing.T) {
	first, second := packages(t, oldVersion), packages(t, newVersion)
	all := newSite(t, lab.Options{})
	files := bring(all.Guest, first.rpm(), second.rpm())
	begin := time.Now()
	all.Sh("rpm --force-debian -i --nosignature %s", files[0])
	all.awaitPoll(begin)
	t.Logf("from rpm -i to the first poll: %v", time.Since(begin).Round(10*time.Millisecond))

	t.Run("a revision arrives and its hooks run", func(t *testing.T) {
		s := all.in(t)
		d := s.deploy("plain", map[string]string{"AfterInstall": "id -u >/run/uid"}, map[string]string{"page": "hello"})
		if got := s.result(d); got != "Succeeded" {
			t.Errorf("got %s", got)
		}
		if got := s.Sh("cat /srv/plain/page /run/uid; codedeploy-agent status | head -n 1"); got != "hello0\nThe AWS CodeDeploy agent is running as PID "+mainPID(s.Guest) {
			t.Errorf("got %q", got)
		}
	})

	t.Run("an application started by a hook outlives the service", func(t *testing.T) {
		s := all.in(t)
		d := s.deploy("app", map[string]string{"ApplicationStart": "sleep 10000 </dev/null >/dev/null 2>&1 & echo $! >/run/app"}, nil)
		if got := s.result(d); got != "Succeeded" {
			t.Errorf("got %s", got)
		}
		s.Sh("systemctl restart %s", service)
		s.Sh("kill -0 $(cat /run/app) && ! grep codedeploy-agent.service /proc/$(cat /run/app)/cgroup")
		s.Sh("kill $(cat /run/app)")
	})

	// Whatever happens to the agent, the hook runs once, to its end, and its true result is reported.
	for _, c := range []struct{ group, event string }{
		{"killed", "systemctl kill -s KILL --kill-who=main " + service},
		{"restarted", "systemctl restart " + service},
		{"upgraded", "rpm --force-debian -U --replacepkgs --nosignature " + files[1]},
		{"downgraded", "rpm --force-debian -U --replacepkgs --oldpackage --nosignature " + files[0]},
	} {
		t.Run(c.group+" in the middle of a hook", func(t *testing.T) {
			for _, end := range []struct{ name, exit, want string }{{"good", "0", "Succeeded"}, {"bad", "9", "Failed ApplicationStart=4"}} {
				s := all.in(t)
				group := c.group + "-" + end.name
				d := s.deploy(group, map[string]string{"ApplicationStart": waitForGo + "; exit " + end.exit}, nil)
				s.Eventually(20*time.Second, "test -e /run/up-%s", group)
				happened := time.Now()
				s.Sh("%s", c.event)
				s.awaitPoll(happened)
				s.Sh("touch /run/go-%s", group)
				if got := s.result(d); got != end.want {
					t.Errorf("got %s, want %s", got, end.want)
				}
				if runs := s.Sh("cat /run/runs-%s", group); runs != "run" {
					t.Errorf("the hook ran more than once: %q", runs)
				}
			}
		})
	}

	for _, c := range []struct{ group, command string }{
		{"itself", "systemctl restart codedeploy-agent"},
		{"package", "rpm --force-debian -U --nosignature " + files[1]},
	} {
		t.Run("a hook gets its prompt back: "+c.command, func(t *testing.T) {
			s := all.in(t)
			d := s.deploy(c.group, map[string]string{"AfterInstall": fmt.Sprintf("s=$(date +%%s); %s || exit 1; e=$(date +%%s); [ $((e-s)) -le 5 ]", c.command)}, nil)
			if got := s.result(d); got != "Succeeded" {
				t.Errorf("got %s", got)
			}
		})
	}

	t.Run("a hundred rapid reloads", func(t *testing.T) {
		s := all.in(t)
		pid := mainPID(s.Guest)
		d := s.deploy("reloads", map[string]string{"ApplicationStart": waitForGo}, nil)
		s.Eventually(20*time.Second, "test -e /run/up-reloads")
		s.Sh("for i in $(seq 100); do kill -HUP %s || exit 1; sleep 0.01; done; touch /run/go-reloads", pid)
		if got := s.result(d); got != "Succeeded" {
			t.Errorf("got %s", got)
		}
		s.awaitPoll(time.Now())
		if got := mainPID(s.Guest); got != pid || show(s.Guest, "NRestarts") != "0" {
			t.Errorf("main pid %s became %s after %s restarts", pid, got, show(s.Guest, "NRestarts"))
		}
		if got := s.Sh("ps -o stat= --ppid %s; cat /run/runs-reloads", pid); got != "run" {
			t.Errorf("children: %q", got)
		}
	})

	t.Run("the watchdog restarts an agent that hangs", func(t *testing.T) {
		s := all.in(t)
		s.WriteFile("/run/systemd/system/codedeploy-agent.service.d/test.conf", "[Service]\nWatchdogSec=3\nRestartSec=100ms\n", 0o644)
		s.Sh("systemctl daemon-reload; systemctl restart %s", service)
		time.Sleep(4 * time.Second)
		pid := mainPID(s.Guest)
		s.Sh("kill -STOP %s", pid)
		stopped := time.Now()
		s.Eventually(20*time.Second, "p=$(systemctl show -p MainPID %s); [ $p != MainPID=%s -a $p != MainPID=0 ]", service, pid)
		s.awaitPoll(stopped)
		s.Sh("rm /run/systemd/system/codedeploy-agent.service.d/test.conf; systemctl daemon-reload")
	})

	t.Run("the verbs that scripts and user data call", func(t *testing.T) {
		s := all.in(t)
		for _, c := range []struct{ command, want string }{
			{"codedeploy-agent stop >/dev/null; systemctl is-active codedeploy-agent", "inactive"},
			{"codedeploy-agent stop >/dev/null && echo again", "again"},
			{"codedeploy-agent status >/dev/null; echo $?", "3"},
			{"codedeploy-agent start >/dev/null; systemctl is-active codedeploy-agent", "active"},
			{"codedeploy-agent restart >/dev/null; systemctl is-active codedeploy-agent", "active"},
			{"codedeploy-agent status | head -n 1 | sed 's/[0-9]*$//'", "The AWS CodeDeploy agent is running as PID"},
			{"codedeploy-agent status >/dev/null; echo $?", "0"},
			{"codedeploy-agent --version", newVersion},
		} {
			if got, _ := s.Try("%s", c.command); got != c.want {
				t.Errorf("%s: got %q, want %q", c.command, got, c.want)
			}
		}
	})

	t.Run("stopping an idle agent takes no time", func(t *testing.T) {
		s := all.in(t)
		begin := time.Now()
		s.Sh("systemctl stop %s", service)
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		if got := s.Sh("codedeploy-agent status; echo $?"); !strings.HasSuffix(got, "3") {
			t.Errorf("status: %q", got)
		}
	})
}

// TestNetworkAwayAtBoot boots a host that reaches neither the service nor the instance metadata, for 8 seconds or
// $CODEDEPLOY_TEST_AWAY_SECONDS: nothing waits for the agent, the agent waits for the network.
func TestNetworkAwayAtBoot(t *testing.T) {
	lab.Require(t)
	for name, c := range map[string]struct {
		site        func(*testing.T, lab.Options) *site
		leave, back func(*lab.Guest)
	}{
		"on-premises, no cable": {newSite, (*lab.Guest).Unplug, (*lab.Guest).Plug},
		"EC2, packets vanish":   {newInstanceSite, (*lab.Guest).Swallow, (*lab.Guest).Deliver},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bootWithoutNetwork(t, c.site(t, lab.Options{}), c.leave, c.back)
		})
	}
}

func bootWithoutNetwork(t *testing.T, s *site, leave, back func(*lab.Guest)) {
	rpm := bring(s.Guest, packages(t, oldVersion).rpm())[0]
	leave(s.Guest)
	began := time.Now()
	s.Sh("rpm --force-debian -i --nosignature %s", rpm)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("rpm -i took %v", took)
	}
	awaitActive(s.Guest, 3*time.Second)
	s.Reboot()
	awaitActive(s.Guest, 3*time.Second)
	if jobs := s.Sh("systemctl list-jobs --no-legend"); jobs != "" {
		t.Errorf("the boot still waits for %s", jobs)
	}
	pid := mainPID(s.Guest)
	time.Sleep(awaySeconds(t)) // long enough for several attempts
	if got := mainPID(s.Guest); got != pid || show(s.Guest, "NRestarts") != "0" {
		t.Errorf("main pid %s became %s", pid, got)
	}
	if got := s.Sh("codedeploy-agent status >/dev/null; echo $?"); got != "0" && got != "1" {
		t.Errorf("status exits with %s", got)
	}
	if last := s.service.Hosts()[0].LastPoll; !last.IsZero() {
		t.Errorf("a poll came at %v: the network was not away", last)
	}
	back(s.Guest)
	returned := time.Now()
	s.awaitPoll(returned)
	took := time.Since(returned)
	t.Logf("the first poll came %v after the network", took)
	if took > 15*time.Second {
		t.Errorf("the first poll came %v after the network", took)
	}
	if got := mainPID(s.Guest); got != pid {
		t.Errorf("main pid %s became %s", pid, got)
	}
}

func awaySeconds(t *testing.T) time.Duration {
	text := cmp.Or(os.Getenv("CODEDEPLOY_TEST_AWAY_SECONDS"), "8")
	seconds, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("CODEDEPLOY_TEST_AWAY_SECONDS=%s is no number of seconds", text)
	}
	return time.Duration(seconds) * time.Second
}

func TestPowerFailsInTheMiddleOfAHook(t *testing.T) {
	s := newSite(t, lab.Options{})
	s.installRPM(oldVersion)
	d := s.deploy("power", map[string]string{"ApplicationStart": "echo run >>/root/runs; sync; touch /run/up; sleep 600"}, nil)
	s.Eventually(20*time.Second, "test -e /run/up")
	s.Crash()
	if got := s.result(d); got != "Failed ApplicationStart=7" {
		t.Errorf("got %s", got)
	}
	if runs := s.Sh("cat /root/runs"); runs != "run" {
		t.Errorf("runs: %q", runs)
	}
	d = s.deploy("power", nil, map[string]string{"page": "hello"})
	if got := s.result(d); got != "Succeeded" {
		t.Errorf("the next deployment: %s", got)
	}
}
