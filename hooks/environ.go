package hooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"codedeploy-agent/internal/account"
	"codedeploy-agent/systemd"
)

// secrets are the variables by which credentials reach the agent. No script gets them, whoever sets them: with them it
// would act as the agent instead of as the instance.
var secrets = []string{
	"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN",
	"AWS_ACCESS_KEY", "AWS_SECRET_KEY", // what 1.x set from the on-premises file
	"AWS_CREDENTIAL_FILE", "AWS_CREDENTIALS_FILE", // old names of the agent's own credentials file
	"AWS_CONTAINER_AUTHORIZATION_TOKEN", "CODEDEPLOY_GITHUB_TOKEN",
}

// private are the variables that are meant for the agent's own process: those of the loader, which may name libraries
// that only it should load, and those by which systemd speaks to a service.
var private = append(systemd.Variables(), "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "CREDENTIALS_DIRECTORY", "LISTEN_PIDFDID", "MANAGERPID")

// shellOwn are the variables that "bash -a" exports of its own accord. HOSTNAME, SHELL and TERM are not among them:
// scripts have always had those.
var shellOwn = []string{
	"_", "SHLVL", "PWD", "OLDPWD", "IFS", "PS4", "OPTIND", "OPTERR", "LINENO", "PPID", "UID", "EUID", "RANDOM", "SRANDOM", "SECONDS",
	"EPOCHSECONDS", "EPOCHREALTIME", "HOSTTYPE", "MACHTYPE", "OSTYPE", "BASH", "BASHPID", "BASHOPTS", "SHELLOPTS", "BASH_VERSION",
	"BASH_EXECUTION_STRING", "BASH_LOADABLES_PATH", "BASH_COMMAND", "BASH_SUBSHELL", "BASH_ARGV0", "BASH_MONOSECONDS",
}

const (
	profile      = "/etc/profile"
	bash         = "/bin/bash"
	profileLimit = 5 * time.Second
	cleanPath    = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// Environment returns what a script of the request gets that has no runas, sorted by name. It is made of, later ones winning:
//
//   - The service's environment ([Options].Environ) without the variables that are the agent's alone: its credentials
//     (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and their old names, CODEDEPLOY_GITHUB_TOKEN),
//     LD_PRELOAD, LD_LIBRARY_PATH, LD_AUDIT, and those of systemd (NOTIFY_SOCKET, WATCHDOG_*, LISTEN_*, ...).
//   - What /etc/profile exports, read by "bash -a" within 5 seconds, if root owns it and nobody else may write it. Loader
//     variables from there stay, credentials do not.
//   - The deployment's variables, and LIFECYCLE_EVENT.
//
// With [Options].CleanEnvironment the first two are replaced by PATH, HOME, USER and LANG. When /etc/profile cannot be
// read the rest is returned together with an error.
func Environment(req Request) ([]string, error) {
	req.Options.Environ = serviceEnviron(req.Options.Environ)
	e, err := newJob(req, 0).environ()
	slices.Sort(e)
	return e, err
}

// serviceEnviron drops from the service's environment what is the agent's alone.
func serviceEnviron(service []string) []string {
	if service == nil {
		service = os.Environ()
	}
	e := environ{}
	for _, v := range service {
		e.put(v)
	}
	e.remove(secrets...)
	e.remove(private...)
	return e
}

// environ is the environment of the job's scripts before runas. It is usable also when there is an error.
func (j job) environ() (environ, error) {
	var e environ
	var err error
	if j.Options.CleanEnvironment {
		e = cleanEnviron(j.Options.Environ)
	} else {
		e, err = withProfile(j.Options.Environ)
		e.remove(secrets...)
	}
	for _, v := range j.Variables {
		e.put(v)
	}
	e.set("LIFECYCLE_EVENT", j.Event)
	return e, err
}

func cleanEnviron(service environ) environ {
	e := environ{"PATH=" + cleanPath}
	for _, name := range []string{"HOME", "USER", "LANG"} {
		if v, ok := service.get(name); ok {
			e.set(name, v)
		}
	}
	if u, err := account.LookupUser(fmt.Sprint(os.Getuid())); err == nil {
		e.setDefault("HOME", u.Home)
		e.setDefault("USER", u.Name)
	}
	e.setDefault("LANG", "C.UTF-8")
	return e
}

// withProfile returns the service's environment after /etc/profile has been read, or as it was when that fails.
func withProfile(service environ) (environ, error) {
	service = slices.Clone(service)
	info, err := os.Stat(profile)
	if err != nil {
		return service, nil
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 || info.Mode()&0o022 != 0 {
		return service, fmt.Errorf("cannot use %s for hooks: others than root may write it", profile)
	}
	if _, err := os.Stat(bash); err != nil {
		return service, nil
	}
	out, err := readProfile(profile, service)
	if err != nil {
		return service, fmt.Errorf("cannot use %s for hooks: %w", profile, err)
	}
	var e environ
	for v := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		e.put(v)
	}
	for _, name := range shellOwn {
		e.remove(name)
		if v, ok := service.get(name); ok {
			e.set(name, v)
		}
	}
	return e, nil
}

func readProfile(path string, service environ) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), profileLimit)
	defer cancel()
	// Zero bytes part the variables: values may hold newlines. What the profile prints is nobody's business.
	cmd := exec.CommandContext(ctx, bash, "-a", "-c", "exec 3>&1 >/dev/null 2>&1; . "+path+"; exec env -0 >&3")
	cmd.Env = service
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = 200 * time.Millisecond // a background process of the profile may keep the pipe open
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("it did not end within %s", profileLimit)
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return nil, fmt.Errorf("reading it failed: %w", err)
	case out.Len() == 0 || out.Bytes()[out.Len()-1] != 0:
		return nil, errors.New("it ends the shell that reads it")
	}
	return out.Bytes(), nil
}

// environ is a list of NAME=value, each name once.
type environ []string

func (e environ) find(name string) int {
	return slices.IndexFunc(e, func(v string) bool {
		return len(v) > len(name) && v[len(name)] == '=' && v[:len(name)] == name
	})
}

func (e environ) get(name string) (string, bool) {
	i := e.find(name)
	if i < 0 {
		return "", false
	}
	return e[i][len(name)+1:], true
}

func (e *environ) set(name, value string) {
	v := name + "=" + value
	if i := e.find(name); i >= 0 {
		(*e)[i] = v
		return
	}
	*e = append(*e, v)
}

func (e *environ) setDefault(name, value string) {
	if e.find(name) < 0 {
		e.set(name, value)
	}
}

// put sets what NAME=value says; anything else, and what no process could be given, is left out.
func (e *environ) put(v string) {
	name, value, ok := strings.Cut(v, "=")
	if ok && name != "" && !strings.Contains(v, "\x00") {
		e.set(name, value)
	}
}

func (e *environ) remove(names ...string) {
	for _, name := range names {
		if i := e.find(name); i >= 0 {
			*e = slices.Delete(*e, i, i+1)
		}
	}
}
