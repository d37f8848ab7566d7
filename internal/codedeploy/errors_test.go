package codedeploy

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestWhatRefusalsMean(t *testing.T) {
	header := func(name, value string, next http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(name, value)
			next(w, r)
		}
	}
	for _, tc := range []struct {
		name   string
		answer http.HandlerFunc
		secure bool
		kind   Kind
		want   string
		after  time.Duration
	}{
		{"a request that is wrong", says(400, `{"__type":"com.amazonaws.codedeploy#ClientException:http://x/","message":"bad id"}`), false, ClientFault,
			"ClientException: bad id (HTTP 400)", 0},
		{"the message in capitals", says(400, `{"__type":"ClientException","Message":"bad id"}`), false, ClientFault, "ClientException: bad id (HTTP 400)", 0},
		{"the type in a header", header("X-Amzn-ErrorType", "ClientException:http://x", says(400, `{"message":"m"}`)), false, ClientFault, "ClientException: m (HTTP 400)", 0},
		{"the type only", says(400, "\ufeff"+`{"__type":"ClientException"}`), false, ClientFault, "ClientException (HTTP 400)", 0},
		{"a server in trouble", says(500, `{"__type":"ServerException","message":"oops"}`), false, ServerFault, "ServerException: oops (HTTP 500)", 0},
		{"a server in trouble that says 400", says(400, `{"__type":"InternalFailure"}`), false, ServerFault, "InternalFailure (HTTP 400)", 0},
		{"a server without words", says(503, ""), false, ServerFault, "Service Unavailable (HTTP 503)", 0},
		{"a load balancer", header("Content-Type", "text/html", says(502, "<html><head><title>502 Bad Gateway</title></head><body><p>no\n\n backend</body>")), false, ServerFault,
			`Bad Gateway "502 Bad Gateway no backend" (HTTP 502)`, 0},
		{"throttled", says(400, `{"__type":"ThrottlingException","message":"Rate exceeded"}`), false, Throttled, "ThrottlingException: Rate exceeded (HTTP 400)", 0},
		{"throttled by another name", says(400, `{"__type":"com.amazon#RequestLimitExceeded"}`), false, Throttled, "RequestLimitExceeded (HTTP 400)", 0},
		{"throttled in words", says(400, `{"__type":"ClientException","message":"Rate exceeded"}`), false, Throttled, "ClientException: Rate exceeded (HTTP 400)", 0},
		{"throttled by its status", says(429, ""), false, Throttled, "Too Many Requests (HTTP 429)", 0},
		{"throttled with a time", header("Retry-After", "7", says(429, `{"__type":"SlowDown"}`)), false, Throttled, "SlowDown (HTTP 429)", 7 * time.Second},
		{"an outage with an end", header("Retry-After", "120", says(503, "")), false, ServerFault, "Service Unavailable (HTTP 503)", 2 * time.Minute},
		{"an endless outage", header("Retry-After", "999999", says(503, "")), false, ServerFault, "Service Unavailable (HTTP 503)", MaxRetryAfter},
		{"a time that is none", header("Retry-After", "soon", says(503, "")), false, ServerFault, "Service Unavailable (HTTP 503)", 0},
		{"expired keys", says(400, `{"__type":"ExpiredTokenException","message":"expired"}`), false, Denied, "ExpiredTokenException: expired (HTTP 400)", 0},
		{"no permission", says(400, `{"__type":"AccessDeniedException","message":"not you"}`), false, Denied, "AccessDeniedException: not you (HTTP 400)", 0},
		{"no permission by its status", says(403, ""), false, Denied, "Forbidden (HTTP 403)", 0},
		{"the endpoint of the secure service", says(400, `{"__type":"UnknownOperationException"}`), false, Denied,
			"UnknownOperationException: the endpoint may be the one of the secure service, which VPC endpoints need: set enable_auth_policy: true (HTTP 400)", 0},
		{"the endpoint of the other service", says(400, `{"__type":"UnknownOperationException","message":"?"}`), true, Denied,
			"UnknownOperationException: ?; the endpoint may not be the one of the secure service: set enable_auth_policy: false (HTTP 400)", 0},
		{"a proxy that wants a password", says(407, "who are you?"), false, Network,
			`Proxy Authentication Required "who are you?"; the proxy wants a user name and a password (key proxy_uri) (HTTP 407)`, 0},
		{"somebody else's 404", says(404, "<h1>not here</h1>"), false, Network, `Not Found "not here" (HTTP 404)`, 0},
		{"a redirect is not followed", header("Location", "http://portal.example/login?secret=1", says(302, "")), false, Network,
			`Found to "http://portal.example/login" (HTTP 302)`, 0},
		{"a portal that says it is fine", says(200, "<html>Welcome! Please log in.</html>"), false, Network,
			`the answer is not the service's: OK "Welcome! Please log in."; a proxy or a portal may have answered (key proxy_uri) (HTTP 200)`, 0},
		{"half an answer", says(200, `{"HostCommand":{"Host`), false, ServerFault, "the answer cannot be read: unexpected end of JSON input (HTTP 200)", 0},
		{"an answer of another form", says(200, `{"HostCommand":[1]}`), false, ServerFault, "", 0},
		{"control characters", says(400, `{"__type":"ClientException","message":"a\u0000b\n\u001b[31mc"}`), false, ClientFault, "ClientException: a b [31mc (HTTP 400)", 0},
		{"an endless message", says(400, `{"__type":"ClientException","message":"`+strings.Repeat("x", 5000)+`"}`), false, ClientFault,
			"ClientException: " + strings.Repeat("x", 1000) + "... (HTTP 400)", 0},
		{"a type that is no text", says(400, `{"__type":12,"message":["a"]}`), false, Network, `Bad Request "{"__type":12,"message":["a"]}" (HTTP 400)`, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, requests := service(t, Options{Secure: tc.secure}, tc.answer)
			_, err := c.Poll(t.Context(), "host")
			if err == nil {
				t.Fatal("no error")
			}
			if got := strings.ReplaceAll(err.Error(), `\"`, `"`); tc.want != "" && got != "cannot call PollHostCommand: "+tc.want {
				t.Errorf("error %s\nwant  cannot call PollHostCommand: %s", got, tc.want)
			}
			if KindOf(err) != tc.kind || RetryAfter(err) != tc.after || len(*requests) != 1 {
				t.Errorf("kind %v, retry after %v, %d requests; want %v, %v, 1", KindOf(err), RetryAfter(err), len(*requests), tc.kind, tc.after)
			}
		})
	}
}

func TestRetryAfterADate(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"Fri, 02 Jan 2026 03:04:25 GMT": 20 * time.Second, "Fri, 02 Jan 2026 03:00:00 GMT": 0, "-5": 0, " 3": 3 * time.Second,
	} {
		if got := readRetryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func TestAConnectionThatFailsIsNoAnswer(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	endpoint, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	server.Close()
	c := New(Options{Endpoint: endpoint, Region: "eu-west-1", Credentials: testCredentials, HTTP: &http.Client{Transport: &http.Transport{}}})
	_, err = c.Poll(t.Context(), "host")
	if KindOf(err) != Network || !strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "Post ") {
		t.Errorf("error %v", err)
	}
}

func TestAnAnswerThatBreaksOffIsTriedAgainUnlessTheStatusSaysItAll(t *testing.T) {
	breakOff := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, `{"CommandStatus":`)
	}
	c, _ := service(t, Options{}, breakOff)
	if _, err := c.Acknowledge(t.Context(), "id", false); KindOf(err) != Network || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v", err)
	}
	// The report has been taken: the service has said 200.
	if err := c.Complete(t.Context(), "id", Succeeded, Diagnostics{}); err != nil {
		t.Errorf("error %v", err)
	}
}

func TestAReportIsTakenOnlyByTheService(t *testing.T) {
	for body, taken := range map[string]bool{"": true, "{}": true, "null": true, " \n": true, "<html>hello</html>": false, "OK": false} {
		c, _ := service(t, Options{}, says(200, body))
		err := c.Complete(t.Context(), "id", Succeeded, Diagnostics{})
		if (err == nil) != taken || err != nil && KindOf(err) != Network {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func TestForeignErrorsCanBeTriedAgain(t *testing.T) {
	if KindOf(errors.New("x")) != Network || RetryAfter(errors.New("x")) != 0 {
		t.Error("an unknown error must not look like a refusal")
	}
	for kind, want := range map[Kind]string{Network: "network", ClientFault: "client fault", ServerFault: "server fault", Throttled: "throttled", Denied: "denied"} {
		if kind.String() != want {
			t.Errorf("%v", kind)
		}
	}
}

// FuzzErrorBody: whatever body and header come with an error, it becomes one printable line of bounded length.
func FuzzErrorBody(f *testing.F) {
	f.Add(400, `{"__type":"a#B:c","message":"m"}`, "B:http://x", "3")
	f.Add(502, "<html><b>x</b", "", "")
	f.Add(302, "\x00\xff", "", "Fri, 02 Jan 2026 03:04:25 GMT")
	f.Add(400, `{"__type":null,"Message":{}}`, "#", "")
	f.Fuzz(func(t *testing.T, status int, body, errorType, retryAfter string) {
		r := &http.Response{StatusCode: status, Header: http.Header{"X-Amzn-Errortype": {errorType}, "Retry-After": {retryAfter}, "Location": {body}}}
		e := answerError("Op", r, []byte(body), false, time.Now())
		text := e.Error()
		if strings.ContainsAny(text, "\n\r\x00\x1b") || len([]rune(text)) > 2500 {
			t.Errorf("%q", text)
		}
		if e.RetryAfter < 0 || e.RetryAfter > MaxRetryAfter {
			t.Errorf("retry after %v", e.RetryAfter)
		}
		_ = e.Kind.String()
	})
}
