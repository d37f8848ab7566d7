package s3

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"

	"codedeploy-agent/internal/stub/sigv4"
)

// apiError is an error as S3 tells it.
type apiError struct {
	status        int
	code, message string
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func refusal(status int, code, format string, args ...any) *apiError {
	return &apiError{status, code, fmt.Sprintf(format, args...)}
}

var (
	errNoBucket       = refusal(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
	errNoKey          = refusal(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
	errNoVersion      = refusal(http.StatusNotFound, "NoSuchVersion", "The specified version does not exist.")
	errNoUpload       = refusal(http.StatusNotFound, "NoSuchUpload", "The specified multipart upload does not exist.")
	errBucketOwned    = refusal(http.StatusConflict, "BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.")
	errBucketNotEmpty = refusal(http.StatusConflict, "BucketNotEmpty", "The bucket you tried to delete is not empty")
	errPrecondition   = refusal(http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
	errRange          = refusal(http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The requested range is not satisfiable")
	errNotImplemented = refusal(http.StatusNotImplemented, "NotImplemented", "This local S3 does not know the operation.")
)

// signatureError turns a refused signature into S3's words.
func signatureError(err error) *apiError {
	var refused *sigv4.Error
	if !errors.As(err, &refused) {
		return refusal(http.StatusForbidden, "AccessDenied", "%v", err)
	}
	code, status := "SignatureDoesNotMatch", http.StatusForbidden
	switch refused.Reason {
	case sigv4.Missing:
		code = "AccessDenied"
	case sigv4.Incomplete, sigv4.WrongScope:
		code, status = "AuthorizationHeaderMalformed", http.StatusBadRequest
	case sigv4.UnknownKey:
		code = "InvalidAccessKeyId"
	case sigv4.Skewed:
		code = "RequestTimeTooSkewed"
	case sigv4.BadToken:
		code, status = "InvalidToken", http.StatusBadRequest
	case sigv4.Expired:
		code, status = "ExpiredToken", http.StatusBadRequest
	}
	return refusal(status, code, "%s", refused.Message)
}

// writeError answers an error in XML, without a body where HTTP forbids one.
func writeError(w http.ResponseWriter, r *http.Request, err error) string {
	var e *apiError
	if !errors.As(err, &e) {
		e = refusal(http.StatusInternalServerError, "InternalError", "%v", err)
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(e.status)
	if r.Method == http.MethodHead || e.status == http.StatusNotModified {
		return e.code
	}
	_ = writeXML(w, struct {
		XMLName  xml.Name `xml:"Error"`
		Code     string
		Message  string
		Resource string
	}{Code: e.code, Message: e.message, Resource: r.URL.Path})
	return e.code
}

func writeXML(w http.ResponseWriter, value any) error {
	b, err := xml.Marshal(value)
	if err != nil {
		return err
	}
	_, err = w.Write(append([]byte(xml.Header), b...))
	return err
}
