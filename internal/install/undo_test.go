package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"codedeploy-agent/appspec"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// deployedBefore is a host with an earlier deployment, files of its own beside it, odd attributes and old times.
func deployedBefore(t *testing.T, h *host) *host {
	h.deploy(bigBundle(1), to("/srv/app"))
	write(t, h.disk, map[string]string{"srv/app/both/0/mine": "mine", "srv/app/log/today": "log"})
	must(t, os.Chmod(h.disk+"/srv/app/both", 0o750))
	acl, def := effectiveACL([]aclEntry{{tag: tagUser, perm: 7, id: 4242}, {isDefault: true, tag: tagUser, perm: 5, id: 4242}}, 0o755)
	must(t, unix.Setxattr(h.disk+"/srv/app/both/1", xattrAccess, acl, 0))
	must(t, unix.Setxattr(h.disk+"/srv/app/both/1", xattrDefault, def, 0))
	if os.Geteuid() == 0 {
		must(t, os.Chown(h.disk+"/srv/app/both/2", 12, 34))
	}
	old := time.Date(2020, 1, 2, 3, 4, 5, 678, time.UTC)
	for path := range snapshot(t, h.disk) {
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{unix.NsecToTimespec(old.UnixNano()), unix.NsecToTimespec(old.UnixNano())}, unix.AT_SYMLINK_NOFOLLOW))
	}
	return h
}

func (h *host) planned(bundle map[string]string) *Plan {
	h.t.Helper()
	in := h.input(h.revision(bundle), to("/srv/app"))
	in.Spec.Permissions = []appspec.Permission{{Object: "/srv/app", Pattern: "**", OnDirectories: true, Mode: "0711"}}
	p, err := Make(context.Background(), in)
	must(h.t, err)
	must(h.t, p.Preflight())
	return p
}

// expectUntouched checks that an Install failed and that nothing tells of it.
func (h *host) expectUntouched(err error, before map[string]string, cleanup string) {
	h.t.Helper()
	if err == nil {
		h.t.Fatal("the Install succeeded")
	}
	h.t.Log(err)
	same(h.t, "tree after the failed Install", snapshot(h.t, h.disk), before)
	h.expectTidy()
	b, readErr := os.ReadFile(h.group.CleanupFile())
	must(h.t, readErr)
	same(h.t, "cleanup list", string(b), cleanup)
	if done, doneErr := Done(h.group, h.token); done || doneErr != nil {
		h.t.Errorf("Done says %v, %v", done, doneErr)
	}
}

func (h *host) cleanupText() string { return strings.Join(h.cleanupList(), "\n") + "\n" }

func TestErrorInTheCommitRestoresTheOldTree(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, h *host)
		mend  func(h *host)
	}{
		{"a file to be replaced has become immutable", func(t *testing.T, h *host) {
			needsRoot(t)
			chattr(t, h.disk+"/srv/app/both/3/f150", unix.STATX_ATTR_IMMUTABLE)
		}, func(h *host) { chattr(h.t, h.disk+"/srv/app/both/3/f150", 0) }},
		{"a file to be removed has become immutable", func(t *testing.T, h *host) {
			needsRoot(t)
			chattr(t, h.disk+"/srv/app/only-1/2/f59", unix.STATX_ATTR_IMMUTABLE)
		}, func(h *host) { chattr(h.t, h.disk+"/srv/app/only-1/2/f59", 0) }},
		{"somebody made a directory where a new file goes", func(t *testing.T, h *host) {
			must(t, os.Mkdir(h.disk+"/srv/app/both/new-0-59", 0o755))
		}, nil},
		{"somebody made a file where a new directory goes", func(t *testing.T, h *host) {
			must(t, os.WriteFile(h.disk+"/srv/app/only-0", nil, 0o644))
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := deployedBefore(t, hostIn(t, t.TempDir()))
			cleanup := h.cleanupText()
			p := h.planned(bigBundle(2))
			c.spoil(t, h)
			before := snapshot(t, h.disk)
			if c.mend != nil {
				defer c.mend(h)
			}
			h.expectUntouched(p.applyWhole(context.Background(), zap.NewNop()), before, cleanup)
		})
	}
}

// chattr sets or clears the immutable flag.
func chattr(t testing.TB, path string, flag uint64) {
	t.Helper()
	const immutable = 0x10 // FS_IMMUTABLE_FL
	f, err := os.Open(path)
	must(t, err)
	defer func() { _ = f.Close() }()
	bits, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip("NOT RUN HERE (the file system of the temporary directory has no immutable files): " + t.Name())
	}
	must(t, err)
	bits &^= immutable
	if flag != 0 {
		bits |= immutable
	}
	must(t, unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, bits))
}

func TestFullDiskWhileStagingLeavesTheOldTree(t *testing.T) {
	h := newHost(t)
	h.disk = tinyFileSystem(t, "size=8m")
	deployedBefore(t, h)
	cleanup := h.cleanupText()
	bundle := bigBundle(2)
	bundle["zz-large"] = strings.Repeat("x", 1<<20)
	p := h.planned(bundle)
	// Somebody else takes the room after it has been checked.
	var st unix.Statfs_t
	must(t, unix.Statfs(h.disk, &st))
	must(t, os.WriteFile(filepath.Join(h.disk, "ballast"), make([]byte, int64(st.Bfree)*st.Bsize-600<<10), 0o644))
	before := snapshot(t, h.disk)
	err := p.applyWhole(context.Background(), zap.NewNop())
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("got %v", err)
	}
	h.expectUntouched(err, before, cleanup)
}

func TestCancelledInstallLeavesTheOldTree(t *testing.T) {
	h := deployedBefore(t, hostIn(t, t.TempDir()))
	cleanup := h.cleanupText()
	p := h.planned(bigBundle(2))
	before := snapshot(t, h.disk)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	h.expectUntouched(p.applyWhole(ctx, zap.NewNop()), before, cleanup)
}

// tinyFileSystem mounts a tmpfs with the given options.
func tinyFileSystem(t *testing.T, options string) string {
	t.Helper()
	needsRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skip("NOT RUN HERE (cannot mount: " + err.Error() + "): " + t.Name())
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func TestPreflightNamesAllThatWouldFail(t *testing.T) {
	h := deployedBefore(t, hostIn(t, t.TempDir()))
	in := h.input(h.revision(bigBundle(2)), to("/srv/app"))
	in.Spec.Permissions = []appspec.Permission{
		{Object: "/srv/app/both", Pattern: "new-0-1*", OnFiles: true, Owner: "no-such-user", Group: "no-such-group"},
		{Object: "/srv/app/both", Pattern: "new-0-2*", OnFiles: true, ACLs: []appspec.ACL{{Type: "user", Name: "nobody-knows", Perms: "r--"}}},
	}
	if os.Geteuid() == 0 {
		chattr(t, h.disk+"/srv/app/both/3/f150", unix.STATX_ATTR_IMMUTABLE)
		defer chattr(t, h.disk+"/srv/app/both/3/f150", 0)
	}
	before := snapshot(t, h.disk)
	err := install(in)
	if err == nil {
		t.Fatal("the Install succeeded")
	}
	wanted := []string{"no-such-user", "no-such-group", "nobody-knows"}
	if os.Geteuid() == 0 {
		wanted = append(wanted, "immutable")
	}
	for _, w := range wanted {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q is not named in: %v", w, err)
		}
	}
	same(t, "tree", snapshot(t, h.disk), before)
	h.expectTidy()
}

func TestTooSmallADiskIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	for _, c := range []struct{ options, says string }{{"size=6m", "MiB free"}, {"size=64m,nr_inodes=1500", "inodes free"}} {
		t.Run(c.options, func(t *testing.T) {
			dir := tinyFileSystem(t, c.options)
			h := hostIn(t, t.TempDir())
			h.disk = dir
			bundle := map[string]string{"big": strings.Repeat("x", 7<<20)}
			if strings.Contains(c.options, "inodes") {
				for i := range 1600 {
					bundle[fmt.Sprint(i)] = ""
				}
			}
			before := snapshot(t, h.disk)
			err := install(h.input(h.revision(bundle), to("/srv/app")))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
			same(t, "tree", snapshot(t, h.disk), before)
		})
	}
}

func TestWithoutRoomForBothFilesAreReplacedOneByOne(t *testing.T) {
	dir := tinyFileSystem(t, "size=8m")
	h := hostIn(t, t.TempDir())
	h.disk = dir
	large := func(c string) string { return strings.Repeat(c, 1<<20) }
	first, second := map[string]string{"dir/old": large("o"), "to-dir": large("t")}, map[string]string{"to-dir/new": large("n")}
	for i := range 5 {
		first[fmt.Sprint(i)], second[fmt.Sprint(i)] = large("1"), large("2")
	}
	h.deploy(first, to("/srv/app"))
	h.deploy(second, to("/srv/app"))
	same(t, "tree", h.content(), expected(second, "/srv/app"))
	h.deploy(map[string]string{"0": "small"}, to("/srv/app"))
	same(t, "tree", h.content(), expected(map[string]string{"0": "small"}, "/srv/app"))
}
