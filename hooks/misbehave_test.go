package hooks

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// misbehave is the test binary as a hook. The first argument is the part to play.
func misbehave(args []string) int {
	switch args[0] {
	case "no-newline": // so many bytes without a newline
		n, _ := strconv.Atoi(args[1])
		chunk := bytes.Repeat([]byte("x"), 1<<16)
		for ; n > 0; n -= len(chunk) {
			_, _ = os.Stdout.Write(chunk[:min(n, len(chunk))])
		}
	case "many-lines": // so many bytes in short lines
		n, _ := strconv.Atoi(args[1])
		chunk := []byte(strings.Repeat(strings.Repeat("y", 99)+"\n", 100))
		for ; n > 0; n -= len(chunk) {
			_, _ = os.Stdout.Write(chunk)
		}
	case "deaf": // ignores what can be ignored, with children that do so too; writes their pids
		signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
		var pids []string
		for _, setsid := range []bool{false, true} {
			cmd := exec.Command("/proc/self/exe", "misbehave", "deaf-child")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: setsid}
			_ = cmd.Start()
			pids = append(pids, strconv.Itoa(cmd.Process.Pid))
		}
		_ = os.WriteFile(args[1], []byte(strings.Join(pids, " ")+"\n"), 0o644)
		time.Sleep(time.Minute)
	case "deaf-child":
		signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
		time.Sleep(time.Minute)
	case "descriptors": // names its open files and its signals
		entries, _ := os.ReadDir("/proc/self/fd")
		for _, e := range entries {
			if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.Contains(target, "anon_inode") && !strings.Contains(target, "/fd") && !strings.HasPrefix(target, "/sys/fs/cgroup/") {
				fmt.Println("fd", e.Name())
			}
		}
	case "talker": // a daemon that goes on printing until told to stop by a file
		for i := 0; ; i++ {
			if _, err := fmt.Printf("line %d\n", i); err != nil {
				return 1
			}
			if _, err := os.Stat(args[1]); err == nil {
				return 0
			}
			time.Sleep(20 * time.Millisecond)
		}
	case "close-stdin":
		_ = os.Stdin.Close()
		_ = os.Stdout.Close()
		time.Sleep(50 * time.Millisecond)
		fmt.Fprintln(os.Stderr, "still here")
	}
	return 0
}
