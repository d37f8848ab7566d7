package bundle

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	"golang.org/x/sys/unix"
)

// getError is a GET that failed.
type getError struct {
	status        int // 0 when there was no answer
	code, message string
	requestID     string
	region        string // where the bucket lies, when the answer said that
	unsatisfied   int64  // the object's size in an answer to a range beyond it, else -1
	advice        time.Duration
	err           error // without an answer
}

func newGetError(err error, a answer) *getError {
	e := &getError{status: a.status, unsatisfied: -1}
	if a.status == 0 || a.status/100 == 2 {
		e.err = withoutURL(err)
		return e
	}
	e.region = a.header.Get("x-amz-bucket-region")
	e.requestID = a.header.Get("x-amz-request-id")
	e.advice = retryAfter(a.header, time.Now())
	if a.status == http.StatusRequestedRangeNotSatisfiable {
		e.unsatisfied = parseUnsatisfied(a.header.Get("Content-Range"))
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		e.code, e.message = printable(api.ErrorCode()), printable(api.ErrorMessage())
	}
	if e.region == "" {
		e.region = expectedRegion(e.message)
	}
	return e
}

// withoutURL drops the address from an error of the HTTP client, and what the SDK puts around it: addresses may hold
// signatures.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// printable keeps a foreign text short and on one line.
func printable(s string) string {
	const most = 400
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return ' '
		}
		return r
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return strings.TrimSpace(s)
}

var regionInMessage = regexp.MustCompile(`expecting '([a-z0-9-]{1,30})'`)

// expectedRegion reads the right region from the message of an AuthorizationHeaderMalformed.
func expectedRegion(message string) string {
	if m := regionInMessage.FindStringSubmatch(message); m != nil {
		return m[1]
	}
	return ""
}

var plainRegion = regexp.MustCompile(`^[a-z0-9-]{1,30}$`)

// otherRegion returns the region to go to when the answer points to one, else "".
func (e *getError) otherRegion(now string) string {
	moved := e.status/100 == 3 || e.code == "AuthorizationHeaderMalformed" || e.code == "IllegalLocationConstraintException"
	if !moved || e.region == now || !plainRegion.MatchString(e.region) {
		return ""
	}
	return e.region
}

// mayDislikeChecksums tells whether the request could do better without asking for check sums.
func (e *getError) mayDislikeChecksums() bool {
	return (e.status == 400 && e.region == "") || e.status == 403 || e.status == 501
}

// passing tells whether the same request may well succeed later.
func (e *getError) passing() bool {
	switch e.code {
	case "RequestTimeout", "RequestTimeTooSkewed", "ExpiredToken", "TokenRefreshRequired", "SlowDown", "Throttling", "InternalError":
		return true
	}
	switch {
	case e.status == 0 || e.status/100 == 2:
		var untrusted *tls.CertificateVerificationError
		var invalid smithy.InvalidParamsError
		return !errors.As(e.err, &untrusted) && !errors.As(e.err, &invalid)
	case e.status == http.StatusRequestTimeout, e.status == http.StatusTooEarly, e.status == http.StatusTooManyRequests:
		return true
	}
	return e.status >= 500 && e.status != http.StatusNotImplemented && e.status != http.StatusHTTPVersionNotSupported
}

// changed tells whether the object is no longer the one of the first answer.
func (e *getError) changed() bool {
	return e.status == http.StatusPreconditionFailed || e.status == http.StatusRequestedRangeNotSatisfiable
}

// Error says what happened and what to do about it.
func (e *getError) Error() string {
	if e.status == 0 || e.status/100 == 2 {
		return e.networkText()
	}
	text := "S3 answered " + strconv.Itoa(e.status)
	if e.code != "" && e.code != "UnknownError" {
		text += " " + e.code
	}
	if e.message != "" && e.message != e.code && e.message != "UnknownError" {
		text += fmt.Sprintf(" (%s)", strings.TrimSuffix(e.message, "."))
	}
	if next := e.nextStep(); next != "" {
		text += "; " + next
	}
	if e.requestID != "" {
		text += "; request " + printable(e.requestID)
	}
	return text
}

func (e *getError) networkText() string {
	var untrusted *tls.CertificateVerificationError
	if errors.As(e.err, &untrusted) {
		return fmt.Sprintf("the certificate of S3 is not trusted: %v; if a proxy answers in its place, give its CA in AWS_CA_BUNDLE or SSL_CERT_FILE", untrusted.Err)
	}
	return fmt.Sprintf("the connection to S3 failed: %v", e.err)
}

func (e *getError) Unwrap() error { return e.err }

func (e *getError) nextStep() string {
	switch {
	case e.code == "NoSuchBucket":
		return "create the bucket, or deploy a revision from another one"
	case e.code == "NoSuchVersion":
		return "this version was deleted; deploy another one"
	case e.status == http.StatusNotFound:
		return "upload the bundle again, or correct bucket and key of the revision"
	case e.code == "InvalidAccessKeyId", e.code == "SignatureDoesNotMatch", e.code == "InvalidToken", e.code == "ExpiredToken":
		return "give this host valid credentials"
	case e.code == "RequestTimeTooSkewed":
		return "set the clock of this host"
	case e.code == "InvalidObjectState":
		return "the object is archived; restore it first"
	case e.status == http.StatusForbidden:
		return "allow this host's role (instance profile) s3:GetObject on the object, and s3:GetObjectVersion where the deployment names a version; " +
			"look at the bucket policy and the VPC endpoint policy, too, and, where the object is encrypted with a KMS key, at kms:Decrypt"
	case e.status/100 == 3:
		return "the bucket is not where S3 sent this host; check region and s3_endpoint_override"
	case e.status == http.StatusPreconditionFailed:
		return "the object was replaced while it was being downloaded"
	case e.code == "KMS.DisabledException" || strings.HasPrefix(e.code, "KMS."):
		return "look at the KMS key of the object"
	}
	return ""
}

// retryAfter reads the header of that name, seconds or a date; 0 when there is none.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// diskFull tells whether writing the file failed, not the network.
func diskFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }
