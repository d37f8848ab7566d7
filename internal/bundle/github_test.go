package bundle

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"codedeploy-agent/internal/deployspec"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// fakeGitHub is the API and, under another host name, the store that it redirects to.
type fakeGitHub struct {
	api, store *httptest.Server
	content    []byte
	answer     func(w http.ResponseWriter, r *http.Request, number int) (answered bool)

	mu   sync.Mutex
	seen []*http.Request
}

func newFakeGitHub(t *testing.T) *fakeGitHub {
	g := &fakeGitHub{content: []byte("the archive of a commit")}
	g.store = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.note(w, r) {
			return
		}
		_ = http.NewResponseController(w).Flush() // in chunks, as GitHub does
		_, _ = w.Write(g.content)
	}))
	g.api = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.note(w, r) {
			http.Redirect(w, r, strings.Replace(g.store.URL, "127.0.0.1", "localhost", 1)+"/legacy.tar.gz/x?token=temporary", http.StatusFound)
		}
	}))
	t.Cleanup(g.api.Close)
	t.Cleanup(g.store.Close)
	return g
}

func (g *fakeGitHub) note(w http.ResponseWriter, r *http.Request) bool {
	g.mu.Lock()
	g.seen = append(g.seen, r)
	number := len(g.seen)
	g.mu.Unlock()
	return g.answer != nil && g.answer(w, r, number)
}

func (g *fakeGitHub) fetch(t *testing.T, commit deployspec.GitHubCommit, token deployspec.Secret) download {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	dst := filepath.Join(t.TempDir(), "bundle.tar")
	rev := deployspec.Revision{Type: deployspec.GitHub, GitHub: &commit}
	info, err := Fetch(t.Context(), rev, dst, Clients{GitHubAPI: g.api.URL, GitHubToken: token}, FetchOptions{pace: fast()}, zap.New(core))
	return download{info, err, dst, logs}
}

func TestACommitComesFromGitHub(t *testing.T) {
	for _, c := range []struct {
		name   string
		commit deployspec.GitHubCommit
		token  deployspec.Secret
		path   string
		auth   string
	}{
		{"private", deployspec.GitHubCommit{Account: "acme", Repository: "web", CommitID: "abc123"}, "topsecret", "/repos/acme/web/tarball/abc123", "token topsecret"},
		{"anonymous", deployspec.GitHubCommit{Account: "acme", Repository: "web", CommitID: "abc123", Anonymous: true}, "topsecret", "/repos/acme/web/tarball/abc123", ""},
		{"without a token", deployspec.GitHubCommit{Account: "acme", Repository: "web", CommitID: "abc123", BundleType: "tar"}, "", "/repos/acme/web/tarball/abc123", ""},
		{"zip", deployspec.GitHubCommit{Account: "acme", Repository: "web", CommitID: "abc123", BundleType: "zip"}, "topsecret", "/repos/acme/web/zipball/abc123", "token topsecret"},
		{"odd names", deployspec.GitHubCommit{Account: "a/..", Repository: "w?b", CommitID: "feature/x"}, "", "/repos/a%2F../w%3Fb/tarball/feature%2Fx", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newFakeGitHub(t)
			g.fetch(t, c.commit, c.token).whole(t, g.content)
			if len(g.seen) != 2 {
				t.Fatalf("%d requests", len(g.seen))
			}
			if got := g.seen[0].URL.EscapedPath(); got != c.path {
				t.Errorf("the path is %q, want %q", got, c.path)
			}
			for i, want := range []string{c.auth, ""} { // never to the store
				if got := g.seen[i].Header.Get("Authorization"); got != want {
					t.Errorf("request %d has Authorization %q, want %q", i+1, got, want)
				}
				if g.seen[i].Header.Get("User-Agent") == "" {
					t.Errorf("request %d has no User-Agent", i+1)
				}
			}
		})
	}
}

func TestARenamedRepositoryKeepsTheToken(t *testing.T) {
	g := newFakeGitHub(t)
	g.answer = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if n == 1 {
			http.Redirect(w, r, "/repositories/17/tarball/x", http.StatusMovedPermanently)
		}
		return n == 1
	}
	g.fetch(t, deployspec.GitHubCommit{Account: "a", Repository: "b", CommitID: "x"}, "topsecret").whole(t, g.content)
	if g.seen[1].Header.Get("Authorization") == "" || g.seen[2].Header.Get("Authorization") != "" {
		t.Error("the token goes to the API, and only there")
	}
}

func TestGitHubIsAskedAgain(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter){
		"after 500":                 func(w http.ResponseWriter) { w.WriteHeader(500) },
		"after 429":                 func(w http.ResponseWriter) { w.WriteHeader(429) },
		"after a broken connection": breakOff,
		"after half the archive":    func(w http.ResponseWriter) { _, _ = w.Write([]byte("half")); reset(w) },
		"after an empty archive":    func(w http.ResponseWriter) { w.WriteHeader(200) },
		"after a silence":           func(w http.ResponseWriter) { time.Sleep(400 * time.Millisecond) },
		"after a short limit": func(w http.ResponseWriter) {
			w.Header().Set("X-RateLimit-Remaining", "0")
			w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(time.Now().Unix()-1, 10))
			w.WriteHeader(403)
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newFakeGitHub(t)
			g.answer = func(w http.ResponseWriter, _ *http.Request, n int) bool {
				if n <= 3 {
					answer(w)
				}
				return n <= 3
			}
			d := g.fetch(t, deployspec.GitHubCommit{Account: "a", Repository: "b", CommitID: "x"}, "")
			d.whole(t, g.content)
			if n := d.logs.FilterLevelExact(zap.WarnLevel).Len(); n != 3 {
				t.Errorf("%d warnings about 3 failures", n)
			}
		})
	}
}

func TestGitHubSaysNo(t *testing.T) {
	status := func(code int, headers ...string) func(w http.ResponseWriter, r *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(code)
		}
	}
	for _, c := range []struct {
		name     string
		answer   func(w http.ResponseWriter, r *http.Request)
		token    deployspec.Secret
		reason   string
		requests int
	}{
		{"404 without a token", status(404), "", "the repository is private and the deployment has no GitHub token", 1},
		{"404 with a token", status(404), "topsecret", "the GitHub token may not see it", 1},
		{"401", status(401), "topsecret", "no longer valid", 1},
		{"403", status(403), "topsecret", "may not read the repository", 1},
		{"limit for an hour", status(403, "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", strconv.FormatInt(time.Now().Unix()+3600, 10)), "", "it asks to wait for", 1},
		{"500 for ever", status(500), "", "tried 4 times", 4},
		{"redirects for ever", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/again?token=topsecret", http.StatusFound)
		}, "topsecret", "redirects for ever", 11},
		{"redirect to nowhere", status(302), "", "without saying where", 1},
		{"redirect to a file", status(302, "Location", "file:///etc/passwd"), "", "no https address", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newFakeGitHub(t)
			g.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool { c.answer(w, r); return true }
			g.fetch(t, deployspec.GitHubCommit{Account: "acme", Repository: "web", CommitID: "abc"}, c.token).
				failed(t, `cannot download "github.com/acme/web at abc": `, c.reason)
			if len(g.seen) != c.requests {
				t.Errorf("%d requests, want %d", len(g.seen), c.requests)
			}
		})
	}
}

func TestGitHubIsReachedByHTTPSOnly(t *testing.T) {
	d := newGitHubDownload(deployspec.GitHubCommit{Account: "a", Repository: "b", CommitID: "c"}, Clients{}, FetchOptions{}, zap.NewNop())
	if d.url != "https://api.github.com/repos/a/b/tarball/c" || d.plain {
		t.Errorf("the address is %q", d.url)
	}
	d.url = "http://api.github.com/repos/a/b/tarball/c"
	if _, err := d.follow(t.Context()); err == nil || !strings.Contains(err.Error(), "no https address") {
		t.Errorf("plain http: %v", err)
	}
}

func TestALocalArchiveIsCopied(t *testing.T) {
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "web.zip"), filepath.Join(t.TempDir(), "bundle.tar")
	if err := os.WriteFile(src, []byte("archive"), 0o644); err != nil {
		t.Fatal(err)
	}
	rev := deployspec.Revision{Type: deployspec.LocalFile, Local: &deployspec.LocalBundle{Location: src, BundleType: "zip"}}
	info, err := Fetch(t.Context(), rev, dst, Clients{}, FetchOptions{}, zap.NewNop())
	download{info: info, err: err, dst: dst}.whole(t, []byte("archive"))

	for location, reason := range map[string]string{
		dir:                           "it is a directory",
		filepath.Join(dir, "missing"): "no such file",
		"/dev/null":                   "no regular file",
	} {
		rev.Local.Location = location
		dst := filepath.Join(t.TempDir(), "bundle.tar")
		_, err := Fetch(t.Context(), rev, dst, Clients{}, FetchOptions{}, zap.NewNop())
		download{err: err, dst: dst, logs: &observer.ObservedLogs{}}.failed(t, location, reason)
	}
}

func TestALocalArchiveIsLinked(t *testing.T) {
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "web.zip"), filepath.Join(dir, "bundle.tar")
	if err := os.WriteFile(src, []byte("archive"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for range 2 {
		if err := LinkLocal("web.zip", dst); err != nil {
			t.Fatal(err)
		}
		if to, err := os.Readlink(dst); err != nil || to != src {
			t.Errorf("the link leads to %q (%v)", to, err)
		}
	}
	if err := LinkLocal("missing.zip", dst); err == nil || !strings.Contains(err.Error(), `cannot use the bundle "missing.zip"`) {
		t.Errorf("a missing archive: %v", err)
	}
	onlyIn(t, dst[:len(dst)-len("/bundle.tar")], "bundle.tar", "web.zip")
}
