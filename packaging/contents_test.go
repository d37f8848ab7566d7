package packaging

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// wantInRPM is what the rpm holds: type and mode, path, and what is special about it.
const wantInRPM = `
drwxr-xr-x /etc/codedeploy-agent
drwxr-xr-x /etc/codedeploy-agent/conf
-rw-r--r-- /etc/codedeploy-agent/conf/codedeployagent.yml config noreplace
drwxr-xr-x /opt/codedeploy-agent
-rw-r--r-- /opt/codedeploy-agent/.version
drwxr-xr-x /opt/codedeploy-agent/bin
-rwxr-xr-x /opt/codedeploy-agent/bin/codedeploy-agent
link       /opt/codedeploy-agent/bin/codedeploy-local -> codedeploy-agent
drwxr-xr-x /opt/codedeploy-agent/deployment-root
drwxr-xr-x /opt/codedeploy-agent/state
drwxr-xr-x /opt/codedeploy-agent/state/.pid
link       /usr/bin/codedeploy-agent -> /opt/codedeploy-agent/bin/codedeploy-agent
link       /usr/bin/codedeploy-local -> /opt/codedeploy-agent/bin/codedeploy-local
-rw-r--r-- /usr/lib/systemd/system/codedeploy-agent.service
drwxr-xr-x /usr/share/doc/codedeploy-agent
-rw-r--r-- /usr/share/doc/codedeploy-agent/CHANGELOG.md doc
-rw-r--r-- /usr/share/doc/codedeploy-agent/sbom.cdx.json doc
drwxr-xr-x /usr/share/licenses/codedeploy-agent
-rw-r--r-- /usr/share/licenses/codedeploy-agent/LICENSE license
drwxr-xr-x /var/log/aws
drwxr-xr-x /var/log/aws/codedeploy-agent
`

// packageLimit is how large a package may be, in bytes.
const packageLimit = 7_000_000

func TestPackages(t *testing.T) {
	needs(t, "rpm", "dpkg-deb")
	a, b := built{t.TempDir(), "3.2.1"}, built{t.TempDir(), "3.2.1"}
	for _, p := range []built{a, b} {
		runBuild(t, "VERSION="+p.version, "DIST="+p.dir, "ARCHES="+runtime.GOARCH, "SIGNING_KEY=")
	}

	t.Run("the same source gives the same bytes", func(t *testing.T) {
		if diff := cmp.Diff(string(read(t, a.dir, "SHA256SUMS")), string(read(t, b.dir, "SHA256SUMS"))); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("rpm", func(t *testing.T) {
		out := run(t, nil, "rpm", "-qp", "--nosignature", "--queryformat", `[%{FILEMODES:perms}|%{FILENAMES}|%{FILEFLAGS:fflags}|%{FILELINKTOS}\n]`, a.rpm())
		var got strings.Builder
		for line := range strings.Lines(out) {
			f := strings.Split(strings.TrimSuffix(line, "\n"), "|")
			switch {
			case f[3] != "":
				got.WriteString("link       " + f[1] + " -> " + f[3])
			default:
				got.WriteString(f[0] + " " + f[1] + map[string]string{"cn": " config noreplace", "l": " license", "d": " doc", "": ""}[f[2]])
			}
			got.WriteString("\n")
		}
		if diff := cmp.Diff(strings.TrimPrefix(wantInRPM, "\n"), got.String()); diff != "" {
			t.Error(diff)
		}
		for requirement := range strings.Lines(run(t, nil, "rpm", "-qp", "--nosignature", "--requires", a.rpm())) {
			if !strings.HasPrefix(requirement, "rpmlib(") && strings.TrimSpace(requirement) != "/bin/sh" {
				t.Errorf("it requires %s", requirement)
			}
		}
		if got := run(t, nil, "rpm", "-qp", "--nosignature", "--queryformat", "%{NAME} %{VERSION} %{RELEASE} %{ARCH} %{LICENSE} %{BUILDHOST}", a.rpm()); got !=
			"codedeploy-agent 3.2.1 1 "+rpmArch()+" Apache-2.0 localhost" {
			t.Errorf("got %q", got)
		}
	})

	t.Run("deb", func(t *testing.T) {
		if got := run(t, nil, "dpkg-deb", "-f", a.deb(), "Package", "Version", "Architecture", "Depends", "Pre-Depends"); got !=
			"Package: codedeploy-agent\nVersion: 3.2.1-1\nArchitecture: "+runtime.GOARCH+"\n" {
			t.Errorf("got %q", got)
		}
		if got := run(t, nil, "dpkg-deb", "--info", a.deb(), "conffiles"); got != "/etc/codedeploy-agent/conf/codedeployagent.yml\n" {
			t.Errorf("conffiles: %q", got)
		}
		list := run(t, nil, "dpkg-deb", "-c", a.deb())
		for _, want := range []string{"./lib/systemd/system/codedeploy-agent.service", "./usr/bin/codedeploy-agent -> /opt/", "./usr/share/doc/codedeploy-agent/copyright"} {
			if !strings.Contains(list, want) {
				t.Errorf("%q is missing in\n%s", want, list)
			}
		}
	})

	t.Run("size", func(t *testing.T) {
		for _, f := range []string{a.rpm(), a.deb()} {
			if info, err := os.Stat(f); err != nil || info.Size() > packageLimit {
				t.Errorf("%s: %v, %v bytes", filepath.Base(f), err, info.Size())
			}
		}
	})

	t.Run("lintian", func(t *testing.T) {
		needs(t, "lintian")
		if out, err := try(nil, "lintian", "--fail-on", "error", a.deb()); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})

	t.Run("rpmlint", func(t *testing.T) {
		needs(t, "rpmlint")
		if os.Geteuid() != 0 {
			t.Skip("NOT RUN HERE (needs root)")
		}
		// It unpacks the rpm by names that start at the root, so it gets a root of its own.
		script := `mount -t tmpfs lint /mnt && mkdir /mnt/up /mnt/work /mnt/root &&
			mount -t overlay lint -o lowerdir=/,upperdir=/mnt/up,workdir=/mnt/work /mnt/root &&
			cp "$1" rpmlintrc /mnt/root/ && exec chroot /mnt/root rpmlint -r /rpmlintrc "/$2"`
		out, _ := try(nil, "unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", a.rpm(), a.rpmName())
		if !strings.Contains(out, "1 packages and 0 specfiles checked") {
			t.Fatalf("it did not run: %s", out)
		}
		for line := range strings.Lines(out) {
			if strings.Contains(line, " E: ") {
				t.Error(line)
			}
		}
	})

	t.Run("bill of materials", func(t *testing.T) {
		var bill struct {
			BOMFormat  string
			Components []struct {
				Name, Version string
				Licenses      []struct{ Expression string }
			}
		}
		if err := json.Unmarshal(read(t, a.dir, "codedeploy-agent-3.2.1."+runtime.GOARCH+".cdx.json"), &bill); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, c := range bill.Components {
			got[c.Name] = c.Version
			if len(c.Licenses) != 1 || c.Licenses[0].Expression == "" {
				t.Errorf("%s has no licence", c.Name)
			}
		}
		want := map[string]string{"stdlib": strings.TrimPrefix(runtime.Version(), "go")}
		program := filepath.Join(t.TempDir(), "agent")
		run(t, nil, "sh", "-c", "dpkg-deb --fsys-tarfile "+a.deb()+" | tar -xOf - ./opt/codedeploy-agent/bin/codedeploy-agent >"+program)
		for line := range strings.Lines(run(t, nil, "go", "version", "-m", program)) {
			if f := strings.Fields(line); len(f) >= 3 && f[0] == "dep" {
				want[f[1]] = f[2]
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || len(want) < 5 {
			t.Errorf("%v %s", slices.Sorted(maps.Keys(want)), diff)
		}
	})
}

func TestBuildSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name string
		env  []string
		want string
	}{
		{"half a version", []string{"VERSION=3.0"}, `"3.0" is no version`},
		{"no such key", []string{"VERSION=3.0.0", "SIGNING_KEY=/no/key"}, `cannot read the signing key "/no/key"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := fails(t, append(c.env, "DIST="+t.TempDir()), "./build")
			if !strings.Contains(out, c.want) {
				t.Errorf("it says %q, want %q", out, c.want)
			}
		})
	}
}
