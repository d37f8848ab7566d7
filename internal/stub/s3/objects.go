package s3

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// kept are the headers of a PutObject that a GetObject returns.
var kept = []string{"Content-Type", "Content-Encoding", "Content-Disposition", "Content-Language", "Cache-Control", "Expires"}

func keptHeaders(r *http.Request) map[string]string {
	headers := map[string]string{}
	for _, name := range kept {
		value := r.Header.Get(name)
		if name == "Content-Encoding" {
			value = strings.Trim(strings.TrimPrefix(value, "aws-chunked"), ", ")
		}
		if value != "" {
			headers[name] = value
		}
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Amz-Meta-") {
			headers[name] = r.Header.Get(name)
		}
	}
	return headers
}

func (s *Server) putObject(c *call) error {
	if err := s.mayReplace(c); err != nil {
		return err
	}
	v, err := s.receive(c.Request, c.signed)
	if err != nil {
		return err
	}
	v.Headers = keptHeaders(c.Request)
	if err := s.store.put(c.bucket, c.key, v); err != nil {
		v.discard()
		return err
	}
	c.writeVersion(v)
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// mayReplace honours conditional writes.
func (s *Server) mayReplace(c *call) error {
	old, err := s.store.get(c.bucket, c.key, "")
	if errors.Is(err, errNoBucket) {
		return err
	}
	if c.Header.Get("If-None-Match") == "*" && old != nil {
		return errPrecondition
	}
	if want := c.Header.Get("If-Match"); want != "" && (old == nil || !sameETag(want, old.ETag)) {
		return errPrecondition
	}
	return nil
}

// writeVersion sets the headers that a write answers.
func (c *call) writeVersion(v *Version) {
	h := c.w.Header()
	h.Set("ETag", quote(v.ETag))
	if v.ID != "null" {
		h.Set("X-Amz-Version-Id", v.ID)
	}
	for name, sum := range v.Checksums {
		h.Set(name, sum)
		h.Set("X-Amz-Checksum-Type", v.ChecksumType)
	}
}

func (s *Server) getObject(c *call) error {
	v, err := s.store.get(c.bucket, c.key, c.query.Get("versionId"))
	if err != nil {
		return err
	}
	c.describe(v)
	if err := c.condition(v); err != nil {
		return err
	}
	first, length, partial, err := c.wantedRange(v)
	if err != nil {
		c.w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", v.Size))
		return err
	}
	status := http.StatusOK
	h := c.w.Header()
	if partial {
		status = http.StatusPartialContent
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, first+length-1, v.Size))
	} else if strings.EqualFold(c.Header.Get("X-Amz-Checksum-Mode"), "ENABLED") {
		for name, sum := range v.Checksums {
			h.Set(name, sum)
			h.Set("X-Amz-Checksum-Type", v.ChecksumType)
		}
	}
	h.Set("Content-Length", strconv.FormatInt(length, 10))
	if c.Method == http.MethodHead {
		c.w.WriteHeader(status)
		return nil
	}
	f, err := os.Open(v.file)
	if err != nil {
		return errNoKey // overwritten in this very moment
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Seek(first, io.SeekStart); err != nil {
		return err
	}
	c.w.WriteHeader(status)
	_, _ = io.Copy(c.w, io.LimitReader(f, length))
	return nil
}

// describe sets the headers of an object.
func (c *call) describe(v *Version) {
	h := c.w.Header()
	for name, value := range v.Headers {
		h.Set(name, value)
	}
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "binary/octet-stream")
	}
	h.Set("ETag", quote(v.ETag))
	h.Set("Last-Modified", v.Modified.UTC().Format(http.TimeFormat))
	h.Set("Accept-Ranges", "bytes")
	if v.ID != "null" {
		h.Set("X-Amz-Version-Id", v.ID)
	}
	for name, target := range map[string]string{"response-content-type": "Content-Type", "response-content-disposition": "Content-Disposition"} {
		if value := c.query.Get(name); value != "" {
			h.Set(target, value)
		}
	}
}

// condition checks the If headers of a read.
func (c *call) condition(v *Version) error {
	if want := c.Header.Get("If-Match"); want != "" && want != "*" && !sameETag(want, v.ETag) {
		return errPrecondition
	}
	notModified := refusal(http.StatusNotModified, "NotModified", "Not Modified")
	if have := c.Header.Get("If-None-Match"); have != "" && (have == "*" || sameETag(have, v.ETag)) {
		return notModified
	}
	modified := v.Modified.Truncate(time.Second)
	if at, err := http.ParseTime(c.Header.Get("If-Unmodified-Since")); err == nil && c.Header.Get("If-Match") == "" && modified.After(at) {
		return errPrecondition
	}
	if at, err := http.ParseTime(c.Header.Get("If-Modified-Since")); err == nil && c.Header.Get("If-None-Match") == "" && !modified.After(at) {
		return notModified
	}
	return nil
}

// wantedRange finds the part of the object that is asked for. A Range that cannot be read is ignored, as HTTP says.
func (c *call) wantedRange(v *Version) (first, length int64, partial bool, err error) {
	if c.ignoreRange {
		return 0, v.Size, false, nil
	}
	if n := c.query.Get("partNumber"); n != "" {
		return c.wantedPart(v, n)
	}
	text, ok := strings.CutPrefix(c.Header.Get("Range"), "bytes=")
	from, to, dash := strings.Cut(text, "-")
	if !ok || !dash || strings.Contains(text, ",") {
		return 0, v.Size, false, nil
	}
	if from == "" {
		n, err := strconv.ParseInt(to, 10, 64)
		if err != nil || n < 0 {
			return 0, v.Size, false, nil
		}
		if n == 0 || v.Size == 0 {
			return 0, 0, false, errRange
		}
		n = min(n, v.Size)
		return v.Size - n, n, true, nil
	}
	first, err = strconv.ParseInt(from, 10, 64)
	if err != nil {
		return 0, v.Size, false, nil
	}
	last := v.Size - 1
	if to != "" {
		n, err := strconv.ParseInt(to, 10, 64)
		if err != nil || n < first {
			return 0, v.Size, false, nil
		}
		last = min(n, last)
	}
	if first >= v.Size {
		return 0, 0, false, errRange
	}
	return first, last - first + 1, true, nil
}

func (c *call) wantedPart(v *Version, number string) (first, length int64, partial bool, err error) {
	n, err := strconv.Atoi(number)
	sizes := v.Parts
	if len(sizes) == 0 {
		sizes = []int64{v.Size}
	}
	if err != nil || n < 1 || n > len(sizes) {
		return 0, 0, false, refusal(http.StatusRequestedRangeNotSatisfiable, "InvalidPartNumber", "The requested partnumber is not satisfiable")
	}
	for _, size := range sizes[:n-1] {
		first += size
	}
	if len(v.Parts) > 0 {
		c.w.Header().Set("X-Amz-Mp-Parts-Count", strconv.Itoa(len(v.Parts)))
	}
	return first, sizes[n-1], v.Size > 0, nil
}

func (s *Server) deleteObject(c *call) error {
	marker, err := s.store.remove(c.bucket, c.key, c.query.Get("versionId"))
	if err != nil {
		return err
	}
	if marker != nil {
		c.w.Header().Set("X-Amz-Delete-Marker", "true")
		c.w.Header().Set("X-Amz-Version-Id", marker.ID)
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) deleteObjects(c *call) error {
	var in struct {
		Quiet  bool
		Object []struct{ Key, VersionId string }
	}
	if err := c.readXML(&in); err != nil {
		return err
	}
	type deleted struct{ Key string }
	out := struct {
		XMLName xml.Name `xml:"DeleteResult"`
		Deleted []deleted
	}{}
	for _, o := range in.Object {
		if _, err := s.store.remove(c.bucket, o.Key, o.VersionId); err != nil {
			return err
		}
		if !in.Quiet {
			out.Deleted = append(out.Deleted, deleted{o.Key})
		}
	}
	return writeXML(c.w, out)
}

func (s *Server) copyObject(c *call) error {
	old, err := s.sourceOf(c)
	if err != nil {
		return err
	}
	v := *old
	if c.Header.Get("X-Amz-Metadata-Directive") == "REPLACE" {
		v.Headers = keptHeaders(c.Request)
	}
	if v.file, err = s.duplicate(old.file); err != nil {
		return err
	}
	if err := s.store.put(c.bucket, c.key, &v); err != nil {
		return err
	}
	return writeXML(c.w, copyXML{XMLName: xml.Name{Local: "CopyObjectResult"}, ETag: quote(v.ETag), LastModified: timestamp(v.Modified)})
}

type copyXML struct {
	XMLName            xml.Name
	ETag, LastModified string
}

// sourceOf finds the object that a copy starts from.
func (s *Server) sourceOf(c *call) (*Version, error) {
	source, version, _ := strings.Cut(c.Header.Get("X-Amz-Copy-Source"), "?versionId=")
	source, err := url.PathUnescape(strings.TrimPrefix(source, "/"))
	if err != nil {
		return nil, refusal(http.StatusBadRequest, "InvalidArgument", "x-amz-copy-source cannot be read")
	}
	bucketName, key, _ := strings.Cut(source, "/")
	return s.store.get(bucketName, key, version)
}

func (s *Server) duplicate(file string) (string, error) {
	in, err := os.Open(file)
	if err != nil {
		return "", errNoKey
	}
	defer func() { _ = in.Close() }()
	out, err := s.store.create()
	if err != nil {
		return "", err
	}
	if _, err = io.Copy(out, in); err != nil {
		_ = out.Close()
		return "", err
	}
	return out.Name(), out.Close()
}

// readXML reads a small document from the body.
func (c *call) readXML(into any) error {
	b, err := io.ReadAll(io.LimitReader(newStream(c.Request, c.Header.Get("X-Amz-Content-Sha256"), c.signed), 4<<20))
	if err != nil {
		return err
	}
	if err := xml.Unmarshal(b, into); err != nil {
		return refusal(http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed: %v", err)
	}
	return nil
}

// sameETag compares a header, which may list several tags, with a tag.
func sameETag(header, etag string) bool {
	for part := range strings.SplitSeq(header, ",") {
		if strings.Trim(strings.TrimPrefix(strings.TrimSpace(part), "W/"), `"`) == etag {
			return true
		}
	}
	return false
}

func quote(etag string) string { return `"` + etag + `"` }

func timestamp(t time.Time) string {
	return cmp.Or(t, time.Unix(0, 0)).UTC().Format("2006-01-02T15:04:05.000Z")
}
