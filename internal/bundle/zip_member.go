package bundle

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"codedeploy-agent/internal/inflate"
)

// The ways of storing a member that a bundle may use.
const (
	zipStored   = 0
	zipDeflated = 8
)

// zipWindow is what a writer reads at once and the largest file that it holds whole.
const zipWindow = 256 << 10

// zipRunLength is how many members a writer gets at once: enough for them to lie in few windows.
const zipRunLength = 64

// zipWork is one file to be unpacked.
type zipWork struct {
	newFile
	entry  zipEntry
	number int64
}

// zipRun is a batch of files that follow one another in the index.
type zipRun struct {
	reader *zipReader
	work   []zipWork
	held   []*folder
	bytes  int64
}

func (r *zipRun) add(w zipWork) {
	w.entry.name = nil
	if n := len(r.held); n == 0 || r.held[n-1] != w.at {
		w.at.hold()
		r.held = append(r.held, w.at)
	}
	r.work = append(r.work, w)
	r.bytes += w.entry.packed
}

func (r *zipRun) full() bool { return len(r.work) >= zipRunLength || r.bytes > 4*zipWindow }

func (r *zipRun) perform(ctx context.Context, by *writer) error {
	if by.zip == nil {
		by.zip = newZipMember(r.reader.f, r.reader.size, zipWindow)
	}
	for i := range r.work {
		if ctx.Err() != nil {
			return nil
		}
		w := &r.work[i]
		if err := by.zip.write(ctx, by.keeper, w); err != nil {
			name := joinPath(w.at.path, w.name)
			if err = r.reader.damageAt(w, name, err); !isUnpackError(err) {
				err = &memberError{member: name, size: w.entry.size, err: err}
			}
			return err
		}
	}
	return nil
}

func (r *zipRun) done() {
	for _, f := range r.held {
		f.release()
	}
	clear(r.work)
	r.work, r.held, r.bytes = r.work[:0], r.held[:0], 0
	r.reader.spare <- r
}

// zipMember unpacks members. Each goroutine has its own.
type zipMember struct {
	window  windowReader
	out     []byte
	packed  bytes.Reader
	large   *bufio.Reader // over members that are larger than the window
	inflate *inflate.Reader
}

func newZipMember(f *os.File, size int64, window int) *zipMember {
	return &zipMember{window: windowReader{f: f, size: size, buf: make([]byte, window)}, out: make([]byte, window)}
}

// locate finds a member's data, which stands behind the local header and its own copies of name and extra fields.
func (m *zipMember) locate(e *zipEntry) (offset int64, err error) {
	b, err := m.window.bytes(e.offset, zipLocalLen)
	if err != nil {
		return 0, err
	}
	if string(b[:4]) != zipLocalMark {
		return 0, zipDamage(e.offset, "no member begins where its index says")
	}
	names := int64(binary.LittleEndian.Uint16(b[26:])) + int64(binary.LittleEndian.Uint16(b[28:]))
	return e.offset + zipLocalLen + names, nil
}

// content returns the data of a member as it was.
func (m *zipMember) content(e *zipEntry, offset int64) (io.Reader, error) {
	if e.packed > int64(len(m.window.buf)) {
		return m.contentOf(io.NewSectionReader(m.window.f, offset, e.packed), e), nil
	}
	b, err := m.window.bytes(offset, int(e.packed))
	if err != nil {
		return nil, err
	}
	if e.method == zipStored {
		m.packed.Reset(b)
		return &m.packed, nil
	}
	m.inflater().ResetBytes(b)
	return m.inflate, nil
}

// contentOf returns the data of a member that is larger than the window.
func (m *zipMember) contentOf(packed io.Reader, e *zipEntry) io.Reader {
	if e.method == zipStored {
		return packed
	}
	if m.large == nil {
		m.large = bufio.NewReaderSize(nil, 128<<10)
	}
	m.large.Reset(packed)
	m.inflater().Reset(m.large)
	return m.inflate
}

func (m *zipMember) inflater() *inflate.Reader {
	if m.inflate == nil {
		m.inflate = new(inflate.Reader)
	}
	return m.inflate
}

// unpack hands the content of a member to sink, in one piece if it fits the buffer, and checks size and checksum.
func (m *zipMember) unpack(w *zipWork, sink func([]byte) error) error {
	e := &w.entry
	offset, err := m.locate(e)
	if err != nil {
		return err
	}
	if e.method == zipStored && e.packed != e.size {
		return zipDamage(offset, "its sizes contradict each other")
	}
	r, err := m.content(e, offset)
	if err != nil {
		return err
	}
	var crc uint32
	for left := e.size; left > 0; {
		p := m.out[:min(left, int64(len(m.out)))]
		if _, err := io.ReadFull(r, p); err != nil {
			return zipContentError(offset, err)
		}
		crc = crc32.Update(crc, crc32.IEEETable, p)
		left -= int64(len(p))
		if left == 0 {
			if err := zipContentEnd(r, offset, crc, e); err != nil {
				return err
			}
		}
		if err := sink(p); err != nil {
			return err
		}
	}
	if e.size == 0 {
		return zipContentEnd(r, offset, crc, e)
	}
	return nil
}

// zipContentEnd demands that the data ends here and was right.
func zipContentEnd(r io.Reader, offset int64, crc uint32, e *zipEntry) error {
	var more [1]byte
	switch n, err := r.Read(more[:]); {
	case n > 0:
		return zipDamage(offset, "it unpacks to more than its index says")
	case err != io.EOF:
		return zipContentError(offset, err)
	case crc != e.crc:
		return zipDamage(offset, "its checksum is wrong")
	}
	return nil
}

func zipContentError(offset int64, err error) error {
	if pathErr, ok := err.(*os.PathError); ok {
		return pathErr
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return zipDamage(offset, "its data ends too early")
	}
	return zipDamage(offset, "its data cannot be decompressed: %v", err)
}

// write unpacks a member into its file.
func (m *zipMember) write(ctx context.Context, k keeper, w *zipWork) error {
	if w.entry.size <= int64(len(m.out)) {
		err := m.unpack(w, func(p []byte) error { w.data = p; return nil })
		if err != nil {
			return err
		}
		return k.write(&w.newFile)
	}
	fd, err := k.create(&w.newFile)
	if err != nil {
		return err
	}
	err = m.unpack(w, func(p []byte) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return writeAll(fd, p)
	})
	if err == nil {
		err = k.settle(fd, &w.meta)
	}
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	return err
}
