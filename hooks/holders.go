package hooks

import (
	"fmt"
	"os"
	"strings"
)

// maxHolders is how many processes a warning names.
const maxHolders = 5

// holders describes the processes, other than this one, that have the pipe open: "process 12 (sleep 600)".
func holders(pipe *os.File) []string {
	info, err := pipe.Stat()
	if err != nil {
		return nil
	}
	var found []string
	for _, pid := range processes() {
		if pid == os.Getpid() || !hasOpen(pid, info) {
			continue
		}
		found = append(found, fmt.Sprintf("process %d (%s)", pid, commandLine(pid)))
		if len(found) == maxHolders {
			break
		}
	}
	return found
}

func hasOpen(pid int, want os.FileInfo) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, _ := os.ReadDir(dir) // none of a process that is gone or not ours to look into
	for _, e := range entries {
		link := dir + "/" + e.Name()
		// Only pipes are followed: stat of another's file may hang on a dead network mount.
		if target, err := os.Readlink(link); err != nil || !strings.HasPrefix(target, "pipe:") {
			continue
		}
		if got, err := os.Stat(link); err == nil && os.SameFile(got, want) {
			return true
		}
	}
	return false
}
