package cms

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"sync"
	"time"
)

// NewSigner makes an RSA key of 2048 bits and a certificate for it, issued by an authority of its own.
func NewSigner() (*Signer, error) {
	s := &Signer{}
	if err := s.generate(); err != nil {
		return nil, fmt.Errorf("cannot make a signer: %w", err)
	}
	return s, nil
}

func (s *Signer) generate() (err error) {
	if s.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return err
	}
	s.foreign = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	authority := template("codedeploy-stub test authority")
	authority.IsCA = true
	authority.KeyUsage = x509.KeyUsageCertSign
	if s.authority, err = issue(authority, authority, &authorityKey.PublicKey, authorityKey); err != nil {
		return err
	}
	leaf := template("codedeploy-stub specification signer")
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	s.certificate, err = issue(leaf, s.authority, &s.key.PublicKey, authorityKey)
	return err
}

// Authority returns the certificate, in PEM, of the authority that issued the signer's certificate.
func (s *Signer) Authority() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.authority.Raw})
}

func template(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		BasicConstraintsValid: true,
	}
}

func issue(child, parent *x509.Certificate, public, signer any) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, child, parent, public, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
