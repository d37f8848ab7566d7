package codedeploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Kind says who has to do something about an error, and so whether to try again.
type Kind int

const (
	// Network: no answer of the service has arrived (or none that is its own: proxies answer, too). Try again.
	Network Kind = iota
	// ClientFault: the service has refused this very request for good. Trying again changes nothing.
	ClientFault
	// ServerFault: the service is in trouble. Try again.
	ServerFault
	// Throttled: the service asks for patience. Try again later.
	Throttled
	// Denied: the service did not look at the request, because of the credentials, the signature, the permissions or
	// because the endpoint is the wrong one. It may take it when that has been set right.
	Denied
)

// String returns the kind in words.
func (k Kind) String() string {
	return [...]string{"network", "client fault", "server fault", "throttled", "denied"}[k]
}

// Error is why a call failed.
type Error struct {
	Kind      Kind
	Operation string
	// Code is the service's name of the error, without name space; empty when the service has not answered.
	Code    string
	Message string
	// HTTPStatus is 0 when there was no answer.
	HTTPStatus int
	// RetryAfter is what the service asked to wait, at most MaxRetryAfter; 0 when it did not ask.
	RetryAfter time.Duration
	// Err is the cause, when there is one.
	Err error
}

// Error says what failed and why, and what to do about it where that is known.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cannot call %s: ", e.Operation)
	switch {
	case e.Code != "" && e.Message != "":
		fmt.Fprintf(&b, "%s: %s", e.Code, e.Message)
	case e.Code != "" || e.Message != "":
		b.WriteString(e.Code + e.Message)
	case e.Err != nil:
		b.WriteString(e.Err.Error())
	}
	if e.HTTPStatus != 0 {
		fmt.Fprintf(&b, " (HTTP %d)", e.HTTPStatus)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of an error; one that is not of this package counts as Network, so it is tried again.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Network
}

// MaxRetryAfter bounds how long the service can make the agent wait.
const MaxRetryAfter = 5 * time.Minute

// RetryAfter returns how long the service asked to wait before the next call, 0 when it did not ask.
func RetryAfter(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// answerError turns an answer that is no success into an error.
func answerError(operation string, r *http.Response, body []byte, secure bool, now time.Time) *Error {
	e := &Error{Operation: operation, HTTPStatus: r.StatusCode, RetryAfter: readRetryAfter(r.Header.Get("Retry-After"), now)}
	own := e.readBody(r.Header, body)
	if e.Code == "" && e.Message == "" {
		e.Message = excerpt(r, body)
	}
	e.Kind = e.classify(own)
	switch {
	case strings.HasPrefix(e.Code, "UnknownOperation") && !secure:
		e.Message = join(e.Message, "the endpoint may be the one of the secure service, which VPC endpoints need: set enable_auth_policy: true")
	case strings.HasPrefix(e.Code, "UnknownOperation"):
		e.Message = join(e.Message, "the endpoint may not be the one of the secure service: set enable_auth_policy: false")
	case r.StatusCode == http.StatusProxyAuthRequired:
		e.Message = join(e.Message, "the proxy wants a user name and a password (key proxy_uri)")
	}
	return e
}

func join(message, hint string) string {
	if message == "" {
		return hint
	}
	return message + "; " + hint
}

// readBody takes the error's name and text out of an answer; own is true when it bears the marks of the service.
func (e *Error) readBody(h http.Header, body []byte) (own bool) {
	var text struct {
		Type    any `json:"__type"`
		Code    any `json:"code"`
		Message any `json:"message"` // matches "Message", too
	}
	_ = json.Unmarshal(trimBOM(body), &text)
	for _, name := range []any{text.Type, h.Get("X-Amzn-Errortype"), text.Code} {
		if s, _ := name.(string); s != "" && e.Code == "" {
			e.Code = bareCode(s)
		}
	}
	if s, _ := text.Message.(string); s != "" {
		e.Message = clean(s, 1000)
	}
	return e.Code != ""
}

// bareCode strips the name space before "#" and the address after ":".
func bareCode(s string) string {
	if _, after, ok := strings.Cut(s, "#"); ok {
		s = after
	}
	s, _, _ = strings.Cut(s, ":")
	return clean(strings.TrimSpace(s), 100)
}

var deniedCodes = []string{
	"accessdenied", "authfailure", "expiredtoken", "incompletesignature", "invalidclienttokenid", "invalidsignature",
	"missingauthenticationtoken", "notauthorized", "optinrequired", "requestexpired", "requestinthefuture",
	"requesttimetooskewed", "signaturedoesnotmatch", "unknownoperation", "unrecognizedclient",
}

var throttledCodes = []string{
	"throttl", "rateexceeded", "toomanyrequests", "requestlimitexceeded", "slowdown", "bandwidthlimitexceeded", "priorrequestnotcomplete",
}

var serverCodes = []string{"serverexception", "internalfailure", "internalserver", "internalservice", "serviceunavailable", "dependencyfailure"}

// classify decides the kind. own tells whether the answer is the service's.
func (e *Error) classify(own bool) Kind {
	code := strings.ToLower(e.Code)
	has := func(parts []string) bool {
		for _, part := range parts {
			if strings.Contains(code, part) {
				return true
			}
		}
		return false
	}
	switch {
	case e.HTTPStatus == http.StatusTooManyRequests, has(throttledCodes),
		strings.Contains(strings.ToLower(e.Message), "rate exceeded"):
		return Throttled
	case e.HTTPStatus >= 500, has(serverCodes):
		return ServerFault
	case e.HTTPStatus == http.StatusProxyAuthRequired, e.HTTPStatus == http.StatusRequestTimeout:
		return Network
	case has(deniedCodes), e.HTTPStatus == http.StatusUnauthorized, e.HTTPStatus == http.StatusForbidden:
		return Denied
	case own && e.HTTPStatus >= 400:
		return ClientFault
	}
	return Network
}

// notTheService is the error for an answer that something between here and the service has given.
func notTheService(operation string, r *http.Response, body []byte) *Error {
	return &Error{Kind: Network, Operation: operation, HTTPStatus: r.StatusCode,
		Message: join("the answer is not the service's: "+excerpt(r, body), "a proxy or a portal may have answered (key proxy_uri)")}
}

// excerpt shows the beginning of a body that is no JSON, without its markup.
func excerpt(r *http.Response, body []byte) string {
	var b strings.Builder
	b.WriteString(http.StatusText(r.StatusCode))
	if at := r.Header.Get("Location"); at != "" {
		// The query may hold what is nobody's business.
		at, _, _ = strings.Cut(at, "?")
		fmt.Fprintf(&b, " to %q", clean(at, 200))
	}
	if text := clean(withoutTags(string(body[:min(len(body), 4096)])), 200); text != "" {
		fmt.Fprintf(&b, " %q", text)
	}
	if b.Len() == 0 {
		return "an empty answer"
	}
	return strings.TrimSpace(b.String())
}

func withoutTags(s string) string {
	var b strings.Builder
	for s != "" {
		before, after, _ := strings.Cut(s, "<")
		b.WriteString(before)
		_, s, _ = strings.Cut(after, ">")
		b.WriteByte(' ')
	}
	return b.String()
}

// clean makes a foreign text fit for a log line: one line, printable, at most n characters.
func clean(s string, n int) string {
	s = strings.Map(func(c rune) rune {
		if unicode.IsSpace(c) || !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "..."
	}
	return s
}

// readRetryAfter reads seconds or a date.
func readRetryAfter(value string, now time.Time) time.Duration {
	if value == "" {
		return 0
	}
	var wait time.Duration
	if seconds, err := strconv.ParseInt(strings.TrimSpace(value), 10, 32); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), MaxRetryAfter)
}

func trimBOM(b []byte) []byte { return bytes.TrimPrefix(b, []byte("\ufeff")) }
