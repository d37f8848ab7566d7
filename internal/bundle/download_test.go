package bundle

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"codedeploy-agent/internal/deployspec"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(benchServerVariable); text != "" {
		if err := benchServe(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

const mib = 1 << 20

func TestAnObjectArrivesWhole(t *testing.T) {
	for _, size := range []int{0, 1, bufferSize - 1, bufferSize, smallPart, 2 * smallPart, 2*smallPart + 1, 33*mib + 7} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			f := newFakeS3(t, size)
			d := f.fetch(t, testObject, FetchOptions{})
			d.whole(t, f.content)
			if d.info.ETag != unquote(f.etag) {
				t.Errorf("Info.ETag is %q, want %q", d.info.ETag, unquote(f.etag))
			}
			if n := f.requests.Load(); size <= 2*smallPart && n != 1 {
				t.Errorf("a small object took %d requests", n)
			}
		})
	}
}

func TestALargeObjectComesInPartsPinnedToTheFirstAnswer(t *testing.T) {
	f := newFakeS3(t, 40*mib)
	d := f.fetch(t, testObject, FetchOptions{})
	d.whole(t, f.content)
	if n := f.requests.Load(); n < 5 || n > 17 {
		t.Errorf("%d requests for 10 parts", n)
	}
	for i, h := range f.heads() {
		if i > 0 && h.Get("If-Match") != f.etag {
			t.Errorf("request %d (%s) is not pinned", i+1, h.Get("Range"))
		}
	}
	if waste := f.sent.Load() - 40*mib; waste > 20*mib {
		t.Errorf("%d bytes were sent in vain", waste)
	}
}

func TestABrokenConnectionGoesOnWhereItEnded(t *testing.T) {
	size, every := 200*mib, int64(5*mib)
	if testing.Short() || raceEnabled {
		size, every = 40*mib, mib
	}
	for _, connections := range []int{1, 8} {
		t.Run(fmt.Sprint(connections, " connections"), func(t *testing.T) {
			f := newFakeS3(t, size)
			f.resetAfter = every
			d := f.fetch(t, testObject, FetchOptions{Connections: connections})
			d.whole(t, f.content)
			if sent := f.sent.Load(); sent > int64(size)*3/2 {
				t.Errorf("%d bytes were sent for an object of %d", sent, size)
			}
		})
	}
}

// A server may misbehave as long as what arrives is the object.
func TestAServerThatMisbehavesIsServedBy(t *testing.T) {
	const size = 20 * mib
	first := func(n int64, answer func(w http.ResponseWriter)) func(http.ResponseWriter, *http.Request, int64) bool {
		return func(w http.ResponseWriter, r *http.Request, number int64) bool {
			if number <= n {
				answer(w)
			}
			return number <= n
		}
	}
	for name, spoil := range map[string]func(f *fakeS3){
		"answers 500 at first": func(f *fakeS3) {
			f.spoil = first(4, func(w http.ResponseWriter) { fail(w, 500, "InternalError", "again") })
		},
		"asks to slow down": func(f *fakeS3) {
			f.spoil = first(3, func(w http.ResponseWriter) { fail(w, 503, "SlowDown", "slow down") })
		},
		"has too many requests": func(f *fakeS3) { f.spoil = first(2, func(w http.ResponseWriter) { fail(w, 429, "", "") }) },
		"closes the connection": func(f *fakeS3) { f.spoil = first(3, breakOff) },
		"answers with half HTML": func(f *fakeS3) {
			f.spoil = first(2, func(w http.ResponseWriter) { w.WriteHeader(502); _, _ = w.Write([]byte("<html><p>Bad")) })
		},
		"tells no ETag":  func(f *fakeS3) { f.etag = "" },
		"has weak ETags": func(f *fakeS3) { f.etag = `W/"abc"` },
		"has ETags without quotes": func(f *fakeS3) {
			f.etag = strings.Trim(f.etag, `"`)
		},
		"sends malformed headers": func(f *fakeS3) {
			f.headers = map[string]string{"Last-Modified": "yesterday", "x-amz-mp-parts-count": "many", "Expires": "0",
				"x-amz-checksum-crc32": "AAAA", "x-amz-checksum-sha256": "not base64!", "x-amz-missing-meta": "x"}
		},
		"dislikes check sums with 403": func(f *fakeS3) { f.spoil = withoutChecksums(403) },
		"dislikes check sums with 400": func(f *fakeS3) { f.spoil = withoutChecksums(400) },
		"ignores ranges":               func(f *fakeS3) { f.spoil = f.withoutRanges },
		"ignores ranges and breaks once": func(f *fakeS3) {
			f.spoil = func(w http.ResponseWriter, r *http.Request, number int64) bool {
				if number == 1 {
					w.Header().Set("Content-Length", strconv.Itoa(size))
					_, _ = w.Write(f.content[:6*mib])
					reset(w)
					return true
				}
				return f.withoutRanges(w, r, number)
			}
		},
		"says that it has no ranges": func(f *fakeS3) {
			f.spoil = func(w http.ResponseWriter, r *http.Request, _ int64) bool {
				w.Header().Set("Accept-Ranges", "none")
				w.Header().Set("Content-Length", strconv.Itoa(size))
				f.send(w, f.content)
				return true
			}
		},
		"sends in chunks without a length": func(f *fakeS3) {
			f.spoil = func(w http.ResponseWriter, r *http.Request, _ int64) bool {
				f.send(w, f.content)
				return true
			}
		},
		"sends in chunks and breaks": func(f *fakeS3) {
			f.spoil = func(w http.ResponseWriter, r *http.Request, number int64) bool {
				if r.Header.Get("Range") != "" {
					return false
				}
				_, _ = w.Write(f.content[:7*mib])
				reset(w)
				return true
			}
		},
		"sends ranges without Content-Range": func(f *fakeS3) {
			f.spoil = func(w http.ResponseWriter, r *http.Request, _ int64) bool {
				from, to, ok := rangeOf(r, size)
				if ok {
					w.WriteHeader(http.StatusPartialContent)
					_, _ = w.Write(f.content[from:to])
				}
				return ok
			}
		},
		"tells no total in Content-Range": func(f *fakeS3) {
			f.spoil = func(w http.ResponseWriter, r *http.Request, _ int64) bool {
				from, to, ok := rangeOf(r, size)
				if ok {
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/*", from, to-1))
					w.WriteHeader(http.StatusPartialContent)
					_, _ = w.Write(f.content[from:to])
				}
				return ok
			}
		},
		"sends half of each range": func(f *fakeS3) {
			f.spoil = func(w http.ResponseWriter, r *http.Request, _ int64) bool {
				from, to, ok := rangeOf(r, size)
				if ok {
					to = from + (to-from+1)/2
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, size))
					w.WriteHeader(http.StatusPartialContent)
					_, _ = w.Write(f.content[from:to])
				}
				return ok
			}
		},
		"serves one request at a time": func(f *fakeS3) {
			f.rate = 100 * mib
			one := make(chan struct{}, 1)
			f.spoil = func(w http.ResponseWriter, r *http.Request, _ int64) bool {
				one <- struct{}{}
				defer func() { <-one }()
				f.serve(w, r)
				return true
			}
		},
		"falls silent now and then": func(f *fakeS3) {
			f.spoil = func(w http.ResponseWriter, r *http.Request, number int64) bool {
				if number%3 != 0 {
					return false
				}
				from, to, ok := rangeOf(r, size)
				if !ok {
					to = size
				}
				w.Header().Set("Content-Length", strconv.Itoa(to-from))
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, size))
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(f.content[from : from+(to-from)/3])
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
				return true
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeS3(t, size)
			spoil(f)
			f.fetch(t, testObject, FetchOptions{}).whole(t, f.content)
		})
	}
}

func withoutChecksums(status int) func(http.ResponseWriter, *http.Request, int64) bool {
	return func(w http.ResponseWriter, r *http.Request, _ int64) bool {
		asked := r.Header.Get("x-amz-checksum-mode") != ""
		if asked {
			fail(w, status, "", "")
		}
		return asked
	}
}

// withoutRanges answers every request with the whole object.
func (f *fakeS3) withoutRanges(w http.ResponseWriter, _ *http.Request, _ int64) bool {
	w.Header().Set("ETag", f.etag)
	w.Header().Set("Content-Length", strconv.Itoa(len(f.content)))
	f.send(w, f.content)
	return true
}

func TestAnObjectThatIsReplacedIsDownloadedAnew(t *testing.T) {
	f := newFakeS3(t, 40*mib)
	old := f.content
	var replace sync.Once
	f.spoil = func(w http.ResponseWriter, r *http.Request, n int64) bool {
		f.mu.Lock()
		if n == 6 {
			replace.Do(func() { f.content, f.etag = append([]byte("new"), old...), `"new"` })
		}
		f.mu.Unlock()
		return false
	}
	f.resetAfter = 2 * mib
	d := f.fetch(t, testObject, FetchOptions{Connections: 2})
	d.whole(t, f.content)
	if d.info.ETag != "new" {
		t.Errorf("Info.ETag is %q", d.info.ETag)
	}
}

func TestTheBucketsRegionIsFollowed(t *testing.T) {
	for name, refuse := range map[string]func(w http.ResponseWriter){
		"by redirect": func(w http.ResponseWriter) {
			w.Header().Set("x-amz-bucket-region", "eu-central-1")
			fail(w, 301, "PermanentRedirect", "")
		},
		"by a refused signature": func(w http.ResponseWriter) {
			fail(w, 400, "AuthorizationHeaderMalformed", "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-central-1'")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeS3(t, 20*mib)
			f.spoil = func(w http.ResponseWriter, r *http.Request, _ int64) bool {
				if strings.Contains(r.Header.Get("Authorization"), "/eu-central-1/s3/") {
					return false
				}
				refuse(w)
				return true
			}
			f.fetch(t, testObject, FetchOptions{}).whole(t, f.content)
		})
	}
}

func TestAdviceToWaitIsTaken(t *testing.T) {
	f := newFakeS3(t, 10)
	var refused atomic.Int64
	f.spoil = func(w http.ResponseWriter, _ *http.Request, n int64) bool {
		if n == 1 {
			refused.Store(time.Now().UnixNano())
			w.Header().Set("Retry-After", "1")
			fail(w, 503, "SlowDown", "")
		}
		return n == 1
	}
	f.fetch(t, testObject, FetchOptions{}).whole(t, f.content)
	if waited := time.Since(time.Unix(0, refused.Load())); waited < time.Second {
		t.Errorf("the next request came after %v", waited)
	}
}

func TestTheRequestIsPlain(t *testing.T) {
	f := newFakeS3(t, 10)
	var uri string
	f.spoil = func(_ http.ResponseWriter, r *http.Request, _ int64) bool { uri = r.RequestURI; return false }
	want := testObject
	want.Version, want.ETag = "v 1", unquote(f.etag)
	f.fetch(t, want, FetchOptions{}).whole(t, f.content)
	if uri != "/bucket/apps/web.zip?versionId=v%201" {
		t.Errorf("the request was for %q", uri)
	}
	if h := f.heads()[0]; h.Get("Range") != "" || h.Get("If-Match") != "" || h.Get("Accept-Encoding") != "identity" {
		t.Errorf("the first request has unusual headers: %v", h)
	}
}

func TestALimitOfSizeHoldsWhateverTheServerTells(t *testing.T) {
	for name, spoil := range map[string]func(f *fakeS3){
		"told": func(*fakeS3) {},
		"not told": func(f *fakeS3) {
			f.spoil = func(w http.ResponseWriter, _ *http.Request, _ int64) bool { f.send(w, f.content); return true }
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeS3(t, 20*mib)
			spoil(f)
			f.fetch(t, testObject, FetchOptions{MaxBytes: mib}).failed(t, "the limit is 1048576", "archive_max_bytes")
		})
	}
}

func TestACancelledDownloadEndsAtOnceAndLeavesNothing(t *testing.T) {
	f := newFakeS3(t, 40*mib)
	f.rate = mib
	why := errors.New("the agent stops")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(100*time.Millisecond, func() { cancel(why) })
	dst := filepath.Join(t.TempDir(), "bundle.tar")
	_, err := Fetch(ctx, deployspec.Revision{Type: deployspec.S3, S3: &testObject}, dst, f.clients(), FetchOptions{pace: fast()}, zap.NewNop())
	if !errors.Is(err, why) {
		t.Errorf("the error is %v", err)
	}
	onlyIn(t, filepath.Dir(dst))
}

func TestWhatAnEarlierDownloadLeftIsReplaced(t *testing.T) {
	f := newFakeS3(t, 10)
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside")
	for _, err := range []error{
		os.WriteFile(outside, []byte("keep"), 0o644),
		os.Symlink(outside, filepath.Join(dir, ".bundle.tar.part")),
		os.Symlink(outside, filepath.Join(dir, "bundle.tar")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	dst := filepath.Join(dir, "bundle.tar")
	info, err := Fetch(t.Context(), deployspec.Revision{Type: deployspec.S3, S3: &testObject}, dst, f.clients(), FetchOptions{pace: fast()}, zap.NewNop())
	download{info: info, err: err, dst: dst}.whole(t, f.content)
	if b, _ := os.ReadFile(outside); string(b) != "keep" {
		t.Errorf("the file behind the link was changed to %q", b)
	}
}

func TestProgressIsLogged(t *testing.T) {
	f := newFakeS3(t, 3*mib)
	f.rate = 10 * mib
	p := fast()
	p.report = 50 * time.Millisecond
	d := f.fetch(t, testObject, FetchOptions{pace: p})
	d.whole(t, f.content)
	lines := d.logs.FilterMessage("Downloading").All()
	if len(lines) < 2 {
		t.Fatalf("%d lines of progress", len(lines))
	}
	for _, key := range []string{"bundle", "bytes", "of", "rate", "left"} {
		if _, ok := lines[1].ContextMap()[key]; !ok {
			t.Errorf("the line has no %q: %v", key, lines[1].ContextMap())
		}
	}
	if d.logs.FilterMessage("Downloaded").Len() != 1 {
		t.Error("the end is not logged once")
	}
}
