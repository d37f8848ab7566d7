package bundle

import (
	"errors"
	"io"
)

// sparseFile writes a file with holes.
func (t *tarReader) sparseFile(h *tarHeader, path string, meta fileMeta) error {
	data := h.size
	if h.mapAhead {
		n, err := t.sparseMap(h)
		if err != nil {
			return err
		}
		data -= n
	} else if h.flag == 'S' {
		if err := t.moreExtents(h); err != nil {
			return err
		}
	}
	if err := checkTarExtents(h, data); err != nil {
		return err
	}
	if err := t.meter.entry(h.realSize, data); err != nil {
		return err
	}
	f, err := t.placeFile(path, meta)
	if err != nil {
		return t.explain(h.name, data, err)
	}
	return t.pieces(h, f, h.sparse, h.realSize)
}

// moreExtents reads the blocks that continue the map of GNU's old format.
func (t *tarReader) moreExtents(h *tarHeader) error {
	for more := h.mapMore; more; {
		b, err := t.stream.block()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		if h.sparse, err = appendTarExtents(h.sparse, b[:504], nil); err != nil {
			return err
		}
		if len(h.sparse) > tarExtentLimit {
			return errors.New("a sparse file has too many parts")
		}
		more = b[504] != 0
	}
	return nil
}

// sparseMap reads the map at the beginning of the data: decimal numbers, one a line, padded to whole blocks. It
// returns how long the map is.
func (t *tarReader) sparseMap(h *tarHeader) (int64, error) {
	bad := errors.New("the map of holes of a sparse file makes no sense")
	var used, number int64
	left, digits := int64(1), 0 // the first number counts the pairs that follow
	var off int64
	for i := 0; left > 0; {
		b, err := t.stream.block()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
		if used += tarBlock; used > h.size {
			return 0, bad
		}
		for _, c := range b {
			if c != '\n' {
				if c < '0' || c > '9' || digits > 17 {
					return 0, bad
				}
				number, digits = number*10+int64(c-'0'), digits+1
				continue
			}
			if digits == 0 {
				return 0, bad
			}
			switch {
			case i == 0:
				if number > tarExtentLimit {
					return 0, bad
				}
				left += 2 * number
			case i%2 == 1:
				off = number
			default:
				h.sparse = append(h.sparse, tarExtent{off, number})
			}
			i, left, number, digits = i+1, left-1, 0, 0
			if left == 0 {
				break
			}
		}
	}
	return used, nil
}

// appendTarExtents reads the pairs of GNU's old sparse format; a pair of zero length ends them.
func appendTarExtents(extents []tarExtent, b []byte, err error) ([]tarExtent, error) {
	if err != nil {
		return extents, err
	}
	for ; len(b) >= 24; b = b[24:] {
		if b[0] == 0 && b[12] == 0 {
			break
		}
		off, err1 := tarNumber(b[:12])
		n, err2 := tarNumber(b[12:24])
		if err := errors.Join(err1, err2); err != nil {
			return extents, errTarNumber
		}
		extents = append(extents, tarExtent{off, n})
	}
	return extents, nil
}

// tarExtentLimit bounds the memory for the map of a sparse file: 4 MiB.
const tarExtentLimit = 1 << 18

// checkTarExtents demands that the parts of a sparse file follow one another within it and that the stream has
// exactly their data.
func checkTarExtents(h *tarHeader, data int64) error {
	var end, sum int64
	for _, e := range h.sparse {
		if e.off < end || e.n < 0 || e.n > h.realSize-e.off {
			return errors.New("the map of holes of a sparse file makes no sense")
		}
		end, sum = e.off+e.n, sum+e.n
	}
	if sum != data {
		return errors.New("the map of holes of a sparse file does not fit its data")
	}
	return nil
}
