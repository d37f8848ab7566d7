package codedeploy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestRequestsAreSignedWithSigV4 computes the signature from what arrived, step by step as the documentation of
// Signature Version 4 has it, without the library that made it.
func TestRequestsAreSignedWithSigV4(t *testing.T) {
	c, requests := service(t, Options{}, says(200, `{}`))
	if _, err := c.Poll(t.Context(), "host"); err != nil {
		t.Fatal(err)
	}
	r := (*requests)[0]
	authorization := regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=(AKIDEXAMPLE)/(\d{8})/eu-west-1/codedeploy-commands/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})$`).
		FindStringSubmatch(r.header.Get("Authorization"))
	if authorization == nil {
		t.Fatalf("authorization %q", r.header.Get("Authorization"))
	}
	day, names, signature := authorization[2], strings.Split(authorization[3], ";"), authorization[4]
	for _, name := range []string{"host", "content-type", "x-amz-date", "x-amz-target", "x-amz-security-token", "x-amz-codedeploy-agent-version"} {
		if !slices.Contains(names, name) {
			t.Errorf("header %s is not signed", name)
		}
	}
	date := r.header.Get("X-Amz-Date")
	r.header.Set("Host", r.host)
	canonical := "POST\n/\n\n"
	for _, name := range names {
		canonical += name + ":" + strings.TrimSpace(r.header.Get(name)) + "\n"
	}
	canonical += "\n" + strings.Join(names, ";") + "\n" + hash(r.body)
	toSign := "AWS4-HMAC-SHA256\n" + date + "\n" + day + "/eu-west-1/codedeploy-commands/aws4_request\n" + hash(canonical)
	key := []byte("AWS4secret")
	for _, part := range []string{day, "eu-west-1", "codedeploy-commands", "aws4_request"} {
		key = mac(key, part)
	}
	if want := hex.EncodeToString(mac(key, toSign)); signature != want {
		t.Errorf("signature %s, want %s", signature, want)
	}
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
