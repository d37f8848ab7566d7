package hooks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"codedeploy-agent/appspec"
	"codedeploy-agent/internal/account"
)

func runas(user string) func(*appspec.Script) {
	return func(s *appspec.Script) { s.RunAs = user }
}

// fakes puts programs that log their arguments in front of the PATH.
func (l *bench) fakes(programs map[string]string) {
	l.t.Helper()
	dir := l.path("bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		l.t.Fatal(err)
	}
	for name, body := range programs {
		text := fmt.Sprintf("#!/bin/sh\nfor a; do printf '<%%s>' \"$a\"; done >> %s/%s.log\n%s\n", dir, name, body)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			l.t.Fatal(err)
		}
	}
	// /etc/profile may set PATH anew; the runner itself has this one.
	l.t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

const whoami = `id -u; id -g; id -G; echo "$HOME|$USER|$LOGNAME|$SHELL"; pwd; echo "$KEPT|$DEPLOYMENT_ID"`

func TestRunAs(t *testing.T) {
	needsRoot(t, "runas changes the user, without a login shell")
	l := newBench(t)
	l.req.Options.Environ = []string{"PATH=" + os.Getenv("PATH"), "HOME=/root", "USER=root", "KEPT=yes"}
	l.sh("a.sh", whoami).last(runas("nobody"))
	res := l.run()
	nobody, err := account.LookupUser("nobody")
	if err != nil {
		t.Fatal(err)
	}
	cwd, _ := os.Getwd()
	want := fmt.Sprintf("[stdout]%d\n[stdout]%d\n[stdout]%s\n[stdout]%s|nobody|nobody|%s\n[stdout]%s\n[stdout]yes|%s\n",
		nobody.UID, nobody.GID, words(nobody.Groups), nobody.Home, nobody.Shell, cwd, thisDeployment)
	if res.Outcome != Succeeded || !strings.HasSuffix(res.Log, want) {
		t.Errorf("%s %s log\n%s\nwant\n%s", res.Outcome, res.Message, res.Log, want)
	}
}

func words(ids []int) string { return strings.Trim(fmt.Sprint(ids), "[]") }

func TestRunAsRoot(t *testing.T) {
	needsRoot(t, "runas root sets HOME and SHELL only, as su does")
	l := newBench(t)
	l.req.Options.Environ = []string{"PATH=" + os.Getenv("PATH"), "HOME=/odd", "USER=odd", "KEPT=yes"}
	l.sh("a.sh", whoami).last(runas("root"))
	res := l.run()
	if res.Outcome != Succeeded || !strings.Contains(res.Log, "[stdout]/root|odd||/") {
		t.Errorf("%s %s log\n%s", res.Outcome, res.Message, res.Log)
	}
}

func TestRunAsHasAllGroups(t *testing.T) {
	needsRoot(t, "runas brings all supplementary groups")
	l := newBench(t)
	l.fakes(map[string]string{
		"getent": `[ "$1 $2" = "passwd remote" ] && echo 'remote:*:54321:54322::/srv/remote:/usr/sbin/nologin' || exit 2`,
		"id":     `[ "$1 $2" = "-G remote" ] && echo '54322 54323 54324' || exec /usr/bin/id "$@"`,
	})
	l.sh("a.sh", "/usr/bin/id -u; /usr/bin/id -G; echo $HOME").last(runas("remote"))
	res := l.run()
	if want := "[stdout]54321\n[stdout]54322 54323 54324\n[stdout]/srv/remote\n"; res.Outcome != Succeeded || !strings.HasSuffix(res.Log, want) {
		t.Errorf("%s %s log\n%s", res.Outcome, res.Message, res.Log)
	}
}

func TestRunAsFails(t *testing.T) {
	needsRoot(t, "what runas says when it cannot")
	for name, c := range map[string]struct {
		user    string
		set     func(*bench)
		message string
	}{
		"unknown user":          {"no-such-user", nil, `the user "no-such-user" of its runas does not exist on this host`},
		"an id without account": {"3999999", nil, `the user "3999999" of its runas does not exist`},
		"an option":             {"-l", nil, `"-l" is no user name`},
		"closed to the user": {"nobody", func(l *bench) { _ = os.Chmod(filepath.Join(l.req.Archive, "a.sh"), 0o700) },
			`the user "nobody" may not execute it`},
		"a closed directory above": {"nobody", func(l *bench) { _ = os.Chmod(l.req.Archive, 0o700) }, `enter a directory above it`},
	} {
		t.Run(name, func(t *testing.T) {
			l := newBench(t).sh("a.sh", "echo ran")
			l.last(runas(c.user))
			if c.set != nil {
				c.set(l)
			}
			res := l.run()
			if res.Outcome != Failed || !strings.Contains(res.Message, c.message) || strings.Contains(res.Log, "]ran") || !strings.Contains(res.Log, "[stderr]cannot start a.sh: ") {
				t.Errorf("%+v", res)
			}
			t.Log(res.Message)
		})
	}
}

func TestCompat1xUsesSu(t *testing.T) {
	l := newBench(t)
	l.fakes(map[string]string{"su": `shift 2; exec /bin/sh -c "$1"`})
	l.req.Options.Compat1x = true
	l.sh("it's odd $x.sh", "echo ran as $0").last(runas("app"))
	res := l.run()
	path := filepath.Join(l.req.Archive, "it's odd $x.sh")
	if res.Outcome != Succeeded || !strings.HasSuffix(res.Log, "ran as "+path+"\n") {
		t.Errorf("%s %s log\n%s", res.Outcome, res.Message, res.Log)
	}
	if got, want := l.read(l.path("bin/su.log")), "<app><-c><"+shellQuote(path)+">"; got != want {
		t.Errorf("su was called with %s, want %s", got, want)
	}
}

// Without root, sudo is what is left.
func TestSudoWithoutRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Log("NOT RUN HERE (needs an ordinary user): sudo: true goes through sudo")
		t.SkipNow()
	}
	for name, c := range map[string]struct {
		user string
		want string // with PATH for the script's path
	}{
		"sudo":                 {"", "<-n><PATH>"},
		"sudo as another user": {"app", "<-n><su><app><-c><'PATH'>"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newBench(t)
			l.fakes(map[string]string{"sudo": "exit 0", "su": "exit 1"})
			l.sh("a.sh", "echo ran").last(runas(c.user)).last(func(s *appspec.Script) { s.Sudo = true })
			res := l.run()
			want := strings.ReplaceAll(c.want, "PATH", filepath.Join(l.req.Archive, "a.sh"))
			if got := l.read(l.path("bin/sudo.log")); res.Outcome != Succeeded || got != want {
				t.Errorf("%s, sudo was called with %s, want %s", res.Outcome, got, want)
			}
		})
	}
	t.Run("runas alone", func(t *testing.T) {
		l := newBench(t).sh("a.sh", "echo ran").last(runas("root"))
		if res := l.run(); res.Outcome != Failed || !strings.Contains(res.Message, "the agent does not run as root") {
			t.Errorf("%+v", res)
		}
	})
	t.Run("runas the agent's own user", func(t *testing.T) {
		u, err := account.LookupUser(strconv.Itoa(os.Geteuid()))
		if err != nil || u.GID < 0 {
			t.Log("NOT RUN HERE (this user has no account)")
			t.SkipNow()
		}
		l := newBench(t).sh("a.sh", "echo ran").last(runas(u.Name))
		if res := l.run(); res.Outcome != Succeeded {
			t.Errorf("%+v", res)
		}
	})
}

func TestSudoAsRootIsDirect(t *testing.T) {
	needsRoot(t, "sudo: true needs no sudo")
	l := newBench(t)
	l.fakes(map[string]string{"sudo": "exit 9"})
	l.sh("a.sh", "id -u").last(func(s *appspec.Script) { s.Sudo = true })
	if res := l.run(); res.Outcome != Succeeded || !strings.HasSuffix(res.Log, "[stdout]0\n") {
		t.Errorf("%+v", res)
	}
}

// stageJob is a job whose stage is this test binary.
func stageJob() job {
	return job{Options: Options{}.withDefaults()}
}

// runStaged runs a script of the bench with limits set, and returns its output.
func (l *bench) runStaged(path string, limits []limit) (string, error) {
	l.t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = read.Close() }()
	cred := &syscall.Credential{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())}
	if os.Geteuid() == 0 {
		cred = &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{65534, 54323}}
	}
	c := command{path: path, args: []string{path}, script: path, env: environ{"PATH=/usr/bin:/bin"}, cred: cred, limits: limits, user: "nobody"}
	p, err := c.start(stageJob(), &cell{}, []*os.File{nil, write, write})
	_ = write.Close()
	if err != nil {
		return explainStart(c, err), err
	}
	out, _ := readAllString(read)
	state, err := p.Wait()
	if err == nil && !state.Success() {
		err = fmt.Errorf("%s", state)
	}
	return out, err
}

func readAllString(f *os.File) (string, error) {
	var b strings.Builder
	_, err := f.WriteTo(&b)
	return b.String(), err
}

func TestLimitsHoldInTheScript(t *testing.T) {
	needsRoot(t, "limits of limits.conf, above the agent's own, hold in a runas script")
	n := func(v uint64) *uint64 { return &v }
	l := newBench(t)
	l.sh("a.sh", "ulimit -Sn; ulimit -Hn; ulimit -Sc; grep 'Max processes' /proc/self/limits; id -u; id -G; grep SigIgn /proc/self/status")
	script := filepath.Join(l.req.Archive, "a.sh")
	out, err := l.runStaged(script, []limit{
		{Resource: unix.RLIMIT_NOFILE, Soft: n(500), Hard: n(700)},
		{Resource: unix.RLIMIT_CORE, Soft: n(0)},
		{Resource: unix.RLIMIT_NPROC, Soft: n(900), Hard: n(800)}, // a soft limit above the hard one is cut
	})
	if want := "500\n700\n0\nMax processes             800                  800                  processes \n65534\n65534 54323\n"; err != nil || !strings.HasPrefix(out, want) {
		t.Errorf("%v\n%s", err, out)
	}
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &now); err != nil {
		t.Fatal(err)
	}
	raise := []limit{{Resource: unix.RLIMIT_NOFILE, Hard: n(now.Max + 1)}}
	if out, err := l.runStaged(script, raise); err != nil {
		t.Error(err)
	} else if !strings.Contains(out, fmt.Sprintf("\n%d\n", now.Max+1)) {
		t.Logf("NOT RUN HERE (needs CAP_SYS_RESOURCE): limits above the agent's own\n%s", out)
		return
	}
	// "unlimited" is more than the kernel takes for files.
	if out, err := l.runStaged(script, []limit{{Resource: unix.RLIMIT_NOFILE, Soft: n(1<<64 - 1), Hard: n(1<<64 - 1)}}); err != nil || !strings.HasPrefix(out, fmt.Sprint(maxOpenFiles())) {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestStageFails(t *testing.T) {
	zero := uint64(0)
	limits := []limit{{Resource: unix.RLIMIT_CORE, Soft: &zero}}
	l := newBench(t)
	l.script("a.sh", "#!/no/such\n").script("plain.sh", "echo $0 runs\n")
	if os.Geteuid() != 0 {
		t.Log("NOT RUN HERE (needs root): the stage changes the user")
		t.SkipNow()
	}
	if got, err := l.runStaged(filepath.Join(l.req.Archive, "a.sh"), limits); err == nil || !strings.Contains(got, `interpreter "/no/such"`) {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := l.runStaged(filepath.Join(l.req.Archive, "plain.sh"), limits); err != nil || !strings.HasSuffix(got, "plain.sh runs\n") {
		t.Errorf("%q, %v", got, err)
	}
}

func TestEnvironmentOfAUser(t *testing.T) {
	dir := t.TempDir()
	old := pamFiles
	t.Cleanup(func() { pamFiles = old })
	pamFiles = []string{filepath.Join(dir, "environment"), filepath.Join(dir, "locale")}
	_ = os.WriteFile(pamFiles[0], []byte("PATH=/env\nFROM=environment\nAWS_SECRET_ACCESS_KEY=x\nDEPLOYMENT_ID=forged\n"), 0o644)
	_ = os.WriteFile(pamFiles[1], []byte("LANG=de_DE\n"), 0o644)
	j := job{Event: AfterInstall, Variables: []string{"DEPLOYMENT_ID=d-1"}}
	base := environ{"PATH=/bin", "HOME=/root", "USER=root", "KEPT=1"}
	got := j.environAs(base, account.User{Name: "app", UID: 5, Home: "/srv/app", Shell: "/bin/false"})
	slices.Sort(got)
	want := []string{
		"DEPLOYMENT_ID=d-1", "FROM=environment", "HOME=/srv/app", "KEPT=1", "LANG=de_DE", "LIFECYCLE_EVENT=AfterInstall",
		"LOGNAME=app", "PATH=/env", "SHELL=/bin/false", "USER=app",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if base[1] != "HOME=/root" {
		t.Error("the environment of the other scripts was changed")
	}
	j.Options.CleanEnvironment = true
	got = j.environAs(environ{"PATH=/bin", "HOME=/root", "USER=root"}, account.User{Name: "app", UID: 5, Home: "/srv/app"})
	slices.Sort(got)
	if want := []string{"DEPLOYMENT_ID=d-1", "HOME=/srv/app", "LIFECYCLE_EVENT=AfterInstall", "PATH=/bin", "USER=app"}; !slices.Equal(got, want) {
		t.Errorf("clean: got %q", got)
	}
}

// su is the yardstick: what a script of a user with a shell sees through it, it sees without it.
func TestLikeSu(t *testing.T) {
	needsRoot(t, "runas compared with this host's su")
	su, err := exec.LookPath("su")
	user := userWithShell()
	if err != nil || user == "" {
		t.Log("NOT RUN HERE (needs su and an account with a shell)")
		t.SkipNow()
	}
	l := newBench(t)
	l.req.Options.Environ = []string{"PATH=/usr/bin:/bin", "HOME=/root", "USER=root", "LOGNAME=root", "KEPT=1", "SHELL=/bin/x"}
	l.sh("a.sh", "umask; id; env -u _ -u SHLVL -u OLDPWD -u MAIL | sort").last(runas(user))
	ours := l.run()
	l.again()
	l.req.Options.Compat1x = true
	theirs := l.run()
	if ours.Outcome != Succeeded || ours.Log != theirs.Log {
		t.Errorf("%s has\n%s\nwithout it\n%s", su, theirs.Log, ours.Log)
	}
}

func userWithShell() string {
	b, _ := os.ReadFile("/etc/passwd")
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) == 7 && f[2] != "0" && (strings.HasSuffix(f[6], "/bash") || strings.HasSuffix(f[6], "/sh")) {
			return f[0]
		}
	}
	return ""
}

// The outputs belong to the user, so that a script may open them by name.
func TestOutputsBelongToTheUser(t *testing.T) {
	needsRoot(t, "a runas script writes to /dev/stderr")
	l := newBench(t)
	l.sh("a.sh", "echo by name > /dev/stderr").last(runas("nobody"))
	if res := l.run(); res.Outcome != Succeeded || !strings.HasSuffix(res.Log, "[stderr]by name\n") {
		t.Errorf("%+v", res)
	}
}

// A script that is being written for a moment is waited for.
func TestScriptIsStillOpenForWriting(t *testing.T) {
	l := newBench(t)
	l.sh("a.sh", "exit 0")
	f, err := os.OpenFile(filepath.Join(l.req.Archive, "a.sh"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(300*time.Millisecond, func() { _ = f.Close() })
	if res := l.run(); res.Outcome != Succeeded {
		t.Errorf("%+v", res)
	}
}
