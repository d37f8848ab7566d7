package install

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"codedeploy-agent/internal/state"

	"go.uber.org/zap"
)

// killInstants is how often TestKilledInstallIsAllOldOrAllNew kills; INSTALL_KILL_INSTANTS raises it.
func killInstants(t *testing.T) int {
	n := 25
	if v := os.Getenv("INSTALL_KILL_INSTANTS"); v != "" {
		var err error
		n, err = strconv.Atoi(v)
		must(t, err)
	}
	return n
}

// bigBundle is a bundle of which every file tells its version; some members exist in even or odd versions only, and
// some change between file, directory and link.
func bigBundle(version int) map[string]string {
	b := make(map[string]string)
	for i := range 300 {
		b[fmt.Sprintf("both/%d/f%d", i%7, i)] = fmt.Sprintf("version %d", version)
	}
	for i := range 60 {
		b[fmt.Sprintf("only-%d/%d/f%d", version%2, i%3, i)] = fmt.Sprintf("version %d", version)
		b[fmt.Sprintf("both/new-%d-%d", version%2, i)] = fmt.Sprintf("version %d", version)
	}
	if version%2 == 0 {
		b["change/a"], b["change/b/x"], b["change/c"] = "even", "even", "-> even"
	} else {
		b["change/a/x"], b["change/b"], b["change/c"] = "odd", "odd", "odd"
	}
	return b
}

// inChild starts the Install of a deployment in a child, under another program if one is given, and returns when it
// begins.
func (h *host) inChild(d state.Deployment, under ...string) (*exec.Cmd, *bufio.Reader) {
	h.t.Helper()
	job, err := json.Marshal(childJob{Root: h.root.Dir(), Disk: h.disk, Deployment: d.ID(), Token: "command-" + d.ID(), Spec: to("/srv/app")})
	must(h.t, err)
	argv := append(under, os.Args[0])
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), childVariable+"="+string(job))
	out, err := cmd.StdoutPipe()
	must(h.t, err)
	must(h.t, cmd.Start())
	in := bufio.NewReader(out)
	if line, err := in.ReadString('\n'); err != nil || line != "begin\n" {
		rest, _ := io.ReadAll(in)
		h.t.Fatalf("the child says %q%q: %v", line, rest, err)
	}
	return cmd, in
}

// expected is what the disk holds when the bundle is installed at /srv/app and nothing else is there.
func expected(bundle map[string]string, destination string) map[string]string {
	want := make(map[string]string)
	for path, content := range bundle {
		full := destination + "/" + path
		want[full] = content
		for dir, _ := parentOf(full); dir != "/"; dir, _ = parentOf(dir) {
			want[dir] = "dir"
		}
	}
	return want
}

func TestKilledInstallIsAllOldOrAllNew(t *testing.T) {
	h := newHost(t)
	h.deploy(bigBundle(1), to("/srv/app"))
	version, committed := 1, 0
	whole := time.Duration(0) // not killed the first time
	for range killInstants(t) {
		d := h.revision(bigBundle(version + 1))
		cmd, out := h.inChild(d)
		start := time.Now()
		delay := time.Hour
		if whole > 0 {
			delay = rand.N(whole + whole/10)
		}
		timer := time.AfterFunc(delay, func() { _ = cmd.Process.Kill() })
		last, _ := io.ReadAll(out)
		timer.Stop()
		_ = cmd.Wait()
		if string(last) == "done\n" {
			whole = time.Since(start)
		}
		if h.settled(d, version, string(last) == "done\n") {
			version++
			committed++
		}
		if t.Failed() {
			return
		}
		must(t, os.RemoveAll(d.Dir()))
	}
	t.Logf("%d of %d were committed, an Install takes %v", committed, killInstants(t), whole)
}

// settled recovers after the end of a child that installed the version after the given one, and checks that the host
// is all old or all new. It tells which.
func (h *host) settled(d state.Deployment, version int, finished bool) bool {
	h.t.Helper()
	must(h.t, Recover(h.root, zap.NewNop()))
	h.expectTidy()
	done, err := Done(h.group, "command-"+d.ID())
	must(h.t, err)
	if done {
		version++
	} else if finished {
		h.t.Error("the Install succeeded, and Done denies it")
	}
	same(h.t, fmt.Sprintf("tree after the kill, new version committed: %v", done), h.content(), expected(bigBundle(version), "/srv/app"))
	pointer, _, err := h.group.LastSuccessful()
	must(h.t, err)
	if done != (pointer.ID() == d.ID()) {
		h.t.Errorf("Done says %v, the last successful Install is %s", done, pointer.ID())
	}
	return done
}

// TestKilledAtEachKindOfStep kills at chosen system calls, so that the rare steps have their turn as well.
func TestKilledAtEachKindOfStep(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("NOT RUN HERE (needs strace): " + t.Name())
	}
	for _, at := range []string{
		"fsync:1", "fsync:2", "syncfs:1", "mkdirat:1", "renameat2:1", "renameat2:150", "renameat:1", "renameat:60", "unlinkat:1", "unlinkat:200",
	} {
		t.Run(at, func(t *testing.T) {
			h := newHost(t)
			h.deploy(bigBundle(1), to("/srv/app"))
			d := h.revision(bigBundle(2))
			call, n, _ := strings.Cut(at, ":")
			cmd, out := h.inChild(d, "strace", "-f", "-o", "/dev/null", "-e", "trace="+call, "-e", "inject="+call+":signal=KILL:when="+n)
			last, _ := io.ReadAll(out)
			_ = cmd.Wait()
			committed := h.settled(d, 1, string(last) == "done\n")
			t.Logf("finished %q, committed %v", last, committed)
		})
	}
}
