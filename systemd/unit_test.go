package systemd

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const unitFile = "codedeploy-agent.service"

// directive is one "Key=value" of a unit file with its section.
type directive struct{ section, key, value string }

func readUnit(t *testing.T) []directive {
	t.Helper()
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	var ds []directive
	section := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[]")
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			t.Fatalf("no directive: %q", line)
		}
		ds = append(ds, directive{section, key, value})
	}
	return ds
}

// inherited are the directives that change what a hook script may do or see. Hooks are started by the agent, so they
// would inherit them, and a deployment that worked with the old agents would fail.
var inherited = regexp.MustCompile(`^(Private|Protect|Restrict|Limit|Memory|Tasks|CPU|IO|Device|SystemCall|Capability|Ambient|` +
	`Secure|Inaccessible|ReadOnly|ReadWrite|Exec(Paths)$|NoExec|Temporary|BindPaths|BindReadOnly|Root|Mount|Umask|UMask|` +
	`NoNewPrivileges|LockPersonality|Personality|Keyring|RemoveIPC|DynamicUser|User$|Group$|Supplementary|Environment|` +
	`PassEnvironment|UnsetEnvironment|WorkingDirectory|Nice|OOMScoreAdjust|NUMA|TimerSlack|Standard|TTY|PAM|SELinuxContext|` +
	`AppArmor|Smack|Delegate|Slice|ProcSubset|IgnoreSIGPIPE|SocketBind|IPAddress|NetworkNamespace|IPCNamespace|LogNamespace|` +
	`State|Cache|Logs|Runtime|Configuration)`)

func TestUnitSetsNothingThatHooksWouldInherit(t *testing.T) {
	for _, d := range readUnit(t) {
		if d.section == "Service" && inherited.MatchString(d.key) {
			t.Errorf("%s=%s reaches every hook script", d.key, d.value)
		}
	}
}

func TestUnitIsNeverOrderedAfterCloudInit(t *testing.T) {
	for _, d := range readUnit(t) {
		if d.section != "Unit" || d.key == "Description" || d.key == "Documentation" {
			continue
		}
		if strings.Contains(d.value, "cloud") {
			t.Errorf("%s=%s: user data that starts the agent runs inside cloud-init", d.key, d.value)
		}
	}
}

func TestUnitKeepsItsPromises(t *testing.T) {
	ds := readUnit(t)
	for _, want := range []directive{
		{"Unit", "Wants", "network-online.target"},
		{"Unit", "StartLimitIntervalSec", "0"},
		{"Service", "Type", "notify"},
		{"Service", "NotifyAccess", "main"},
		{"Service", "Restart", "always"},
		{"Service", "KillMode", "process"},
		{"Service", "TimeoutStopSec", "infinity"},
		{"Service", "ExecStart", "/opt/codedeploy-agent/bin/codedeploy-agent run --config-file /etc/codedeploy-agent/conf/codedeployagent.yml"},
		{"Install", "WantedBy", "multi-user.target"},
	} {
		if !slices.Contains(ds, want) {
			t.Errorf("[%s] %s=%s is missing", want.section, want.key, want.value)
		}
	}
	for _, d := range ds {
		if d.key == "ExecStop" || d.key == "ExecStartPre" || d.key == "PIDFile" {
			t.Errorf("%s=%s: nothing may stand between systemd and the agent", d.key, d.value)
		}
	}
}

// newer are the directives that a systemd of the minimum version does not know and ignores with a line in the journal.
var newer = map[string]int{"RestartSteps": 254, "RestartMaxDelaySec": 254, "TimeoutAbortSec": 243, "OOMPolicy": 243}

func TestUnitIsAcceptedBySystemd(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("NOT RUN HERE (needs systemd-analyze; the tests of internal/lab run it in a guest)")
	}
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	// The program need not be installed for this.
	text = []byte(strings.ReplaceAll(string(text), "/opt/codedeploy-agent/bin/codedeploy-agent", "/bin/true"))
	path := t.TempDir() + "/" + unitFile
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemd-analyze", "--man=no", "verify", path).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	unknown := regexp.MustCompile(`Unknown (?:key(?: name)?|lvalue) '(\w+)'`)
	for line := range strings.Lines(string(out)) {
		if m := unknown.FindStringSubmatch(line); m != nil && newer[m[1]] > 0 {
			continue
		}
		if strings.Contains(line, unitFile) {
			t.Errorf("systemd-analyze: %s", line)
		}
	}
}
