package systemd

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

func TestNotifyReachesTheServiceManagerInOneDatagram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = manager.Close() }()
	t.Setenv("NOTIFY_SOCKET", path)

	for range 2 { // the variable must survive the first message
		if err := Notify(Ready, Status("waits for the network\nsecond line")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 512)
		n, err := manager.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(buf[:n]), "READY=1\nSTATUS=waits for the network"; got != want {
			t.Errorf("the manager got %q, want %q", got, want)
		}
	}
}

func TestNotifyWithoutServiceManagerIsSilent(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Notify(Ready); err != nil {
		t.Error(err)
	}
}

func TestNotifyTellsWhenTheSocketIsGone(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	if err := Notify(Ready); err == nil {
		t.Error("no error")
	}
}

func TestExtendTimeoutIsInMicroseconds(t *testing.T) {
	if got, want := ExtendTimeout(90*time.Second), "EXTEND_TIMEOUT_USEC=90000000"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWatchdogInterval(t *testing.T) {
	self := strconv.Itoa(os.Getpid())
	for _, c := range []struct {
		name, usec, pid string
		want            time.Duration
	}{
		{"not watched", "", "", 0},
		{"watched", "60000000", self, time.Minute},
		{"watched, for whoever it concerns", "60000000", "", time.Minute},
		{"another process is watched", "60000000", "1", 0},
		{"nonsense", "soon", self, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			setOrUnset(t, "WATCHDOG_USEC", c.usec)
			setOrUnset(t, "WATCHDOG_PID", c.pid)
			if got := WatchdogInterval(); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func setOrUnset(t *testing.T, name, value string) {
	t.Setenv(name, value)
	if value == "" {
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
}
