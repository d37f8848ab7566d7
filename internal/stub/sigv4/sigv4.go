// Package sigv4 checks AWS Signature Version 4 on requests, as a service does. It signs nothing.
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	timeFormat = "20060102T150405Z"
	// DefaultSkew is how far the clocks of client and service may differ.
	DefaultSkew = 15 * time.Minute
)

// Key is one access key that the service knows.
type Key struct {
	ID, Secret string
	// Token is the session token that must come along; empty for a long-lived key.
	Token string
	// Expires is when the key stops working; zero means never.
	Expires time.Time
	// Owner names whom the key belongs to, for example a host identifier. It may be empty.
	Owner string
}

// Reason says why a signature is refused.
type Reason int

const (
	// Missing means there is no signature at all.
	Missing Reason = iota + 1
	// Incomplete means the signature lacks a part or cannot be read.
	Incomplete
	// UnknownKey means nobody has this access key.
	UnknownKey
	// WrongScope means the signature is for another region, service or day.
	WrongScope
	// Skewed means the clocks differ by too much.
	Skewed
	// BadToken means the session token is not the one of the key.
	BadToken
	// Expired means the key is out of date.
	Expired
	// Mismatch means the signature is not that of the request.
	Mismatch
)

// Error is a refused signature.
type Error struct {
	Reason  Reason
	Message string
	// AccessKeyID is the key that the request names, when it names one.
	AccessKeyID string
}

func (e *Error) Error() string { return e.Message }

// Verifier knows what a good signature is.
type Verifier struct {
	// Lookup finds an access key by its id.
	Lookup func(id string) (Key, bool)
	// Region is the region that the scope must name; empty accepts every one.
	Region string
	// Skew is the largest difference of clocks; zero means DefaultSkew.
	Skew time.Duration
	// Now is the service's clock; nil means time.Now.
	Now func() time.Time
}

// Signed is what a good signature tells.
type Signed struct {
	Key Key
	// Signature is the hexadecimal signature; the first chunk of a signed stream continues it.
	Signature string
	scope     string
	date      string
	secret    []byte
}

// Verify checks the signature of r for one of the services named. payloadHash is the hexadecimal SHA-256 of the body or
// the literal that stands for it in the canonical request. A refusal is an *Error.
func (v Verifier) Verify(r *http.Request, payloadHash string, services ...string) (*Signed, error) {
	a, err := parseAuthorization(r)
	if err != nil {
		return nil, err
	}
	refuse := func(reason Reason, format string, args ...any) (*Signed, error) {
		return nil, &Error{Reason: reason, Message: fmt.Sprintf(format, args...), AccessKeyID: a.accessKey}
	}
	key, known := v.Lookup(a.accessKey)
	if !known {
		return refuse(UnknownKey, "The security token included in the request is invalid.")
	}
	service, why := v.checkScope(a, services)
	if why != "" {
		return refuse(WrongScope, "%s", why)
	}
	if reason, why := v.checkTime(a, key); why != "" {
		return refuse(reason, "%s", why)
	}
	if a.token != key.Token {
		return refuse(BadToken, "The session token does not belong to the access key.")
	}
	if missing := unsignedHeaders(r, a, service); len(missing) > 0 {
		return refuse(Mismatch, "There were headers present in the request which were not signed: %s", strings.Join(missing, ", "))
	}
	s := &Signed{Key: key, Signature: a.signature, scope: a.scope(), date: a.date, secret: signingKey(key.Secret, a)}
	want := s.sign(algorithm + "\n" + a.date + "\n" + s.scope + "\n" + hexSum(canonicalRequest(r, a, service, payloadHash)))
	if !hmac.Equal([]byte(want), []byte(a.signature)) {
		return refuse(Mismatch, "The request signature we calculated does not match the signature you provided. Check the secret key and the signing method.")
	}
	return s, nil
}

// Chunk returns the signature of one chunk of a signed stream. kind is the string-to-sign's first line without the
// common prefix ("PAYLOAD" or "TRAILER"); previous is the signature before it.
func (s *Signed) Chunk(kind, previous string, data []byte) string {
	toSign := algorithm + "-" + kind + "\n" + s.date + "\n" + s.scope + "\n" + previous + "\n"
	if kind == "PAYLOAD" {
		toSign += hexSum("") + "\n"
	}
	return s.sign(toSign + hexSum(string(data)))
}

func (s *Signed) sign(text string) string { return hex.EncodeToString(mac(s.secret, text)) }

func (v Verifier) checkScope(a authorization, services []string) (service, why string) {
	if v.Region != "" && a.region != v.Region {
		return "", fmt.Sprintf("Credential should be scoped to a valid region, not '%s'; expecting '%s'.", a.region, v.Region)
	}
	for _, s := range services {
		if a.service == s {
			return s, ""
		}
	}
	return "", fmt.Sprintf("Credential should be scoped to correct service: '%s', not '%s'.", strings.Join(services, "' or '"), a.service)
}

func (v Verifier) checkTime(a authorization, key Key) (Reason, string) {
	now := time.Now()
	if v.Now != nil {
		now = v.Now()
	}
	at, err := time.Parse(timeFormat, a.date)
	if err != nil {
		return Incomplete, fmt.Sprintf("Date must be in ISO-8601 basic format, got '%s'.", a.date)
	}
	if at.Format("20060102") != a.day {
		return WrongScope, fmt.Sprintf("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date: '%s' != '%s'.", a.day, a.date[:8])
	}
	skew := v.Skew
	if skew == 0 {
		skew = DefaultSkew
	}
	if a.expires > 0 {
		if now.After(at.Add(a.expires)) {
			return Expired, "Request has expired."
		}
	} else if now.Sub(at).Abs() > skew {
		return Skewed, fmt.Sprintf("Signature not yet current or expired: %s is more than %s away from the server's time %s.", a.date, skew, now.UTC().Format(timeFormat))
	}
	if !key.Expires.IsZero() && now.After(key.Expires) {
		return Expired, "The security token included in the request is expired."
	}
	return 0, ""
}

func signingKey(secret string, a authorization) []byte {
	k := mac([]byte("AWS4"+secret), a.day)
	k = mac(k, a.region)
	k = mac(k, a.service)
	return mac(k, "aws4_request")
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write([]byte(text))
	return h.Sum(nil)
}

func hexSum(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
