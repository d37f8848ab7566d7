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

// theGroup is the deployment group of cases that make up its records.
const theGroup = "11111111-2222-3333-4444-555555555555"

// old1x writes what a 1.x agent leaves behind after a deployment d-OLD000001 to theGroup: its folder with the unpacked
// bundle and its stop hook, both pointers, and list as its list for the next clean-up.
func (h *Host) old1x(list string) {
	h.Helper()
	old := h.Root(theGroup, "d-OLD000001")
	h.Write(filepath.Join(old, "bundle.tar"), "no longer of any use")
	h.Write(filepath.Join(old, "deployment-archive", "appspec.yml"), "version: 0.0\nos: linux\nfiles: [{source: www, destination: HOST/srv/site}]\n"+
		"hooks: {ApplicationStop: [{location: stop.sh}], BeforeBlockTraffic: [{location: stop.sh}]}\n")
	h.Write(filepath.Join(old, "deployment-archive", "stop.sh"), "#!/bin/sh\necho the old $LIFECYCLE_EVENT in $DEPLOYMENT_ID >> HOST/trace\n")
	h.Write(filepath.Join(old, "logs", "scripts.log"), "2026-01-01 00:00:00 LifecycleEvent - AfterInstall\n")
	h.Write(h.Instructions(theGroup+"_last_successful_install"), old)
	h.Write(h.Instructions(theGroup+"_most_recent_install"), old)
	h.Write(h.Instructions(theGroup+"-install.json"), `{"instructions":[]}`)
	h.Write(h.Instructions(theGroup+"-cleanup"), list)
	h.Write(h.Root("deployment-logs", "codedeploy-agent-deployments.log"), "[2026-01-01 00:00:00.000] [d-OLD000001]LifecycleEvent - AfterInstall\n")
}

// cleanUpAs1x does what a 1.x agent does at the start of an Install: the whole lines of the list from the end, each
// object removed, directories only when they are empty.
func (h *Host) cleanUpAs1x(group string) {
	h.Helper()
	h.Shell("", `list=`+h.Instructions(group+"-cleanup")+`
[ -z "$(tail -c 1 "$list")" ] || sed -i '$d' "$list"
tac "$list" | while IFS= read -r path; do
	if [ -d "$path" ] && [ ! -L "$path" ]; then rmdir "$path" 2>/dev/null || :; else rm -f -- "$path"; fi
done
rm "$list"
exit 0`)
}
