package deployspec

import (
	"bytes"
	"crypto"
	"crypto/x509"
	encodingasn1 "encoding/asn1"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"
)

// pieces writes a byte string in pieces of n bytes, with an open length or not.
func pieces(n int, wrap func(byte, ...[]byte) []byte) func([]byte) []byte {
	return func(content []byte) []byte {
		var parts [][]byte
		for piece := range slices.Chunk(content, n) {
			parts = append(parts, tlv(0x04, piece))
		}
		return wrap(0x24, parts...)
	}
}

// nested writes a byte string of byte strings, n levels deep, with an empty one among them.
func nested(n int) func([]byte) []byte {
	return func(content []byte) []byte {
		half := len(content) / 2
		first, second := tlv(0x04, content[:half]), tlv(0x04, content[half:])
		for range n {
			first, second = open(0x24, first, tlv(0x04)), tlv(0x24, second)
		}
		return open(0x24, first, second)
	}
}

func simple() envelope {
	return envelope{content: []byte(specText), signers: []signing{{by: issue(rsaKey(), "signer", nil)}}}
}

func with(change func(*envelope)) envelope {
	e := simple()
	change(&e)
	return e
}

func signedBy(s signing) envelope {
	if s.by == nil {
		s.by = issue(rsaKey(), "signer", nil)
	}
	return envelope{content: []byte(specText), signers: []signing{s}}
}

func TestSignedSpecificationsAreAccepted(t *testing.T) {
	ec := issue(ecKey(), "elliptic signer", nil)
	for _, tc := range []struct {
		name string
		e    envelope
	}{
		{"one plain string", simple()},
		{"pieces, as the service sends them", with(func(e *envelope) { e.octets = pieces(100, tlv) })},
		{"pieces in an open string", with(func(e *envelope) { e.octets = pieces(7, open) })},
		{"all lengths open, as the service sends them", with(func(e *envelope) { e.octets, e.wrap = pieces(100, open), open })},
		{"pieces of pieces", with(func(e *envelope) { e.octets = nested(5) })},
		{"SHA-1", signedBy(signing{digest: crypto.SHA1})},
		{"SHA-384", signedBy(signing{digest: crypto.SHA384})},
		{"SHA-512", signedBy(signing{digest: crypto.SHA512})},
		{"an algorithm that names the hash", signedBy(signing{algorithm: algorithmID(oidSHA256RSA, asn1Null)})},
		{"PSS", signedBy(signing{pss: true})},
		{"ECDSA", signedBy(signing{by: ec})},
		{"ECDSA named by its key", signedBy(signing{by: ec, algorithm: algorithmID(oidECKey)})},
		{"no signed attributes", signedBy(signing{noAttributes: true})},
		{"no signed attributes, in pieces", with(func(e *envelope) { e.signers[0].noAttributes, e.octets = true, pieces(10, open) })},
		{"a signer known by the key's id", signedBy(signing{byKeyID: true})},
		{"another type of content, as signed", with(func(e *envelope) {
			e.contentType, e.signers[0].contentType = oidSHA256, oidSHA256
		})},
		{"two good signers", with(func(e *envelope) { e.signers = append(e.signers, signing{by: ec}) })},
		{"unsigned attributes", signedBy(signing{unsigned: tlv(0xa1, tlv(0x30, oid(oidData), tlv(0x31, asn1Null)))})},
		{"an expired certificate", signedBy(signing{by: issue(rsaKey(), "old", nil, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })})},
		{"certificates that are none", with(func(e *envelope) { e.certificates = [][]byte{tlv(0x30, one), tlv(0xa1, one)} })},
	} {
		t.Run(tc.name, func(t *testing.T) {
			der := tc.e.der(t)
			for name, payload := range map[string]string{
				"PEM": armoured("PKCS7", der), "PEM of CMS": armoured("CMS", der), "DER": string(der), "DER and a line end": string(der) + "\n",
				"PEM with Windows line ends":    strings.ReplaceAll(armoured("PKCS7", der), "\n", "\r\n"),
				"PEM without the last line end": strings.TrimSpace(armoured("PKCS7", der)),
				"base64":                        base64.StdEncoding.EncodeToString(der),
				"base64 in lines": strings.Join(slices.Collect(func(yield func(string) bool) {
					for c := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString(der)), 64) {
						if !yield(string(c)) {
							return
						}
					}
				}), "\n") + "\n",
			} {
				spec, err := Open(FormatSigned, payload, Options{})
				if err != nil {
					t.Errorf("%s: %v", name, err)
				} else if spec.DeploymentGroupName != "web" {
					t.Errorf("%s: %+v", name, spec)
				}
			}
		})
	}
}

func TestWhatIsNotWellSignedIsRefused(t *testing.T) {
	const changed, wrong, form, damaged = "it was changed after signing", "its signature is wrong", "it is no signed message of the expected form", "its encoding is damaged"
	ec := issue(ecKey(), "elliptic signer", nil)
	ours := issue(rsaKey(), "signer", nil)
	theirs := issue(otherKey(), "signer", nil)
	tampered := []byte(strings.Replace(specText, `"k.zip"`, `"x.zip"`, 1))
	for _, tc := range []struct {
		name string
		e    envelope
		want string
	}{
		{"changed content", signedBy(signing{signs: tampered}), changed},
		{"changed content without signed attributes", signedBy(signing{signs: tampered, noAttributes: true}), wrong},
		{"a changed signature", signedBy(signing{spoil: true}), wrong},
		{"a changed ECDSA signature", signedBy(signing{by: ec, spoil: true}), wrong},
		{"a changed PSS signature", signedBy(signing{pss: true, spoil: true}), wrong},
		{"another's certificate of the same name", with(func(e *envelope) {
			e.signers[0].by = &identity{rsaKey(), theirs.cert}
		}), wrong},
		{"no signer", with(func(e *envelope) { e.signers, e.certificates = nil, [][]byte{ours.cert.Raw} }), "nobody has signed it"},
		{"a bad signer after a good one", with(func(e *envelope) { e.signers = append(e.signers, signing{by: ec, spoil: true}) }), wrong},
		{"a good signer after a bad one", with(func(e *envelope) { e.signers = append([]signing{{by: ec, signs: tampered}}, e.signers...) }), changed},
		{"content that is elsewhere", with(func(e *envelope) { e.detached = true }), "its content is not embedded in the signed message"},
		{"no digest among the attributes", signedBy(signing{without: oidMessageDigest}), "its signer has not signed a digest of the content"},
		{"two digests", signedBy(signing{twice: oidMessageDigest}), "its signer has not signed a digest of the content"},
		{"no type of content among the attributes", signedBy(signing{without: oidContentType}), "its signer has signed another type of content"},
		{"two types of content", signedBy(signing{twice: oidContentType}), "its signer has signed another type of content"},
		{"another type of content", signedBy(signing{contentType: oidSignedData}), "its signer has signed another type of content"},
		{"another type of content without attributes", with(func(e *envelope) { e.contentType, e.signers[0].noAttributes = oidSHA256, true }), form},
		{"MD5", signedBy(signing{digestID: encodingasn1.ObjectIdentifier{1, 2, 840, 113549, 2, 5}}), "its digest algorithm 1.2.840.113549.2.5 is not supported"},
		{"another hash in the signature's algorithm", signedBy(signing{algorithm: algorithmID(oidSHA512RSA, asn1Null)}), "its signature algorithm does not go with its digest algorithm"},
		{"an ECDSA algorithm with an RSA key", signedBy(signing{algorithm: algorithmID(oidECDSA256)}), "its signature algorithm does not go with its signer's key"},
		{"an RSA algorithm with an ECDSA key", signedBy(signing{by: ec, algorithm: algorithmID(oidRSA, asn1Null)}), "its signature algorithm does not go with its signer's key"},
		{"DSA", signedBy(signing{algorithm: algorithmID(encodingasn1.ObjectIdentifier{1, 2, 840, 10040, 4, 3})}), "its signature algorithm 1.2.840.10040.4.3 is not supported"},
		{"PSS with another hash", signedBy(signing{pss: true, algorithm: pssID(hashes[3].id, 32)}), "the parameters of its signature do not go with its digest algorithm"},
		{"PSS without parameters", signedBy(signing{pss: true, algorithm: algorithmID(encodingasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10})}), "the parameters of its signature do not go with its digest algorithm"},
		{"PSS with a negative salt", signedBy(signing{pss: true, algorithm: pssID(oidSHA256, -1)}), "the parameters of its signature do not go with its digest algorithm"},
		{"a digest that the message does not name", with(func(e *envelope) { e.digests = [][]byte{algorithmID(hashes[0].id)} }), "its signer uses another digest algorithm than the message names"},
		{"something inside, behind the message", with(func(e *envelope) { e.trailing = one }), form},
		{"pieces of another kind", with(func(e *envelope) { e.octets = func(b []byte) []byte { return tlv(0x24, tlv(0x0c, b)) } }), damaged},
		{"nested too deeply", with(func(e *envelope) { e.octets = nested(60) }), "its encoding is nested too deeply"},
		{"seventeen signers", with(func(e *envelope) { e.signers = slices.Repeat(e.signers, 17) }), form},
	} {
		t.Run(tc.name, func(t *testing.T) {
			refused(t, string(tc.e.der(t)), Options{}, tc.want)
		})
	}
}

func refused(t *testing.T, payload string, o Options, want string) {
	t.Helper()
	spec, err := Open(FormatSigned, payload, o)
	if err == nil {
		t.Fatalf("accepted: %+v", spec)
	}
	if !strings.HasPrefix(err.Error(), "cannot accept the deployment specification: ") || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v\nwant ...%s...", err, want)
	}
}

func TestASignerWhoseCertificateIsMissingIsRefused(t *testing.T) {
	for _, byKeyID := range []bool{false, true} {
		e := signedBy(signing{byKeyID: byKeyID})
		e.noCertificates = true
		refused(t, string(e.der(t)), Options{}, "the certificate of its signer is not in it")
		e.certificates = [][]byte{issue(rsaKey(), "somebody else", nil).cert.Raw}
		refused(t, string(e.der(t)), Options{}, "the certificate of its signer is not in it")
	}
}

func TestDamagedMessagesAreRefused(t *testing.T) {
	der := simple().der(t)
	text := armoured("PKCS7", der)
	for _, tc := range []struct{ name, payload, want string }{
		{"nothing", "", "it is empty"},
		{"blanks", " \n", "it is empty"},
		{"the bare JSON text", specText, "it is neither PEM nor DER nor base64"},
		{"cut off", string(der[:len(der)-1]), "its encoding is damaged"},
		{"the first byte alone", "0", "its encoding is damaged"},
		{"no end marks", string(open(0x30)[:2]), "its encoding is damaged"},
		{"a string with an open length", "0\x06\x04\x80\x04\x01x\x00", "its encoding is damaged"},
		{"an end mark out of place", string(tlv(0x30, []byte{0, 0})), "its encoding is damaged"},
		{"a length of five bytes", "0\x85\x00\x00\x00\x00\x01x", "its encoding is damaged"},
		{"a length beyond the end", "0\x84\xff\xff\xff\xff", "its encoding is damaged"},
		{"a long tag", string(tlv(0x30, []byte{0x1f, 0x81, 0x01, 0x00})), "its encoding is damaged"},
		{"an empty sequence", "0\x00", "it is no signed message of the expected form"},
		{"something behind", string(der) + "x", "something follows the signed message"},
		{"the message twice", string(der) + string(der), "something follows the signed message"},
		{"PEM twice", text + text, "something follows its PEM block"},
		{"PEM and a text", text + "hello", "something follows its PEM block"},
		{"a certificate", armoured("CERTIFICATE", der), `its PEM block is labelled "CERTIFICATE"; "PKCS7" is expected`},
		{"half a PEM block", text[:len(text)/2], "its PEM block is damaged"},
		{"base64 with a stroke", base64.StdEncoding.EncodeToString(der)[:40] + "*", "it is neither PEM nor DER nor base64"},
		{"base64 of a text", base64.StdEncoding.EncodeToString([]byte("hello")), "its encoding is damaged"},
	} {
		t.Run(tc.name, func(t *testing.T) { refused(t, tc.payload, Options{}, tc.want) })
	}
	t.Run("too long", func(t *testing.T) { refused(t, strings.Repeat("A", MaxPayload+1), Options{}, "are more than the") })
}

func TestEveryChangedByteIsNoticed(t *testing.T) {
	der := simple().der(t)
	good, err := Open(FormatSigned, string(der), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range der {
		bad := bytes.Clone(der)
		bad[i] ^= 1
		spec, err := Open(FormatSigned, string(bad), Options{})
		if err != nil {
			continue
		}
		// Some bytes carry no meaning, for example version numbers; then nothing else may differ either.
		if spec.Revision.S3 == nil || *spec.Revision.S3 != *good.Revision.S3 || spec.DeploymentID != good.DeploymentID {
			t.Errorf("byte %d changed what is deployed", i)
		}
	}
}

func TestSignersHaveToLeadToTheConfiguredAuthorities(t *testing.T) {
	authority := func(c *x509.Certificate) { c.IsCA = true }
	root := issue(otherKey(), "root", nil, authority)
	between := issue(ecKey(), "intermediate", root, authority)
	leaf := issue(rsaKey(), "signer of the service", between)
	expired := issue(rsaKey(), "expired signer", root, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)
	chain := func(by *identity, others ...*identity) string {
		e := signedBy(signing{by: by})
		for _, o := range others {
			e.certificates = append(e.certificates, o.cert.Raw)
		}
		return string(e.der(t))
	}
	for name, payload := range map[string]string{"directly": chain(issue(rsaKey(), "near signer", root)), "through an intermediate": chain(leaf, between)} {
		if _, err := Open(FormatSigned, payload, Options{Roots: pool}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	refused(t, chain(leaf), Options{Roots: pool}, `its signer "CN=signer of the service" is not trusted by signer_ca_file`)
	refused(t, chain(issue(rsaKey(), "self", nil)), Options{Roots: pool}, "is not trusted by signer_ca_file")
	refused(t, chain(expired), Options{Roots: pool}, "is not trusted by signer_ca_file")
	refused(t, chain(leaf, between), Options{Roots: x509.NewCertPool()}, "is not trusted by signer_ca_file")
}

func TestUnsignedSpecificationsAreForLocalDeploymentsOnly(t *testing.T) {
	t.Setenv("CODEDEPLOY_DEVELOPER_MODE", "true")
	for _, format := range []string{FormatText, FormatJSON} {
		if _, err := Open(format, specText, Options{}); err == nil || !strings.Contains(err.Error(), "it is not signed") {
			t.Errorf("%s: %v", format, err)
		}
		if _, err := Open(format, specText, Options{AllowUnsigned: true}); err != nil {
			t.Errorf("%s: %v", format, err)
		}
	}
	for format, want := range map[string]string{"": "its envelope has no format", "pkcs7/json": `its format "pkcs7/json" is unknown; "PKCS7/JSON" is expected`} {
		if _, err := Open(format, specText, Options{AllowUnsigned: true}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", format, err)
		}
	}
}
