package deployspec

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	encodingasn1 "encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// The algorithms that are supported. A signature algorithm that names no hash goes with the signer's digest.
var (
	hashes = []struct {
		id   encodingasn1.ObjectIdentifier
		hash crypto.Hash
	}{
		{encodingasn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}, crypto.SHA1},
		{encodingasn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, crypto.SHA256},
		{encodingasn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}, crypto.SHA384},
		{encodingasn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}, crypto.SHA512},
	}
	signatures = []struct {
		id     encodingasn1.ObjectIdentifier
		scheme scheme
		hash   crypto.Hash // 0: not named
	}{
		{encodingasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, schemeRSA, 0},
		{encodingasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 5}, schemeRSA, crypto.SHA1},
		{encodingasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, schemeRSA, crypto.SHA256},
		{encodingasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 12}, schemeRSA, crypto.SHA384},
		{encodingasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 13}, schemeRSA, crypto.SHA512},
		{encodingasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}, schemePSS, 0},
		{encodingasn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}, schemeECDSA, 0},
		{encodingasn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}, schemeECDSA, crypto.SHA1},
		{encodingasn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}, schemeECDSA, crypto.SHA256},
		{encodingasn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}, schemeECDSA, crypto.SHA384},
		{encodingasn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}, schemeECDSA, crypto.SHA512},
	}
	oidMGF1 = encodingasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 8}
)

type scheme int

const (
	schemeRSA scheme = iota // PKCS #1 v1.5
	schemePSS
	schemeECDSA
)

var errSignature = errors.New("its signature is wrong; it was changed after signing or signed with another key")

func hashOf(id encodingasn1.ObjectIdentifier) (crypto.Hash, bool) {
	for _, h := range hashes {
		if h.id.Equal(id) {
			return h.hash, true
		}
	}
	return 0, false
}

// checkSignature verifies one signature over the signed bytes. The algorithm it names must go with the signer's
// digest and with the kind of key.
func checkSignature(key any, hash crypto.Hash, a algorithm, signed, value []byte) error {
	for _, s := range signatures {
		if !s.id.Equal(a.id) {
			continue
		}
		if s.hash != 0 && s.hash != hash {
			return errors.New("its signature algorithm does not go with its digest algorithm")
		}
		h := hash.New()
		h.Write(signed)
		return s.scheme.verify(key, hash, a.parameters, h.Sum(nil), value)
	}
	return fmt.Errorf("its signature algorithm %s is not supported", a.id)
}

func (s scheme) verify(key any, hash crypto.Hash, parameters cryptobyte.String, digest, value []byte) error {
	switch key := key.(type) {
	case *rsa.PublicKey:
		switch s {
		case schemeRSA:
			return orWrong(rsa.VerifyPKCS1v15(key, hash, digest, value) == nil)
		case schemePSS:
			salt, err := readPSS(parameters, hash)
			if err != nil {
				return err
			}
			return orWrong(rsa.VerifyPSS(key, hash, digest, value, &rsa.PSSOptions{SaltLength: salt, Hash: hash}) == nil)
		}
	case *ecdsa.PublicKey:
		if s == schemeECDSA {
			return orWrong(ecdsa.VerifyASN1(key, digest, value))
		}
	}
	return errors.New("its signature algorithm does not go with its signer's key")
}

func orWrong(good bool) error {
	if !good {
		return errSignature
	}
	return nil
}

// readPSS reads the parameters of RSASSA-PSS (RFC 4055, 3.1) and returns the length of the salt. Both hashes must be the
// signer's digest.
func readPSS(parameters cryptobyte.String, hash crypto.Hash) (salt int, err error) {
	var (
		bad                               = errors.New("the parameters of its signature do not go with its digest algorithm")
		seq, field                        cryptobyte.String
		hasHash, hasMask, hasSalt, hasEnd bool
		digest, mask                      = crypto.SHA1, crypto.SHA1
	)
	if !parameters.ReadASN1(&seq, asn1.SEQUENCE) || !parameters.Empty() || !seq.ReadOptionalASN1(&field, &hasHash, tagContext0) {
		return 0, bad
	}
	if hasHash {
		a, ok := readAlgorithm(&field)
		if digest, _ = hashOf(a.id); !ok {
			return 0, bad
		}
	}
	if !seq.ReadOptionalASN1(&field, &hasMask, tagContext1) {
		return 0, bad
	}
	if hasMask {
		a, ok := readAlgorithm(&field)
		if !ok || !a.id.Equal(oidMGF1) {
			return 0, bad
		}
		inner, ok := readAlgorithm(&a.parameters)
		if mask, _ = hashOf(inner.id); !ok {
			return 0, bad
		}
	}
	salt = 20
	if !seq.ReadOptionalASN1(&field, &hasSalt, asn1.Tag(2).ContextSpecific().Constructed()) ||
		hasSalt && !field.ReadASN1Integer(&salt) ||
		!seq.ReadOptionalASN1(&field, &hasEnd, asn1.Tag(3).ContextSpecific().Constructed()) || !seq.Empty() ||
		salt < 0 || salt > 512 || digest != hash || mask != hash {
		return 0, bad
	}
	if salt == 0 {
		return 0, bad // the library would read zero as "any length"
	}
	return salt, nil
}
