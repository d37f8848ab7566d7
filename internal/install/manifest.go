package install

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"codedeploy-agent/internal/state"
)

// manifest is our own record of an Install, beside the ones of 1.x: which command it was, and what a 1.x cleanup list
// cannot say. It speaks about one list only, the one with its digest; after a 1.x agent has written another, it is
// silent.
type manifest struct {
	Version    int    `json:"version"`
	Deployment string `json:"deployment"`
	Token      string `json:"token"`
	// Cleanup is the SHA-256 of the cleanup list that this manifest belongs to.
	Cleanup string `json:"cleanup"`
	// Unlisted are paths that a list of lines cannot hold: with a newline, bytes that are no UTF-8, blanks at an edge.
	Unlisted []string `json:"unlisted,omitempty"`
	// Inherited are directories that an earlier deployment made and this one found in use: they go when they are empty
	// and not needed.
	Inherited []string `json:"inherited,omitempty"`
}

const manifestVersion = 1

func manifestFile(g state.Group) string { return g.File("-manifest.json") }

// Done tells whether the Install that the token names was committed. It answers truly once Recover has run.
func Done(g state.Group, token string) (bool, error) {
	if token == "" {
		return false, nil
	}
	m, err := readManifest(g)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return m.Token == token, nil
}

func readManifest(g state.Group) (manifest, error) {
	b, err := os.ReadFile(manifestFile(g))
	if err != nil {
		return manifest{}, fmt.Errorf("cannot read the record of the last Install: %w", err)
	}
	m, err := parseManifest(b)
	if err != nil {
		return manifest{}, fmt.Errorf("cannot read the record of the last Install %q: %w", manifestFile(g), err)
	}
	return m, nil
}

func parseManifest(b []byte) (manifest, error) {
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return manifest{}, err
	}
	var err error
	if m.Unlisted, err = decodePaths(m.Unlisted); err != nil {
		return manifest{}, err
	}
	if m.Inherited, err = decodePaths(m.Inherited); err != nil {
		return manifest{}, err
	}
	return m, nil
}

func (m manifest) encode() ([]byte, error) {
	m.Version = manifestVersion
	m.Unlisted = encodePaths(m.Unlisted)
	m.Inherited = encodePaths(m.Inherited)
	return json.Marshal(m)
}

// encodePaths writes paths as percent-encoded ones: JSON cannot hold bytes that are no UTF-8.
func encodePaths(paths []string) []string {
	var out []string
	for _, p := range paths {
		out = append(out, (&url.URL{Path: p}).EscapedPath())
	}
	return out
}

func decodePaths(encoded []string) ([]string, error) {
	var out []string
	for _, e := range encoded {
		p, err := url.PathUnescape(e)
		if err != nil {
			return nil, err
		}
		abs, ok := absolute(p)
		if !ok || abs != p || abs == "/" || strings.ContainsRune(p, 0) {
			return nil, fmt.Errorf("%q is not the path of an installed file", p)
		}
		out = append(out, p)
	}
	return out, nil
}

func newDigest() hash.Hash { return sha256.New() }

func digestText(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }
