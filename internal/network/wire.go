package network

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// wire writes a line for every request and every answer (key log_aws_wire): what was asked for and how it went, without
// bodies, signatures, keys and tokens.
type wire struct {
	base http.RoundTripper

	mu sync.Mutex
	to io.Writer
}

// shownHeaders are the ones that help and tell nothing secret.
var shownHeaders = []string{
	"Content-Length", "Content-Range", "Content-Type", "Date", "Etag", "If-Match", "Range", "Retry-After", "Server", "Via",
	"X-Amz-Codedeploy-Agent-Version", "X-Amz-Date", "X-Amz-Id-2", "X-Amz-Request-Id", "X-Amz-Target", "X-Amz-Version-Id",
	"X-Amzn-Errortype", "X-Amzn-Requestid", "X-Github-Request-Id",
}

// RoundTrip sends the request through the base.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	began := time.Now()
	what := fmt.Sprintf("%s %s", r.Method, shownURL(r.URL))
	w.line(began, "> %s%s", what, shown(r.Header))
	res, err := w.base.RoundTrip(r)
	took := time.Since(began).Round(time.Millisecond)
	if err != nil {
		w.line(time.Now(), "< %s: %v after %s", what, err, took)
		return nil, err
	}
	w.line(time.Now(), "< %s: %s %s after %s%s", what, res.Proto, res.Status, took, shown(res.Header))
	return res, nil
}

// CloseIdleConnections lets the client close the base's connections.
func (w *wire) CloseIdleConnections() {
	if c, ok := w.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func (w *wire) line(at time.Time, format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " ")
	w.mu.Lock()
	defer w.mu.Unlock()
	_, _ = fmt.Fprintf(w.to, "%s %s\n", at.Format("2006-01-02 15:04:05.000"), text)
}

// shownURL leaves out the query, which may hold a signature, and who is logged in.
func shownURL(u *url.URL) string {
	plain := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	if u.RawQuery != "" {
		return plain.String() + "?..."
	}
	return plain.String()
}

func shown(h http.Header) string {
	var b strings.Builder
	for _, name := range shownHeaders {
		if values := h[name]; len(values) > 0 {
			fmt.Fprintf(&b, " %s=%q", name, values)
		}
	}
	return b.String()
}
