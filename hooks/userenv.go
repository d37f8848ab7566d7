package hooks

import (
	"os"
	"strings"

	"codedeploy-agent/internal/account"
)

// pamFiles are the files that su reads variables from, in this order, on the hosts that have them.
var pamFiles = []string{"/etc/environment", "/etc/default/locale"}

// environAs returns the environment for a script that runs as the user, made as su makes it without a login: HOME and SHELL
// always, USER and LOGNAME for others than root, the rest kept; then what pam_env reads from files. Unlike with su, the
// deployment's variables and LIFECYCLE_EVENT win over everything, and there is no MAIL.
func (j job) environAs(base environ, u account.User) environ {
	var e environ
	for _, v := range base {
		e.put(v)
	}
	e.set("HOME", u.Home)
	e.set("SHELL", u.Shell)
	if u.UID != 0 || j.Options.CleanEnvironment {
		e.set("USER", u.Name)
		e.set("LOGNAME", u.Name)
	}
	if j.Options.CleanEnvironment {
		e.remove("SHELL", "LOGNAME")
	} else {
		for _, path := range pamFiles {
			if b, err := os.ReadFile(path); err == nil {
				for _, v := range parsePamEnv(string(b)) {
					e.put(v)
				}
			}
		}
		e.remove(secrets...)
	}
	for _, v := range j.Variables {
		e.put(v)
	}
	e.set("LIFECYCLE_EVENT", j.Event)
	return e
}

// parsePamEnv reads NAME=value lines as pam_env does, which is no shell: "export " may stand before a name; a "#"
// begins a comment wherever it stands; a backslash at the end joins the next line; nothing is expanded; a quote at the
// beginning of a value is dropped, and then one at its very end, too. Lines that are none are skipped.
func parsePamEnv(text string) []string {
	var vars []string
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimLeft(lines[i], " \t")
		if strings.HasPrefix(line, "#") {
			continue
		}
		for strings.HasSuffix(line, `\`) && i+1 < len(lines) {
			i++
			line = strings.TrimSuffix(line, `\`) + lines[i]
		}
		line, _, _ = strings.Cut(line, "#")
		name, value, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		if !ok || !isVariableName(name) {
			continue
		}
		if value != "" && isQuote(value[0]) {
			value = value[1:]
			if n := len(value); n > 0 && isQuote(value[n-1]) {
				value = value[:n-1]
			}
		}
		vars = append(vars, name+"="+value)
	}
	return vars
}

func isQuote(c byte) bool { return c == '"' || c == '\'' }

func isVariableName(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_') {
			return false
		}
	}
	return s != ""
}
