package bundle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// zipDirectory reads the index of a zip archive entry by entry, so that its size costs no memory.
type zipDirectory struct {
	in      windowReader
	base    int64 // what stands before the archive, as in self-extracting ones
	start   int64
	length  int64
	entries uint64

	pos int64 // of the next entry, from start
}

// zipEntry is one member as the index describes it.
type zipEntry struct {
	name         []byte // valid until the next entry is read
	flags        uint16
	method       uint16
	host         byte // the kind of system that it was made on
	external     uint32
	crc          uint32
	packed, size int64
	offset       int64 // of the local header, in the file
	mtime        unix.Timespec
}

// Signatures and lengths of the parts of a zip archive.
const (
	zipLocalMark  = "PK\x03\x04"
	zipIndexMark  = "PK\x01\x02"
	zipEndMark    = "PK\x05\x06"
	zip64EndMark  = "PK\x06\x06"
	zip64PlaceMrk = "PK\x06\x07"

	zipLocalLen   = 30
	zipIndexLen   = 46
	zipEndLen     = 22
	zip64EndLen   = 56
	zip64PlaceLen = 20
)

// zipError is damage at a place of the archive.
type zipError struct {
	offset int64
	reason string
}

func (e *zipError) Error() string { return e.reason }

func zipDamage(offset int64, format string, args ...any) error {
	return &zipError{offset, fmt.Sprintf(format, args...)}
}

// openZipDirectory finds the index from the end of the file.
func openZipDirectory(f io.ReaderAt, size int64) (*zipDirectory, error) {
	tail := make([]byte, min(size, zipEndLen+1<<16))
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil && err != io.EOF {
		return nil, err
	}
	at := findZipEnd(tail)
	if at < 0 {
		return nil, zipDamage(0, "the index at its end is missing, so it was cut short or is no zip archive")
	}
	end := tail[at:]
	pos := size - int64(len(tail)) + int64(at)
	d := &zipDirectory{
		in:      windowReader{f: f, size: size, buf: make([]byte, 64<<10)},
		entries: uint64(binary.LittleEndian.Uint16(end[10:])),
		length:  int64(binary.LittleEndian.Uint32(end[12:])),
	}
	offset := int64(binary.LittleEndian.Uint32(end[16:]))
	if n := binary.LittleEndian.Uint16(end[4:]); n != 0 && n != 0xffff {
		return nil, zipDamage(pos, "it is a part of an archive in several volumes")
	}
	limit := pos // where the index must end
	if d.entries == 0xffff || d.length == 0xffffffff || offset == 0xffffffff {
		ok, at, err := d.read64(pos, &offset)
		if err != nil {
			return nil, err
		}
		if ok {
			limit = at
		}
	}
	d.start = limit - d.length
	d.base = d.start - offset
	if d.length < 0 || d.start < 0 || offset < 0 || d.base < 0 {
		return nil, zipDamage(pos, "its index lies outside of it, so its beginning is missing")
	}
	return d, nil
}

// findZipEnd finds the end record in the last bytes of the file: the one whose comment ends with the file, else the
// last one whose comment fits.
func findZipEnd(tail []byte) int {
	fits := -1
	for at := len(tail); ; {
		at = bytes.LastIndex(tail[:at], []byte(zipEndMark))
		if at < 0 {
			return fits
		}
		if len(tail)-at < zipEndLen {
			continue
		}
		switch comment := int(binary.LittleEndian.Uint16(tail[at+20:])); {
		case at+zipEndLen+comment == len(tail):
			return at
		case at+zipEndLen+comment < len(tail) && fits < 0:
			fits = at
		}
	}
}

// read64 reads the end record of large archives, which stands before the small one.
func (d *zipDirectory) read64(pos int64, offset *int64) (ok bool, at int64, err error) {
	if pos < zip64PlaceLen {
		return false, 0, nil
	}
	place, err := d.in.bytes(pos-zip64PlaceLen, zip64PlaceLen)
	if err != nil || string(place[:4]) != zip64PlaceMrk {
		return false, 0, err
	}
	told := int64(binary.LittleEndian.Uint64(place[8:]))
	for _, at := range []int64{pos - zip64PlaceLen - zip64EndLen, told} {
		if at < 0 || at > pos-zip64PlaceLen-zip64EndLen {
			continue
		}
		end, err := d.in.bytes(at, zip64EndLen)
		if err != nil {
			return false, 0, err
		}
		if string(end[:4]) != zip64EndMark {
			continue
		}
		d.entries = binary.LittleEndian.Uint64(end[32:])
		d.length = int64(binary.LittleEndian.Uint64(end[40:]))
		*offset = int64(binary.LittleEndian.Uint64(end[48:]))
		if d.length < 0 || *offset < 0 || d.length > at {
			return false, 0, zipDamage(at, "its index makes no sense")
		}
		return true, at, nil
	}
	return false, 0, zipDamage(pos, "the end record of its index is missing")
}

// rewind begins again with the first entry.
func (d *zipDirectory) rewind() { d.pos = 0 }

// next reads an entry; io.EOF ends the index.
func (d *zipDirectory) next(e *zipEntry) error {
	if d.pos == d.length {
		return io.EOF
	}
	at := d.start + d.pos
	if d.length-d.pos < zipIndexLen {
		return zipDamage(at, "its index ends too early")
	}
	b, err := d.in.bytes(at, zipIndexLen)
	if err != nil {
		return err
	}
	if string(b[:4]) != zipIndexMark {
		return zipDamage(at, "its index makes no sense here")
	}
	le := binary.LittleEndian
	nameLen, extraLen, commentLen := int64(le.Uint16(b[28:])), int64(le.Uint16(b[30:])), int64(le.Uint16(b[32:]))
	*e = zipEntry{
		host: b[5], flags: le.Uint16(b[8:]), method: le.Uint16(b[10:]), mtime: dosTime(le.Uint16(b[14:]), le.Uint16(b[12:])),
		crc: le.Uint32(b[16:]), packed: int64(le.Uint32(b[20:])), size: int64(le.Uint32(b[24:])), external: le.Uint32(b[38:]),
		offset: int64(le.Uint32(b[42:])),
	}
	n := zipIndexLen + nameLen + extraLen
	if n+commentLen > d.length-d.pos {
		return zipDamage(at, "its index ends too early")
	}
	if b, err = d.in.bytes(at, int(n)); err != nil {
		return err
	}
	e.name = b[zipIndexLen : zipIndexLen+nameLen]
	if err := e.readExtra(b[zipIndexLen+nameLen:]); err != nil {
		return zipDamage(at, "%v", err)
	}
	d.pos += n + commentLen
	e.offset += d.base
	if e.packed < 0 || e.size < 0 || e.offset < 0 || e.offset > d.start-zipLocalLen || e.packed > d.start-zipLocalLen-e.offset {
		return zipDamage(at, "an entry of its index points outside of it")
	}
	return nil
}

// readExtra takes the sizes of large members and the exact time from the extra fields.
func (e *zipEntry) readExtra(b []byte) error {
	le := binary.LittleEndian
	for len(b) >= 4 {
		id, n := le.Uint16(b), int(le.Uint16(b[2:]))
		if n > len(b)-4 {
			return nil // old programs pad; what is missing here is noticed elsewhere
		}
		field := b[4 : 4+n]
		b = b[4+n:]
		switch {
		case id == 0x0001:
			for _, v := range []*int64{&e.size, &e.packed, &e.offset} {
				if *v != 0xffffffff {
					continue
				}
				if len(field) < 8 {
					return errors.New("the sizes of a large member are missing")
				}
				*v, field = int64(le.Uint64(field)), field[8:]
			}
		case id == 0x5455 && n >= 5 && field[0]&1 != 0: // UTC, and without the zone of the builder
			e.mtime = unix.Timespec{Sec: int64(int32(le.Uint32(field[1:])))}
		case id == 0x5855 && n >= 8: // the same of older programs
			e.mtime = unix.Timespec{Sec: int64(int32(le.Uint32(field[4:])))}
		}
	}
	return nil
}

// dosTime is local time in steps of two seconds.
func dosTime(date, clock uint16) unix.Timespec {
	t := time.Date(int(date>>9)+1980, time.Month(date>>5&15), int(date&31), int(clock>>11), int(clock>>5&63), int(clock&31)*2, 0, time.Local)
	return unix.Timespec{Sec: t.Unix()}
}

// windowReader reads a file through a window, because what is read lies close together.
type windowReader struct {
	f    io.ReaderAt
	size int64
	buf  []byte
	off  int64 // of buf in the file
	n    int
}

// bytes returns n bytes at off, valid until the next call. The window grows to hold them.
func (w *windowReader) bytes(off int64, n int) ([]byte, error) {
	if off < 0 || off > w.size || int64(n) > w.size-off {
		return nil, io.ErrUnexpectedEOF
	}
	if off < w.off || off+int64(n) > w.off+int64(w.n) {
		if n > len(w.buf) {
			w.buf = make([]byte, n)
		}
		want := min(int64(len(w.buf)), w.size-off)
		got, err := w.f.ReadAt(w.buf[:want], off)
		w.off, w.n = off, got
		if got < n {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return w.buf[off-w.off:][:n], nil
}
