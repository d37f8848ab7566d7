package bundle

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"codedeploy-agent/internal/inflate"
)

// The fields that may stand in the head of a gzip member (RFC 1952).
const (
	gzipHeadSum = 1 << 1
	gzipExtra   = 1 << 2
	gzipName    = 1 << 3
	gzipComment = 1 << 4

	gzipDeflate = 8
)

var gzipMark = []byte{0x1f, 0x8b}

var (
	errGzipHead = errors.New("the head of the gzip data is damaged")
	errGzipSum  = errors.New("the checksum of the gzip data is wrong")
)

// gzipStream reads a gzip file of one or more members, as gzip(1) does: zeros after the last one are ignored, and so
// is anything else, with a warning.
type gzipStream struct {
	in   *bufio.Reader
	warn func(string, ...any)

	inflate inflate.Reader
	sum     uint32 // of what the member gave so far
	size    uint32 // of it, modulo 2^32
}

func newGzipStream(in *bufio.Reader, warn func(string, ...any)) (*gzipStream, error) {
	g := &gzipStream{in: in, warn: warn}
	return g, g.head()
}

func (g *gzipStream) Read(p []byte) (int, error) {
	n, err := g.inflate.Read(p)
	g.sum = crc32.Update(g.sum, crc32.IEEETable, p[:n])
	g.size += uint32(n)
	if err == io.EOF {
		if err = g.tail(); err == nil {
			err = g.next()
		}
	}
	return n, err
}

// head reads what stands before the compressed data of a member.
func (g *gzipStream) head() error {
	h := gzipHead{in: g.in}
	b, err := h.bytes(10)
	if err != nil {
		return err
	}
	if !bytes.Equal(b[:2], gzipMark) || b[2] != gzipDeflate {
		return errGzipHead
	}
	if err := h.fields(b[3]); err != nil {
		return err
	}
	g.sum, g.size = 0, 0
	g.inflate.Reset(g.in)
	return nil
}

// gzipHead sums up the head of a member as it reads it.
type gzipHead struct {
	in  *bufio.Reader
	sum uint32
}

func (h *gzipHead) bytes(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(h.in, b)
	h.sum = crc32.Update(h.sum, crc32.IEEETable, b)
	return b, cutShort(err)
}

// text skips what ends with a zero. What does not end in one buffer is no name.
func (h *gzipHead) text() error {
	b, err := h.in.ReadSlice(0)
	h.sum = crc32.Update(h.sum, crc32.IEEETable, b)
	if err == bufio.ErrBufferFull {
		return errGzipHead
	}
	return cutShort(err)
}

func (h *gzipHead) fields(flags byte) error {
	if flags&gzipExtra != 0 {
		b, err := h.bytes(2)
		if err == nil {
			_, err = h.bytes(int(binary.LittleEndian.Uint16(b)))
		}
		if err != nil {
			return err
		}
	}
	for _, field := range []byte{gzipName, gzipComment} {
		if flags&field == 0 {
			continue
		}
		if err := h.text(); err != nil {
			return err
		}
	}
	if flags&gzipHeadSum == 0 {
		return nil
	}
	want := uint16(h.sum)
	b, err := h.bytes(2)
	if err == nil && binary.LittleEndian.Uint16(b) != want {
		err = errGzipHead
	}
	return err
}

// tail compares what came out of a member with what stands behind it.
func (g *gzipStream) tail() error {
	var b [8]byte
	if _, err := io.ReadFull(g.in, b[:]); err != nil {
		return cutShort(err)
	}
	if binary.LittleEndian.Uint32(b[:4]) != g.sum || binary.LittleEndian.Uint32(b[4:]) != g.size {
		return errGzipSum
	}
	return nil
}

func cutShort(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// next begins the member that follows and returns io.EOF when there is none.
func (g *gzipStream) next() error {
	for {
		head, err := g.in.Peek(len(gzipMark))
		switch {
		case len(head) == 0:
			return err
		case head[0] == 0:
			_, _ = g.in.Discard(1)
			continue
		case !bytes.Equal(head, gzipMark):
			g.warn("bytes after the end of the gzip data were ignored")
			return io.EOF
		}
		return g.head()
	}
}
