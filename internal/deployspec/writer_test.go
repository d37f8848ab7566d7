package deployspec

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	encodingasn1 "encoding/asn1"
	"encoding/pem"
	"math/big"
	"slices"
	"sync"
	"testing"
	"time"
)

// A small writer of signed messages that can do everything right, in all the ways there are, and any one thing wrong.

// tlv writes an element with a definite length.
func tlv(tag byte, parts ...[]byte) []byte {
	content := slices.Concat(parts...)
	n := len(content)
	switch {
	case n < 0x80:
		return append([]byte{tag, byte(n)}, content...)
	case n < 0x100:
		return append([]byte{tag, 0x81, byte(n)}, content...)
	}
	return append([]byte{tag, 0x83, byte(n >> 16), byte(n >> 8), byte(n)}, content...) // longer than needed on purpose
}

// open writes an element whose length is left open.
func open(tag byte, parts ...[]byte) []byte {
	return slices.Concat([]byte{tag, 0x80}, slices.Concat(parts...), []byte{0, 0})
}

func oid(id encodingasn1.ObjectIdentifier) []byte {
	der, err := encodingasn1.Marshal(id)
	if err != nil {
		panic(err)
	}
	return der
}

func algorithmID(id encodingasn1.ObjectIdentifier, parameters ...[]byte) []byte {
	return tlv(0x30, oid(id), slices.Concat(parameters...))
}

var (
	one          = []byte{0x02, 0x01, 0x01}
	asn1Null     = []byte{0x05, 0x00}
	oidRSA       = encodingasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidSHA256    = encodingasn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA256RSA = encodingasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
	oidSHA512RSA = encodingasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 13}
	oidECDSA256  = encodingasn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	oidECKey     = encodingasn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
)

// identity is a key with its certificate.
type identity struct {
	key  crypto.Signer
	cert *x509.Certificate
}

var (
	rsaKey   = sync.OnceValue(func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	otherKey = sync.OnceValue(func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	ecKey    = sync.OnceValue(func() crypto.Signer { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// issue makes a certificate; without an issuer it signs itself.
func issue(key crypto.Signer, name string, issuer *identity, change ...func(*x509.Certificate)) *identity {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(name)) + 1000),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		SubjectKeyId: []byte(name), BasicConstraintsValid: true,
	}
	for _, c := range change {
		c(template)
	}
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	der := must(x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer))
	return &identity{key, must(x509.ParseCertificate(der))}
}

// signing says how one signature is made; the zero value of every field is the right and usual way.
type signing struct {
	by           *identity
	digest       crypto.Hash
	digestID     encodingasn1.ObjectIdentifier
	algorithm    []byte // of the signature
	pss          bool
	byKeyID      bool
	noAttributes bool
	// What can be wrong.
	signs       []byte // other content
	contentType encodingasn1.ObjectIdentifier
	without     encodingasn1.ObjectIdentifier // an attribute
	twice       encodingasn1.ObjectIdentifier // an attribute
	spoil       bool                          // the signature
	unsigned    []byte
}

func (s signing) info(t testing.TB, content []byte) []byte {
	t.Helper()
	if s.digest == 0 {
		s.digest = crypto.SHA256
	}
	if s.digestID == nil {
		for _, h := range hashes {
			if h.hash == s.digest {
				s.digestID = h.id
			}
		}
	}
	if s.contentType == nil {
		s.contentType = oidData
	}
	if s.signs == nil {
		s.signs = content
	}
	signed, attributes := s.signs, []byte(nil)
	if !s.noAttributes {
		list := s.attributes()
		attributes = tlv(0xa0, list)
		signed = derSet(list)
	}
	return tlv(0x30, one, s.signerID(), algorithmID(s.digestID, asn1Null), attributes, s.signatureAlgorithm(), tlv(0x04, s.sign(t, signed)), s.unsigned)
}

// derSet writes a set with the shortest length, which is what is signed.
func derSet(list []byte) []byte {
	der, err := encodingasn1.Marshal(encodingasn1.RawValue{Class: 0, Tag: 17, IsCompound: true, Bytes: list})
	if err != nil {
		panic(err)
	}
	return der
}

func (s signing) attributes() []byte {
	h := s.digest.New()
	h.Write(s.signs)
	var list []byte
	for _, a := range []struct {
		id    encodingasn1.ObjectIdentifier
		value []byte
	}{{oidContentType, oid(s.contentType)}, {oidMessageDigest, tlv(0x04, h.Sum(nil))}} {
		item := tlv(0x30, oid(a.id), tlv(0x31, a.value))
		if !a.id.Equal(s.without) {
			list = append(list, item...)
		}
		if a.id.Equal(s.twice) {
			list = append(list, item...)
		}
	}
	return list
}

func (s signing) signerID() []byte {
	if s.byKeyID {
		return tlv(0x80, s.by.cert.SubjectKeyId)
	}
	return tlv(0x30, s.by.cert.RawIssuer, must(encodingasn1.Marshal(s.by.cert.SerialNumber)))
}

func (s signing) signatureAlgorithm() []byte {
	switch _, isEC := s.by.key.(*ecdsa.PrivateKey); {
	case s.algorithm != nil:
		return s.algorithm
	case s.pss:
		return pssID(s.digestID, s.digest.Size())
	case isEC:
		return algorithmID(oidECDSA256)
	}
	return algorithmID(oidRSA, asn1Null)
}

func pssID(digest encodingasn1.ObjectIdentifier, salt int) []byte {
	hash := algorithmID(digest, asn1Null)
	return algorithmID(encodingasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}, tlv(0x30,
		tlv(0xa0, hash), tlv(0xa1, algorithmID(oidMGF1, hash)), tlv(0xa2, must(encodingasn1.Marshal(salt)))))
}

func (s signing) sign(t testing.TB, signed []byte) []byte {
	t.Helper()
	h := s.digest.New()
	h.Write(signed)
	var opts crypto.SignerOpts = s.digest
	if s.pss {
		opts = &rsa.PSSOptions{SaltLength: s.digest.Size(), Hash: s.digest}
	}
	value, err := s.by.key.Sign(rand.Reader, h.Sum(nil), opts)
	if err != nil {
		t.Fatal(err)
	}
	if s.spoil {
		value[len(value)/2] ^= 1
	}
	return value
}

// envelope says how a message is put together.
type envelope struct {
	content []byte
	signers []signing
	// certificates are there besides those of the signers.
	certificates   [][]byte
	noCertificates bool // of the signers
	contentType    encodingasn1.ObjectIdentifier
	digests        [][]byte // nil: all that are known
	detached       bool
	// octets writes the content; nil for one plain string.
	octets func([]byte) []byte
	// wrap writes the constructed elements around the content; nil for tlv.
	wrap     func(byte, ...[]byte) []byte
	trailing []byte // inside the outermost element
}

func (e envelope) der(t testing.TB) []byte {
	t.Helper()
	if e.wrap == nil {
		e.wrap = tlv
	}
	if e.octets == nil {
		e.octets = func(b []byte) []byte { return tlv(0x04, b) }
	}
	if e.contentType == nil {
		e.contentType = oidData
	}
	var infos []byte
	for _, s := range e.signers {
		infos = append(infos, s.info(t, e.content)...)
		if !e.noCertificates {
			e.certificates = append(e.certificates, s.by.cert.Raw)
		}
	}
	if e.digests == nil {
		for _, h := range hashes {
			e.digests = append(e.digests, algorithmID(h.id, asn1Null))
		}
	}
	content := e.wrap(0xa0, e.octets(e.content))
	if e.detached {
		content = nil
	}
	return e.wrap(0x30, oid(oidSignedData), e.wrap(0xa0, e.wrap(0x30,
		one, tlv(0x31, e.digests...),
		e.wrap(0x30, oid(e.contentType), content),
		tlv(0xa0, e.certificates...),
		tlv(0x31, infos))), e.trailing)
}

func armoured(label string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}))
}
