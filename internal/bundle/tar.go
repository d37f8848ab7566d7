package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// tarReader turns a tar stream into a tree.
type tarReader struct {
	*unpacking
	stream  *tarStream
	writers *writers

	header  tarHeader
	global  tarPax
	pax     tarPax
	long    struct{ name, link string } // of GNU's long-name members
	start   int64                       // where the member's headers begin
	damaged DamagedError                // what is known of the archive
}

// tarMetaLimit bounds an extension header or a long name, which are held in memory.
const tarMetaLimit = 1 << 20

func unpackTar(ctx context.Context, u *unpacking, f *os.File, kind archiveKind) error {
	t := &tarReader{unpacking: u, damaged: DamagedError{Kind: string(kind), Size: u.meter.archive}}
	r, closeReader, err := openTarStream(f, kind, u.warn)
	if err != nil {
		return t.damage(err, kind)
	}
	defer closeReader()
	if kind == kindTar {
		u.meter.archive = 0 // nothing is compressed
	}
	t.writers, ctx = startWriters(ctx, u.tree)
	drain := t.drain
	u.tree.drain = func() error { return errors.Join(t.flush(), drain()) }
	var wait func()
	if kind == kindTar {
		t.stream, wait = directTarStream(ctx, f, t.pass), func() {}
	} else {
		t.stream, wait = startTarStream(ctx, r, t.pass)
	}
	err = t.readAll(kind)
	err = t.writers.stop(err)
	wait()
	t.giveUp()
	return err
}

// pass hands a parsed chunk to the writers.
func (t *tarReader) pass(c *tarChunk) {
	if len(c.files)+len(c.pieces) == 0 {
		c.done()
		return
	}
	t.writers.hand(c)
}

// flush does the work of the chunk that is being parsed, because its rest is still needed.
func (t *tarReader) flush() error {
	c := t.stream.cur
	if c == nil {
		return nil
	}
	err := c.perform(t.stream.ctx, &writer{keeper: t.tree.keeper})
	c.reset()
	return err
}

// giveUp frees the work of the last chunk.
func (t *tarReader) giveUp() {
	if t.stream.cur != nil {
		t.stream.cur.reset()
	}
}

func (t *tarReader) readAll(kind archiveKind) error {
	for {
		if err := t.stream.ctx.Err(); err != nil {
			return context.Cause(t.stream.ctx)
		}
		more, err := t.next()
		if err != nil {
			return t.damage(err, kind)
		}
		if !more {
			break
		}
	}
	if err := t.drainTail(); err != nil {
		return t.damage(err, kind)
	}
	return t.flush()
}

// damage says where the archive is broken, unless the error is another one.
func (t *tarReader) damage(err error, kind archiveKind) error {
	if isUnpackError(err) || t.stream != nil && t.stream.ctx.Err() != nil {
		return err
	}
	d := t.damaged
	d.Reason = tarStreamReason(err, kind)
	if t.stream != nil {
		d.Entry, d.Offset = t.meter.entries+1, t.start
		if t.stream.offset > t.start && t.header.name != "" {
			d.Entry, d.Member = t.meter.entries, t.header.name
		}
	}
	return &d
}

// next reads one member with the headers before it. It returns false at the end of the archive: at a block of zeros,
// or, as GNU tar does, where the file ends between two members.
func (t *tarReader) next() (bool, error) {
	t.pax.clear()
	t.long.name, t.long.link = "", ""
	t.header.name = ""
	t.start = t.stream.offset
	for extended := false; ; extended = true {
		block, err := t.stream.block()
		if err == io.EOF && !extended {
			if t.start == 0 {
				return false, errors.New("it is empty")
			}
			return false, nil
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return false, err
		}
		if isZero(block) {
			return false, nil
		}
		if err := parseTarHeader(block, &t.header); err != nil {
			t.header.name = ""
			return false, err
		}
		member, err := t.extension()
		if err != nil {
			t.header.name = ""
			return false, err
		}
		if member {
			return true, t.member()
		}
	}
}

// extension keeps a header that describes the member after it and returns true for the member itself.
func (t *tarReader) extension() (member bool, err error) {
	h := &t.header
	switch h.flag {
	case 'x', 'X', 'g', 'L', 'K':
	case 'V': // the volume's label
		return false, t.stream.skip(h.size + tarPadding(h.size))
	default:
		return true, nil
	}
	data, err := t.metadata(h.size)
	if err != nil {
		return false, err
	}
	switch h.flag {
	case 'x', 'X':
		return false, t.pax.parse(data)
	case 'L':
		t.long.name = tarText(data)
	case 'K':
		t.long.link = tarText(data)
	case 'g':
		err = t.global.parse(data)
		for _, key := range []string{"path", "linkpath", "size"} {
			delete(t.global.values, key) // one value cannot be right for all members
		}
	}
	return false, err
}

func (t *tarReader) metadata(size int64) ([]byte, error) {
	if size > tarMetaLimit {
		return nil, errors.New("an extension header is larger than 1 MiB")
	}
	data := make([]byte, 0, size)
	for int64(len(data)) < size {
		p, err := t.stream.take(size - int64(len(data)))
		if err != nil {
			return nil, err
		}
		data = append(data, p...)
	}
	return data, t.stream.skip(tarPadding(size))
}

// member puts one member into the tree.
func (t *tarReader) member() error {
	h := &t.header
	if err := errors.Join(t.global.apply(h), t.pax.apply(h)); err != nil {
		return err
	}
	if t.long.name != "" {
		h.name = t.long.name
	}
	if t.long.link != "" {
		h.link = t.long.link
	}
	if h.uid < 0 || h.uid >= 1<<32-1 || h.gid < 0 || h.gid >= 1<<32-1 {
		return errors.New("the owner in the header makes no sense")
	}
	path, err := t.path(h.name)
	if err != nil {
		return err
	}
	meta := fileMeta{mode: uint32(h.mode & 0o7777), uid: int(h.uid), gid: int(h.gid), mtime: h.mtime}
	t.owner(h, &meta)
	return t.place(h, path, meta)
}

func (t *tarReader) place(h *tarHeader, path string, meta fileMeta) error {
	refuse := func(what string) error {
		return &RefusedError{Member: h.name, Reason: "is " + what + ", which a bundle may not hold"}
	}
	dir := h.flag == '5' || h.flag == 'D'
	if (h.flag == '0' || h.flag == 0) && len(h.name) > 0 && h.name[len(h.name)-1] == '/' {
		dir = true // as the oldest programs wrote them
	}
	var err error
	switch {
	case dir:
		if err = t.meter.entry(0, 0); err == nil {
			err = t.makeDir(path, meta)
		}
		if err == nil && h.flag == 'D' {
			return t.stream.skip(h.size + tarPadding(h.size))
		}
	case h.flag == '1':
		if err = t.meter.entry(0, 0); err == nil {
			err = t.hardLink(h, path, meta)
		}
	case h.flag == '2':
		if err = t.meter.entry(0, 0); err == nil {
			err = t.makeSymlink(path, h.link, meta)
		}
	case h.flag == '3':
		return refuse("a character device")
	case h.flag == '4':
		return refuse("a block device")
	case h.flag == '6':
		return refuse("a named pipe")
	case h.flag == 's':
		return refuse("a socket")
	case h.flag == 'M':
		return refuse("a part of a file that began in another volume")
	case h.isSparse:
		return t.sparseFile(h, path, meta)
	default:
		return t.file(h, path, meta)
	}
	return t.explain(h.name, 0, err)
}

func (t *tarReader) hardLink(h *tarHeader, path string, meta fileMeta) error {
	target, err := t.path(h.link)
	if err != nil {
		return &RefusedError{Member: h.name, Reason: fmt.Sprintf("is a hard link to %q, which is outside the archive", unpackShorten(h.link))}
	}
	return t.makeHardLink(path, target, meta)
}

// file writes a regular file: whole, if all of it is at hand, or else piece by piece.
func (t *tarReader) file(h *tarHeader, path string, meta fileMeta) error {
	if err := t.meter.entry(h.size, h.size); err != nil {
		return err
	}
	f, err := t.placeFile(path, meta)
	if err != nil {
		return t.explain(h.name, h.size, err)
	}
	from, jumped, err := t.stream.jump(h.size)
	if err != nil {
		return err
	}
	if jumped {
		return t.explain(h.name, h.size, t.copyOut(&f, from, h.size))
	}
	if f.data = t.stream.whole(h.size); f.data == nil {
		return t.pieces(h, f, []tarExtent{{0, h.size}}, -1)
	}
	c := t.stream.cur
	c.hold(f.at)
	c.files = append(c.files, f)
	return nil
}

// copyOut writes a large file straight from the archive.
func (t *tarReader) copyOut(f *newFile, from, n int64) error {
	fd, err := t.tree.create(f)
	if err != nil {
		return err
	}
	err = kernelCopy(t.stream.ctx, fd, int(t.stream.file.Fd()), from, n)
	if err == nil {
		err = t.settle(fd, &f.meta)
	}
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	return err
}

// pieces writes the parts of a file as they arrive. length is what the file ends up with, -1 where its parts say it.
func (t *tarReader) pieces(h *tarHeader, f newFile, extents []tarExtent, length int64) error {
	fd, err := t.tree.create(&f)
	if err != nil {
		return t.explain(h.name, h.size, err)
	}
	o := &openedFile{fd: fd, name: h.name, meta: f.meta, length: length, truncate: length >= 0}
	o.left.Store(1)
	var data int64
	for _, e := range extents {
		for done := int64(0); done < e.n; {
			p, err := t.stream.take(e.n - done)
			if err != nil {
				o.bad.Store(true)
				_ = o.finish(t.tree.keeper)
				return err
			}
			o.left.Add(1)
			c := t.stream.cur
			c.pieces = append(c.pieces, piece{file: o, data: p, off: e.off + done})
			done += int64(len(p))
		}
		data += e.n
	}
	if err := o.finish(t.tree.keeper); err != nil {
		return t.explain(h.name, h.size, err)
	}
	return t.stream.skip(tarPadding(data))
}

// drainTail reads what follows the end of the archive, so that the whole file is known to be sound. GNU tar ignores
// it as well.
func (t *tarReader) drainTail() error {
	var n, garbage int64
	for {
		if err := t.stream.more(); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		p, err := t.stream.take(tarChunkSize)
		if err != nil {
			return err
		}
		n += int64(len(p))
		if garbage == 0 {
			p = bytes.TrimLeft(p, "\x00")
		}
		garbage += int64(len(p))
		if err := t.meter.ratio(t.meter.bytes + n); err != nil {
			return err
		}
		if n > t.meter.maxBytes {
			return &LimitError{Key: limitKeyBytes, Limit: t.meter.maxBytes}
		}
	}
	if garbage > 0 {
		t.warn("%d bytes after the end of the tar archive were ignored", garbage)
	}
	return nil
}

// owner prefers the names in the header to the numbers, as GNU tar does.
func (t *tarReader) owner(h *tarHeader, m *fileMeta) {
	if !t.tree.asRoot {
		return
	}
	if uid, ok := t.users.id(h.uname); ok {
		m.uid = uid
	}
	if gid, ok := t.groups.id(h.gname); ok {
		m.gid = gid
	}
}
