package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"codedeploy-agent/internal/stub"
	"codedeploy-agent/internal/stub/fault"
)

// chaos is a source of trouble that can be had again: CODEDEPLOY_TEST_SEED plays a run once more.
type chaos struct {
	*rand.Rand
	*world
}

// commandFaults are the ways in which the service can fail an agent without meaning it. Refusals for good are not among
// them: they end a command.
var commandFaults = []fault.Fault{
	{Kind: fault.Status, Status: 500},
	{Kind: fault.Status, Status: 503, Code: "ServiceUnavailableException"},
	{Kind: fault.Status, Status: 403, Code: "ExpiredTokenException"},
	{Kind: fault.Throttle},
	{Kind: fault.Throttle, RetryAfter: time.Second},
	{Kind: fault.Reset},
	{Kind: fault.Lost},
	{Kind: fault.Delay, Delay: 700 * time.Millisecond},
	{Kind: fault.Hang},
	{Kind: fault.Garbage},
	{Kind: fault.Garbage, Status: 502, Body: "<html>bad gateway</html>"},
	{Kind: fault.Garbage, Status: 302, Body: "log in first"},
	{Kind: fault.Cut, After: 7},
	{Kind: fault.Truncate, After: 7},
	{Kind: fault.WrongLength, After: 7},
	{Kind: fault.Stall, After: 7, Delay: 500 * time.Millisecond},
	{Kind: fault.Rate, Rate: 4000},
}

// bundleFaults are those of S3 that a download gets over.
var bundleFaults = []fault.Fault{
	{Kind: fault.Status, Status: 503, Code: "SlowDown"},
	{Kind: fault.Status, Status: 500, Code: "InternalError"},
	{Kind: fault.Reset},
	{Kind: fault.Delay, Delay: 300 * time.Millisecond},
	{Kind: fault.Cut, After: 100},
	{Kind: fault.Truncate, After: 100},
	{Kind: fault.Stall, After: 100, Delay: 500 * time.Millisecond},
}

// trouble puts some faults in force, each for a few requests.
func (c *chaos) trouble() {
	operations := []string{"PollHostCommand", "GetDeploymentSpecification", "PutHostCommandAcknowledgement", "PutHostCommandComplete"}
	for range c.IntN(6) {
		f := commandFaults[c.IntN(len(commandFaults))]
		f.Service, f.Operation = "commands", operations[c.IntN(len(operations))]
		if c.IntN(5) == 0 {
			f = bundleFaults[c.IntN(len(bundleFaults))]
			f.Service = "s3"
		}
		f.Skip, f.Count = c.IntN(3), 1+c.IntN(2)
		if _, err := c.server.Fault(f); err != nil {
			c.Fatal(err)
		}
	}
}

// disturb does something to the agent itself.
func (c *chaos) disturb() {
	switch c.IntN(8) {
	case 0:
		c.kill()
		c.startAgain()
	case 1:
		c.signal(syscall.SIGTERM)
		c.exitCode()
		c.startAgain()
	case 2:
		c.signal(syscall.SIGHUP)
	}
}

// startAgain returns when the agent handles signals.
func (c *chaos) startAgain() {
	c.Helper()
	before := c.countInLog("The agent starts.")
	c.start()
	c.await("the start", func() bool { return c.countInLog("The agent starts.") > before })
}

// finishUnderTrouble disturbs the agent until the deployment has ended.
func (c *chaos) finishUnderTrouble(d *stub.Deployment) stub.DeploymentInfo {
	c.Helper()
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); {
		ctx, cancel := context.WithTimeout(c.Context(), time.Duration(200+c.IntN(2500))*time.Millisecond)
		info, err := d.Wait(ctx)
		cancel()
		if err == nil {
			return info
		}
		c.disturb()
	}
	c.Fatalf("the deployment does not end: %+v\nfaults: %+v", d.Info(), c.server.Faults())
	return stub.DeploymentInfo{}
}

// TestChaos deploys again and again while the service fails in random ways and the agent is killed, stopped and reloaded:
// every deployment ends with a true report, no command gets two different ones, no hook runs twice.
func TestChaos(t *testing.T) {
	seed := uint64(times(t, "CODEDEPLOY_TEST_SEED", int(time.Now().UnixNano()>>10)))
	seconds := times(t, "CODEDEPLOY_TEST_CHAOS_SECONDS", 20)
	t.Logf("CODEDEPLOY_TEST_SEED=%d", seed)
	c := &chaos{
		Rand:  rand.New(rand.NewPCG(seed, 0)),
		world: newWorld(t, stub.Options{LongPoll: 300 * time.Millisecond}, map[string]any{"wait_between_runs": "0.1", "http_read_timeout": 2}),
	}
	c.startAgain()
	rounds := 0
	for began := time.Now(); time.Since(began) < time.Duration(seconds)*time.Second && !t.Failed(); rounds++ {
		c.round(rounds)
	}
	t.Logf("%d deployments", rounds)
	c.signal(syscall.SIGTERM)
	c.exitCode()
	c.oneReport()
	for _, command := range c.server.Commands() {
		if !command.Status.Ended() {
			t.Errorf("%s was never reported", command.Name)
		}
	}
	c.nothingLeft()
}

// round plays one deployment and compares what was reported with what has happened.
func (c *chaos) round(version int) {
	_ = os.Remove(filepath.Join(c.dir, "trace"))
	c.server.ClearFaults()
	events := []string{"ApplicationStop", "BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService"}
	failing := ""
	if c.IntN(3) == 0 {
		failing = events[1+c.IntN(4)]
	}
	hook := c.traced(fmt.Sprintf("sleep 0.%d\n[ $LIFECYCLE_EVENT != %q ] || exit 9", c.IntN(10), failing))
	d := c.begin(stub.DeployOptions{Revision: c.revision(map[string]string{
		"appspec.yml": c.appSpec(events[1:]...), "hook.sh": hook, "www/page": fmt.Sprint(version),
	})})
	c.trouble()
	info := c.finishUnderTrouble(d)
	want := stub.Succeeded
	if failing != "" {
		want = stub.Failed
	}
	if info.Status != want {
		c.Errorf("deployment %d is %s, want %s: %s", version, info.Status, want, info.Message)
	}
	ran := c.lines("trace")
	for i, line := range ran {
		if slices.Contains(ran[:i], line) {
			c.Errorf("deployment %d: %s ran twice", version, line)
		}
	}
	for _, e := range info.Hosts[0].Events {
		c.judgeEvent(e, failing, slices.ContainsFunc(ran, func(line string) bool { return strings.HasPrefix(line, e.Name+" ") }))
	}
	if got := strings.Join(c.lines("www/page"), ""); want == stub.Succeeded && got != fmt.Sprint(version) {
		c.Errorf("deployment %d: the page holds %q", version, got)
	}
}

// judgeEvent compares the report of one event with whether its hook has run and how that ended.
func (c *chaos) judgeEvent(e stub.LifecycleEvent, failing string, ran bool) {
	hook := slices.Contains([]string{"BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService"}, e.Name)
	switch {
	case e.Name == failing && (e.Diagnostics == nil || e.Diagnostics.ErrorCode != 4):
		c.Errorf("%s failed and is reported as %s, %+v", e.Name, e.Status, e.Diagnostics)
	case hook && e.Status == stub.Succeeded && !ran:
		c.Errorf("%s never ran and is reported as %s", e.Name, e.Status)
	case e.Name != failing && e.Status == stub.Failed:
		c.Errorf("%s is reported as %s, %+v", e.Name, e.Status, e.Diagnostics)
	}
}

// nothingLeft looks for what deployments that have ended should have taken with them.
func (c *chaos) nothingLeft() {
	for _, dir := range []string{"ongoing-deployment", "command-journal"} {
		entries, err := os.ReadDir(filepath.Join(c.dir, "conf/deployment-root", dir))
		if err != nil {
			c.Error(err)
		}
		for _, e := range entries {
			if e.IsDir() || dir == "ongoing-deployment" || strings.HasSuffix(e.Name(), ".unreadable") {
				c.Errorf("left in %s: %s", dir, e.Name())
			}
		}
	}
}
