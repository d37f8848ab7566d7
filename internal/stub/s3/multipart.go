package s3

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "%2F", "/") }

func (s *Server) createUpload(c *call) error {
	if err := s.store.view(c.bucket, func(*bucket) {}); err != nil {
		return err
	}
	u := &upload{
		bucket: c.bucket, key: c.key, headers: keptHeaders(c.Request), parts: map[int]*Version{}, started: time.Now(),
		algorithm: strings.ToUpper(c.Header.Get("X-Amz-Checksum-Algorithm")), kind: c.Header.Get("X-Amz-Checksum-Type"),
	}
	if u.kind == "" {
		u.kind = "COMPOSITE"
		if u.algorithm == "CRC64NVME" {
			u.kind = "FULL_OBJECT"
		}
	}
	s.store.mu.Lock()
	s.store.last++
	id := fmt.Sprintf("upload%026d", s.store.last)
	s.store.uploads[id] = u
	s.store.mu.Unlock()
	if u.algorithm != "" {
		c.w.Header().Set("X-Amz-Checksum-Algorithm", u.algorithm)
		c.w.Header().Set("X-Amz-Checksum-Type", u.kind)
	}
	return writeXML(c.w, struct {
		XMLName  xml.Name `xml:"InitiateMultipartUploadResult"`
		Xmlns    string   `xml:"xmlns,attr"`
		Bucket   string
		Key      string
		UploadId string
	}{Xmlns: namespace, Bucket: c.bucket, Key: c.key, UploadId: id})
}

// findUpload returns the upload that the request belongs to and, when told, forgets it.
func (s *Server) findUpload(c *call, take bool) (*upload, error) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	id := c.query.Get("uploadId")
	u := s.store.uploads[id]
	if u == nil || u.bucket != c.bucket || u.key != c.key {
		return nil, errNoUpload
	}
	if take {
		delete(s.store.uploads, id)
	}
	return u, nil
}

func (s *Server) uploadPart(c *call) error {
	u, err := s.findUpload(c, false)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(c.query.Get("partNumber"))
	if err != nil || n < 1 || n > 10_000 {
		return refusal(http.StatusBadRequest, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
	}
	copied := c.Header.Get("X-Amz-Copy-Source") != ""
	if copied {
		source, err := s.copySource(c)
		if err != nil {
			return err
		}
		defer func() { _ = source.Close() }()
		c.Body, c.Header = source, http.Header{}
	}
	if u.algorithm != "" && len(wantedChecksums(c.Request)) == 0 {
		c.Header.Set("X-Amz-Sdk-Checksum-Algorithm", u.algorithm)
	}
	v, err := s.receive(c.Request, c.signed)
	if err != nil {
		return err
	}
	s.store.mu.Lock()
	if old := u.parts[n]; old != nil {
		old.discard()
	}
	u.parts[n] = v
	s.store.mu.Unlock()
	if copied {
		return writeXML(c.w, copyXML{XMLName: xml.Name{Local: "CopyPartResult"}, ETag: quote(v.ETag), LastModified: timestamp(time.Now())})
	}
	c.w.Header().Set("ETag", quote(v.ETag))
	for name, sum := range v.Checksums {
		c.w.Header().Set(name, sum)
	}
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// copySource opens the part of an object that UploadPartCopy names.
func (s *Server) copySource(c *call) (io.ReadCloser, error) {
	v, err := s.sourceOf(c)
	if err != nil {
		return nil, err
	}
	first, last := int64(0), v.Size-1
	if r := c.Header.Get("X-Amz-Copy-Source-Range"); r != "" {
		if _, err := fmt.Sscanf(r, "bytes=%d-%d", &first, &last); err != nil || first > last || last >= v.Size {
			return nil, refusal(http.StatusBadRequest, "InvalidArgument", "The x-amz-copy-source-range %q is not valid.", r)
		}
	}
	f, err := os.Open(v.file)
	if err != nil {
		return nil, errNoKey
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, first, last-first+1), f}, nil
}

func (s *Server) abortUpload(c *call) error {
	u, err := s.findUpload(c, true)
	if err != nil {
		return err
	}
	u.discard()
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (u *upload) discard() {
	for _, p := range u.parts {
		p.discard()
	}
}

func (s *Server) completeUpload(c *call) error {
	u, err := s.findUpload(c, false)
	if err != nil {
		return err
	}
	var in struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	if err := c.readXML(&in); err != nil {
		return err
	}
	if len(in.Part) == 0 {
		return refusal(http.StatusBadRequest, "MalformedXML", "You must specify at least one part")
	}
	var parts []*Version
	last := 0
	for _, p := range in.Part {
		v := u.parts[p.PartNumber]
		if v == nil || !sameETag(p.ETag, v.ETag) {
			return refusal(http.StatusBadRequest, "InvalidPart", "Part %d could not be found, or its entity tag does not match.", p.PartNumber)
		}
		if p.PartNumber <= last {
			return refusal(http.StatusBadRequest, "InvalidPartOrder", "The list of parts was not in ascending order.")
		}
		last = p.PartNumber
		parts = append(parts, v)
	}
	v, err := s.assemble(u, parts)
	if err != nil {
		return err
	}
	if err := s.store.put(c.bucket, c.key, v); err != nil {
		return err
	}
	if _, err := s.findUpload(c, true); err == nil {
		u.discard()
	}
	return c.writeCompleted(v)
}

func (c *call) writeCompleted(v *Version) error {
	if v.ID != "null" {
		c.w.Header().Set("X-Amz-Version-Id", v.ID)
	}
	out := struct {
		XMLName           xml.Name `xml:"CompleteMultipartUploadResult"`
		Xmlns             string   `xml:"xmlns,attr"`
		Location          string
		Bucket, Key, ETag string
		ChecksumCRC32     string `xml:",omitempty"`
		ChecksumCRC32C    string `xml:",omitempty"`
		ChecksumCRC64NVME string `xml:",omitempty"`
		ChecksumSHA1      string `xml:",omitempty"`
		ChecksumSHA256    string `xml:",omitempty"`
		ChecksumType      string `xml:",omitempty"`
	}{Xmlns: namespace, Location: "http://" + c.Host + c.URL.Path, Bucket: c.bucket, Key: c.key, ETag: quote(v.ETag)}
	for algorithm, field := range map[string]*string{
		"CRC32": &out.ChecksumCRC32, "CRC32C": &out.ChecksumCRC32C, "CRC64NVME": &out.ChecksumCRC64NVME,
		"SHA1": &out.ChecksumSHA1, "SHA256": &out.ChecksumSHA256,
	} {
		if *field = v.Checksums[checksumHeader(algorithm)]; *field != "" {
			out.ChecksumType = v.ChecksumType
		}
	}
	return writeXML(c.w, out)
}

// assemble joins the parts into one file and works out its tag and checksum.
func (s *Server) assemble(u *upload, parts []*Version) (*Version, error) {
	f, err := s.store.create()
	if err != nil {
		return nil, err
	}
	v := &Version{Headers: u.headers, Checksums: map[string]string{}, ChecksumType: u.kind, file: f.Name()}
	tags := md5.New()
	var whole hash.Hash
	sinks := []io.Writer{f}
	if make := hashes[u.algorithm]; make != nil {
		whole = make()
		if u.kind == "FULL_OBJECT" {
			sinks = append(sinks, whole)
		}
	}
	for _, p := range parts {
		if err := appendFile(io.MultiWriter(sinks...), p.file); err != nil {
			_ = f.Close()
			v.discard()
			return nil, err
		}
		v.Parts = append(v.Parts, p.Size)
		v.Size += p.Size
		raw, _ := hex.DecodeString(p.ETag)
		_, _ = tags.Write(raw)
		if whole != nil && u.kind == "COMPOSITE" {
			raw, _ := base64.StdEncoding.DecodeString(p.Checksums[checksumHeader(u.algorithm)])
			_, _ = whole.Write(raw)
		}
	}
	v.ETag = fmt.Sprintf("%x-%d", tags.Sum(nil), len(parts))
	if whole != nil {
		sum := base64.StdEncoding.EncodeToString(whole.Sum(nil))
		if u.kind == "COMPOSITE" {
			sum += fmt.Sprintf("-%d", len(parts))
		}
		v.Checksums[checksumHeader(u.algorithm)] = sum
	}
	return v, f.Close()
}

func appendFile(w io.Writer, name string) error {
	in, err := os.Open(name)
	if err != nil {
		return errNoUpload
	}
	defer func() { _ = in.Close() }()
	_, err = io.Copy(w, in)
	return err
}
