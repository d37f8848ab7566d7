package network

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// systemBundles are where Linux distributions keep the authorities in one file, in the standard library's order. The standard library reads them, too,
// but not when SSL_CERT_FILE is set; here that variable adds to the system's authorities and never replaces them.
var systemBundles = []string{
	"/etc/ssl/certs/ca-certificates.crt",
	"/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/ca-bundle.pem",
	"/etc/pki/tls/cacert.pem",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
	"/etc/ssl/cert.pem",
}

// The variables that name further authorities, as files or directories, in the order of the documentation.
var authorityVariables = []string{"AWS_CA_BUNDLE", "AWS_SSL_CA_BUNDLE", "AWS_SSL_CA_DIRECTORY", "SSL_CERT_FILE"}

// authorities returns the system's authorities with those that the environment names; nil for the system's alone.
func authorities(getenv func(string) string) (*x509.CertPool, error) {
	var pool *x509.CertPool
	for _, name := range authorityVariables {
		path := getenv(name)
		if path == "" || path == systemBundle() {
			continue
		}
		if pool == nil {
			pool = systemAuthorities()
		}
		if err := add(pool, path); err != nil {
			return nil, fmt.Errorf("cannot use the certificates that %s names: %w", name, err)
		}
	}
	return pool, nil
}

func systemAuthorities() *x509.CertPool {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if bundle := systemBundle(); bundle != "" {
		_ = addFile(pool, bundle)
	}
	return pool
}

// systemBundle is the file with the authorities of this system, empty when there is none. Variables that name it add
// nothing, and reading it before it is needed would double the time that the agent takes to start.
func systemBundle() string {
	i := slices.IndexFunc(systemBundles, func(path string) bool {
		info, err := os.Stat(path)
		return err == nil && info.Mode().IsRegular() && info.Size() > 0
	})
	if i < 0 {
		return ""
	}
	return systemBundles[i]
}

// add reads a file of certificates in PEM, or the files *.pem, *.crt and *.cer of a directory.
func add(pool *x509.CertPool, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return addFile(pool, path)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.Contains([]string{".pem", ".crt", ".cer"}, strings.ToLower(filepath.Ext(e.Name()))) {
			continue
		}
		// One file that is none of ours, or a dangling link, does not spoil the directory.
		if err := addFile(pool, filepath.Join(path, e.Name())); err != nil && !errors.Is(err, errNone) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

var errNone = errors.New("there is no certificate in PEM form in it")

func addFile(pool *x509.CertPool, path string) error {
	pem, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%q: %w", path, errNone)
	}
	return nil
}
