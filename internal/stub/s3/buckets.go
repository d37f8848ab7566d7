package s3

import (
	"cmp"
	"encoding/xml"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

const namespace = "http://s3.amazonaws.com/doc/2006-03-01/"

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func (s *Server) listBuckets(c *call) error {
	type item struct{ Name, CreationDate string }
	names, times := s.store.bucketNames()
	out := struct {
		XMLName xml.Name `xml:"ListAllMyBucketsResult"`
		Xmlns   string   `xml:"xmlns,attr"`
		Owner   struct{ ID, DisplayName string }
		Buckets struct{ Bucket []item }
	}{Xmlns: namespace}
	out.Owner.ID = "codedeploy-stub"
	for _, name := range names {
		out.Buckets.Bucket = append(out.Buckets.Bucket, item{name, timestamp(times[name])})
	}
	return writeXML(c.w, out)
}

func (s *Server) createBucket(c *call) error {
	if !bucketName.MatchString(c.bucket) {
		return refusal(http.StatusBadRequest, "InvalidBucketName", "The specified bucket is not valid.")
	}
	if err := s.store.makeBucket(c.bucket); err != nil {
		return err
	}
	c.w.Header().Set("Location", "/"+c.bucket)
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Server) headBucket(c *call) error {
	if err := s.store.view(c.bucket, func(*bucket) {}); err != nil {
		return err
	}
	c.w.Header().Set("X-Amz-Bucket-Region", s.Verify.Region)
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Server) deleteBucket(c *call) error {
	if err := s.store.removeBucket(c.bucket); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) bucketLocation(c *call) error {
	if err := s.store.view(c.bucket, func(*bucket) {}); err != nil {
		return err
	}
	location := s.Verify.Region
	if location == "us-east-1" {
		location = "" // how S3 says it
	}
	return writeXML(c.w, struct {
		XMLName xml.Name `xml:"LocationConstraint"`
		Xmlns   string   `xml:"xmlns,attr"`
		Name    string   `xml:",chardata"`
	}{Xmlns: namespace, Name: location})
}

type versioningXML struct {
	XMLName xml.Name `xml:"VersioningConfiguration"`
	Status  string   `xml:",omitempty"`
}

func (s *Server) getVersioning(c *call) error {
	var out versioningXML
	if err := s.store.view(c.bucket, func(b *bucket) {
		if b.versioned {
			out.Status = "Enabled"
		}
	}); err != nil {
		return err
	}
	return writeXML(c.w, out)
}

func (s *Server) putVersioning(c *call) error {
	var in versioningXML
	if err := c.readXML(&in); err != nil {
		return err
	}
	if err := s.store.setVersioning(c.bucket, in.Status == "Enabled"); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusOK)
	return nil
}

type objectXML struct {
	Key               string
	VersionId         string `xml:",omitempty"`
	IsLatest          string `xml:",omitempty"`
	LastModified      string
	ETag              string `xml:",omitempty"`
	Size              int64
	StorageClass      string `xml:",omitempty"`
	ChecksumAlgorithm string `xml:",omitempty"`
}

type prefixXML struct{ Prefix string }

type listXML struct {
	XMLName               xml.Name
	Xmlns                 string `xml:"xmlns,attr"`
	Name, Prefix          string
	Delimiter             string `xml:",omitempty"`
	MaxKeys               int
	KeyCount              *int `xml:",omitempty"`
	IsTruncated           bool
	EncodingType          string `xml:",omitempty"`
	NextContinuationToken string `xml:",omitempty"`
	NextMarker            string `xml:",omitempty"`
	Contents              []objectXML
	Version               []objectXML
	DeleteMarker          []objectXML
	CommonPrefixes        []prefixXML
}

// listObjects serves both generations of the listing and that of versions.
func (s *Server) listObjects(c *call) error {
	prefix, delimiter := c.query.Get("prefix"), c.query.Get("delimiter")
	versions := c.operation == "ListObjectVersions"
	items, err := s.store.list(c.bucket, prefix, versions)
	if err != nil {
		return err
	}
	limit, err := strconv.Atoi(cmp.Or(c.query.Get("max-keys"), "1000"))
	if err != nil || limit < 0 {
		return refusal(http.StatusBadRequest, "InvalidArgument", "max-keys must be a number")
	}
	out := listXML{Xmlns: namespace, Name: c.bucket, Prefix: prefix, Delimiter: delimiter, MaxKeys: limit, EncodingType: c.query.Get("encoding-type")}
	out.XMLName.Local = "ListBucketResult"
	if versions {
		out.XMLName.Local = "ListVersionsResult"
	}
	after := cmp.Or(c.query.Get("continuation-token"), c.query.Get("start-after"), c.query.Get("marker"), c.query.Get("key-marker"))
	out.fill(items, prefix, delimiter, after, limit, versions)
	if c.operation == "ListObjectsV2" {
		n := len(out.Contents) + len(out.CommonPrefixes)
		out.KeyCount = &n
		out.NextMarker = ""
	} else {
		out.NextContinuationToken = ""
	}
	if out.EncodingType == "url" {
		out.encodeKeys()
	}
	return writeXML(c.w, out)
}

func (l *listXML) fill(items []listed, prefix, delimiter, after string, limit int, versions bool) {
	last := ""
	for n, it := range items {
		if after != "" && it.key <= after || strings.HasSuffix(after, delimiter) && delimiter != "" && strings.HasPrefix(it.key, after) {
			continue
		}
		group := ""
		if delimiter != "" {
			if i := strings.Index(it.key[len(prefix):], delimiter); i >= 0 {
				group = it.key[:len(prefix)+i+len(delimiter)]
			}
		}
		if group != "" && group == last {
			continue
		}
		if len(l.Contents)+len(l.CommonPrefixes)+len(l.Version)+len(l.DeleteMarker) >= limit && (!versions || n > 0 && items[n-1].key != it.key) {
			l.IsTruncated, l.NextContinuationToken, l.NextMarker = true, last, last
			return
		}
		if group != "" {
			l.CommonPrefixes = append(l.CommonPrefixes, prefixXML{group})
			last = group
			continue
		}
		last = it.key
		l.add(it, versions)
	}
}

func (l *listXML) add(it listed, versions bool) {
	o := objectXML{Key: it.key, LastModified: timestamp(it.version.Modified), ETag: quote(it.version.ETag), Size: it.version.Size, StorageClass: "STANDARD"}
	if !versions {
		l.Contents = append(l.Contents, o)
		return
	}
	o.VersionId, o.IsLatest = it.version.ID, strconv.FormatBool(it.latest)
	if it.version.deleted {
		o.ETag, o.StorageClass = "", ""
		l.DeleteMarker = append(l.DeleteMarker, o)
		return
	}
	l.Version = append(l.Version, o)
}

// encodeKeys writes names so that XML can carry any of them.
func (l *listXML) encodeKeys() {
	l.Prefix, l.Delimiter = escape(l.Prefix), escape(l.Delimiter)
	l.NextMarker = escape(l.NextMarker)
	for _, list := range [][]objectXML{l.Contents, l.Version, l.DeleteMarker} {
		for i := range list {
			list[i].Key = escape(list[i].Key)
		}
	}
	for i := range l.CommonPrefixes {
		l.CommonPrefixes[i].Prefix = escape(l.CommonPrefixes[i].Prefix)
	}
}
