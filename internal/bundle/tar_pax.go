package bundle

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// tarPax holds the records of extension headers. Those of a global header stay for all members that follow.
type tarPax struct {
	values  map[string]string
	extents []tarExtent // of sparse format 0.0, which repeats its keys
}

var errTarPax = errors.New("an extension header makes no sense")

// parse reads the records "LENGTH KEY=VALUE\n". Unknown keys say things that 1.x did not look at either.
func (p *tarPax) parse(data []byte) error {
	var off int64
	for len(data) > 0 {
		sp := bytes.IndexByte(data, ' ')
		if sp <= 0 || sp > 10 {
			if isZero(data) {
				return nil
			}
			return errTarPax
		}
		n, err := strconv.Atoi(string(data[:sp]))
		if err != nil || n <= sp+2 || n > len(data) || data[n-1] != '\n' {
			return errTarPax
		}
		key, value, ok := strings.Cut(string(data[sp+1:n-1]), "=")
		if !ok {
			return errTarPax
		}
		data = data[n:]
		switch key {
		case "GNU.sparse.offset":
			off, err = strconv.ParseInt(value, 10, 64)
		case "GNU.sparse.numbytes":
			var n int64
			n, err = strconv.ParseInt(value, 10, 64)
			p.extents = append(p.extents, tarExtent{off, n})
		case "path", "linkpath", "size", "uid", "gid", "uname", "gname", "mtime",
			"GNU.sparse.name", "GNU.sparse.size", "GNU.sparse.realsize", "GNU.sparse.major", "GNU.sparse.minor",
			"GNU.sparse.map", "GNU.sparse.numblocks":
			if p.values == nil {
				p.values = make(map[string]string)
			}
			p.values[key] = value
		}
		if err != nil || len(p.extents) > tarExtentLimit {
			return errTarPax
		}
	}
	return nil
}

func (p *tarPax) clear() {
	clear(p.values)
	p.extents = nil
}

// number is a record's value; without the record, or with an empty one, old stays.
func (p *tarPax) number(key string, old int64, err *error) int64 {
	v := p.values[key]
	if v == "" {
		return old
	}
	n, e := strconv.ParseInt(v, 10, 64)
	if e != nil {
		*err = errTarPax
	}
	return n
}

// apply puts the records over what the header block says.
func (p *tarPax) apply(h *tarHeader) error {
	if len(p.values) == 0 && p.extents == nil {
		return nil
	}
	var err error
	text := func(key string, old *string) {
		if v, ok := p.values[key]; ok {
			*old = v
		}
	}
	text("path", &h.name)
	text("linkpath", &h.link)
	text("uname", &h.uname)
	text("gname", &h.gname)
	h.size = p.number("size", h.size, &err)
	h.uid = p.number("uid", h.uid, &err)
	h.gid = p.number("gid", h.gid, &err)
	if v := p.values["mtime"]; v != "" {
		if h.mtime, err = paxTime(v, err); err != nil {
			return err
		}
	}
	if h.size < 0 {
		err = errTarPax
	}
	if err != nil {
		return err
	}
	return p.applySparse(h)
}

// applySparse understands GNU's three ways of writing sparse files in this format.
func (p *tarPax) applySparse(h *tarHeader) error {
	var err error
	v1 := p.values["GNU.sparse.major"] == "1" && p.values["GNU.sparse.minor"] == "0"
	v0 := p.values["GNU.sparse.map"] != "" || p.extents != nil || p.values["GNU.sparse.numblocks"] != ""
	if !v1 && !v0 {
		return nil
	}
	h.isSparse, h.mapAhead = true, v1
	if name := p.values["GNU.sparse.name"]; name != "" {
		h.name = name
	}
	h.realSize = p.number("GNU.sparse.size", h.size, &err)
	h.realSize = p.number("GNU.sparse.realsize", h.realSize, &err)
	if err != nil || h.realSize < 0 {
		return errTarPax
	}
	if v1 {
		return nil
	}
	h.sparse = p.extents
	if list := p.values["GNU.sparse.map"]; list != "" {
		h.sparse, err = parseTarMap(list)
	}
	return err
}

func parseTarMap(list string) ([]tarExtent, error) {
	var extents []tarExtent
	for list != "" {
		var off, n string
		off, list, _ = strings.Cut(list, ",")
		n, list, _ = strings.Cut(list, ",")
		o, err1 := strconv.ParseInt(off, 10, 64)
		l, err2 := strconv.ParseInt(n, 10, 64)
		if err1 != nil || err2 != nil || len(extents) >= tarExtentLimit {
			return nil, errTarPax
		}
		extents = append(extents, tarExtent{o, l})
	}
	return extents, nil
}

// paxTime reads seconds with a fraction, which may be negative.
func paxTime(v string, err error) (unix.Timespec, error) {
	if err != nil {
		return unix.Timespec{}, err
	}
	whole, fraction, _ := strings.Cut(v, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return unix.Timespec{}, errTarPax
	}
	fraction = (fraction + "000000000")[:9]
	nsec, err := strconv.ParseUint(fraction, 10, 32)
	if err != nil {
		return unix.Timespec{}, errTarPax
	}
	if strings.HasPrefix(whole, "-") && nsec > 0 {
		return unix.Timespec{Sec: sec - 1, Nsec: int64(1e9 - nsec)}, nil
	}
	return unix.Timespec{Sec: sec, Nsec: int64(nsec)}, nil
}
