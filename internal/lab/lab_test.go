package lab

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestGuestRunsARealSystemd(t *testing.T) {
	g := Boot(t, Options{Prepare: func(root string) error {
		return os.WriteFile(filepath.Join(root, "prepared"), []byte("yes"), 0o644)
	}})
	if got := g.Sh("cat /proc/1/comm"); got != "systemd" {
		t.Errorf("process 1 is %q", got)
	}
	if got := g.ReadFile("/prepared"); got != "yes" {
		t.Errorf("got %q", got)
	}
	if _, err := g.Try("exit 7"); ExitCode(err) != 7 {
		t.Errorf("got %v", err)
	}
	g.WriteFile("/run/a/b", "text", 0o600)
	if got := g.Sh("stat -c %%a /run/a/b; cat /run/a/b"); got != "600\ntext" {
		t.Errorf("got %q", got)
	}
}

func TestGuestReachesTheHostAlsoAfterAReboot(t *testing.T) {
	g := Boot(t, Options{})
	l, err := net.Listen("tcp", net.JoinHostPort(g.HostAddress(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strings.Split(r.RemoteAddr, ":")[0])
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	ask := fmt.Sprintf("curl -sS --max-time 5 http://%s/", l.Addr())

	if got := g.Sh("%s", ask); got != g.Address() {
		t.Errorf("got %q, want %q", got, g.Address())
	}
	before := g.Sh("cat /proc/sys/kernel/random/boot_id; touch /kept /run/lost")
	g.Reboot()
	if after := g.Sh("cat /proc/sys/kernel/random/boot_id; test -e /kept; test ! -e /run/lost"); after == before {
		t.Errorf("it did not boot again: %q", after)
	}
	g.Sh("%s", ask)
	g.Unplug()
	if out, err := g.Try("curl -sS --max-time 1 http://%s/", l.Addr()); err == nil {
		t.Errorf("the network is still there: %q", out)
	}
	g.Plug()
	g.Sh("%s", ask)
	g.Crash()
	g.Sh("%s", ask)
}

func TestSeveralGuestsAtOnceAndNothingIsLeft(t *testing.T) {
	Require(t)
	var dirs, links []string
	t.Run("boot", func(t *testing.T) {
		for range 3 {
			g := Boot(t, Options{})
			dirs, links = append(dirs, g.dir), append(links, g.network.link)
		}
	})
	for i := range dirs {
		if _, err := os.Stat(dirs[i]); err == nil {
			t.Errorf("%q is left", dirs[i])
		}
		for _, c := range cgroupsOf(dirs[i]) {
			if _, err := os.Stat(c); err == nil {
				t.Errorf("%q is left", c)
			}
		}
		if err := exec.Command("ip", "link", "show", links[i]).Run(); err == nil {
			t.Errorf("link %q is left", links[i])
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if strings.Contains(string(mounts), d) {
			t.Errorf("a mount of %q is left", d)
		}
	}
}

func TestWhatAKilledTestLeftIsSwept(t *testing.T) {
	Require(t)
	dead := exec.Command("/bin/true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(os.TempDir(), fmt.Sprintf("%s%d-left", dirPrefix, dead.Process.Pid))
	if err := os.Mkdir(left, 0o755); err != nil {
		t.Fatal(err)
	}
	sweep()
	if _, err := os.Stat(left); err == nil {
		t.Errorf("%q is left", left)
		_ = os.Remove(left)
	}
}

func TestCommandsAreBounded(t *testing.T) {
	g := Boot(t, Options{})
	begin := time.Now()
	if _, err := g.run(200*time.Millisecond, "", "sleep", "30"); err == nil || time.Since(begin) > 10*time.Second {
		t.Errorf("got %v after %v", err, time.Since(begin))
	}
	// A daemon that keeps the outputs does not hold the caller.
	g.Sh("sleep 30 & exit 0")
}
