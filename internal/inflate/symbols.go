package inflate

import "encoding/binary"

// symbols decompresses from a block with codes, until it ends or the output is full.
func (z *Reader) symbols() error {
	for z.w <= outLimit {
		ended, err := z.fast()
		if err == nil && !ended && z.w <= outLimit {
			ended, err = z.careful()
		}
		if err != nil {
			return err
		}
		if ended {
			z.next = (*Reader).block
			return nil
		}
	}
	return nil
}

// careful decodes one symbol. It uses up bits only where it knows that they are there.
func (z *Reader) careful() (ended bool, err error) {
	z.need(48) // a length and a distance with all their bits
	e, err := z.look(z.litLen[:], litLenBits)
	switch {
	case err != nil:
		return false, err
	case e&isLiteral != 0:
		z.out[z.w] = byte(e >> valueShift)
		z.w++
		return false, z.drop(uint(e & 63))
	case e&isSpecial != 0:
		return true, z.drop(uint(e & 63))
	}
	length, err := z.value(e)
	if err != nil {
		return false, err
	}
	if e, err = z.look(z.distance[:], distanceBits); err != nil {
		return false, err
	}
	distance, err := z.value(e)
	if err != nil {
		return false, err
	}
	if distance > z.w {
		return false, errTooFar
	}
	for range length {
		z.out[z.w] = z.out[z.w-distance]
		z.w++
	}
	return false, nil
}

var errTooFar = damaged("a match begins before the data")

// look finds the entry for the next bits, those of a first table used up.
func (z *Reader) look(table []uint32, bits uint) (uint32, error) {
	e := table[z.bits&(1<<bits-1)]
	if e&isTable != 0 {
		if err := z.drop(bits); err != nil {
			return 0, err
		}
		e = table[uint64(e>>valueShift)+z.bits&(1<<(e>>codeShift&15)-1)]
	}
	if e&isBad != 0 {
		return 0, z.bad(e)
	}
	return e, nil
}

// value uses up an entry and returns its base plus its extra bits.
func (z *Reader) value(e uint32) (int, error) {
	v := int(e>>valueShift) + int(z.bits&(1<<(e&63)-1)>>(e>>codeShift&15))
	return v, z.drop(uint(e & 63))
}

// periods are the smallest multiples of short distances that are not shorter than a word: what repeats every three bytes
// repeats every nine.
var periods = [word]uint8{1: 8, 2: 8, 3: 9, 4: 8, 5: 10, 6: 12, 7: 14}

// fast decodes while input and output have room to spare for a whole round. The word holds 56 bits or more at the
// beginning of a round, and before a distance. It is one long function because calls would cost more than the work.
func (z *Reader) fast() (ended bool, err error) {
	in, out := z.in, &z.out
	pos, w, bits, n := z.pos, z.w, z.bits, z.n
	litLen, distance := &z.litLen, &z.distance
	for last := len(in) - inSpare; pos <= last && w <= outLimit; {
		bits |= binary.LittleEndian.Uint64(in[pos:]) << (n & 63)
		pos += int((63 - n) >> 3)
		n |= 56

		e := litLen[bits&litLenMask]
		if e&isLiteral != 0 {
			bits >>= e & 63
			n -= uint(e & 63)
			out[w] = byte(e >> valueShift)
			w++
			if e = litLen[bits&litLenMask]; e&isLiteral != 0 {
				bits >>= e & 63
				n -= uint(e & 63)
				out[w] = byte(e >> valueShift)
				w++
				if e = litLen[bits&litLenMask]; e&isLiteral != 0 {
					bits >>= e & 63
					n -= uint(e & 63)
					out[w] = byte(e >> valueShift)
					w++
					continue
				}
			}
		}
		if e&isSpecial != 0 {
			if e&isTable != 0 {
				bits >>= litLenBits
				n -= litLenBits
				e = litLen[uint64(e>>valueShift)+bits&(1<<(e>>codeShift&15)-1)]
			}
			if e&isLiteral != 0 {
				bits >>= e & 63
				n -= uint(e & 63)
				out[w] = byte(e >> valueShift)
				w++
				continue
			}
			if e&isSpecial != 0 {
				bits >>= e & 63
				n -= uint(e & 63)
				if ended = e&isBad == 0; !ended {
					err = damaged("bits stand for no symbol")
				}
				break
			}
		}
		length := int(e>>valueShift) + int(bits&(1<<(e&63)-1)>>(e>>codeShift&15))
		bits >>= e & 63
		n -= uint(e & 63)

		bits |= binary.LittleEndian.Uint64(in[pos:]) << (n & 63)
		pos += int((63 - n) >> 3)
		n |= 56
		e = distance[bits&distanceMask]
		if e&isSpecial != 0 {
			if e&isTable != 0 {
				bits >>= distanceBits
				n -= distanceBits
				e = distance[uint64(e>>valueShift)+bits&(1<<(e>>codeShift&15)-1)]
			}
			if e&isSpecial != 0 {
				err = damaged("bits stand for no symbol")
				break
			}
		}
		back := int(e>>valueShift) + int(bits&(1<<(e&63)-1)>>(e>>codeShift&15))
		bits >>= e & 63
		n -= uint(e & 63)
		from, end := w-back, w+length
		if from < 0 {
			err = errTooFar
			break
		}
		switch {
		case length > 4*word: // what is there already twice as often with each turn
			for w < end {
				w += copy(out[w:end], out[from:w])
			}
		case back == 1:
			for v := uint64(out[from]) * 0x0101010101010101; w < end; w += word {
				binary.LittleEndian.PutUint64(out[w:w+word], v)
			}
		default:
			if back < word {
				for i := range word {
					out[w+i] = out[from+i]
				}
				w += word
				from = w - int(periods[back])
			}
			for ; w < end; w, from = w+word, from+word {
				binary.LittleEndian.PutUint64(out[w:w+word], binary.LittleEndian.Uint64(out[from:from+word]))
			}
		}
		w = end
	}
	z.pos, z.w, z.bits, z.n = pos, w, bits&(1<<n-1), n
	return ended, err
}
