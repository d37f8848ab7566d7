package bundle

import (
	"context"
	"errors"
	"net/http"
)

// sequential brings the object over one connection at a time: for small objects, and for servers that know no ranges
// or tell no length. A connection that breaks is followed by one that asks for the rest; where the server sends the
// whole object instead, that is taken from its beginning.
func (d *s3Download) sequential(ctx context.Context, r *reply) (size int64, crc uint64, err error) {
	p := &part{end: r.total}
	tries := d.newTries()
	furthest := int64(0)
	defer func() { r.close() }()
	for {
		if r.body == nil && p.at != p.end {
			r, err = d.rest(ctx, p)
		}
		if err == nil {
			err = d.fill(ctx, p, r)
		}
		if err == nil && r.body != nil {
			if err = r.atEnd(); err != nil {
				d.restart(p)
			}
		}
		if err == nil {
			return p.at, p.crc, nil
		}
		r.close()
		if err = tries.again(ctx, err, p.at > furthest); err != nil {
			return 0, 0, err
		}
		furthest = max(furthest, p.at)
	}
}

// rest asks for what is missing of the part, and goes back to the beginning when the whole object comes.
func (d *s3Download) rest(ctx context.Context, p *part) (*reply, error) {
	r, err := d.get(ctx, request{from: p.at, to: -1})
	var e *getError
	if errors.As(err, &e) && e.status == http.StatusRequestedRangeNotSatisfiable && p.end < 0 && e.unsatisfied == p.at && p.at > 0 {
		p.end = p.at // the connection broke just behind the last byte
		return &reply{}, nil
	}
	if err != nil {
		return &reply{}, err
	}
	if r.total >= 0 && p.end >= 0 && r.total != p.end {
		r.close()
		return &reply{}, errResized
	}
	if r.start != p.at {
		d.restart(p)
	}
	if p.end < 0 {
		p.end = r.total
	}
	return r, nil
}
