package agent

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestOnlyUnchangedPagesOfTheProgramAreForgotten(t *testing.T) {
	const smaps = `00100000-00200000 r--p 00000000 00:00 0
Anonymous:             0 kB
Swap:                  0 kB
00400000-00500000 r-xp 00000000 08:01 77                 /opt/codedeploy-agent/bin/codedeploy-agent
Rss:                1024 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd ex mr mw me
00500000-00600000 r--p 00100000 08:01 77                 /opt/codedeploy-agent/bin/codedeploy-agent
Anonymous:             0 kB
Swap:                  0 kB
00600000-00700000 r--p 00200000 08:01 77                 /opt/codedeploy-agent/bin/codedeploy-agent
Anonymous:             4 kB
Swap:                  0 kB
00680000-00690000 r--p 00280000 08:01 77                 /opt/codedeploy-agent/bin/codedeploy-agent
Anonymous:             0 kB
Swap:                  4 kB
00700000-00800000 rw-p 00300000 08:01 77                 /opt/codedeploy-agent/bin/codedeploy-agent
Anonymous:             0 kB
Swap:                  0 kB
00800000-00900000 r--p 00000000 00:00 0
Anonymous:             0 kB
Swap:                  0 kB
7f0000000000-7f0000100000 r-xp 00000000 08:01 78         /usr/lib/libc.so.6
Anonymous:             0 kB
Swap:                  0 kB
`
	got := programPages(bufio.NewScanner(strings.NewReader(smaps)))
	if want := []mapping{{0x400000, 0x500000}, {0x500000, 0x600000}}; !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

func TestAnAgentRestsOnceAfterEachDeployment(t *testing.T) {
	for name, held := range map[string]time.Duration{"polls that are answered at once": 0, "long polls": 20 * time.Second} {
		t.Run(name, func(t *testing.T) {
			play(t, func(t *testing.T, s *service, a *Agent) {
				s.answer = func(s *service, o string, _ *http.Request) (int, http.Header, string) {
					s.mu.Lock()
					wait := o == poll && len(s.commands) == 0
					s.mu.Unlock()
					if wait {
						time.Sleep(held)
					}
					return 0, nil, ""
				}
				var rests atomic.Int64
				a.rest = func() { rests.Add(1) }
				r := start(t, a)
				for deployment := range 3 {
					time.Sleep(10 * time.Minute)
					if n := rests.Load(); n != int64(deployment+1) {
						t.Errorf("%d rests before deployment %d", n, deployment)
					}
					s.mu.Lock()
					s.commands = []string{fmt.Sprint("Unknown", deployment)}
					s.mu.Unlock()
				}
				r.leave(Stop)
			})
		})
	}
}

func TestAnAgentThatRestsIsSmallerAndAwake(t *testing.T) {
	before := residentFile(t)
	giveMemoryBack()
	after := residentFile(t)
	t.Logf("pages of files: %d kB, then %d kB", before, after)
	if after >= before {
		t.Errorf("pages of files: %d kB, not less than the %d kB before", after, before)
	}
}

// residentFile is how much of files is in memory for this process, in kB. Those of a tmpfs count by themselves.
func residentFile(t *testing.T) (kb int) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if field, value, _ := strings.Cut(line, ":"); field == "RssFile" || field == "RssShmem" {
			n, err := strconv.Atoi(strings.Fields(value)[0])
			if err != nil {
				t.Fatal(err)
			}
			kb += n
		}
	}
	return kb
}
