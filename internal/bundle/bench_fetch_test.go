package bundle

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"codedeploy-agent/internal/deployspec"
	"go.uber.org/zap"
)

// BenchmarkFetch compares Fetch with curl, which downloads the same object from the same server in turn, both to a
// tmpfs. The ratios are those of the medians of b.N runs, of which -benchtime=5x gives enough.
func BenchmarkFetch(b *testing.B) {
	const size = 200 * mib
	for _, c := range []struct {
		name string
		tls  bool
		rate int64
		sum  string
	}{
		{name: "plain"},
		{name: "TLS", tls: true},
		{name: "SHA-256", sum: "X-Amz-Checksum-Sha256"},
		{name: "CRC64NVME", sum: "X-Amz-Checksum-Crc64nvme"},
		{name: "50MBps a connection", rate: 50_000_000},
	} {
		b.Run(c.name, func(b *testing.B) {
			curl, err := exec.LookPath("curl")
			if err != nil {
				b.Skip("NOT RUN HERE (needs curl)")
			}
			f := newFakeS3(b, size)
			f.rate = c.rate
			if c.sum != "" {
				for _, kind := range checksumKinds {
					if kind.header == c.sum {
						h := kind.newHash()
						h.Write(f.content)
						f.headers = map[string]string{c.sum: strings.TrimPrefix(digestText(kind, h.Sum(nil)), kind.name+":")}
					}
				}
			}
			dir, err := os.MkdirTemp("/dev/shm", "bench-fetch-")
			if err != nil {
				b.Skipf("NOT RUN HERE (needs a tmpfs): %v", err)
			}
			b.Cleanup(func() { _ = os.RemoveAll(dir) })
			server, client, args := f.Server, http.DefaultClient, []string{"-s", "-S", "-o", filepath.Join(dir, "curl")}
			if c.tls {
				server = httptest.NewTLSServer(f)
				b.Cleanup(server.Close)
				ca := filepath.Join(dir, "ca.pem")
				if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
					b.Fatal(err)
				}
				pool := x509.NewCertPool()
				pool.AddCert(server.Certificate())
				client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
				args = append(args, "--cacert", ca)
			}
			clients := Clients{S3: NewS3(S3Options{Region: "us-east-1", Endpoint: server.URL, HTTP: client})}
			rev := deployspec.Revision{Type: deployspec.S3, S3: &testObject}
			dst := filepath.Join(dir, "bundle.tar")

			var ours, theirs []time.Duration
			for b.Loop() {
				began := time.Now()
				if _, err := Fetch(b.Context(), rev, dst, clients, FetchOptions{}, zap.NewNop()); err != nil {
					b.Fatal(err)
				}
				ours = append(ours, time.Since(began))
				_ = os.Remove(dst)

				began = time.Now()
				if out, err := exec.Command(curl, append(args, server.URL+"/bucket/apps/web.zip")...).CombinedOutput(); err != nil {
					b.Fatalf("%v: %s", err, out)
				}
				theirs = append(theirs, time.Since(began))
				_ = os.Remove(filepath.Join(dir, "curl"))
			}
			slices.Sort(ours)
			slices.Sort(theirs)
			us, them := ours[len(ours)/2], theirs[len(theirs)/2]
			b.ReportMetric(us.Seconds(), "s/fetch")
			b.ReportMetric(them.Seconds(), "s/curl")
			b.ReportMetric(us.Seconds()/them.Seconds(), "ratio")
			b.Logf("%s: %v against %v with curl: %.2f", c.name, us.Round(time.Millisecond), them.Round(time.Millisecond), us.Seconds()/them.Seconds())
		})
	}
}
