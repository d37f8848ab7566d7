package bundle

import (
	"context"
	"errors"
	"fmt"
	"os"

	"go.uber.org/zap"

	"codedeploy-agent/internal/account"
)

// UnpackOptions say how far an archive may go. A limit of 0 is the default.
type UnpackOptions struct {
	// KeepOwners gives members the owners and modes of the archive, as `tar -p` does it as root and as 1.x did.
	// Without it everything belongs to the agent, nobody else may write to it, setuid and setgid are taken away,
	// and what the members had is recorded for Install: see ReadAttributes.
	KeepOwners bool
	// MaxBytes is what an archive may unpack to, in bytes (archive_max_bytes).
	MaxBytes int64
	// MaxEntries is how many members it may have (archive_max_entries).
	MaxEntries int64
	// MaxRatio is how many times its own size it may unpack to, beyond the first 256 MiB (archive_max_ratio).
	MaxRatio int64
}

// Summary is what a good unpacking has to tell.
type Summary struct {
	// Entries is the number of members, Bytes the sum of their sizes.
	Entries, Bytes int64
	// TopLevel are the first names at the top of the unpacked archive, sorted.
	TopLevel []string
	// Stripped is the single top directory that was taken away, if any.
	Stripped string
	// Warnings are what the customer should know.
	Warnings []string
}

// Bounds of what a Summary holds.
const (
	summaryNames    = 20
	summaryWarnings = 20
)

// Unpack unpacks the file archive, of the deployment's bundle type ("tar", "tgz", "zip"; any other is taken for tar),
// into the directory dst. A single top directory that directly contains a name with "appspec" in it is taken away.
//
// The archive is unpacked beside dst, made durable and renamed into place, so dst is either what it was or the whole
// new tree, whatever happens; what was there before is removed at the end. The record that ReadAttributes reads is
// replaced with it. Nothing outside of dst's own folder is touched.
//
// Errors that a caller may look at are *RefusedError, *LimitError, *DamagedError, *KindError and *SpaceError.
func Unpack(ctx context.Context, archive, bundleType, dst string, opts UnpackOptions, log *zap.Logger) (Summary, error) {
	f, err := os.Open(archive)
	if err != nil {
		return Summary{}, fmt.Errorf("cannot unpack the bundle: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%q is not a regular file", archive)
	}
	if err != nil {
		return Summary{}, fmt.Errorf("cannot unpack the bundle: %w", err)
	}
	kind, err := kindOf(f, info.Size(), bundleType)
	if err != nil {
		return Summary{}, err
	}
	p := &place{dst: dst, log: log}
	return p.build(ctx, opts, func(ctx context.Context, u *unpacking) error {
		u.meter = newMeter(opts, info.Size(), u.space)
		if kind == kindZip {
			return unpackZip(ctx, u, f)
		}
		return unpackTar(ctx, u, f, kind)
	})
}

// unpacking is what the formats share.
type unpacking struct {
	*tree
	meter    *meter
	users    accountIDs
	groups   accountIDs
	warnings []string
	absolute bool // a leading slash was reported
}

// path is memberPath with the warning that belongs to it.
func (u *unpacking) path(name string) (string, error) {
	path, absolute, err := memberPath(name, u.room)
	if absolute && !u.absolute {
		u.absolute = true
		u.warn("the leading / of member %q and others like it was removed", unpackShorten(name))
	}
	return path, err
}

func (u *unpacking) warn(format string, args ...any) {
	switch n := len(u.warnings); {
	case n < summaryWarnings:
		u.warnings = append(u.warnings, fmt.Sprintf(format, args...))
	case n == summaryWarnings:
		u.warnings = append(u.warnings, "there were more warnings than these")
	}
}

// memberError is an error of a writer before it is explained.
type memberError struct {
	member string
	size   int64
	err    error
}

func (e *memberError) Error() string { return e.err.Error() }

// isUnpackError tells errors that already say everything.
func isUnpackError(err error) bool {
	var (
		refused *RefusedError
		limit   *LimitError
		damaged *DamagedError
		kind    *KindError
		space   *SpaceError
		member  *memberError
		unnamed *placeError
	)
	return errors.As(err, &refused) || errors.As(err, &limit) || errors.As(err, &damaged) || errors.As(err, &kind) ||
		errors.As(err, &space) || errors.As(err, &member) || errors.As(err, &unnamed) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// accountIDs finds the ids of the names in a tar archive, each once.
type accountIDs struct {
	lookup func(name string) (int, error)
	known  map[string]int // -1: nobody has that name here
	asked  int
}

// accountLookups bounds how often the host is asked: a foreign archive may name anybody.
const accountLookups = 200

func (a *accountIDs) id(name string) (int, bool) {
	if name == "" || a.lookup == nil || name[0] >= '0' && name[0] <= '9' {
		return 0, false
	}
	id, ok := a.known[name]
	if !ok {
		if a.asked++; a.asked > accountLookups {
			return 0, false
		}
		if id, ok = -1, false; a.known == nil {
			a.known = make(map[string]int)
		}
		if n, err := a.lookup(name); err == nil {
			id = n
		}
		a.known[name] = id
	}
	return id, id >= 0
}

func lookupUserID(name string) (int, error) {
	if name == "root" {
		return 0, nil
	}
	user, err := account.LookupUser(name)
	return user.UID, err
}

func lookupGroupID(name string) (int, error) {
	if name == "root" {
		return 0, nil
	}
	return account.LookupGroup(name)
}
