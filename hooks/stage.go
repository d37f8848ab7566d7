package hooks

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// stageFlag makes RunnerMain a stage.
const stageFlag = "--exec"

// stageAnswerFD is where a stage says why it failed.
const stageAnswerFD = 3

// stage is the step between the runner and a script with resource limits. A limit cannot be set on another program's
// child without affecting either oneself or the script's first instructions, so a short-lived copy of this program
// sets them on itself, drops its privileges and becomes the script.
type stage struct {
	Path       string
	Args       []string
	Credential *syscall.Credential // nil: stay who we are
	Limits     []limit
}

// stageError is why a stage could not become the script.
type stageError struct {
	Step  string // "" for exec itself
	Errno syscall.Errno
}

func (e *stageError) Error() string {
	if e.Step == "" {
		return e.Errno.Error()
	}
	return fmt.Sprintf("%s: %v", e.Step, e.Errno)
}

func (e *stageError) Unwrap() error { return e.Errno }

func stageMain(spec string) int {
	unix.CloseOnExec(stageAnswerFD)
	var s stage
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		fmt.Fprintln(os.Stderr, "cannot run a hook script:", err)
		return 1
	}
	failed := s.become()
	_ = json.NewEncoder(os.NewFile(stageAnswerFD, "answer")).Encode(failed)
	return 1
}

// become returns only when it fails. Limits come before the ids, because only root may raise them.
func (s stage) become() *stageError {
	for _, l := range s.Limits {
		_ = l.set() // a limit that the kernel refuses, for example in a container, does not keep the script from running
	}
	if s.Credential != nil {
		if err := takeOn(*s.Credential); err != nil {
			return err
		}
	}
	env := os.Environ()
	err := syscall.Exec(s.Path, s.Args, env)
	if errors.Is(err, unix.ENOEXEC) {
		err = syscall.Exec("/bin/sh", append([]string{"/bin/sh"}, s.Args...), env)
	}
	return &stageError{Errno: errnoOf(err)}
}

// takeOn drops root's ids, the user's last: after it the others could not be changed.
func takeOn(c syscall.Credential) *stageError {
	groups := make([]int, len(c.Groups))
	for i, g := range c.Groups {
		groups[i] = int(g)
	}
	uid, gid := int(c.Uid), int(c.Gid)
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"cannot set its groups", func() error { return syscall.Setgroups(groups) }},
		{"cannot set its group", func() error { return syscall.Setresgid(gid, gid, gid) }},
		{"cannot set its user", func() error { return syscall.Setresuid(uid, uid, uid) }},
	} {
		if err := step.do(); err != nil {
			return &stageError{Step: step.name, Errno: errnoOf(err)}
		}
	}
	return nil
}

func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return unix.EIO
}
