package deployspec

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What OpenSSL signs is the measure, because the agents of 1.x verify with it.
func TestOpenSSLMessagesAreAccepted(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("NOT RUN HERE (needs the openssl program): messages signed by OpenSSL")
	}
	dir := t.TempDir()
	run := func(t *testing.T, args ...string) {
		t.Helper()
		cmd := exec.Command(openssl, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "OPENSSL_CONF="+filepath.Join(dir, "openssl.cnf"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("openssl %q: %v\n%s", args, err, out)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "spec.json"), []byte(specText), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "openssl.cnf"), []byte("[req]\ndistinguished_name = dn\n[dn]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, key := range []struct{ name, newkey, option string }{
		{"rsa", "rsa:2048", ""}, {"ec", "ec", "ec_paramgen_curve:P-256"},
	} {
		args := []string{"req", "-x509", "-newkey", key.newkey, "-nodes", "-keyout", key.name + ".key",
			"-out", key.name + ".pem", "-subj", "/CN=signer " + key.name, "-days", "2",
			"-addext", "subjectKeyIdentifier=hash"}
		if key.option != "" {
			args = append(args, "-pkeyopt", key.option)
		}
		run(t, args...)
	}
	for _, tc := range []struct {
		name string
		args []string
	}{
		{"smime, PEM", []string{"smime", "-sign", "-outform", "PEM", "-signer", "rsa.pem", "-inkey", "rsa.key"}},
		{"smime, indefinite lengths", []string{"smime", "-sign", "-stream", "-outform", "PEM", "-signer", "rsa.pem", "-inkey", "rsa.key"}},
		{"smime, no signed attributes", []string{"smime", "-sign", "-noattr", "-outform", "PEM", "-signer", "rsa.pem", "-inkey", "rsa.key"}},
		{"smime, SHA-1", []string{"smime", "-sign", "-md", "sha1", "-outform", "PEM", "-signer", "rsa.pem", "-inkey", "rsa.key"}},
		{"smime, SHA-512, two signers", []string{"smime", "-sign", "-md", "sha512", "-outform", "PEM", "-signer", "rsa.pem", "-inkey", "rsa.key", "-signer", "ec.pem", "-inkey", "ec.key"}},
		{"cms, PEM", []string{"cms", "-sign", "-outform", "PEM", "-signer", "rsa.pem", "-inkey", "rsa.key"}},
		{"cms, DER", []string{"cms", "-sign", "-outform", "DER", "-signer", "rsa.pem", "-inkey", "rsa.key"}},
		{"cms, indefinite lengths, key id", []string{"cms", "-sign", "-stream", "-keyid", "-outform", "DER", "-signer", "rsa.pem", "-inkey", "rsa.key"}},
		{"cms, no signed attributes", []string{"cms", "-sign", "-noattr", "-outform", "DER", "-signer", "rsa.pem", "-inkey", "rsa.key"}},
		{"cms, ECDSA SHA-384", []string{"cms", "-sign", "-md", "sha384", "-outform", "PEM", "-signer", "ec.pem", "-inkey", "ec.key"}},
		{"cms, PSS SHA-256", []string{"cms", "-sign", "-md", "sha256", "-outform", "PEM", "-signer", "rsa.pem", "-inkey", "rsa.key", "-keyopt", "rsa_padding_mode:pss"}},
		{"cms, PSS SHA-384 with a short salt", []string{"cms", "-sign", "-md", "sha384", "-outform", "PEM", "-signer", "rsa.pem", "-inkey", "rsa.key", "-keyopt", "rsa_padding_mode:pss", "-keyopt", "rsa_pss_saltlen:20"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run(t, append(tc.args, "-binary", "-nodetach", "-in", "spec.json", "-out", "spec.p7")...)
			message, err := os.ReadFile(filepath.Join(dir, "spec.p7"))
			if err != nil {
				t.Fatal(err)
			}
			spec, err := Open(FormatSigned, string(message), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if spec.DeploymentID != "d-ABCDEF123" {
				t.Errorf("DeploymentID = %q", spec.DeploymentID)
			}
		})
	}
}
