package agent

import (
	"bufio"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestOnlyUnchangedPagesOfTheProgramAreForgotten(t *testing.T) {
	const smaps = `00100000-00200000 r--p 00000000 00:00 0
Anonymous:             0 kB
00400000-00500000 r-xp 00000000 08:01 77                 /opt/codedeploy-agent/bin/codedeploy-agent
Rss:                1024 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
00500000-00600000 r--p 00100000 08:01 77                 /opt/codedeploy-agent/bin/codedeploy-agent
Anonymous:             0 kB
00600000-00700000 r--p 00200000 08:01 77                 /opt/codedeploy-agent/bin/codedeploy-agent
Anonymous:             4 kB
00700000-00800000 rw-p 00300000 08:01 77                 /opt/codedeploy-agent/bin/codedeploy-agent
Anonymous:             0 kB
00800000-00900000 r--p 00000000 00:00 0
Anonymous:             0 kB
7f0000000000-7f0000100000 r-xp 00000000 08:01 78         /usr/lib/libc.so.6
Anonymous:             0 kB
`
	got := programPages(bufio.NewScanner(strings.NewReader(smaps)))
	if want := []mapping{{0x400000, 0x500000}, {0x500000, 0x600000}}; !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

func TestAnAgentThatRestsIsSmallerAndAwake(t *testing.T) {
	before := residentFile(t)
	rest()
	after := residentFile(t)
	t.Logf("pages of files: %d kB, then %d kB", before, after)
	if after >= before {
		t.Errorf("pages of files: %d kB, not less than the %d kB before", after, before)
	}
}

func residentFile(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssFile:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kb
		}
	}
	t.Fatal("no RssFile")
	return 0
}
