package bundle

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestKilledAtAnyMoment kills a process that unpacks over an older archive, again and again, each time a little later.
// What lies there is always the whole old or the whole new archive, and doing it again gives the new one.
func TestKilledAtAnyMoment(t *testing.T) {
	var members []archiveMember
	for i := range 1500 {
		members = append(members, aFile(fmt.Sprintf("d%02d/f%d", i%40, i), strings.Repeat("x", 10*i)).withMode(0o664))
	}
	newer := append(slices.Clone(members), aLink("l", "d00"), aDir("closed").withMode(0o500), aFile("appspec.yml", "new"))
	older := tarOf(t, append(members[:200:200], aFile("appspec.yml", "old"))...)
	plain := tarOf(t, newer...)
	for kind, data := range map[string][]byte{"tar": plain, "tgz": gzipOf(t, plain), "zip": zipOf(t, newer...)} {
		t.Run(kind, func(t *testing.T) {
			h := newUnpackHost(t)
			archive := filepath.Join(h.dir, "bundle-new")
			must(t, os.WriteFile(archive, data, 0o600))
			_, err := h.unpackFile(archive, kind, UnpackOptions{})
			must(t, err)
			whole := fullListing(t, h.dst)

			start := time.Now()
			must(t, childUnpack(archive, kind, h.dst).Run())
			length := time.Since(start)
			const kills = 8
			killed, old := 0, 0
			for i := range kills {
				_, err := h.unpack(older, "tar", UnpackOptions{})
				must(t, err)
				cmd := childUnpack(archive, kind, h.dst)
				must(t, cmd.Start())
				time.Sleep(length * time.Duration(i+1) / kills)
				_ = cmd.Process.Kill()
				if cmd.Wait() != nil {
					killed++
				}
				now := fullListing(t, h.dst)
				body, err := os.ReadFile(filepath.Join(h.dst, "appspec.yml"))
				must(t, err)
				if string(body) == "old" {
					old++
					if len(now) != 200+40+1 {
						t.Fatalf("kill %d: %d names of the old archive are left", i, len(now))
					}
				} else if diff := cmp.Diff(whole, now); diff != "" {
					t.Fatalf("kill %d: half a new archive (-want +got):\n%s", i, diff)
				}
			}
			t.Logf("%d processes were killed, %d before the new archive was in place", killed, old)
			_, err = h.unpackFile(archive, kind, UnpackOptions{})
			must(t, err)
			if diff := cmp.Diff(whole, fullListing(t, h.dst)); diff != "" {
				t.Errorf("done again (-want +got):\n%s", diff)
			}
		})
	}
}
