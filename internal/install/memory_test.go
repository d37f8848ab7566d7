package install

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// TestMemoryForManyFiles compares the peak memory of Installs of few and of many files, new and over existing ones.
func TestMemoryForManyFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT RUN HERE (-short): " + t.Name())
	}
	if raceEnabled {
		t.Skip("left out under the race detector, which takes memory of its own; tools/unit runs it without")
	}
	t.Setenv("INSTALL_TEST_MEMORY", "1")
	const few, many, limit = 20_000, 60_000, 200
	peak := make(map[int]int)
	for _, n := range []int{few, many} {
		h := newHost(t)
		for round := range 2 {
			d := h.revision(nil)
			for i := range n {
				dir := fmt.Sprintf("%s/directory-%d/with-a-name", d.Archive(), i/500)
				if i%500 == 0 {
					must(t, os.MkdirAll(dir, 0o755))
				}
				f, err := os.Create(fmt.Sprintf("%s/some-file-name-%d.txt", dir, i))
				must(t, err)
				must(t, f.Close())
			}
			cmd, out := h.inChild(d)
			last, _ := io.ReadAll(out)
			must(t, cmd.Wait())
			var kib int
			_, rest, _ := strings.Cut(string(last), "VmHWM:")
			_, err := fmt.Sscan(rest, &kib)
			must(t, err)
			t.Logf("%d files, round %d: peak of %d KiB", n, round, kib)
			peak[n] = max(peak[n], kib)
		}
		must(t, os.RemoveAll(h.disk))
	}
	if each := (peak[many] - peak[few]) * 1024 / (many - few); each > limit {
		t.Errorf("%d bytes for each file beyond %d, more than %d", each, few, limit)
	} else {
		t.Logf("%d bytes for each file beyond %d", each, few)
	}
}
