package stub

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"
)

// TestTheS3AnswersAsVersitygwDoes asks both the same questions.
func TestTheS3AnswersAsVersitygwDoes(t *testing.T) {
	oracle := startOracle(t)
	twin := s3Client(t, start(t, Options{}))
	want, got := questions(t, oracle), questions(t, twin)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers (-versitygw +twin):\n%s", diff)
	}
}

// startOracle starts the versitygw that other tests have built.
func startOracle(t *testing.T) *s3.Client {
	t.Helper()
	cache, _ := os.UserCacheDir()
	programs, _ := filepath.Glob(filepath.Join(cache, "codedeploy-agent-tools", "versitygw-*"))
	if len(programs) == 0 {
		t.Skip("NOT RUN HERE (needs versitygw, which the tests of downloading build): the twin's S3 was compared with no other")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	server := exec.Command(programs[0], "--port", address, "--access", OperatorKeyID, "--secret", OperatorSecret, "--region", "us-east-1", "--quiet", "posix", t.TempDir())
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	for range 500 {
		if c, err := net.Dial("tcp", address); err == nil {
			_ = c.Close()
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String("http://" + address), UsePathStyle: true, HTTPClient: &http.Client{Transport: transport},
		Retryer: aws.NopRetryer{}, Credentials: aws.CredentialsProviderFunc(operator),
	})
}

// questions returns one line an answer.
func questions(t *testing.T, c *s3.Client) (answers []string) {
	ctx := t.Context()
	bucket, key := aws.String("bucket"), aws.String("dir/key")
	tell := func(what string, err error, values ...any) {
		answers = append(answers, what+": "+strings.TrimSpace(fmt.Sprint(append([]any{code(err), " "}, values...)...)))
	}
	get := func(what string, in s3.GetObjectInput) {
		in.Bucket = bucket
		if in.Key == nil {
			in.Key = key
		}
		out, err := c.GetObject(ctx, &in)
		if err != nil {
			tell(what, err)
			return
		}
		b, err := io.ReadAll(out.Body)
		_ = out.Body.Close()
		tell(what, err, string(b), aws.ToString(out.ContentRange), aws.ToString(out.ETag), aws.ToInt64(out.ContentLength), aws.ToString(out.ChecksumSHA256), out.Metadata)
	}
	_, err := c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucket})
	tell("make a bucket", err)
	put, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("0123456789"), ChecksumAlgorithm: types.ChecksumAlgorithmSha256, Metadata: map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	tell("put", err, aws.ToString(put.ETag), aws.ToString(put.ChecksumSHA256))
	get("get", s3.GetObjectInput{})
	get("get with checksum", s3.GetObjectInput{ChecksumMode: types.ChecksumModeEnabled})
	for _, r := range []string{"bytes=0-3", "bytes=5-", "bytes=-4", "bytes=2-99", "bytes=10-", "bytes=99-100"} {
		get(r, s3.GetObjectInput{Range: &r})
	}
	get("the right tag", s3.GetObjectInput{IfMatch: put.ETag})
	get("a wrong tag", s3.GetObjectInput{IfMatch: aws.String(`"0"`)})
	get("a range of a wrong tag", s3.GetObjectInput{IfMatch: aws.String(`"0"`), Range: aws.String("bytes=0-3")})
	get("a missing key", s3.GetObjectInput{Key: aws.String("none")})
	_, err = c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("no-such-bucket"), Key: key})
	tell("a missing bucket", err)
	answers = append(answers, multipartAnswers(ctx, t, c, bucket)...)
	list, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, Delimiter: aws.String("/")})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list.Contents {
		tell("listed", err, aws.ToString(o.Key), aws.ToInt64(o.Size), aws.ToString(o.ETag))
	}
	for _, p := range list.CommonPrefixes {
		tell("listed", err, aws.ToString(p.Prefix))
	}
	_, err = c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: bucket})
	tell("remove a full bucket", err)
	_, err = c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: key})
	tell("remove", err)
	get("what is removed", s3.GetObjectInput{})
	return answers
}

func multipartAnswers(ctx context.Context, t *testing.T, c *s3.Client, bucket *string) (answers []string) {
	t.Helper()
	key := aws.String("big")
	up, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	var parts []types.CompletedPart
	for i, size := range []int{5 << 20, 10} {
		n := int32(i + 1)
		out, err := c.UploadPart(ctx, &s3.UploadPartInput{Bucket: bucket, Key: key, UploadId: up.UploadId, PartNumber: &n, Body: strings.NewReader(strings.Repeat("x", size))})
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, fmt.Sprint("part ", n, " ", aws.ToString(out.ETag)))
		parts = append(parts, types.CompletedPart{ETag: out.ETag, PartNumber: &n})
	}
	complete := func(parts []types.CompletedPart) string {
		out, err := c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: bucket, Key: key, UploadId: up.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
		if err != nil {
			return code(err)
		}
		return aws.ToString(out.ETag)
	}
	answers = append(answers, "complete "+complete(parts))
	head, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return append(answers, fmt.Sprint("size ", aws.ToInt64(head.ContentLength)))
}
