package packaging

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// host is a PATH with the programs that every host has and with fakes of those that make the difference. The fakes
// write their command lines to a log.
type host struct {
	t               *testing.T
	bin, calls, log string
	env             []string
}

var everyHostHas = []string{
	"sh", "cat", "cp", "rm", "mkdir", "mktemp", "dirname", "basename", "sed", "grep", "cut", "tr", "tail", "date",
	"sha256sum", "base64", "uname", "curl", "gpgv", "gpg", "find",
}

func newHost(t *testing.T, programs ...string) *host {
	t.Helper()
	h := &host{t: t, bin: t.TempDir(), calls: filepath.Join(t.TempDir(), "calls"), log: filepath.Join(t.TempDir(), "log")}
	for _, p := range append(slices.Clone(everyHostHas), programs...) {
		real, err := exec.LookPath(p)
		if err != nil {
			if p == "curl" || p == "gpgv" || p == "gpg" {
				t.Skipf("NOT RUN HERE (needs %s)", p)
			}
			t.Fatal(err)
		}
		if err := os.Symlink(real, filepath.Join(h.bin, p)); err != nil {
			t.Fatal(err)
		}
	}
	h.fake("id", "echo 0")
	h.fake("sleep", ":")
	return h
}

func (h *host) fake(name, body string) {
	h.t.Helper()
	_ = os.Remove(filepath.Join(h.bin, name))
	script := fmt.Sprintf("#!/bin/sh\necho %s \"$@\" >>%s\n%s\n", name, h.calls, body)
	if err := os.WriteFile(filepath.Join(h.bin, name), []byte(script), 0o755); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) without(name string) { _ = os.Remove(filepath.Join(h.bin, name)) }

// install runs the installer and returns its exit code, what it wrote to both outputs, and the calls of fakes that
// change the host.
func (h *host) install(installer string, args ...string) (code int, output string, changes []string) {
	h.t.Helper()
	_ = os.Remove(h.calls)
	cmd := exec.Command(filepath.Join(h.bin, "sh"), append([]string{installer}, args...)...)
	cmd.Env = append([]string{"PATH=" + h.bin, "AWS_REGION=eu-west-1", "AWS_DOMAIN=amazonaws.com", "CODEDEPLOY_INSTALL_LOG=" + h.log}, h.env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	code = cmd.ProcessState.ExitCode()
	if code < 0 {
		h.t.Fatalf("%v\n%s", err, out.String())
	}
	text, _ := os.ReadFile(h.calls)
	for line := range strings.Lines(string(text)) {
		if regexp.MustCompile(`^(rpm -[Ui]|dpkg -i|yum|dnf|zypper|systemctl start)`).MatchString(line) {
			changes = append(changes, strings.TrimSpace(line))
		}
	}
	return code, out.String(), changes
}

// releases is a tree of releases whose packages hold nothing, signed by the tests' key.
func releases(t *testing.T, versions ...string) string {
	t.Helper()
	needs(t, "gpg")
	trees.Lock()
	defer trees.Unlock()
	made, ok := trees.made[strings.Join(versions, " ")]
	if !ok {
		made = makeTree(t, versions...)
		trees.made[strings.Join(versions, " ")] = made
	}
	tree := t.TempDir()
	if err := os.CopyFS(tree, os.DirFS(made)); err != nil {
		t.Fatal(err)
	}
	return tree
}

var trees = struct {
	sync.Mutex
	made map[string]string
}{made: map[string]string{}}

func makeTree(t *testing.T, versions ...string) (tree string) {
	t.Helper()
	dist, err := os.MkdirTemp(scratch, "tree-")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range versions {
		for _, name := range []string{"codedeploy-agent-%s-1.x86_64.rpm", "codedeploy-agent-%s-1.aarch64.rpm", "codedeploy-agent_%s-1_amd64.deb", "codedeploy-agent_%s-1_arm64.deb"} {
			name = fmt.Sprintf(name, v)
			if err := os.WriteFile(filepath.Join(dist, name), []byte(name), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		out := run(t, []string{"VERSION=" + v, "DIST=" + dist, "SIGNING_KEY=" + signingKey(t)}, "./release-tree")
		tree = strings.TrimSpace(out)
	}
	return tree
}

func thisRPM(version string) string {
	return fmt.Sprintf("releases/codedeploy-agent-%s-1.%s.rpm", version, rpmArch())
}

func thisDeb(version string) string {
	return fmt.Sprintf("releases/codedeploy-agent_%s-1_%s.deb", version, runtime.GOARCH)
}

const rpmWithNothing = `case "$*" in -q*) echo package codedeploy-agent is not installed; exit 1;; esac`

func TestInstallerChoosesTheFamily(t *testing.T) {
	tree := releases(t, "3.0.0")
	for _, c := range []struct {
		name     string
		programs []string
		argument string
		code     int
		output   string
	}{
		{"dnf", []string{"dnf", "rpm"}, "auto", 1, "its program does not run"},
		{"yum", []string{"yum", "rpm"}, "auto", 1, "its program does not run"},
		{"zypper", []string{"zypper", "rpm"}, "auto", 1, "its program does not run"},
		{"apt", []string{"apt-get", "dpkg", "dpkg-query"}, "auto", 1, "its program does not run"},
		{"zypper as the argument", []string{"rpm"}, "zypper", 1, "its program does not run"},
		{"both families", []string{"dnf", "rpm", "apt-get", "dpkg"}, "auto", 1, "package managers of both families"},
		{"none", nil, "auto", 1, "none of dnf, yum, zypper, apt-get and gdebi"},
		{"no rpm", nil, "rpm", 1, "this host has no rpm"},
		{"nothing said", []string{"rpm"}, "", 1, "say what to install"},
		{"nonsense", []string{"rpm"}, "msi", 1, `cannot install "msi"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := os.Stat("/opt/codedeploy-agent/bin/codedeploy-agent"); err == nil {
				t.Skip("NOT RUN HERE (an agent is installed on this machine)")
			}
			h := newHost(t)
			for _, p := range c.programs {
				h.fake(p, "")
			}
			h.fake("rpm", rpmWithNothing)
			if !slices.Contains(c.programs, "rpm") {
				h.without("rpm")
			}
			args := []string{"--from", tree}
			if c.argument != "" {
				args = append(args, c.argument)
			}
			code, out, changes := h.install(filepath.Join(tree, "latest/install"), args...)
			if code != c.code || !strings.Contains(out, c.output) {
				t.Errorf("exit %d, output %q, want %d and %q", code, out, c.code, c.output)
			}
			installs := strings.Contains(c.output, "does not run") // the fakes install nothing
			if got := len(changes) == 1; got != installs {
				t.Errorf("calls: %q", changes)
			}
		})
	}
}

func TestInstallerTakesTheVersionThatWasAskedFor(t *testing.T) {
	tree := releases(t, "3.0.0", "3.1.0")
	for _, c := range []struct{ name, version, kind, key string }{
		{"latest rpm", "", "rpm", thisRPM("3.1.0")},
		{"latest deb", "", "deb", thisDeb("3.1.0")},
		{"by number", "3.1.0", "rpm", thisRPM("3.1.0")},
		{"by number, deb", "3.1.0", "deb", thisDeb("3.1.0")},
		{"by key, as 1.x wants it", thisRPM("3.1.0"), "rpm", thisRPM("3.1.0")},
		{"one that does not exist", "9.9.9", "rpm", ""},
		{"half a version", "3.1.0-1", "rpm", ""},
		{"a key that leaves the tree", "releases/../../etc/passwd", "rpm", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			h.fake("rpm", rpmWithNothing)
			h.fake("dpkg", "")
			h.fake("dpkg-query", "exit 1")
			args := []string{"--from", tree, "--dry-run"}
			if c.version != "" {
				args = append(args, "-v", c.version)
			}
			code, out, changes := h.install(filepath.Join(tree, "latest/install"), append(args, c.kind)...)
			if changes != nil {
				t.Errorf("a dry run calls %q", changes)
			}
			if c.key == "" {
				if code != 1 || !strings.Contains(out, "install: ") {
					t.Errorf("exit %d, output %q", code, out)
				}
				return
			}
			want := fmt.Sprintf("codedeploy-agent would be installed from %s/%s (installed now: none).", tree, c.key)
			if code != 0 || !strings.Contains(out, want) {
				t.Errorf("exit %d, output %q, want %q", code, out, want)
			}
		})
	}
}

func TestInstallerRefusesWhatItCannotVerify(t *testing.T) {
	rpm := thisRPM("3.0.0")
	for _, c := range []struct {
		name   string
		spoil  func(t *testing.T, tree string)
		args   []string
		output string
	}{
		{"changed package", func(t *testing.T, tree string) { appendTo(t, tree, rpm) }, nil, "the checksum of"},
		{"changed package with its checksum", func(t *testing.T, tree string) {
			appendTo(t, tree, rpm)
			sum := sha256.Sum256(read(t, tree, rpm))
			write(t, tree, rpm+".sha256", hex.EncodeToString(sum[:])+"  x\n")
		}, nil, "the signature of"},
		{"changed package, signature not wanted", func(t *testing.T, tree string) { appendTo(t, tree, rpm) }, []string{"--no-signature"}, "the checksum of"},
		{"no checksum", func(t *testing.T, tree string) { remove(t, tree, rpm+".sha256") }, nil, "there is no checksum"},
		{"no signature", func(t *testing.T, tree string) { remove(t, tree, rpm+".sig") }, nil, "is not signed"},
		{"signature of another file", func(t *testing.T, tree string) {
			write(t, tree, rpm+".sig", string(read(t, tree, "latest/LATEST_VERSION.sig")))
		}, nil, "the signature of"},
		{"pointer to an older release", func(t *testing.T, tree string) {
			write(t, tree, "latest/LATEST_VERSION", strings.ReplaceAll(string(read(t, tree, "latest/LATEST_VERSION")), "3.0.0", "2.9.9"))
		}, nil, "the signature of \"latest/LATEST_VERSION\""},
		{"checksum that is none", func(t *testing.T, tree string) { write(t, tree, rpm+".sha256", "<html>\n") }, nil, "one that could be read"},
		{"key that is not there", func(*testing.T, string) {}, []string{"--key", "/no/key"}, "cannot read the key"},
		{"key of somebody else", func(*testing.T, string) {}, []string{"--key", otherKey(t)}, "the signature of"},
		{"installer without a key", func(t *testing.T, tree string) {
			text := regexp.MustCompile(`(?m)^signing_key=.*`).ReplaceAllString(string(read(t, tree, "latest/install")), "signing_key=")
			write(t, tree, "latest/install", text)
		}, nil, "this installer has no key built in"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := releases(t, "3.0.0")
			c.spoil(t, tree)
			h := newHost(t)
			h.fake("rpm", rpmWithNothing)
			code, out, changes := h.install(filepath.Join(tree, "latest/install"), append(append([]string{"--from", tree}, c.args...), "rpm")...)
			if code != 1 || !strings.Contains(out, c.output) {
				t.Errorf("exit %d, output %q, want 1 and %q", code, out, c.output)
			}
			if changes != nil {
				t.Errorf("calls: %q", changes)
			}
		})
	}
}

func TestInstallerWithAKeyOfItsOwn(t *testing.T) {
	tree := releases(t, "3.0.0")
	for _, key := range []string{signingKey(t) + ".pub", signingKey(t) + ".gpg"} {
		t.Run(filepath.Ext(key), func(t *testing.T) {
			h := newHost(t)
			h.fake("rpm", rpmWithNothing)
			installer, err := filepath.Abs("install")
			if err != nil {
				t.Fatal(err)
			}
			if code, out, _ := h.install(installer, "--from", tree, "--key", key, "--dry-run", "rpm"); code != 0 {
				t.Errorf("exit %d, output %q", code, out)
			}
			h.without("gpgv")
			if code, out, _ := h.install(installer, "--from", tree, "--key", key, "--dry-run", "rpm"); code != 0 {
				t.Errorf("with gpg: exit %d, output %q", code, out)
			}
		})
	}
}

func TestInstallerSkipsWhatIsInstalled(t *testing.T) {
	tree := releases(t, "3.0.0")
	h := newHost(t)
	h.fake("rpm", "echo 3.0.0-1")
	code, out, changes := h.install(filepath.Join(tree, "latest/install"), "--from", tree, "rpm")
	if code != 0 || changes != nil || !strings.Contains(out, "3.0.0-1 is installed already") {
		t.Errorf("exit %d, output %q, calls %q", code, out, changes)
	}
}

func TestInstallerTellsWhenThePackageManagerFails(t *testing.T) {
	tree := releases(t, "3.0.0")
	h := newHost(t)
	h.fake("rpm", `case "$*" in -q*) exit 1;; esac; echo disk full; exit 3`)
	code, out, _ := h.install(filepath.Join(tree, "latest/install"), "--from", tree, "rpm")
	if code != 1 || !strings.Contains(out, "cannot install releases/") || !strings.Contains(out, "the agent of before is still there") {
		t.Errorf("exit %d, output %q", code, out)
	}
}

func TestInstallerWaitsForAnotherDpkg(t *testing.T) {
	tree := releases(t, "3.0.0")
	h := newHost(t)
	h.fake("dpkg-query", "exit 1")
	h.fake("dpkg", fmt.Sprintf(`[ "$(grep -c '^dpkg ' %s)" -gt 2 ] || { echo 'dpkg: error: dpkg frontend lock was locked by another process'; exit 2; }`, h.calls))
	_, out, changes := h.install(filepath.Join(tree, "latest/install"), "--from", tree, "deb")
	if len(changes) != 3 { // two that found the lock, one that did not
		t.Errorf("output %q, calls %q", out, changes)
	}
}

func TestInstallerNeedsRoot(t *testing.T) {
	h := newHost(t)
	h.fake("id", "echo 1000")
	h.fake("rpm", rpmWithNothing)
	if code, out, _ := h.install("install", "rpm"); code != 1 || !strings.Contains(out, "only root") {
		t.Errorf("exit %d, output %q", code, out)
	}
}

func TestInstallerTriesADownloadSixTimes(t *testing.T) {
	tree := releases(t, "3.0.0")
	var failures, asked atomic.Int64
	files := http.FileServer(http.Dir(tree))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/LATEST_VERSION") && asked.Add(1) <= failures.Load() {
			http.Error(w, "later", http.StatusServiceUnavailable)
			return
		}
		files.ServeHTTP(w, r)
	}))
	defer server.Close()
	h := newHost(t)
	h.fake("rpm", rpmWithNothing)
	installer := filepath.Join(tree, "latest/install")
	failures.Store(5)
	if code, out, _ := h.install(installer, "--from", server.URL, "--dry-run", "rpm"); code != 0 || asked.Load() != 6 {
		t.Errorf("exit %d after %d requests, output %q", code, asked.Load(), out)
	}
	asked.Store(0)
	failures.Store(100)
	if code, out, _ := h.install(installer, "--from", server.URL, "--dry-run", "rpm"); code != 1 || asked.Load() != 6 || !strings.Contains(out, "cannot find out the latest version") {
		t.Errorf("exit %d after %d requests, output %q", code, asked.Load(), out)
	}
	if code, out, _ := h.install(installer, "--from", server.URL, "-v", "9.9.9", "--dry-run", "rpm"); code != 1 || !strings.Contains(out, "cannot fetch") {
		t.Errorf("a version that does not exist: exit %d, output %q", code, out)
	}
	if calls, _ := os.ReadFile(h.calls); strings.Contains(string(calls), "sleep") {
		t.Errorf("it waits for a version that does not exist: %s", calls)
	}
}

func TestInstallerFindsRegionAndDomain(t *testing.T) {
	tree := releases(t, "3.0.0")
	installer := filepath.Join(tree, "latest/install")
	for _, c := range []struct {
		name    string
		env     []string
		answers map[string]string // of the metadata service; nil: there is none
		v1      bool              // the service knows no tokens
		args    []string
		host    string
	}{
		{"environment", []string{"AWS_REGION=eu-west-1", "AWS_DOMAIN=example.com"}, nil, false, nil, "aws-codedeploy-eu-west-1.s3.eu-west-1.example.com"},
		{"metadata", nil, map[string]string{"placement/region": "ap-south-1", "services/domain": "amazonaws.com"}, false, nil, "aws-codedeploy-ap-south-1.s3.ap-south-1.amazonaws.com"},
		{"metadata without a token", nil, map[string]string{"placement/region": "ap-south-1"}, true, nil, "aws-codedeploy-ap-south-1.s3.ap-south-1.amazonaws.com"},
		{"metadata without a token, which is not wanted", nil, map[string]string{"placement/region": "ap-south-1"}, true, []string{"--disable-imds-v1"}, "aws-codedeploy-us-east-1.s3.us-east-1.amazonaws.com"},
		{"old metadata", nil, map[string]string{"placement/availability-zone": "cn-north-1a"}, false, nil, "aws-codedeploy-cn-north-1.s3.cn-north-1.amazonaws.com.cn"},
		{"nothing", nil, nil, false, nil, "aws-codedeploy-us-east-1.s3.us-east-1.amazonaws.com"},
	} {
		t.Run(c.name, func(t *testing.T) {
			metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/latest/api/token" && r.Method == http.MethodPut && !c.v1 && c.answers != nil {
					_, _ = fmt.Fprint(w, "TOKEN")
					return
				}
				answer, ok := c.answers[strings.TrimPrefix(r.URL.Path, "/latest/meta-data/")]
				if !ok || !c.v1 && r.Header.Get("X-aws-ec2-metadata-token") != "TOKEN" {
					http.NotFound(w, r)
					return
				}
				_, _ = fmt.Fprint(w, answer)
			}))
			defer metadata.Close()
			var asked atomic.Value
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Store(r.Host)
				http.NotFound(w, r)
			}))
			defer proxy.Close()

			h := newHost(t)
			h.fake("rpm", rpmWithNothing)
			h.env = append([]string{"AWS_REGION=", "AWS_DOMAIN=", "AWS_EC2_METADATA_SERVICE_ENDPOINT=" + metadata.URL}, c.env...)
			args := append([]string{"--from", "http://aws-codedeploy-{region}.s3.{region}.{domain}", "--proxy", proxy.URL}, c.args...)
			if code, out, _ := h.install(installer, append(args, "rpm")...); code != 1 {
				t.Errorf("exit %d, output %q", code, out)
			}
			if got := asked.Load(); got != c.host {
				t.Errorf("asked %q, want %q", got, c.host)
			}
		})
	}
}

func TestInstallerWorksWithWget(t *testing.T) {
	needs(t, "wget")
	tree := releases(t, "3.0.0")
	server := httptest.NewServer(http.FileServer(http.Dir(tree)))
	defer server.Close()
	h := newHost(t, "wget")
	h.without("curl")
	h.fake("rpm", rpmWithNothing)
	if code, out, _ := h.install(filepath.Join(tree, "latest/install"), "--from", server.URL, "--dry-run", "rpm"); code != 0 {
		t.Errorf("exit %d, output %q", code, out)
	}
	h.without("wget")
	if code, out, _ := h.install(filepath.Join(tree, "latest/install"), "--from", server.URL, "--dry-run", "rpm"); code != 1 || !strings.Contains(out, "neither curl nor wget") {
		t.Errorf("exit %d, output %q", code, out)
	}
}

func TestShellScriptsAreClean(t *testing.T) {
	needs(t, "shellcheck")
	files := []string{"install", "build", "sign", "release-tree", "../internal/lab/prepare"}
	for _, pattern := range []string{"scripts/*", "openrc/p*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	run(t, nil, append([]string{"shellcheck", "--shell=sh"}, files...)...)
}

func read(t *testing.T, tree, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(tree, name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func write(t *testing.T, tree, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(tree, name), []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

func appendTo(t *testing.T, tree, name string) {
	t.Helper()
	write(t, tree, name, string(read(t, tree, name))+"x")
}

func remove(t *testing.T, tree, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(tree, name)); err != nil {
		t.Fatal(err)
	}
}
