// Package inflate decompresses DEFLATE data (RFC 1951), about twice as fast as the standard library.
//
// Three things make it so: the bits wait in one 64-bit word that is filled eight bytes at a time, one look-up in a table
// gives a symbol with its base value and the number of its bits, and as long as input and output have room to spare
// nothing is checked for each symbol but that. What is near an end goes a slower way, symbol by symbol.
//
// It accepts and refuses what compress/flate does; a fuzz target holds it to that. There is no unsafe code in it.
package inflate

import (
	"bufio"
	"io"
)

const (
	history  = 32 << 10 // how far back a match may lie
	longest  = 258      // the longest match
	word     = 8        // matches are copied by words, so up to a word too far
	outSize  = 5 * history
	outLimit = outSize - longest - word - 3 // a round of the fast way writes at most this much more
	inSpare  = 2 * word                     // and takes in at most this much
)

// DamagedError says what is wrong with data that is not DEFLATE.
type DamagedError struct{ reason string }

func (e *DamagedError) Error() string { return "the compressed data is damaged: " + e.reason }

func damaged(reason string) error { return &DamagedError{reason} }

// Reader decompresses one stream after another. The zero value has to be Reset.
type Reader struct {
	src *bufio.Reader // nil when in is all there is
	in  []byte        // what src has buffered
	pos int           // the next byte of in that is not in bits
	end error         // why there is no more input

	bits uint64 // the next bits, lowest first
	n    uint   // how many of them count; those above are 0 outside of the fast way

	out   [outSize]byte
	w     int // written
	given int // handed to the caller

	next  func(*Reader) error // what comes next in the stream
	last  bool                // the block is the last one
	plain int                 // bytes left of a stored block
	err   error

	fixed    bool // the tables are those of the fixed codes
	litLen   [litLenEnough]uint32
	distance [distanceEnough]uint32
	lengths  [maxLitLen + maxDistance]uint8
}

// Reset begins with a stream from src, which afterwards stands right behind it.
func (z *Reader) Reset(src *bufio.Reader) {
	z.src, z.in = src, nil
	z.begin()
}

// ResetBytes begins with a stream that lies in memory. What follows it is ignored.
func (z *Reader) ResetBytes(in []byte) {
	z.src, z.in = nil, in
	z.begin()
}

func (z *Reader) begin() {
	z.pos, z.end, z.bits, z.n, z.w, z.given, z.last, z.err = 0, nil, 0, 0, 0, 0, false, nil
	z.next = (*Reader).block
}

// Read implements io.Reader. Errors are io.EOF, io.ErrUnexpectedEOF, *DamagedError, and what the source returns.
func (z *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for z.given == z.w {
		if z.err != nil {
			return 0, z.err
		}
		if z.w > outLimit {
			copy(z.out[:history], z.out[z.w-history:z.w])
			z.w, z.given = history, history
		}
		if z.err = z.next(z); z.err != nil {
			z.handBack()
		}
	}
	n := copy(p, z.out[z.given:z.w])
	z.given += n
	return n, nil
}

// handBack lets the source stand behind the last byte that was used.
func (z *Reader) handBack() {
	z.pos -= int(z.n / 8)
	z.n %= 8
	z.bits &= 1<<z.n - 1
	if z.src != nil {
		_, _ = z.src.Discard(z.pos)
		z.in, z.pos = nil, 0
	}
}

// more brings input beyond what the word holds already; false at its end.
func (z *Reader) more() bool {
	if z.end != nil {
		return false
	}
	if z.src == nil {
		z.end = io.ErrUnexpectedEOF
		return false
	}
	held := int(z.n / 8) // taken back, so that it is in the new window again
	z.handBack()
	if _, err := z.src.Peek(held + 1); err != nil {
		z.end = err
		if err == io.EOF {
			z.end = io.ErrUnexpectedEOF
		}
	}
	z.in, _ = z.src.Peek(z.src.Buffered())
	return len(z.in) > 0
}

// need fills the word with so many bits, at most 56, or with as many as there are.
func (z *Reader) need(n uint) {
	for z.n < n && (z.pos < len(z.in) || z.more()) {
		z.bits |= uint64(z.in[z.pos]) << z.n
		z.pos++
		z.n += 8
	}
}

// drop uses up so many bits.
func (z *Reader) drop(n uint) error {
	if n > z.n {
		return z.end
	}
	z.bits >>= n
	z.n -= n
	return nil
}

// take uses up so many bits and returns them.
func (z *Reader) take(n uint) (int, error) {
	z.need(n)
	v := int(z.bits & (1<<n - 1))
	return v, z.drop(n)
}

// block begins the next block.
func (z *Reader) block() error {
	if z.last {
		return io.EOF
	}
	head, err := z.take(3)
	if err != nil {
		return err
	}
	z.last = head&1 != 0
	switch head >> 1 {
	case 0:
		return z.storedHead()
	case 1:
		z.useFixedCodes()
	case 2:
		if err := z.readCodes(); err != nil {
			return err
		}
	default:
		return damaged("there is no block of type 3")
	}
	z.next = (*Reader).symbols
	return nil
}

func (z *Reader) storedHead() error {
	if err := z.drop(z.n % 8); err != nil {
		return err
	}
	size, err := z.take(16)
	if err != nil {
		return err
	}
	check, err := z.take(16)
	if err != nil {
		return err
	}
	if size != check^0xffff {
		return damaged("the length of a stored block contradicts its complement")
	}
	z.plain, z.next = size, (*Reader).stored
	return nil
}

// stored copies from a stored block what is at hand.
func (z *Reader) stored() error {
	if z.plain == 0 {
		z.next = (*Reader).block
		return nil
	}
	z.pos -= int(z.n / 8)
	z.n, z.bits = 0, 0
	if z.pos == len(z.in) && !z.more() {
		return z.end
	}
	n := copy(z.out[z.w:min(outSize, z.w+z.plain)], z.in[z.pos:])
	z.pos += n
	z.w += n
	z.plain -= n
	return nil
}
