package bundle

import (
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strconv"
	"testing"

	"go.uber.org/zap"
)

func TestCRCsOfPartsMakeThatOfTheWhole(t *testing.T) {
	content := newFakeS3(t, 100_000).content
	for _, kind := range checksumKinds[:3] {
		whole := kind.crc.update(0, content)
		for _, cut := range []int{0, 1, 7, 4096, 65_537, len(content)} {
			a, b := kind.crc.update(0, content[:cut]), kind.crc.update(0, content[cut:])
			if got := kind.crc.combine(a, b, int64(len(content)-cut)); got != whole {
				t.Errorf("%s cut at %d: %x, want %x", kind.name, cut, got, whole)
			}
		}
		h := kind.newHash()
		h.Write(content)
		if got := binary.BigEndian.AppendUint64(nil, whole)[8-kind.size:]; string(got) != string(h.Sum(nil)) {
			t.Errorf("%s: the running sum is %x, the hash %x", kind.name, got, h.Sum(nil))
		}
	}
}

func TestCheckSumsOfTheServerAreVerified(t *testing.T) {
	for _, kind := range checksumKinds {
		for _, size := range []int{1000, 9 * mib} {
			t.Run(kind.name+" of "+strconv.Itoa(size), func(t *testing.T) {
				f := newFakeS3(t, size)
				h := kind.newHash()
				h.Write(f.content)
				sum := h.Sum(nil)
				want := base64.StdEncoding.EncodeToString(sum)
				f.headers = map[string]string{kind.header: want, "x-amz-checksum-type": "FULL_OBJECT"}
				d := f.fetch(t, testObject, FetchOptions{})
				d.whole(t, f.content)
				if d.info.Digest != kind.name+":"+want {
					t.Errorf("Info.Digest is %q, want %q of %s", d.info.Digest, want, kind.name)
				}

				sum[0] ^= 1
				f = newFakeS3(t, size) // the other one may still be answering a request that nobody needed
				f.headers = map[string]string{kind.header: base64.StdEncoding.EncodeToString(sum)}
				f.fetch(t, testObject, FetchOptions{}).failed(t, "its check sum is "+kind.name+":"+want, "but S3 has")
			})
		}
	}
}

func TestCompositeCheckSumsAreVerifiedWherePartsAreTold(t *testing.T) {
	const size = 9 * mib
	for _, c := range []struct {
		name string
		ends []int
		tell bool
	}{
		{"even parts", []int{4 * mib, 8 * mib, size}, true},
		{"one part", []int{size}, true},
		{"uneven parts", []int{2 * mib, 7 * mib, size}, true},
		{"not told", []int{4 * mib, 8 * mib, size}, false},
	} {
		for _, kind := range checksumKinds {
			t.Run(c.name+" "+kind.name, func(t *testing.T) {
				all, start := kind.newHash(), 0
				for _, end := range c.ends {
					h := kind.newHash()
					h.Write(randomContent(size)[start:end])
					all.Write(h.Sum(nil))
					start = end
				}
				value := func(sum []byte) string {
					return base64.StdEncoding.EncodeToString(sum) + "-" + strconv.Itoa(len(c.ends))
				}
				with := func(sum []byte) download {
					f := newFakeS3(t, size)
					f.headers = map[string]string{kind.header: value(sum)}
					if c.tell {
						f.spoil = f.tellParts(c.ends)
					}
					return f.fetch(t, testObject, FetchOptions{})
				}
				sum := all.Sum(nil)
				with(sum).whole(t, randomContent(size))

				sum[len(sum)-1] ^= 1
				if d := with(sum); c.tell {
					d.failed(t, "but S3 has "+kind.name)
				} else {
					d.whole(t, randomContent(size))
				}
			})
		}
	}
}

// tellParts answers requests for parts that end there.
func (f *fakeS3) tellParts(ends []int) func(http.ResponseWriter, *http.Request, int64) bool {
	return func(w http.ResponseWriter, r *http.Request, _ int64) bool {
		number, err := strconv.Atoi(r.URL.Query().Get("partNumber"))
		if err != nil {
			return false
		}
		from := 0
		if number > 1 {
			from = ends[number-2]
		}
		w.Header().Set("ETag", f.etag)
		w.Header().Set("Content-Range", "bytes "+strconv.Itoa(from)+"-"+strconv.Itoa(ends[number-1]-1)+"/"+strconv.Itoa(len(f.content)))
		w.WriteHeader(http.StatusPartialContent)
		f.send(w, f.content[from:ends[number-1]])
		return true
	}
}

func FuzzCombinedCRC(f *testing.F) {
	f.Add([]byte("a"), []byte("bc"), []byte(""))
	f.Add([]byte{}, []byte{0}, []byte{255, 255})
	f.Fuzz(func(t *testing.T, a, b, c []byte) {
		whole := append(append(append([]byte{}, a...), b...), c...)
		for _, kind := range checksumKinds[:3] {
			k := kind.crc
			got := k.combine(0, k.update(0, a), int64(len(a)))
			got = k.combine(got, k.update(0, b), int64(len(b)))
			got = k.combine(got, k.update(0, c), int64(len(c)))
			if want := k.update(0, whole); got != want {
				t.Errorf("%s: %x, want %x", kind.name, got, want)
			}
		}
	})
}

func FuzzChecksumHeader(f *testing.F) {
	for _, seed := range []string{"", "AAAAAA==", "AAAAAA==-3", "AAAAAA==-0", "AAAAAA==-10001", "AAAAAAAAAAA=", "-", "AAAAAA==-1-1", "AAAAAA==-+1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, kind := range checksumKinds {
			sum, parts, err := parseChecksum(text, kind.size)
			if err == nil && (len(sum) != kind.size || parts < 0 || parts > maxObjectParts) {
				t.Errorf("%q: %d bytes, %d parts", text, len(sum), parts)
			}
		}
		chooseChecksum(http.Header{"X-Amz-Checksum-Sha256": {text}}, zap.NewNop())
	})
}

func FuzzEvenParts(f *testing.F) {
	f.Add(int64(100), int64(10), 10)
	f.Add(int64(101), int64(10), 11)
	f.Add(int64(1), int64(1<<62), 1)
	f.Fuzz(func(t *testing.T, size, partSize int64, number int) {
		if number < 0 || number > maxObjectParts {
			return
		}
		ends, start := evenParts(size, partSize, number), int64(0)
		for i, end := range ends {
			if end <= start || end-start > partSize || (i < len(ends)-1 && end-start != partSize) {
				t.Errorf("part %d of %v is odd", i+1, ends)
			}
			start = end
		}
		if ends != nil && (start != size || len(ends) != number) {
			t.Errorf("evenParts(%d, %d, %d) = %v", size, partSize, number, ends)
		}
	})
}
