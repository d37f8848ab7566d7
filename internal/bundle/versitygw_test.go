package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"codedeploy-agent/internal/deployspec"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"go.uber.org/zap"
)

// withoutVersitygw is the environment variable that lets the tests against a real S3 server be left out.
const withoutVersitygw = "CODEDEPLOY_TEST_WITHOUT_VERSITYGW"

// versitygwProgram builds the server once for all runs, from the module that pins the tools.
var versitygwProgram = sync.OnceValues(func() (string, error) {
	_, here, _, _ := runtime.Caller(0)
	tools := filepath.Join(filepath.Dir(here), "..", "..", "tools")
	sum, err := os.ReadFile(filepath.Join(tools, "go.sum"))
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	digest := sha256.Sum256(append(sum, runtime.Version()...))
	program := filepath.Join(cache, "codedeploy-agent-tools", "versitygw-"+hex.EncodeToString(digest[:6]))
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		return "", err
	}
	fresh := fmt.Sprintf("%s.%d", program, os.Getpid())
	build := exec.Command("go", "build", "-o", fresh, "github.com/versity/versitygw/cmd/versitygw")
	build.Dir = tools
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build versitygw: %w\n%s", err, out)
	}
	return program, os.Rename(fresh, program)
})

// realS3 is a versitygw of its own.
type realS3 struct {
	url    string
	client *s3.Client
}

const realKey, realSecret = "AKIDEXAMPLE", "topsecretkey"

func startVersitygw(t testing.TB) *realS3 {
	t.Helper()
	if why := os.Getenv(withoutVersitygw); why != "" {
		t.Skipf("NOT RUN HERE: %s=%q leaves out the tests against a real S3 server", withoutVersitygw, why)
	}
	program, err := versitygwProgram()
	if err != nil {
		t.Fatalf("%v\nset %s=1 to leave out the tests against a real S3 server", err, withoutVersitygw)
	}
	data, versions := t.TempDir(), t.TempDir()
	address := freeAddress(t)
	var output bytes.Buffer
	server := exec.Command(program, "--port", address, "--access", realKey, "--secret", realSecret, "--region", "us-east-1",
		"--keep-alive", "--quiet", "posix", "--versioning-dir", versions, data)
	server.Stdout, server.Stderr = &output, &output
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	r := &realS3{url: "http://" + address}
	r.client = NewS3(S3Options{Region: "us-east-1", Endpoint: r.url, Credentials: credentials.NewStaticCredentialsProvider(realKey, realSecret, "")})
	t.Cleanup(func() { closeIdle(r.client) })
	deadline := time.Now().Add(30 * time.Second)
	for {
		_, err := r.client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("bucket")})
		if err == nil {
			return r
		}
		if time.Now().After(deadline) {
			t.Fatalf("versitygw does not answer: %v\n%s", err, output.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func (r *realS3) put(t testing.TB, key string, content []byte, algorithm types.ChecksumAlgorithm) (etag, version string) {
	t.Helper()
	out, err := r.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: &key, Body: bytes.NewReader(content),
		ChecksumAlgorithm: algorithm})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.ETag), aws.ToString(out.VersionId)
}

func (r *realS3) putParts(t testing.TB, key string, content []byte, partSize int, algorithm types.ChecksumAlgorithm, kind types.ChecksumType) (etag string) {
	t.Helper()
	bucket := aws.String("bucket")
	upload, err := r.client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: bucket, Key: &key,
		ChecksumAlgorithm: algorithm, ChecksumType: kind})
	if err != nil {
		t.Fatal(err)
	}
	var parts []types.CompletedPart
	for from := 0; from < len(content); from += partSize {
		number := aws.Int32(int32(len(parts) + 1))
		part, err := r.client.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: bucket, Key: &key, UploadId: upload.UploadId, PartNumber: number,
			Body: bytes.NewReader(content[from:min(from+partSize, len(content))]), ChecksumAlgorithm: algorithm})
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, types.CompletedPart{ETag: part.ETag, PartNumber: number, ChecksumCRC32: part.ChecksumCRC32, ChecksumCRC32C: part.ChecksumCRC32C,
			ChecksumCRC64NVME: part.ChecksumCRC64NVME, ChecksumSHA1: part.ChecksumSHA1, ChecksumSHA256: part.ChecksumSHA256})
	}
	done, err := r.client.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{Bucket: bucket, Key: &key, UploadId: upload.UploadId,
		ChecksumType: kind, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(done.ETag)
}

func (r *realS3) fetch(t testing.TB, want deployspec.S3Object, log *zap.Logger) download {
	t.Helper()
	dst := filepath.Join(t.TempDir(), "bundle.tar")
	rev := deployspec.Revision{Type: deployspec.S3, S3: &want}
	info, err := Fetch(t.Context(), rev, dst, Clients{S3: r.client}, FetchOptions{pace: fast(), Volatile: true}, log)
	return download{info: info, err: err, dst: dst}
}

func TestARealS3Server(t *testing.T) {
	r := startVersitygw(t)
	content := newFakeS3(t, 13*mib).content

	t.Run("objects put at once, with every check sum", func(t *testing.T) {
		for _, algorithm := range []types.ChecksumAlgorithm{"", types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c,
			types.ChecksumAlgorithmCrc64nvme, types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256} {
			for _, size := range []int{0, 1, 5 * mib, len(content)} {
				etag, _ := r.put(t, "single", content[:size], algorithm)
				d := r.fetch(t, deployspec.S3Object{Bucket: "bucket", Key: "single", ETag: etag}, testLog(t))
				d.whole(t, content[:size])
				if want := strings.ToLower(string(algorithm)) + ":"; algorithm != "" && !strings.HasPrefix(d.info.Digest, want) {
					t.Errorf("%s was not verified: the digest is %q", algorithm, d.info.Digest)
				}
			}
		}
	})
	t.Run("objects put in parts, with every check sum", func(t *testing.T) {
		for _, c := range []struct {
			algorithm types.ChecksumAlgorithm
			kind      types.ChecksumType
		}{
			{"", ""},
			{types.ChecksumAlgorithmCrc32, types.ChecksumTypeComposite}, {types.ChecksumAlgorithmCrc32c, types.ChecksumTypeComposite},
			{types.ChecksumAlgorithmSha1, types.ChecksumTypeComposite}, {types.ChecksumAlgorithmSha256, types.ChecksumTypeComposite},
			{types.ChecksumAlgorithmCrc32, types.ChecksumTypeFullObject}, {types.ChecksumAlgorithmCrc64nvme, types.ChecksumTypeFullObject},
		} {
			for _, partSize := range []int{5 * mib, 12 * mib} {
				etag := r.putParts(t, "parts", content, partSize, c.algorithm, c.kind)
				if !strings.Contains(etag, "-") {
					t.Fatalf("the ETag %s is not that of a multipart object", etag)
				}
				d := r.fetch(t, deployspec.S3Object{Bucket: "bucket", Key: "parts", ETag: strings.Trim(etag, `"`)}, testLog(t))
				d.whole(t, content)
				if want := strings.ToLower(string(c.algorithm)) + ":"; c.algorithm != "" && !strings.HasPrefix(d.info.Digest, want) {
					t.Errorf("%s %s of parts of %d was not verified: the digest is %q", c.algorithm, c.kind, partSize, d.info.Digest)
				}
			}
		}
	})
	t.Run("versions", func(t *testing.T) {
		if _, err := r.client.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: aws.String("bucket"),
			VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}}); err != nil {
			t.Fatal(err)
		}
		oldTag, oldVersion := r.put(t, "versions", content, "")
		newTag, newVersion := r.put(t, "versions", content[mib:], "")
		r.fetch(t, deployspec.S3Object{Bucket: "bucket", Key: "versions"}, testLog(t)).whole(t, content[mib:])
		r.fetch(t, deployspec.S3Object{Bucket: "bucket", Key: "versions", Version: newVersion, ETag: newTag}, testLog(t)).whole(t, content[mib:])
		r.fetch(t, deployspec.S3Object{Bucket: "bucket", Key: "versions", Version: oldVersion, ETag: oldTag}, testLog(t)).whole(t, content)
		if d := r.fetch(t, deployspec.S3Object{Bucket: "bucket", Key: "versions", Version: oldVersion, ETag: newTag}, testLog(t)); d.err == nil {
			t.Error("another version's ETag was accepted")
		}
	})
	t.Run("an object replaced in the middle", func(t *testing.T) {
		r.put(t, "replaced", content, "")
		var once sync.Once
		var etag string
		slow := *r
		slow.client = slowlyReplaced(r, func() { once.Do(func() { etag, _ = r.put(t, "replaced", content[1:], "") }) })
		d := slow.fetch(t, deployspec.S3Object{Bucket: "bucket", Key: "replaced"}, testLog(t))
		d.whole(t, content[1:])
		if d.info.ETag != unquote(etag) {
			t.Errorf("Info.ETag is %q, want %s", d.info.ETag, etag)
		}
	})
	t.Run("refusals", func(t *testing.T) {
		stranger := realS3{url: r.url, client: NewS3(S3Options{Region: "us-east-1", Endpoint: r.url,
			Credentials: credentials.NewStaticCredentialsProvider(realKey, "wrong", "")})}
		for _, c := range []struct {
			server *realS3
			want   deployspec.S3Object
			reason string
		}{
			{&stranger, deployspec.S3Object{Bucket: "bucket", Key: "single"}, "SignatureDoesNotMatch"},
			{r, deployspec.S3Object{Bucket: "bucket", Key: "missing"}, "NoSuchKey"},
			{r, deployspec.S3Object{Bucket: "missing", Key: "single"}, "NoSuchBucket"},
			{r, deployspec.S3Object{Bucket: "bucket", Key: "single", ETag: "abc"}, "create a new deployment"},
		} {
			if d := c.server.fetch(t, c.want, testLog(t)); d.err == nil || !strings.Contains(d.err.Error(), c.reason) {
				t.Errorf("%v: %v, want %q", c.want, d.err, c.reason)
			}
		}
	})
}

// slowlyReplaced is a client whose first answer breaks after 5 MiB, after which replace is called.
func slowlyReplaced(r *realS3, replace func()) *s3.Client {
	return NewS3(S3Options{Region: "us-east-1", Endpoint: r.url, Credentials: credentials.NewStaticCredentialsProvider(realKey, realSecret, ""),
		HTTP: &http.Client{Transport: &replacingTransport{replace: replace}}})
}

type replacingTransport struct {
	mu      sync.Mutex
	first   bool
	replace func()
}

func (b *replacingTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.first && req.Context().Err() == nil {
		b.replace()
	}
	b.first = true
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err == nil && req.Header.Get("Range") == "" {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(io.LimitReader(resp.Body, 5*mib), brokenReader{}), resp.Body}
	}
	return resp, err
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestDigestsAreBase64(t *testing.T) {
	f := newFakeS3(t, 1000)
	d := f.fetch(t, testObject, FetchOptions{})
	text, ok := strings.CutPrefix(d.info.Digest, "crc64nvme:")
	if b, err := base64.StdEncoding.DecodeString(text); !ok || err != nil || len(b) != 8 {
		t.Errorf("the digest is %q", d.info.Digest)
	}
}
