package bundle

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/minio/crc64nvme"
	"go.uber.org/zap"
)

// checksumKind is one of the algorithms that S3 keeps check sums of.
type checksumKind struct {
	name, header string
	size         int
	newHash      func() hash.Hash
	crc          *crcKind // nil when sums of parts cannot be joined to that of the whole
}

// checksumKinds holds the cheap ones first: those are computed while the bytes come.
var checksumKinds = []*checksumKind{
	{"crc64nvme", "X-Amz-Checksum-Crc64nvme", 8, func() hash.Hash { return crc64nvme.New() }, &crc64NVME},
	{"crc32c", "X-Amz-Checksum-Crc32c", 4, func() hash.Hash { return crc32.New(castagnoli) }, &crc32C},
	{"crc32", "X-Amz-Checksum-Crc32", 4, func() hash.Hash { return crc32.NewIEEE() }, &crc32IEEE},
	{"sha256", "X-Amz-Checksum-Sha256", sha256.Size, sha256.New, nil},
	{"sha512", "X-Amz-Checksum-Sha512", sha512.Size, sha512.New, nil},
	{"sha1", "X-Amz-Checksum-Sha1", sha1.Size, sha1.New, nil},
	{"md5", "X-Amz-Checksum-Md5", md5.Size, md5.New, nil},
}

// checksum is what S3 keeps of the whole object, and the CRC that is computed while its bytes come. The zero value
// stands for an object without check sums; its CRC is for the log.
type checksum struct {
	kind *checksumKind
	want []byte
	// parts is the number of parts whose check sums were summed up (a composite check sum), 0 for one over all bytes.
	parts int
}

// chooseChecksum takes the best check sum of an answer about the whole object.
func chooseChecksum(h http.Header, log *zap.Logger) checksum {
	for _, kind := range checksumKinds {
		text := h.Get(kind.header)
		if text == "" {
			continue
		}
		want, parts, err := parseChecksum(text, kind.size)
		if err != nil {
			log.Debug("A check sum of the server makes no sense", zap.String("header", kind.header), zap.Error(err))
			continue
		}
		return checksum{kind: kind, want: want, parts: parts}
	}
	return checksum{}
}

// maxObjectParts is the largest number of parts that an object in S3 can have.
const maxObjectParts = 10_000

// parseChecksum reads base64, followed by a dash and the number of parts when it is a composite one.
func parseChecksum(text string, size int) (sum []byte, parts int, err error) {
	value, count, composite := strings.Cut(strings.TrimSpace(text), "-")
	if sum, err = base64.StdEncoding.Strict().DecodeString(value); err != nil {
		return nil, 0, err
	}
	if len(sum) != size {
		return nil, 0, fmt.Errorf("it has %d bytes instead of %d", len(sum), size)
	}
	if composite {
		n, err := strconv.ParseUint(count, 10, 31)
		if err != nil || n < 1 || n > maxObjectParts {
			return nil, 0, fmt.Errorf("it has %.20q parts", count)
		}
		parts = int(n)
	}
	return sum, parts, nil
}

// running is the CRC that is computed while the bytes come.
func (c checksum) running() *checksumKind {
	if c.kind != nil && c.kind.crc != nil && c.parts == 0 {
		return c.kind
	}
	return checksumKinds[0]
}

func (c checksum) update(crc uint64, b []byte) uint64 { return c.running().crc.update(crc, b) }

func (c checksum) combine(crc, next uint64, nextLength int64) uint64 {
	return c.running().crc.combine(crc, next, nextLength)
}

// verify compares the file with the check sum that S3 keeps, and returns the digest that was computed.
func (d *s3Download) verify(ctx context.Context, size int64, crc uint64) (digest string, err error) {
	kind := d.sum.running()
	got := binary.BigEndian.AppendUint64(nil, crc)[8-kind.size:]
	switch {
	case d.sum.kind == nil:
		return digestText(kind, got), nil
	case d.sum.parts > 0:
		composite, ok, err := d.composite(ctx, size)
		if err != nil || !ok {
			return digestText(kind, got), err
		}
		kind, got = d.sum.kind, composite
	case d.sum.kind.crc == nil:
		kind = d.sum.kind
		if got, err = hashSpan(ctx, d.file.file, kind, 0, size); err != nil {
			return "", err
		}
	}
	if !bytes.Equal(got, d.sum.want) {
		return "", &errAgain{fmt.Sprintf("its check sum is %s, but S3 has %s",
			digestText(kind, got), digestText(kind, d.sum.want))}
	}
	return digestText(kind, got), nil
}

func digestText(kind *checksumKind, sum []byte) string {
	return kind.name + ":" + base64.StdEncoding.EncodeToString(sum)
}

// hashSpan computes the check sum of a span of a file.
func hashSpan(ctx context.Context, file io.ReaderAt, kind *checksumKind, start, end int64) ([]byte, error) {
	buf, err := takeBuffer(ctx)
	if err != nil {
		return nil, err
	}
	defer giveBuffer(buf)
	h := kind.newHash()
	for start < end && ctx.Err() == nil {
		n, err := file.ReadAt(buf[:min(end-start, bufferSize)], start)
		h.Write(buf[:n])
		start += int64(n)
		if err != nil && start < end {
			return nil, fmt.Errorf("cannot read the file back: %w", err)
		}
	}
	return h.Sum(nil), context.Cause(ctx)
}
