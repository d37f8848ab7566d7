package stub

import (
	"io"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// BenchmarkGetObject says how fast the twin can feed a download, which bounds what a benchmark of an agent can show.
func BenchmarkGetObject(b *testing.B) {
	s, err := Start(b.Context(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	const size = 256 << 20
	if err := s.S3.MakeBucket("bucket", false); err != nil {
		b.Fatal(err)
	}
	if _, err := s.S3.Put("bucket", "k", io.LimitReader(zeros{}, size)); err != nil {
		b.Fatal(err)
	}
	c := s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(s.URL()), UsePathStyle: true,
		Credentials: aws.CredentialsProviderFunc(operator),
	})
	b.SetBytes(size)
	for b.Loop() {
		out, err := c.GetObject(b.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k")})
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, out.Body, make([]byte, 256<<10)); err != nil || n != size {
			b.Fatalf("%d bytes, %v", n, err)
		}
		_ = out.Body.Close()
	}
}
