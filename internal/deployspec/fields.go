package deployspec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Values that the service leaves out when they are the usual ones.
const (
	defaultCreator  = "user"
	defaultType     = "IN_PLACE"
	defaultAppSpec  = "appspec.yml"
	defaultBehavior = "DISALLOW"
)

// parse reads the fields of the JSON text. Unknown ones are ignored, names match exactly, the last of two wins.
func parse(text []byte, checkID func(kind, id string) error) (*Specification, error) {
	top, err := readObject("", bytes.TrimPrefix(text, []byte("\ufeff")))
	if err != nil {
		return nil, err
	}
	spec := &Specification{
		DeploymentID:        shortID(top, "DeploymentId"),
		DeploymentGroupID:   top.required("DeploymentGroupId"),
		DeploymentGroupName: top.required("DeploymentGroupName"),
		ApplicationName:     top.required("ApplicationName"),
		Creator:             top.optional("DeploymentCreator", defaultCreator),
		Type:                top.optional("DeploymentType", defaultType),
		AppSpecFilename:     top.optional("AppSpecFilename", defaultAppSpec),
		FileExistsBehavior: strings.ToUpper(top.object("AgentActionOverrides").object("AgentOverrides").
			optional("FileExistsBehavior", defaultBehavior)),
		AllPossibleLifecycleEvents: top.list("AllPossibleLifecycleEvents"),
		GitHubToken:                Secret(top.optional("GitHubAccessToken", "")),
	}
	spec.Revision = revision(top, spec.GitHubToken)
	spec.reuse(top)
	if *top.err != nil {
		return nil, *top.err
	}
	return spec, spec.check(checkID)
}

func (s *Specification) check(checkID func(kind, id string) error) error {
	for _, id := range []struct{ kind, value string }{
		{"DeploymentId", s.DeploymentID}, {"DeploymentGroupId", s.DeploymentGroupID},
	} {
		if err := checkComponent(id.kind, id.value); err != nil {
			return err
		}
		if checkID == nil {
			continue
		}
		if err := checkID(id.kind, id.value); err != nil {
			return err
		}
	}
	file := s.AppSpecFilename
	if path.IsAbs(file) || slices.Contains(strings.Split(file, "/"), "..") || strings.HasSuffix(file, "/") || path.Clean(file) == "." {
		return fmt.Errorf("AppSpecFilename %s is no path of a file inside the revision", quote(file))
	}
	s.AppSpecFilename = path.Clean(file)
	return nil
}

// checkComponent tells whether an id is one safe path component.
func checkComponent(field, id string) error {
	switch {
	case len(id) > 255:
		return fmt.Errorf("%s %s is longer than a file name can be", field, quote(id))
	case strings.HasPrefix(id, "."), strings.ContainsAny(id, "/\\"),
		strings.ContainsFunc(id, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return fmt.Errorf("%s %s cannot be the name of a folder", field, quote(id))
	}
	return nil
}

// shortID reads a deployment id, given as itself or as an ARN (arn:aws:codedeploy:region:account:deployment/id).
func shortID(o object, field string) string {
	id := o.required(field)
	short, ok := fromARN(id)
	if !ok {
		o.fail("%s %s is an ARN without a deployment id", o.path(field), quote(id))
	}
	return short
}

func fromARN(id string) (string, bool) {
	if !strings.HasPrefix(id, "arn:") {
		return id, true
	}
	parts := strings.Split(id, ":")
	if len(parts) < 6 {
		return "", false
	}
	_, short, _ := strings.Cut(parts[5], "/")
	return short, short != ""
}

// reuse reads the deployment whose archive may be used again. A bad id only costs a download, so it is a note.
func (s *Specification) reuse(top object) {
	const field = "ReuseArchiveFromDeploymentId"
	raw, ok := top.set(field)
	if !ok {
		return
	}
	var id string
	if json.Unmarshal(raw, &id) == nil {
		if id == "" {
			return
		}
		if short, ok := fromARN(id); ok && isDeploymentID(short) && short != s.DeploymentID {
			s.ReuseArchiveFrom = short
			return
		}
	}
	s.Notes = append(s.Notes, fmt.Sprintf("%s %s is not the id of another deployment; the revision is downloaded", field, quote(string(raw))))
}

// isDeploymentID tells whether an id has the form of the service's own: "d-" and 1 to 62 capital letters and digits.
func isDeploymentID(id string) bool {
	rest, ok := strings.CutPrefix(id, "d-")
	return ok && len(rest) >= 1 && len(rest) <= 62 && strings.Trim(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}

func revision(top object, token Secret) Revision {
	o, ok := top.mustObject("Revision")
	if !ok {
		return Revision{}
	}
	rev := Revision{Type: RevisionType(o.required("RevisionType"))}
	switch rev.Type {
	case S3:
		s, _ := o.mustObject("S3Revision")
		rev.S3 = &S3Object{
			Bucket: s.required("Bucket"), Key: s.required("Key"),
			BundleType: s.oneOf("BundleType", "tar", "tgz", "zip"),
			Version:    s.optional("Version", ""), ETag: s.optional("ETag", ""),
		}
	case GitHub:
		g, _ := o.mustObject("GitHubRevision")
		rev.GitHub = &GitHubCommit{
			Account: g.required("Account"), Repository: g.required("Repository"), CommitID: g.required("CommitId"),
			Anonymous: token == "",
		}
		if _, ok := g.set("BundleType"); ok {
			rev.GitHub.BundleType = g.oneOf("BundleType", "tar", "tgz", "zip")
		}
		if anonymous, ok := g.boolean("Anonymous"); ok && !anonymous && !g.has("OAuthToken") {
			g.fail("%s is false, but %s is not there", g.path("Anonymous"), g.path("OAuthToken"))
		}
	case LocalFile, LocalDirectory:
		l, _ := o.mustObject("LocalRevision")
		rev.Local = &LocalBundle{
			Location:   l.required("Location"),
			BundleType: l.oneOf("BundleType", "tar", "tgz", "zip", "directory"),
		}
	default:
		o.fail("%s %s is unknown; it can be %q, %q, %q or %q", o.path("RevisionType"), quote(string(rev.Type)), S3, GitHub, LocalFile, LocalDirectory)
	}
	return rev
}

// object is one JSON object with its place in the document. The first error of the whole document is kept in err, so
// that fields can be read one a line.
type object struct {
	place   string
	members map[string]json.RawMessage
	err     *error
}

func readObject(place string, text []byte) (object, error) {
	o := object{place: place, err: new(error)}
	if err := json.Unmarshal(text, &o.members); err != nil {
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) {
			return o, fmt.Errorf("%s is %s, not an object", cmpOr(place, "it"), kind.Value)
		}
		return o, fmt.Errorf("it is no JSON: %w", err)
	}
	if o.members == nil {
		return o, errors.New("it is null, not an object")
	}
	return o, nil
}

func cmpOr(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func (o object) path(field string) string {
	if o.place == "" {
		return field
	}
	return o.place + "." + field
}

func (o object) fail(format string, args ...any) {
	if *o.err == nil {
		*o.err = fmt.Errorf(format, args...)
	}
}

func (o object) has(field string) bool { _, ok := o.members[field]; return ok }

// set returns a member that is there and not null.
func (o object) set(field string) (json.RawMessage, bool) {
	raw, ok := o.members[field]
	return raw, ok && string(raw) != "null"
}

func (o object) optional(field, otherwise string) string {
	raw, ok := o.set(field)
	if !ok {
		return otherwise
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		o.fail("%s is %s, not a text", o.path(field), kindOf(raw))
		return otherwise
	}
	if strings.ContainsRune(s, 0) {
		o.fail("%s contains a zero byte", o.path(field))
	}
	return cmpOr(s, otherwise)
}

func (o object) required(field string) string {
	s := o.optional(field, "")
	if s == "" {
		o.fail("%s is not set", o.path(field))
	}
	return s
}

func (o object) oneOf(field string, values ...string) string {
	s := o.required(field)
	if !slices.Contains(values, s) {
		o.fail("%s %s is unknown; it can be %s", o.path(field), quote(s), strings.Join(values, ", "))
	}
	return s
}

func (o object) boolean(field string) (value, ok bool) {
	raw, ok := o.set(field)
	if !ok {
		return false, false
	}
	if json.Unmarshal(raw, &value) != nil {
		o.fail("%s is %s, not true or false", o.path(field), kindOf(raw))
	}
	return value, true
}

func (o object) list(field string) []string {
	raw, ok := o.set(field)
	if !ok {
		return nil
	}
	var items []*string
	if json.Unmarshal(raw, &items) != nil || slices.Contains(items, nil) {
		o.fail("%s is not a list of texts", o.path(field))
		return nil
	}
	var out []string
	for _, s := range items {
		out = append(out, *s)
	}
	return out
}

// object returns a member that is an object; one that is not set is empty.
func (o object) object(field string) object {
	inner := object{place: o.path(field), err: o.err}
	if raw, ok := o.set(field); ok && json.Unmarshal(raw, &inner.members) != nil {
		o.fail("%s is %s, not an object", o.path(field), kindOf(raw))
	}
	return inner
}

func (o object) mustObject(field string) (object, bool) {
	inner := o.object(field)
	if len(inner.members) == 0 {
		o.fail("%s is not set", o.path(field))
	}
	return inner, len(inner.members) > 0
}

// kindOf says what a JSON value is, without showing it.
func kindOf(raw json.RawMessage) string {
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a text"
	case 't', 'f':
		return "a truth value"
	}
	return "a number"
}

// quote shows a value in an error, shortened when somebody overdid it.
func quote(s string) string {
	const most = 120
	if len(s) > most {
		return fmt.Sprintf("%q...", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
