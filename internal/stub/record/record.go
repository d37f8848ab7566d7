// Package record keeps a transcript of every request that the twin answered.
package record

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// limit is how many requests are remembered; the oldest go first.
const limit = 50_000

// Request is one request and what became of it.
type Request struct {
	// Seq counts requests in the order of their arrival, from 1.
	Seq int `json:"seq"`
	// Service is "commands", "s3" or "imds".
	Service   string `json:"service"`
	Operation string `json:"operation"`
	// Host is the host identifier, as far as it is known.
	Host string `json:"host,omitempty"`
	// Key is "bucket/key" for S3 and the path for IMDS.
	Key          string        `json:"key,omitempty"`
	Time         time.Time     `json:"time"`
	Duration     time.Duration `json:"duration"`
	Method       string        `json:"method"`
	Path         string        `json:"path"`
	Query        string        `json:"query,omitempty"`
	Range        string        `json:"range,omitempty"`
	IfMatch      string        `json:"if_match,omitempty"`
	AccessKeyID  string        `json:"access_key_id,omitempty"`
	AgentVersion string        `json:"agent_version,omitempty"`
	Target       string        `json:"target,omitempty"`
	// Input and Output are the decoded bodies of the command service; nil elsewhere.
	Input  json.RawMessage `json:"input,omitempty"`
	Output json.RawMessage `json:"output,omitempty"`
	// Status is the HTTP status that was sent; zero means no answer, or none yet.
	Status int `json:"status"`
	// Error is the code of the error that was answered.
	Error string `json:"error,omitempty"`
	// Fault is the kind of the fault that struck, if one did.
	Fault string `json:"fault,omitempty"`
	// Bytes is the length of the body that was sent.
	Bytes int64 `json:"bytes"`
	// Done is false while the request is being answered.
	Done bool `json:"done"`
}

// Log is a transcript. Use New.
type Log struct {
	mu       sync.Mutex
	seq      int
	requests []*Request
	changed  chan struct{}
}

// New returns an empty transcript.
func New() *Log { return &Log{changed: make(chan struct{})} }

// All returns the requests in the order of their arrival.
func (l *Log) All() []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Request, 0, len(l.requests))
	for _, r := range l.requests {
		all = append(all, *r)
	}
	return all
}

// Wait returns the first request for which want is true, waiting until one comes.
func (l *Log) Wait(ctx context.Context, want func(Request) bool) (Request, error) {
	for {
		l.mu.Lock()
		for _, r := range l.requests {
			if want(*r) {
				defer l.mu.Unlock()
				return *r, nil
			}
		}
		changed := l.changed
		l.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return Request{}, ctx.Err()
		}
	}
}

// Begin notes that a request has come in. The writer that it returns must be used for the answer.
func (l *Log) Begin(w http.ResponseWriter, r *http.Request, service string) (*Pending, http.ResponseWriter) {
	entry := &Request{
		Service: service, Time: time.Now(), Method: r.Method, Path: r.URL.Path, Query: withoutSignature(r.URL),
		Range: r.Header.Get("Range"), IfMatch: r.Header.Get("If-Match"),
		AgentVersion: r.Header.Get("X-Amz-Codedeploy-Agent-Version"), Target: r.Header.Get("X-Amz-Target"),
	}
	l.mu.Lock()
	l.seq++
	entry.Seq = l.seq
	if len(l.requests) >= limit {
		l.requests = l.requests[limit/10:]
	}
	l.requests = append(l.requests, entry)
	l.signal()
	l.mu.Unlock()
	p := &Pending{log: l, entry: entry}
	return p, &writer{ResponseWriter: w, pending: p}
}

func (l *Log) signal() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// withoutSignature drops what a presigned address would give away.
func withoutSignature(u *url.URL) string {
	var kept []string
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		if part != "" && !strings.HasPrefix(strings.ToLower(part), "x-amz-") {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "&")
}

// Pending is a request that is being answered.
type Pending struct {
	log   *Log
	entry *Request
}

// Note changes the entry under the transcript's lock.
func (p *Pending) Note(change func(*Request)) {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	change(p.entry)
}

// End notes that the request is over.
func (p *Pending) End() {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	p.entry.Duration = time.Since(p.entry.Time)
	p.entry.Done = true
	p.log.signal()
}

// writer notes the status and counts the bytes.
type writer struct {
	http.ResponseWriter
	pending *Pending
	wrote   bool
}

// Unwrap lets the connection be taken over.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *writer) WriteHeader(status int) {
	w.wrote = true
	w.pending.Note(func(r *Request) { r.Status = status })
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(b []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	n, err := w.ResponseWriter.Write(b)
	w.pending.Note(func(r *Request) { r.Bytes += int64(n) })
	return n, err
}

// ReadFrom lets a file go out without passing through this process.
func (w *writer) ReadFrom(r io.Reader) (int64, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	n, err := io.Copy(w.ResponseWriter, r)
	w.pending.Note(func(e *Request) { e.Bytes += n })
	return n, err
}
