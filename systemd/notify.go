// Package systemd is how the agent speaks with the service manager: readiness and watchdog, and scopes in which a hook
// outlives the agent. It also holds the unit of the service.
package systemd

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Messages for Notify.
const (
	Ready     = daemon.SdNotifyReady
	Reloading = daemon.SdNotifyReloading
	Stopping  = daemon.SdNotifyStopping
	Watchdog  = daemon.SdNotifyWatchdog
)

// Status is the message that shows text in "systemctl status". Only its first line is shown.
func Status(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return "STATUS=" + line
}

// ExtendTimeout is the message that gives the running start or stop d more time, counted from now.
func ExtendTimeout(d time.Duration) string {
	return fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds())
}

// Booted tells whether systemd is the service manager of this host.
func Booted() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// Notify sends the messages to the service manager in one datagram. It does nothing when nobody asked to be told, that is
// when NOTIFY_SOCKET is not set; the variable is kept, because the agent needs it again after it has replaced itself.
func Notify(messages ...string) error {
	if _, err := daemon.SdNotify(false, strings.Join(messages, "\n")); err != nil {
		return fmt.Errorf("cannot notify the service manager: %w", err)
	}
	return nil
}

// WatchdogInterval is the longest time that may pass between two Watchdog messages; 0 means that nobody watches.
// Send them at half of it.
func WatchdogInterval() time.Duration {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return 0
	}
	return interval
}

// Variables lists the environment variables by which the service manager speaks to its service. They are not for the
// service's children: a hook that kept them could speak in the agent's name.
func Variables() []string {
	return []string{
		"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "MAINPID", "INVOCATION_ID", "JOURNAL_STREAM",
		"SYSTEMD_EXEC_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE",
	}
}
