package deployspec

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const specText = `{
  "DeploymentId": "arn:aws:codedeploy:eu-west-1:123456789012:deployment/d-ABCDEF123",
  "DeploymentGroupId": "11111111-2222-3333-4444-555555555555",
  "DeploymentGroupName": "web",
  "ApplicationName": "shop",
  "Revision": {"RevisionType": "S3", "S3Revision": {"Bucket": "b", "Key": "k.zip", "BundleType": "zip", "ETag": null}}
}`

// text returns a specification in which some members of specText are replaced; nil removes one.
func text(t *testing.T, members map[string]any) string {
	t.Helper()
	var all map[string]any
	if err := json.Unmarshal([]byte(specText), &all); err != nil {
		t.Fatal(err)
	}
	for name, value := range members {
		if value == nil {
			delete(all, name)
			continue
		}
		all[name] = value
	}
	out, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

type m = map[string]any

func s3Spec(change func(*Specification)) *Specification {
	s := &Specification{
		DeploymentID: "d-ABCDEF123", DeploymentGroupID: "11111111-2222-3333-4444-555555555555", DeploymentGroupName: "web",
		ApplicationName: "shop", Creator: "user", Type: "IN_PLACE", AppSpecFilename: "appspec.yml", FileExistsBehavior: "DISALLOW",
		Revision: Revision{Type: S3, S3: &S3Object{Bucket: "b", Key: "k.zip", BundleType: "zip"}},
	}
	if change != nil {
		change(s)
	}
	return s
}

func gitHub(members m) m {
	r := m{"Account": "acme", "Repository": "shop", "CommitId": "abc"}
	for name, value := range members {
		r[name] = value
	}
	return m{"RevisionType": "GitHub", "GitHubRevision": r}
}

func gitHubSpec(bundleType string, token Secret) *Specification {
	return s3Spec(func(s *Specification) {
		s.Revision = Revision{Type: GitHub, GitHub: &GitHubCommit{
			Account: "acme", Repository: "shop", CommitID: "abc", BundleType: bundleType, Anonymous: token == "",
		}}
		s.GitHubToken = token
	})
}

func TestFields(t *testing.T) {
	for _, tc := range []struct {
		name    string
		members m
		want    *Specification
	}{
		{"the usual ones, the id as an ARN", nil, s3Spec(nil)},
		{"a short id", m{"DeploymentId": "d-X"}, s3Spec(func(s *Specification) { s.DeploymentID = "d-X" })},
		{"an ARN of another partition", m{"DeploymentId": "arn:aws-cn:codedeploy:cn-north-1:1:deployment/d-X"}, s3Spec(func(s *Specification) { s.DeploymentID = "d-X" })},
		{"everything else that can be set", m{
			"DeploymentCreator": "codeDeployRollback", "DeploymentType": "BLUE_GREEN", "AppSpecFilename": "deploy/appspec.yaml",
			"AgentActionOverrides":       m{"AgentOverrides": m{"FileExistsBehavior": "overwrite"}},
			"AllPossibleLifecycleEvents": []string{"Install", "Custom"}, "ReuseArchiveFromDeploymentId": "d-OLD",
			"ApplicationId": "unused", "Unknown": m{"a": 1},
			"Revision": m{"RevisionType": "S3", "S3Revision": m{"Bucket": "b", "Key": "k", "BundleType": "tgz", "Version": "v1", "ETag": "\"e\""}},
		}, s3Spec(func(s *Specification) {
			s.Creator, s.Type, s.AppSpecFilename, s.FileExistsBehavior = "codeDeployRollback", "BLUE_GREEN", "deploy/appspec.yaml", "OVERWRITE"
			s.AllPossibleLifecycleEvents, s.ReuseArchiveFrom = []string{"Install", "Custom"}, "d-OLD"
			s.Revision.S3 = &S3Object{Bucket: "b", Key: "k", BundleType: "tgz", Version: "v1", ETag: `"e"`}
		})},
		{"empty and null are as good as absent", m{
			"DeploymentCreator": "", "DeploymentType": json.RawMessage("null"), "AppSpecFilename": "", "AllPossibleLifecycleEvents": json.RawMessage("null"),
			"AgentActionOverrides": json.RawMessage("null"), "ReuseArchiveFromDeploymentId": "", "GitHubAccessToken": "",
		}, s3Spec(nil)},
		{"an empty list of events is none", m{"AllPossibleLifecycleEvents": []string{}}, s3Spec(nil)},
		{"a behaviour that only the Install can judge", m{"AgentActionOverrides": m{"AgentOverrides": m{"FileExistsBehavior": "whatever"}}},
			s3Spec(func(s *Specification) { s.FileExistsBehavior = "WHATEVER" })},
		{"an AppSpec file with a detour", m{"AppSpecFilename": "./a//b.yml"}, s3Spec(func(s *Specification) { s.AppSpecFilename = "a/b.yml" })},
		{"a reused archive, as an ARN", m{"ReuseArchiveFromDeploymentId": "arn:aws:codedeploy:r:1:deployment/d-OLD"}, s3Spec(func(s *Specification) { s.ReuseArchiveFrom = "d-OLD" })},
		{"GitHub without a token", m{"Revision": gitHub(nil)}, gitHubSpec("", "")},
		{"GitHub with a token", m{"Revision": gitHub(m{"BundleType": "zip"}), "GitHubAccessToken": "hidden"}, gitHubSpec("zip", "hidden")},
		{"GitHub with a null token", m{"Revision": gitHub(m{"BundleType": nil}), "GitHubAccessToken": json.RawMessage("null")}, gitHubSpec("", "")},
		{"GitHub not anonymous, as the service says it", m{"Revision": gitHub(m{"Anonymous": false, "OAuthToken": nil}), "GitHubAccessToken": "hidden"}, gitHubSpec("", "hidden")},
		{"GitHub anonymous", m{"Revision": gitHub(m{"Anonymous": true})}, gitHubSpec("", "")},
		{"a local file", m{"Revision": m{"RevisionType": "Local File", "LocalRevision": m{"Location": "/tmp/b.tgz", "BundleType": "tgz"}}},
			s3Spec(func(s *Specification) {
				s.Revision = Revision{Type: LocalFile, Local: &LocalBundle{Location: "/tmp/b.tgz", BundleType: "tgz"}}
			})},
		{"a local directory", m{"Revision": m{"RevisionType": "Local Directory", "LocalRevision": m{"Location": "/srv", "BundleType": "directory"}}},
			s3Spec(func(s *Specification) {
				s.Revision = Revision{Type: LocalDirectory, Local: &LocalBundle{Location: "/srv", BundleType: "directory"}}
			})},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Open(FormatJSON, text(t, tc.members), Options{AllowUnsigned: true})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("specification (-want +got):\n%s", diff)
			}
		})
	}
}

func TestABadIDForReuseCostsOnlyADownload(t *testing.T) {
	for _, id := range []any{"../d-OLD", "d-", "d-old", "x", "d-ABCDEF123", "d-" + strings.Repeat("A", 63), 12, "arn:aws"} {
		got, err := Open(FormatJSON, text(t, m{"ReuseArchiveFromDeploymentId": id}), Options{AllowUnsigned: true})
		if err != nil {
			t.Errorf("%v: %v", id, err)
		} else if got.ReuseArchiveFrom != "" || len(got.Notes) != 1 {
			t.Errorf("%v: %q, notes %q", id, got.ReuseArchiveFrom, got.Notes)
		}
	}
}

func TestFieldsThatCannotBeUsed(t *testing.T) {
	s3 := func(members m) m {
		r := m{"Bucket": "b", "Key": "k", "BundleType": "zip"}
		for name, value := range members {
			r[name] = value
		}
		return m{"Revision": m{"RevisionType": "S3", "S3Revision": r}}
	}
	for _, tc := range []struct {
		name    string
		members m
		want    string
	}{
		{"no deployment", m{"DeploymentId": nil}, "DeploymentId is not set"},
		{"an empty deployment", m{"DeploymentId": ""}, "DeploymentId is not set"},
		{"a deployment that is a number", m{"DeploymentId": 12}, "DeploymentId is a number, not a text"},
		{"a deployment that is an object", m{"DeploymentId": m{}}, "DeploymentId is an object, not a text"},
		{"an ARN without an id", m{"DeploymentId": "arn:aws:codedeploy:r:1:deployment"}, `DeploymentId "arn:aws:codedeploy:r:1:deployment" is an ARN without a deployment id`},
		{"a short ARN", m{"DeploymentId": "arn:aws"}, `DeploymentId "arn:aws" is an ARN without a deployment id`},
		{"a deployment elsewhere", m{"DeploymentId": "../d-X"}, `DeploymentId "../d-X" cannot be the name of a folder`},
		{"a deployment elsewhere in an ARN", m{"DeploymentId": "arn:aws:codedeploy:r:1:deployment/../d-X"}, `DeploymentId "../d-X" cannot be the name of a folder`},
		{"a hidden deployment", m{"DeploymentId": ".."}, `DeploymentId ".." cannot be the name of a folder`},
		{"a deployment with a line end", m{"DeploymentId": "d\nX"}, `DeploymentId "d\nX" cannot be the name of a folder`},
		{"a long deployment", m{"DeploymentId": strings.Repeat("d", 256)}, `DeploymentId "` + strings.Repeat("d", 120) + `"... is longer than a file name can be`},
		{"no group", m{"DeploymentGroupId": nil}, "DeploymentGroupId is not set"},
		{"a group elsewhere", m{"DeploymentGroupId": "a/b"}, `DeploymentGroupId "a/b" cannot be the name of a folder`},
		{"a group elsewhere, the other way", m{"DeploymentGroupId": `a\b`}, `DeploymentGroupId "a\\b" cannot be the name of a folder`},
		{"a group that the caller refuses", m{"DeploymentGroupId": "reserved"}, "DeploymentGroupId: reserved"},
		{"no group name", m{"DeploymentGroupName": nil}, "DeploymentGroupName is not set"},
		{"no application", m{"ApplicationName": json.RawMessage("null")}, "ApplicationName is not set"},
		{"an application with a zero byte", m{"ApplicationName": "a\x00b"}, "ApplicationName contains a zero byte"},
		{"an AppSpec file elsewhere", m{"AppSpecFilename": "../appspec.yml"}, `AppSpecFilename "../appspec.yml" is no path of a file inside the revision`},
		{"an AppSpec file with a loop", m{"AppSpecFilename": "a/../appspec.yml"}, `AppSpecFilename "a/../appspec.yml" is no path of a file inside the revision`},
		{"an absolute AppSpec file", m{"AppSpecFilename": "/etc/passwd"}, `AppSpecFilename "/etc/passwd" is no path of a file inside the revision`},
		{"an AppSpec folder", m{"AppSpecFilename": "a/"}, `AppSpecFilename "a/" is no path of a file inside the revision`},
		{"an AppSpec file that is nothing", m{"AppSpecFilename": "./"}, `AppSpecFilename "./" is no path of a file inside the revision`},
		{"a behaviour that is no text", m{"AgentActionOverrides": m{"AgentOverrides": m{"FileExistsBehavior": true}}}, "AgentActionOverrides.AgentOverrides.FileExistsBehavior is a truth value, not a text"},
		{"overrides that are a list", m{"AgentActionOverrides": []int{1}}, "AgentActionOverrides is a list, not an object"},
		{"events that are a text", m{"AllPossibleLifecycleEvents": "Install"}, "AllPossibleLifecycleEvents is not a list of texts"},
		{"events with a null", m{"AllPossibleLifecycleEvents": []any{"Install", nil}}, "AllPossibleLifecycleEvents is not a list of texts"},
		{"no revision", m{"Revision": nil}, "Revision is not set"},
		{"a revision that is a text", m{"Revision": "S3"}, "Revision is a text, not an object"},
		{"no type of revision", m{"Revision": m{"S3Revision": m{}}}, "Revision.RevisionType is not set"},
		{"an unknown type of revision", m{"Revision": m{"RevisionType": "CodeCommit"}}, `Revision.RevisionType "CodeCommit" is unknown; it can be "S3", "GitHub", "Local File" or "Local Directory"`},
		{"no S3 revision", m{"Revision": m{"RevisionType": "S3"}}, "Revision.S3Revision is not set"},
		{"no bucket", s3(m{"Bucket": nil}), "Revision.S3Revision.Bucket is not set"},
		{"no key", s3(m{"Key": ""}), "Revision.S3Revision.Key is not set"},
		{"no type of archive", s3(m{"BundleType": nil}), "Revision.S3Revision.BundleType is not set"},
		{"an unknown type of archive", s3(m{"BundleType": "rar"}), `Revision.S3Revision.BundleType "rar" is unknown; it can be tar, tgz, zip`},
		{"a version that is a number", s3(m{"Version": 1}), "Revision.S3Revision.Version is a number, not a text"},
		{"no commit", m{"Revision": gitHub(m{"CommitId": nil})}, "Revision.GitHubRevision.CommitId is not set"},
		{"GitHub not anonymous and without a token", m{"Revision": gitHub(m{"Anonymous": false}), "GitHubAccessToken": "hidden"}, "Revision.GitHubRevision.Anonymous is false, but Revision.GitHubRevision.OAuthToken is not there"},
		{"GitHub anonymous or not", m{"Revision": gitHub(m{"Anonymous": "false"})}, "Revision.GitHubRevision.Anonymous is a text, not true or false"},
		{"a token that is a list", m{"GitHubAccessToken": []string{"hidden"}}, "GitHubAccessToken is a list, not a text"},
		{"a local archive of an unknown type", m{"Revision": m{"RevisionType": "Local File", "LocalRevision": m{"Location": "/x", "BundleType": "rpm"}}}, `Revision.LocalRevision.BundleType "rpm" is unknown; it can be tar, tgz, zip, directory`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Open(FormatJSON, text(t, tc.members), Options{AllowUnsigned: true, CheckID: func(kind, id string) error {
				if id == "reserved" {
					return errors.New(kind + ": reserved")
				}
				return nil
			}})
			if want := "cannot read the deployment specification: " + tc.want; err == nil || err.Error() != want {
				t.Errorf("error %v\nwant  %s", err, want)
			}
		})
	}
}

func TestTextsThatAreNoSpecification(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"", "it is no JSON: unexpected end of JSON input"},
		{"{", "it is no JSON: unexpected end of JSON input"},
		{specText + "x", "it is no JSON: invalid character 'x' after top-level value"},
		{"[1]", "it is array, not an object"},
		{"null", "it is null, not an object"},
	} {
		_, err := Open(FormatJSON, tc.text, Options{AllowUnsigned: true})
		if want := "cannot read the deployment specification: " + tc.want; err == nil || err.Error() != want {
			t.Errorf("%q: error %v, want %s", tc.text, err, want)
		}
	}
	if _, err := Open(FormatJSON, "\ufeff"+specText, Options{AllowUnsigned: true}); err != nil {
		t.Errorf("a byte order mark: %v", err)
	}
	// Names match exactly, so a look-alike cannot take the place of a field.
	if _, err := Open(FormatJSON, strings.Replace(specText, "DeploymentGroupName", "deploymentgroupname", 1), Options{AllowUnsigned: true}); err == nil {
		t.Error("a field in another spelling was accepted")
	}
}

func TestASecretIsNeverShown(t *testing.T) {
	spec := gitHubSpec("", "hidden")
	asJSON, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{
		fmt.Sprint(spec), fmt.Sprintf("%v %+v %#v", *spec, *spec, *spec), fmt.Sprintf("%s %q %x %d", spec.GitHubToken, spec.GitHubToken, spec.GitHubToken, spec.GitHubToken),
		string(asJSON), spec.GitHubToken.String(), fmt.Sprint(map[Secret]int{"hidden": 1}),
	} {
		if strings.Contains(shown, "hidden") || strings.Contains(shown, "68696464656e") {
			t.Errorf("shown: %s", shown)
		}
	}
	if !strings.Contains(string(asJSON), `"GitHubToken":"REDACTED"`) {
		t.Errorf("%s", asJSON)
	}
	if spec.GitHubToken.Reveal() != "hidden" || Secret("").String() != "" {
		t.Error("the secret is lost")
	}
}
