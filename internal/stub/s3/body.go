package s3

import (
	"bufio"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"codedeploy-agent/internal/stub/sigv4"
)

const (
	unsignedPayload = "UNSIGNED-PAYLOAD"
	streamingPrefix = "STREAMING-"
	checksumPrefix  = "X-Amz-Checksum-"
	// chunkLimit bounds one chunk of a signed stream, which is checked as a whole.
	chunkLimit = 16 << 20
)

// hashes are the additional checksums by the algorithm's name.
var hashes = map[string]func() hash.Hash{
	"CRC32":     func() hash.Hash { return crc32.NewIEEE() },
	"CRC32C":    func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) },
	"CRC64NVME": func() hash.Hash { return crc64.New(crc64.MakeTable(0x9a6c9329ac4bc9b5)) },
	"SHA1":      sha1.New,
	"SHA256":    sha256.New,
}

func checksumHeader(algorithm string) string {
	return textproto.CanonicalMIMEHeaderKey(checksumPrefix + algorithm)
}

// receive streams the body of r into a new file, checking everything that the client said about it.
func (s *Server) receive(r *http.Request, signed *sigv4.Signed) (*Version, error) {
	f, err := s.store.create()
	if err != nil {
		return nil, err
	}
	v, err := s.receiveInto(f, r, signed)
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		(&Version{file: f.Name()}).discard()
		return nil, err
	}
	return v, nil
}

func (s *Server) receiveInto(f io.Writer, r *http.Request, signed *sigv4.Signed) (*Version, error) {
	promised := r.Header.Get("X-Amz-Content-Sha256")
	stream := newStream(r, promised, signed)
	contentMD5, payload := md5.New(), sha256.New()
	sinks := []io.Writer{f, contentMD5, payload}
	sums := map[string]hash.Hash{}
	for _, a := range wantedChecksums(r) {
		sums[a] = hashes[a]()
		sinks = append(sinks, sums[a])
	}
	n, err := io.CopyBuffer(io.MultiWriter(sinks...), onlyReader{stream}, make([]byte, 256<<10))
	if err != nil {
		return nil, err
	}
	if want := r.Header.Get("X-Amz-Decoded-Content-Length"); want != "" && want != strconv.FormatInt(n, 10) {
		return nil, refusal(http.StatusBadRequest, "IncompleteBody", "The request body has %d bytes, announced were %s.", n, want)
	}
	if len(promised) == 64 && promised != hex.EncodeToString(payload.Sum(nil)) {
		return nil, refusal(http.StatusBadRequest, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.")
	}
	if want := r.Header.Get("Content-Md5"); want != "" && want != base64.StdEncoding.EncodeToString(contentMD5.Sum(nil)) {
		return nil, refusal(http.StatusBadRequest, "BadDigest", "The Content-MD5 you specified did not match what we received.")
	}
	v := &Version{Size: n, ETag: hex.EncodeToString(contentMD5.Sum(nil)), Checksums: map[string]string{}, ChecksumType: "FULL_OBJECT"}
	if named, ok := f.(interface{ Name() string }); ok {
		v.file = named.Name()
	}
	for a, h := range sums {
		got := base64.StdEncoding.EncodeToString(h.Sum(nil))
		want := r.Header.Get(checksumHeader(a))
		if want == "" {
			want = stream.trailer(checksumHeader(a))
		}
		if want != "" && want != got {
			return nil, refusal(http.StatusBadRequest, "BadDigest", "The %s you specified did not match the calculated checksum.", a)
		}
		v.Checksums[checksumHeader(a)] = got
	}
	return v, nil
}

// wantedChecksums finds the algorithms in the three places where a client may name them.
func wantedChecksums(r *http.Request) []string {
	var found []string
	trailers := strings.ToLower(r.Header.Get("X-Amz-Trailer"))
	for a := range hashes {
		name := strings.ToLower(checksumPrefix + a)
		if r.Header.Get(name) != "" || strings.Contains(trailers, name) || strings.EqualFold(r.Header.Get("X-Amz-Sdk-Checksum-Algorithm"), a) {
			found = append(found, a)
		}
	}
	return found
}

// stream reads a body, aws-chunked or plain.
type stream interface {
	io.Reader
	trailer(name string) string
}

// onlyReader keeps io.Copy from being clever.
type onlyReader struct{ io.Reader }

type plainStream struct{ io.Reader }

func (plainStream) trailer(string) string { return "" }

func newStream(r *http.Request, payload string, signed *sigv4.Signed) stream {
	if !strings.HasPrefix(payload, streamingPrefix) {
		return plainStream{r.Body}
	}
	c := &chunked{in: bufio.NewReaderSize(r.Body, 64<<10), trailers: textproto.MIMEHeader{}}
	if strings.Contains(payload, "HMAC-SHA256") && signed != nil {
		c.signed, c.previous = signed, signed.Signature
	}
	return c
}

// chunked decodes aws-chunked: "SIZE[;chunk-signature=S]\r\n DATA \r\n ... 0 ... trailers".
type chunked struct {
	in       *bufio.Reader
	left     int64 // of the current chunk
	data     []byte
	signed   *sigv4.Signed
	previous string
	trailers textproto.MIMEHeader
	ended    bool
}

func (c *chunked) trailer(name string) string { return c.trailers.Get(name) }

var errChunk = refusal(http.StatusBadRequest, "IncompleteBody", "The aws-chunked body is malformed or ends too early.")

func (c *chunked) Read(p []byte) (int, error) {
	for {
		switch {
		case len(c.data) > 0:
			n := copy(p, c.data)
			c.data = c.data[n:]
			return n, nil
		case c.left > 0:
			return c.readPlain(p)
		case c.ended:
			return 0, io.EOF
		}
		if err := c.nextChunk(); err != nil {
			return 0, err
		}
	}
}

// readPlain passes on a chunk without a signature, however long.
func (c *chunked) readPlain(p []byte) (int, error) {
	n, err := c.in.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if c.left == 0 {
		return n, c.endOfChunk()
	}
	if errors.Is(err, io.EOF) {
		err = errChunk
	}
	return n, err
}

func (c *chunked) endOfChunk() error {
	if line, err := c.line(); err != nil || line != "" {
		return errChunk
	}
	return nil
}

func (c *chunked) line() (string, error) {
	line, err := c.in.ReadSlice('\n')
	return strings.TrimRight(string(line), "\r\n"), err
}

func (c *chunked) nextChunk() error {
	line, err := c.line()
	if err != nil {
		return errChunk
	}
	sizeText, extension, _ := strings.Cut(line, ";")
	size, err := strconv.ParseInt(strings.TrimSpace(sizeText), 16, 64)
	if err != nil || size < 0 {
		return errChunk
	}
	if c.signed != nil {
		if err := c.signedChunk(size, strings.TrimPrefix(extension, "chunk-signature=")); err != nil {
			return err
		}
	} else {
		c.left = size
	}
	if size == 0 {
		c.ended = true
		return c.readTrailers()
	}
	return nil
}

func (c *chunked) signedChunk(size int64, signature string) error {
	if size > chunkLimit {
		return refusal(http.StatusBadRequest, "EntityTooLarge", "A signed chunk may have %d bytes at most.", chunkLimit)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(c.in, data); err != nil {
		return errChunk
	}
	c.previous = c.signed.Chunk("PAYLOAD", c.previous, data)
	if !hmac.Equal([]byte(c.previous), []byte(signature)) {
		return refusal(http.StatusForbidden, "SignatureDoesNotMatch", "The signature of a chunk does not match.")
	}
	c.data = data
	if size > 0 {
		return c.endOfChunk()
	}
	return nil
}

// readTrailers reads to the empty line or the end of the body.
func (c *chunked) readTrailers() error {
	var plain strings.Builder
	for {
		line, err := c.line()
		if line == "" {
			return nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return errChunk
		}
		if strings.EqualFold(name, "x-amz-trailer-signature") {
			if c.signed != nil && c.signed.Chunk("TRAILER", c.previous, []byte(plain.String())) != strings.TrimSpace(value) {
				return refusal(http.StatusForbidden, "SignatureDoesNotMatch", "The signature of the trailer does not match.")
			}
			continue
		}
		c.trailers.Set(name, strings.TrimSpace(value))
		plain.WriteString(strings.ToLower(name) + ":" + strings.TrimSpace(value) + "\n")
		if err != nil {
			return nil
		}
	}
}
