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
	var sum uint32
	bytesOf := func(n int) ([]byte, error) {
		b := make([]byte, n)
		_, err := io.ReadFull(g.in, b)
		sum = crc32.Update(sum, crc32.IEEETable, b)
		return b, cutShort(err)
	}
	text := func() error {
		for {
			if b, err := bytesOf(1); err != nil || b[0] == 0 {
				return err
			}
		}
	}

	b, err := bytesOf(10)
	if err != nil {
		return err
	}
	if !bytes.Equal(b[:2], gzipMark) || b[2] != gzipDeflate {
		return errGzipHead
	}
	flags := b[3]
	if flags&gzipExtra != 0 {
		if b, err = bytesOf(2); err == nil {
			_, err = bytesOf(int(binary.LittleEndian.Uint16(b)))
		}
	}
	for _, field := range []byte{gzipName, gzipComment} {
		if err == nil && flags&field != 0 {
			err = text()
		}
	}
	if err == nil && flags&gzipHeadSum != 0 {
		want := uint16(sum)
		if b, err = bytesOf(2); err == nil && binary.LittleEndian.Uint16(b) != want {
			err = errGzipHead
		}
	}
	g.sum, g.size = 0, 0
	g.inflate.Reset(g.in)
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
