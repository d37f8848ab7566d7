package identity

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeIMDS is an instance metadata service. Its pages can be changed while it runs.
type fakeIMDS struct {
	*httptest.Server

	mu       sync.Mutex
	pages    map[string]string
	noTokens int // status of token requests, 0 for a token
	v1       bool
	slow     bool
	tokens   int
	requests []string
}

func newIMDS(t *testing.T) *fakeIMDS {
	t.Helper()
	f := &fakeIMDS{pages: map[string]string{
		"dynamic/instance-identity/document":  `{"region":"eu-west-1","accountId":"123456789012","instanceId":"i-0abc","version":"2017-09-30"}`,
		"meta-data/services/partition":        "aws",
		"meta-data/services/domain":           "amazonaws.com",
		"meta-data/iam/security-credentials/": "web",
	}}
	f.role("AKID1", time.Now().Add(6*time.Hour))
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f.URL+"/")
	for _, name := range []string{"AWS_REGION", "AWS_HOST_IDENTIFIER"} {
		t.Setenv(name, "")
	}
	return f
}

func (f *fakeIMDS) role(keyID string, expires time.Time) {
	f.page("meta-data/iam/security-credentials/web", fmt.Sprintf(
		`{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":%q,"SecretAccessKey":"s","Token":"t","Expiration":%q}`, keyID, expires.UTC().Format(time.RFC3339)))
}

func (f *fakeIMDS) page(path, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if text == "" {
		delete(f.pages, path)
		return
	}
	f.pages[path] = text
}

func (f *fakeIMDS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests = append(f.requests, r.Method+" "+r.URL.Path)
	slow, status := f.slow, f.noTokens
	text, known := f.pages[strings.TrimPrefix(r.URL.Path, "/latest/")]
	f.mu.Unlock()
	if r.Method == http.MethodPut && r.URL.Path == "/latest/api/token" {
		switch {
		case slow:
			<-r.Context().Done()
		case status != 0:
			w.WriteHeader(status)
		case r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds") == "":
			w.WriteHeader(http.StatusBadRequest)
		default:
			f.mu.Lock()
			f.tokens++
			_, _ = fmt.Fprintf(w, "token-%d", f.tokens)
			f.mu.Unlock()
		}
		return
	}
	f.mu.Lock()
	good := r.Header.Get("X-Aws-Ec2-Metadata-Token") == fmt.Sprintf("token-%d", f.tokens) || f.v1
	f.mu.Unlock()
	switch {
	case !good:
		w.WriteHeader(http.StatusUnauthorized)
	case !known:
		w.WriteHeader(http.StatusNotFound)
	default:
		_, _ = fmt.Fprint(w, text)
	}
}
