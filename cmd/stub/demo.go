package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"codedeploy-agent/internal/stub"
)

type demoCommand struct {
	Agent    string `help:"The agent to show." required:"" type:"existingfile" placeholder:"PATH"`
	Examples string `help:"Directory with the revisions v1, v2 and broken." default:"examples/website" type:"existingdir" placeholder:"DIR"`
	Keep     bool   `help:"Keep the temporary directory."`
}

// Run shows three deployments. It fails when anything goes other than told.
func (c *demoCommand) Run(ctx context.Context, o output) error {
	// The agent is bound to the life of the thread that starts it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began := time.Now()
	show := newScreen(o.out)
	s, err := newStage(ctx, c, show)
	if err != nil {
		return err
	}
	err = c.play(ctx, s)
	logs := ""
	if err != nil && ctx.Err() == nil {
		logs = s.agentLog()
	}
	if ending := s.strike(c.Keep); err == nil {
		err = ending
	}
	switch {
	case ctx.Err() != nil:
		show.line("\nInterrupted. Everything is stopped and removed.")
		return errFailed
	case err != nil:
		show.line("\n%s %v", show.colour("31", "The demo did not go as it should:"), err)
		if logs != "" {
			show.line("\nThe end of the agent's log:")
			show.quote(logs)
		}
		return errFailed
	}
	show.line("\n%s in %.1f s. Everything is stopped and removed.", show.colour("32", "The demo went as told"), time.Since(began).Seconds())
	return nil
}

// play is the demo, scene by scene.
func (c *demoCommand) play(ctx context.Context, s *stage) error {
	s.introduce()
	if err := s.startAgent(ctx, c.Agent); err != nil {
		return err
	}
	for _, scene := range []func(context.Context, *stage) error{c.first, c.second, c.third} {
		if err := scene(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// first deploys version 1 on a host that has nothing.
func (c *demoCommand) first(ctx context.Context, s *stage) error {
	s.title("1. Version 1, a zip from S3")
	d, err := s.deploy(ctx, "v1")
	if err != nil {
		return err
	}
	if d.Status != stub.Succeeded {
		return fmt.Errorf("version 1 was not deployed: %s", d.Message)
	}
	if err := s.visit(ctx, "/", "Welcome to version 1"); err != nil {
		return err
	}
	return s.visit(ctx, "/news.html", "version 1 only")
}

// second deploys version 2 over it.
func (c *demoCommand) second(ctx context.Context, s *stage) error {
	s.title("2. Version 2: the page changes, a file goes away")
	d, err := s.deploy(ctx, "v2")
	if err != nil {
		return err
	}
	if d.Status != stub.Succeeded {
		return fmt.Errorf("version 2 was not deployed: %s", d.Message)
	}
	log := s.scripts(d.ID)
	if !strings.Contains(log, "version 1: stopping the web server") {
		return errors.New("the ApplicationStop of version 2 did not come from version 1")
	}
	s.note("ApplicationStop came from version 1, the revision that was running; the other hooks from version 2.")
	if err := s.visit(ctx, "/", "Welcome to version 2"); err != nil {
		return err
	}
	return s.gone(ctx, "news.html")
}

// third deploys a revision whose page is wrong.
func (c *demoCommand) third(ctx context.Context, s *stage) error {
	s.title("3. A revision that does not pass its own ValidateService")
	d, err := s.deploy(ctx, "broken")
	if err != nil {
		return err
	}
	if d.Status != stub.Failed {
		return fmt.Errorf("the broken revision ended as %s", d.Status)
	}
	events := d.Hosts[0].Events
	last := events[len(events)-1]
	switch got := last.Diagnostics; {
	case last.Status != stub.Failed:
		return fmt.Errorf("not ValidateService failed, but another event: %s", d.Message)
	case got == nil || got.ErrorCode != 4 || got.Script != "hooks/validate.sh":
		return fmt.Errorf("the diagnostics are not those of a failed script: %+v", got)
	case !strings.Contains(got.Log, "the page is not the one"):
		return fmt.Errorf("the diagnostics do not hold the script's words: %q", got.Log)
	}
	s.note("This is what a console would show: error code, script, and the end of its output.")
	return nil
}

// introduce says what is about to happen.
func (s *stage) introduce() {
	s.show.line("A local twin of CodeDeploy answers at %s; everything happens in %s.", s.server.URL(), s.root)
	if os.Geteuid() == 0 {
		s.show.line("You are root, so `runas`, and permissions with owner and group, would work here as they do in production.")
		return
	}
	s.show.line("You are not root: hooks with `runas`, and permissions with owner or group, would need that. The rest is the same.")
}

func (s *stage) title(text string) { s.show.line("\n%s", s.show.bold(text)) }

func (s *stage) note(text string) { s.show.line("  %s %s", s.show.colour("36", "=>"), text) }

// visit fetches a page and shows it.
func (s *stage) visit(ctx context.Context, path, want string) error {
	page, err := fetch(ctx, "http://"+s.listen+path)
	if err != nil {
		return err
	}
	s.note("GET " + path)
	s.show.quote(page)
	if !strings.Contains(page, want) {
		return fmt.Errorf("the page %s does not say %q", path, want)
	}
	return nil
}

// gone makes sure that a file of the earlier version is neither served nor on the disk.
func (s *stage) gone(ctx context.Context, name string) error {
	_, err := fetch(ctx, "http://"+s.listen+"/"+name)
	var answer statusError
	if !errors.As(err, &answer) || answer.status != http.StatusNotFound {
		return fmt.Errorf("the removed page %s is still served (%v)", name, err)
	}
	if _, err := os.Lstat(filepath.Join(s.dest, name)); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the removed file %s is still there (%v)", name, err)
	}
	s.note(fmt.Sprintf("GET /%s answers 404: version 2 does not have the file, so it was removed.", name))
	return nil
}
