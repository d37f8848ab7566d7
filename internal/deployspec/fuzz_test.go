package deployspec

import (
	"bytes"
	"encoding/asn1"
	"encoding/base64"
	"testing"
)

// FuzzOpen: whatever arrives, Open returns; and nothing is accepted that says something else than what was signed.
func FuzzOpen(f *testing.F) {
	der := simple().der(f)
	for _, seed := range [][]byte{der, with(func(e *envelope) { e.octets, e.wrap = pieces(50, open), open }).der(f), []byte(specText), {0x30, 0x80, 0, 0}} {
		f.Add(FormatSigned, seed)
		f.Add(FormatJSON, seed)
		f.Add(FormatSigned, []byte(armoured("PKCS7", seed)))
		f.Add(FormatSigned, []byte(base64.StdEncoding.EncodeToString(seed)))
	}
	f.Fuzz(func(t *testing.T, format string, payload []byte) {
		spec, err := Open(format, string(payload), Options{AllowUnsigned: true})
		if err != nil {
			return
		}
		for _, id := range []string{spec.DeploymentID, spec.DeploymentGroupID} {
			if id == "" || id == "." || id == ".." || bytes.ContainsAny([]byte(id), "/\x00") {
				t.Errorf("id %q", id)
			}
		}
		if spec.AppSpecFilename == "" || spec.AppSpecFilename[0] == '/' {
			t.Errorf("AppSpecFilename %q", spec.AppSpecFilename)
		}
		if format == FormatSigned && (spec.Revision.S3 == nil || spec.Revision.S3.Key != "k.zip") {
			t.Errorf("a changed message was accepted: %+v", spec)
		}
	})
}

// FuzzBER: what has been rewritten is DER, rewriting it again changes nothing, and DER comes out as it went in.
func FuzzBER(f *testing.F) {
	for _, seed := range [][]byte{
		simple().der(f), open(0x30, open(0x24, tlv(0x04, []byte("a")), open(0x24, tlv(0x04, []byte("b"))))),
		tlv(0x30, one, asn1Null), {0x30, 0x84, 0, 0, 0, 2, 5, 0}, {0x24, 0x80, 0, 0},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		der, rest, err := toDER(message)
		if err != nil {
			return
		}
		if !bytes.HasSuffix(message, rest) {
			t.Error("the rest is not the end of the message")
		}
		var value asn1.RawValue
		if left, err := asn1.Unmarshal(der, &value); err != nil || len(left) > 0 {
			t.Errorf("%x is no DER: %v", der, err)
		}
		again, left, err := toDER(der)
		if err != nil || len(left) > 0 || !bytes.Equal(again, der) {
			t.Errorf("%x became %x, %v", der, again, err)
		}
	})
}
