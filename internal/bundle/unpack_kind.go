package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// archiveKind is what the content of a bundle is.
type archiveKind string

const (
	kindTar   archiveKind = "tar"
	kindGzip  archiveKind = "tgz"
	kindZstd  archiveKind = "tar.zst"
	kindBzip2 archiveKind = "tar.bz2"
	kindZip   archiveKind = "zip"
)

// archiveMarks are the first bytes of what people upload.
var archiveMarks = []struct {
	mark  string
	kind  archiveKind // empty: cannot be unpacked
	found string
}{
	{"\x1f\x8b", kindGzip, "compressed by gzip"},
	{"\x28\xb5\x2f\xfd", kindZstd, "compressed by zstd"},
	{"BZh", kindBzip2, "compressed by bzip2"},
	{"PK\x03\x04", kindZip, "a zip archive"},
	{"PK\x05\x06", kindZip, "an empty zip archive"},
	{"\xfd7zXZ\x00", "", "compressed by xz"},
	{"\x1f\x9d", "", "compressed by compress"},
	{"\x5d\x00\x00", "", "compressed by lzma"},
	{"LZIP", "", "compressed by lzip"},
	{"\x04\x22\x4d\x18", "", "compressed by lz4"},
	{"7z\xbc\xaf\x27\x1c", "", "a 7-Zip archive"},
	{"Rar!", "", "a RAR archive"},
	{"\xed\xab\xee\xdb", "", "an RPM package"},
	{"!<arch>\n", "", "a Debian package or an ar archive"},
	{"version:", "", "an AppSpec file, not an archive"},
	{"<?xml", "", "an XML document"},
	{"<!DOCTYPE", "", "a web page"},
	{"<html", "", "a web page"},
	{"{", "", "a JSON document"},
}

// kindOf looks at the content and tells how to unpack it as the declared type. A tar may be compressed in any way that
// we know, because GNU tar looks at the content, too; zip and tar are never taken for each other.
func kindOf(f *os.File, size int64, declared string) (archiveKind, error) {
	wanted := archiveKind(declared)
	if wanted != kindZip && wanted != kindGzip {
		wanted = kindTar // 1.x unpacks every unknown type as tar
	}
	if size == 0 {
		return "", &DamagedError{Kind: string(wanted), Reason: "it is empty"}
	}
	head := make([]byte, tarBlock)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("cannot read the bundle: %w", err)
	}
	head = head[:n]
	found, name := archiveKind(""), ""
	for _, m := range archiveMarks {
		if bytes.HasPrefix(head, []byte(m.mark)) {
			found, name = m.kind, m.found
			break
		}
	}
	if name == "" && looksLikeTar(head) {
		found, name = kindTar, "a tar archive"
	}
	switch {
	case wanted == kindZip && (found == kindZip || name == ""):
		return kindZip, nil // a self-extracting zip begins with anything
	case wanted != kindZip && found != "" && found != kindZip:
		return found, nil
	case name == "":
		return "", &DamagedError{Kind: string(wanted), Size: size, Reason: "its first bytes are not those of such an archive"}
	case found == kindZip:
		return "", &KindError{Declared: declared, Found: name, Next: `set the revision's bundle type to "zip"`}
	case found != "":
		return "", &KindError{Declared: declared, Found: name, Next: `set the revision's bundle type to "tar" or "tgz"`}
	}
	return "", &KindError{Declared: declared, Found: name, Next: "build the bundle as tar, tgz, tar.zst or zip"}
}
