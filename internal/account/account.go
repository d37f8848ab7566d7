// Package account finds users and groups without cgo: the files under /etc first, then the host's other sources
// (SSSD, LDAP, systemd) through getent and id.
package account

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// User is one account as processes see it.
type User struct {
	Name string
	UID  int
	// GID is the primary group; -1 when the user was given as a number that belongs to no account.
	GID   int
	Home  string
	Shell string
	// Groups are all groups of the user, the primary one first.
	Groups []int
}

// UnknownError says that no source of the host knows a name.
type UnknownError struct {
	// Kind is "user" or "group".
	Kind string
	Name string
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("cannot find %s %q: neither the files under /etc nor getent know it", e.Kind, e.Name)
}

// LookupUser finds a user by name. A number is taken for a user id when no user has it as a name; it need not belong to
// an account. A name that nobody knows is an *UnknownError; every other error means that a source could not be asked.
func LookupUser(name string) (User, error) { return host.lookupUser(name) }

// LookupGroup finds the id of a group by name, under the rules of LookupUser.
func LookupGroup(name string) (gid int, err error) { return host.lookupGroup(name) }

// host is the database of this machine.
var host = database{
	passwd:   "/etc/passwd",
	group:    "/etc/group",
	nsswitch: "/etc/nsswitch.conf",
	getent:   "getent",
	id:       "id",
}

// database names the sources to ask.
type database struct {
	passwd, group, nsswitch string // files
	getent, id              string // programs
}

func (d database) lookupUser(name string) (User, error) {
	if !plausible(name) {
		return User{}, &UnknownError{Kind: "user", Name: name}
	}
	line, err := d.find(d.passwd, "passwd", name)
	if err != nil {
		return User{}, err
	}
	u, ok := parseUser(line)
	if !ok {
		uid, numeric := parseID(name)
		if !numeric {
			return User{}, &UnknownError{Kind: "user", Name: name}
		}
		return User{Name: name, UID: uid, GID: -1, Home: "/", Shell: "/bin/sh"}, nil
	}
	if u.Groups, err = d.groupsOf(u); err != nil {
		return User{}, err
	}
	return u, nil
}

func (d database) lookupGroup(name string) (int, error) {
	if !plausible(name) {
		return 0, &UnknownError{Kind: "group", Name: name}
	}
	line, err := d.find(d.group, "group", name)
	if err != nil {
		return 0, err
	}
	if _, gid, _, ok := parseGroup(line); ok {
		return gid, nil
	}
	if gid, ok := parseID(name); ok {
		return gid, nil
	}
	return 0, &UnknownError{Kind: "group", Name: name}
}

// find returns the line of a name, else of a number, from the file or else from getent; "" when nobody knows it.
func (d database) find(file, table, name string) (string, error) {
	lines, err := readLines(file)
	if err != nil {
		return "", err
	}
	if i := slices.IndexFunc(lines, func(l string) bool { return field(l, 0) == name && wellFormed(l) }); i >= 0 {
		return lines[i], nil
	}
	_, numeric := parseID(name)
	if numeric {
		if i := slices.IndexFunc(lines, func(l string) bool { return field(l, 2) == name && wellFormed(l) }); i >= 0 {
			return lines[i], nil
		}
	}
	out, err := ask(d.getent, table, name)
	var unknown *exitError
	switch {
	case errors.As(err, &unknown) || errors.Is(err, errNoProgram):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("cannot look up %q: %w", name, err)
	}
	line, _, _ := strings.Cut(out, "\n")
	// getent takes a number for an id; a line that answers another question is no answer.
	if field(line, 0) != name && !(numeric && field(line, 2) == name) && !caseInsensitive(line, name) {
		return "", nil
	}
	return line, nil
}

// caseInsensitive tells whether a directory answered with the same name in other letters or with its domain added, as
// SSSD does.
func caseInsensitive(line, name string) bool {
	got, _, _ := strings.Cut(field(line, 0), "@")
	want, _, _ := strings.Cut(name, "@")
	return got != "" && strings.EqualFold(got, want)
}

// groupsOf returns all groups of a user. The file alone decides only where the host's name service knows no other
// source of groups.
func (d database) groupsOf(u User) ([]int, error) {
	fromFile, known, err := d.groupsFromFile(u)
	if err != nil {
		return nil, err
	}
	if known && d.groupsOnlyInFiles() {
		return fromFile, nil
	}
	out, err := ask(d.id, "-G", u.Name)
	if err != nil {
		if known {
			return fromFile, nil // a directory that is down must not lock out a local user
		}
		return nil, fmt.Errorf("cannot find the groups of user %q: %w", u.Name, err)
	}
	groups := []int{u.GID}
	for f := range strings.FieldsSeq(out) {
		if gid, ok := parseID(f); ok && !slices.Contains(groups, gid) {
			groups = append(groups, gid)
		}
	}
	return groups, nil
}

// groupsFromFile returns the groups that /etc/group gives the user; known tells whether /etc/passwd has the user.
func (d database) groupsFromFile(u User) (groups []int, known bool, err error) {
	users, err := readLines(d.passwd)
	if err != nil {
		return nil, false, err
	}
	known = slices.ContainsFunc(users, func(l string) bool { return field(l, 0) == u.Name && wellFormed(l) })
	lines, err := readLines(d.group)
	if err != nil {
		return nil, false, err
	}
	groups = []int{u.GID}
	for _, l := range lines {
		_, gid, members, ok := parseGroup(l)
		if ok && slices.Contains(members, u.Name) && !slices.Contains(groups, gid) {
			groups = append(groups, gid)
		}
	}
	return groups, known, nil
}

// groupsOnlyInFiles reads nsswitch.conf: true when group membership comes from /etc/group and from local accounts that
// systemd makes up, and from nowhere else.
func (d database) groupsOnlyInFiles() bool {
	lines, err := readLines(d.nsswitch)
	if err != nil {
		return false
	}
	sources := "files"
	for _, l := range lines {
		l, _, _ = strings.Cut(l, "#")
		table, rest, ok := strings.Cut(strings.TrimSpace(l), ":")
		switch {
		case !ok:
		case table == "initgroups": // decides over "group" where it stands
			return onlyFiles(rest)
		case table == "group":
			sources = rest
		}
	}
	return onlyFiles(sources)
}

func onlyFiles(sources string) bool {
	for s := range strings.FieldsSeq(sources) {
		if s != "files" && s != "systemd" && !strings.HasPrefix(s, "[") && !strings.HasSuffix(s, "]") {
			return false
		}
	}
	return true
}

// plausible keeps names from getent that it would take for options or that cannot be names.
func plausible(name string) bool {
	return name != "" && !strings.HasPrefix(name, "-") && !strings.ContainsAny(name, ":\n\x00,")
}

// parseID reads a decimal user or group id. The largest 32-bit value is not one: the kernel takes it for "no change".
func parseID(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return int(n), err == nil && n != 1<<32-1 && s[0] != '+'
}
