package cms

import (
	"bytes"
	"crypto"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

var signer = sync.OnceValues(NewSigner)

func newSigner(t *testing.T) *Signer {
	t.Helper()
	s, err := signer()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// verify asks openssl, which knows nothing of our writer.
func verify(t *testing.T, message string, extra ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("NOT RUN HERE (needs openssl): nobody independent can judge the message")
	}
	file := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(file, []byte(message), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"cms", "-verify", "-binary", "-in", file}, extra...)
	cmd := exec.Command("openssl", args...)
	var out, msgs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &msgs
	err := cmd.Run()
	if err != nil {
		t.Logf("openssl: %s", msgs.String())
	}
	return out.String(), err
}

func TestOpenSSLAcceptsEveryWayOfWriting(t *testing.T) {
	content := `{"DeploymentId":"d-123456789","Padding":"` + strings.Repeat("x", 5000) + `"}`
	cases := map[string]Options{
		"the service's way":   {},
		"SHA-1":               {Digest: crypto.SHA1},
		"SHA-384":             {Digest: crypto.SHA384},
		"SHA-512":             {Digest: crypto.SHA512},
		"indefinite length":   {Indefinite: true},
		"one primitive":       {Segment: -1},
		"segments of 7 bytes": {Segment: 7},
		"nested segments":     {Nested: true, Indefinite: true},
		"no attributes":       {NoAttributes: true},
	}
	for name, o := range cases {
		t.Run(name, func(t *testing.T) {
			message, err := newSigner(t).Sign([]byte(content), o)
			if err != nil {
				t.Fatal(err)
			}
			got, err := verify(t, message, "-inform", "PEM", "-noverify")
			if err != nil || got != content {
				t.Errorf("openssl read %d bytes and said %v, want the content", len(got), err)
			}
		})
	}
}

func TestOpenSSLBuildsTheChainToTheAuthority(t *testing.T) {
	s := newSigner(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, s.Authority(), 0o600); err != nil {
		t.Fatal(err)
	}
	message, err := s.Sign([]byte("{}"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verify(t, message, "-inform", "PEM", "-CAfile", ca, "-purpose", "any"); err != nil {
		t.Errorf("the chain was refused: %v", err)
	}
}

func TestOpenSSLRefusesEveryFlaw(t *testing.T) {
	for _, flaw := range []Flaw{ContentChanged, WrongDigest, WrongSignature, ForeignKey, NoSigner, NoCertificate, NoContent, Cut} {
		t.Run(string(flaw), func(t *testing.T) {
			message, err := newSigner(t).Sign([]byte(`{"a":1}`), Options{Flaw: flaw})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := verify(t, message, "-inform", "PEM", "-noverify"); err == nil {
				t.Error("openssl accepted it")
			}
		})
	}
}

func TestEncodings(t *testing.T) {
	s := newSigner(t)
	for _, e := range []Encoding{PEM, PEMCMS, Base64, Raw} {
		message, err := s.Sign([]byte("{}"), Options{Encoding: e, Indefinite: true})
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode([]byte(message))
		if isPEM := e == PEM || e == PEMCMS; isPEM != (block != nil) {
			t.Errorf("%q: a PEM block: %v", e, block != nil)
		}
		if e == Raw && !strings.HasPrefix(message, "\x30\x80") {
			t.Errorf("raw message starts with % x, want 30 80", message[:2])
		}
	}
}
