package bundle

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"codedeploy-agent/internal/state"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
)

// reuseCase is an earlier deployment whose archive may be used again.
type reuseCase struct {
	group    state.Group
	from, to state.Deployment
}

func newReuseCase(t *testing.T) reuseCase {
	t.Helper()
	group := groupWith(t)
	c := reuseCase{group, group.Deployment("d-OLD111111"), group.Deployment("d-NEW222222")}
	for _, err := range []error{
		os.MkdirAll(filepath.Join(c.from.Archive(), "bin"), 0o755),
		os.MkdirAll(c.to.Dir(), 0o755),
		os.WriteFile(filepath.Join(c.from.Archive(), "appspec.yml"), []byte("version: 0.0"), 0o644),
		os.WriteFile(filepath.Join(c.from.Archive(), "bin", "start"), []byte("#!/bin/sh"), 0o755),
		os.Symlink("bin/start", filepath.Join(c.from.Archive(), "link")),
		os.WriteFile(c.from.Bundle(), []byte("bundle"), 0o600),
		RecordDownload(c.from, Info{ETag: "abc"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func hasAppSpec(archive string) error {
	_, err := os.Stat(filepath.Join(archive, "appspec.yml"))
	return err
}

func (c reuseCase) reuse(t *testing.T) error {
	return Reuse(t.Context(), c.from, c.to, hasAppSpec, UnpackOptions{}, zap.NewNop())
}

func TestAnArchiveIsReused(t *testing.T) {
	c := newReuseCase(t)
	if err := os.WriteFile(c.to.Bundle(), []byte("stale"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // any command may come twice
		if err := c.reuse(t); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		filepath.Join(c.to.Archive(), "appspec.yml"): "version: 0.0",
		filepath.Join(c.to.Archive(), "link"):        "#!/bin/sh",
		c.to.Bundle():                                "bundle",
		c.to.ETagFile():                              "abc",
		c.to.SourceFile():                            "archive-reuse",
		c.from.SourceFile():                          "downloaded",
	} {
		got, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	same := func(a, b string) bool {
		x, errX := os.Stat(a)
		y, errY := os.Stat(b)
		return errX == nil && errY == nil && os.SameFile(x, y)
	}
	if !same(c.from.Bundle(), c.to.Bundle()) {
		t.Error("bundle.tar takes its space twice")
	}
	if same(filepath.Join(c.from.Archive(), "bin", "start"), filepath.Join(c.to.Archive(), "bin", "start")) {
		t.Error("two deployments share a file")
	}
}

func TestAnArchiveThatCannotBeReusedLeavesNothing(t *testing.T) {
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range []struct {
		name   string
		spoil  func(t *testing.T, c *reuseCase) error
		ctx    context.Context
		reason string
	}{
		{name: "gone", reason: "not on this host any more", spoil: func(_ *testing.T, c *reuseCase) error { return os.RemoveAll(c.from.Dir()) }},
		{name: "empty", reason: "its archive is empty", spoil: func(_ *testing.T, c *reuseCase) error {
			return errors.Join(os.RemoveAll(c.from.Archive()), os.Mkdir(c.from.Archive(), 0o755))
		}},
		{name: "without its AppSpec", reason: "appspec.yml", spoil: func(_ *testing.T, c *reuseCase) error {
			return os.Remove(filepath.Join(c.from.Archive(), "appspec.yml"))
		}},
		{name: "itself", reason: "no earlier deployment", spoil: func(_ *testing.T, c *reuseCase) error { c.to = c.from; return nil }},
		{name: "another group", reason: "no earlier deployment of the same group", spoil: func(_ *testing.T, c *reuseCase) error {
			c.from = c.group.Root().Group("other").Deployment("d-OLD111111")
			return nil
		}},
		{name: "an odd id", reason: "no id of a deployment", spoil: func(_ *testing.T, c *reuseCase) error {
			c.from = c.group.Deployment("d-old")
			return nil
		}},
		{name: "a link out of the group", reason: "outside of the group", spoil: func(t *testing.T, c *reuseCase) error {
			elsewhere := t.TempDir()
			return errors.Join(os.RemoveAll(c.from.Archive()), os.Symlink(elsewhere, c.from.Archive()))
		}},
		{name: "foreign modes without a record", reason: "an older agent unpacked it", spoil: func(_ *testing.T, c *reuseCase) error {
			return os.Chmod(filepath.Join(c.from.Archive(), "bin", "start"), 0o777)
		}},
		{name: "cancelled", ctx: cancelled, reason: "context canceled", spoil: func(*testing.T, *reuseCase) error { return nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReuseCase(t)
			if err := c.spoil(t, &r); err != nil {
				t.Fatal(err)
			}
			ctx := c.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			err := Reuse(ctx, r.from, r.to, hasAppSpec, UnpackOptions{}, zap.NewNop())
			if err == nil || !strings.Contains(err.Error(), c.reason) || !strings.HasPrefix(err.Error(), "cannot reuse the archive of deployment ") {
				t.Errorf("the error is %v, want %q", err, c.reason)
			}
			if r.to != r.from {
				onlyIn(t, r.to.Dir())
			}
		})
	}
}
