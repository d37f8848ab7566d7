package bundle

import (
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"codedeploy-agent/internal/deployspec"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"
)

// fakeS3 serves one object as S3 would, until it is told to misbehave.
type fakeS3 struct {
	*httptest.Server
	content  []byte
	etag     string
	headers  map[string]string // sent with answers about the whole object
	requests atomic.Int64
	sent     atomic.Int64

	// spoil may answer a request itself; number counts from 1.
	spoil func(w http.ResponseWriter, r *http.Request, number int64) (answered bool)
	// resetAfter breaks every connection after so many bytes of a body.
	resetAfter int64
	// rate limits every connection to so many bytes a second.
	rate int64

	mu   sync.Mutex
	seen []http.Header
}

func newFakeS3(t testing.TB, size int) *fakeS3 {
	t.Helper()
	f := &fakeS3{content: randomContent(size)}
	f.etag = fmt.Sprintf(`"%x"`, md5.Sum(f.content))
	f.Server = httptest.NewServer(f)
	f.Config.ErrorLog = nil
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

// heads returns those of the requests so far; more may come, from connections that nobody needs any more.
func (f *fakeS3) heads() []http.Header {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen)
}

var (
	randomMu    sync.Mutex
	randomBytes []byte
)

// randomContent returns bytes that tests share and must not change.
func randomContent(size int) []byte {
	randomMu.Lock()
	defer randomMu.Unlock()
	if len(randomBytes) < size {
		randomBytes = make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{1}).Read(randomBytes)
	}
	return randomBytes[:size:size]
}

func (f *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	number := f.requests.Add(1)
	f.mu.Lock()
	f.seen = append(f.seen, r.Header.Clone())
	f.mu.Unlock()
	if f.spoil != nil && f.spoil(w, r, number) {
		return
	}
	f.serve(w, r)
}

// serve is the good S3.
func (f *fakeS3) serve(w http.ResponseWriter, r *http.Request) {
	if match := r.Header.Get("If-Match"); match != "" && match != f.etag {
		fail(w, http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
		return
	}
	body, status := f.content, http.StatusOK
	w.Header().Set("Accept-Ranges", "bytes")
	if f.etag != "" {
		w.Header().Set("ETag", f.etag)
	}
	if from, to, ok := rangeOf(r, len(f.content)); ok {
		if from >= len(f.content) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", len(f.content)))
			fail(w, http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The requested range is not satisfiable")
			return
		}
		body, status = f.content[from:to], http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(f.content)))
	} else {
		for k, v := range f.headers {
			w.Header().Set(k, v)
		}
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	f.send(w, body)
}

func (f *fakeS3) send(w http.ResponseWriter, body []byte) {
	if f.resetAfter > 0 && int64(len(body)) > f.resetAfter {
		n, _ := w.Write(body[:f.resetAfter])
		f.sent.Add(int64(n))
		reset(w)
		return
	}
	step := len(body)
	if f.rate > 0 {
		step = int(max(f.rate/100, 1))
	}
	began := time.Now()
	for done := 0; done < len(body); {
		n, err := w.Write(body[done:min(done+step, len(body))])
		f.sent.Add(int64(n))
		done += n
		if err != nil {
			return
		}
		if f.rate > 0 {
			time.Sleep(time.Until(began.Add(time.Duration(float64(done) / float64(f.rate) * float64(time.Second)))))
		}
	}
}

// reset breaks the connection of an answer as soon as what was written of it has reached the other side.
func reset(w http.ResponseWriter) {
	_ = http.NewResponseController(w).Flush()
	breakOff(w)
}

// breakOff breaks the connection without an answer.
func breakOff(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		raw, _ := tcp.SyscallConn()
		for unsent, tries := 1, 0; unsent > 0 && tries < 1000; tries++ {
			time.Sleep(100 * time.Microsecond)
			if raw.Control(func(fd uintptr) { unsent, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }) != nil {
				break
			}
		}
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

func rangeOf(r *http.Request, size int) (from, to int, ok bool) {
	text, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes=")
	if !ok {
		return 0, 0, false
	}
	a, b, _ := strings.Cut(text, "-")
	from, _ = strconv.Atoi(a)
	if last, err := strconv.Atoi(b); err == nil {
		return from, min(last+1, size), true
	}
	return from, size, true
}

func fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("x-amz-request-id", "REQ1")
	body := fmt.Sprintf("<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

func (f *fakeS3) clients() Clients {
	return Clients{S3: NewS3(S3Options{Region: "us-east-1", Endpoint: f.URL,
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "topsecretkey", "topsecrettoken")})}
}

// fast is the pace of tests.
func fast() pace {
	return pace{silence: 300 * time.Millisecond, firstWait: time.Millisecond, longestWait: 10 * time.Millisecond,
		gitHub: []time.Duration{time.Millisecond, time.Millisecond, time.Millisecond}}
}

var testObject = deployspec.S3Object{Bucket: "bucket", Key: "apps/web.zip", BundleType: "zip"}

// download is one Fetch from a fake S3 and what came of it.
type download struct {
	info Info
	err  error
	dst  string
	logs *observer.ObservedLogs
}

func (f *fakeS3) fetch(t testing.TB, want deployspec.S3Object, opts FetchOptions) download {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	dst := filepath.Join(t.TempDir(), "bundle.tar")
	opts.Volatile = true // flushing takes time, and proves nothing here
	if opts.pace.silence == 0 {
		opts.pace = fast()
	}
	rev := deployspec.Revision{Type: deployspec.S3, S3: &want}
	info, err := Fetch(t.Context(), rev, dst, f.clients(), opts, zap.New(core))
	return download{info, err, dst, logs}
}

// whole checks that the file holds the content and that nothing else was left.
func (d download) whole(t testing.TB, content []byte) {
	t.Helper()
	if d.err != nil {
		t.Fatalf("the download failed: %v", d.err)
	}
	got, err := os.ReadFile(d.dst)
	if err != nil {
		t.Fatal(err)
	}
	if sha256.Sum256(got) != sha256.Sum256(content) {
		at := 0
		for at < min(len(got), len(content)) && got[at] == content[at] {
			at++
		}
		t.Fatalf("the file differs at %d: it has %d bytes, not %d", at, len(got), len(content))
	}
	if d.info.Size != int64(len(content)) {
		t.Errorf("Info.Size is %d, want %d", d.info.Size, len(content))
	}
	info, err := os.Lstat(d.dst)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the file has mode %v (%v), want 0600", info.Mode(), err)
	}
	onlyIn(t, filepath.Dir(d.dst), "bundle.tar")
}

// failed checks that the download failed for the given reason, left nothing and told no secret.
func (d download) failed(t testing.TB, reasons ...string) {
	t.Helper()
	if d.err == nil {
		for _, entry := range d.logs.All() {
			t.Log(entry.Time.Format("05.000"), entry.Message, entry.ContextMap())
		}
		t.Fatalf("the download succeeded, want an error with %q", reasons)
	}
	text := d.err.Error()
	for _, reason := range reasons {
		if !strings.Contains(text, reason) {
			t.Errorf("the error is\n\t%s\nand should contain\n\t%s", text, reason)
		}
	}
	if !strings.HasPrefix(text, "cannot download \"") {
		t.Errorf("the error should say what failed: %s", text)
	}
	onlyIn(t, filepath.Dir(d.dst))
	for _, entry := range d.logs.All() {
		text += fmt.Sprint(entry.Message, entry.ContextMap())
	}
	for _, secret := range []string{"topsecret", "AKIDEXAMPLE", "Signature=", "http://"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q was told: %s", secret, text)
		}
	}
}

func onlyIn(t testing.TB, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("%s holds %q, want %q", dir, got, names)
	}
}
