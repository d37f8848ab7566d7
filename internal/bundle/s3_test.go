package bundle

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"codedeploy-agent/internal/deployspec"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

type recordingTransport struct{ url string }

func (r *recordingTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	r.url = req.URL.String()
	return nil, errors.New("recorded")
}

func TestWhereS3Lies(t *testing.T) {
	for _, c := range []struct {
		name    string
		options S3Options
		bucket  string
		want    string
	}{
		{"standard", S3Options{Region: "us-east-1"}, "bucket", "https://bucket.s3.us-east-1.amazonaws.com/apps/web.zip"},
		{"path style", S3Options{Region: "eu-west-1", PathStyle: true}, "bucket", "https://s3.eu-west-1.amazonaws.com/bucket/apps/web.zip"},
		{"a bucket with dots", S3Options{Region: "eu-west-1"}, "my.bucket", "https://s3.eu-west-1.amazonaws.com/my.bucket/apps/web.zip"},
		{"China", S3Options{Region: "cn-north-1"}, "bucket", "https://bucket.s3.cn-north-1.amazonaws.com.cn/apps/web.zip"},
		{"GovCloud", S3Options{Region: "us-gov-west-1"}, "bucket", "https://bucket.s3.us-gov-west-1.amazonaws.com/apps/web.zip"},
		{"European sovereign cloud", S3Options{Region: "eusc-de-east-1"}, "bucket", "https://bucket.s3.eusc-de-east-1.amazonaws.eu/apps/web.zip"},
		{"FIPS", S3Options{Region: "us-east-1", FIPS: true}, "bucket", "https://bucket.s3-fips.us-east-1.amazonaws.com/apps/web.zip"},
		{"FIPS in GovCloud", S3Options{Region: "us-gov-west-1", FIPS: true}, "bucket", "https://bucket.s3-fips.us-gov-west-1.amazonaws.com/apps/web.zip"},
		{"dual stack", S3Options{Region: "eu-west-1", DualStack: true}, "bucket", "https://bucket.s3.dualstack.eu-west-1.amazonaws.com/apps/web.zip"},
		{"FIPS and dual stack", S3Options{Region: "us-east-2", FIPS: true, DualStack: true}, "bucket", "https://bucket.s3-fips.dualstack.us-east-2.amazonaws.com/apps/web.zip"},
		{"an override", S3Options{Region: "us-east-1", Endpoint: "http://127.0.0.1:9000/"}, "bucket", "http://127.0.0.1:9000/bucket/apps/web.zip"},
		{"an override is a host", S3Options{Region: "us-east-1", Endpoint: "s3.example.com"}, "bucket", "https://s3.example.com/bucket/apps/web.zip"},
		{"an override goes before FIPS", S3Options{Region: "us-east-1", Endpoint: "https://s3.example.com", FIPS: true, DualStack: true}, "bucket", "https://s3.example.com/bucket/apps/web.zip"},
	} {
		t.Run(c.name, func(t *testing.T) {
			record := &recordingTransport{}
			c.options.HTTP = &http.Client{Transport: record}
			rev := deployspec.Revision{Type: deployspec.S3, S3: &deployspec.S3Object{Bucket: c.bucket, Key: "apps/web.zip"}}
			_, err := Fetch(t.Context(), rev, filepath.Join(t.TempDir(), "bundle.tar"), Clients{S3: NewS3(c.options)}, FetchOptions{pace: fast()}, zap.NewNop())
			if err == nil || record.url != c.want {
				t.Errorf("the object is at %s (%v), want %s", record.url, err, c.want)
			}
		})
	}
}

func TestOddKeysAreFound(t *testing.T) {
	f := newFakeS3(t, 10)
	var path string
	f.spoil = func(_ http.ResponseWriter, r *http.Request, _ int64) bool { path = r.URL.Path; return false }
	for _, key := range []string{"a b+c", "ü/ß.zip", "a//b", "./x", "100%", "q?x=1&y#z", "a/../b"} {
		f.fetch(t, deployspec.S3Object{Bucket: "bucket", Key: key}, FetchOptions{}).whole(t, f.content)
		if path != "/bucket/"+key {
			t.Errorf("the key %q was asked for as %q", key, path)
		}
	}
}

func TestABundleThatDoesNotFitFailsBeforeItFillsTheDisk(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("NOT RUN HERE (needs mount): %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	dst, old := filepath.Join(dir, "bundle.tar"), filepath.Join(dir, "old")
	if err := os.WriteFile(old, make([]byte, 30*mib), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFakeS3(t, 40*mib)
	rev := deployspec.Revision{Type: deployspec.S3, S3: &testObject}
	fetch := func(opts FetchOptions) error {
		opts.pace = fast()
		_, err := Fetch(t.Context(), rev, dst, f.clients(), opts, zap.NewNop())
		return err
	}

	err := fetch(FetchOptions{})
	if err == nil || !strings.Contains(err.Error(), "it has 40.0 MiB, and only 33.0 MiB are free") || !strings.Contains(err.Error(), "max_revisions") {
		t.Errorf("the error is %v", err)
	}
	onlyIn(t, dir, "old")

	// Where the server does not tell the length, the end of the disk comes as a surprise.
	f.spoil = func(w http.ResponseWriter, _ *http.Request, _ int64) bool { f.send(w, f.content); return true }
	if err := fetch(FetchOptions{}); err == nil || !strings.Contains(err.Error(), "are free in") {
		t.Errorf("the error is %v", err)
	}
	onlyIn(t, dir, "old")
	f.spoil = nil

	var asked int64
	if err := fetch(FetchOptions{MakeRoom: func(bytes int64) { asked = bytes; _ = os.Remove(old) }}); err != nil || asked != 40*mib {
		t.Errorf("with room made for %d bytes: %v", asked, err)
	}
	onlyIn(t, dir, "bundle.tar")
}
