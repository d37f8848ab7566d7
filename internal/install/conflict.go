package install

import (
	"fmt"
	"strings"

	"codedeploy-agent/appspec"
	"codedeploy-agent/internal/state"
)

// Reason is why a path cannot be installed over what is there.
type Reason string

const (
	existsAlready       Reason = "exists"
	directoryInTheWay   Reason = "directory in the way"
	inTheWayOfDirectory Reason = "in the way of a directory"
	unknownBehavior     Reason = "unknown file_exists_behavior"
)

// Owner is who wrote a file that is in the way. Both ids are empty when no deployment on record did.
type Owner struct {
	Group      string `json:"deployment_group,omitempty"`
	Deployment string `json:"deployment,omitempty"`
}

// Conflict is one path that the plan cannot have.
type Conflict struct {
	Path   string `json:"path"`
	Kind   string `json:"kind"` // what is there: file, directory, symbolic link, ...
	Reason Reason `json:"reason"`
	Owner  Owner  `json:"owner"`

	file, dir int32 // of the plan, for existsAlready
}

// ConflictError lists everything that is in the way of an Install. Nothing was changed.
type ConflictError struct {
	Conflicts []Conflict
	// Behavior is the file_exists_behavior that decided, SetBy where it comes from.
	Behavior appspec.FileExistsBehavior
	SetBy    string
}

// Error names the first conflicts with their owners, the setting that decided, and what to change.
func (e *ConflictError) Error() string {
	var b strings.Builder
	if len(e.Conflicts) == 1 {
		b.WriteString("cannot install: a file already exists at this location: ")
	} else {
		fmt.Fprintf(&b, "cannot install: files already exist at these %d locations:\n", len(e.Conflicts))
	}
	var lines []string
	reasons := make(map[Reason]bool)
	for _, c := range e.Conflicts {
		lines = append(lines, c.line())
		reasons[c.Reason] = true
	}
	b.WriteString(list(lines))
	fmt.Fprintf(&b, "\nfile_exists_behavior is %s (%s); nothing was changed.", e.Behavior, e.SetBy)
	if reasons[existsAlready] {
		b.WriteString(" To replace such files set file_exists_behavior: OVERWRITE in the AppSpec file, to keep them RETAIN; or move them away.")
	}
	if reasons[directoryInTheWay] || reasons[inTheWayOfDirectory] {
		b.WriteString(" A directory never replaces a file, nor a file a directory: move what is there away.")
	}
	if reasons[unknownBehavior] {
		fmt.Fprintf(&b, " Valid values are %s, %s and %s.", appspec.Disallow, appspec.Overwrite, appspec.Retain)
	}
	return b.String()
}

func (c Conflict) line() string {
	line := c.Path
	if c.Kind != "file" {
		line += " (a " + c.Kind + ")"
	}
	switch {
	case c.Owner.Deployment != "":
		line += fmt.Sprintf(", written by deployment %s of deployment group %s", c.Owner.Deployment, c.Owner.Group)
	case c.Owner.Group != "":
		line += fmt.Sprintf(", written by deployment group %s", c.Owner.Group)
	default:
		line += ", not written by any deployment on record"
	}
	return line
}

func (p *Plan) addConflict(c Conflict) { p.conflicts = append(p.conflicts, c) }

// conflictError reports all conflicts with their owners; nil when there are none.
func (p *Plan) conflictError() error {
	if len(p.conflicts) == 0 {
		return nil
	}
	if err := nameOwners(p.in.Group, p.conflicts); err != nil {
		return err
	}
	return &ConflictError{Conflicts: p.conflicts, Behavior: p.exists.value, SetBy: p.exists.setBy}
}

// nameOwners looks the conflicts up in the records of all deployment groups.
func nameOwners(g state.Group, conflicts []Conflict) error {
	byPath := make(map[string]int, len(conflicts))
	for i, c := range conflicts {
		byPath[c.Path] = i
	}
	return eachOtherGroup(g, func(other state.Group, path string) {
		i, ok := byPath[path]
		if !ok {
			return
		}
		conflicts[i].Owner = Owner{Group: other.ID()}
		if d, ok, err := other.LastSuccessful(); err == nil && ok {
			conflicts[i].Owner.Deployment = d.ID()
		}
	})
}
