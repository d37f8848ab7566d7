package packaging

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"codedeploy-agent/internal/lab"
	"codedeploy-agent/internal/stub"
)

// site is a guest and the service that its agent speaks to across the guest's network.
type site struct {
	*lab.Guest
	t       *testing.T
	service *stub.Server
}

// newSite boots a guest with the configuration of an on-premises host that the service knows. No agent is installed
// yet.
func newSite(t *testing.T, o lab.Options) *site {
	return newSiteOf(t, o, func(service *stub.Server) (*stub.Host, error) { return service.AddHost(stub.Host{Name: "guest"}) })
}

// newInstanceSite boots one as an EC2 instance: the agent asks the instance metadata who it is.
func newInstanceSite(t *testing.T, o lab.Options) *site {
	return newSiteOf(t, o, func(service *stub.Server) (*stub.Host, error) { return service.AddInstance(), nil })
}

func newSiteOf(t *testing.T, o lab.Options, known func(*stub.Server) (*stub.Host, error)) *site {
	t.Helper()
	s := &site{Guest: lab.Boot(t, o), t: t}
	var err error
	if s.service, err = stub.Start(t.Context(), stub.Options{LongPoll: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.service.Close)
	host, err := known(s.service)
	if err != nil {
		t.Fatal(err)
	}
	endpoint := "http://" + s.Forward(strings.TrimPrefix(s.service.URL(), "http://"))
	dir := t.TempDir()
	if _, err := host.WriteConfig(dir, map[string]any{
		"root_dir": nil, "log_dir": nil, "pid_dir": nil, "on_premises_config_file": nil, "kill_agent_max_wait_time_seconds": 30,
		"deploy_control_endpoint": endpoint, "s3_endpoint_override": endpoint,
	}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"codedeployagent.yml", "codedeploy.onpremises.yml"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) { // an instance has no on-premises file
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		s.WriteFile("/etc/codedeploy-agent/conf/"+name, string(text), 0o600)
	}
	for _, variable := range host.Environment() {
		name, _, _ := strings.Cut(variable, "=")
		s.Sh("mkdir -p /etc/systemd/system/%s.d", service)
		s.WriteFile("/etc/systemd/system/"+service+".d/stub.conf", "[Service]\nEnvironment="+name+"="+endpoint+"\n", 0o644)
	}
	return s
}

// in makes the site report to the subtest.
func (s *site) in(t *testing.T) *site {
	c := *s
	c.t, c.Guest = t, s.Guest.In(t)
	return &c
}

// installRPM installs the agent and waits for its first poll.
func (s *site) installRPM(version string) {
	s.t.Helper()
	s.Sh("rpm --force-debian -i --nosignature %s", bring(s.Guest, packages(s.t, version).rpm())[0])
	s.awaitPoll(time.Now().Add(-time.Minute))
}

// awaitPoll waits for a poll after the given time.
func (s *site) awaitPoll(after time.Time) {
	s.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if hosts := s.service.Hosts(); len(hosts) == 1 && hosts[0].LastPoll.After(after) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("no poll after %v: %s", after, s.journal())
		}
	}
}

func (s *site) journal() string {
	out, _ := s.Try("journalctl --no-pager -n 40 -u %s; tail -n 40 /var/log/aws/codedeploy-agent/codedeploy-agent.log", service)
	return out
}

// deploy starts a deployment of a group of its own whose hooks are the given shell scripts, by event.
func (s *site) deploy(group string, hooks map[string]string, files map[string]string) *stub.Deployment {
	s.t.Helper()
	dir := s.t.TempDir()
	spec := "version: 0.0\nos: linux\n"
	if len(files) > 0 {
		spec += "files:\n"
	}
	put := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			s.t.Fatal(err)
		}
	}
	for name, content := range files {
		put(name, content)
		spec += fmt.Sprintf("  - {source: /%s, destination: /srv/%s}\n", name, group)
	}
	if len(hooks) > 0 {
		spec += "hooks:\n"
	}
	for event, script := range hooks {
		put(event+".sh", "#!/bin/sh\n"+script+"\n")
		spec += fmt.Sprintf("  %s:\n    - {location: %s.sh, timeout: 120}\n", event, event)
	}
	put("appspec.yml", spec)
	return s.deployDir(group, dir)
}

// deployDir deploys a directory to a group, which has its name as id.
func (s *site) deployDir(group, dir string) *stub.Deployment {
	s.t.Helper()
	revision, err := s.service.Push(s.t.Context(), dir)
	if err != nil {
		s.t.Fatal(err)
	}
	d, err := s.service.Deploy(s.t.Context(), stub.DeployOptions{Group: group, GroupID: group, Revision: revision})
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

// result waits for the end of a deployment and returns its status, then each event that ran a script with its code.
func (s *site) result(d *stub.Deployment) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 90*time.Second)
	defer cancel()
	info, err := d.Wait(ctx)
	if err != nil {
		s.t.Fatalf("%v: %+v\n%s", err, info, s.journal())
	}
	var out strings.Builder
	fmt.Fprint(&out, info.Status)
	for _, h := range info.Hosts {
		for _, e := range h.Events {
			if e.Diagnostics != nil && e.Diagnostics.ErrorCode != 0 {
				fmt.Fprintf(&out, " %s=%d", e.Name, e.Diagnostics.ErrorCode)
			}
		}
	}
	s.oneReportEach(d)
	return out.String()
}

// oneReportEach tells when the agent has reported a command twice in different ways.
func (s *site) oneReportEach(d *stub.Deployment) {
	s.t.Helper()
	for _, c := range s.service.Commands() {
		if c.Deployment != d.ID() {
			continue
		}
		for _, r := range c.Reports[min(1, len(c.Reports)):] {
			if r.Status != c.Reports[0].Status || r.Diagnostics.Payload != c.Reports[0].Diagnostics.Payload {
				s.t.Errorf("%s was reported in different ways: %+v", c.Name, c.Reports)
			}
		}
	}
}
