package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Tracked is one file of the 1.x tracking folder: a command in progress.
type Tracked struct {
	DeploymentID string
	// HostCommandIdentifier is the service's name of the command.
	HostCommandIdentifier string
	// Since is when the command was accepted.
	Since time.Time
}

// tracking keeps the end of one command from removing the record of the next one of the same deployment.
var tracking sync.Mutex

// Track records that a command of the deployment is in progress, replacing the record of an earlier command. The record
// is for agents that know no other; it need not survive a power loss, because the journal does.
func (r Root) Track(deploymentID, hostCommandIdentifier string) error {
	tracking.Lock()
	defer tracking.Unlock()
	if err := os.WriteFile(r.trackingFile(deploymentID), []byte(hostCommandIdentifier), 0o644); err != nil {
		return fmt.Errorf("cannot track the deployment: %w", err)
	}
	return nil
}

// Untrack removes the record of the deployment if it still names the command.
func (r Root) Untrack(deploymentID, hostCommandIdentifier string) error {
	tracking.Lock()
	defer tracking.Unlock()
	path := r.trackingFile(deploymentID)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read the tracking file of %q: %w", deploymentID, err)
	}
	if strings.TrimSpace(string(b)) != hostCommandIdentifier {
		return nil
	}
	return r.RemoveTracked(deploymentID)
}

// AllTracked lists the commands in progress. Files that cannot be read are left out; a folder that does not exist is
// an empty one.
func (r Root) AllTracked() ([]Tracked, error) {
	entries, err := os.ReadDir(filepath.Join(r.dir, r.tracking))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the deployments in progress: %w", err)
	}
	var all []Tracked
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		b, err := os.ReadFile(r.trackingFile(e.Name()))
		if err != nil {
			continue
		}
		all = append(all, Tracked{
			DeploymentID:          e.Name(),
			HostCommandIdentifier: strings.TrimSpace(string(b)),
			Since:                 info.ModTime(),
		})
	}
	return all, nil
}

// RemoveTracked removes the record of a deployment whatever command it names.
func (r Root) RemoveTracked(deploymentID string) error {
	if err := os.Remove(r.trackingFile(deploymentID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove the tracking file of %q: %w", deploymentID, err)
	}
	return nil
}

func (r Root) trackingFile(deploymentID string) string {
	return filepath.Join(r.dir, r.tracking, deploymentID)
}
