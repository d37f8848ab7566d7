package inflate

import "math/bits"

// An entry of a decoding table is what a look-up with the next bits gives:
//
//	bits 0-5    how many bits it uses up, extra bits included
//	bits 8-11   how many of them are the code itself
//	bit 13      isBad: no symbol has this code, or none that means anything
//	bit 14      isTable: the code is longer; the rest of it is looked up in the table that starts at the value,
//	            with as many bits as bits 8-11 say
//	bit 15      isSpecial: neither a literal nor a base, but one of the two above or the end of the block
//	bits 16-30  the value: a byte, the base of a length or distance, the start of a table
//	bit 31      isLiteral
const (
	isBad     = 1 << 13
	isTable   = 1 << 14
	isSpecial = 1 << 15
	isLiteral = 1 << 31

	valueShift = 16
	codeShift  = 8
)

const (
	litLenBits   = 11
	distanceBits = 8
	lengthBits   = 7

	litLenMask   = 1<<litLenBits - 1
	distanceMask = 1<<distanceBits - 1
	lengthMask   = 1<<lengthBits - 1

	// The largest tables that codes of at most 15 bits for 288 and 32 symbols can need (zlib's examples/enough.c).
	litLenEnough   = 2342
	distanceEnough = 402

	maxLitLen   = 286
	maxDistance = 30
	maxCode     = 15
)

// What the symbols mean, as entries without the bits of their codes.
var (
	litLenSymbols   = makeLitLenSymbols()
	distanceSymbols = makeDistanceSymbols()
	lengthSymbols   = makeLengthSymbols()
)

const endOfBlock = 256

func makeLitLenSymbols() (s [288]uint32) {
	for i := range 256 {
		s[i] = isLiteral | uint32(i)<<valueShift
	}
	s[endOfBlock] = isSpecial
	base := uint32(3)
	for i := range uint32(28) {
		extra := uint32(0)
		if i >= 8 {
			extra = i/4 - 1
		}
		s[257+i] = base<<valueShift | extra
		base += 1 << extra
	}
	s[285] = longest << valueShift
	s[286], s[287] = isSpecial|isBad, isSpecial|isBad
	return s
}

func makeDistanceSymbols() (s [32]uint32) {
	base := uint32(1)
	for i := range uint32(maxDistance) {
		extra := uint32(0)
		if i >= 4 {
			extra = i/2 - 1
		}
		s[i] = base<<valueShift | extra
		base += 1 << extra
	}
	s[30], s[31] = isSpecial|isBad, isSpecial|isBad
	return s
}

func makeLengthSymbols() (s [19]uint32) {
	for i := range s {
		s[i] = uint32(i) << valueShift
	}
	return s
}

// build makes the decoding table of a code that gives symbol i lengths[i] bits, 0 for none. Codes longer than the table
// has bits go on in tables behind it. It tells whether it is a code: every sequence of bits must mean something, but for
// a code of one symbol with one bit and for one without symbols.
func build(table []uint32, tableBits int, lengths []uint8, symbols []uint32) bool {
	var count [maxCode + 1]int
	for _, n := range lengths {
		count[n]++
	}
	used := len(lengths) - count[0]
	count[0] = 0
	space := 1
	var first [maxCode + 2]int // of the symbols with so many bits, among the sorted ones
	for n := 1; n <= maxCode; n++ {
		space = space<<1 - count[n]
		if space < 0 {
			return false
		}
		first[n+1] = first[n] + count[n]
	}
	if space > 0 && used > 0 && !(used == 1 && count[1] == 1) {
		return false
	}

	var sorted [288]uint16
	at := first
	for i, n := range lengths {
		if n > 0 {
			sorted[at[n]] = uint16(i)
			at[n]++
		}
	}
	fill(table, tableBits, &count, sorted[:used], symbols)
	return true
}

// fill enters the codes from short to long. A table for codes of n bits, written twice, is one for n+1 bits.
func fill(table []uint32, tableBits int, count *[maxCode + 1]int, sorted []uint16, symbols []uint32) {
	table[0] = entry(isSpecial|isBad, 1)
	code, size := 0, 1
	for n := 1; n <= tableBits; n++ {
		copy(table[size:2*size], table[:size])
		size *= 2
		code <<= 1
		for _, s := range sorted[:count[n]] {
			table[reversed(code, n)] = entry(symbols[s], n)
			code++
		}
		sorted = sorted[count[n]:]
	}

	open, start, subBits := -1, 0, 0
	for n := tableBits + 1; n <= maxCode; n++ {
		code <<= 1
		for k, s := range sorted[:count[n]] {
			turned := reversed(code, n)
			if prefix := turned & (1<<tableBits - 1); prefix != open {
				open, start = prefix, size
				subBits = tableFor(count, n, count[n]-k, tableBits)
				size += 1 << subBits
				table[prefix] = uint32(start)<<valueShift | isSpecial | isTable | uint32(subBits)<<codeShift | uint32(tableBits)
			}
			for i := turned >> tableBits; i < 1<<subBits; i += 1 << (n - tableBits) {
				table[start+i] = entry(symbols[s], n-tableBits)
			}
			code++
		}
		sorted = sorted[count[n]:]
	}
}

// tableFor returns how many bits the table has to have that begins with a code of n bits, of which so many are left.
func tableFor(count *[maxCode + 1]int, n, left, tableBits int) int {
	for bits := n - tableBits; ; bits++ {
		if left >= 1<<bits || tableBits+bits == maxCode {
			return bits
		}
		left = left<<1 + count[tableBits+bits+1]
	}
}

func reversed(code, n int) int { return int(bits.Reverse16(uint16(code)) >> (16 - n)) }

func entry(symbol uint32, n int) uint32 { return symbol + uint32(n)<<codeShift + uint32(n) }

func (z *Reader) useFixedCodes() {
	if z.fixed {
		return
	}
	var lengths [288]uint8
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		default:
			lengths[i] = 8
		}
	}
	build(z.litLen[:], litLenBits, lengths[:], litLenSymbols[:])
	for i := range 32 {
		lengths[i] = 5
	}
	build(z.distance[:], distanceBits, lengths[:32], distanceSymbols[:])
	z.fixed = true
}

// lengthOrder is the order in which the lengths of the codes for lengths are written.
var lengthOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// readCodes reads the codes that a block brings.
func (z *Reader) readCodes() error {
	head, err := z.take(14)
	if err != nil {
		return err
	}
	litLens, distances, lengths := head&31+257, head>>5&31+1, head>>10+4
	if litLens > maxLitLen || distances > maxDistance {
		return damaged("a block has more codes than there are symbols")
	}
	var of [19]uint8
	for _, i := range lengthOrder[:lengths] {
		n, err := z.take(3)
		if err != nil {
			return err
		}
		of[i] = uint8(n)
	}
	z.fixed = false
	var table [1 << lengthBits]uint32
	if !build(table[:], lengthBits, of[:], lengthSymbols[:]) {
		return damaged("the codes of a block's code lengths are none")
	}
	all := z.lengths[:litLens+distances]
	if err := z.readLengths(all, &table); err != nil {
		return err
	}
	if !build(z.litLen[:], litLenBits, all[:litLens], litLenSymbols[:]) ||
		!build(z.distance[:], distanceBits, all[litLens:], distanceSymbols[:]) {
		return damaged("the codes of a block are none")
	}
	return nil
}

func (z *Reader) readLengths(all []uint8, table *[1 << lengthBits]uint32) error {
	for i := 0; i < len(all); {
		z.need(lengthBits)
		e := table[z.bits&lengthMask]
		if e&isSpecial != 0 {
			return z.bad(e)
		}
		if err := z.drop(uint(e & 63)); err != nil {
			return err
		}
		symbol := e >> valueShift
		if symbol < 16 {
			all[i] = uint8(symbol)
			i++
			continue
		}
		value, base, extra := uint8(0), 3, uint(3)
		switch symbol {
		case 16:
			if i == 0 {
				return damaged("the first code length repeats another one")
			}
			value, extra = all[i-1], 2
		case 18:
			base, extra = 11, 7
		}
		more, err := z.take(extra)
		if err != nil {
			return err
		}
		if base+more > len(all)-i {
			return damaged("there are more code lengths than symbols")
		}
		for range base + more {
			all[i] = value
			i++
		}
	}
	return nil
}

// bad is the error for an entry that means nothing. At the end of the input its bits were just not all there.
func (z *Reader) bad(e uint32) error {
	if z.n < uint(e&63) {
		return z.end
	}
	return damaged("bits stand for no symbol")
}
