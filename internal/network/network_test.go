package network

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for _, p := range pairs {
			if value, ok := strings.CutPrefix(p, name+"="); ok {
				return value
			}
		}
		return ""
	}
}

func TestWhatGoesThroughAProxy(t *testing.T) {
	const proxied, direct = "http://proxy:3128", ""
	for _, tc := range []struct {
		name string
		o    Options
		url  string
		want string
	}{
		{"nothing configured", Options{}, "https://example.com", direct},
		{"proxy_uri", Options{ProxyURI: proxied}, "https://s3.eu-west-1.amazonaws.com/b/k", proxied},
		{"proxy_uri, plain http", Options{ProxyURI: proxied}, "http://example.com", proxied},
		{"the variable alone", Options{Getenv: environment("HTTPS_PROXY=" + proxied)}, "https://example.com", proxied},
		{"the variable in lower case", Options{Getenv: environment("https_proxy=" + proxied)}, "https://example.com", proxied},
		{"proxy_uri goes before the variable", Options{ProxyURI: proxied, Getenv: environment("HTTPS_PROXY=http://other")}, "https://example.com", proxied},
		{"a suffix of NO_PROXY", Options{ProxyURI: proxied, Getenv: environment("NO_PROXY=.amazonaws.com")}, "https://s3.eu-west-1.amazonaws.com", direct},
		{"a host of no_proxy", Options{ProxyURI: proxied, NoProxy: "s3.example.com"}, "https://s3.example.com", direct},
		{"another host than that of no_proxy", Options{ProxyURI: proxied, NoProxy: "s3.example.com"}, "https://api.github.com", proxied},
		{"a network of NO_PROXY", Options{ProxyURI: proxied, Getenv: environment("no_proxy=10.0.0.0/8")}, "http://10.1.2.3/", direct},
		{"both lists count", Options{ProxyURI: proxied, NoProxy: "a.example", Getenv: environment("NO_PROXY=b.example")}, "http://b.example/", direct},
		{"instance metadata", Options{ProxyURI: proxied}, "http://169.254.169.254/latest/api/token", direct},
		{"instance metadata over IPv6", Options{ProxyURI: proxied}, "http://[fd00:ec2::254]/latest/api/token", direct},
		{"instance metadata at another address", Options{ProxyURI: proxied, Getenv: environment("AWS_EC2_METADATA_SERVICE_ENDPOINT=http://imds.example:80/")}, "http://imds.example/latest", direct},
		{"loopback", Options{ProxyURI: proxied}, "http://127.0.0.1:8080/", direct},
		{"loopback by name", Options{ProxyURI: proxied}, "http://LOCALHOST:8080/", direct},
		{"loopback over IPv6", Options{ProxyURI: proxied}, "http://[::1]:8080/", direct},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.o.Getenv == nil {
				tc.o.Getenv = environment()
			}
			client, err := NewHTTPClient(tc.o)
			if err != nil {
				t.Fatal(err)
			}
			u, err := url.Parse(tc.url)
			if err != nil {
				t.Fatal(err)
			}
			got, err := client.Transport.(*http.Transport).Proxy(&http.Request{URL: u})
			if err != nil {
				t.Fatal(err)
			}
			if got == nil && tc.want != direct || got != nil && got.String() != tc.want {
				t.Errorf("proxy %v, want %q", got, tc.want)
			}
		})
	}
}

func TestTheProxySeesHostNamesAndNothingElse(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.Method+" "+r.Host)
		w.WriteHeader(http.StatusForbidden)
	}))
	defer proxy.Close()
	client, err := NewHTTPClient(Options{ProxyURI: proxy.URL, Getenv: environment()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	res, err := client.Get("https://codedeploy-commands.eu-west-1.example.test/secret?token=1")
	if err == nil {
		_ = res.Body.Close()
		t.Error("the proxy refused, but the request succeeded")
	}
	if got := strings.Join(asked, ", "); got != "CONNECT codedeploy-commands.eu-west-1.example.test:443" {
		t.Errorf("the proxy was asked for %s", got)
	}
}

func TestAuthoritiesOfTheEnvironmentAreAdded(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // one client is meant to be refused
	server.StartTLS()
	defer server.Close()
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	dir := t.TempDir()
	file := filepath.Join(dir, "own.pem")
	if err := os.WriteFile(file, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "README"), []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "dangling.pem")); err != nil {
		t.Fatal(err)
	}
	get := func(variables ...string) error {
		t.Helper()
		client, err := NewHTTPClient(Options{Getenv: environment(variables...)})
		if err != nil {
			t.Fatal(err)
		}
		defer client.CloseIdleConnections()
		res, err := client.Get(server.URL)
		if err == nil {
			_ = res.Body.Close()
		}
		return err
	}
	if get() == nil {
		t.Error("an unknown authority was accepted")
	}
	for _, variable := range []string{"AWS_CA_BUNDLE=" + file, "AWS_SSL_CA_BUNDLE=" + file, "SSL_CERT_FILE=" + file, "AWS_SSL_CA_DIRECTORY=" + dir} {
		if err := get(variable); err != nil {
			t.Errorf("%s: %v", variable, err)
		}
	}
}

func TestTheSystemsAuthoritiesAreNotReadBeforeTheyAreNeeded(t *testing.T) {
	bundle := systemBundle()
	if bundle == "" {
		t.Skip("NOT RUN HERE (needs the certificates of a system, in one file): " + t.Name())
	}
	for _, variable := range authorityVariables {
		if pool, err := authorities(environment(variable + "=" + bundle)); pool != nil || err != nil {
			t.Errorf("%s: they were read, %v", variable, err)
		}
	}
}

func TestFilesThatCannotBeUsedAreNamed(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		o    Options
		want string
	}{
		{Options{Getenv: environment("AWS_CA_BUNDLE=" + empty)}, `cannot use the certificates that AWS_CA_BUNDLE names: "` + empty + `": there is no certificate in PEM form in it`},
		{Options{Getenv: environment("SSL_CERT_FILE=/nonexistent")}, "cannot use the certificates that SSL_CERT_FILE names: stat /nonexistent: no such file or directory"},
		{Options{Getenv: environment(), ProxyURI: "http://me:hidden@"}, `cannot use the proxy: proxy_uri is no URL like "http://proxy.example.com:3128"`},
	} {
		if _, err := NewHTTPClient(tc.o); err == nil || err.Error() != tc.want {
			t.Errorf("error %v\nwant %s", err, tc.want)
		}
	}
}

func TestTheWireLogHasNoSecrets(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amzn-Requestid", "id-1")
		w.Header().Set("Set-Cookie", "hidden")
	}))
	defer server.Close()
	var text strings.Builder
	client, err := NewHTTPClient(Options{Getenv: environment(), WireLog: &text})
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/bucket/key?X-Amz-Signature=hidden", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Authorization", "X-Amz-Security-Token", "X-Aws-Ec2-Metadata-Token", "Proxy-Authorization"} {
		req.Header.Set(name, "hidden")
	}
	req.Header.Set("X-Amz-Target", "CodeDeploy\nX")
	res, err := client.Do(req)
	if err == nil {
		_ = res.Body.Close()
		t.Error("a header with a line end was sent")
	}
	req.Header.Set("X-Amz-Target", "CodeDeploy.X")
	if res, err = client.Do(req); err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	for _, want := range []string{"> GET " + server.URL + "/bucket/key?... X-Amz-Target=[\"CodeDeploy.X\"]\n", "HTTP/1.1 200 OK after ", `X-Amzn-Requestid=["id-1"]`} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in the log:\n%s", want, text.String())
		}
	}
	if strings.Contains(text.String(), "hidden") {
		t.Errorf("the log tells a secret:\n%s", text.String())
	}
}
