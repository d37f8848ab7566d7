package install

import (
	"context"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"codedeploy-agent/appspec"
	"codedeploy-agent/internal/state"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(childMain())
	}
	goleak.VerifyTestMain(m)
}

// host is a pretended host: a root for the destinations and a deployment root beside it.
type host struct {
	t     testing.TB
	root  state.Root
	group state.Group
	disk  string
	count int
	token string // of the last Install
}

func newHost(t testing.TB) *host {
	t.Helper()
	return hostIn(t, inMemory(t))
}

// inMemory returns a directory on a file system without a disk, where the time of an Install is spent on its steps and
// not on waiting for the disk; a usual temporary directory where there is none.
func inMemory(t testing.TB) string {
	var st unix.Statfs_t
	if unix.Statfs("/dev/shm", &st) != nil || st.Type != unix.TMPFS_MAGIC || unix.Access("/dev/shm", unix.W_OK) != nil {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "install-test-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func hostIn(t testing.TB, dir string) *host {
	t.Helper()
	h := &host{t: t, root: state.NewRoot(filepath.Join(dir, "deployment-root"), ""), disk: filepath.Join(dir, "disk")}
	if err := h.root.Create(); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(h.disk, 0o755); err != nil {
		t.Fatal(err)
	}
	h.group = h.root.Group("group-1")
	return h
}

// needsRoot skips what an ordinary user cannot do, and says so.
func needsRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN HERE (needs root): " + t.Name())
	}
}

// write makes a tree below a directory. A path that ends in a slash is a directory; content that starts with "-> " is
// a symbolic link, content "(mode) text" sets the mode, too.
func write(t testing.TB, dir string, tree map[string]string) {
	t.Helper()
	var paths []string
	for p := range tree {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	for _, p := range paths {
		full := filepath.Join(dir, p)
		must(t, os.MkdirAll(filepath.Dir(full), 0o755))
		content := tree[p]
		mode := fs.FileMode(0o644)
		if strings.HasSuffix(p, "/") {
			must(t, os.MkdirAll(full, 0o755))
			continue
		}
		if to, ok := strings.CutPrefix(content, "-> "); ok {
			must(t, os.Symlink(to, full))
			continue
		}
		if strings.HasPrefix(content, "(") {
			text, rest, _ := strings.Cut(content[1:], ") ")
			var bits uint32
			_, err := fmt.Sscanf(text, "%o", &bits)
			must(t, err)
			must(t, os.WriteFile(full, []byte(rest), 0o600))
			must(t, unix.Chmod(full, bits))
			continue
		}
		must(t, os.WriteFile(full, []byte(content), mode))
		must(t, os.Chmod(full, mode))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// revision makes the deployment folder of the next deployment with an unpacked bundle.
func (h *host) revision(bundle map[string]string) state.Deployment {
	h.t.Helper()
	h.count++
	d := h.group.Deployment(fmt.Sprintf("d-%d", h.count))
	must(h.t, os.MkdirAll(d.Archive(), 0o755))
	write(h.t, d.Archive(), bundle)
	return d
}

// to is an AppSpec that puts the whole bundle at a destination.
func to(destination string) *appspec.Spec {
	return &appspec.Spec{File: "appspec.yml", Files: []appspec.File{{Source: "/", Destination: destination}}}
}

func (h *host) input(d state.Deployment, spec *appspec.Spec) Input {
	h.token = "command-" + d.ID()
	return Input{
		Archive: d.Archive(), Spec: spec, Behavior: appspec.Disallow, Group: h.group, Deployment: d,
		Token: h.token, RootDir: h.disk,
	}
}

func install(in Input) error {
	p, err := Make(context.Background(), in)
	if err != nil {
		return err
	}
	return p.Apply(context.Background(), zap.NewNop())
}

// deploy installs a bundle with an AppSpec and expects success.
func (h *host) deploy(bundle map[string]string, spec *appspec.Spec) {
	h.t.Helper()
	if err := install(h.input(h.revision(bundle), spec)); err != nil {
		h.t.Fatalf("the deployment failed: %v", err)
	}
	h.expectTidy()
}

// expectTidy checks that no temporary names and no transaction are left.
func (h *host) expectTidy() {
	h.t.Helper()
	for _, dir := range []string{h.disk, h.root.Instructions()} {
		must(h.t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if name := filepath.Base(path); strings.HasPrefix(name, tempPrefix) || strings.Contains(name, transactionSuffix) {
				h.t.Errorf("%s was left behind", path)
			}
			return err
		}))
	}
}

// content returns the tree on the host's disk: files with their content, links as "-> target", directories as "dir".
func (h *host) content() map[string]string {
	h.t.Helper()
	return contentOf(h.t, h.disk)
}

func contentOf(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name := strings.TrimPrefix(path, dir)
		switch e.Type() {
		case fs.ModeDir:
			out[name] = "dir"
		case fs.ModeSymlink:
			to, err := os.Readlink(path)
			must(t, err)
			out[name] = "-> " + to
		case 0:
			b, err := os.ReadFile(path)
			must(t, err)
			out[name] = string(b)
		default:
			out[name] = e.Type().String()
		}
		return nil
	}))
	return out
}

// snapshot returns everything about a tree that must come back after an undo: type, mode, owner, time, ACLs, content.
// The inode shows that even the object is the same.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		must(t, unix.Lstat(path, &st))
		line := fmt.Sprintf("ino %d mode %o owner %d:%d size %d links %d mtime %d.%09d", st.Ino, st.Mode, st.Uid, st.Gid, st.Size*b2i(!e.IsDir()), st.Nlink, st.Mtim.Sec, st.Mtim.Nsec)
		for _, x := range []string{xattrAccess, xattrDefault} {
			buf := make([]byte, 1024)
			if n, err := unix.Lgetxattr(path, x, buf); err == nil {
				line += " " + x + "=" + hex.EncodeToString(buf[:n])
			}
		}
		out[path] = line
		return nil
	}))
	for name, content := range contentOf(t, dir) {
		out[dir+name] += " " + content
	}
	return out
}

func b2i(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func same[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func modeOf(t testing.TB, path string) uint32 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	return st.Mode & 0o7777
}

func (h *host) cleanupList() []string {
	h.t.Helper()
	b, err := os.ReadFile(h.group.CleanupFile())
	must(h.t, err)
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}
