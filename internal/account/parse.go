package account

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"time"
)

// askLimit bounds how long a directory service may take to answer.
const askLimit = 10 * time.Second

// readLines returns the entries of a file, without blank lines and comments. A file that does not exist is empty.
func readLines(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look up accounts: %w", err)
	}
	var lines []string
	for l := range strings.SplitSeq(string(b), "\n") {
		l = strings.TrimRight(l, "\r")
		if strings.TrimSpace(l) != "" && !strings.HasPrefix(strings.TrimSpace(l), "#") {
			lines = append(lines, l)
		}
	}
	return lines, nil
}

// field returns the n-th field of a line, "" when there is none.
func field(line string, n int) string {
	for range n {
		_, rest, ok := strings.Cut(line, ":")
		if !ok {
			return ""
		}
		line = rest
	}
	f, _, _ := strings.Cut(line, ":")
	return f
}

// wellFormed tells an account or group from the plus and minus entries of NIS and from broken lines.
func wellFormed(line string) bool {
	_, ok := parseID(field(line, 2))
	return ok && plausible(field(line, 0)) && line[0] != '+'
}

// parseUser reads a line of passwd; the fields after the ids may be missing.
func parseUser(line string) (User, bool) {
	uid, ok := parseID(field(line, 2))
	gid, ok2 := parseID(field(line, 3))
	if !ok || !ok2 {
		return User{}, false
	}
	u := User{Name: field(line, 0), UID: uid, GID: gid, Home: field(line, 5), Shell: field(line, 6)}
	if u.Home == "" {
		u.Home = "/"
	}
	if u.Shell == "" {
		u.Shell = "/bin/sh"
	}
	return u, true
}

// parseGroup reads a line of group.
func parseGroup(line string) (name string, gid int, members []string, ok bool) {
	if line == "" || !wellFormed(line) {
		return "", 0, nil, false
	}
	gid, _ = parseID(field(line, 2))
	return field(line, 0), gid, strings.FieldsFunc(field(line, 3), func(c rune) bool { return c == ',' || c == ' ' }), true
}

// exitError says that a program answered, with "no".
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

var errNoProgram = errors.New("the program is not installed")

// ask runs one of the host's look-up programs and returns what it prints.
func ask(program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return out.String(), nil
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s did not answer within %s", program, askLimit)
	case errors.As(err, &exit) && exit.Exited():
		return "", &exitError{code: exit.ExitCode()}
	case errors.Is(err, exec.ErrNotFound):
		return "", errNoProgram
	default:
		return "", fmt.Errorf("cannot run %s: %w", program, err)
	}
}
