package network

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// metadataAddresses are those of the instance metadata service. A proxy would answer for its own host.
var metadataAddresses = []string{"169.254.0.0/16", "fd00:ec2::254"}

// proxyFunc decides which requests go through a proxy. Loopback and instance metadata never do.
func proxyFunc(o Options) (func(*http.Request) (*url.URL, error), error) {
	rules := httpproxy.Config{
		HTTPProxy:  firstOf(o.Getenv, "HTTP_PROXY", "http_proxy"),
		HTTPSProxy: firstOf(o.Getenv, "HTTPS_PROXY", "https_proxy"),
	}
	if o.ProxyURI != "" {
		u, err := url.Parse(o.ProxyURI)
		if err != nil || u.Hostname() == "" {
			// The address may hold a password, so it is not shown.
			return nil, fmt.Errorf("cannot use the proxy: proxy_uri is no URL like \"http://proxy.example.com:3128\"")
		}
		rules.HTTPProxy, rules.HTTPSProxy = o.ProxyURI, o.ProxyURI
	}
	direct := append([]string{o.NoProxy, firstOf(o.Getenv, "NO_PROXY", "no_proxy")}, metadataAddresses...)
	rules.NoProxy = strings.Trim(strings.Join(direct, ","), ",")
	decide := rules.ProxyFunc()
	endpoint := endpointHost(o.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"))
	return func(r *http.Request) (*url.URL, error) {
		if host := r.URL.Hostname(); host == endpoint && host != "" || isLocal(host) {
			return nil, nil
		}
		return decide(r.URL)
	}, nil
}

func firstOf(getenv func(string) string, names ...string) string {
	for _, name := range names {
		if value := getenv(name); value != "" {
			return value
		}
	}
	return ""
}

func endpointHost(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// isLocal tells whether an address is this host's own, in whatever way it is written.
func isLocal(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && (ip.Unmap().IsLoopback() || ip.Unmap().IsLinkLocalUnicast()) || strings.EqualFold(host, "localhost")
}
