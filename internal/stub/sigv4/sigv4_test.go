package sigv4

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"pgregory.net/rapid"
)

var keys = map[string]Key{"AKID": {ID: "AKID", Secret: "secret"}, "ASIA": {ID: "ASIA", Secret: "other", Token: "token"}}

func verifier(at time.Time) Verifier {
	return Verifier{
		Lookup: func(id string) (Key, bool) { k, ok := keys[id]; return k, ok },
		Region: "us-east-1", Now: func() time.Time { return at },
	}
}

const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// TestWhateverTheSDKSignsIsAccepted tries paths, queries and headers of every kind, and one change to each.
func TestWhateverTheSDKSignsIsAccepted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ -~äöü€]{0,12}`)
		key := keys[rapid.SampledFrom([]string{"AKID", "ASIA"}).Draw(t, "key")]
		service := rapid.SampledFrom([]string{"s3", "codedeploy-commands"}).Draw(t, "service")
		path := "/"
		if service == "s3" {
			path = "/bucket/" + text.Draw(t, "path")
		}
		r := httptest.NewRequest(http.MethodPut, "http://localhost:1/", nil)
		r.URL.Path, r.URL.RawPath = path, encode(path, false) // as the S3 client does before it signs
		q := r.URL.Query()
		q.Set(rapid.StringMatching(`[a-z]{1,5}`).Draw(t, "name"), text.Draw(t, "value"))
		r.URL.RawQuery = q.Encode()
		r.Header.Set("X-Amz-Meta-Text", rapid.StringMatching(`[!-~ ]{0,12}`).Draw(t, "header"))
		now := time.Now().UTC()
		credentials := aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret, SessionToken: key.Token}
		signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = service == "s3" })
		if err := signer.SignHTTP(t.Context(), credentials, r, emptyHash, service, "us-east-1", now); err != nil {
			t.Fatal(err)
		}
		v := verifier(now)
		if _, err := v.Verify(r, emptyHash, service); err != nil {
			t.Fatalf("%s %q %q: %v", r.URL, r.URL.RawQuery, r.Header, err)
		}
		r.Method = http.MethodGet
		var refused *Error
		if _, err := v.Verify(r, emptyHash, service); !errors.As(err, &refused) || refused.Reason != Mismatch {
			t.Fatalf("another method: %v", err)
		}
	})
}

func TestPresignedAddressesExpire(t *testing.T) {
	now := time.Now().UTC()
	r := httptest.NewRequest(http.MethodGet, "http://localhost:1/bucket/key?X-Amz-Expires=60", nil)
	address, _, err := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }).
		PresignHTTP(t.Context(), aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret"}, r, "UNSIGNED-PAYLOAD", "s3", "us-east-1", now)
	if err != nil {
		t.Fatal(err)
	}
	visit := httptest.NewRequest(http.MethodGet, address, nil)
	if _, err := verifier(now.Add(50*time.Second)).Verify(visit, "UNSIGNED-PAYLOAD", "s3"); err != nil {
		t.Errorf("in time: %v", err)
	}
	var refused *Error
	if _, err := verifier(now.Add(70*time.Second)).Verify(visit, "UNSIGNED-PAYLOAD", "s3"); !errors.As(err, &refused) || refused.Reason != Expired {
		t.Errorf("too late: %v", err)
	}
}

func FuzzAuthorization(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00", "20260101T000000Z")
	f.Add("AWS4-HMAC-SHA256 Credential=AKID/2026/us-east-1/s3/aws4_request,SignedHeaders=host,Signature=0", "x")
	f.Fuzz(func(t *testing.T, header, date string) {
		r := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
		r.Header.Set("Authorization", header)
		r.Header.Set("X-Amz-Date", date)
		if _, err := verifier(time.Now()).Verify(r, emptyHash, "s3"); err == nil {
			t.Errorf("%q was accepted", header)
		}
	})
}
