package install

import (
	"runtime/debug"
	"sync"
)

// garbage is how much of it the collector lets gather while Installs are under way, in percent of what is in use. The
// lists of a large bundle are the largest thing the agent ever holds.
const garbage = 40

var frugal struct {
	mu      sync.Mutex
	users   int
	percent int // what the process uses otherwise
}

// beFrugal makes the collector come more often until done is called.
func beFrugal() (done func()) {
	frugal.mu.Lock()
	defer frugal.mu.Unlock()
	if frugal.users == 0 {
		frugal.percent = debug.SetGCPercent(garbage)
	}
	frugal.users++
	return func() {
		frugal.mu.Lock()
		defer frugal.mu.Unlock()
		frugal.users--
		if frugal.users == 0 {
			debug.SetGCPercent(frugal.percent)
		}
	}
}
