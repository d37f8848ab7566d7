package install

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSystemCallsForASmallFile counts what the kernel is asked for each file of a bundle of small files.
func TestSystemCallsForASmallFile(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("NOT RUN HERE (needs strace): " + t.Name())
	}
	// A file that replaces another one takes eleven: look at both, open, read, write, set the time, close twice,
	// exchange, unlink. Directories and records come on top.
	const files, limit = 2000, 12.0
	bundle := make(map[string]string)
	for i := range files {
		bundle[fmt.Sprintf("d%d/f%d", i%10, i)] = "content"
	}
	h := newHost(t)
	for _, kind := range []string{"new", "existing"} {
		d := h.revision(bundle)
		counts := filepath.Join(t.TempDir(), "counts")
		cmd, out := h.inChild(d, "strace", "-f", "-c", "-U", "calls,name", "-o", counts)
		last, _ := io.ReadAll(out)
		must(t, cmd.Wait())
		if string(last) != "done\n" {
			t.Fatalf("the child says %q", last)
		}
		b, err := os.ReadFile(counts)
		must(t, err)
		var total float64
		for line := range strings.Lines(string(b)) {
			var n int
			var name string
			_, _ = fmt.Sscan(line, &n, &name)
			// Waiting for each other is the runtime's, not the file's.
			if name == "total" || name == "futex" || name == "nanosleep" || name == "epoll_pwait" || strings.HasPrefix(name, "rt_sig") {
				continue
			}
			if n > files/2 {
				t.Logf("%s: %.2f %s", kind, float64(n)/files, name)
			}
			total += float64(n)
		}
		t.Logf("%s files: %.1f system calls each", kind, total/files)
		if total/files > limit {
			t.Errorf("%.1f system calls for each of the %s files, more than %v", total/files, kind, limit)
		}
	}
}
