package bundle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"codedeploy-agent/internal/deployspec"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"go.uber.org/zap"
)

// s3Download brings one object to this host.
//
// The SDK signs and sends the requests. Its transfer manager is not used: it starts a part again from its beginning
// when the connection breaks, waits for ever on a silent one, keeps whole parts in memory, and fails on servers that
// know no ranges.
//
// The first request asks for the whole object. Its answer is what all others are held to (length, ETag), it alone
// carries the check sums of the whole object, and its body is used for as long as nobody else has come to the bytes
// that it brings: so a small object takes one request, and a server that knows no ranges is nothing special.
type s3Download struct {
	client *s3.Client
	want   deployspec.S3Object
	name   string
	opts   FetchOptions
	log    *zap.Logger

	region     string // empty: the client's own
	pin        pin
	sum        checksum
	file       *landing
	reconnects atomic.Int64
	progress   *progress
}

// pin is what tells one content of an object from another.
type pin struct {
	etag     string // as the server wrote it, with quotes
	modified string
}

const (
	maxConnections = 8
	smallPart      = 4 << 20
	largePart      = 8 << 20
	// largeObject is the size from which parts are large.
	largeObject = 512 << 20
)

func newS3Download(want deployspec.S3Object, client *s3.Client, opts FetchOptions, log *zap.Logger) *s3Download {
	if opts.Connections <= 0 || opts.Connections > maxConnections {
		opts.Connections = maxConnections
	}
	return &s3Download{client: client, want: want, name: "s3://" + want.Bucket + "/" + want.Key, opts: opts, log: log}
}

// errAgain is the reason for which a download starts over, once.
type errAgain struct{ reason string }

func (e *errAgain) Error() string { return e.reason }

// run downloads the object into l.
func (d *s3Download) run(ctx context.Context, l *landing) (Info, error) {
	if d.client == nil {
		return Info{}, errors.New("there is no client for S3")
	}
	defer closeIdle(d.client)
	d.file = l
	info, err := d.once(ctx)
	var again *errAgain
	if !errors.As(err, &again) || ctx.Err() != nil {
		return info, err
	}
	d.log.Warn("Starting the download over", zap.String("bundle", d.name), zap.String("reason", again.reason))
	if err := l.restart(); err != nil {
		return Info{}, err
	}
	if info, err = d.once(ctx); errors.As(err, &again) {
		err = fmt.Errorf("%w; it was downloaded twice; upload the bundle again and deploy it when nothing writes to it", err)
	}
	return info, err
}

func (d *s3Download) once(ctx context.Context) (Info, error) {
	d.pin, d.sum = pin{}, checksum{}
	d.progress = newProgress(d.name, d.opts.pace.report, d.log)
	first, err := d.first(ctx)
	if err != nil {
		return Info{}, err
	}
	defer func() { first.close() }()
	if err := d.accept(first); err != nil {
		return Info{}, err
	}
	if first.total > 0 {
		if err := d.file.reserve(first.total, d.opts.MakeRoom); err != nil {
			return Info{}, err
		}
	}

	defer d.progress.start(first.total)()
	size, crc, err := d.transfer(ctx, first)
	if err != nil {
		return Info{}, err
	}
	digest, err := d.verify(ctx, size, crc)
	if err != nil {
		return Info{}, err
	}
	info := Info{ETag: unquote(d.pin.etag), Size: size, Digest: digest}
	d.progress.finished(info)
	return info, nil
}

// first asks for the whole object, trying again as needed. It follows the bucket to its region once, and does without
// check sums where a server or a policy does not want to be asked for them.
func (d *s3Download) first(ctx context.Context) (*reply, error) {
	tries := d.newTries()
	ask := request{from: 0, to: -1, checksums: true}
	moved := false
	for {
		r, err := d.get(ctx, ask)
		if err == nil {
			if r.start != 0 {
				r.close()
				return nil, fmt.Errorf("the server sent bytes from %d on when it was asked for the whole object", r.start)
			}
			return r, nil
		}
		var e *getError
		if errors.As(err, &e) {
			if region := e.otherRegion(d.regionNow()); region != "" && !moved {
				d.log.Info("The bucket lies in another region", zap.String("bucket", d.want.Bucket), zap.String("region", region))
				d.region, moved = region, true
				continue
			}
			if ask.checksums && e.mayDislikeChecksums() {
				ask.checksums = false
				continue
			}
		}
		if err := tries.again(ctx, err, false); err != nil {
			return nil, err
		}
	}
}

func (d *s3Download) regionNow() string {
	if d.region != "" {
		return d.region
	}
	return d.client.Options().Region
}

// accept pins the download to the first answer and holds that to the specification.
func (d *s3Download) accept(r *reply) error {
	want, got := unquote(d.want.ETag), unquote(r.pin.etag)
	switch {
	case want != "" && got == "":
		return fmt.Errorf("the server told no ETag, but the deployment demands %q", want)
	case want != "" && want != got:
		return fmt.Errorf("its ETag is %q, but the deployment was created for %q: the object was replaced after that; create a new deployment", got, want)
	}
	if err := d.opts.checkSize(r.total); err != nil {
		return err
	}
	d.pin, d.sum = r.pin, chooseChecksum(r.header, d.log)
	return nil
}

// transfer brings the bytes; crc is that of the whole object, of the algorithm that d.sum needs.
func (d *s3Download) transfer(ctx context.Context, first *reply) (size int64, crc uint64, err error) {
	partSize := int64(smallPart)
	if first.total >= largeObject {
		partSize = largePart
	}
	if first.total <= 2*partSize || d.opts.Connections == 1 || first.header.Get("Accept-Ranges") == "none" {
		return d.sequential(ctx, first)
	}
	size, crc, err = d.parallel(ctx, first, partSize)
	if errors.Is(err, errNoRanges) {
		// The first answer broke off, and nothing but the whole object can be asked for.
		d.progress.reset()
		return d.sequential(ctx, &reply{total: first.total})
	}
	return size, crc, err
}

// unquote removes the quotes that an ETag may or may not be written with.
func unquote(etag string) string {
	return strings.ReplaceAll(strings.TrimSpace(etag), `"`, "")
}
