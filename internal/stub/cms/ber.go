package cms

import (
	"bytes"
	"slices"
)

const (
	tagInteger     = 0x02
	tagOctetString = 0x04
	tagNull        = 0x05
	tagSequence    = 0x30
	tagSet         = 0x31
	tagContext0    = 0xa0
	// constructed turns the tag of a string into that of a string cut into pieces.
	constructed = 0x20
)

// tlv writes one element of definite length.
func tlv(tag byte, contents ...[]byte) []byte {
	n := 0
	for _, c := range contents {
		n += len(c)
	}
	out := append([]byte{tag}, length(n)...)
	return append(out, bytes.Join(contents, nil)...)
}

// indefinite writes one constructed element whose end is marked instead of counted.
func indefinite(tag byte, contents ...[]byte) []byte {
	out := append([]byte{tag, 0x80}, bytes.Join(contents, nil)...)
	return append(out, 0, 0)
}

// length writes the shortest form of a definite length.
func length(n int) []byte {
	if n < 0x80 {
		return []byte{byte(n)}
	}
	var be []byte
	for ; n > 0; n >>= 8 {
		be = append(be, byte(n))
	}
	slices.Reverse(be)
	return append([]byte{0x80 | byte(len(be))}, be...)
}

// setOf writes a SET OF in the order that DER demands.
func setOf(tag byte, elements ...[]byte) []byte {
	slices.SortFunc(elements, bytes.Compare)
	return tlv(tag, elements...)
}
