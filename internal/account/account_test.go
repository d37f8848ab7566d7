package account

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fake returns a database on files of its own, whose programs answer from shell scripts and note how they were called.
func fake(t *testing.T, passwd, group, nsswitch, getent, id string) database {
	t.Helper()
	dir := t.TempDir()
	write := func(name, content string, perm os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), perm); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return database{
		passwd:   write("passwd", passwd, 0o644),
		group:    write("group", group, 0o644),
		nsswitch: write("nsswitch.conf", nsswitch, 0o644),
		getent:   write("getent", "#!/bin/sh\n"+getent, 0o755),
		id:       write("id", "#!/bin/sh\n"+id, 0o755),
	}
}

const (
	passwdFile = "root:x:0:0:root:/root:/bin/bash\n# a comment\n\n+::::::\n" +
		"app:x:1001:1002:App,,,:/srv/app:/usr/sbin/nologin\r\nbroken:x:abc:1::/:\nshort:x:1005:1005\n2000:x:3000:3000::/:/bin/sh\n"
	groupFile = "root:x:0:\napp:x:1002:\nwww:x:33:other,app\ndocker:x:990:app\nbroken:x:y:app\n"
	noAnswer  = "exit 2"
	anyAnswer = "echo asked >&2; exit 9"
)

func TestUserOfTheFiles(t *testing.T) {
	d := fake(t, passwdFile, groupFile, "group: files systemd\n", noAnswer, anyAnswer)
	for name, want := range map[string]User{
		"app":   {Name: "app", UID: 1001, GID: 1002, Home: "/srv/app", Shell: "/usr/sbin/nologin", Groups: []int{1002, 33, 990}},
		"1001":  {Name: "app", UID: 1001, GID: 1002, Home: "/srv/app", Shell: "/usr/sbin/nologin", Groups: []int{1002, 33, 990}},
		"short": {Name: "short", UID: 1005, GID: 1005, Home: "/", Shell: "/bin/sh", Groups: []int{1005}},
		// a name made of digits wins over the id
		"2000": {Name: "2000", UID: 3000, GID: 3000, Home: "/", Shell: "/bin/sh", Groups: []int{3000}},
		// an id without an account can own files but not run scripts
		"4711": {Name: "4711", UID: 4711, GID: -1, Home: "/", Shell: "/bin/sh"},
	} {
		got, err := d.lookupUser(name)
		if err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: (-want +got)\n%s", name, diff)
		}
	}
}

func TestUnknownUsers(t *testing.T) {
	d := fake(t, passwdFile, groupFile, "", noAnswer, noAnswer)
	for _, name := range []string{"", "nobody-here", "broken", "+", "-h", "a:b", "a\nb", "4294967295", "99999999999"} {
		var unknown *UnknownError
		if _, err := d.lookupUser(name); !errors.As(err, &unknown) {
			t.Errorf("user %q: error %v, want an unknown one", name, err)
		}
		if _, err := d.lookupGroup(name); !errors.As(err, &unknown) {
			t.Errorf("group %q: error %v, want an unknown one", name, err)
		}
	}
}

func TestGroups(t *testing.T) {
	d := fake(t, passwdFile, groupFile, "", `[ "$2" = ldapgroup ] && echo 'ldapgroup:*:5000:x' || exit 2`, noAnswer)
	for name, want := range map[string]int{"www": 33, "990": 990, "12345": 12345, "ldapgroup": 5000} {
		if got, err := d.lookupGroup(name); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", name, got, err, want)
		}
	}
}

func TestUserKnownOnlyToGetent(t *testing.T) {
	getent := `case "$1:$2" in passwd:alice) echo 'alice:*:70001:70000:Alice:/home/alice:/bin/zsh';; passwd:Bob) echo 'bob@corp:*:7:8::/:';; *) exit 2;; esac`
	d := fake(t, passwdFile, groupFile, "group: files sss\n", getent, `[ "$1 $2" = "-G alice" ] && echo 70000 33 70002 || echo 8`)
	got, err := d.lookupUser("alice")
	want := User{Name: "alice", UID: 70001, GID: 70000, Home: "/home/alice", Shell: "/bin/zsh", Groups: []int{70000, 33, 70002}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("error %v (-want +got)\n%s", err, diff)
	}
	if got, err := d.lookupUser("Bob"); err != nil || got.UID != 7 {
		t.Errorf("a directory that answers with its own spelling: %+v, %v", got, err)
	}
}

func TestLocalUserKeepsGroupsOfADirectory(t *testing.T) {
	for _, nsswitch := range []string{"group: files sss\n", "group: files\ninitgroups: files ldap\n", "group:sss [SUCCESS=merge] files\n"} {
		d := fake(t, passwdFile, groupFile, nsswitch, noAnswer, "echo 1002 33 990 80000")
		got, err := d.lookupUser("app")
		if diff := cmp.Diff([]int{1002, 33, 990, 80000}, got.Groups); diff != "" || err != nil {
			t.Errorf("%q: error %v (-want +got)\n%s", nsswitch, err, diff)
		}
		d = fake(t, passwdFile, groupFile, nsswitch, noAnswer, "exit 1")
		got, err = d.lookupUser("app")
		if diff := cmp.Diff([]int{1002, 33, 990}, got.Groups); diff != "" || err != nil {
			t.Errorf("%q, directory down: error %v (-want +got)\n%s", nsswitch, err, diff)
		}
	}
}

func TestNoFilesAndNoPrograms(t *testing.T) {
	d := database{passwd: "/nonexistent/a", group: "/nonexistent/b", nsswitch: "/nonexistent/c", getent: "no-such-getent", id: "no-such-id"}
	var unknown *UnknownError
	if _, err := d.lookupUser("app"); !errors.As(err, &unknown) {
		t.Errorf("error %v", err)
	}
}

func TestRootOfThisHost(t *testing.T) {
	u, err := LookupUser("root")
	if err != nil || u.UID != 0 || u.Groups[0] != 0 {
		t.Errorf("%+v, %v", u, err)
	}
}

func FuzzPasswdLine(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/bash")
	f.Add("+::::::")
	f.Add(":::::::")
	f.Fuzz(func(t *testing.T, line string) {
		if u, ok := parseUser(line); ok && (u.UID < 0 || u.GID < 0 || u.Home == "" || u.Shell == "") {
			t.Errorf("%q gave %+v", line, u)
		}
		if _, gid, _, ok := parseGroup(line); ok && gid < 0 {
			t.Errorf("%q gave group %d", line, gid)
		}
	})
}
