package s3

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Version is one version of an object.
type Version struct {
	// ID is the version id; "null" when the bucket keeps no versions.
	ID string
	// ETag is without quote marks.
	ETag     string
	Size     int64
	Modified time.Time
	// Headers are those that GetObject returns as they were put, such as Content-Type and X-Amz-Meta-*.
	Headers map[string]string
	// Checksums are the additional checksums by header name, in base64.
	Checksums map[string]string
	// ChecksumType is FULL_OBJECT or COMPOSITE.
	ChecksumType string
	// Parts are the sizes of the parts of a multipart upload.
	Parts   []int64
	deleted bool
	file    string
}

type bucket struct {
	created   time.Time
	versioned bool
	objects   map[string][]*Version // newest last
}

type upload struct {
	bucket, key string
	headers     map[string]string
	algorithm   string
	kind        string
	started     time.Time
	parts       map[int]*Version
}

// store keeps the names in memory and the bytes in files.
type store struct {
	dir     string
	mu      sync.Mutex
	last    int
	buckets map[string]*bucket
	uploads map[string]*upload
}

func newStore(dir string) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the directory of objects: %w", err)
	}
	return &store{dir: dir, buckets: map[string]*bucket{}, uploads: map[string]*upload{}}, nil
}

// create opens a new file for data on its way in.
func (s *store) create() (*os.File, error) {
	s.mu.Lock()
	s.last++
	name := filepath.Join(s.dir, strconv.Itoa(s.last))
	s.mu.Unlock()
	return os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

func (s *store) makeBucket(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[name] != nil {
		return errBucketOwned
	}
	s.buckets[name] = &bucket{created: time.Now(), objects: map[string][]*Version{}}
	return nil
}

func (s *store) removeBucket(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[name]
	if b == nil {
		return errNoBucket
	}
	if len(b.objects) > 0 {
		return errBucketNotEmpty
	}
	delete(s.buckets, name)
	return nil
}

func (s *store) setVersioning(name string, on bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[name]
	if b == nil {
		return errNoBucket
	}
	b.versioned = on
	return nil
}

// view calls look with the bucket under the lock.
func (s *store) view(name string, look func(*bucket)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[name]
	if b == nil {
		return errNoBucket
	}
	look(b)
	return nil
}

// bucketNames returns the names in order with the time of making.
func (s *store) bucketNames() ([]string, map[string]time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	times := map[string]time.Time{}
	for name, b := range s.buckets {
		times[name] = b.created
	}
	return slices.Sorted(maps.Keys(times)), times
}

// put makes v the newest version of the object.
func (s *store) put(bucketName, key string, v *Version) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[bucketName]
	if b == nil {
		return errNoBucket
	}
	v.Modified = time.Now()
	old := b.objects[key]
	if b.versioned {
		s.last++
		v.ID = fmt.Sprintf("v%031d", s.last)
		b.objects[key] = append(old, v)
		return nil
	}
	v.ID = "null"
	b.objects[key] = append(slices.DeleteFunc(old, func(o *Version) bool {
		if o.ID == "null" {
			o.discard()
		}
		return o.ID == "null"
	}), v)
	return nil
}

// get returns a version; an empty id means the newest.
func (s *store) get(bucketName, key, id string) (*Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[bucketName]
	if b == nil {
		return nil, errNoBucket
	}
	versions := b.objects[key]
	if len(versions) == 0 {
		return nil, errNoKey
	}
	v := versions[len(versions)-1]
	if id != "" {
		i := slices.IndexFunc(versions, func(v *Version) bool { return v.ID == id })
		if i < 0 {
			return nil, errNoVersion
		}
		v = versions[i]
	}
	if v.deleted {
		return nil, errNoKey
	}
	return v, nil
}

// remove deletes a version for good, or, without an id in a versioned bucket, puts a marker on top.
func (s *store) remove(bucketName, key, id string) (*Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[bucketName]
	if b == nil {
		return nil, errNoBucket
	}
	if id == "" && b.versioned {
		s.last++
		marker := &Version{ID: fmt.Sprintf("v%031d", s.last), Modified: time.Now(), deleted: true}
		b.objects[key] = append(b.objects[key], marker)
		return marker, nil
	}
	id = cmp.Or(id, "null")
	left := slices.DeleteFunc(b.objects[key], func(v *Version) bool {
		if v.ID == id {
			v.discard()
		}
		return v.ID == id
	})
	b.objects[key] = left
	if len(left) == 0 {
		delete(b.objects, key)
	}
	return nil, nil
}

// listed is one line of a listing.
type listed struct {
	key     string
	version *Version
	latest  bool
}

// list returns the objects in the order of their keys; all versions, newest first, when asked.
func (s *store) list(bucketName, prefix string, all bool) ([]listed, error) {
	var out []listed
	err := s.view(bucketName, func(b *bucket) {
		for _, key := range slices.Sorted(maps.Keys(b.objects)) {
			if !strings.HasPrefix(key, prefix) {
				continue
			}
			versions := b.objects[key]
			for i, v := range slices.Backward(versions) {
				latest := i == len(versions)-1
				if all || latest && !v.deleted {
					out = append(out, listed{key, v, latest})
				}
			}
		}
	})
	return out, err
}

// alter replaces the newest version by a copy whose last byte differs.
func (s *store) alter(bucketName, key string) error {
	v, err := s.get(bucketName, key, "")
	if err != nil {
		return err
	}
	in, err := os.Open(v.file)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := s.create()
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	if v.Size > 0 {
		last := make([]byte, 1)
		if _, err := out.ReadAt(last, v.Size-1); err != nil {
			return err
		}
		if _, err := out.WriteAt([]byte{last[0] ^ 1}, v.Size-1); err != nil {
			return err
		}
	}
	return s.put(bucketName, key, &Version{ETag: strings.Repeat("c", 31) + v.ETag[:1], Size: v.Size, Headers: v.Headers, file: out.Name()})
}

// discard removes the bytes; a reader that has them open goes on reading.
func (v *Version) discard() {
	if v.file != "" {
		_ = os.Remove(v.file)
	}
}
