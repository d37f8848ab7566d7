package deployspec

import (
	"bytes"
	"crypto"
	_ "crypto/sha1" // old signers
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	encodingasn1 "encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// The object identifiers of a signed message (RFC 5652).
var (
	oidData          = encodingasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData    = encodingasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidContentType   = encodingasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = encodingasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
)

var (
	tagContext0 = asn1.Tag(0).ContextSpecific().Constructed()
	tagContext1 = asn1.Tag(1).ContextSpecific().Constructed()
	tagKeyID    = asn1.Tag(0).ContextSpecific()
)

var errMessage = errors.New("it is no signed message of the expected form")

// maxSigners bounds the work that one message can ask for.
const maxSigners = 16

// signedData is a message taken apart; nothing in it is proven yet.
type signedData struct {
	contentType  encodingasn1.ObjectIdentifier
	content      []byte
	digests      []encodingasn1.ObjectIdentifier
	certificates []certificate
	signers      []signer
}

// signer is one signature with what it says about itself.
type signer struct {
	issuer, serial []byte // or
	keyID          []byte
	digest         algorithm
	// attributes is the signed SET OF attributes with its tag and length, nil when the content itself was signed.
	attributes []byte
	signature  algorithm
	value      []byte
}

// algorithm is an AlgorithmIdentifier.
type algorithm struct {
	id         encodingasn1.ObjectIdentifier
	parameters cryptobyte.String
}

// verify returns the content of a signed message after all its signatures have been found good. Each must have been
// made over this very content with the key of a certificate in the message. The certificates' dates do not matter; who
// issued them matters only when there are roots.
func verify(message []byte, roots *x509.CertPool) ([]byte, error) {
	der, rest, err := toDER(message)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("something follows the signed message")
	}
	m, err := readSignedData(der)
	if err != nil {
		return nil, err
	}
	if len(m.signers) == 0 {
		return nil, errors.New("nobody has signed it")
	}
	for i := range m.signers {
		if err := m.verifySigner(&m.signers[i], roots); err != nil {
			return nil, err
		}
	}
	return m.content, nil
}

func (m *signedData) verifySigner(s *signer, roots *x509.CertPool) error {
	cert, ok := m.certificateOf(s)
	if !ok {
		return errors.New("the certificate of its signer is not in it")
	}
	hash, ok := hashOf(s.digest.id)
	if !ok {
		return fmt.Errorf("its digest algorithm %s is not supported", s.digest.id)
	}
	if !listed(m.digests, s.digest.id) {
		return errors.New("its signer uses another digest algorithm than the message names")
	}
	signed := m.content
	if s.attributes != nil {
		if err := m.checkAttributes(s, hash); err != nil {
			return err
		}
		signed = s.attributes
	} else if !m.contentType.Equal(oidData) {
		// RFC 5652, 5.3: other content than plain data has to name its type among the signed attributes.
		return errMessage
	}
	if err := checkSignature(cert.publicKey, hash, s.signature, signed, s.value); err != nil {
		return err
	}
	if roots == nil {
		return nil
	}
	return m.checkChain(cert, roots)
}

// checkAttributes tells whether the signed attributes speak of this content. Each must be there once, with one value.
func (m *signedData) checkAttributes(s *signer, hash crypto.Hash) error {
	contentType, ok := attribute(s.attributes, oidContentType)
	var id encodingasn1.ObjectIdentifier
	if !ok || !contentType.ReadASN1ObjectIdentifier(&id) || !contentType.Empty() || !id.Equal(m.contentType) {
		return errors.New("its signer has signed another type of content")
	}
	value, ok := attribute(s.attributes, oidMessageDigest)
	var digest cryptobyte.String
	if !ok || !value.ReadASN1(&digest, asn1.OCTET_STRING) || !value.Empty() {
		return errors.New("its signer has not signed a digest of the content")
	}
	h := hash.New()
	h.Write(m.content)
	if subtle.ConstantTimeCompare(h.Sum(nil), digest) != 1 {
		return errors.New("its content does not fit the signed digest; it was changed after signing")
	}
	return nil
}

// attribute returns the one value of the attribute that has this id; ok is false when it is missing or doubled.
func attribute(set []byte, id encodingasn1.ObjectIdentifier) (value cryptobyte.String, ok bool) {
	s := cryptobyte.String(set)
	var list cryptobyte.String
	if !s.ReadASN1(&list, asn1.SET) {
		return nil, false
	}
	found := 0
	for !list.Empty() {
		var item, values cryptobyte.String
		var name encodingasn1.ObjectIdentifier
		if !list.ReadASN1(&item, asn1.SEQUENCE) || !item.ReadASN1ObjectIdentifier(&name) ||
			!item.ReadASN1(&values, asn1.SET) || !item.Empty() {
			return nil, false
		}
		if name.Equal(id) {
			found++
			value = values
		}
	}
	return value, found == 1
}

func (m *signedData) checkChain(leaf certificate, roots *x509.CertPool) error {
	cert, err := x509.ParseCertificate(leaf.raw)
	if err != nil {
		return fmt.Errorf("its signer's certificate is damaged: %w", err)
	}
	pool := x509.NewCertPool()
	for _, c := range m.certificates {
		if other, err := x509.ParseCertificate(c.raw); err == nil {
			pool.AddCert(other)
		}
	}
	if _, err := cert.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}); err != nil {
		return fmt.Errorf("its signer %s is not trusted by signer_ca_file: %w", quote(cert.Subject.String()), err)
	}
	return nil
}

func listed(ids []encodingasn1.ObjectIdentifier, id encodingasn1.ObjectIdentifier) bool {
	for _, other := range ids {
		if other.Equal(id) {
			return true
		}
	}
	return false
}

// readSignedData takes a message apart (RFC 5652, 5.1; RFC 2315, 9.1 is the same where it matters).
func readSignedData(der []byte) (*signedData, error) {
	var (
		m                     signedData
		in                    = cryptobyte.String(der)
		outer, wrapped, body  cryptobyte.String
		id                    encodingasn1.ObjectIdentifier
		digests, certs, infos cryptobyte.String
		hasCerts              bool
	)
	if !in.ReadASN1(&outer, asn1.SEQUENCE) || !outer.ReadASN1ObjectIdentifier(&id) || !id.Equal(oidSignedData) ||
		!outer.ReadASN1(&wrapped, tagContext0) || !outer.Empty() ||
		!wrapped.ReadASN1(&body, asn1.SEQUENCE) || !wrapped.Empty() ||
		!body.SkipASN1(asn1.INTEGER) || !body.ReadASN1(&digests, asn1.SET) {
		return nil, errMessage
	}
	for !digests.Empty() {
		a, ok := readAlgorithm(&digests)
		if !ok {
			return nil, errMessage
		}
		m.digests = append(m.digests, a.id)
	}
	if err := m.readContent(&body); err != nil {
		return nil, err
	}
	if !body.ReadOptionalASN1(&certs, &hasCerts, tagContext0) || !body.SkipOptionalASN1(tagContext1) ||
		!body.ReadASN1(&infos, asn1.SET) || !body.Empty() {
		return nil, errMessage
	}
	if err := m.readCertificates(certs); err != nil {
		return nil, err
	}
	for !infos.Empty() {
		s, ok := readSigner(&infos)
		if !ok || len(m.signers) == maxSigners {
			return nil, errMessage
		}
		m.signers = append(m.signers, s)
	}
	return &m, nil
}

func (m *signedData) readContent(body *cryptobyte.String) error {
	var info, wrapped, content cryptobyte.String
	var embedded bool
	if !body.ReadASN1(&info, asn1.SEQUENCE) || !info.ReadASN1ObjectIdentifier(&m.contentType) ||
		!info.ReadOptionalASN1(&wrapped, &embedded, tagContext0) || !info.Empty() {
		return errMessage
	}
	if !embedded {
		return errors.New("its content is not embedded in the signed message")
	}
	if !wrapped.ReadASN1(&content, asn1.OCTET_STRING) || !wrapped.Empty() {
		return errMessage
	}
	m.content = content
	return nil
}

func readSigner(infos *cryptobyte.String) (s signer, ok bool) {
	var info, attributes cryptobyte.String
	var hasAttributes bool
	if !infos.ReadASN1(&info, asn1.SEQUENCE) || !info.SkipASN1(asn1.INTEGER) || !readSignerID(&info, &s) {
		return s, false
	}
	if s.digest, ok = readAlgorithm(&info); !ok {
		return s, false
	}
	if info.PeekASN1Tag(tagContext0) {
		hasAttributes = true
		if !info.ReadASN1Element(&attributes, tagContext0) {
			return s, false
		}
	}
	if s.signature, ok = readAlgorithm(&info); !ok {
		return s, false
	}
	var value cryptobyte.String
	if !info.ReadASN1(&value, asn1.OCTET_STRING) || !info.SkipOptionalASN1(tagContext1) || !info.Empty() {
		return s, false
	}
	s.value = value
	if hasAttributes {
		// The signature is made over the SET OF itself, not over the field's own tag (RFC 5652, 5.4).
		s.attributes = bytes.Clone(attributes)
		s.attributes[0] = tagSet
	}
	return s, true
}

func readSignerID(info *cryptobyte.String, s *signer) bool {
	var id cryptobyte.String
	if info.PeekASN1Tag(tagKeyID) {
		ok := info.ReadASN1(&id, tagKeyID)
		s.keyID = id
		return ok && len(id) > 0
	}
	var issuer, serial cryptobyte.String
	ok := info.ReadASN1(&id, asn1.SEQUENCE) && id.ReadASN1Element(&issuer, asn1.SEQUENCE) &&
		id.ReadASN1(&serial, asn1.INTEGER) && id.Empty()
	s.issuer, s.serial = issuer, serial
	return ok
}

func readAlgorithm(in *cryptobyte.String) (a algorithm, ok bool) {
	var seq cryptobyte.String
	ok = in.ReadASN1(&seq, asn1.SEQUENCE) && seq.ReadASN1ObjectIdentifier(&a.id)
	a.parameters = seq
	return a, ok
}
