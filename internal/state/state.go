// Package state names every path and record that the agent keeps under its deployment root. The layout and the
// formats are those of the 1.x agents, so that one agent can go on where the other stopped.
package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"codedeploy-agent/internal/atomicfile"
)

// Names inside the deployment root that are no deployment groups.
const (
	instructionsName   = "deployment-instructions"
	deploymentLogsName = "deployment-logs"
	journalName        = "command-journal"
)

// DefaultTracking is the 1.x name of the folder that tracks deployments in progress (key ongoing_deployment_tracking).
const DefaultTracking = "ongoing-deployment"

// Root is the deployment root (key root_dir).
type Root struct {
	dir      string
	tracking string
}

// NewRoot returns the deployment root at dir; tracking is the name of its tracking folder, empty for the default.
func NewRoot(dir, tracking string) Root {
	if tracking == "" {
		tracking = DefaultTracking
	}
	return Root{dir: filepath.Clean(dir), tracking: tracking}
}

// Dir is the path of the root itself.
func (r Root) Dir() string { return r.dir }

// Instructions is the folder of what was installed, by group.
func (r Root) Instructions() string { return filepath.Join(r.dir, instructionsName) }

// Journal is the folder of the commands in flight. It is private to the agent.
func (r Root) Journal() string { return filepath.Join(r.dir, journalName) }

// DeploymentsLog is the log of all deployments' scripts for a program of the given name.
func (r Root) DeploymentsLog(program string) string {
	return filepath.Join(r.dir, deploymentLogsName, program+"-deployments.log")
}

// Create makes the folders of the root that every command needs.
func (r Root) Create() error {
	for _, d := range []struct {
		path string
		perm fs.FileMode
	}{
		{r.dir, 0o755},
		{r.Instructions(), 0o755},
		{filepath.Join(r.dir, deploymentLogsName), 0o755},
		{filepath.Join(r.dir, r.tracking), 0o755},
		{r.Journal(), 0o700},
	} {
		if err := os.MkdirAll(d.path, d.perm); err != nil {
			return fmt.Errorf("cannot create %q: %w", d.path, err)
		}
	}
	return nil
}

// CheckID tells whether an id of a deployment or a deployment group may become part of a path: one component, no
// leading dot, none of the root's own folders.
func (r Root) CheckID(kind, id string) error {
	bad := func(why string) error { return fmt.Errorf("cannot use %s %q: it %s", kind, id, why) }
	switch {
	case id == "":
		return bad("is empty")
	case len(id) > 255:
		return bad("is longer than a file name can be")
	case strings.HasPrefix(id, "."):
		return bad("starts with a dot")
	case strings.ContainsAny(id, "/\\\x00"):
		return bad("contains a path separator")
	case strings.ContainsFunc(id, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return bad("contains a control character")
	case id == instructionsName, id == deploymentLogsName, id == journalName, id == r.tracking:
		return bad("is the name of one of the agent's own folders")
	}
	return nil
}

// Group is what the root keeps for one deployment group.
type Group struct {
	root Root
	id   string
}

// Group returns the records of a deployment group. The id must have passed CheckID.
func (r Root) Group(id string) Group { return Group{root: r, id: id} }

// ID is the deployment group's id.
func (g Group) ID() string { return g.id }

// Root is the root that the group lies in.
func (g Group) Root() Root { return g.root }

// Dir holds the group's deployments.
func (g Group) Dir() string { return filepath.Join(g.root.dir, g.id) }

// CleanupFile lists the paths that the last Install made, in the 1.x format.
func (g Group) CleanupFile() string { return g.file("-cleanup") }

// InstallFile lists what the last Install did, in the 1.x format; nothing reads it but people.
func (g Group) InstallFile() string { return g.file("-install.json") }

// File is the path of another record of the group, in the instructions folder; suffix starts with a dash.
func (g Group) File(suffix string) string { return g.file(suffix) }

func (g Group) file(suffix string) string {
	return filepath.Join(g.root.Instructions(), g.id+suffix)
}

// Pointer files name one deployment of the group.
const (
	lastSuccessfulSuffix = "_last_successful_install"
	mostRecentSuffix     = "_most_recent_install"
)

// LastSuccessful returns the deployment whose Install was the last to succeed; ok is false when there is none.
func (g Group) LastSuccessful() (d Deployment, ok bool, err error) {
	return g.readPointer(lastSuccessfulSuffix)
}

// SetLastSuccessful records d as the deployment whose Install was the last to succeed.
func (g Group) SetLastSuccessful(d Deployment) error {
	return g.writePointer(lastSuccessfulSuffix, d)
}

// MostRecent returns the deployment whose DownloadBundle was the last to succeed; ok is false when there is none.
func (g Group) MostRecent() (d Deployment, ok bool, err error) {
	return g.readPointer(mostRecentSuffix)
}

// SetMostRecent records d as the deployment whose DownloadBundle was the last to succeed.
func (g Group) SetMostRecent(d Deployment) error { return g.writePointer(mostRecentSuffix, d) }

func (g Group) readPointer(suffix string) (Deployment, bool, error) {
	b, err := os.ReadFile(g.file(suffix))
	if errors.Is(err, fs.ErrNotExist) {
		return Deployment{}, false, nil
	}
	if err != nil {
		return Deployment{}, false, fmt.Errorf("cannot read which deployment is %s: %w", strings.ReplaceAll(suffix[1:], "_", " "), err)
	}
	dir := strings.TrimSpace(string(b))
	if dir == "" { // a 1.x agent that lost its power here leaves an empty file
		return Deployment{}, false, nil
	}
	return Deployment{dir: filepath.Clean(dir)}, true, nil
}

func (g Group) writePointer(suffix string, d Deployment) error {
	return atomicfile.Write(g.file(suffix), []byte(d.dir), 0o644)
}

// Deployment is the folder of one deployment. The pointers of 1.x hold its absolute path, so the folder may lie
// outside the root when the root was moved.
type Deployment struct {
	dir string
}

// Deployment returns the folder of a deployment of the group. The id must have passed CheckID.
func (g Group) Deployment(id string) Deployment {
	return Deployment{dir: filepath.Join(g.Dir(), id)}
}

// ID is the deployment's id.
func (d Deployment) ID() string { return filepath.Base(d.dir) }

// Dir is the deployment's folder.
func (d Deployment) Dir() string { return d.dir }

// Bundle is the downloaded archive, always of this name whatever its type.
func (d Deployment) Bundle() string { return filepath.Join(d.dir, "bundle.tar") }

// Archive is the unpacked revision.
func (d Deployment) Archive() string { return filepath.Join(d.dir, "deployment-archive") }

// ETagFile keeps the ETag of the object that was downloaded, as 2.x does.
func (d Deployment) ETagFile() string { return filepath.Join(d.dir, ".bundle-etag") }

// SourceFile keeps where the archive came from, as 2.x does: "downloaded" or "archive-reuse".
func (d Deployment) SourceFile() string { return filepath.Join(d.dir, ".bundle-source") }

// ScriptsLog is the output of the deployment's scripts.
func (d Deployment) ScriptsLog() string { return filepath.Join(d.dir, "logs", "scripts.log") }

// HasArchive tells whether the revision has been unpacked.
func (d Deployment) HasArchive() bool {
	info, err := os.Stat(d.Archive())
	return err == nil && info.IsDir()
}
