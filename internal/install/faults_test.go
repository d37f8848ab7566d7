package install

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// inject runs the Install of version 2 over version 1 in a child whose system calls fail or kill as strace is told.
func inject(t *testing.T, faults ...string) (h *host, before map[string]string, finished bool) {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("NOT RUN HERE (needs strace): " + t.Name())
	}
	h = deployedBefore(t, newHost(t))
	d := h.revision(bigBundle(2))
	before = snapshot(t, h.disk)
	under := []string{"strace", "-f", "-o", "/dev/null"}
	for _, f := range faults {
		under = append(under, "-e", "inject="+f)
	}
	cmd, out := h.inChild(d, under...)
	last, _ := io.ReadAll(out)
	_ = cmd.Wait()
	t.Logf("the child says %q", last)
	return h, before, string(last) == "done\n"
}

// withMine is the version with what deployedBefore puts beside it.
func withMine(version int) map[string]string {
	b := bigBundle(version)
	b["both/0/mine"], b["log/today"] = "mine", "log"
	return expected(b, "/srv/app")
}

func TestFileSystemsWithoutExchange(t *testing.T) {
	for _, errno := range []string{"EINVAL", "ENOSYS"} {
		t.Run(errno, func(t *testing.T) {
			h, _, finished := inject(t, "renameat2:error="+errno)
			if !finished {
				t.Fatal("the Install failed")
			}
			h.expectTidy()
			same(t, "tree", h.content(), withMine(2))
		})
	}
	t.Run("nor hard links", func(t *testing.T) {
		h, _, finished := inject(t, "renameat2:error=EINVAL", "linkat:error=EPERM")
		if !finished {
			t.Fatal("the Install failed")
		}
		h.expectTidy()
		same(t, "tree", h.content(), withMine(2))
	})
}

func TestFailingStepOfTheCommitIsTakenBack(t *testing.T) {
	for name, faults := range map[string][]string{
		"an exchange":                         {"renameat2:error=EIO:when=150"},
		"the first exchange":                  {"renameat2:error=EIO:when=1"},
		"moving an old file away":             {"renameat:error=EIO:when=7"},
		"a replacement without exchange":      {"renameat2:error=EINVAL", "renameat:error=EIO:when=150"},
		"a replacement without hard links":    {"renameat2:error=EINVAL", "linkat:error=EPERM", "renameat:error=EIO:when=151"},
		"setting the mode of a directory":     {"fchmod:error=EIO:when=1"},
		"writing a staged file":               {"write:error=ENOSPC:when=40"},
		"making what is staged durable":       {"syncfs:error=EIO:when=1"},
		"creating a staged file":              {"openat:error=ENFILE:when=400"},
		"making the transaction file durable": {"fsync:error=EIO:when=1"},
	} {
		t.Run(name, func(t *testing.T) {
			h, before, finished := inject(t, faults...)
			must(t, Recover(h.root, zap.NewNop())) // for faults that hit the taking back itself
			h.expectTidy()
			if finished { // strace counts by thread, and no thread came so far
				same(t, "tree", h.content(), withMine(2))
				return
			}
			same(t, "tree", snapshot(t, h.disk), before)
		})
	}
}

func TestKilledWithoutExchange(t *testing.T) {
	for _, kill := range []string{"linkat:signal=KILL:when=1", "linkat:signal=KILL:when=100", "renameat:signal=KILL:when=1", "renameat:signal=KILL:when=200"} {
		t.Run(kill, func(t *testing.T) {
			h, _, finished := inject(t, "renameat2:error=EINVAL", kill)
			must(t, Recover(h.root, zap.NewNop()))
			h.expectTidy()
			done, err := Done(h.group, "command-d-2")
			must(t, err)
			if finished && !done {
				t.Error("Done denies it")
			}
			version := 1
			if done {
				version = 2
			}
			same(t, "tree", h.content(), withMine(version))
		})
	}
}

// TestCrashWhileTakingBack: the decision to take an Install back outlives the agent.
func TestCrashWhileTakingBack(t *testing.T) {
	h, before, finished := inject(t, "renameat2:error=EIO:when=200", "utimensat:signal=KILL:when=300")
	must(t, Recover(h.root, zap.NewNop()))
	h.expectTidy()
	if finished { // strace counts by thread, and no thread came so far
		same(t, "tree", h.content(), withMine(2))
		return
	}
	if done, _ := Done(h.group, "command-d-2"); done {
		t.Error("Done says yes")
	}
	got := snapshot(t, h.disk)
	for p := range before { // a directory in which nothing was left to be done keeps the time that the crash left
		before[p], got[p] = withoutTime(before[p]), withoutTime(got[p])
	}
	same(t, "tree", got, before)
}

func withoutTime(line string) string {
	a, b, _ := strings.Cut(line, " mtime ")
	_, c, _ := strings.Cut(b, " ")
	return a + c
}

func TestMountedFileIsWrittenInPlace(t *testing.T) {
	needsRoot(t)
	mount := func(h *host) {
		write(t, h.disk, map[string]string{"other": "mine"})
		target := h.disk + "/srv/app/both/3/f150"
		if err := unix.Mount(h.disk+"/other", target, "", unix.MS_BIND, ""); err != nil {
			t.Skip("NOT RUN HERE (cannot mount): " + t.Name())
		}
		t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
	}
	h := newHost(t)
	h.deploy(bigBundle(1), to("/srv/app"))
	mount(h)
	h.deploy(bigBundle(2), to("/srv/app"))
	want := expected(bigBundle(2), "/srv/app")
	want["/other"] = "version 2"
	same(t, "tree", h.content(), want)

	h = deployedBefore(t, newHost(t))
	mount(h)
	p := h.planned(bigBundle(2))
	must(t, os.Mkdir(h.disk+"/srv/app/only-0", 0o755))
	before := snapshot(t, h.disk)
	if err := p.applyWhole(t.Context(), zap.NewNop()); err == nil {
		t.Error("the Install succeeded")
	}
	same(t, "tree after a failed Install", snapshot(t, h.disk), before)
	h.expectTidy()
}
