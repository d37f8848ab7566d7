// Package install puts the files of a revision in their places as one transaction: the tree at the destinations is
// all old or all new, whatever error, kill or power loss comes in between.
//
// Make looks at the archive and at the disk and returns a Plan, touching nothing. Plan.Apply checks what can be checked
// first, stages every file beside its target under a temporary name, commits by renaming, and writes the records of
// the deployment group. Recover, called when the agent starts, finishes a commit that was interrupted and drops an
// interrupted staging.
package install

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"codedeploy-agent/appspec"
	"codedeploy-agent/internal/state"
)

// Input is what an Install depends on.
type Input struct {
	// Archive is the absolute path of the unpacked revision.
	Archive string
	Spec    *appspec.Spec
	// Behavior is the deployment's option for files that exist already, in upper case; the AppSpec's own wins.
	Behavior appspec.FileExistsBehavior
	Group    state.Group
	// Deployment is the deployment that installs; the pointer to the last successful Install will name it.
	Deployment state.Deployment
	// Token names this one Install (the host command's identifier); Done answers for it.
	Token string
	// RootDir is the directory that the destinations lie below, "" for the root of the file system.
	RootDir string
	// Compat1x is the configuration's switch of that name. Nothing that an Install does depends on it: it makes the
	// archive lie on the disk with the owners of the tar, and then Attributes has nothing to say.
	Compat1x bool
	// Attributes returns the owner and the permission bits that a file of the archive was packed with, where they
	// differ from what lies on the disk; rel is relative to Archive, without a leading slash. It may be nil.
	Attributes func(rel string) (uid, gid int, mode uint32, ok bool)
}

// Make plans the Install of a revision. It reads the archive, the destinations and the records of the deployment
// groups, and writes nothing. All that is wrong is reported at once; files in the way are a *ConflictError.
func Make(ctx context.Context, in Input) (*Plan, error) {
	defer beFrugal()()
	p, err := newPlan(in)
	if err != nil {
		return nil, err
	}
	defer p.looking.close()
	if p.previous, err = readPrevious(in.Group); err != nil {
		return nil, err
	}
	for _, m := range in.Spec.Files {
		if err := p.addMapping(ctx, m); err != nil {
			return nil, err
		}
	}
	p.seen = nil
	p.conflicts = p.settle(p.conflicts)
	p.matchPermissions()
	if err := p.findStale(); err != nil {
		return nil, err
	}
	switch problems, conflicts := p.problems.err(), p.conflictError(); {
	case problems != nil && conflicts != nil:
		return nil, errors.Join(problems, conflicts)
	case problems != nil:
		return nil, problems
	case conflicts != nil:
		return nil, conflicts
	}
	return p, nil
}

func newPlan(in Input) (*Plan, error) {
	archive, err := filepath.EvalSymlinks(in.Archive)
	if err != nil {
		return nil, fmt.Errorf("cannot open the revision %q: %w", in.Archive, err)
	}
	p := &Plan{
		in:      in,
		archive: archive,
		root:    root{dir: in.RootDir},
		exists:  existsRule{value: in.Behavior, setBy: "the deployment's option"},
		byPath:  make(map[string]int32),
		byInode: make(map[inode]int32),
		empty:   make(map[string]bool),
	}
	if b := in.Spec.FileExistsBehavior; b != "" {
		p.exists = existsRule{value: b, setBy: "file_exists_behavior in " + filepath.Base(in.Spec.File)}
	}
	if p.exists.value == "" {
		p.exists = existsRule{value: appspec.Disallow, setBy: "the default"}
	}
	p.looking.root = p.root
	if err := p.addTop(); err != nil {
		return nil, err
	}
	return p, nil
}
