package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"codedeploy-agent/internal/deployspec"
	"go.uber.org/zap"
)

const (
	gitHubAPI       = "https://api.github.com"
	gitHubAgent     = "codedeploy-agent"
	gitHubRedirects = 10
)

// gitHubDownload brings the archive that GitHub makes of a commit. Its length is not known beforehand and it cannot be
// resumed, so each attempt starts anew.
type gitHubDownload struct {
	name  string
	url   string
	token deployspec.Secret
	// plain allows http: only where a test has replaced the API's address.
	plain bool
	http  *http.Client
	opts  FetchOptions
	log   *zap.Logger
}

func newGitHubDownload(c deployspec.GitHubCommit, clients Clients, opts FetchOptions, log *zap.Logger) *gitHubDownload {
	d := &gitHubDownload{opts: opts, log: log, http: &http.Client{}, plain: clients.GitHubAPI != ""}
	if clients.HTTP != nil {
		*d.http = *clients.HTTP
	}
	d.http.CheckRedirect, d.http.Timeout, d.http.Jar = neverFollow, 0, nil
	if !c.Anonymous {
		d.token = clients.GitHubToken
	}
	ball := "tarball"
	if c.BundleType == "zip" {
		ball = "zipball"
	}
	api := strings.TrimRight(clients.GitHubAPI, "/")
	if api == "" {
		api = gitHubAPI
	}
	d.name = fmt.Sprintf("github.com/%s/%s at %s", c.Account, c.Repository, c.CommitID)
	d.url = fmt.Sprintf("%s/repos/%s/%s/%s/%s", api, url.PathEscape(c.Account), url.PathEscape(c.Repository), ball, url.PathEscape(c.CommitID))
	return d
}

// gitHubError is an answer that is no archive.
type gitHubError struct {
	status  int
	message string
	wait    time.Duration // as long as GitHub wants to be left alone
	passing bool
}

func (e *gitHubError) Error() string { return e.message }

// run downloads the archive into l.
func (d *gitHubDownload) run(ctx context.Context, l *landing) (Info, error) {
	defer d.http.CloseIdleConnections()
	for attempt := 0; ; attempt++ {
		info, err := d.once(ctx, l)
		if err == nil || ctx.Err() != nil {
			return info, err
		}
		var answered *gitHubError
		var local *localError
		known := errors.As(err, &answered)
		switch {
		case errors.As(err, &local), known && !answered.passing:
			return Info{}, err
		case attempt >= len(d.opts.pace.gitHub):
			return Info{}, fmt.Errorf("%w (tried %d times)", err, attempt+1)
		}
		wait := d.opts.pace.gitHub[attempt]
		if known {
			wait = max(wait, answered.wait)
		}
		if wait > max(d.opts.pace.longestAdvice, d.opts.pace.gitHub[attempt]) {
			return Info{}, fmt.Errorf("%w; it asks to wait for %v, which is too long", err, wait.Round(time.Second))
		}
		d.log.Warn("Downloading from GitHub failed, trying again", zap.String("bundle", d.name), zap.Error(err), zap.Duration("wait", wait))
		if err := sleep(ctx, wait); err != nil {
			return Info{}, err
		}
		if err := l.restart(); err != nil {
			return Info{}, err
		}
	}
}

func (d *gitHubDownload) once(ctx context.Context, l *landing) (Info, error) {
	ctx, quiet := guardSilence(ctx, d.opts.pace.silence)
	defer quiet.stop()
	resp, err := d.follow(ctx)
	if err != nil {
		return Info{}, quiet.explain(err)
	}
	quiet.pause()
	r := &reply{start: 0, end: resp.ContentLength, total: resp.ContentLength, body: resp.Body, quiet: quiet}
	defer r.close()
	if err := d.opts.checkSize(r.total); err != nil {
		return Info{}, err
	}
	if r.total > 0 {
		if err := l.reserve(r.total, d.opts.MakeRoom); err != nil {
			return Info{}, &localError{err}
		}
	}
	return d.receive(ctx, l, r)
}

// receive writes the body into the file.
func (d *gitHubDownload) receive(ctx context.Context, l *landing, r *reply) (Info, error) {
	s := &s3Download{name: d.name, opts: d.opts, log: d.log, file: l, progress: newProgress(d.name, d.opts.pace.report, d.log)}
	defer s.progress.start(r.total)()
	p := &part{end: r.total}
	if err := s.fill(ctx, p, r); err != nil {
		return Info{}, err
	}
	if p.at == 0 {
		return Info{}, errors.New("GitHub sent nothing")
	}
	info := Info{Size: p.at}
	info.Digest, _ = s.verify(ctx, p.at, p.crc)
	s.progress.finished(info)
	return info, nil
}

// follow sends the request and goes where GitHub points to. The token goes to the API alone: the address of the archive
// itself carries what is needed, and is therefore never told to anybody either.
func (d *gitHubDownload) follow(ctx context.Context) (*http.Response, error) {
	origin, err := url.Parse(d.url)
	if err != nil {
		return nil, &localError{errors.New("the address of the GitHub API is malformed")}
	}
	for at, hops := origin, 0; hops <= gitHubRedirects; hops++ {
		if at.Scheme != "https" && !d.plain || at.Host == "" {
			return nil, &localError{fmt.Errorf("GitHub points to %q, which is no https address", at.Scheme+"://"+at.Host)}
		}
		resp, err := d.ask(ctx, at, at.Scheme == origin.Scheme && at.Host == origin.Host)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode == http.StatusOK {
			return resp, nil
		}
		next, err := d.refusal(resp, at)
		if err != nil {
			return nil, err
		}
		at = next
	}
	return nil, &gitHubError{message: "GitHub redirects for ever"}
}

func (d *gitHubDownload) ask(ctx context.Context, at *url.URL, withToken bool) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, &localError{errors.New("the address of the archive is malformed")}
	}
	req.Header.Set("User-Agent", gitHubAgent)
	req.Header.Set("Accept-Encoding", "identity")
	if withToken && d.token != "" {
		req.Header.Set("Authorization", "token "+d.token.Reveal())
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the connection to GitHub failed: %w", withoutURL(err))
	}
	return resp, nil
}

// refusal closes an answer that is no archive. It returns where a redirect leads, else an error.
func (d *gitHubDownload) refusal(resp *http.Response, at *url.URL) (*url.URL, error) {
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.CopyN(io.Discard, resp.Body, maxErrorDocument)
	if resp.StatusCode/100 == 3 && resp.StatusCode != http.StatusNotModified {
		next, err := at.Parse(resp.Header.Get("Location"))
		if err != nil || resp.Header.Get("Location") == "" {
			return nil, &gitHubError{status: resp.StatusCode, message: fmt.Sprintf("GitHub answered %d without saying where to go", resp.StatusCode)}
		}
		return next, nil
	}
	return nil, d.explain(resp.StatusCode, resp.Header)
}

func (d *gitHubDownload) explain(status int, h http.Header) *gitHubError {
	e := &gitHubError{status: status, message: fmt.Sprintf("GitHub answered %d", status), wait: gitHubWait(h, time.Now())}
	say := func(text string) { e.message += "; " + text }
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusForbidden && (e.wait > 0 || h.Get("X-RateLimit-Remaining") == "0"):
		e.passing = true
		say("its limit of requests is used up; a deployment with a GitHub token has a higher one")
	case status == http.StatusNotFound && d.token == "":
		say("the repository or the commit does not exist, or the repository is private and the deployment has no GitHub token; connect CodeDeploy to GitHub in the deployment's settings")
	case status == http.StatusNotFound:
		say("the repository or the commit does not exist, or the GitHub token may not see it; check both, and connect CodeDeploy to GitHub again")
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		say("the GitHub token is no longer valid or may not read the repository; connect CodeDeploy to GitHub again")
	case status == http.StatusRequestTimeout, status >= 500:
		e.passing = true
	}
	return e
}

// gitHubWait reads how long GitHub wants to be left alone: Retry-After, or the time at which its limit starts anew.
func gitHubWait(h http.Header, now time.Time) time.Duration {
	if wait := retryAfter(h, now); wait > 0 {
		return wait
	}
	if h.Get("X-RateLimit-Remaining") != "0" {
		return 0
	}
	at, err := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 64)
	if err != nil {
		return 0
	}
	return max(0, time.Unix(at, 0).Sub(now)+time.Second)
}
