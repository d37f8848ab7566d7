package install

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"codedeploy-agent/appspec"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// model is what a host looks like if Installs do what 1.x does, except that they do it whole or not at all: clean up
// what the last one made, look for conflicts, copy. Paths map to content, "dir", or "-> target".
type model struct {
	disk      map[string]string
	owned     map[string]bool
	inherited map[string]bool // directories of earlier deployments that were in use
}

func (m *model) empty(dir string) bool {
	for p := range m.disk {
		if below(dir, p) {
			return false
		}
	}
	return true
}

// removeOwned removes what the last deployment made, directories when nothing else is in them.
func (m *model) removeOwned() {
	paths := slices.Sorted(maps.Keys(m.owned))
	for _, p := range slices.Backward(paths) {
		if content, ok := m.disk[p]; ok && (content != "dir" || m.empty(p)) {
			delete(m.disk, p)
		} else if content == "dir" {
			m.inherited[p] = true
		}
	}
	m.owned = make(map[string]bool)
}

// install tells whether the bundle can be installed, and if so makes the model what it is then.
func (m *model) install(bundle map[string]string, behavior appspec.FileExistsBehavior) bool {
	next := model{disk: maps.Clone(m.disk), owned: maps.Clone(m.owned), inherited: maps.Clone(m.inherited)}
	next.removeOwned()
	wished := expected(bundle, "/srv")
	wished["/srv"] = "dir"
	for _, p := range slices.Sorted(maps.Keys(wished)) {
		content := wished[p]
		there, found := next.disk[p]
		switch {
		case content == "dir" && there == "dir":
		case content == "dir" && found:
			return false
		case !found:
			next.disk[p], next.owned[p] = content, true
		case behavior == appspec.Retain:
		case behavior == appspec.Overwrite && there != "dir":
			next.disk[p], next.owned[p] = content, true
		default:
			return false
		}
	}
	for _, p := range slices.Backward(slices.Sorted(maps.Keys(next.inherited))) {
		if wished[p] != "dir" && next.disk[p] == "dir" && next.empty(p) {
			delete(next.disk, p)
		}
		if next.disk[p] != "dir" || next.owned[p] {
			delete(next.inherited, p)
		}
	}
	*m = next
	return true
}

// drawTree draws a small tree with names that collide often.
func drawTree(t *rapid.T, label string) map[string]string {
	tree := make(map[string]string)
	name := rapid.SampledFrom([]string{"a", "b", "c"})
	for range rapid.IntRange(0, 6).Draw(t, label+" size") {
		parts := rapid.SliceOfN(name, 1, 3).Draw(t, label+" path")
		path := strings.Join(parts, "/")
		free := true
		for p := range tree {
			if p == path || below("/"+p, "/"+path) || below("/"+path, "/"+p) {
				free = false
			}
		}
		if free {
			tree[path] = rapid.SampledFrom([]string{"one", "two", "-> nowhere"}).Draw(t, label+" content")
		}
	}
	return tree
}

func TestAnyTreeOverAnyOtherIsWhatTheModelSays(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		h := newHost(t)
		defer func() { _ = os.RemoveAll(filepath.Dir(h.disk)) }()
		foreign := drawTree(r, "foreign")
		write(t, h.disk+"/srv", foreign)
		m := model{disk: h.content(), owned: make(map[string]bool), inherited: make(map[string]bool)}
		for range rapid.IntRange(1, 4).Draw(r, "deployments") {
			if rapid.Bool().Draw(r, "the host changes") {
				changeHost(r, h, &m)
			}
			bundle := drawTree(r, "bundle")
			behavior := rapid.SampledFrom([]appspec.FileExistsBehavior{appspec.Disallow, appspec.Overwrite, appspec.Retain}).Draw(r, "behavior")
			in := h.input(h.revision(bundle), to("/srv"))
			in.Behavior = behavior
			err := install(in)
			var conflict *ConflictError
			if err != nil && !errors.As(err, &conflict) {
				r.Fatal(err)
			}
			if ok := m.install(bundle, behavior); ok != (err == nil) {
				r.Fatalf("the model says %v, the Install says %v", ok, err)
			}
			if d := cmp.Diff(m.disk, h.content()); d != "" {
				r.Fatalf("tree (-want +got):\n%s", d)
			}
		}
	})
}

// changeHost adds a file beside what deployments made, or removes one.
func changeHost(r *rapid.T, h *host, m *model) {
	paths := slices.Sorted(maps.Keys(m.disk))
	if len(paths) == 0 {
		return
	}
	p := rapid.SampledFrom(paths).Draw(r, "changed path")
	if m.disk[p] == "dir" {
		if _, taken := m.disk[p+"/mine"]; !taken {
			write(h.t, h.disk, map[string]string{p + "/mine": "mine"})
			m.disk[p+"/mine"] = "mine"
		}
		return
	}
	must(h.t, os.Remove(h.disk+p))
	delete(m.disk, p)
}
