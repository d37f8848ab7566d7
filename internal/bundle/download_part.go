package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// part is a span of the object that one connection brings at a time.
type part struct {
	start, end int64 // end is -1 when the object's size is unknown
	at         int64 // the next byte wanted
	crc        uint64

	owner int  // who may bring it, 0 for nobody
	begun bool // bytes are coming, so nobody takes it over any more
	done  bool
}

var errSurplus = errors.New("the server sent more bytes than it should")

// fill brings bytes from the reply, which stands at p.at, into the file until the part or the body ends.
func (d *s3Download) fill(ctx context.Context, p *part, r *reply) error {
	buf, err := takeBuffer(ctx)
	if err != nil {
		return err
	}
	defer giveBuffer(buf)
	for p.at != p.end {
		room := buf[:]
		if p.end >= 0 {
			room = room[:min(int64(len(room)), p.end-p.at)]
		}
		n, readErr := readUpTo(r, room)
		if err := d.keep(p, room[:n]); err != nil {
			return err
		}
		switch {
		case readErr == nil:
		case readErr != io.EOF:
			return fmt.Errorf("the connection to S3 broke off: %w", readErr)
		case p.end < 0 && r.end < 0:
			p.end = p.at
		case p.at != p.end:
			return fmt.Errorf("the server sent too few bytes: the answer ended at %d", p.at)
		}
	}
	return nil
}

// keep writes the next bytes of the part to their place.
func (d *s3Download) keep(p *part, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if err := d.opts.checkSize(p.at + int64(len(b))); err != nil {
		return err
	}
	if _, err := d.file.file.WriteAt(b, p.at); err != nil {
		if diskFull(err) {
			err = d.file.tooSmall(max(p.end, p.at))
		}
		return &localError{err}
	}
	p.crc = d.sum.update(p.crc, b)
	p.at += int64(len(b))
	d.progress.add(len(b))
	return nil
}

// restart forgets what came of the part: bytes with more behind them than there should be cannot be trusted.
func (d *s3Download) restart(p *part) {
	d.progress.add(int(p.start - p.at))
	p.at, p.crc = p.start, 0
}

// readUpTo fills b, or as much of it as comes before an error. TLS brings 16 KiB at a time; the disk wants more.
func readUpTo(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = r.Read(b[n:])
		n += m
	}
	return n, err
}

// atEnd makes sure that nothing follows, and lets the connection be used again.
func (r *reply) atEnd() error {
	var one [1]byte
	if n, _ := r.Read(one[:]); n > 0 {
		return errSurplus
	}
	return nil
}

// partList hands the parts of an object to the connections.
type partList struct {
	mu      sync.Mutex
	changed sync.Cond
	parts   []part
	size    int64 // of a part
	left    int
}

func (l *partList) total() int64 { return l.parts[len(l.parts)-1].end }

func newPartList(total, size int64) *partList {
	l := &partList{size: size}
	l.changed.L = &l.mu
	for start := int64(0); start < total; start += size {
		l.parts = append(l.parts, part{start: start, at: start, end: min(start+size, total)})
	}
	l.left = len(l.parts)
	return l
}

// claim returns a part for a connection, waiting until there is one; nil when all are done or ctx has ended. The caller
// wakes claims up when ctx ends.
//
// The last ones go first: the first answer brings the object from its beginning, and what is asked for twice is sent in
// vain.
func (l *partList) claim(ctx context.Context, me int) *part {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.left > 0 && ctx.Err() == nil {
		for i := len(l.parts) - 1; i >= 0; i-- { // by index: what others are filling is not read
			if p := &l.parts[i]; p.owner == 0 && !p.done {
				p.owner = me
				return p
			}
		}
		l.changed.Wait()
	}
	return nil
}

// claimAt returns the part that begins at the offset for a connection whose bytes are already here, even when another
// one waits for an answer about it; nil when that one's bytes have begun to come.
func (l *partList) claimAt(offset int64, me int) *part {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := int(offset / l.size)
	if i >= len(l.parts) || l.parts[i].begun || l.parts[i].done || l.parts[i].at != offset {
		return nil
	}
	l.parts[i].owner, l.parts[i].begun = me, true
	return &l.parts[i]
}

// begin tells whether the part still belongs to the connection now that its bytes come.
func (l *partList) begin(p *part, me int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.owner != me {
		return false
	}
	p.begun = true
	return true
}

// at returns the next byte wanted of a part, and false when another connection has taken the part over.
func (l *partList) at(p *part, me int) (int64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.owner != me {
		return 0, false
	}
	return p.at, true
}

// finish notes that a part is complete.
func (l *partList) finish(p *part) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.done = true
	l.left--
	l.changed.Broadcast()
}

// release gives a part back for others to go on with.
func (l *partList) release(p *part, me int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.owner == me && !p.done {
		p.owner, p.begun = 0, false
		l.changed.Broadcast()
	}
}

func (l *partList) complete() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.left == 0
}

func (l *partList) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changed.Broadcast()
}
