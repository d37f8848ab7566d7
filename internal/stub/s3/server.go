// Package s3 is a small S3 for one machine: objects, versions, ranges, multipart uploads and checksums, with signatures
// checked, and with faults on demand. Bytes live in files, names in memory: what was put is gone when the server ends.
package s3

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"codedeploy-agent/internal/stub/fault"
	"codedeploy-agent/internal/stub/record"
	"codedeploy-agent/internal/stub/sigv4"
)

// Options say what the server works with.
type Options struct {
	// Dir is where the bytes go. It is made when missing and removed by Close.
	Dir string
	// Verify checks signatures.
	Verify sigv4.Verifier
	Faults *fault.Set
	Log    *record.Log
}

// Server answers S3 requests.
type Server struct {
	Options
	store *store
}

// New makes a server without buckets.
func New(o Options) (*Server, error) {
	st, err := newStore(o.Dir)
	if err != nil {
		return nil, err
	}
	return &Server{Options: o, store: st}, nil
}

// Close removes the objects.
func (s *Server) Close() error {
	if err := os.RemoveAll(s.store.dir); err != nil {
		return fmt.Errorf("cannot remove the objects: %w", err)
	}
	return nil
}

// call is one request taken apart.
type call struct {
	*http.Request
	w                      http.ResponseWriter
	operation, bucket, key string
	query                  url.Values
	signed                 *sigv4.Signed
	ignoreRange            bool
}

// ServeHTTP answers one request, path style or with the bucket in the host name.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{Request: r, query: r.URL.Query()}
	c.bucket, c.key = place(r)
	var work func(*call) error
	c.operation, work = s.route(c)
	pending, w := s.Log.Begin(w, r, "s3")
	defer pending.End()
	c.w = w
	full := c.bucket
	if c.key != "" {
		full += "/" + c.key
	}
	pending.Note(func(e *record.Request) { e.Operation, e.Key = c.operation, full })
	signed, err := s.Verify.Verify(r, payloadHash(r), "s3")
	if err != nil {
		e := signatureError(err)
		pending.Note(func(n *record.Request) { n.Error = e.code })
		writeError(w, r, e)
		return
	}
	c.signed = signed
	struck := s.Faults.Take(fault.Request{Service: "s3", Operation: c.operation, Host: signed.Key.Owner, Key: full})
	pending.Note(func(e *record.Request) {
		e.AccessKeyID, e.Host, e.Fault = signed.Key.ID, signed.Key.Owner, string(struck.Kind)
	})
	refuse := func(w http.ResponseWriter, status int, code, message string) {
		if code == "" {
			code = codeFor(status)
		}
		writeError(w, r, refusal(status, code, "%s", message))
	}
	if struck.Kind == fault.Throttle && struck.Code == "" {
		struck.Code, struck.Status = "SlowDown", http.StatusServiceUnavailable
	}
	c.ignoreRange = struck.Kind == fault.IgnoreRange
	if struck.Kind == fault.Changed {
		if err := s.store.alter(c.bucket, c.key); err != nil {
			refuse(w, http.StatusInternalServerError, "InternalError", err.Error())
			return
		}
	}
	struck.Serve(w, r, refuse, func(w http.ResponseWriter) {
		c.w = w
		if err := work(c); err != nil {
			code := writeError(w, r, err)
			pending.Note(func(n *record.Request) { n.Error = code })
		}
	})
}

func codeFor(status int) string {
	switch status {
	case http.StatusForbidden:
		return "AccessDenied"
	case http.StatusServiceUnavailable:
		return "ServiceUnavailable"
	case http.StatusNotFound:
		return "NoSuchKey"
	}
	return "InternalError"
}

func payloadHash(r *http.Request) string {
	if h := r.Header.Get("X-Amz-Content-Sha256"); h != "" {
		return h
	}
	return unsignedPayload
}

// place finds bucket and key.
func place(r *http.Request) (bucket, key string) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if name, ok := strings.CutSuffix(host, ".localhost"); ok && name != "s3" {
		return name, path
	}
	bucket, key, _ = strings.Cut(path, "/")
	return bucket, key
}

// route names the operation and finds who does it.
func (s *Server) route(c *call) (string, func(*call) error) {
	switch {
	case c.bucket == "":
		return "ListBuckets", s.listBuckets
	case c.key == "":
		return s.routeBucket(c)
	}
	switch c.Method {
	case http.MethodGet:
		if c.query.Has("uploadId") {
			return "ListParts", s.unknown
		}
		return "GetObject", s.getObject
	case http.MethodHead:
		return "HeadObject", s.getObject
	case http.MethodPut:
		if c.query.Has("partNumber") {
			return "UploadPart", s.uploadPart
		}
		if c.Header.Get("X-Amz-Copy-Source") != "" {
			return "CopyObject", s.copyObject
		}
		return "PutObject", s.putObject
	case http.MethodDelete:
		if c.query.Has("uploadId") {
			return "AbortMultipartUpload", s.abortUpload
		}
		return "DeleteObject", s.deleteObject
	case http.MethodPost:
		if c.query.Has("uploads") {
			return "CreateMultipartUpload", s.createUpload
		}
		if c.query.Has("uploadId") {
			return "CompleteMultipartUpload", s.completeUpload
		}
	}
	return "Unknown", s.unknown
}

func (s *Server) routeBucket(c *call) (string, func(*call) error) {
	switch c.Method {
	case http.MethodHead:
		return "HeadBucket", s.headBucket
	case http.MethodPut:
		if c.query.Has("versioning") {
			return "PutBucketVersioning", s.putVersioning
		}
		return "CreateBucket", s.createBucket
	case http.MethodDelete:
		return "DeleteBucket", s.deleteBucket
	case http.MethodPost:
		if c.query.Has("delete") {
			return "DeleteObjects", s.deleteObjects
		}
	case http.MethodGet:
		switch {
		case c.query.Has("location"):
			return "GetBucketLocation", s.bucketLocation
		case c.query.Has("versioning"):
			return "GetBucketVersioning", s.getVersioning
		case c.query.Has("versions"):
			return "ListObjectVersions", s.listObjects
		case c.query.Get("list-type") == "2":
			return "ListObjectsV2", s.listObjects
		}
		return "ListObjects", s.listObjects
	}
	return "Unknown", s.unknown
}

func (s *Server) unknown(*call) error { return errNotImplemented }
