// Package bundle brings the revision of a deployment onto the host: it downloads the archive, unpacks it, and keeps the
// disk from filling with old ones.
//
// Every function here either does the whole of its work or leaves nothing behind, so that any of them may be run again
// after a failure or a crash.
package bundle

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"codedeploy-agent/internal/deployspec"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"go.uber.org/zap"
)

// Clients reach the places that revisions come from. Only the one that a revision needs must be set.
type Clients struct {
	// S3 is made by NewS3.
	S3 *s3.Client
	// HTTP reaches GitHub; nil is the standard client.
	HTTP *http.Client
	// GitHubToken is empty for anonymous downloads.
	GitHubToken deployspec.Secret
	// GitHubAPI replaces https://api.github.com in tests; only a replacement may be plain http.
	GitHubAPI string
}

// FetchOptions bound a download. The zero value has no limits.
type FetchOptions struct {
	// MaxBytes refuses a larger archive; 0 is no limit.
	MaxBytes int64
	// MakeRoom, when set, is called at most once when an archive of that many bytes does not fit on the disk. It may
	// remove old revisions; the download then tries again.
	MakeRoom func(bytes int64)
	// Connections is the largest number of connections to S3 at once; 0 means 8, which is also the most.
	Connections int
	// Volatile skips the flush to stable storage: for a file that is used and removed at once, and that is fetched
	// again after a power loss.
	Volatile bool

	pace pace
}

// checkSize refuses an archive of that many bytes; it may be called while they come.
func (o *FetchOptions) checkSize(bytes int64) error {
	if o.MaxBytes <= 0 || bytes <= o.MaxBytes {
		return nil
	}
	return &localError{fmt.Errorf("it has at least %d bytes, and the limit is %d; if that is right, raise archive_max_bytes in the configuration",
		bytes, o.MaxBytes)}
}

// Info describes what was fetched.
type Info struct {
	// ETag is S3's name for the content, without quotes; empty when there is none.
	ETag string
	// Size is in bytes.
	Size int64
	// Digest is a check sum with its algorithm, as in "crc64nvme:cZfWWF0/l9o="; empty when the content was not read.
	Digest string
}

// Fetch brings the archive of a revision in S3, GitHub or a local file to dst, whole or not at all: the file appears
// under its name only when its length, its ETag and the check sums that S3 keeps of it are right. Whatever was at dst
// is replaced. The file can be read and written by the agent's user only.
//
// The error names the revision and says what to do; it never holds a secret. A cancelled ctx ends the download at once.
func Fetch(ctx context.Context, rev deployspec.Revision, dst string, clients Clients, opts FetchOptions, log *zap.Logger) (Info, error) {
	opts.pace.setDefaults()
	var fetch func(*landing) (Info, error)
	var name string
	switch {
	case rev.Type == deployspec.S3 && rev.S3 != nil:
		d := newS3Download(*rev.S3, clients.S3, opts, log)
		name, fetch = d.name, func(l *landing) (Info, error) { return d.run(ctx, l) }
	case rev.Type == deployspec.GitHub && rev.GitHub != nil:
		d := newGitHubDownload(*rev.GitHub, clients, opts, log)
		name, fetch = d.name, func(l *landing) (Info, error) { return d.run(ctx, l) }
	case rev.Type == deployspec.LocalFile && rev.Local != nil:
		name, fetch = rev.Local.Location, func(l *landing) (Info, error) { return copyLocal(ctx, rev.Local.Location, l, opts) }
	default:
		return Info{}, fmt.Errorf("cannot download a revision of type %q: it is no archive", rev.Type)
	}

	info, err := fetchTo(dst, opts, fetch)
	if err != nil {
		return Info{}, fmt.Errorf("cannot download %q: %w", name, cancelled(ctx, err))
	}
	return info, nil
}

func fetchTo(dst string, opts FetchOptions, fetch func(*landing) (Info, error)) (Info, error) {
	l, err := newLanding(dst)
	if err != nil {
		return Info{}, err
	}
	defer l.discard()
	info, err := fetch(l)
	if err != nil {
		return Info{}, err
	}
	return info, l.commit(info.Size, !opts.Volatile)
}

// cancelled prefers the reason for which the caller gave up to what it broke.
func cancelled(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return cause
	}
	return err
}

// pace is when a download tries again, and when it gives up. Tests go through it faster.
type pace struct {
	// silence is how long a connection may bring nothing.
	silence time.Duration
	// attempts is how many may fail in a row, without bringing a byte.
	attempts int
	// reconnects is how many may fail altogether.
	reconnects int64
	// firstWait is the longest wait after the first failure; each further one waits up to three times as long, until
	// longestWait. longestAdvice is the longest wait on a server's advice.
	firstWait, longestWait, longestAdvice time.Duration
	// report is the time between two lines of progress in the log.
	report time.Duration
	// gitHub is the waiting between attempts to download from GitHub.
	gitHub []time.Duration
}

func (p *pace) setDefaults() {
	set := func(d *time.Duration, standard time.Duration) {
		if *d == 0 {
			*d = standard
		}
	}
	set(&p.silence, 30*time.Second)
	set(&p.firstWait, 100*time.Millisecond)
	set(&p.longestWait, 20*time.Second)
	set(&p.longestAdvice, 5*time.Minute)
	set(&p.report, 5*time.Second)
	if p.attempts == 0 {
		p.attempts = 6
	}
	if p.reconnects == 0 {
		p.reconnects = 2000
	}
	if p.gitHub == nil {
		p.gitHub = []time.Duration{10 * time.Second, 30 * time.Second, 90 * time.Second}
	}
}
