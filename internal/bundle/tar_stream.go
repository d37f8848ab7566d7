package bundle

import (
	"bufio"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// The ring between the goroutine that decompresses and the one that parses. Whole chunks are whole blocks, so a
// header never lies in two of them.
const (
	tarChunkSize       = 256 << 10
	tarDirectChunkSize = 128 << 10
	tarChunkCount      = 6
)

// tarChunk is a part of the tar stream and, once parsed, the batch of what the writers do with it.
type tarChunk struct {
	size   int
	buf    []byte
	n      int
	err    error // what ended the stream after n bytes
	files  []newFile
	pieces []piece
	held   []*folder
	free   chan<- *tarChunk
}

func (c *tarChunk) perform(ctx context.Context, by *writer) error {
	for i := range c.files {
		if err := by.write(&c.files[i]); err != nil {
			return c.explain(i, err)
		}
	}
	for len(c.pieces) > 0 {
		p := c.pieces[0]
		c.pieces = c.pieces[1:]
		if err := by.writePiece(&p); err != nil {
			return &memberError{member: p.file.name, size: int64(len(p.data)), err: err}
		}
	}
	return nil
}

func (c *tarChunk) explain(i int, err error) error {
	f := &c.files[i]
	return &memberError{member: joinPath(f.at.path, f.name), size: int64(len(f.data)), err: err}
}

func (c *tarChunk) done() {
	c.reset()
	c.free <- c
}

// reset forgets the work. Pieces that were not written give up their share of the file all the same.
func (c *tarChunk) reset() {
	for i := range c.pieces {
		c.pieces[i].file.bad.Store(true)
		_ = c.pieces[i].file.finish(keeper{})
	}
	for _, f := range c.held {
		f.release()
	}
	clear(c.files)
	c.files, c.pieces, c.held = c.files[:0], nil, c.held[:0]
}

// hold keeps the folder open until the chunk is done.
func (c *tarChunk) hold(f *folder) {
	if len(c.held) == 0 || c.held[len(c.held)-1] != f {
		f.hold()
		c.held = append(c.held, f)
	}
}

// tarStream hands out the tar stream block by block.
type tarStream struct {
	ctx    context.Context
	free   <-chan *tarChunk
	filled <-chan *tarChunk
	file   *os.File // instead of filled
	cur    *tarChunk
	pos    int
	offset int64           // of the block that comes next
	pass   func(*tarChunk) // takes a chunk that is parsed
}

// startTarStream starts reading r, which ends with ctx. The goroutine has ended when wait returns.
func startTarStream(ctx context.Context, r io.Reader, pass func(*tarChunk)) (s *tarStream, wait func()) {
	s = newTarStream(ctx, tarChunkSize, pass)
	filled := make(chan *tarChunk, tarChunkCount)
	s.filled = filled
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(filled)
		for more := true; more; {
			c := s.takeFree()
			if c == nil {
				return
			}
			c.fill(r)
			more = c.err == nil
			select {
			case filled <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	return s, func() { <-ended }
}

// directTarStream reads an archive that is not compressed: a goroutine of its own gains nothing there, and what the
// parser does not want to see it may skip.
func directTarStream(ctx context.Context, f *os.File, pass func(*tarChunk)) *tarStream {
	s := newTarStream(ctx, tarDirectChunkSize, pass)
	s.file = f
	return s
}

func newTarStream(ctx context.Context, size int, pass func(*tarChunk)) *tarStream {
	free := make(chan *tarChunk, tarChunkCount)
	for range tarChunkCount {
		free <- &tarChunk{free: free, size: size}
	}
	return &tarStream{ctx: ctx, free: free, pass: pass}
}

func (s *tarStream) takeFree() *tarChunk {
	select {
	case c := <-s.free:
		return c
	case <-s.ctx.Done():
		return nil
	}
}

func (c *tarChunk) fill(r io.Reader) {
	if c.buf == nil {
		c.buf = make([]byte, c.size)
	}
	c.n, c.err = io.ReadFull(r, c.buf)
	if c.err == io.ErrUnexpectedEOF {
		c.err = readerFailure(r)
	}
}

// readerFailure tells a compressed stream that is cut short from one that ends: io.ReadFull cannot.
func readerFailure(r io.Reader) error {
	if f, ok := r.(interface{ failure() error }); ok {
		return f.failure()
	}
	return io.EOF
}

// more makes sure that a byte is at hand, or returns io.EOF or what broke the stream.
func (s *tarStream) more() error {
	for s.cur == nil || s.pos == s.cur.n {
		if s.cur != nil {
			if s.cur.err != nil {
				return s.cur.err
			}
			s.pass(s.cur)
			s.cur = nil
		}
		if s.cur = s.nextChunk(); s.cur == nil {
			return context.Cause(s.ctx)
		}
		s.pos = 0
	}
	return nil
}

// nextChunk is nil when the context has ended.
func (s *tarStream) nextChunk() *tarChunk {
	if s.file != nil {
		c := s.takeFree()
		if c != nil {
			c.fill(s.file)
		}
		return c
	}
	select {
	case c := <-s.filled:
		return c
	case <-s.ctx.Done():
		return nil
	}
}

// tarJump is from which size on a file is copied from the archive inside the kernel.
const tarJump = 1 << 20

// jump leaves the next n bytes and what pads them out and returns where they begin in the file. It is false where the
// stream has to be read.
func (s *tarStream) jump(n int64) (from int64, ok bool, err error) {
	if s.file == nil || n < tarJump || s.cur == nil || s.cur.err != nil && s.cur.err != io.EOF {
		return 0, false, nil
	}
	info, err := s.file.Stat()
	if err != nil || info.Size()-n-tarPadding(n) < s.offset {
		return 0, false, err // reading it will tell
	}
	from = s.offset
	s.offset += n + tarPadding(n)
	if ahead := int64(s.cur.n - s.pos); s.offset-from < ahead {
		s.pos += int(s.offset - from)
		return from, true, nil
	}
	s.pass(s.cur)
	s.cur = nil
	_, err = s.file.Seek(s.offset, io.SeekStart)
	return from, true, err
}

// block returns the next block; it is valid until the next call.
func (s *tarStream) block() ([]byte, error) {
	if err := s.more(); err != nil {
		return nil, err
	}
	if s.cur.n-s.pos < tarBlock {
		err := s.cur.err
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return s.take(tarBlock)
}

// take returns up to n bytes, as many as the chunk at hand has.
func (s *tarStream) take(n int64) ([]byte, error) {
	if err := s.more(); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	n = min(n, int64(s.cur.n-s.pos))
	p := s.cur.buf[s.pos : s.pos+int(n)]
	s.pos += int(n)
	s.offset += n
	return p, nil
}

// whole returns n bytes when they lie in the chunk at hand with their padding, or nil.
func (s *tarStream) whole(n int64) []byte {
	if n == 0 {
		return []byte{}
	}
	if n+tarPadding(n) > int64(s.cur.n-s.pos) {
		return nil
	}
	p := s.cur.buf[s.pos : s.pos+int(n)]
	s.pos += int(n + tarPadding(n))
	s.offset += n + tarPadding(n)
	return p
}

func (s *tarStream) skip(n int64) error {
	for n > 0 {
		p, err := s.take(n)
		if err != nil {
			return err
		}
		n -= int64(len(p))
	}
	return nil
}

// tarPadding is what follows n bytes of data to the end of their last block.
func tarPadding(n int64) int64 { return -n & (tarBlock - 1) }

// openTarStream decompresses the archive. close frees what the decompressor holds.
func openTarStream(f *os.File, kind archiveKind, warn func(string, ...any)) (r io.Reader, close func(), err error) {
	const ahead = 128 << 10
	switch kind {
	case kindGzip:
		g, err := newGzipStream(bufio.NewReaderSize(f, ahead), warn)
		return &sureReader{r: g}, func() {}, err
	case kindZstd:
		z, err := zstd.NewReader(bufio.NewReaderSize(f, ahead), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, nil, err
		}
		return &sureReader{r: z}, z.Close, nil
	case kindBzip2:
		return &sureReader{r: bzip2.NewReader(bufio.NewReaderSize(f, ahead))}, func() {}, nil
	}
	return f, func() {}, nil
}

// sureReader remembers how the stream below it ended.
type sureReader struct {
	r   io.Reader
	err error
}

func (s *sureReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil {
		s.err = err
	}
	return n, err
}

func (s *sureReader) failure() error {
	if s.err == nil {
		return io.EOF
	}
	return s.err
}

// tarStreamReason puts a decompressor's error into words.
func tarStreamReason(err error, kind archiveKind) string {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "it ends too early"
	case errors.Is(err, errGzipSum), errors.Is(err, errGzipHead):
		return err.Error()
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return "it needs more than 128 MiB of memory to decompress (zstd --long)"
	case kind != kindTar:
		return fmt.Sprintf("its data cannot be decompressed: %v", err)
	}
	return err.Error()
}
