package bundle

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// request is one GET of the object.
type request struct {
	// from and to (exclusive) are the wanted bytes; to is -1 for all that follow. The whole object is 0 and -1.
	from, to int64
	// part asks for one part of a multipart object instead, counted from 1.
	part int32
	// checksums asks the server to tell its check sums, too.
	checksums bool
}

// reply is the good answer to a request. Its body has to be closed.
type reply struct {
	// start and end (exclusive) are what the body brings; end is -1 when the server did not tell.
	start, end int64
	// ranged is true when the server answered with the range that was asked for, false when with the whole object.
	ranged bool
	// total is the size of the object, -1 when the server did not tell.
	total  int64
	pin    pin
	header http.Header

	body  io.ReadCloser
	quiet *silenceGuard
}

// get sends the request once. The reply is checked for belonging to the object that the download is pinned to.
func (d *s3Download) get(ctx context.Context, ask request) (*reply, error) {
	ctx, quiet := guardSilence(ctx, d.opts.pace.silence)
	var a answer
	ctx = context.WithValue(ctx, answerKey{}, &a)
	out, err := d.client.GetObject(ctx, d.input(ask), func(o *s3.Options) {
		if d.region != "" {
			o.Region = d.region
		}
		if ask.checksums {
			// Not by ChecksumMode: the SDK would compute the sum, too.
			o.APIOptions = append(o.APIOptions, smithyhttp.SetHeaderValue("x-amz-checksum-mode", "ENABLED"))
		}
	})
	if err != nil {
		err = newGetError(quiet.explain(err), a)
		quiet.stop()
		return nil, err
	}
	quiet.pause()
	r := &reply{end: -1, total: -1, header: a.header, body: out.Body, quiet: quiet,
		pin: pin{etag: a.header.Get("ETag"), modified: a.header.Get("Last-Modified")}}
	if err = r.locate(a, ask); err == nil {
		err = d.sameObject(r)
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (d *s3Download) input(ask request) *s3.GetObjectInput {
	in := &s3.GetObjectInput{Bucket: &d.want.Bucket, Key: &d.want.Key}
	if d.want.Version != "" {
		in.VersionId = &d.want.Version
	}
	switch {
	case ask.part > 0:
		in.PartNumber = &ask.part
	case ask.to >= 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", ask.from, ask.to-1))
	case ask.from > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", ask.from))
	}
	// A version that the deployment did not name is not asked for: that would take s3:GetObjectVersion. Weak ETags
	// never match.
	if d.pin.etag != "" && !strings.HasPrefix(d.pin.etag, "W/") {
		in.IfMatch = &d.pin.etag
	}
	return in
}

// locate finds out which bytes the body brings.
func (r *reply) locate(a answer, ask request) error {
	if a.status != http.StatusPartialContent {
		if a.length >= 0 {
			r.end, r.total = a.length, a.length
		}
		return nil
	}
	r.start, r.ranged = ask.from, true
	text := a.header.Get("Content-Range")
	if text == "" {
		if a.length >= 0 {
			r.end = r.start + a.length
		}
		return nil
	}
	cr, err := parseContentRange(text)
	if err != nil {
		return err
	}
	if cr.start != ask.from && ask.part == 0 {
		return fmt.Errorf("the server sent bytes from %d on when it was asked for those from %d on", cr.start, ask.from)
	}
	if a.length >= 0 && a.length != cr.end-cr.start {
		return fmt.Errorf("the server announced %d bytes for a range of %d", a.length, cr.end-cr.start)
	}
	r.start, r.end, r.total = cr.start, cr.end, cr.total
	return nil
}

// sameObject holds a reply to what the first one told.
func (d *s3Download) sameObject(r *reply) error {
	changed := false
	switch {
	case d.pin.etag != "" && r.pin.etag != "":
		changed = d.pin.etag != r.pin.etag
	case d.pin.modified != "" && r.pin.modified != "":
		changed = d.pin.modified != r.pin.modified
	}
	if changed {
		return errReplaced
	}
	return nil
}

// Read reads the body; a silence of the server is an error.
func (r *reply) Read(p []byte) (int, error) {
	r.quiet.listen()
	n, err := r.body.Read(p)
	r.quiet.pause()
	if err != nil && err != io.EOF {
		err = r.quiet.explain(err)
	}
	return n, err
}

func (r *reply) close() {
	if r.body != nil {
		_ = r.body.Close()
		r.quiet.stop()
		r.body = nil
	}
}

// silenceGuard cancels a request whose server has sent nothing for a while. Only the time spent waiting for the server
// counts.
type silenceGuard struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  time.Duration
}

// guardSilence begins to listen for the answer's head.
func guardSilence(ctx context.Context, limit time.Duration) (context.Context, *silenceGuard) {
	ctx, cancel := context.WithCancelCause(ctx)
	g := &silenceGuard{ctx: ctx, cancel: cancel, limit: limit}
	g.timer = time.AfterFunc(limit, func() { cancel(fmt.Errorf("the server was silent for %v", limit)) })
	return ctx, g
}

func (g *silenceGuard) listen() { g.timer.Reset(g.limit) }
func (g *silenceGuard) pause()  { g.timer.Stop() }

func (g *silenceGuard) stop() {
	g.timer.Stop()
	g.cancel(context.Canceled)
}

// explain gives the reason of a cancellation in place of the cancellation.
func (g *silenceGuard) explain(err error) error {
	if cause := context.Cause(g.ctx); cause != nil {
		return cause
	}
	return err
}
