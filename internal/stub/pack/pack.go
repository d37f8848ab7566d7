// Package pack turns a directory into a bundle: zip, tar or tgz.
package pack

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Types are the kinds of bundles.
var Types = []string{"zip", "tar", "tgz"}

// File returns an archive for a directory or an archive, its type, and a function that removes what was made.
func File(ctx context.Context, path, bundleType string) (file, kind string, clean func(), err error) {
	clean = func() {}
	fail := func(err error) (string, string, func(), error) {
		return "", "", clean, fmt.Errorf("cannot pack %q: %w", path, err)
	}
	if bundleType != "" && !slices.Contains(Types, bundleType) {
		return fail(fmt.Errorf("no such bundle type %q; use zip, tar or tgz", bundleType))
	}
	info, err := os.Stat(path)
	if err != nil {
		return fail(unwrap(err))
	}
	if !info.IsDir() {
		if bundleType == "" {
			bundleType = typeOf(path)
		}
		if bundleType == "" {
			return fail(fmt.Errorf("its name does not tell the type; give it, zip, tar or tgz"))
		}
		return path, bundleType, clean, nil
	}
	if bundleType == "" {
		bundleType = "zip"
	}
	f, err := os.CreateTemp("", "bundle-")
	if err != nil {
		return fail(err)
	}
	remove := func() { _ = os.Remove(f.Name()) }
	err = Directory(ctx, f, path, bundleType)
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		remove()
		return fail(err)
	}
	return f.Name(), bundleType, remove, nil
}

func typeOf(name string) string {
	for suffix, kind := range map[string]string{".zip": "zip", ".tar": "tar", ".tgz": "tgz", ".tar.gz": "tgz"} {
		if strings.HasSuffix(name, suffix) {
			return kind
		}
	}
	return ""
}

// Directory writes the content of a directory as an archive. Links stay links; modes and times are kept.
func Directory(ctx context.Context, w io.Writer, dir, bundleType string) error {
	switch bundleType {
	case "zip":
		z := zip.NewWriter(w)
		if err := walk(ctx, dir, zipper{z}.add); err != nil {
			return err
		}
		return z.Close()
	case "tgz":
		g := gzip.NewWriter(w)
		if err := Directory(ctx, g, dir, "tar"); err != nil {
			return err
		}
		return g.Close()
	}
	t := tar.NewWriter(w)
	if err := walk(ctx, dir, tarrer{t}.add); err != nil {
		return err
	}
	return t.Close()
}

// member is one thing in the directory.
type member struct {
	name, path, link string
	info             fs.FileInfo
}

func walk(ctx context.Context, dir string, add func(member) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		m := member{path: path, info: info}
		if m.name, err = filepath.Rel(dir, path); err != nil {
			return err
		}
		switch info.Mode().Type() {
		case 0, fs.ModeDir:
		case fs.ModeSymlink:
			if m.link, err = os.Readlink(path); err != nil {
				return err
			}
		default:
			return nil // sockets and the like are no part of a bundle
		}
		return add(m)
	})
}

type zipper struct{ *zip.Writer }

func (z zipper) add(m member) error {
	h, err := zip.FileInfoHeader(m.info)
	if err != nil {
		return err
	}
	h.Name, h.Method = m.name, zip.Deflate
	if m.info.IsDir() {
		h.Name += "/"
	}
	w, err := z.CreateHeader(h)
	if err != nil {
		return err
	}
	if m.link != "" {
		_, err = io.WriteString(w, m.link)
		return err
	}
	return m.copyTo(w)
}

type tarrer struct{ *tar.Writer }

func (t tarrer) add(m member) error {
	h, err := tar.FileInfoHeader(m.info, m.link)
	if err != nil {
		return err
	}
	h.Name = m.name
	if m.info.IsDir() {
		h.Name += "/"
	}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	return m.copyTo(t)
}

func (m member) copyTo(w io.Writer) error {
	if !m.info.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(m.path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, err = io.Copy(w, f)
	return err
}

// unwrap drops the path that the message names already.
func unwrap(err error) error {
	if p, ok := err.(*fs.PathError); ok {
		return p.Err
	}
	return err
}
