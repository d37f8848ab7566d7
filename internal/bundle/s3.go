package bundle

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// S3Options say how to reach S3.
type S3Options struct {
	Region string
	// Endpoint replaces the address of S3 (key s3_endpoint_override): a URL, or a bare host name, which means https.
	Endpoint string
	// PathStyle puts the bucket into the path instead of the host name. An Endpoint implies it.
	PathStyle bool
	// FIPS and DualStack choose other addresses of S3; an Endpoint goes before both.
	FIPS, DualStack bool
	// Credentials may be nil for public objects.
	Credentials aws.CredentialsProvider
	// HTTP gives proxy and certificates; nil is the standard client. Its total time limit does not apply to downloads,
	// which have a limit for silence instead.
	HTTP *http.Client
}

// NewS3 returns a client for Fetch. The aws.Config is made by hand: the SDK's config module would add another
// credential chain and a tenth to the binary.
func NewS3(o S3Options) *s3.Client {
	if o.Credentials == nil {
		o.Credentials = aws.AnonymousCredentials{}
	}
	cfg := aws.Config{
		Region:      o.Region,
		Credentials: o.Credentials,
		HTTPClient:  s3Transport{connectionEach(o.HTTP)},
		// Fetch repeats requests itself: it knows how far it got.
		Retryer:                    func() aws.Retryer { return aws.NopRetryer{} },
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
	}
	return s3.NewFromConfig(cfg, func(so *s3.Options) {
		so.UsePathStyle = o.PathStyle
		so.APIOptions = append(so.APIOptions, withoutOperationName)
		switch {
		case o.Endpoint != "":
			so.BaseEndpoint = aws.String(endpointURL(o.Endpoint))
			so.UsePathStyle = true
		default:
			if o.FIPS {
				so.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateEnabled
			}
			if o.DualStack {
				so.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateEnabled
			}
		}
	})
}

func endpointURL(endpoint string) string {
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	return strings.TrimRight(endpoint, "/")
}

// withoutOperationName drops the query "x-id=GetObject" that the SDK adds for statistics: servers that only look like
// S3 may compare the whole request line.
func withoutOperationName(stack *middleware.Stack) error {
	return stack.Build.Add(middleware.BuildMiddlewareFunc("WithoutOperationName",
		func(ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler) (middleware.BuildOutput, middleware.Metadata, error) {
			if req, ok := in.Request.(*smithyhttp.Request); ok {
				query := strings.Split(req.URL.RawQuery, "&")
				query = slices.DeleteFunc(query, func(s string) bool { return strings.HasPrefix(s, "x-id=") })
				req.URL.RawQuery = strings.Join(query, "&")
			}
			return next.HandleBuild(ctx, in)
		}), middleware.After)
}

// connectionEach derives a client that gives every request a connection of its own (HTTP/2 would put all parts of a
// download into one), keeps as many as a download uses, and leaves redirects to Fetch.
func connectionEach(base *http.Client) *http.Client {
	var transport http.RoundTripper = http.DefaultTransport
	if base != nil && base.Transport != nil {
		transport = base.Transport
	}
	if t, ok := transport.(*http.Transport); ok {
		t = t.Clone()
		t.MaxIdleConnsPerHost = max(t.MaxIdleConnsPerHost, maxConnections)
		t.DisableCompression = true
		t.Protocols = new(http.Protocols)
		t.Protocols.SetHTTP1(true)
		if t.TLSClientConfig != nil {
			t.TLSClientConfig.NextProtos = nil
		}
		transport = t
	}
	return &http.Client{Transport: transport, CheckRedirect: neverFollow}
}

func neverFollow(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// s3Transport stands between the SDK and the network.
type s3Transport struct{ client *http.Client }

// answerKey finds, in a request's context, the *answer to note the response in.
type answerKey struct{}

// answer is the part of a response that Fetch reads itself.
type answer struct {
	status int
	length int64 // of the body, -1 when the server did not tell
	header http.Header
}

// Do notes the response for Fetch and shows the SDK as little of it as it needs: the SDK refuses a whole object for one
// malformed date, and keeps a whole error document in memory, however long.
func (t s3Transport) Do(req *http.Request) (*http.Response, error) {
	resp, err := t.client.Do(req)
	if err != nil {
		return nil, err
	}
	if a, ok := req.Context().Value(answerKey{}).(*answer); ok {
		*a = answer{status: resp.StatusCode, length: resp.ContentLength, header: resp.Header}
		if resp.StatusCode/100 == 2 {
			resp.Header = http.Header{}
		}
	}
	if resp.StatusCode/100 != 2 {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxErrorDocument), resp.Body}
	}
	return resp, nil
}

const maxErrorDocument = 64 << 10

// CloseIdleConnections lets an agent that waits for work hold no connections.
func (t s3Transport) CloseIdleConnections() { t.client.CloseIdleConnections() }

// closeIdle closes the connections that a client made by NewS3 keeps for the next request.
func closeIdle(client *s3.Client) {
	if c, ok := client.Options().HTTPClient.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
