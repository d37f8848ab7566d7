// Package exactmode runs work on threads without a umask, so that the mode given to open is the mode of the file and no
// chmod has to follow. The umask of the process, and of every hook that it starts, stays what it was.
package exactmode

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Run calls f on a thread of its own whose umask is 0. Where the kernel does not allow that, exact is false and f has to
// chmod. Run must be the last call of its goroutine: the thread ends with it.
func Run(f func(exact bool)) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The main thread never ends, and what /proc tells of the process is what this thread has: it stays as it is.
		done := make(chan struct{})
		go func() {
			defer close(done)
			Run(f)
		}()
		<-done
		runtime.UnlockOSThread()
		return
	}
	if unix.Unshare(unix.CLONE_FS) != nil {
		runtime.UnlockOSThread()
		f(false)
		return
	}
	unix.Umask(0)
	f(true) // the thread is never unlocked, so it ends with the goroutine
}
