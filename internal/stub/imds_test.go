package stub

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"codedeploy-agent/internal/stub/fault"
	"codedeploy-agent/internal/stub/imds"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

func metadata(t *testing.T, s *Server) *sdk.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return sdk.New(sdk.Options{Endpoint: s.URL(), HTTPClient: &http.Client{Transport: transport}, Retryer: aws.NopRetryer{}, EnableFallback: aws.FalseTernary})
}

func TestTheSDKLearnsWhoTheInstanceIs(t *testing.T) {
	s := start(t, Options{Region: "eu-central-1", Account: "210987654321"})
	got, err := metadata(t, s).GetInstanceIdentityDocument(t.Context(), &sdk.GetInstanceIdentityDocumentInput{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Region != "eu-central-1" || got.AccountID != "210987654321" || got.InstanceID != "i-0123456789abcdef0" {
		t.Errorf("the instance is %+v", got.InstanceIdentityDocument)
	}
}

func TestKeysOfTheRoleSignRequestsAndRotate(t *testing.T) {
	s := start(t, Options{Instance: imds.Options{Rotate: time.Hour}})
	h := s.AddInstance()
	a := newAgent(t, s, h)
	fetch := func() {
		t.Helper()
		out, err := metadata(t, s).GetMetadata(t.Context(), &sdk.GetMetadataInput{Path: "iam/security-credentials/codedeploy-instance-role"})
		if err != nil {
			t.Fatal(err)
		}
		var keys struct{ AccessKeyId, SecretAccessKey, Token string }
		if err := json.NewDecoder(out.Content).Decode(&keys); err != nil {
			t.Fatal(err)
		}
		_ = out.Content.Close()
		a.keyID, a.secret, a.token = keys.AccessKeyId, keys.SecretAccessKey, keys.Token
	}
	fetch()
	if _, err := a.step(t.Context()); err != nil {
		t.Error(err)
	}
	first := a.keyID
	fetch()
	if a.keyID != first {
		t.Error("the keys changed although their time is not over")
	}
	s.IMDS.Rotate()
	fetch()
	if a.keyID == first {
		t.Error("the keys did not change")
	}
	if _, err := a.step(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTheMetadataServiceKeepsItsRules(t *testing.T) {
	get := func(t *testing.T, s *Server, method, path string, headers ...string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0
		}
		defer http.DefaultClient.CloseIdleConnections()
		_ = response.Body.Close()
		return response.StatusCode
	}
	const id, ttl = "/latest/meta-data/instance-id", "X-aws-ec2-metadata-token-ttl-seconds"
	strict := start(t, Options{})
	lenient := start(t, Options{Instance: imds.Options{AllowV1: true}})
	broken := start(t, Options{})
	if _, err := broken.Fault(fault.Fault{Service: "imds", Kind: fault.Status, Status: 403, Count: -1}); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		s            *Server
		method, path string
		headers      []string
		want         int
	}{
		"no token":          {strict, "GET", id, nil, 401},
		"a made-up token":   {strict, "GET", id, []string{"X-aws-ec2-metadata-token", "x"}, 401},
		"version 1 allowed": {lenient, "GET", id, nil, 200},
		"a token":           {strict, "PUT", "/latest/api/token", []string{ttl, "60"}, 200},
		"no time to live":   {strict, "PUT", "/latest/api/token", nil, 400},
		"too long":          {strict, "PUT", "/latest/api/token", []string{ttl, "21601"}, 400},
		"through a proxy":   {strict, "PUT", "/latest/api/token", []string{ttl, "60", "X-Forwarded-For", "1.2.3.4"}, 403},
		"nothing there":     {lenient, "GET", "/latest/meta-data/nothing", nil, 404},
		"forbidden":         {broken, "GET", id, nil, 403},
	} {
		t.Run(name, func(t *testing.T) {
			if got := get(t, tc.s, tc.method, tc.path, tc.headers...); got != tc.want {
				t.Errorf("status %d, want %d", got, tc.want)
			}
		})
	}
}
