package hooks

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"codedeploy-agent/appspec"
)

// bench is a deployment on disk whose scripts a test writes.
type bench struct {
	t    *testing.T
	root string
	req  Request
}

var nopLog = zap.NewNop()

const thisDeployment = "d-TEST12345"

func newBench(t *testing.T) *bench {
	t.Helper()
	// Not t.TempDir: its parents are closed to other users, and runas needs to come through.
	root, err := os.MkdirTemp("", "hooks-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // the script of a runner that was killed may still be writing there
		eventually(t, "an end of "+root, func() bool { return os.RemoveAll(root) == nil })
	})
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	deployment := filepath.Join(root, "group", thisDeployment)
	l := &bench{t: t, root: root, req: Request{
		Event:          AfterInstall,
		Archive:        filepath.Join(deployment, "deployment-archive"),
		DeploymentID:   thisDeployment,
		Variables:      []string{"DEPLOYMENT_ID=" + thisDeployment, "APPLICATION_NAME=shop"},
		ScriptsLog:     filepath.Join(deployment, "logs", "scripts.log"),
		DeploymentsLog: filepath.Join(root, "deployment-logs", "all.log"),
		Record:         filepath.Join(root, "records", "1"),
		Options:        Options{KillGrace: 300 * time.Millisecond, Drain: 400 * time.Millisecond},
	}}
	if err := os.MkdirAll(l.req.Archive, 0o755); err != nil {
		t.Fatal(err)
	}
	return l
}

// script adds an executable script to the revision and to the event.
func (l *bench) script(location, content string) *bench {
	l.t.Helper()
	l.file(location, content, 0o755)
	l.req.Scripts = append(l.req.Scripts, appspec.Script{Location: location, Timeout: time.Minute})
	return l
}

// sh adds a script for /bin/sh.
func (l *bench) sh(location, content string) *bench {
	l.t.Helper()
	return l.script(location, "#!/bin/sh\n"+content+"\n")
}

func (l *bench) file(location, content string, perm os.FileMode) {
	l.t.Helper()
	path := filepath.Join(l.req.Archive, location)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), perm); err != nil {
		l.t.Fatal(err)
	}
	if err := os.Chmod(path, perm); err != nil {
		l.t.Fatal(err)
	}
}

// misbehave adds a script that is the test binary in one of its parts.
func (l *bench) misbehave(location, part string, args ...string) *bench {
	l.t.Helper()
	return l.sh(location, fmt.Sprintf("exec '%s' misbehave %s %s", self(l.t), part, strings.Join(args, " ")))
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// last changes the script that was added last.
func (l *bench) last(change func(*appspec.Script)) *bench {
	change(&l.req.Scripts[len(l.req.Scripts)-1])
	return l
}

func (l *bench) start() *Execution {
	l.t.Helper()
	e, err := Start(l.t.Context(), l.req, zap.NewNop())
	if err != nil {
		l.t.Fatal(err)
	}
	return e
}

func (l *bench) run() Result {
	l.t.Helper()
	res := waitFor(l.t, l.start())
	if b, _ := os.ReadFile(record(l.req.Record).runnerLog()); len(b) > 0 {
		l.t.Logf("the runner complains: %s", b)
	}
	return res
}

func waitFor(t *testing.T, e *Execution) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	res, err := e.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// again makes the bench ready for another execution of the same scripts.
func (l *bench) again() {
	n, _ := strconv.Atoi(filepath.Base(l.req.Record))
	l.req.Record = filepath.Join(filepath.Dir(l.req.Record), strconv.Itoa(n+1))
}

func (l *bench) path(name string) string { return filepath.Join(l.root, name) }

func (l *bench) read(path string) string {
	l.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		l.t.Fatal(err)
	}
	return string(b)
}

// runnerPID waits until the runner has recorded itself.
func (l *bench) runnerPID() int {
	l.t.Helper()
	var s started
	eventually(l.t, "a started record", func() (ok bool) {
		var err error
		s, err = readJSON[started](record(l.req.Record).started())
		return err == nil
	})
	return s.PID
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("there is never %s", what)
		}
	}
}

func alive(pid int) bool {
	fields, err := processStat(pid)
	return err == nil && fields[0] != "Z"
}

// pidIn waits for a file with a process id and sees to it that the process does not outlive the test.
func (l *bench) pidIn(name string) int {
	l.t.Helper()
	var pid int
	eventually(l.t, "a process id in "+name, func() bool {
		b, _ := os.ReadFile(l.path(name))
		pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
		return pid > 0 && strings.HasSuffix(string(b), "\n")
	})
	start, err := processStart(pid)
	if err == nil {
		l.t.Cleanup(func() {
			if now, err := processStart(pid); err == nil && now == start {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		})
	}
	return pid
}

// needsRoot says loudly what is not tested.
func needsRoot(t *testing.T, why string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Logf("NOT RUN HERE (needs root): %s", why)
		fmt.Fprintf(os.Stderr, "NOT RUN HERE (needs root): %s: %s\n", t.Name(), why)
		t.SkipNow()
	}
}

// agentMain is an agent.
//
//	start                   starts the request on its standard input and waits for its end
//	attach RECORD           waits for the end of a hook that another has started, and prints the result
//	reexec RECORD UP GO     starts the request, replaces its own image once the file UP is there, and makes the file GO
//	again RECORD GO         is what it is replaced by
func agentMain(args []string) int {
	switch args[0] {
	case "attach":
		return agentAttach(args[1])
	case "again":
		ReapInherited()
		_ = os.WriteFile(args[2], nil, 0o644)
		code := agentAttach(args[1])
		for deadline := time.Now().Add(10 * time.Second); len(children()) > 0 && time.Now().Before(deadline); {
			time.Sleep(5 * time.Millisecond)
		}
		fmt.Println("children left:", len(children()))
		return code
	}
	var req Request
	if err := json.NewDecoder(os.Stdin).Decode(&req); err != nil {
		fmt.Println("no request:", err)
		return 1
	}
	e, err := Start(context.Background(), req, zap.NewNop())
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if args[0] == "reexec" {
		for !exists(args[2]) {
			time.Sleep(5 * time.Millisecond)
		}
		fmt.Println(unix.Exec("/proc/self/exe", []string{os.Args[0], "test-agent", "again", args[1], args[3]}, os.Environ()))
		return 1
	}
	fmt.Println("started")
	_, _ = e.Wait(context.Background())
	fmt.Println("ended")
	return 0
}

func agentAttach(record string) int {
	e, err := Attach(record)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	res, err := e.Wait(context.Background())
	if err != nil {
		fmt.Println(err)
		return 1
	}
	_ = json.NewEncoder(os.Stdout).Encode(res)
	return 0
}

// agentCommand is an agent that starts the hook.
func (l *bench) agentCommand() *exec.Cmd {
	l.t.Helper()
	request, err := json.Marshal(l.req)
	if err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.Command(self(l.t), "test-agent", "start")
	cmd.Stdin = strings.NewReader(string(request))
	return cmd
}

// otherAgent starts the hook from another process and returns it once the hook is started.
func (l *bench) otherAgent() *exec.Cmd {
	l.t.Helper()
	cmd := l.agentCommand()
	out, err := cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	said := make([]byte, len("started\n"))
	if _, err := io.ReadFull(out, said); err != nil || string(said) != "started\n" {
		rest, _ := io.ReadAll(out)
		l.t.Fatalf("the other agent says %q%q, %v", said, rest, err)
	}
	return cmd
}
