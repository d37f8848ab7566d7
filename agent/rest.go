package agent

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// restAfter is how many polls in a row bring nothing before the agent makes itself small. Between the commands of one
// deployment there are fewer.
const restAfter = 3

// giveMemoryBack returns what the next polls do not need: free pages of the heap, and the pages of the program that
// starting or a deployment touched. Those are read again when they are needed, mostly from the kernel's cache.
func giveMemoryBack() {
	debug.FreeOSMemory()
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer func() { _ = maps.Close() }()
	for _, m := range programPages(bufio.NewScanner(maps)) {
		_ = forget(m)
	}
}

// mapping is a span of addresses.
type mapping struct{ start, end uintptr }

// programPages finds where the file of the program is mapped and nothing has been written since: its code and
// constants. The first file in a process is its program.
func programPages(smaps *bufio.Scanner) (found []mapping) {
	var m mapping
	var file, program string
	for smaps.Scan() {
		line := smaps.Text()
		var head mapping
		var access, offset, device, inode string
		if n, _ := fmt.Sscanf(line, "%x-%x %s %s %s %s", &head.start, &head.end, &access, &offset, &device, &inode); n == 6 {
			m, file = head, ""
			if inode != "0" {
				file = device + " " + inode
			}
			program = cmp.Or(program, file)
			if file != program || strings.Contains(access, "w") {
				file = ""
			}
			continue
		}
		// What is read-only now may have been written before, by the loader or a debugger, and may be swapped out.
		field, value, _ := strings.Cut(line, ":")
		switch written := strings.TrimSpace(value) != "0 kB"; {
		case field == "Anonymous" && written:
			file = ""
		case field == "Swap" && !written && file != "":
			found = append(found, m)
		}
	}
	return found
}

// forget lets the kernel take the pages of a mapping away. They must have come from a file and never been written to.
func forget(m mapping) error {
	_, _, errno := unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED)
	if errno != 0 {
		return errno
	}
	return nil
}
