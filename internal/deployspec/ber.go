package deployspec

import (
	"errors"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Signed messages come in BER, where lengths may be left open (indefinite) and a byte string may be cut into pieces,
// nested at will. The service does both. They are rewritten in DER's terms before anything looks at them; what is DER
// already stays as it is, byte for byte, so signatures inside still fit.

const (
	tagSequence    = 0x30
	tagSet         = 0x31
	tagOctets      = 0x04
	tagOctetsParts = 0x24

	bitConstructed = 0x20
	maskClass      = 0xc0
	maskNumber     = 0x1f

	// maxDepth is twice what a message with certificates needs.
	maxDepth = 40
)

var errBER = errors.New("its encoding is damaged")

// toDER rewrites the one element that starts the message and returns it with what follows.
func toDER(message []byte) (der, rest []byte, err error) { return element(message, 0) }

// element rewrites one element: tag, length, content.
func element(in []byte, depth int) (out, rest []byte, err error) {
	if depth > maxDepth {
		return nil, nil, errors.New("its encoding is nested too deeply")
	}
	if len(in) < 2 {
		return nil, nil, errBER
	}
	tag := in[0]
	if !knownTag(tag) {
		return nil, nil, errBER
	}
	length, open, body, ok := readLength(in[1:])
	if !ok {
		return nil, nil, errBER
	}
	if open {
		if tag&bitConstructed == 0 {
			return nil, nil, errBER
		}
		content, rest, err := elements(tag, body, true, depth)
		if err != nil {
			return nil, nil, err
		}
		return write(tag, content), rest, nil
	}
	if length > len(body) {
		return nil, nil, errBER
	}
	content, rest := body[:length], body[length:]
	if tag&bitConstructed != 0 {
		if content, _, err = elements(tag, content, false, depth); err != nil {
			return nil, nil, err
		}
	}
	return write(tag, content), rest, nil
}

// elements rewrites the members of a constructed element, up to the end of the input or, when the length was left
// open, to the end mark. The pieces of a byte string come back joined.
func elements(tag byte, in []byte, open bool, depth int) (content, rest []byte, err error) {
	for {
		switch {
		case open && len(in) >= 2 && in[0] == 0 && in[1] == 0:
			return content, in[2:], nil
		case len(in) == 0 && !open:
			return content, nil, nil
		}
		var member []byte
		if member, in, err = element(in, depth+1); err != nil {
			return nil, nil, err
		}
		if tag == tagOctetsParts {
			piece, ok := octets(member)
			if !ok {
				return nil, nil, errBER
			}
			member = piece
		}
		content = append(content, member...)
	}
}

// knownTag refuses what no signed message needs: long tags, end marks out of place, cut strings other than byte
// strings, and sequences and sets that are not constructed.
func knownTag(tag byte) bool {
	if tag&maskNumber == maskNumber {
		return false
	}
	if tag&maskClass != 0 {
		return true
	}
	switch tag {
	case 0, tagSequence &^ bitConstructed, tagSet &^ bitConstructed:
		return false
	}
	return tag&bitConstructed == 0 || tag == tagSequence || tag == tagSet || tag == tagOctetsParts
}

// readLength reads a length of at most four bytes; open means that it was left open.
func readLength(in []byte) (length int, open bool, rest []byte, ok bool) {
	first, in := in[0], in[1:]
	switch n := int(first & 0x7f); {
	case first < 0x80:
		return int(first), false, in, true
	case n == 0:
		return 0, true, in, true
	case n > 4 || n > len(in):
		return 0, false, nil, false
	default:
		var length uint32
		for _, b := range in[:n] {
			length = length<<8 | uint32(b)
		}
		// A length that does not fit an int32 is longer than any message.
		return int(length &^ (1 << 31)), false, in[n:], length < 1<<31
	}
}

func write(tag byte, content []byte) []byte {
	if tag == tagOctetsParts {
		tag = tagOctets
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.Tag(tag), func(b *cryptobyte.Builder) { b.AddBytes(content) })
	return b.BytesOrPanic()
}

func octets(der []byte) ([]byte, bool) {
	s := cryptobyte.String(der)
	var content cryptobyte.String
	return content, s.ReadASN1(&content, asn1.OCTET_STRING) && s.Empty()
}
