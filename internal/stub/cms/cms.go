// Package cms signs deployment specifications the way the service does: a CMS SignedData message with embedded content,
// cut into several octet strings. It can also make every kind of message that an agent has to refuse.
package cms

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // an agent must accept what old signers made
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"slices"
	"time"
)

// Encoding is how a message is written as text.
type Encoding string

const (
	// PEM is a block labelled PKCS7, what the service sends.
	PEM Encoding = ""
	// PEMCMS is a block labelled CMS.
	PEMCMS Encoding = "pem-cms"
	// Base64 is the bare base64 of the bytes.
	Base64 Encoding = "base64"
	// Raw is the bytes themselves.
	Raw Encoding = "raw"
)

// Flaw is a defect put into a message on purpose.
type Flaw string

const (
	// Sound is a good message.
	Sound Flaw = ""
	// ContentChanged has other content than the one that was signed.
	ContentChanged Flaw = "content-changed"
	// WrongDigest is signed, but its digest attribute is that of another content.
	WrongDigest Flaw = "wrong-digest"
	// WrongSignature has one bit of the signature turned over.
	WrongSignature Flaw = "wrong-signature"
	// ForeignKey names the certificate but is signed with another key.
	ForeignKey Flaw = "foreign-key"
	// NoSigner has content and certificate but no signature.
	NoSigner Flaw = "no-signer"
	// NoCertificate leaves the certificate out.
	NoCertificate Flaw = "no-certificate"
	// NoContent is a detached signature.
	NoContent Flaw = "no-content"
	// Cut ends in the middle.
	Cut Flaw = "cut"
)

// Options say how a message is built. The zero value is the service's way: SHA-256, definite lengths, segments of 1000 bytes.
type Options struct {
	// Digest is SHA1, SHA256, SHA384 or SHA512.
	Digest crypto.Hash
	// Segment is how many bytes one octet string holds; negative means a single primitive string.
	Segment int
	// Indefinite writes the outer elements with indefinite length, as streaming encoders do.
	Indefinite bool
	// Nested cuts the segments once more, which BER allows.
	Nested bool
	// NoAttributes signs the content itself instead of a set of attributes.
	NoAttributes bool
	Encoding     Encoding
	Flaw         Flaw
}

var (
	oidData          = mustOID(1, 2, 840, 113549, 1, 7, 1)
	oidSignedData    = mustOID(1, 2, 840, 113549, 1, 7, 2)
	oidContentType   = mustOID(1, 2, 840, 113549, 1, 9, 3)
	oidMessageDigest = mustOID(1, 2, 840, 113549, 1, 9, 4)
	oidSigningTime   = mustOID(1, 2, 840, 113549, 1, 9, 5)
	oidRSA           = mustOID(1, 2, 840, 113549, 1, 1, 1)
	oidDigests       = map[crypto.Hash][]byte{
		crypto.SHA1:   mustOID(1, 3, 14, 3, 2, 26),
		crypto.SHA256: mustOID(2, 16, 840, 1, 101, 3, 4, 2, 1),
		crypto.SHA384: mustOID(2, 16, 840, 1, 101, 3, 4, 2, 2),
		crypto.SHA512: mustOID(2, 16, 840, 1, 101, 3, 4, 2, 3),
	}
)

// Signer has a key and a certificate.
type Signer struct {
	key         *rsa.PrivateKey
	foreign     func() (*rsa.PrivateKey, error) // made when first needed: it takes a moment
	certificate *x509.Certificate
	authority   *x509.Certificate
}

// Sign returns the signed message as text.
func (s *Signer) Sign(content []byte, o Options) (string, error) {
	if o.Digest == 0 {
		o.Digest = crypto.SHA256
	}
	if oidDigests[o.Digest] == nil {
		return "", fmt.Errorf("cannot sign: no such digest %q", o.Digest)
	}
	signerInfos, err := s.signerInfos(content, o)
	if err != nil {
		return "", err
	}
	shown := slices.Clone(content)
	if o.Flaw == ContentChanged && len(shown) > 0 {
		// Inside a JSON text one blank more is still JSON, so only the signature can tell.
		shown = append(shown, ' ')
	}
	message := s.signedData(shown, signerInfos, o)
	if o.Flaw == Cut {
		message = message[:len(message)*2/3]
	}
	return encodeText(message, o.Encoding), nil
}

func (s *Signer) signedData(content, signerInfos []byte, o Options) []byte {
	wrap := tlv
	if o.Indefinite {
		wrap = indefinite
	}
	encapsulated := [][]byte{oidData}
	if o.Flaw != NoContent {
		encapsulated = append(encapsulated, wrap(tagContext0, octets(content, o)))
	}
	parts := [][]byte{
		tlv(tagInteger, []byte{1}),
		tlv(tagSet, algorithm(oidDigests[o.Digest])),
		wrap(tagSequence, encapsulated...),
	}
	if o.Flaw != NoCertificate {
		parts = append(parts, tlv(tagContext0, s.certificate.Raw))
	}
	parts = append(parts, signerInfos)
	return wrap(tagSequence, oidSignedData, wrap(tagContext0, wrap(tagSequence, parts...)))
}

// octets writes the content as a constructed octet string.
func octets(content []byte, o Options) []byte {
	size := o.Segment
	switch {
	case size < 0:
		return tlv(tagOctetString, content)
	case size == 0:
		size = 1000
	}
	var segments [][]byte
	for piece := range slices.Chunk(content, size) {
		if o.Nested && len(piece) > 1 {
			half := len(piece) / 2
			segments = append(segments, tlv(tagOctetString|constructed, tlv(tagOctetString, piece[:half]), tlv(tagOctetString, piece[half:])))
			continue
		}
		segments = append(segments, tlv(tagOctetString, piece))
	}
	if o.Indefinite {
		return indefinite(tagOctetString|constructed, segments...)
	}
	return tlv(tagOctetString|constructed, segments...)
}

func (s *Signer) signerInfos(content []byte, o Options) ([]byte, error) {
	if o.Flaw == NoSigner {
		return tlv(tagSet), nil
	}
	digest := sum(o.Digest, content)
	if o.Flaw == WrongDigest {
		digest = sum(o.Digest, append(slices.Clone(content), '!'))
	}
	serial, err := asn1.Marshal(s.certificate.SerialNumber)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the serial number: %w", err)
	}
	parts := [][]byte{
		tlv(tagInteger, []byte{1}),
		tlv(tagSequence, s.certificate.RawIssuer, serial),
		algorithm(oidDigests[o.Digest]),
	}
	toSign := digest
	if !o.NoAttributes {
		attributes, err := signedAttributes(digest)
		if err != nil {
			return nil, err
		}
		// The signature covers the SET; the message holds the same bytes under an implicit tag.
		toSign = sum(o.Digest, setOf(tagSet, attributes...))
		parts = append(parts, setOf(tagContext0, attributes...))
	}
	key := s.key
	if o.Flaw == ForeignKey {
		if key, err = s.foreign(); err != nil {
			return nil, fmt.Errorf("cannot make a foreign key: %w", err)
		}
	}
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, o.Digest, toSign)
	if err != nil {
		return nil, fmt.Errorf("cannot sign: %w", err)
	}
	if o.Flaw == WrongSignature {
		signature[len(signature)/2] ^= 1
	}
	parts = append(parts, algorithm(oidRSA), tlv(tagOctetString, signature))
	return tlv(tagSet, tlv(tagSequence, parts...)), nil
}

func signedAttributes(digest []byte) ([][]byte, error) {
	now, err := asn1.Marshal(time.Now().UTC())
	if err != nil {
		return nil, fmt.Errorf("cannot encode the signing time: %w", err)
	}
	return [][]byte{
		tlv(tagSequence, oidContentType, tlv(tagSet, oidData)),
		tlv(tagSequence, oidSigningTime, tlv(tagSet, now)),
		tlv(tagSequence, oidMessageDigest, tlv(tagSet, tlv(tagOctetString, digest))),
	}, nil
}

func encodeText(message []byte, e Encoding) string {
	switch e {
	case Raw:
		return string(message)
	case Base64:
		return base64.StdEncoding.EncodeToString(message)
	case PEMCMS:
		return string(pem.EncodeToMemory(&pem.Block{Type: "CMS", Bytes: message}))
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PKCS7", Bytes: message}))
}

func algorithm(oid []byte) []byte { return tlv(tagSequence, oid, tlv(tagNull)) }

func sum(h crypto.Hash, content []byte) []byte {
	d := h.New()
	_, _ = d.Write(content)
	return d.Sum(nil)
}

func mustOID(arcs ...int) []byte {
	b, err := asn1.Marshal(asn1.ObjectIdentifier(arcs))
	if err != nil {
		panic(err)
	}
	return b
}
