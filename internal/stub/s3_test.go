package stub

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"codedeploy-agent/internal/stub/fault"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// s3Client is the real SDK's client with the operator's keys.
func s3Client(t *testing.T, s *Server, change ...func(*s3.Options)) *s3.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	options := s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(s.URL()), UsePathStyle: true, HTTPClient: &http.Client{Transport: transport},
		Retryer:     aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(operator),
	}
	return s3.New(options, change...)
}

func operator(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: OperatorKeyID, SecretAccessKey: OperatorSecret}, nil
}

func makeBucket(t *testing.T, c *s3.Client, name string) {
	t.Helper()
	if _, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func TestS3KeepsWhatTheSDKPuts(t *testing.T) {
	s := start(t, Options{})
	c := s3Client(t, s)
	makeBucket(t, c, "bucket")
	key := "dir with blank/ü+&=@.zip"
	content := []byte("some content")
	for _, algorithm := range types.ChecksumAlgorithm("").Values() {
		if !strings.HasPrefix(string(algorithm), "CRC") && !strings.HasPrefix(string(algorithm), "SHA1") && algorithm != "SHA256" {
			continue // the newest ones are not needed here
		}
		t.Run(string(algorithm), func(t *testing.T) {
			put, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: &key, Body: bytes.NewReader(content), ChecksumAlgorithm: algorithm, Metadata: map[string]string{"who": "me"}})
			if err != nil {
				t.Fatal(err)
			}
			// The SDK checks the checksum that comes back.
			got, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: &key, ChecksumMode: types.ChecksumModeEnabled})
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(got.Body)
			if err != nil || !bytes.Equal(b, content) || *got.ETag != *put.ETag || got.Metadata["who"] != "me" {
				t.Errorf("got %q, %v, ETag %s, metadata %v", b, err, *got.ETag, got.Metadata)
			}
		})
	}
}

func TestS3StreamsOfUnknownContent(t *testing.T) {
	// Over HTTPS the SDK sends aws-chunked with a trailer and no signature; over HTTP every chunk is signed.
	s := start(t, Options{})
	c := s3Client(t, s)
	makeBucket(t, c, "bucket")
	content := bytes.Repeat([]byte("0123456789"), 50_000)
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k"), Body: f}); err != nil {
		t.Fatal(err)
	}
	got, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(got.Body); err != nil || !bytes.Equal(b, content) {
		t.Errorf("got %d bytes, %v", len(b), err)
	}
}

func TestS3Ranges(t *testing.T) {
	s := start(t, Options{})
	c := s3Client(t, s)
	makeBucket(t, c, "bucket")
	if _, err := s.S3.Put("bucket", "k", strings.NewReader("0123456789")); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ asked, got, contentRange, code string }{
		{"bytes=2-4", "234", "bytes 2-4/10", ""},
		{"bytes=7-", "789", "bytes 7-9/10", ""},
		{"bytes=7-99", "789", "bytes 7-9/10", ""},
		{"bytes=-3", "789", "bytes 7-9/10", ""},
		{"bytes=-99", "0123456789", "bytes 0-9/10", ""},
		{"bytes=10-", "", "", "InvalidRange"},
		{"bytes=4-2", "0123456789", "", ""},
		{"lines=1-2", "0123456789", "", ""},
	} {
		got, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k"), Range: &tc.asked})
		if code(err) != tc.code {
			t.Errorf("%s: %v, want %q", tc.asked, err, tc.code)
			continue
		}
		if err != nil {
			continue
		}
		b, err := io.ReadAll(got.Body)
		if err != nil || string(b) != tc.got || aws.ToString(got.ContentRange) != tc.contentRange {
			t.Errorf("%s: got %q (%s), %v", tc.asked, b, aws.ToString(got.ContentRange), err)
		}
	}
}

func TestS3Conditions(t *testing.T) {
	s := start(t, Options{})
	c := s3Client(t, s)
	makeBucket(t, c, "bucket")
	v, err := s.S3.Put("bucket", "k", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	get := func(in s3.GetObjectInput) string {
		in.Bucket = aws.String("bucket")
		if in.Key == nil {
			in.Key = aws.String("k")
		}
		out, err := c.GetObject(t.Context(), &in)
		if err == nil {
			_ = out.Body.Close()
		}
		return code(err)
	}
	for name, tc := range map[string]struct {
		in   s3.GetObjectInput
		want string
	}{
		"the same":       {s3.GetObjectInput{IfMatch: aws.String(`"` + v.ETag + `"`)}, ""},
		"another":        {s3.GetObjectInput{IfMatch: aws.String(`"abc"`)}, "PreconditionFailed"},
		"not changed":    {s3.GetObjectInput{IfNoneMatch: aws.String(`"` + v.ETag + `"`)}, "NotModified"},
		"missing":        {s3.GetObjectInput{Key: aws.String("none")}, "NoSuchKey"},
		"no such number": {s3.GetObjectInput{VersionId: aws.String("nope")}, "NoSuchVersion"},
	} {
		if got := get(tc.in); got != tc.want && !(tc.want == "NotModified" && strings.Contains(got, "NotModified")) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestS3Versions(t *testing.T) {
	s := start(t, Options{})
	c := s3Client(t, s)
	makeBucket(t, c, "bucket")
	if _, err := c.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: aws.String("bucket"), VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}}); err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{}
	for _, content := range []string{"one", "two"} {
		out, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k"), Body: strings.NewReader(content)})
		if err != nil {
			t.Fatal(err)
		}
		ids[content] = aws.ToString(out.VersionId)
	}
	if _, err := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k")}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k")}); code(err) != "NoSuchKey" {
		t.Errorf("the deleted object: %v", err)
	}
	for content, id := range ids {
		out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k"), VersionId: &id})
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(out.Body); err != nil || string(b) != content {
			t.Errorf("version %s is %q, %v", id, b, err)
		}
	}
}

func TestS3Multipart(t *testing.T) {
	s := start(t, Options{})
	c := s3Client(t, s)
	makeBucket(t, c, "bucket")
	up, err := c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String("bucket"), Key: aws.String("big"), ChecksumAlgorithm: types.ChecksumAlgorithmSha256})
	if err != nil {
		t.Fatal(err)
	}
	var done []types.CompletedPart
	for n, content := range []string{strings.Repeat("a", 100), strings.Repeat("b", 50)} {
		number := int32(n + 1)
		part, err := c.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: aws.String("bucket"), Key: aws.String("big"), UploadId: up.UploadId, PartNumber: &number, Body: strings.NewReader(content), ChecksumAlgorithm: types.ChecksumAlgorithmSha256})
		if err != nil {
			t.Fatal(err)
		}
		done = append(done, types.CompletedPart{ETag: part.ETag, PartNumber: &number, ChecksumSHA256: part.ChecksumSHA256})
	}
	out, err := c.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{Bucket: aws.String("bucket"), Key: aws.String("big"), UploadId: up.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: done}})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(*out.ETag, `-2"`) || !strings.HasSuffix(aws.ToString(out.ChecksumSHA256), "-2") {
		t.Errorf("ETag %s, checksum %s", *out.ETag, aws.ToString(out.ChecksumSHA256))
	}
	got, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("big"), PartNumber: aws.Int32(2)})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(got.Body); err != nil || string(b) != strings.Repeat("b", 50) || aws.ToString(got.ContentRange) != "bytes 100-149/150" {
		t.Errorf("part 2 is %q (%s), %v", b, aws.ToString(got.ContentRange), err)
	}
}

func TestS3Refuses(t *testing.T) {
	s := start(t, Options{})
	makeBucket(t, s3Client(t, s), "bucket")
	head := func(change func(*s3.Options)) string {
		_, err := s3Client(t, s, change).ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("bucket")})
		return code(err)
	}
	keys := func(id, secret, token string) func(*s3.Options) {
		return func(o *s3.Options) {
			o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: token}, nil
			})
		}
	}
	for name, tc := range map[string]struct {
		change func(*s3.Options)
		want   string
	}{
		"nothing":         {func(*s3.Options) {}, ""},
		"a wrong secret":  {keys(OperatorKeyID, "wrong", ""), "SignatureDoesNotMatch"},
		"an unknown key":  {keys("AKIAUNKNOWN", "x", ""), "InvalidAccessKeyId"},
		"a stray token":   {keys(OperatorKeyID, OperatorSecret, "token"), "InvalidToken"},
		"a wrong region":  {func(o *s3.Options) { o.Region = "eu-west-1" }, "AuthorizationHeaderMalformed"},
		"no signature":    {func(o *s3.Options) { o.Credentials = aws.AnonymousCredentials{} }, "AccessDenied"},
		"a foreign style": {func(o *s3.Options) { o.UsePathStyle = true }, ""},
	} {
		if got := head(tc.change); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestS3Faults(t *testing.T) {
	content := strings.Repeat("x", 100_000)
	for name, tc := range map[string]struct {
		fault fault.Fault
		want  func(status, length int, err error) bool
	}{
		"500":              {fault.Fault{Kind: fault.Status, Status: 500}, func(s, _ int, _ error) bool { return s == 500 }},
		"slow down":        {fault.Fault{Kind: fault.Throttle}, func(s, _ int, _ error) bool { return s == 503 }},
		"reset before":     {fault.Fault{Kind: fault.Reset}, func(s, _ int, err error) bool { return s == 0 && err != nil }},
		"reset in between": {fault.Fault{Kind: fault.Cut, After: 1000}, func(s, n int, err error) bool { return s == 200 && n <= 1000 && err != nil }},
		"early end":        {fault.Fault{Kind: fault.Truncate, After: 1000}, func(s, n int, err error) bool { return s == 200 && n == 1000 && err != nil }},
		"wrong length":     {fault.Fault{Kind: fault.WrongLength, After: 1000}, func(s, n int, err error) bool { return s == 200 && n == 1000 && err == nil }},
		"ignored range":    {fault.Fault{Kind: fault.IgnoreRange}, func(s, n int, err error) bool { return s == 200 && n == len(content) && err == nil }},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, Options{})
			c := s3Client(t, s)
			makeBucket(t, c, "bucket")
			if _, err := s.S3.Put("bucket", "k", strings.NewReader(content)); err != nil {
				t.Fatal(err)
			}
			tc.fault.Service, tc.fault.Operation, tc.fault.Key = "s3", "GetObject", "bucket/k"
			if _, err := s.Fault(tc.fault); err != nil {
				t.Fatal(err)
			}
			status, n, err := rawGet(t, s, c, tc.fault.Kind == fault.IgnoreRange)
			if !tc.want(status, n, err) {
				t.Errorf("status %d, %d bytes, %v", status, n, err)
			}
			if status, n, err := rawGet(t, s, c, false); status != 200 || n != len(content) || err != nil {
				t.Errorf("after the fault: status %d, %d bytes, %v", status, n, err)
			}
		})
	}
}

// rawGet fetches by a presigned address, so that nothing is between the test and the bytes.
func rawGet(t *testing.T, s *Server, c *s3.Client, ranged bool) (status, length int, err error) {
	t.Helper()
	p, err := s3.NewPresignClient(c).PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ranged {
		r.Header.Set("Range", "bytes=0-9")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = response.Body.Close() }()
	b, err := io.ReadAll(response.Body)
	return response.StatusCode, len(b), err
}

func TestAChangedObjectFailsTheCondition(t *testing.T) {
	s := start(t, Options{})
	c := s3Client(t, s)
	makeBucket(t, c, "bucket")
	v, err := s.S3.Put("bucket", "k", strings.NewReader("content"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Fault(fault.Fault{Service: "s3", Operation: "GetObject", Kind: fault.Changed, Skip: 1}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"", "PreconditionFailed"} {
		_, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k"), IfMatch: &v.ETag})
		if code(err) != want {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestTheAWSCLICopiesListsAndRemoves(t *testing.T) {
	aws := cliPath(t)
	s := start(t, Options{})
	dir := t.TempDir()
	big := make([]byte, 9<<20) // the CLI uploads in parts from 8 MiB
	if _, err := rand.Read(big); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "big"), big, 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(aws, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL_S3="+s.URL(), "AWS_ACCESS_KEY_ID="+OperatorKeyID, "AWS_SECRET_ACCESS_KEY="+OperatorSecret,
			"AWS_DEFAULT_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/nonexistent", "AWS_SHARED_CREDENTIALS_FILE=/nonexistent")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("aws %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run("s3", "mb", "s3://cli-bucket")
	run("s3", "cp", "--no-progress", "big", "s3://cli-bucket/some/dir/big")
	run("s3", "cp", "--no-progress", "s3://cli-bucket/some/dir/big", "back")
	if back, err := os.ReadFile(filepath.Join(dir, "back")); err != nil || !bytes.Equal(back, big) {
		t.Errorf("the copy that came back differs: %d bytes, %v", len(back), err)
	}
	if got := run("s3", "ls", "s3://cli-bucket/some/"); !strings.Contains(got, "PRE dir/") {
		t.Errorf("ls says %q", got)
	}
	run("s3", "cp", "--no-progress", "s3://cli-bucket/some/dir/big", "s3://cli-bucket/copy")
	run("s3", "rb", "--force", "s3://cli-bucket") // removes every object first
}

func cliPath(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("aws")
	if err == nil && exec.Command(path, "--version").Run() == nil {
		return path
	}
	t.Skip("NOT RUN HERE (needs the AWS CLI): nobody tried an unmodified client with the S3 of the twin")
	return ""
}
