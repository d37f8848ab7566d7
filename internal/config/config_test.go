package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "codedeployagent.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// with returns the defaults with a change.
func with(change func(*Config)) *Config {
	c := Default()
	change(c)
	return c
}

func TestFilesOfOlderAgentsMeanTheSame(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       *Config
	}{
		{"nothing", "", Default()},
		{"comments only", "# nothing\n", Default()},
		{"the document mark alone", "---\n", Default()},
		{"the file of the 1.x packages", `---
:log_aws_wire: false
:log_dir: '/var/log/aws/codedeploy-agent/'
:pid_dir: '/opt/codedeploy-agent/state/.pid/'
:program_name: codedeploy-agent
:root_dir: '/opt/codedeploy-agent/deployment-root'
:on_premises_config_file: '/etc/codedeploy-agent/conf/codedeploy.onpremises.yml'
:verbose: false
:wait_between_runs: 1
:proxy_uri:
:max_revisions: 5
`, with(func(c *Config) {
			c.LogDir, c.PIDDir, c.WaitBetweenRuns = "/var/log/aws/codedeploy-agent/", "/opt/codedeploy-agent/state/.pid/", time.Second
		})},
		{"keys without the colon", "max_revisions: 7\nverbose: true\n", with(func(c *Config) { c.MaxRevisions, c.Verbose = 7, true })},
		{"numbers as texts", "max_revisions: \"7\"\nwait_between_runs: '2'\n", with(func(c *Config) { c.MaxRevisions, c.WaitBetweenRuns = 7, 2*time.Second })},
		{"truth values of YAML 1.1", "verbose: yes\nenable_deployments_log: off\n", with(func(c *Config) { c.Verbose, c.EnableDeploymentsLog = true, false })},
		{"Windows line ends and a byte order mark", "\ufeffverbose: true\r\nmax_revisions: 3\r\n", with(func(c *Config) { c.Verbose, c.MaxRevisions = true, 3 })},
		{"an alias", "pid_dir: &d /srv\nroot_dir: *d\n", with(func(c *Config) { c.PIDDir, c.RootDir = "/srv", "/srv" })},
		{"keys that only 1.x has", "children: 1\nmax_runs_per_worker: 3\nwait_after_error: 30\n", Default()},
		{"2.x's limit of an archive", "archive_max_extraction_size: 4GB\n", with(func(c *Config) { c.ArchiveMaxBytes = 4e9 })},
		{"2.x's list of allowed variables", "restrict_hook_env_to_allowlist: true\n", with(func(c *Config) { c.HookEnvironment = HookEnvironmentClean })},
		{"binary units", "archive_max_bytes: 1 GiB\nmax_revisions_bytes: 512mib\n", with(func(c *Config) { c.ArchiveMaxBytes, c.MaxRevisionsBytes = 1<<30, 512<<20 })},
		{"times with a unit", "max_revisions_age: 7d\nhook_kill_grace_seconds: 1m\n", with(func(c *Config) { c.MaxRevisionsAge, c.HookKillGrace = 7*24*time.Hour, time.Minute })},
		{"fractions of a second", "wait_between_runs: 0.5\n", with(func(c *Config) { c.WaitBetweenRuns = 500 * time.Millisecond })},
		{"an endpoint without a scheme", "s3_endpoint_override: s3.example.com\n", with(func(c *Config) { c.S3EndpointOverride = "https://s3.example.com" })},
		{"a proxy without a scheme", "proxy_uri: proxy:3128\n", with(func(c *Config) { c.ProxyURI = "http://proxy:3128" })},
		{"an endpoint on loopback", "deploy_control_endpoint: http://127.0.0.1:4711\n", with(func(c *Config) { c.DeployControlEndpoint = "http://127.0.0.1:4711" })},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := write(t, tc.text)
			got, findings, err := Load(path)
			if err != nil {
				t.Fatal(err)
			}
			if len(findings) > 0 {
				t.Errorf("findings: %v", findings)
			}
			tc.want.File = path
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOneSwitchBringsBackTheOldWays(t *testing.T) {
	got, findings, err := Load(write(t, "keep_bundles: false\ncompatibility: 1.x\n"))
	if err != nil || findings != nil {
		t.Fatal(err, findings)
	}
	if !got.Compat1x() || got.DisableIMDSv1 || got.IgnoreOwnershipInBundle {
		t.Errorf("%+v", got)
	}
	if got.KeepBundles {
		t.Error("a key that the file sets goes before the switch, wherever it stands")
	}
}

func TestFindings(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"a slip of the finger", "max_revisons: 3\n", `F:1:1: warning: max_revisons: the key is unknown and has no effect (did you mean "max_revisions"?)`},
		{"a slip behind a colon", "---\n:verbos: true\n", `F:2:1: warning: verbos: the key is unknown and has no effect (did you mean "verbose"?)`},
		{"an unknown key", "colour: blue\n", "F:1:1: warning: colour: the key is unknown and has no effect"},
		{"a key twice", "max_revisions: 3\nmax_revisions: 4\n", "F:2:1: warning: max_revisions: the key is there twice; this value is used, not the one in line 1"},
		{"a word for a number", "max_revisions: many\n", `F:1:16: error: max_revisions: "many" is not a whole number from 1 on`},
		{"no revisions", "max_revisions: 0\n", `F:1:16: error: max_revisions: "0" is not a whole number from 1 on`},
		{"half a revision", "max_revisions: 1.5\n", `F:1:16: error: max_revisions: "1.5" is not a whole number from 1 on`},
		{"a word for a time", "\nwait_between_runs: soon\n", `F:2:20: error: wait_between_runs: "soon" is not a number of seconds, or one with a unit like "90s", "30m", "12h" or "7d"`},
		{"a negative time", "wait_between_runs: -1\n", `F:1:20: error: wait_between_runs: "-1" is not a number of seconds, or one with a unit like "90s", "30m", "12h" or "7d"`},
		{"no pause between polls", "wait_between_runs: 0\n", "F:1:20: warning: wait_between_runs: 0 is out of bounds; 0.1 seconds are used"},
		{"too long a wait", "kill_agent_max_wait_time_seconds: 1000000\n", "F:1:35: warning: kill_agent_max_wait_time_seconds: 1000000 is out of bounds; 86400 seconds are used"},
		{"maybe", "verbose: maybe\n", `F:1:10: error: verbose: "maybe" is not true or false`},
		{"a list for a path", "root_dir: [/srv]\n", "F:1:11: error: root_dir: a list is not an absolute path"},
		{"keys for a number", "max_revisions:\n  a: 1\n", "F:2:3: error: max_revisions: a group of keys is not a whole number from 1 on"},
		{"a relative path", "root_dir: srv\n", `F:1:11: warning: root_dir: "srv" is a relative path; it depends on where the agent is started`},
		{"a name that is a path", "program_name: ../agent\n", `F:1:15: error: program_name: "../agent" is not a name without slashes`},
		{"a size with a fraction", "archive_max_bytes: 1.5GB\n", `F:1:20: error: archive_max_bytes: "1.5GB" is not a number of bytes, or one with a unit like "4GB" or "1GiB"`},
		{"a size beyond all", "archive_max_bytes: 9999999TB\n", `F:1:20: error: archive_max_bytes: "9999999TB" is not a number of bytes, or one with a unit like "4GB" or "1GiB"`},
		{"another version", "compatibility: 2.x\n", `F:1:16: error: compatibility: "2.x" is not "" or "1.x"`},
		{"an ftp endpoint", "deploy_control_endpoint: ftp://x\n", `F:1:26: error: deploy_control_endpoint: "ftp://x" is not a URL with http or https`},
		{"an open endpoint", "deploy_control_endpoint: http://x\n", "F:1:26: warning: deploy_control_endpoint: what goes over http can be read and changed on its way; use https"},
		{"a bad proxy with a password", "proxy_uri: gopher://me:hidden@x\n", `F:1:12: error: proxy_uri: the value is not a URL like "http://proxy.example.com:3128"`},
		{"a user", "user: deploy\n", "F:1:1: warning: user: the agent runs as the user that starts it; set User= in the systemd unit"},
		{"unverified certificates", "ssl_verify_peer: false\n", "F:1:1: warning: ssl_verify_peer: certificates are always verified; an own authority's certificate goes into a file named by SSL_CERT_FILE or AWS_CA_BUNDLE"},
		{"hardening that is missing", "enable_command_port: true\n", "F:1:1: warning: enable_command_port: this agent does not have this; the key has no effect"},
		{"a tab", "a:\n\tb: 1\n", "F:2:2: error: the file is no valid YAML: found character that cannot start any token (indent with blanks, not with tabs)"},
		{"a list of keys", "- verbose: true\n", `F:1:1: error: the file does not consist of keys and values (each line looks like "max_revisions: 5")`},
		{"a sentence", "hello\n", `F:1:1: error: the file does not consist of keys and values (each line looks like "max_revisions: 5")`},
		{"no blank after the colon", "verbose:true\nx: 1\n", "F:2:1: error: the file is no valid YAML: mapping values are not allowed in this context"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := write(t, tc.text)
			_, findings, err := Load(path)
			var got []string
			for _, f := range findings {
				f.File = "F"
				got = append(got, f.String())
			}
			if strings.Join(got, "\n") != tc.want {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), tc.want)
			}
			if (err != nil) != strings.Contains(tc.want, " error: ") {
				t.Errorf("error %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "hidden") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

func TestWhichFileIsRead(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first.yml"), filepath.Join(dir, "second.yml")
	old := standardFiles
	standardFiles = []string{first, second}
	t.Cleanup(func() { standardFiles = old })

	check := func(explicit, want string, wantExplicit bool) {
		t.Helper()
		path, given, err := Find(explicit)
		if err != nil || path != want || given != wantExplicit {
			t.Errorf("Find(%q) = %q, %v, %v", explicit, path, given, err)
		}
	}
	check("", "", false)
	for _, path := range []string{second, first} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		check("", path, false)
	}
	check(second, second, true)
	if _, _, err := Find(filepath.Join(dir, "absent.yml")); err == nil {
		t.Error("an explicit file that is absent must be an error")
	}
	if _, _, err := Load(dir); err == nil {
		t.Error("a directory must be an error")
	}
}

func TestSettingsHideAPassword(t *testing.T) {
	c, _, err := Load(write(t, "proxy_uri: http://me:hidden@proxy:3128\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range c.Settings() {
		if strings.Contains(s.Value, "hidden") {
			t.Errorf("%+v", s)
		}
		if s.Default != (s.Key != "proxy_uri") {
			t.Errorf("%+v", s)
		}
	}
}
