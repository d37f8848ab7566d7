package bundle

import (
	"fmt"
	"strings"
)

// RefusedError is a member that is not unpacked because it is unsafe or cannot exist on this host. Nothing of the
// archive is kept.
type RefusedError struct {
	// Member is the name as it stands in the archive.
	Member string
	// Reason is the rest of a sentence that begins with "it".
	Reason string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("cannot unpack the bundle: member %q is refused: it %s", unpackShorten(e.Member), e.Reason)
}

// LimitError is an archive that grows beyond a limit of the configuration.
type LimitError struct {
	// Key is the configuration key that raises the limit.
	Key string
	// Limit is the value that was passed.
	Limit int64
}

func (e *LimitError) Error() string {
	what := map[string]string{
		limitKeyBytes:   "it unpacks to more than %d bytes",
		limitKeyEntries: "it holds more than %d entries",
		limitKeyRatio:   "it unpacks to more than %d times its own size",
	}[e.Key]
	return fmt.Sprintf("cannot unpack the bundle: "+what+"; if that is right, raise %s in the configuration", e.Limit, e.Key)
}

// DamagedError is an archive whose bytes make no sense: cut short, changed, or never an archive.
type DamagedError struct {
	// Kind is what the archive is or should be: "tar", "tgz", "tar.zst", "tar.bz2" or "zip".
	Kind string
	// Size is the length of the archive in bytes.
	Size int64
	// Entry is the number of the member that is bad, counted from 1; 0 when no member was reached.
	Entry int64
	// Member is the name of that member where it is known.
	Member string
	// Offset is where in the archive the trouble begins, in bytes; in compressed tar archives, where in the tar
	// stream.
	Offset int64
	// Reason says what is wrong.
	Reason string
}

func (e *DamagedError) Error() string {
	var place strings.Builder
	if e.Entry > 0 {
		fmt.Fprintf(&place, " at entry %d", e.Entry)
		if e.Member != "" {
			fmt.Fprintf(&place, " (%q)", unpackShorten(e.Member))
		}
		place.WriteString(",")
	}
	if e.Entry > 0 || e.Offset > 0 {
		at := "offset"
		if e.Kind != "zip" && e.Kind != "tar" {
			at = "unpacked offset"
		}
		fmt.Fprintf(&place, " %s %d", at, e.Offset)
	}
	return fmt.Sprintf("cannot unpack the bundle: the %s archive (%d bytes) is damaged%s: %s; build and upload it again",
		e.Kind, e.Size, place.String(), e.Reason)
}

// KindError is a bundle that is not what the deployment says it is, or of a kind that cannot be unpacked.
type KindError struct {
	// Declared is the deployment's bundle type.
	Declared string
	// Found is what the content is, for example "a zip archive".
	Found string
	// Next is what to do about it.
	Next string
}

func (e *KindError) Error() string {
	return fmt.Sprintf("cannot unpack the bundle: the deployment says %q, but the content is %s; %s", e.Declared, e.Found, e.Next)
}

// SpaceError is a file system that cannot hold what the bundle unpacks to.
type SpaceError struct {
	// FileSystem is where it is mounted.
	FileSystem string
	// NeedBytes and FreeBytes say what is needed, at least, and what is free; both 0 when entries (inodes) are short.
	NeedBytes, FreeBytes int64
	// NeedEntries and FreeEntries say the same of inodes.
	NeedEntries, FreeEntries int64
}

func (e *SpaceError) Error() string {
	if e.NeedEntries > 0 {
		return fmt.Sprintf("cannot unpack the bundle: the file system %q is short of inodes: at least %d are needed, %d are free; delete files there or lower max_revisions",
			e.FileSystem, e.NeedEntries, e.FreeEntries)
	}
	return fmt.Sprintf("cannot unpack the bundle: the file system %q is too full: at least %d bytes are needed, %d are free; make room there or lower max_revisions",
		e.FileSystem, e.NeedBytes, e.FreeBytes)
}

// unpackShorten keeps a name readable in a message that has to fit the console.
func unpackShorten(name string) string {
	const most = 200
	if len(name) <= most {
		return name
	}
	return name[:most/2] + "..." + name[len(name)-most/2:]
}
