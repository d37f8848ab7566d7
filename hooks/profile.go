package hooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	profile      = "/etc/profile"
	bash         = "/bin/bash"
	profileLimit = 5 * time.Second
)

// shellOwn are the variables that "bash -a" exports of its own accord. HOSTNAME, SHELL and TERM are not among them:
// scripts have always had those.
var shellOwn = []string{
	"_", "SHLVL", "PWD", "OLDPWD", "IFS", "PS4", "OPTIND", "OPTERR", "LINENO", "PPID", "UID", "EUID", "RANDOM", "SRANDOM", "SECONDS",
	"EPOCHSECONDS", "EPOCHREALTIME", "HOSTTYPE", "MACHTYPE", "OSTYPE", "BASH", "BASHPID", "BASHOPTS", "SHELLOPTS", "BASH_VERSION",
	"BASH_EXECUTION_STRING", "BASH_LOADABLES_PATH", "BASH_COMMAND", "BASH_SUBSHELL", "BASH_ARGV0", "BASH_MONOSECONDS",
}

// session is what a script inherits besides its standard files.
type session struct {
	env environ
	// umask is -1 when it is the service's.
	umask int
	// limits are those that differ from the service's.
	limits []limit
}

// readProfile returns the session of the service's environment after /etc/profile: what it exports, and the umask and the
// resource limits that it sets; the unit of 1.x read it into the agent itself, so scripts had them all. The
// session is usable also when there is an error, as if there were no profile.
func readProfile(service environ) (session, error) {
	plain := session{env: slices.Clone(service), umask: -1}
	info, err := os.Stat(profile)
	if err != nil {
		return plain, nil
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 || info.Mode()&0o022 != 0 {
		return plain, fmt.Errorf("cannot use %s for hooks: others than root may write it", profile)
	}
	if _, err := os.Stat(bash); err != nil {
		return plain, nil
	}
	s, err := sourceProfile(profile, service)
	if err != nil {
		return plain, fmt.Errorf("cannot use %s for hooks: %w", profile, err)
	}
	return s, nil
}

// sourceProfile lets bash read the file, with all assignments exported, and looks at it before and after.
func sourceProfile(path string, service environ) (session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), profileLimit)
	defer cancel()
	// Zero bytes part the variables: values may hold newlines. What the profile prints is nobody's business.
	const look = "umask >&3; cat /proc/self/limits >&3; printf '\\0' >&3; "
	cmd := exec.CommandContext(ctx, bash, "-a", "-c", "exec 3>&1 >/dev/null 2>&1; "+look+". "+path+"; "+look+"exec env -0 >&3")
	cmd.Env = service
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = 200 * time.Millisecond // a background process of the profile may keep the pipe open
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	parts := strings.Split(out.String(), "\x00")
	switch {
	case ctx.Err() != nil:
		return session{}, fmt.Errorf("it did not end within %s", profileLimit)
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return session{}, fmt.Errorf("reading it failed: %w", err)
	case len(parts) < 4 || parts[len(parts)-1] != "":
		return session{}, errors.New("it ends the shell that reads it")
	}
	s := session{umask: -1, limits: changedLimits(parts[0], parts[1])}
	before, after := umaskIn(parts[0]), umaskIn(parts[1])
	if before != after {
		s.umask = after
	}
	for _, v := range parts[2 : len(parts)-1] {
		s.env.put(v)
	}
	for _, name := range shellOwn {
		s.env.remove(name)
		if v, ok := service.get(name); ok {
			s.env.set(name, v)
		}
	}
	return s, nil
}

// umaskIn reads the first line of a look, -1 when it is none.
func umaskIn(look string) int {
	line, _, _ := strings.Cut(look, "\n")
	mask, err := strconv.ParseUint(line, 8, 9)
	if err != nil {
		return -1
	}
	return int(mask)
}
