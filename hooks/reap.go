package hooks

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ReapInherited collects, in the background, every child that this process has when it is called. An agent that has
// replaced its own image calls it first thing: the runners that the old image started are still its children.
func ReapInherited() {
	self := strconv.Itoa(os.Getpid())
	for _, pid := range processes() {
		if fields, err := processStat(pid); err == nil && fields[1] == self {
			go reap(pid)
		}
	}
}

// reap waits until a child has ended and takes its zombie away. It waits for this one pid, never for any child, so that
// it cannot take another's exit code. A process that is no child is left alone.
func reap(pid int) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil { // before Linux 5.10: a thread blocks for as long as the child lives
		wait(pid, 0)
		return
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer func() { _ = f.Close() }()
	conn, err := f.SyscallConn()
	if err != nil {
		wait(pid, 0)
		return
	}
	// The runtime's poller watches the descriptor: no thread is bound, though a runner may stay for weeks as the relay
	// of a daemon.
	if err := conn.Read(func(uintptr) bool { return wait(pid, unix.WNOHANG) }); err != nil {
		wait(pid, 0)
	}
}

// wait tells whether there is nothing left to wait for.
func wait(pid, options int) bool {
	for {
		got, err := unix.Wait4(pid, nil, options, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err != nil || got == pid
	}
}
