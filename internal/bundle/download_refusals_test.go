package bundle

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"

	"codedeploy-agent/internal/deployspec"
)

// What cannot succeed fails once, with the reason and the next step.
func TestADownloadThatCannotSucceedSaysWhy(t *testing.T) {
	always := func(answer func(w http.ResponseWriter)) func(f *fakeS3) {
		return func(f *fakeS3) {
			f.spoil = func(w http.ResponseWriter, _ *http.Request, _ int64) bool { answer(w); return true }
		}
	}
	for _, c := range []struct {
		name     string
		spoil    func(f *fakeS3)
		want     deployspec.S3Object
		reasons  []string
		requests int64 // at most; 0 is any number
	}{
		{name: "no such key", requests: 1,
			spoil:   always(func(w http.ResponseWriter) { fail(w, 404, "NoSuchKey", "The specified key does not exist.") }),
			reasons: []string{`cannot download "s3://bucket/apps/web.zip": S3 answered 404 NoSuchKey`, "upload the bundle again", "request REQ1"}},
		{name: "no such bucket", requests: 1,
			spoil:   always(func(w http.ResponseWriter) { fail(w, 404, "NoSuchBucket", "") }),
			reasons: []string{"NoSuchBucket", "create the bucket"}},
		{name: "no such version", requests: 1,
			spoil:   always(func(w http.ResponseWriter) { fail(w, 404, "NoSuchVersion", "") }),
			reasons: []string{"NoSuchVersion", "this version was deleted"}},
		{name: "not found, without a document", requests: 1,
			spoil:   always(func(w http.ResponseWriter) { w.WriteHeader(404) }),
			reasons: []string{"S3 answered 404", "correct bucket and key"}},
		{name: "access denied", requests: 2,
			spoil: always(func(w http.ResponseWriter) {
				fail(w, 403, "AccessDenied", "User: arn:aws:sts::1:assumed-role/r/i is not authorized")
			}),
			reasons: []string{"AccessDenied (User: arn:aws:sts::1:assumed-role/r/i is not authorized)", "instance profile", "s3:GetObject", "bucket policy", "kms:Decrypt"}},
		{name: "wrong key", requests: 2,
			spoil:   always(func(w http.ResponseWriter) { fail(w, 403, "SignatureDoesNotMatch", "") }),
			reasons: []string{"SignatureDoesNotMatch", "valid credentials"}},
		{name: "500 for ever", requests: 6,
			spoil:   always(func(w http.ResponseWriter) { fail(w, 500, "InternalError", "oops") }),
			reasons: []string{"S3 answered 500 InternalError (oops)", "tried 6 times"}},
		{name: "resets for ever", requests: 6, spoil: always(breakOff), reasons: []string{"the connection to S3 failed", "tried 6 times"}},
		{name: "redirects for ever", requests: 2,
			spoil: always(func(w http.ResponseWriter) {
				w.Header().Set("Location", "/elsewhere")
				w.Header().Set("x-amz-bucket-region", "eu-west-1")
				fail(w, 301, "PermanentRedirect", "The bucket must be addressed elsewhere")
			}),
			reasons: []string{"301 PermanentRedirect", "check region and s3_endpoint_override"}},
		{name: "redirects to a new region for ever",
			spoil: func(f *fakeS3) {
				f.spoil = func(w http.ResponseWriter, _ *http.Request, n int64) bool {
					w.Header().Set("x-amz-bucket-region", fmt.Sprintf("eu-west-%d", n))
					fail(w, 307, "TemporaryRedirect", "")
					return true
				}
			}, requests: 2, reasons: []string{"307"}},
		{name: "silent for ever", requests: 6, spoil: func(f *fakeS3) {
			f.spoil = func(_ http.ResponseWriter, r *http.Request, _ int64) bool { <-r.Context().Done(); return true }
		}, reasons: []string{"the server was silent for 300ms", "tried 6 times"}},
		{name: "a body that never goes on",
			spoil: func(f *fakeS3) {
				f.spoil = func(w http.ResponseWriter, r *http.Request, n int64) bool {
					w.Header().Set("Content-Length", "100")
					_, _ = w.Write([]byte("half"))
					_ = http.NewResponseController(w).Flush()
					<-r.Context().Done()
					return true
				}
			}, reasons: []string{"the server was silent for 300ms", "tried 6 times"}},
		{name: "too few bytes for ever",
			spoil:   always(func(w http.ResponseWriter) { w.Header().Set("Content-Length", "100"); _, _ = w.Write([]byte("few")) }),
			reasons: []string{"broke off", "tried"}},
		{name: "too many bytes for each range",
			spoil: func(f *fakeS3) {
				f.spoil = func(w http.ResponseWriter, r *http.Request, _ int64) bool {
					from, to, ok := rangeOf(r, len(f.content))
					if !ok {
						from, to = 0, 3*mib
						w.Header().Set("Content-Length", strconv.Itoa(len(f.content)))
						_, _ = w.Write(f.content[:to])
						reset(w)
						return true
					}
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(f.content)))
					w.WriteHeader(http.StatusPartialContent)
					_, _ = w.Write(f.content[from:to])
					_, _ = w.Write([]byte("surplus"))
					return true
				}
			}, reasons: []string{"more bytes than it should"}},
		{name: "bytes from another place",
			spoil: func(f *fakeS3) {
				f.spoil = func(w http.ResponseWriter, r *http.Request, _ int64) bool {
					if r.Header.Get("Range") == "" {
						return false
					}
					w.Header().Set("Content-Range", "bytes 1-4194304/20971520")
					w.WriteHeader(http.StatusPartialContent)
					return true
				}
				f.resetAfter = mib
			}, reasons: []string{"bytes from 1 on"}},
		{name: "another ETag than the deployment's", requests: 1,
			want:    deployspec.S3Object{Bucket: "bucket", Key: "key", ETag: `"900150983cd24fb0d6963f7d28e17f72-3"`},
			reasons: []string{"its ETag is ", `"900150983cd24fb0d6963f7d28e17f72-3"`, "create a new deployment"}},
		{name: "an ETag is demanded and the server has none", requests: 1, spoil: func(f *fakeS3) { f.etag = "" },
			want:    deployspec.S3Object{Bucket: "bucket", Key: "key", ETag: "abc"},
			reasons: []string{"told no ETag"}},
		{name: "changed all the time",
			spoil: func(f *fakeS3) {
				f.rate = 2 * mib // so that the first connection does not bring everything
				f.spoil = func(w http.ResponseWriter, r *http.Request, n int64) bool {
					if r.Header.Get("Range") != "" {
						fail(w, 412, "PreconditionFailed", "")
						return true
					}
					return false
				}
			}, reasons: []string{"replaced while it was being downloaded", "twice"}},
		{name: "changed all the time, without If-Match",
			spoil: func(f *fakeS3) {
				f.rate = 2 * mib // so that the first connection does not bring everything
				f.spoil = func(w http.ResponseWriter, r *http.Request, n int64) bool {
					w.Header().Set("ETag", strconv.FormatInt(n, 10))
					from, to, ok := rangeOf(r, len(f.content))
					if ok {
						w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(f.content)))
						w.WriteHeader(http.StatusPartialContent)
						f.send(w, f.content[from:to])
					} else {
						w.Header().Set("Content-Length", strconv.Itoa(len(f.content)))
						f.send(w, f.content)
					}
					return true
				}
			}, reasons: []string{"replaced while it was being downloaded", "twice"}},
		{name: "a wrong check sum", spoil: func(f *fakeS3) { f.headers = map[string]string{"x-amz-checksum-crc32c": "AAAAAA=="} },
			reasons: []string{"its check sum is crc32c:", "but S3 has crc32c:AAAAAA==", "twice"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFakeS3(t, 20*mib)
			if c.spoil != nil {
				c.spoil(f)
			}
			want := testObject
			if c.want.Bucket != "" {
				want = c.want
			}
			f.fetch(t, want, FetchOptions{}).failed(t, c.reasons...)
			if n := f.requests.Load(); c.requests > 0 && n > c.requests {
				t.Errorf("%d requests, want at most %d", n, c.requests)
			}
		})
	}
}
