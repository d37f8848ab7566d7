package install

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestPowerLossIsAllOldOrAllNew takes the power from a file system at random instants of an Install: what was not made
// durable is lost, as in a crash of the machine.
func TestPowerLossIsAllOldOrAllNew(t *testing.T) {
	needsRoot(t)
	if inOwnMountNamespace(t) {
		return
	}
	for kind, mkfs := range map[string][]string{"ext4": {"mkfs.ext4", "-q", "-F"}, "xfs": {"mkfs.xfs", "-q", "-f"}} {
		t.Run(kind, func(t *testing.T) {
			if _, err := exec.LookPath(mkfs[0]); err != nil {
				t.Skip("NOT RUN HERE (needs " + mkfs[0] + "): " + t.Name())
			}
			image, mnt := ownImage(t, t.TempDir(), mkfs, 400<<20)
			losePowerOften(t, image, mnt)
		})
	}
}

// ownImage makes a file system in a file of a directory and mounts it until the test ends.
func ownImage(t testing.TB, dir string, mkfs []string, size int64) (image, mnt string) {
	t.Helper()
	image, mnt = filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, size))
	must(t, os.Mkdir(mnt, 0o755))
	if out, err := exec.Command(mkfs[0], append(mkfs[1:], image)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v %s", mkfs[0], err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, mnt).CombinedOutput(); err != nil {
		t.Skipf("NOT RUN HERE (cannot mount: %s): %s", out, t.Name())
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", mnt).Run() })
	return image, mnt
}

// inOwnMountNamespace runs the test again where nobody else sees its mounts: a process that had started in a copy of
// the mounts would keep the dead file system alive. It tells whether that has been done.
func inOwnMountNamespace(t *testing.T) bool {
	t.Helper()
	const variable = "INSTALL_TEST_OWN_MOUNTS"
	if os.Getenv(variable) != "" {
		return false
	}
	cmd := exec.Command("unshare", "-m", os.Args[0], "-test.v", "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), variable+"=1")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("NOT RUN HERE (needs unshare): " + t.Name())
	}
	must(t, err)
	return true
}

func losePowerOften(t *testing.T, image, mnt string) {
	h := hostIn(t, mnt)
	h.deploy(bigBundle(1), to("/srv/app"))
	version, committed := 1, 0
	whole := time.Duration(0) // no loss the first time
	for range killInstants(t)/3 + 1 {
		d := h.revision(bigBundle(version + 1))
		unix.Sync()
		cmd, out := h.inChild(d)
		start := time.Now()
		if whole > 0 {
			time.Sleep(rand.N(whole + whole/10))
			shutDown(t, mnt)
		}
		last, _ := io.ReadAll(out)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if whole == 0 {
			whole = time.Since(start)
		}
		remount(t, image, mnt)
		// A child that said "done" has to be right after the loss, too.
		if h.settled(d, version, string(last) == "done\n") {
			version++
			committed++
		}
		if t.Failed() {
			return
		}
		must(t, os.RemoveAll(d.Dir()))
	}
	t.Logf("%d were committed, an Install takes %v", committed, whole)
}

// shutDown ends a file system without writing its log: FS_IOC_SHUTDOWN with "no log flush".
func shutDown(t *testing.T, mnt string) {
	t.Helper()
	f, err := os.Open(mnt)
	must(t, err)
	defer func() { _ = f.Close() }()
	flags := uint32(2)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), 0x8004587d, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		t.Fatal(errno)
	}
}

func remount(t *testing.T, image, mnt string) {
	t.Helper()
	for _, argv := range [][]string{{"umount", mnt}, {"mount", "-o", "loop", image, mnt}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v %s", argv, err, out)
		}
	}
}
