package s3

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// The methods in this file are for the program that holds the server; they need no signature.

// MakeBucket makes a bucket, or leaves the one that is there, and says whether it keeps versions.
func (s *Server) MakeBucket(name string, versioned bool) error {
	if !bucketName.MatchString(name) {
		return fmt.Errorf("cannot make bucket %q: the name is not valid", name)
	}
	if err := s.store.makeBucket(name); err != nil && !errors.Is(err, errBucketOwned) {
		return fmt.Errorf("cannot make bucket %q: %w", name, err)
	}
	return s.store.setVersioning(name, versioned)
}

// Put stores an object in a bucket that exists.
func (s *Server) Put(bucketName, key string, content io.Reader) (Version, error) {
	fail := func(err error) (Version, error) {
		return Version{}, fmt.Errorf("cannot put %q into bucket %q: %w", key, bucketName, err)
	}
	f, err := s.store.create()
	if err != nil {
		return fail(err)
	}
	tag, sum := md5.New(), hashes["CRC64NVME"]()
	n, err := io.Copy(io.MultiWriter(f, tag, sum), content)
	v := &Version{Size: n, ETag: hex.EncodeToString(tag.Sum(nil)), ChecksumType: "FULL_OBJECT", file: f.Name()}
	v.Checksums = map[string]string{checksumHeader("CRC64NVME"): base64.StdEncoding.EncodeToString(sum.Sum(nil))}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = s.store.put(bucketName, key, v)
	}
	if err != nil {
		v.discard()
		return fail(err)
	}
	return *v, nil
}

// Remove deletes the newest version of an object.
func (s *Server) Remove(bucketName, key string) error {
	_, err := s.store.remove(bucketName, key, "")
	return err
}
