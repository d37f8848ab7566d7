package appspec

import (
	"strconv"
	"time"

	"codedeploy-agent/internal/report"
)

// Spec is what an AppSpec file says.
type Spec struct {
	// File is the name the file was read under, for messages.
	File string
	// FileExistsBehavior overrules the deployment's own; it is "" when the file does not say.
	FileExistsBehavior FileExistsBehavior
	Files              []File
	Permissions        []Permission
	// Hooks holds the scripts of each event in the order in which they run. An event that is named without
	// scripts has an entry of length 0.
	Hooks map[string][]Script
}

// FileExistsBehavior says what to do about a file that is already there and that no earlier deployment wrote.
type FileExistsBehavior string

// The behaviours that exist.
const (
	Disallow  FileExistsBehavior = "DISALLOW"  // fail
	Overwrite FileExistsBehavior = "OVERWRITE" // take the revision's
	Retain    FileExistsBehavior = "RETAIN"    // keep the host's
)

// File is one entry under files: something to copy. A directory's content goes into Destination, a file goes into
// it under its own name.
type File struct {
	// Source is below the revision; a leading slash means the same as none, "/" is the whole revision.
	Source string
	// Destination is a directory on the host.
	Destination string
	Pos         report.Position
}

// Permission is one entry under permissions: what to set on files that this deployment copied and directories that
// it made.
type Permission struct {
	// Object is a copied file, or a directory below which Pattern is looked for.
	Object string
	// Pattern is "**" for everything below Object, else a name directly in it, where "*" stands for any letters.
	Pattern string
	// Except are patterns for names directly in Object to leave out.
	Except []string
	// OnFiles and OnDirectories say which of the two are meant.
	OnFiles, OnDirectories bool
	// Owner and Group are names or numbers; "" leaves them as they are.
	Owner, Group string
	// Mode is three or four octal digits, or "" to leave the mode as it is.
	Mode string
	// ACLs is nil when the file does not say.
	ACLs []ACL
	// Context is nil when the file does not say.
	Context *Context
	Pos     report.Position
}

// FileMode returns Mode as the twelve bits that chmod(2) takes, and whether there is a mode at all.
func (p Permission) FileMode() (uint32, bool) {
	if p.Mode == "" {
		return 0, false
	}
	bits, err := strconv.ParseUint(p.Mode, 8, 12)
	return uint32(bits), err == nil
}

// Context is an SELinux context. User and Range may be empty.
type Context struct {
	User, Type, Range string
}

// Script is one entry under an event.
type Script struct {
	// Location is below the revision; a leading slash means the same as none.
	Location string
	// RunAs is the user to run as; "" means the agent's own.
	RunAs string
	// Sudo asks for sudo, which means nothing when the agent is root already.
	Sudo bool
	// Timeout ends the script; it is [DefaultTimeout] when the file does not say.
	Timeout time.Duration
	Pos     report.Position
}

// DefaultTimeout is the time limit of a script without one.
const DefaultTimeout = 3600 * time.Second
