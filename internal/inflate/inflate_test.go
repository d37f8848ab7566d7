package inflate

import (
	"bufio"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

// samples are contents of which each brings something else: literals only, short and long matches, far ones, runs.
func samples() map[string][]byte {
	random := rand.NewChaCha8([32]byte{7})
	r := rand.New(random)
	bytesOf := func(n int) []byte {
		b := make([]byte, n)
		_, _ = random.Read(b)
		return b
	}
	var words bytes.Buffer
	for words.Len() < 700_000 {
		fmt.Fprintf(&words, "%x ", r.IntN(1<<(4+r.IntN(20))))
	}
	skewed := make([]byte, 300_000) // codes of up to 15 bits
	for i := range skewed {
		for skewed[i] = 0; r.IntN(2) == 0 && skewed[i] < 60; skewed[i]++ {
		}
	}
	block := bytesOf(32 << 10)
	return map[string][]byte{
		"nothing":       nil,
		"one byte":      {1},
		"zeros":         make([]byte, 1_000_000),
		"random":        bytesOf(400_000),
		"words":         words.Bytes(),
		"skewed":        skewed,
		"far matches":   bytes.Repeat(block, 20),
		"short periods": []byte(strings.Repeat("ab", 40_000) + strings.Repeat("abc", 40_000) + strings.Repeat("abcdefg", 40_000)),
		"text":          []byte(strings.Repeat("The quick brown fox jumps over the lazy dog. ", 3)),
	}
}

func deflated(t testing.TB, content []byte, level int) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err == nil {
		_, err = w.Write(content)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var levels = []int{flate.HuffmanOnly, flate.NoCompression, flate.BestSpeed, 6, flate.BestCompression}

func TestEveryContentComesBack(t *testing.T) {
	z := new(Reader) // one for all: nothing of a stream may show in the next one
	for name, content := range samples() {
		for _, level := range levels {
			packed := deflated(t, content, level)
			sources := map[string]func(){
				"bytes":         func() { z.ResetBytes(packed) },
				"a reader":      func() { z.Reset(bufio.NewReader(bytes.NewReader(packed))) },
				"single bytes":  func() { z.Reset(bufio.NewReaderSize(iotest.OneByteReader(bytes.NewReader(packed)), 16)) },
				"half a buffer": func() { z.Reset(bufio.NewReaderSize(iotest.HalfReader(bytes.NewReader(packed)), 512)) },
			}
			for how, reset := range sources {
				reset()
				got, err := io.ReadAll(z)
				if err != nil || !bytes.Equal(got, content) {
					t.Errorf("%s, level %d, from %s: %d of %d bytes, %v", name, level, how, len(got), len(content), err)
				}
				if _, err := z.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("%s, level %d, from %s: after the end: %v", name, level, how, err)
				}
			}
		}
	}
}

func TestTheSourceStandsBehindTheStream(t *testing.T) {
	const tail = "what follows"
	for name, content := range samples() {
		for _, level := range levels {
			src := bufio.NewReaderSize(iotest.HalfReader(strings.NewReader(string(deflated(t, content, level))+tail)), 64)
			z := new(Reader)
			z.Reset(src)
			if _, err := io.Copy(io.Discard, z); err != nil {
				t.Fatal(err)
			}
			if rest, err := io.ReadAll(src); err != nil || string(rest) != tail {
				t.Errorf("%s, level %d: %q follows, %v", name, level, rest, err)
			}
		}
	}
}

func TestACutStreamEndsTooEarly(t *testing.T) {
	z := new(Reader)
	for name, content := range samples() {
		packed := deflated(t, content[:min(len(content), 5000)], 6)
		for n := range packed {
			z.ResetBytes(packed[:n])
			if _, err := io.Copy(io.Discard, z); err != io.ErrUnexpectedEOF {
				t.Fatalf("%s, %d of %d bytes: %v", name, n, len(packed), err)
			}
		}
	}
}

func TestAnErrorOfTheSourceIsPassedOn(t *testing.T) {
	packed := deflated(t, samples()["words"], 6)
	broken := errors.New("broken")
	for _, n := range []int{0, 1, 100, len(packed) / 2} {
		z := new(Reader)
		z.Reset(bufio.NewReader(io.MultiReader(bytes.NewReader(packed[:n]), iotest.ErrReader(broken))))
		if _, err := io.Copy(io.Discard, z); err != broken {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

// The streams are written bit by bit, lowest first.
func TestDamageIsNamed(t *testing.T) {
	for bits, want := range map[string]string{
		"1 11": "no block of type 3",
		"1 00 00000 1000000000000000 0000000000000000": "stored block",
		"1 10 11000110":                              "stand for no symbol", // 286 in the fixed code
		"1 10 0000001 00000":                         "before the data",
		"1 10 00110000 0000001 11110":                "stand for no symbol", // distance 30
		"1 01 11111 00000 0000":                      "more codes than there are symbols",
		"1 01 00000 11111 0000":                      "more codes than there are symbols",
		"1 01 00000 00000 0000 100 100 100 100":      "code lengths",
		"1 01 00000 00000 0000 100 000 000 000 0 00": "repeats",
		"1 01 00000 00000 0000 000 100 100 000 11111111 11111111 11111111": "more code lengths",
	} {
		var packed []byte
		n := 0
		for _, c := range strings.ReplaceAll(bits, " ", "") {
			if n%8 == 0 {
				packed = append(packed, 0)
			}
			packed[n/8] |= byte(c-'0') << (n % 8)
			n++
		}
		for _, more := range []int{32, 1} { // the second time the end is near
			packed := append(packed, make([]byte, more)...)
			z := new(Reader)
			z.ResetBytes(packed)
			_, err := io.Copy(io.Discard, z)
			var e *DamagedError
			if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s and %d bytes: %v", bits, more, err)
			}
		}
		if _, err := io.Copy(io.Discard, flate.NewReader(bytes.NewReader(packed))); err == nil {
			t.Errorf("%s: the standard library accepts it", bits)
		}
	}
}

// FuzzLikeTheStandardLibrary demands the same bytes and the same verdict, from whole input and from pieces.
func FuzzLikeTheStandardLibrary(f *testing.F) {
	for _, content := range samples() {
		for _, level := range levels {
			f.Add(deflated(f, content[:min(len(content), 3000)], level), uint16(100))
		}
	}
	z := new(Reader)
	f.Fuzz(func(t *testing.T, packed []byte, piece uint16) {
		const most = 4 << 20
		plain := bytes.NewReader(packed)
		want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(plain), most))
		z.ResetBytes(packed)
		got, err := io.ReadAll(io.LimitReader(z, most))
		same(t, "from memory", got, err, want, wantErr)

		src := bufio.NewReaderSize(bytes.NewReader(packed), 16+int(piece))
		z.Reset(src)
		got, err = io.ReadAll(io.LimitReader(z, most))
		same(t, "from a reader", got, err, want, wantErr)
		if wantErr == nil && len(want) < most {
			rest, _ := io.ReadAll(src)
			if len(rest) != plain.Len() {
				t.Errorf("%d bytes follow, not %d", len(rest), plain.Len())
			}
		}
	})
}

func same(t *testing.T, how string, got []byte, err error, want []byte, wantErr error) {
	t.Helper()
	if (err == nil) != (wantErr == nil) { // which of two faults is seen first may differ
		t.Fatalf("%s: %v, the standard library says %v", how, err, wantErr)
	}
	if err == nil && !bytes.Equal(got, want) || !bytes.HasPrefix(got, want) && !bytes.HasPrefix(want, got) {
		t.Fatalf("%s: other bytes than the standard library's", how)
	}
}
