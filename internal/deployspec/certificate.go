package deployspec

import (
	"bytes"
	"crypto/x509"
	encodingasn1 "encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

var oidSubjectKeyID = encodingasn1.ObjectIdentifier{2, 5, 29, 14}

// certificate is as much of a certificate as it takes to find a signer's key. Reading no more keeps odd but harmless
// certificates usable (the service's own are not known); a chain check reads them in full.
type certificate struct {
	raw            []byte
	issuer, serial []byte
	keyID          []byte
	publicKey      any
}

// readCertificates keeps the certificates of a message that can be read; the others cannot have signed anything here.
func (m *signedData) readCertificates(set cryptobyte.String) error {
	for !set.Empty() {
		var raw cryptobyte.String
		var tag asn1.Tag
		if !set.ReadAnyASN1Element(&raw, &tag) {
			return errMessage
		}
		if tag != asn1.SEQUENCE { // attribute certificates
			continue
		}
		if c, ok := readCertificate(raw); ok {
			m.certificates = append(m.certificates, c)
		}
	}
	return nil
}

func readCertificate(raw cryptobyte.String) (c certificate, ok bool) {
	c.raw = raw
	var cert, body, issuer, serial, key cryptobyte.String
	if !raw.ReadASN1(&cert, asn1.SEQUENCE) || !cert.ReadASN1(&body, asn1.SEQUENCE) ||
		!body.SkipOptionalASN1(tagContext0) || // version
		!body.ReadASN1(&serial, asn1.INTEGER) ||
		!body.SkipASN1(asn1.SEQUENCE) || // signature algorithm
		!body.ReadASN1Element(&issuer, asn1.SEQUENCE) ||
		!body.SkipASN1(asn1.SEQUENCE) || // validity
		!body.SkipASN1(asn1.SEQUENCE) || // subject
		!body.ReadASN1Element(&key, asn1.SEQUENCE) {
		return c, false
	}
	c.issuer, c.serial = issuer, serial
	c.keyID = subjectKeyID(body)
	var err error
	c.publicKey, err = x509.ParsePKIXPublicKey(key)
	return c, err == nil
}

// subjectKeyID looks for the key's name in what follows the public key; nil when there is none.
func subjectKeyID(rest cryptobyte.String) []byte {
	var wrapped, list cryptobyte.String
	if !rest.SkipOptionalASN1(asn1.Tag(1).ContextSpecific()) || !rest.SkipOptionalASN1(asn1.Tag(2).ContextSpecific()) ||
		!rest.ReadASN1(&wrapped, asn1.Tag(3).ContextSpecific().Constructed()) || !wrapped.ReadASN1(&list, asn1.SEQUENCE) {
		return nil
	}
	for !list.Empty() {
		var item, value, id cryptobyte.String
		var name encodingasn1.ObjectIdentifier
		if !list.ReadASN1(&item, asn1.SEQUENCE) || !item.ReadASN1ObjectIdentifier(&name) {
			return nil
		}
		if name.Equal(oidSubjectKeyID) && item.SkipOptionalASN1(asn1.BOOLEAN) &&
			item.ReadASN1(&value, asn1.OCTET_STRING) && value.ReadASN1(&id, asn1.OCTET_STRING) {
			return id
		}
	}
	return nil
}

// certificateOf finds the certificate that a signer names.
func (m *signedData) certificateOf(s *signer) (certificate, bool) {
	for _, c := range m.certificates {
		switch {
		case s.keyID != nil && bytes.Equal(c.keyID, s.keyID),
			s.keyID == nil && bytes.Equal(c.issuer, s.issuer) && bytes.Equal(c.serial, s.serial):
			return c, true
		}
	}
	return certificate{}, false
}
