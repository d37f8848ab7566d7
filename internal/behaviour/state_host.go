package behaviour

import (
	"path/filepath"
)

// Instructions is where agents keep what they installed, by deployment group.
func (h *Host) Instructions(elements ...string) string {
	return h.Root(append([]string{"deployment-instructions"}, elements...)...)
}

// Owned is the list of what the group's last Install made.
func (h *Host) Owned(group string) string { return h.Text(h.Instructions(group + "-cleanup")) }

// groupOf is the id of the only deployment group that has been deployed to.
func groupOf(h *Host) string {
	h.Helper()
	return h.Twin.Deployments()[0].GroupID
}

// Revisions are the ids of the group's deployments whose folders are there.
func (h *Host) Revisions(group string) []string {
	ids := []string{}
	folders, _ := filepath.Glob(h.Root(group, "*"))
	for _, f := range folders {
		ids = append(ids, filepath.Base(f))
	}
	return ids
}
