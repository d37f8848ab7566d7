package s3

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func decode(body string) (string, http.Header, error) {
	r, err := http.NewRequest(http.MethodPut, "http://localhost/b/k", strings.NewReader(body))
	if err != nil {
		return "", nil, err
	}
	s := newStream(r, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", nil)
	b, err := io.ReadAll(s)
	return string(b), http.Header(s.(*chunked).trailers), err
}

func TestChunksAreJoinedAndTrailersRead(t *testing.T) {
	got, trailers, err := decode("5\r\nhello\r\n1;x=y\r\n \r\n5\r\nworld\r\n0\r\nx-amz-checksum-crc32:abc=\r\n\r\n")
	if err != nil || got != "hello world" || trailers.Get("X-Amz-Checksum-Crc32") != "abc=" {
		t.Errorf("%q, %v, %v", got, trailers, err)
	}
}

func TestMalformedChunksAreRefused(t *testing.T) {
	for _, body := range []string{"", "5\r\nhel", "5\r\nhelloX\r\n0\r\n\r\n", "-1\r\n", "zz\r\n", "5\r\nhello\r\n", "0\r\nno colon\r\n\r\n", "ffffffffffffffff\r\nx"} {
		if got, _, err := decode(body); err == nil {
			t.Errorf("%q was read as %q", body, got)
		}
	}
}

func FuzzChunks(f *testing.F) {
	f.Add("5\r\nhello\r\n0\r\n\r\n")
	f.Add("0\r\na:b\r\n\r\n")
	f.Fuzz(func(t *testing.T, body string) {
		got, _, err := decode(body)
		if err == nil && len(got) > len(body) {
			t.Errorf("%q became %q", body, got)
		}
	})
}

func TestCRC64NVME(t *testing.T) {
	h := hashes["CRC64NVME"]()
	_, _ = h.Write([]byte("123456789"))
	if got := fmt.Sprintf("%x", h.Sum(nil)); got != "ae8b14860a799888" { // the check value of the catalogue
		t.Errorf("the checksum is %s", got)
	}
}
