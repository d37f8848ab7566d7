package bundle

import (
	"bytes"
	"errors"
	"math"

	"golang.org/x/sys/unix"
)

const tarBlock = 512

// tarHeader is one member as its header block and the extension headers before it describe it.
type tarHeader struct {
	name, link   string
	flag         byte
	mode         int64
	uid, gid     int64
	uname, gname string
	size         int64 // of the data in the stream
	mtime        unix.Timespec

	sparse   []tarExtent // nil for a file without holes
	realSize int64       // with its holes
	isSparse bool
	mapAhead bool // the map of holes stands at the beginning of the data
	mapMore  bool // the map of holes goes on in the next block
}

// tarExtent is a part of a sparse file that has data.
type tarExtent struct{ off, n int64 }

var (
	errTarChecksum = errors.New("the header's checksum is wrong")
	errTarNumber   = errors.New("a number in the header makes no sense")
)

func looksLikeTar(b []byte) bool {
	return len(b) == tarBlock && (isZero(b) || tarChecksumOK(b))
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// tarChecksumOK compares the header's sum; old programs summed signed bytes.
func tarChecksumOK(b []byte) bool {
	want, err := tarNumber(b[148:156])
	if err != nil {
		return false
	}
	sum := int64(8 * ' ') // the field itself counts as spaces
	for _, c := range b[:tarBlock] {
		sum += int64(c)
	}
	for _, c := range b[148:156] {
		sum -= int64(c)
	}
	if sum == want {
		return true
	}
	for i, c := range b[:tarBlock] {
		if c >= 0x80 && (i < 148 || i >= 156) {
			sum -= 256
		}
	}
	return sum == want
}

// parseTarHeader reads a header block into h, which keeps nothing of an earlier one.
func parseTarHeader(b []byte, h *tarHeader) error {
	if !tarChecksumOK(b) {
		return errTarChecksum
	}
	*h = tarHeader{name: tarText(b[:100]), link: tarText(b[157:257]), flag: b[156]}
	var err error
	number := func(field []byte) int64 {
		n, e := tarNumber(field)
		if e != nil {
			err = e
		}
		return n
	}
	h.mode = number(b[100:108])
	h.uid = number(b[108:116])
	h.gid = number(b[116:124])
	h.size = number(b[124:136])
	h.mtime.Sec = number(b[136:148])
	switch {
	case string(b[257:265]) == "ustar\x0000", string(b[257:263]) == "ustar\x00":
		h.uname, h.gname = tarText(b[265:297]), tarText(b[297:329])
		if prefix := tarText(b[345:500]); prefix != "" {
			h.name = prefix + "/" + h.name
		}
	case string(b[257:265]) == "ustar  \x00": // GNU
		h.uname, h.gname = tarText(b[265:297]), tarText(b[297:329])
		if h.flag == 'S' {
			h.isSparse = true
			h.realSize = number(b[483:495])
			h.mapMore = b[482] != 0
			h.sparse, err = appendTarExtents(h.sparse, b[386:482], err)
		}
	}
	if err == nil && (h.size < 0 || h.realSize < 0) {
		err = errTarNumber
	}
	return err
}

// tarText is a field up to its NUL.
func tarText(field []byte) string {
	if i := bytes.IndexByte(field, 0); i >= 0 {
		field = field[:i]
	}
	return string(field)
}

// tarNumber reads octal digits between spaces and NULs, or GNU's base-256 form.
func tarNumber(field []byte) (int64, error) {
	if field[0]&0x80 != 0 {
		return tarBinary(field)
	}
	for len(field) > 0 && (field[0] == ' ' || field[0] == 0) {
		field = field[1:]
	}
	var n int64
	for i, c := range field {
		if c == ' ' || c == 0 {
			break
		}
		if c < '0' || c > '7' || i > 20 {
			return 0, errTarNumber
		}
		n = n<<3 | int64(c-'0')
	}
	return n, nil
}

func tarBinary(field []byte) (int64, error) {
	negative := field[0]&0x40 != 0
	var n uint64
	for i, c := range field {
		if negative {
			c = ^c
		}
		if i == 0 {
			c &= 0x3f
		}
		if n > math.MaxInt64>>8 {
			return 0, errTarNumber
		}
		n = n<<8 | uint64(c)
	}
	if negative {
		return ^int64(n), nil
	}
	return int64(n), nil
}
