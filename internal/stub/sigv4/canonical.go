package sigv4

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// authorization is what a request says about its signature, from the header or from the query of a presigned address.
type authorization struct {
	accessKey, day, region, service string
	signedHeaders                   []string
	signature, date, token          string
	expires                         time.Duration
	presigned                       bool
}

func (a authorization) scope() string {
	return a.day + "/" + a.region + "/" + a.service + "/aws4_request"
}

func parseAuthorization(r *http.Request) (authorization, error) {
	header := r.Header.Get("Authorization")
	query := r.URL.Query()
	switch {
	case header != "":
		return parseHeader(r, header)
	case query.Has("X-Amz-Signature"):
		return parseQuery(query)
	}
	return authorization{}, &Error{Reason: Missing, Message: "Missing Authentication Token"}
}

func parseHeader(r *http.Request, header string) (authorization, error) {
	rest, ok := strings.CutPrefix(header, algorithm)
	if !ok {
		return authorization{}, incomplete("Authorization header requires the algorithm " + algorithm + ".")
	}
	a := authorization{date: r.Header.Get("X-Amz-Date"), token: r.Header.Get("X-Amz-Security-Token")}
	var credential string
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Credential":
			credential = value
		case "SignedHeaders":
			a.signedHeaders = strings.Split(value, ";")
		case "Signature":
			a.signature = value
		}
	}
	return a.complete(credential)
}

func parseQuery(q url.Values) (authorization, error) {
	if q.Get("X-Amz-Algorithm") != algorithm {
		return authorization{}, incomplete("X-Amz-Algorithm must be " + algorithm + ".")
	}
	seconds, err := strconv.Atoi(q.Get("X-Amz-Expires"))
	if err != nil || seconds < 1 || seconds > 7*24*3600 {
		return authorization{}, incomplete("X-Amz-Expires must be a number of seconds up to a week.")
	}
	a := authorization{
		date: q.Get("X-Amz-Date"), token: q.Get("X-Amz-Security-Token"), signature: q.Get("X-Amz-Signature"),
		signedHeaders: strings.Split(q.Get("X-Amz-SignedHeaders"), ";"),
		expires:       time.Duration(seconds) * time.Second, presigned: true,
	}
	return a.complete(q.Get("X-Amz-Credential"))
}

// complete takes the credential apart and checks that no part is missing.
func (a authorization) complete(credential string) (authorization, error) {
	parts := strings.Split(credential, "/")
	if n := len(parts); n >= 5 && parts[n-1] == "aws4_request" {
		a.accessKey = strings.Join(parts[:n-4], "/")
		a.day, a.region, a.service = parts[n-4], parts[n-3], parts[n-2]
	} else {
		return a, incomplete("Credential must have the form KEY/DATE/REGION/SERVICE/aws4_request.")
	}
	if a.date == "" || a.signature == "" || !slices.Contains(a.signedHeaders, "host") {
		return a, incomplete("Authorization requires 'Signature', 'SignedHeaders' with host, and the date X-Amz-Date.")
	}
	return a, nil
}

func incomplete(message string) error { return &Error{Reason: Incomplete, Message: message} }

// unsignedHeaders lists the headers that must be signed and are not. S3 insists on every X-Amz header, the others on the
// two that change the meaning of a request.
func unsignedHeaders(r *http.Request, a authorization, service string) []string {
	var missing []string
	for name := range r.Header {
		name = strings.ToLower(name)
		must := name == "x-amz-target" || name == "x-amz-security-token" || service == "s3" && strings.HasPrefix(name, "x-amz-")
		if must && !slices.Contains(a.signedHeaders, name) {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return missing
}

func canonicalRequest(r *http.Request, a authorization, service, payloadHash string) string {
	var b strings.Builder
	b.WriteString(r.Method + "\n" + canonicalPath(r.URL, service) + "\n" + canonicalQuery(r.URL.RawQuery, a.presigned) + "\n")
	for _, name := range a.signedHeaders {
		b.WriteString(name + ":" + headerValue(r, name) + "\n")
	}
	b.WriteString("\n" + strings.Join(a.signedHeaders, ";") + "\n" + payloadHash)
	return b.String()
}

// canonicalPath encodes the path once for S3 and twice for everybody else.
func canonicalPath(u *url.URL, service string) string {
	path := u.EscapedPath()
	if path == "" {
		return "/"
	}
	if service != "s3" {
		return encode(path, false)
	}
	if plain, err := url.PathUnescape(path); err == nil {
		return encode(plain, false)
	}
	return path
}

func canonicalQuery(raw string, presigned bool) string {
	var pairs []string
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		name, value = unescape(name), unescape(value)
		if presigned && name == "X-Amz-Signature" {
			continue
		}
		pairs = append(pairs, encode(name, true)+"="+encode(value, true))
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

func unescape(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}

func headerValue(r *http.Request, name string) string {
	switch name {
	case "host":
		return r.Host
	case "content-length":
		return strconv.FormatInt(r.ContentLength, 10)
	case "transfer-encoding":
		return strings.Join(r.TransferEncoding, ",")
	}
	values := slices.Clone(r.Header.Values(name))
	for i, v := range values {
		values[i] = strings.Join(strings.Fields(v), " ")
	}
	return strings.Join(values, ",")
}

// encode escapes every byte except the unreserved ones of RFC 3986, and the slash only when told.
func encode(s string, slash bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '~', c == '/' && !slash:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}
