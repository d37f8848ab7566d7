package hooks

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// verdict makes the result of one script.
type verdict struct {
	job    job
	script jobScript
	took   time.Duration
	code   int
	oom    bool
}

// of tells how a script that was started ended; status is nil when it could not be killed.
func (v verdict) of(status *syscall.WaitStatus, timedOut bool, open []string) Result {
	code, signal := 0, ""
	switch {
	case status == nil:
	case status.Signaled():
		signal = unix.SignalName(status.Signal())
	default:
		code = status.ExitStatus()
	}
	outcome, cause := Failed, ""
	switch {
	case timedOut:
		outcome, cause = TimedOut, fmt.Sprintf("did not end within its time limit of %s and was stopped", v.limit())
		if signal == "SIGKILL" {
			cause += ": it went on after SIGTERM and had to be killed"
		} else if status == nil {
			cause += ": it lives on even after SIGKILL, held by the kernel"
		}
	case signal != "":
		cause = fmt.Sprintf("was killed by signal %s after %s", signal, v.duration())
	case code != 0:
		cause = fmt.Sprintf("failed with exit code %d after %s", code, v.duration())
	case len(open) > 0 && v.job.Options.Compat1x:
		outcome = OutputsLeftOpen
		cause = fmt.Sprintf("ended, but a background process kept its %s open until its time limit of %s", strings.Join(open, " and "), v.limit())
	default:
		return Result{Outcome: Succeeded}
	}
	if v.oom {
		cause += "; the kernel killed a process of it because memory ran out"
	}
	v.code = code
	res := v.result(outcome, "%s", cause)
	res.ExitCode, res.Signal, res.OOMKilled = code, signal, v.oom
	return res
}

func (v verdict) duration() time.Duration {
	if v.took < time.Second {
		return v.took.Round(time.Millisecond)
	}
	return v.took.Round(100 * time.Millisecond)
}

// limit is the time limit as the AppSpec gives it.
func (v verdict) limit() string {
	return strconv.FormatFloat(v.script.Timeout.Seconds(), 'f', -1, 64) + " seconds"
}

func (v verdict) failed(format string, args ...any) Result {
	return v.result(Failed, format, args...)
}

// result says what became of the script, whose it is, and where to read on.
func (v verdict) result(outcome Outcome, format string, args ...any) Result {
	var b strings.Builder
	fmt.Fprintf(&b, "Script %q", v.script.Location)
	if v.script.RunAs != "" {
		fmt.Fprintf(&b, " (runas %q)", v.script.RunAs)
	}
	b.WriteString(" " + sentence(fmt.Sprintf(format, args...)))
	if id := v.revision(); id != v.job.DeploymentID {
		fmt.Fprintf(&b, " It is from the revision of the earlier deployment %s, which %s uses: repair it in %s", id, v.job.Event, v.job.Archive)
		if slices.Contains([]string{ApplicationStop, BeforeBlockTraffic, AfterBlockTraffic}, v.job.Event) {
			b.WriteString(", or deploy once with the option to ignore ApplicationStop failures")
		}
		b.WriteString(".")
	}
	if next := v.next(outcome); next != "" {
		b.WriteString(" " + next)
	}
	if v.job.ScriptsLog != "" {
		fmt.Fprintf(&b, " All output is in %s on the host.", v.job.ScriptsLog)
	}
	return Result{Outcome: outcome, Script: v.script.Location, Message: b.String()}
}

// next says what to do about it, where that is not plain from the cause.
func (v verdict) next(outcome Outcome) string {
	switch {
	case outcome == ScriptMissing && !exists(v.job.Archive):
		return "Deploy the revision again."
	case outcome == ScriptMissing && strings.ContainsAny(v.script.Location, " \t"):
		return "Write a path alone as its location in the AppSpec file: a location cannot have arguments."
	case outcome == ScriptMissing:
		return "Correct its location in the AppSpec file, or add it to the revision."
	case outcome == TimedOut:
		return "See in its output what it waited for, or raise its timeout in the AppSpec file."
	case outcome == OutputsLeftOpen:
		return "Redirect the outputs of what it starts in the background, for example with >/dev/null 2>&1."
	case outcome == Failed && v.code == 127:
		return "127 is what a shell answers when it does not find a command: its output names the command."
	case outcome == Failed && v.code == 126:
		return "126 is what a shell answers when it may not execute a command: its output names the command."
	}
	return ""
}

// revision is the id of the deployment that the scripts come from.
func (v verdict) revision() string {
	if filepath.Base(v.job.Archive) != "deployment-archive" {
		return v.job.DeploymentID
	}
	return filepath.Base(filepath.Dir(v.job.Archive))
}

// sentence ends a text with a full stop.
func sentence(s string) string { return strings.TrimRight(s, ".") + "." }

// explainStart says why a script cannot be run. The kernel has one error for several causes.
func explainStart(c command, err error) string {
	interpreter, crlf := interpreterOf(c.script)
	switch {
	case errors.Is(err, unix.ENOENT) && crlf:
		return fmt.Sprintf("its first line ends in CR LF, so the kernel looks for the interpreter %q; save it with Unix line ends", interpreter+"\r")
	case errors.Is(err, unix.ENOENT) && interpreter != "":
		return fmt.Sprintf("its interpreter %q does not exist on this host", interpreter)
	case errors.Is(err, unix.ENOENT):
		return "it, or the loader that it needs, does not exist"
	case errors.Is(err, unix.EACCES) && noexec(c.script):
		return "it lies on a file system that is mounted with the option noexec"
	case errors.Is(err, unix.EACCES) && c.cred != nil:
		return fmt.Sprintf("the user %q may not execute it, its interpreter, or enter a directory above it", c.user)
	case errors.Is(err, unix.EACCES):
		return "permission denied for it or its interpreter"
	case errors.Is(err, unix.EPERM) && c.cred != nil:
		return fmt.Sprintf("this host does not let the agent become user %q", c.user)
	case errors.Is(err, unix.ETXTBSY):
		return "some process has it open for writing"
	case errors.Is(err, unix.EAGAIN):
		return fmt.Sprintf("the limit of processes is reached (%v)", unix.EAGAIN)
	case errors.Is(err, unix.E2BIG):
		return "its environment is too large"
	}
	var perr *os.PathError
	if errors.As(err, &perr) {
		err = perr.Err
	}
	return err.Error()
}

// interpreterOf reads the "#!" line of a script; interpreter is "" when there is none.
func interpreterOf(path string) (interpreter string, crlf bool) {
	f, err := os.Open(path)
	if err != nil {
		return "", false
	}
	defer func() { _ = f.Close() }()
	line, _ := bufio.NewReader(io.LimitReader(f, 256)).ReadBytes('\n')
	rest, ok := bytes.CutPrefix(line, []byte("#!"))
	if !ok {
		return "", false
	}
	fields := strings.Fields(string(rest))
	if len(fields) == 0 {
		return "", false
	}
	return fields[0], bytes.HasSuffix(line, []byte("\r\n")) && len(fields) == 1
}

func noexec(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Flags&unix.ST_NOEXEC != 0
}
