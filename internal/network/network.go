// Package network makes the one HTTP client that everything leaving this host goes through: commands, downloads and
// instance metadata share its proxy rules, its trusted authorities and its time limits.
package network

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// Time limits. There is none for the whole answer: polls are held back by the service for a minute, downloads take as
// long as they take. Whoever calls bounds its own request.
const (
	dialTimeout      = 10 * time.Second
	handshakeTimeout = 10 * time.Second
	idleTimeout      = 90 * time.Second
	// pingAfter is how long an HTTP/2 connection may be silent before it is asked whether it is alive.
	pingAfter   = 30 * time.Second
	pingTimeout = 15 * time.Second
)

// connectionsPerHost are kept open when idle; downloads use as many at once.
const connectionsPerHost = 8

// Options are what the client is made of; the zero value uses the environment alone.
type Options struct {
	// ProxyURI is the proxy for all addresses (key proxy_uri); empty for HTTPS_PROXY and HTTP_PROXY.
	ProxyURI string
	// NoProxy adds to NO_PROXY: host names, suffixes like ".example.com", networks like "10.0.0.0/8" (key no_proxy).
	NoProxy string
	// WireLog, when set, gets a line for every request and every answer, without secrets (key log_aws_wire).
	WireLog io.Writer
	// Getenv looks up environment variables; nil for os.Getenv.
	Getenv func(string) string
}

// NewHTTPClient returns the client. It fails when the proxy's address is no URL, or when a file with authorities that
// the environment names cannot be read.
func NewHTTPClient(o Options) (*http.Client, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	proxy, err := proxyFunc(o)
	if err != nil {
		return nil, err
	}
	roots, err := authorities(o.Getenv)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	transport := &http.Transport{
		Proxy:                 proxy,
		DialContext:           dialPrompt(dialer),
		TLSHandshakeTimeout:   handshakeTimeout,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		ForceAttemptHTTP2:     true,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		MaxIdleConns:          4 * connectionsPerHost,
		MaxIdleConnsPerHost:   connectionsPerHost,
		IdleConnTimeout:       idleTimeout,
		ExpectContinueTimeout: time.Second,
	}
	if o.WireLog != nil {
		return &http.Client{Transport: &wire{base: transport, to: o.WireLog}}, nil
	}
	return &http.Client{Transport: transport}, nil
}
