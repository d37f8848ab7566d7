package stub

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"codedeploy-agent/internal/stub/pack"
)

// bundles is the bucket that Push fills.
const bundles = "codedeploy-stub-bundles"

// Revision says where a bundle lies. The fields are those of the specification.
type Revision struct {
	// Type is S3 (the default), GitHub, "Local File" or "Local Directory".
	Type       string `json:"type,omitempty"`
	Bucket     string `json:"bucket,omitempty"`
	Key        string `json:"key,omitempty"`
	BundleType string `json:"bundle_type,omitempty"`
	Version    string `json:"version,omitempty"`
	ETag       string `json:"etag,omitempty"`

	// Account, Repository and Commit are for GitHub; Token is GitHubAccessToken.
	Account    string `json:"account,omitempty"`
	Repository string `json:"repository,omitempty"`
	Commit     string `json:"commit,omitempty"`
	Token      string `json:"token,omitempty"`

	// Location is for the local types.
	Location string `json:"location,omitempty"`
}

// Push puts a bundle into S3: an archive as it is, a directory as a zip. The revision has ETag and version.
func (s *Server) Push(ctx context.Context, dirOrArchive string) (Revision, error) {
	return s.PushAs(ctx, dirOrArchive, "")
}

// PushAs is Push with the type of a directory's archive (zip, tar or tgz), or of an archive whose name does not tell.
func (s *Server) PushAs(ctx context.Context, dirOrArchive, bundleType string) (Revision, error) {
	file, bundleType, clean, err := pack.File(ctx, dirOrArchive, bundleType)
	if err != nil {
		return Revision{}, err
	}
	defer clean()
	f, err := os.Open(file)
	if err != nil {
		return Revision{}, fmt.Errorf("cannot push the bundle: %w", err)
	}
	defer func() { _ = f.Close() }()
	return s.PushStream(f, filepath.Base(dirOrArchive), bundleType)
}

// PushStream puts the bytes of an archive into S3. name becomes a part of the key.
func (s *Server) PushStream(content interface{ Read([]byte) (int, error) }, name, bundleType string) (Revision, error) {
	if err := s.S3.MakeBucket(bundles, true); err != nil {
		return Revision{}, err
	}
	name = strings.TrimSuffix(strings.Trim(name, "./"), "."+bundleType)
	key := fmt.Sprintf("%s-%s.%s", name, random(4), bundleType)
	v, err := s.S3.Put(bundles, key, content)
	if err != nil {
		return Revision{}, err
	}
	return Revision{Type: "S3", Bucket: bundles, Key: key, BundleType: bundleType, Version: v.ID, ETag: v.ETag}, nil
}

// member returns the Revision member of a specification.
func (r Revision) member() map[string]any {
	switch r.Type {
	case "GitHub":
		m := map[string]any{"Account": r.Account, "Repository": r.Repository, "CommitId": r.Commit}
		if r.BundleType != "" {
			m["BundleType"] = r.BundleType
		}
		return map[string]any{"RevisionType": "GitHub", "GitHubRevision": m}
	case "Local File", "Local Directory":
		return map[string]any{"RevisionType": r.Type, "LocalRevision": map[string]any{"Location": r.Location, "BundleType": r.BundleType}}
	}
	m := map[string]any{"Bucket": r.Bucket, "Key": r.Key, "BundleType": r.BundleType, "Version": nil, "ETag": nil}
	if r.Version != "" && r.Version != "null" {
		m["Version"] = r.Version
	}
	if r.ETag != "" {
		m["ETag"] = r.ETag
	}
	return map[string]any{"RevisionType": "S3", "S3Revision": m}
}

// specification returns what is signed for every command of the deployment.
func (d *Deployment) specification() map[string]any {
	o := d.options
	spec := map[string]any{
		"DeploymentId": d.info.ID, "DeploymentGroupId": o.GroupID, "DeploymentGroupName": o.Group,
		"ApplicationName": o.Application, "DeploymentCreator": d.creator(), "DeploymentType": d.kind(),
		"Revision": o.Revision.member(),
	}
	if o.FileExistsBehavior != "" {
		spec["AgentActionOverrides"] = map[string]any{"AgentOverrides": map[string]any{"FileExistsBehavior": o.FileExistsBehavior}}
	}
	if o.AppSpecFilename != "" {
		spec["AppSpecFilename"] = o.AppSpecFilename
	}
	if o.AllPossibleLifecycleEvents != nil {
		spec["AllPossibleLifecycleEvents"] = o.AllPossibleLifecycleEvents
	}
	if o.ReuseArchiveFrom != "" {
		spec["ReuseArchiveFromDeploymentId"] = o.ReuseArchiveFrom
	}
	if o.Revision.Type == "GitHub" {
		spec["GitHubAccessToken"] = nil
		if o.Revision.Token != "" {
			spec["GitHubAccessToken"] = o.Revision.Token
		}
	}
	maps.Copy(spec, o.Specification)
	for name, value := range o.Specification {
		if value == nil {
			delete(spec, name)
		}
	}
	return spec
}

func (d *Deployment) creator() string {
	switch {
	case d.options.Creator != "":
		return d.options.Creator
	case d.options.Rollback:
		return "codeDeployRollback"
	}
	return "user"
}

func (d *Deployment) kind() string {
	switch {
	case d.options.Type != "":
		return d.options.Type
	case len(d.options.Originals) > 0:
		return "BLUE_GREEN"
	}
	return "IN_PLACE"
}
