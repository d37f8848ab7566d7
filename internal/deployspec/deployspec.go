// Package deployspec opens the deployment specification that the service hands out for a deployment: it verifies the
// signature, reads the fields and refuses what could not be used safely.
//
// The bytes come from the network and are read as root. Nothing in here depends on the environment of the process,
// touches the disk or talks to anybody.
package deployspec

import (
	"crypto/x509"
	"errors"
	"fmt"
)

// Formats of the envelope that carries a specification.
const (
	// FormatSigned is a CMS signed message (PKCS #7) with the JSON text inside.
	FormatSigned = "PKCS7/JSON"
	// FormatText is the bare JSON text. Only local deployments use it.
	FormatText = "TEXT/JSON"
	// FormatJSON is another name of FormatText.
	FormatJSON = "JSON"
)

// MaxPayload is the size in bytes above which a payload is refused unread. Real ones have some ten thousand bytes.
const MaxPayload = 1 << 20

// Options say what a specification has to prove. The zero value is what the daemon uses when nothing is configured: a
// good signature, made with the certificate that the message carries.
type Options struct {
	// Roots, when set, additionally demands that every signer's certificate leads to one of them, now, for any usage.
	// The certificates in the message may serve as intermediates.
	Roots *x509.CertPool
	// AllowUnsigned accepts FormatText and FormatJSON. Never set it for what comes from the network.
	AllowUnsigned bool
	// CheckID, when set, is asked about the ids that will become parts of paths, after this package's own rules; kind
	// is the name of the field.
	CheckID func(kind, id string) error
}

// Specification is what one deployment is about. All ids are short ones, whatever form they came in.
type Specification struct {
	// DeploymentID and DeploymentGroupID are each one safe path component.
	DeploymentID        string
	DeploymentGroupID   string
	DeploymentGroupName string
	ApplicationName     string
	// Creator is who made the deployment: "user", "autoscaling", "codeDeployRollback" and others.
	Creator string
	// Type is "IN_PLACE" or "BLUE_GREEN".
	Type string
	// AppSpecFilename is a clean relative path below the revision's root.
	AppSpecFilename string
	// FileExistsBehavior is in upper case; whether it is one of the known words is for the Install to say.
	FileExistsBehavior string
	// AllPossibleLifecycleEvents is nil when the service did not restrict them.
	AllPossibleLifecycleEvents []string
	Revision                   Revision
	// ReuseArchiveFrom is the id of the deployment whose unpacked revision may be used again, empty for none.
	ReuseArchiveFrom string
	// GitHubToken is empty when the revision is downloaded anonymously.
	GitHubToken Secret
	// Notes are things worth a warning that do not stop the deployment.
	Notes []string
}

// RevisionType says where a revision lies.
type RevisionType string

// The places that a revision can come from, as the service spells them.
const (
	S3             RevisionType = "S3"
	GitHub         RevisionType = "GitHub"
	LocalFile      RevisionType = "Local File"
	LocalDirectory RevisionType = "Local Directory"
)

// Revision is the application's content. The one member that fits the type is set.
type Revision struct {
	Type   RevisionType
	S3     *S3Object     `json:",omitempty"`
	GitHub *GitHubCommit `json:",omitempty"`
	Local  *LocalBundle  `json:",omitempty"`
}

// S3Object is an archive in S3. Version and ETag are empty when the deployment does not pin them.
type S3Object struct {
	Bucket, Key string
	// BundleType is "tar", "tgz" or "zip".
	BundleType    string
	Version, ETag string
}

// GitHubCommit is a commit that GitHub packs into an archive.
type GitHubCommit struct {
	Account, Repository, CommitID string
	// BundleType is "tar", "tgz", "zip" or empty for the default.
	BundleType string
	// Anonymous is true when there is no token to send.
	Anonymous bool
}

// LocalBundle is an archive or a directory on this host.
type LocalBundle struct {
	Location string
	// BundleType is "tar", "tgz", "zip" or "directory".
	BundleType string
}

// Open verifies and reads the specification in an envelope's payload. Everything about it that could be wrong later,
// and can be known now, is an error here; the error names the field and never holds a secret.
func Open(format, payload string, opts Options) (*Specification, error) {
	if len(payload) > MaxPayload {
		return nil, fmt.Errorf("cannot accept the deployment specification: its %d bytes are more than the %d that are read", len(payload), MaxPayload)
	}
	text, err := content(format, payload, opts)
	if err != nil {
		return nil, fmt.Errorf("cannot accept the deployment specification: %w", err)
	}
	spec, err := parse(text, opts.CheckID)
	if err != nil {
		return nil, fmt.Errorf("cannot read the deployment specification: %w", err)
	}
	return spec, nil
}

func content(format, payload string, opts Options) ([]byte, error) {
	switch format {
	case FormatSigned:
		message, err := decodeArmour(payload)
		if err != nil {
			return nil, err
		}
		return verify(message, opts.Roots)
	case FormatText, FormatJSON:
		if !opts.AllowUnsigned {
			return nil, fmt.Errorf("it is not signed (format %q); only a signed one is carried out", format)
		}
		return []byte(payload), nil
	case "":
		return nil, errors.New("its envelope has no format")
	}
	return nil, fmt.Errorf("its format %s is unknown; %q is expected", quote(format), FormatSigned)
}
