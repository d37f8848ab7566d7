package bundle

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"hash/crc32"
	"io"
	"testing"
)

// gzipWith makes a gzip member whose head has all the fields that there are.
func gzipWith(t testing.TB, content string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Name, w.Comment, w.Extra = "web.tar", "a comment", []byte("extra")
	_, err := w.Write([]byte(content))
	must(t, err)
	must(t, w.Close())
	packed := b.Bytes()
	packed[3] |= gzipHeadSum
	end := 10 + 2 + len(w.Extra) + len(w.Name) + 1 + len(w.Comment) + 1
	sum := binary.LittleEndian.AppendUint16(nil, uint16(crc32.ChecksumIEEE(packed[:end])))
	return append(append(packed[:end:end], sum...), packed[end:]...)
}

func gunzip(packed []byte, warn func(string, ...any)) ([]byte, error) {
	g, err := newGzipStream(bufio.NewReader(bytes.NewReader(packed)), warn)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(g)
}

func TestGzipMembersFollowOneAnother(t *testing.T) {
	packed := append(gzipWith(t, "one, "), append(gzipWith(t, ""), gzipWith(t, "two")...)...)
	for tail, wantWarning := range map[string]bool{"": false, "\x00\x00\x00": false, "garbage": true, "\x1f": true} {
		warned := false
		got, err := gunzip(append(packed, tail...), func(string, ...any) { warned = true })
		if err != nil || string(got) != "one, two" || warned != wantWarning {
			t.Errorf("with %q behind it: %q, %v, warned: %t", tail, got, err, warned)
		}
	}
}

// What the standard library makes of a spoiled member is what we make of it.
func TestSpoiledGzip(t *testing.T) {
	packed := gzipWith(t, "content that is long enough, long enough, long enough")
	for i := range packed {
		if got, err := gunzip(packed[:i], nil); err == nil {
			t.Fatalf("%d of %d bytes gave %q", i, len(packed), got)
		}
		for bit := range 8 {
			spoiled := bytes.Clone(packed)
			spoiled[i] ^= 1 << bit
			got, err := gunzip(spoiled, nil)
			var want []byte
			r, wantErr := gzip.NewReader(bytes.NewReader(spoiled))
			if wantErr == nil {
				want, wantErr = io.ReadAll(r)
			}
			if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
				t.Errorf("byte %d, bit %d: %v, the standard library says %v", i, bit, err, wantErr)
			}
		}
	}
}

func TestAGzipNameThatNeverEndsIsRefusedAtOnce(t *testing.T) {
	head := []byte{0x1f, 0x8b, gzipDeflate, gzipName, 0, 0, 0, 0, 0, 0}
	g, err := newGzipStream(bufio.NewReaderSize(io.MultiReader(bytes.NewReader(head), endless('x')), 4096), nil)
	if err != errGzipHead {
		t.Errorf("%v, %v", g, err)
	}
}

// endless is a reader that gives one byte for ever.
type endless byte

func (e endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(e)
	}
	return len(p), nil
}
