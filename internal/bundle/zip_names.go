package bundle

import (
	"strings"
	"unicode/utf8"
)

// Systems that a zip archive may be made on, as far as it matters.
const (
	zipHostDOS   = 0
	zipHostUnix  = 3
	zipHostMacOS = 19
)

const (
	zipFlagEncrypted = 1 << 0
	zipFlagStrong    = 1 << 6
	zipFlagUTF8      = 1 << 11
	zipFlagMasked    = 1 << 13
)

func (e *zipEntry) unix() bool { return e.host == zipHostUnix || e.host == zipHostMacOS }

// memberName is the entry's name as a path. Names from Unix are the bytes that the builder had; others are in the
// code page of the first PC, unless they say or show that they are UTF-8.
func (e *zipEntry) memberName() (name string, backslashes bool) {
	name = string(e.name)
	if !e.unix() && e.flags&zipFlagUTF8 == 0 && !utf8.ValidString(name) {
		name = fromCP437(name)
	}
	if e.host == zipHostDOS && strings.IndexByte(name, '/') < 0 && strings.IndexByte(name, '\\') >= 0 {
		return strings.ReplaceAll(name, `\`, "/"), true // programs on Windows write them against the rules
	}
	return name, false
}

// cp437 is the upper half of the code page.
var cp437 = []rune("ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0")

func fromCP437(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < 0x80 {
			b.WriteByte(c)
		} else {
			b.WriteRune(cp437[c-0x80])
		}
	}
	return b.String()
}

// File types in a Unix mode.
const (
	modeType    = 0o170000
	modeFIFO    = 0o010000
	modeChar    = 0o020000
	modeDir     = 0o040000
	modeBlock   = 0o060000
	modeRegular = 0o100000
	modeLink    = 0o120000
	modeSocket  = 0o140000
)

// unixMode is the type and the permissions of an entry, as Info-ZIP's unzip gives them: setuid, setgid and sticky are
// dropped, and what comes from elsewhere gets what the DOS attributes allow.
func (e *zipEntry) unixMode(name string) uint32 {
	dir := strings.HasSuffix(name, "/")
	mode := e.external >> 16
	if e.unix() {
		if mode&modeType == 0 || dir {
			mode = mode&0o777 | modeRegular
		}
		if dir {
			mode = mode&0o777 | modeDir
		}
		return mode & (modeType | 0o777)
	}
	const readOnly, directory = 1, 16
	dir = dir || e.external&directory != 0
	switch {
	case dir && e.agrees(0o700):
		return mode&0o777 | modeDir
	case dir:
		return 0o755 | modeDir
	case e.agrees(0o600):
		return mode&0o777 | modeRegular
	case e.external&readOnly != 0:
		return 0o444 | modeRegular
	}
	return 0o644 | modeRegular
}

// agrees tells whether the upper half of the attributes, which DOS does not have, holds Unix permissions that say the
// same as the lower half.
func (e *zipEntry) agrees(want uint32) bool {
	if e.external&1 != 0 {
		want &^= 0o200
	}
	return e.external>>16&0o700 == want
}
