package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// zipReader turns a zip archive into a tree.
type zipReader struct {
	*unpacking
	f       *os.File
	size    int64
	index   *zipDirectory
	writers *writers
	own     *zipMember // for what this goroutine unpacks itself
	run     *zipRun
	spare   chan *zipRun
	number  int64 // of the entry
	slashes bool  // backslashes were reported
}

// zipRuns is how many runs there are: one that grows, and those that wait for the writers or are in their hands.
const zipRuns = 2 + 2*writerCount

func unpackZip(ctx context.Context, u *unpacking, f *os.File) error {
	z := &zipReader{unpacking: u, f: f, size: u.meter.archive, spare: make(chan *zipRun, zipRuns)}
	for range zipRuns {
		z.spare <- &zipRun{reader: z}
	}
	var err error
	if z.index, err = openZipDirectory(f, z.size); err != nil {
		return z.damage("", err)
	}
	if err := z.survey(); err != nil {
		return err
	}
	z.own = newZipMember(f, z.size, 4<<10)
	z.writers, ctx = startWriters(ctx, u.tree)
	drain := u.tree.drain
	u.tree.drain = func() error { return errors.Join(z.flush(), drain()) }
	err = z.readAll(ctx)
	if err == nil {
		err = z.flush()
	}
	if z.run != nil {
		z.run.done()
	}
	return z.writers.stop(err)
}

// survey reads the whole index first: what makes no sense, is too much or does not fit is refused before anything is
// written.
func (z *zipReader) survey() error {
	look := newMeter(UnpackOptions{MaxBytes: z.meter.maxBytes, MaxEntries: z.meter.maxEntries, MaxRatio: z.meter.maxRatio}, z.size, nil)
	var e zipEntry
	var packed, blocks int64
	for {
		err := z.index.next(&e)
		if err == io.EOF {
			break
		}
		z.number++
		if err != nil {
			return z.damage("", err)
		}
		if err := look.entry(e.size, 0); err != nil {
			return err
		}
		packed += e.packed + zipLocalLen + int64(len(e.name))
		blocks += (e.size + z.space.blockSize - 1) / z.space.blockSize * z.space.blockSize
	}
	// The end record counts in 16 bits where nobody needed more.
	if uint64(z.number) != z.index.entries && (z.index.entries > 0xffff || uint64(z.number)&0xffff != z.index.entries) {
		return z.damage("", zipDamage(z.index.start, "its index holds %d entries, not %d", z.number, z.index.entries))
	}
	if packed > z.index.start {
		return z.damage("", zipDamage(z.index.start, "its members overlap"))
	}
	z.number = 0
	z.index.rewind()
	return z.space.whole(blocks, look.entries)
}

func (z *zipReader) readAll(ctx context.Context) error {
	var e zipEntry
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err := z.index.next(&e)
		if err == io.EOF {
			return nil
		}
		z.number++
		if err != nil {
			return z.damage("", err)
		}
		name, backslashes := e.memberName()
		if backslashes && !z.slashes {
			z.slashes = true
			z.warn("member %q and others like it have backslashes for slashes, against the rules of zip; they were taken for slashes", unpackShorten(name))
		}
		if err := z.member(&e, name); err != nil {
			return err
		}
	}
}

// member puts one member into the tree or into the run that the writers get.
func (z *zipReader) member(e *zipEntry, name string) error {
	path, err := z.path(name)
	if err != nil {
		return err
	}
	if err := z.meter.entry(e.size, e.size); err != nil {
		return err
	}
	mode := e.unixMode(name)
	meta := fileMeta{mode: mode & 0o7777, uid: z.uid, gid: z.gid, mtime: e.mtime}
	refuse := func(what string) error {
		return &RefusedError{Member: name, Reason: "is " + what + ", which a bundle may not hold"}
	}
	switch mode & modeType {
	case modeDir:
		err = z.makeDir(path, meta)
	case modeLink:
		err = z.link(e, path, name, meta)
	case modeFIFO:
		return refuse("a named pipe")
	case modeChar:
		return refuse("a character device")
	case modeBlock:
		return refuse("a block device")
	case modeSocket:
		return refuse("a socket")
	default:
		if err := e.readable(name); err != nil {
			return err
		}
		err = z.file(e, path, meta)
	}
	return z.explain(name, e.size, err)
}

// readable refuses what cannot be decoded.
func (e *zipEntry) readable(name string) error {
	if e.flags&(zipFlagEncrypted|zipFlagStrong|zipFlagMasked) != 0 {
		return &RefusedError{Member: name, Reason: "is encrypted; build the bundle without a password"}
	}
	if e.method != zipStored && e.method != zipDeflated {
		return &RefusedError{Member: name, Reason: fmt.Sprintf("is compressed by %s; build the bundle with deflate, the usual method", zipMethod(e.method))}
	}
	return nil
}

func zipMethod(method uint16) string {
	if name, ok := map[uint16]string{1: "shrink", 6: "implode", 9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstd", 95: "xz"}[method]; ok {
		return name
	}
	return fmt.Sprintf("method %d", method)
}

func (z *zipReader) file(e *zipEntry, path string, meta fileMeta) error {
	f, err := z.placeFile(path, meta)
	if err != nil {
		return err
	}
	if z.run == nil {
		z.run = <-z.spare
	}
	z.run.add(zipWork{newFile: f, number: z.number, entry: *e})
	if z.run.full() {
		z.pass()
	}
	return nil
}

// pass hands the run to the writers.
func (z *zipReader) pass() {
	if run := z.run; run != nil {
		z.run = nil
		z.writers.hand(run)
	}
}

func (z *zipReader) flush() error {
	z.pass()
	return nil
}

// link makes a symbolic link of a member whose content is the target.
func (z *zipReader) link(e *zipEntry, path, name string, meta fileMeta) error {
	if e.size >= pathMax {
		return &RefusedError{Member: name, Reason: "is a link with a target that is longer than Linux takes"}
	}
	if err := e.readable(name); err != nil {
		return err
	}
	w := zipWork{number: z.number, entry: *e}
	var target strings.Builder
	if err := z.own.unpack(&w, func(p []byte) error { target.Write(p); return nil }); err != nil {
		return z.damageAt(&w, name, err)
	}
	if target.Len() == 0 || strings.IndexByte(target.String(), 0) >= 0 {
		return &RefusedError{Member: name, Reason: "is a link without a usable target"}
	}
	return z.makeSymlink(path, target.String(), meta)
}

// damage says where the archive is broken, unless the error is another one.
func (z *zipReader) damage(member string, err error) error {
	d := &DamagedError{Kind: string(kindZip), Size: z.size, Entry: z.number, Member: member, Reason: "it ends too early"}
	var at *zipError
	switch {
	case errors.As(err, &at):
		d.Offset, d.Reason = at.offset, at.reason
	case !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	}
	return d
}

func (z *zipReader) damageAt(w *zipWork, member string, err error) error {
	err = z.damage(member, err)
	var d *DamagedError
	if errors.As(err, &d) {
		d.Entry = w.number
		d.Offset = max(d.Offset, w.entry.offset)
	}
	return err
}
