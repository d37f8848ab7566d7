package hooks

import (
	"fmt"
	"os"
	"slices"
	"strings"

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

const cleanPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

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
	s, err := newJob(req, 0).session()
	slices.Sort(s.env)
	return s.env, err
}

// EnvironmentAs is Environment for a script whose runas is the user.
func EnvironmentAs(req Request, u account.User) ([]string, error) {
	base, err := Environment(req)
	env := newJob(req, 0).environAs(base, u)
	slices.Sort(env)
	return env, err
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

// session is what the job's scripts inherit before runas. It is usable also when there is an error.
func (j job) session() (session, error) {
	s := session{umask: -1}
	var err error
	if j.Options.CleanEnvironment {
		s.env = cleanEnviron(j.Options.Environ)
	} else {
		s, err = readProfile(j.Options.Environ)
		s.env.remove(secrets...)
	}
	for _, v := range j.Variables {
		s.env.put(v)
	}
	s.env.set("LIFECYCLE_EVENT", j.Event)
	return s, err
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
