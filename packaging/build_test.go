package packaging

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"codedeploy-agent/internal/lab"
)

// Versions that the tests build. The second is the upgrade of the first.
const (
	oldVersion = "3.0.0"
	newVersion = "3.0.1"
)

// scratch holds what several tests share. TestMain removes it.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "codedeploy-packages-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(scratch)
	os.Exit(code)
}

// built are the packages of one version for this machine, in rpm and deb, signed with the tests' key.
type built struct{ dir, version string }

func (b built) rpm() string { return filepath.Join(b.dir, b.rpmName()) }
func (b built) deb() string { return filepath.Join(b.dir, b.debName()) }

func (b built) rpmName() string {
	return fmt.Sprintf("codedeploy-agent-%s-1.%s.rpm", b.version, rpmArch())
}

func (b built) debName() string {
	return fmt.Sprintf("codedeploy-agent_%s-1_%s.deb", b.version, runtime.GOARCH)
}

func rpmArch() string {
	return map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
}

var builds = struct {
	sync.Mutex
	done map[string]built
}{done: map[string]built{}}

// packages builds the packages of a version once for all tests that install them in a guest.
func packages(t *testing.T, version string) built {
	t.Helper()
	lab.Require(t, "gpg")
	builds.Lock()
	defer builds.Unlock()
	if b, ok := builds.done[version]; ok {
		return b
	}
	b := built{dir: filepath.Join(scratch, version), version: version}
	runBuild(t, "VERSION="+version, "DIST="+b.dir, "ARCHES="+runtime.GOARCH, "FORMATS=rpm deb", "SIGNING_KEY="+signingKey(t))
	builds.done[version] = b
	return b
}

func runBuild(t *testing.T, env ...string) {
	t.Helper()
	run(t, append([]string{"PROGRAM=" + os.Getenv("PROGRAM"), "SOURCE_DATE_EPOCH=1700000000"}, env...), "./build")
}

// signingKey makes a PGP key for the tests and returns the file with the secret part; the public part lies beside it,
// with the suffix ".pub" (armored) and ".gpg" (not).
func signingKey(t *testing.T) string { return pgpKey(t, "key") }

// otherKey returns the public part of a key that has signed nothing.
func otherKey(t *testing.T) string { return pgpKey(t, "other") + ".pub" }

func pgpKey(t *testing.T, name string) string {
	t.Helper()
	needs(t, "gpg")
	keys.Lock()
	defer keys.Unlock()
	key := filepath.Join(scratch, name)
	if _, err := os.Stat(key); err == nil {
		return key
	}
	home := key + ".gnupg"
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	gpg := []string{"gpg", "--homedir", home, "--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""}
	call := func(args ...string) { run(t, nil, append(slices.Clone(gpg), args...)...) }
	call("--quick-generate-key", "Tests <tests@localhost>", "rsa2048", "sign", "never")
	call("--output", key+".pub", "--armor", "--export")
	call("--output", key+".gpg", "--export")
	call("--output", key, "--armor", "--export-secret-keys")
	_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
	return key
}

var keys sync.Mutex

// needs skips the test, loudly, where a program is missing.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("NOT RUN HERE (needs %s): internal/lab/prepare gets it", p)
		}
	}
}

// run runs a program that must succeed and returns what it wrote.
func run(t *testing.T, env []string, args ...string) string {
	t.Helper()
	out, err := try(env, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// fails runs a program that must not succeed and returns what it wrote.
func fails(t *testing.T, env []string, args ...string) string {
	t.Helper()
	out, err := try(env, args...)
	if err == nil {
		t.Fatalf("%s: no error\n%s", strings.Join(args, " "), out)
	}
	return out
}

func try(env []string, args ...string) (string, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}
