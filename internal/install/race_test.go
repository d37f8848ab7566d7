//go:build race

package install

// raceEnabled tells that the race detector runs along; it takes several times the memory.
const raceEnabled = true
