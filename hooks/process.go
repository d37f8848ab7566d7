package hooks

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// processStart returns when a process began, in clock ticks since the boot; with the pid it names a process for good.
func processStart(pid int) (uint64, error) {
	fields, err := processStat(pid)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// processStat returns the fields of /proc/PID/stat from the state on: [0] state, [1] parent, [2] group, [19] start.
func processStat(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	// The name before may hold blanks and brackets.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 20 {
		return nil, fmt.Errorf("cannot read the state of process %d", pid)
	}
	return fields, nil
}

// processes lists the pids of all processes.
func processes() []int {
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// commandLine returns a process's command line, shortened, for a person to read.
func commandLine(pid int) string {
	const most = 200
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	line := strings.TrimSpace(strings.ToValidUTF8(string(bytes.ReplaceAll(b, []byte{0}, []byte{' '})), "?"))
	line = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, line)
	if len(line) > most {
		line = strings.ToValidUTF8(line[:most], "") + "..."
	}
	if line == "" {
		return "unknown"
	}
	return line
}

// bootID changes with every start of the kernel.
func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}

// currentUmask reads the umask without changing it; 022 where /proc does not tell.
func currentUmask() int {
	b, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "Umask:"); ok {
			if mask, err := strconv.ParseInt(strings.TrimSpace(v), 8, 32); err == nil {
				return int(mask)
			}
		}
	}
	return 0o022
}
