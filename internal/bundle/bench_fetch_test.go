package bundle

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
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
			url, ca := serveApart(b, benchServer{Size: size, TLS: c.tls, Rate: c.rate, Sum: c.sum})
			dir, err := os.MkdirTemp("/dev/shm", "bench-fetch-")
			if err != nil {
				b.Skipf("NOT RUN HERE (needs a tmpfs): %v", err)
			}
			b.Cleanup(func() { _ = os.RemoveAll(dir) })
			client, args := http.DefaultClient, []string{"-s", "-S", "-o", filepath.Join(dir, "curl"), url + "/bucket/apps/web.zip"}
			if c.tls {
				file := filepath.Join(dir, "ca.pem")
				if err := os.WriteFile(file, ca, 0o600); err != nil {
					b.Fatal(err)
				}
				pool := x509.NewCertPool()
				pool.AppendCertsFromPEM(ca)
				client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
				args = append(args, "--cacert", file)
			}
			clients := Clients{S3: NewS3(S3Options{Region: "us-east-1", Endpoint: url, HTTP: client})}
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
				if out, err := exec.Command(curl, args...).CombinedOutput(); err != nil {
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

// BenchmarkFetchAndUnpack compares both steps with curl and tar, on a server that gives every connection 50 MB a second.
func BenchmarkFetchAndUnpack(b *testing.B) {
	for _, c := range []benchBundle{oneLarge, oneRandom} {
		b.Run(c.name+" as tgz", func(b *testing.B) {
			needProgram(b, "curl")
			dir := fastTemp(b)
			url, _ := serveApart(b, benchServer{File: c.make(b, dir, "tgz"), Rate: 50_000_000})
			clients := Clients{S3: NewS3(S3Options{Region: "us-east-1", Endpoint: url})}
			rev := deployspec.Revision{Type: deployspec.S3, S3: &testObject}
			dst, tree := filepath.Join(dir, "bundle.tar"), filepath.Join(dir, "deployment-archive")
			shell := "mkdir tree && cd tree && curl -sSo ../bundle.tgz " + url + "/bucket/apps/web.zip && tar -zxpf ../bundle.tgz"

			var ours, theirs []float64
			for b.Loop() {
				began := time.Now()
				_, err := Fetch(b.Context(), rev, dst, clients, FetchOptions{Volatile: true}, zap.NewNop())
				must(b, err)
				_, err = Unpack(b.Context(), dst, "tgz", tree, UnpackOptions{}, zap.NewNop())
				must(b, err)
				ours = append(ours, time.Since(began).Seconds())
				must(b, errors.Join(os.RemoveAll(tree), os.Remove(dst)))

				began = time.Now()
				cmd := exec.Command("sh", "-ec", shell)
				cmd.Dir = dir
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v: %s", err, out)
				}
				theirs = append(theirs, time.Since(began).Seconds())
				must(b, errors.Join(os.RemoveAll(filepath.Join(dir, "tree")), os.Remove(filepath.Join(dir, "bundle.tgz"))))
			}
			b.ReportMetric(median(ours), "s")
			b.ReportMetric(median(theirs), "s-peer")
			b.ReportMetric(median(ours)/median(theirs), "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// benchServer is what a server in a process of its own does; it must not share the Go runtime of what is measured.
type benchServer struct {
	Size int
	TLS  bool
	Rate int64
	Sum  string
	// File is what is served instead of Size random bytes.
	File string
}

// benchServerVariable makes the test program such a server.
const benchServerVariable = "CODEDEPLOY_TEST_BENCH_SERVER"

func serveApart(b *testing.B, s benchServer) (url string, ca []byte) {
	b.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), benchServerVariable+"="+string(text))
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close() // ends it
		_ = cmd.Wait()
	})
	var answer struct {
		URL string
		CA  []byte
	}
	if err := json.NewDecoder(out).Decode(&answer); err != nil {
		b.Fatal(err)
	}
	return answer.URL, answer.CA
}

// benchServe is the server's side; it ends with its standard input.
func benchServe(text string) error {
	var s benchServer
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	f := &fakeS3{content: randomContent(s.Size), etag: `"bench"`, rate: s.Rate, headers: map[string]string{}}
	if s.File != "" {
		var err error
		if f.content, err = os.ReadFile(s.File); err != nil {
			return err
		}
	}
	for _, kind := range checksumKinds {
		if kind.header == s.Sum {
			h := kind.newHash()
			h.Write(f.content)
			f.headers[s.Sum] = strings.TrimPrefix(digestText(kind, h.Sum(nil)), kind.name+":")
		}
	}
	server := httptest.NewUnstartedServer(f)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	var ca []byte
	if s.TLS {
		server.StartTLS()
		ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	} else {
		server.Start()
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]any{"URL": server.URL, "CA": ca}); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}
