package hooks

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"codedeploy-agent/internal/account"
)

func TestEnvironment(t *testing.T) {
	l := newBench(t)
	l.req.Options.Environ = []string{
		"PATH=/bin:/usr/bin", "HOME=/root", "ODD=a=b\nc", "AWS_REGION=eu-west-1", "HTTPS_PROXY=http://p:1",
		"AWS_ACCESS_KEY_ID=AKIA", "AWS_SECRET_ACCESS_KEY=s", "AWS_SESSION_TOKEN=t", "AWS_ACCESS_KEY=k", "AWS_SECRET_KEY=k",
		"LD_PRELOAD=/x.so", "LD_LIBRARY_PATH=/x", "NOTIFY_SOCKET=/run/x", "WATCHDOG_USEC=1", "LISTEN_FDS=1", "INVOCATION_ID=1",
		"JOURNAL_STREAM=8:1", "APPLICATION_NAME=from the service", "not a variable", "=x", "EMPTY=",
	}
	l.req.Variables = []string{"APPLICATION_NAME=my shop", "BUNDLE_KEY=a b"}
	got, err := Environment(l.req)
	if err != nil {
		t.Error(err)
	}
	for _, want := range []string{
		"HOME=/root", "ODD=a=b\nc", "AWS_REGION=eu-west-1", "HTTPS_PROXY=http://p:1", "EMPTY=",
		"APPLICATION_NAME=my shop", "BUNDLE_KEY=a b", "LIFECYCLE_EVENT=AfterInstall",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %q", want)
		}
	}
	for _, v := range got {
		name, _, _ := strings.Cut(v, "=")
		if slices.Contains(secrets, name) || slices.Contains(private, name) || slices.Contains(shellOwn, name) {
			t.Errorf("there is %q", v)
		}
	}
	if !slices.IsSorted(got) {
		t.Error("not sorted")
	}
}

func TestCleanEnvironment(t *testing.T) {
	l := newBench(t)
	l.req.Options.CleanEnvironment = true
	l.req.Options.Environ = []string{"PATH=/odd", "HOME=/root", "USER=root", "LANG=C", "X=y", "AWS_REGION=r"}
	got, err := Environment(l.req)
	want := []string{
		"APPLICATION_NAME=shop", "DEPLOYMENT_ID=" + thisDeployment, "HOME=/root", "LANG=C", "LIFECYCLE_EVENT=AfterInstall",
		"PATH=" + cleanPath, "USER=root",
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("error %v (-want +got)\n%s", err, diff)
	}
}

// The script gets what Environment says, plus only what its shell adds.
func TestScriptHasTheEnvironment(t *testing.T) {
	l := newBench(t)
	l.sh("a.sh", "env -0 > "+l.path("env"))
	l.req.Options.Environ = []string{"PATH=" + os.Getenv("PATH"), "SERVICE=yes\nand no", "LATIN1=\xe4", "AWS_SECRET_ACCESS_KEY=secret", "PWD=/"}
	if res := l.run(); res.Outcome != Succeeded {
		t.Fatalf("result %+v", res)
	}
	want, err := Environment(l.req)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(l.read(l.path("env")), "\x00"), "\x00")
	for _, e := range []*[]string{&want, &got} {
		env := environ(*e)
		env.remove("PWD", "_", "OLDPWD", "SHLVL")
		*e = env
		slices.Sort(*e)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	// The record lies on the disk until the result is reported.
	if job := l.read(record(l.req.Record).job()); strings.Contains(job, "secret") || strings.Contains(job, "SERVICE") {
		t.Error("the environment is in the record")
	}
	if info, err := os.Stat(l.req.Record); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("record %v, %v", info.Mode(), err)
	}
}

func TestParsePamEnv(t *testing.T) {
	// As pam_env 1.5.2 reads them.
	text := "# comment\nPATH=\"/env/bin:/usr/bin\"\nexport A=abc # trailing\nB='q uoted' x\nC=plain value\nD=\"a\\\"b\"\n" +
		"  E=lead\nF=a$HOME\nG=\n=x\nH\nI-1=1\nJ=\"unterminated\nK='a'\nL=keep \\\ncont\nM=\"a # b\"\nN=a\\\n  b\n#O=1 \\\nP=2\n" +
		"export  Q=4\nR=cr\r\nS=\"\nT==eq\nU=end\\"
	want := []string{
		"PATH=/env/bin:/usr/bin", "A=abc ", "B=q uoted' x", "C=plain value", `D=a\"b`, "E=lead", "F=a$HOME", "G=",
		"J=unterminated", "K=a", "L=keep cont", "M=a ", "N=a  b", "P=2", "R=cr\r", "S=", "T==eq", `U=end\`,
	}
	if diff := cmp.Diff(want, parsePamEnv(text)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestParseLimits(t *testing.T) {
	app := account.User{Name: "app", UID: 1001, GID: 1001, Groups: []int{1001, 50}}
	root := account.User{Name: "root", Groups: []int{0}}
	groupID := func(name string) int {
		if name == "web" {
			return 50
		}
		return -1
	}
	const all = "unlimited"
	for name, c := range map[string]struct {
		text string
		user account.User
		want string
	}{
		"both halves":                     {"app - nofile 4096", app, "7:4096/4096"},
		"halves":                          {"app soft nofile 10\napp hard nofile 20", app, "7:10/20"},
		"unlimited":                       {"app soft nproc unlimited\napp hard nproc -1\n", app, "6:" + all + "/" + all},
		"units":                           {"app - core 2\napp - cpu 3\napp - msgqueue 5", app, "0:180/180 4:2048/2048 12:5/5"},
		"too large":                       {"app - as 99999999999999999", app, "9:" + all + "/" + all},
		"everyone":                        {"* soft nproc 100", app, "6:100/-"},
		"everyone but root":               {"* soft nproc 100\n@web - nproc 5", root, ""},
		"root by name":                    {"root soft nproc 7", root, "6:7/-"},
		"group":                           {"@web - nofile 5\n@other - nofile 6", app, "7:5/5"},
		"closer wins, not later":          {"app - nofile 1\n@web - nofile 2\n* - nofile 3", app, "7:1/1"},
		"group before everyone":           {"@web - nofile 2\n* - nofile 3", app, "7:2/2"},
		"later wins among equals":         {"app - nofile 1\napp - nofile 2", app, "7:2/2"},
		"ids":                             {"1000:2000 - nofile 9", app, "7:9/9"},
		"one id":                          {":1001 - nofile 8", app, "7:8/8"},
		"ids from":                        {"1002: - nofile 8", app, ""},
		"group ids":                       {"@40:60 - nofile 3", app, "7:3/3"},
		"no limits at all":                {"app -\napp - nofile 3", app, ""},
		"nice":                            {"app - nice -10", app, "13:30/30"},
		"comments and noise":              {"# app - nofile 1\n\napp - nofile 4 # five\napp\nx y z\napp maybe nofile 3\napp - nofile many\napp - maxlogins 4\r\n", app, "7:4/4"},
		"Windows line ends, capitals":     {"app - NOFILE 4\r\n", app, "7:4/4"},
		"other users, group with no name": {"app2 - nofile 4\n@ - nofile 5\n% - nofile 5\n: - nofile 6", app, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			half := func(v *uint64) string {
				switch {
				case v == nil:
					return "-"
				case *v == 1<<64-1:
					return all
				}
				return fmt.Sprint(*v)
			}
			for _, l := range applyRules(parseLimits(c.text), c.user, groupID) {
				got = append(got, fmt.Sprintf("%d:%s/%s", l.Resource, half(l.Soft), half(l.Hard)))
			}
			if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestProfiles(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ content, want string }{
		"sets and exports": {"A=1\nexport B='two\nlines'\n", "A=1,B=two\nlines"},
		"prints":           {"echo noise\nA=1\n", "A=1"},
		"fails":            {"false\nA=1\nfalse", "A=1"},
		"exits":            {"A=1\nexit 0\n", "it ends the shell that reads it"},
		"fails for good":   {"set -e\nfalse\n", "reading it failed: exit status 1"},
		"loses its PATH":   {"PATH=/nowhere\n", "reading it failed: exit status 127"},
		"leaves a child":   {"sleep 30 &\nA=1\necho $! > " + dir + "/pid\n", "A=1"},
		"sets the umask":   {"umask 027\n", "umask 27"},
		"sets limits":      {"ulimit -St 99999\nulimit -Sn 321\n", "limit 0,limit 7"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, "profile")
			if err := os.WriteFile(path, []byte(c.content), 0o644); err != nil {
				t.Fatal(err)
			}
			s, err := sourceProfile(path, environ{"PATH=/usr/bin:/bin"})
			var got []string
			if err != nil {
				got = append(got, err.Error())
			}
			for _, name := range []string{"A", "B"} {
				if v, ok := s.env.get(name); ok {
					got = append(got, name+"="+v)
				}
			}
			if s.umask > 0 {
				got = append(got, fmt.Sprintf("umask %o", s.umask))
			}
			for _, l := range s.limits {
				got = append(got, fmt.Sprint("limit ", l.Resource))
			}
			if strings.Join(got, ",") != c.want {
				t.Errorf("got %q", got)
			}
		})
	}
	l := &bench{t: t, root: dir}
	l.pidIn("pid")
}

func TestChangedLimits(t *testing.T) {
	const before = "Limit                     Soft Limit           Hard Limit           Units     \n" +
		"Max cpu time              unlimited            unlimited            seconds   \n" +
		"Max open files            1024                 524288               files     \n"
	after := strings.ReplaceAll(strings.ReplaceAll(before, "1024  ", "65536 "), "unlimited            seconds", "60                   seconds")
	got := changedLimits(before, after)
	if len(got) != 2 || got[0].Resource != unix.RLIMIT_CPU || *got[0].Soft != unix.RLIM_INFINITY || *got[0].Hard != 60 ||
		got[1].Resource != unix.RLIMIT_NOFILE || *got[1].Soft != 65536 || *got[1].Hard != 524288 {
		t.Errorf("got %+v", got)
	}
	if got := changedLimits(before, before); len(got) != 0 {
		t.Errorf("nothing has changed: %+v", got)
	}
}

func FuzzPamEnv(f *testing.F) {
	f.Add("export A=\"b\" # c\nB=\\\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, v := range parsePamEnv(text) {
			name, _, ok := strings.Cut(v, "=")
			if !ok || !isVariableName(name) || strings.Contains(v, "\n") {
				t.Errorf("%q", v)
			}
		}
	})
}

func FuzzLimits(f *testing.F) {
	f.Add("app - nofile 4\n@web soft core unlimited\n1:2 - nice -20\n")
	f.Fuzz(func(t *testing.T, text string) {
		u := account.User{Name: "app", UID: 1, Groups: []int{1}}
		for _, l := range applyRules(parseLimits(text), u, func(string) int { return 1 }) {
			if l.Resource < 0 || l.Resource > 15 || l.Soft == nil && l.Hard == nil {
				t.Errorf("%+v", l)
			}
		}
	})
}
