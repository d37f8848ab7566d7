package behaviour

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"codedeploy-agent/internal/stub"
)

// More chapters: what the description says of permissions, and of the files that agents keep for each other.
const (
	Permissions = "MATCH: permissions"
	State       = "MATCH: state on disk"
)

// then is the time that the files of bundles, and those that a host has before a deployment, were last changed.
var then = time.Unix(1_500_000_000, 0)

// Shell runs commands of /bin/sh in a directory of the host, as somebody would type them; the first that fails ends
// them and the case. HOST stands for the host's directory. Objects that they make bear the time then, unless they are
// given one that is older than an hour. It returns what the commands print.
func (h *Host) Shell(dir, commands string) string {
	h.Helper()
	dir = h.Path(dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		h.Fatal(err)
	}
	c := exec.CommandContext(h.Context(), "/bin/sh", "-euc", strings.ReplaceAll("umask 022\n"+commands, "HOST", h.Dir)+
		fmt.Sprintf("\nfind . ! -type d -mmin -60 -exec touch -h -d @%d {} +\n", then.Unix()))
	c.Dir = dir
	c.Env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=" + h.Dir, "LC_ALL=C.UTF-8", "TZ=UTC"}
	var errs strings.Builder
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		h.Fatalf("%v: %s\n%s", err, errs.String(), commands)
	}
	return string(out)
}

// Made is a new directory with what shell commands make in it.
func (h *Host) Made(commands string) string {
	h.Helper()
	dir := h.Directory(nil)
	h.Shell(dir, commands)
	return dir
}

// Pack makes an archive of a directory with the system's tar or Info-ZIP's zip.
func (h *Host) Pack(kind, dir string) (path string) {
	h.Helper()
	file, err := os.CreateTemp(h.Dir, "*."+kind)
	if err != nil {
		h.Fatal(err)
	}
	path = file.Name()
	_ = file.Close()
	c := exec.CommandContext(h.Context(), "tar", "-c", "-f", path, "--numeric-owner", "--sort=name", ".")
	switch kind {
	case "tgz":
		c.Args = append(c.Args, "-z")
	case "zip":
		_ = os.Remove(path) // zip wants to make it
		c = exec.CommandContext(h.Context(), "zip", "-q", "-r", "-y", path, ".")
	}
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		h.Fatalf("%v: %s", err, out)
	}
	return path
}

// PushArchive puts an archive into S3 as it is.
func (h *Host) PushArchive(kind, path string) stub.Revision {
	h.Helper()
	h.service()
	revision, err := h.Twin.PushAs(h.Context(), path, kind)
	if err != nil {
		h.Fatal(err)
	}
	return revision
}

// service starts a twin that tells the agent of a command at once.
func (h *Host) service() {
	h.Helper()
	if h.Twin == nil {
		h.Service(stub.Options{LongPoll: 20 * time.Second})
	}
}

// begin starts the service and the agent.
func (h *Host) begin() {
	h.Helper()
	h.service()
	h.Start()
}

// Release packs a bundle: what shell commands make, with an AppSpec file of which the text is everything below
// version and os. The returned deployment consists of DownloadBundle and Install.
func (h *Host) Release(kind, appspec, commands string) stub.DeployOptions {
	h.Helper()
	return placing(h.PushArchive(kind, h.Pack(kind, h.releaseDir(appspec, commands))))
}

// placing is a deployment of the two commands that put files onto the disk.
func placing(r stub.Revision) stub.DeployOptions {
	return stub.DeployOptions{Revision: r, Events: []string{"DownloadBundle", "Install"}}
}

// disk is where cases put files: below HOST/srv.
const disk = "srv"

// Tree lists what lies below a directory, sorted, one line for each object: the path (a directory's ends in a slash),
// everything that is not as usual, and the content or where a link leads to. Usual are the modes 0755 of directories and
// 0644 of files, the agent's own user and group, a single name, the time then, and no ACL.
func (h *Host) Tree(path ...string) []string {
	h.Helper()
	root := h.Path(path...)
	lines := []string{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		line, err := h.object(root, path)
		lines = append(lines, line)
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		h.Fatal(err)
	}
	sort.Strings(lines)
	return lines
}

func (h *Host) object(root, path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", err
	}
	name := strings.TrimPrefix(path, root+"/")
	if quoted := strconv.QuoteToGraphic(name); quoted != `"`+name+`"` || strings.ContainsAny(name, " :") {
		name = quoted
	}
	var line strings.Builder
	line.WriteString(name)
	kind, perm := st.Mode&unix.S_IFMT, st.Mode&0o7777
	usual := uint32(0o644)
	switch kind {
	case unix.S_IFDIR:
		line.WriteByte('/')
		usual = 0o755
	case unix.S_IFLNK:
		usual = 0o777
	}
	if perm != usual {
		fmt.Fprintf(&line, " %04o", perm)
	}
	if int(st.Uid) != os.Geteuid() || int(st.Gid) != os.Getegid() {
		fmt.Fprintf(&line, " %d:%d", st.Uid, st.Gid)
	}
	if st.Nlink > 1 && kind != unix.S_IFDIR {
		fmt.Fprintf(&line, " x%d", st.Nlink)
	}
	if kind == unix.S_IFREG && st.Mtim.Sec != then.Unix() {
		line.WriteString(" " + age(time.Unix(st.Mtim.Unix())))
	}
	line.WriteString(h.acl(path, kind))
	switch kind {
	case unix.S_IFREG:
		content, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		line.WriteString(": " + brief(content))
	case unix.S_IFLNK:
		to, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		line.WriteString(" -> " + strings.ReplaceAll(to, h.Dir, "HOST"))
	case unix.S_IFDIR:
	default:
		fmt.Fprintf(&line, " of kind %o", kind)
	}
	return line.String(), nil
}

func age(t time.Time) string {
	if time.Since(t) < time.Hour {
		return "@now"
	}
	return "@" + strconv.FormatInt(t.Unix(), 10)
}

// brief shows a file's content; of more than a line, its length and the beginning of its digest.
func brief(content []byte) string {
	text := strings.TrimSuffix(string(content), "\n")
	switch {
	case text == "":
		return "(empty)"
	case strings.HasPrefix(text, "version: 0.0\nos: linux\n"):
		return "(AppSpec)"
	case len(text) > 60 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }):
		return fmt.Sprintf("%d bytes %.6x", len(content), sha256.Sum256(content))
	}
	return text
}

// acl is what getfacl says of an object that has an ACL beyond its mode.
func (h *Host) acl(path string, kind uint32) string {
	if kind == unix.S_IFLNK {
		return ""
	}
	some := false
	for _, name := range []string{"system.posix_acl_access", "system.posix_acl_default"} {
		_, err := unix.Lgetxattr(path, name, nil)
		some = some || err == nil
	}
	if !some {
		return ""
	}
	out, err := exec.Command("getfacl", "--absolute-names", "--omit-header", "--no-effective", path).Output()
	if err != nil {
		h.Fatalf("getfacl %q: %v", path, err)
	}
	return " [" + strings.Join(strings.Fields(string(out)), " ") + "]"
}

// clear removes everything from the disk.
func (h *Host) clear() {
	h.Helper()
	if err := os.RemoveAll(h.Path(disk)); err != nil {
		h.Fatal(err)
	}
}

// HasTree fails the case unless what lies below the disk is exactly what the lines say.
func (h *Host) HasTree(lines string) {
	h.Helper()
	h.Same("what lies below HOST/"+disk, sorted(lines), h.Tree(disk))
}

func sorted(lines string) []string {
	want := []string{}
	for line := range strings.SplitSeq(lines, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			want = append(want, line)
		}
	}
	sort.Strings(want)
	return want
}

// placed is what one deployment makes of what a host has.
type placed struct {
	name string
	root bool // needs root
	// kind of archive: zip when empty.
	kind string
	// host are shell commands that make what lies on the disk before, run in HOST/srv.
	host string
	// bundle are shell commands that make what is in the bundle beside appspec.yml.
	bundle string
	// appspec is the AppSpec file below version and os.
	appspec string
	// behavior is the file-exists behaviour of the deployment.
	behavior string
	// want is what lies on the disk afterwards, as Tree shows it.
	want string
	// fails is what the message of a failed Install matches. The disk must be as it was before.
	fails string
	// umask of the agent, 022 when zero.
	umask int
}

func (p placed) play(h *Host) {
	h.Shell(disk, p.host)
	if p.umask != 0 {
		h.Umask = p.umask
	}
	if p.kind == "" {
		p.kind = "zip"
	}
	h.begin()
	o := h.Release(p.kind, p.appspec, p.bundle)
	o.FileExistsBehavior = p.behavior
	if p.fails == "" {
		h.Succeed(o)
		h.HasTree(p.want)
		return
	}
	before := h.Tree(disk)
	h.Failure(h.Fail("Install", o), 5, "", p.fails)
	h.Same("what lies below HOST/"+disk+" after the refusal", before, h.Tree(disk))
}

// placings turns rows into cases.
func placings(rows ...placed) []Case {
	cases := []Case{}
	for _, p := range rows {
		cases = append(cases, Case{Name: p.name, NeedsRoot: p.root, Run: p.play})
	}
	return cases
}

// changed is when an object was last changed, in seconds, and its inode: whether it was touched.
func (h *Host) changed(path ...string) string {
	h.Helper()
	info, err := os.Lstat(h.Path(path...))
	if err != nil {
		h.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Sprint(st.Ino, st.Mtim, st.Size, st.Mode)
}
