package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"codedeploy-agent/appspec"
	"codedeploy-agent/hooks"
	"codedeploy-agent/internal/codedeploy"
	"codedeploy-agent/internal/deployspec"
)

// DefaultLocalGroup is the deployment group of local deployments that name none.
const DefaultLocalGroup = "default-local-deployment-group"

// LocalDeployment is a deployment on this host without the service, as codedeploy-local describes it.
type LocalDeployment struct {
	// Location is a path, an s3:// URL or a GitHub URL, as typed.
	Location string
	// Type is tgz, tar, zip or directory.
	Type string
	// FileExistsBehavior is DISALLOW, OVERWRITE or RETAIN.
	FileExistsBehavior string
	// Group is the deployment group's id: the folder below the deployment root.
	Group, GroupName, Application string
	// Events replaces the standard lifecycle events when it is not empty.
	Events []string
	// AppSpecFilename is empty for the standard names.
	AppSpecFilename string
	GitHubToken     deployspec.Secret
}

// ErrLocalScript is in the error of a local deployment of which a script failed; where it lies has been written.
var ErrLocalScript = errors.New("a script of the local deployment failed")

// localScriptError says why, for a person.
type localScriptError struct{ event, location, message string }

func (e *localScriptError) Error() string        { return e.event + ": " + e.message }
func (e *localScriptError) Is(target error) bool { return target == ErrLocalScript }

// DeployLocally runs the lifecycle events of a deployment one after the other, through the same steps as the daemon,
// and writes what 1.x wrote to out: the folder, the script that failed, if one did, the log, and the success.
func (x *Executor) DeployLocally(ctx context.Context, l LocalDeployment, out io.Writer) error {
	spec, err := l.specification()
	if err != nil {
		return err
	}
	if err := x.Root.CheckID("deployment group", spec.DeploymentGroupID); err != nil {
		return err
	}
	events, err := localEvents(l.Events)
	if err != nil {
		return err
	}
	spec.AllPossibleLifecycleEvents = union(hooks.Events(), events)
	d := x.deployment(spec)
	_, _ = fmt.Fprintf(out, "Starting to execute deployment from within folder %s\n", d.Dir())
	err = x.runAllLocally(ctx, events, spec)
	if script := new(localScriptError); errors.As(err, &script) {
		_, _ = fmt.Fprintf(out, "Your local deployment failed while trying to execute your script at %s\n", filepath.Join(d.Archive(), script.location))
	}
	_, _ = fmt.Fprintf(out, "See the deployment log at %s for more details\n", d.ScriptsLog())
	if err == nil {
		_, _ = fmt.Fprintln(out, "AppSpec file valid. Local deployment successful")
	}
	return err
}

func (x *Executor) runAllLocally(ctx context.Context, events []string, spec *deployspec.Specification) error {
	for _, event := range events {
		failure, err := x.runLocally(ctx, event, spec)
		if err != nil {
			return fmt.Errorf("%s: %w", event, err)
		}
		if failure != nil {
			return &localScriptError{event, failure.Script, failure.Message}
		}
	}
	return nil
}

// runLocally carries out one event. A script that failed is returned as its result, everything else as an error.
func (x *Executor) runLocally(ctx context.Context, event string, spec *deployspec.Specification) (*hooks.Result, error) {
	step, err := x.Prepare(event, spec, "local:"+spec.DeploymentID)
	switch {
	case err != nil:
		return nil, err
	case step.Run != nil:
		if result := step.Run(ctx); result.status != codedeploy.Succeeded {
			return nil, errors.New(result.diagnostics.Message)
		}
		return nil, nil
	case step.Hook == nil:
		return nil, x.knownLocally(event, spec)
	}
	record, err := os.MkdirTemp(x.Root.Journal(), "local-")
	if err != nil {
		return nil, fmt.Errorf("cannot keep the records of the hook: %w", err)
	}
	defer func() { _ = os.RemoveAll(record) }()
	request := *step.Hook
	request.Record = filepath.Join(record, "hook")
	execution, err := hooks.Start(ctx, request, x.Log)
	if err != nil {
		return nil, err
	}
	result, err := execution.Wait(ctx)
	if ctx.Err() != nil {
		return nil, errors.New("stopped while a hook was running; the hook goes on to its end, as it would without its agent")
	}
	if err != nil {
		return nil, err
	}
	if result.Outcome == hooks.Succeeded {
		return nil, nil
	}
	return &result, nil
}

// knownLocally refuses an event that is neither a standard one nor has a hook: it is a typing error.
func (x *Executor) knownLocally(event string, spec *deployspec.Specification) error {
	if slices.Contains(hooks.Events(), event) || hooks.Scriptable(event) {
		return nil
	}
	return fmt.Errorf("the AppSpec file has no hook for this lifecycle event; the standard ones are %s", strings.Join(hooks.Events(), ", "))
}

// localEvents completes and checks the events that a person asked for.
func localEvents(asked []string) ([]string, error) {
	if len(asked) == 0 {
		return hooks.Events(), nil
	}
	events := slices.Clone(asked)
	if !slices.Contains(events, hooks.Install) {
		events = append([]string{hooks.Install}, events...)
	}
	if !slices.Contains(events, hooks.DownloadBundle) {
		events = append([]string{hooks.DownloadBundle}, events...)
	}
	d, i := slices.Index(events, hooks.DownloadBundle), slices.Index(events, hooks.Install)
	if i < d {
		events[i], events[d] = hooks.DownloadBundle, hooks.Install
		d, i = i, d
	}
	beforeDownload := []string{hooks.BeforeBlockTraffic, hooks.AfterBlockTraffic, hooks.ApplicationStop}
	beforeInstall := append(slices.Clone(beforeDownload), hooks.DownloadBundle, hooks.BeforeInstall)
	if err := onlyBefore(events[:d], hooks.DownloadBundle, beforeDownload); err != nil {
		return nil, err
	}
	return events, onlyBefore(events[:i], hooks.Install, beforeInstall)
}

func onlyBefore(events []string, limit string, allowed []string) error {
	for _, event := range events {
		if !slices.Contains(allowed, event) {
			return fmt.Errorf("the event %s cannot come before %s; only %s can", event, limit, strings.Join(allowed, ", "))
		}
	}
	return nil
}

func union(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(slices.Clip(a), s)
		}
	}
	return a
}

// specification builds what the service would have sent.
func (l LocalDeployment) specification() (*deployspec.Specification, error) {
	behavior := appspec.FileExistsBehavior(l.FileExistsBehavior)
	if !slices.Contains([]appspec.FileExistsBehavior{appspec.Disallow, appspec.Overwrite, appspec.Retain}, behavior) {
		return nil, fmt.Errorf("the file exists behavior is %q; it must be DISALLOW, OVERWRITE or RETAIN", l.FileExistsBehavior)
	}
	if !slices.Contains([]string{"tgz", "tar", "zip", "directory"}, l.Type) {
		return nil, fmt.Errorf("the type is %q; it must be tgz, tar, zip or directory", l.Type)
	}
	spec := &deployspec.Specification{
		DeploymentID:        localID(),
		DeploymentGroupID:   l.Group,
		DeploymentGroupName: l.GroupName,
		ApplicationName:     l.Application,
		Creator:             "user",
		Type:                "IN_PLACE",
		AppSpecFilename:     l.AppSpecFilename,
		FileExistsBehavior:  l.FileExistsBehavior,
		GitHubToken:         l.GitHubToken,
	}
	if spec.AppSpecFilename == "" {
		spec.AppSpecFilename = "appspec.yml"
	}
	var err error
	spec.Revision, err = l.revision(spec.AppSpecFilename)
	return spec, err
}

func (l LocalDeployment) revision(appSpecFilename string) (deployspec.Revision, error) {
	switch {
	case strings.HasPrefix(l.Location, "s3://"):
		return s3Location(l.Location, l.Type)
	case strings.HasPrefix(l.Location, "https://github.com/"), strings.HasPrefix(l.Location, "https://api.github.com/"):
		return gitHubLocation(l.Location, l.Type)
	case strings.HasPrefix(l.Location, "http://"), strings.HasPrefix(l.Location, "https://"):
		return deployspec.Revision{}, fmt.Errorf("the location %q is no GitHub repository; other web addresses are not supported", l.Location)
	}
	path, err := filepath.Abs(l.Location)
	if err != nil {
		return deployspec.Revision{}, err
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return deployspec.Revision{}, fmt.Errorf("the bundle %q cannot be read: %w", l.Location, err)
	case l.Type == "directory" && !info.IsDir():
		return deployspec.Revision{}, fmt.Errorf("the bundle %q is a file, but its type is directory; name the type with --type", l.Location)
	case l.Type != "directory" && info.IsDir():
		return deployspec.Revision{}, fmt.Errorf("the bundle %q is a directory, but its type is %s", l.Location, l.Type)
	}
	bundle := &deployspec.LocalBundle{Location: path, BundleType: l.Type}
	if !info.IsDir() {
		return deployspec.Revision{Type: deployspec.LocalFile, Local: bundle}, nil
	}
	_, err = appspec.Locate(path, appSpecFilename)
	return deployspec.Revision{Type: deployspec.LocalDirectory, Local: bundle}, err
}

// s3Location reads s3://bucket/key?versionId=V&etag=E.
func s3Location(location, bundleType string) (deployspec.Revision, error) {
	u, err := url.Parse(location)
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") == "" {
		return deployspec.Revision{}, fmt.Errorf("the location %q is not of the form s3://bucket/key[?versionId=V&etag=E]", location)
	}
	if bundleType == "directory" {
		return deployspec.Revision{}, fmt.Errorf("the location %q is an archive in S3; name its type with --type tgz, tar or zip", location)
	}
	return deployspec.Revision{Type: deployspec.S3, S3: &deployspec.S3Object{
		Bucket: u.Host, Key: strings.TrimPrefix(u.Path, "/"), BundleType: bundleType,
		Version: u.Query().Get("versionId"), ETag: u.Query().Get("etag"),
	}}, nil
}

// gitHubLocation reads the address of a repository, or of an archive of the GitHub API.
func gitHubLocation(location, bundleType string) (deployspec.Revision, error) {
	u, err := url.Parse(location)
	if err != nil {
		return deployspec.Revision{}, fmt.Errorf("the location %q is no URL", location)
	}
	if bundleType != "tar" {
		bundleType = "zip"
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	commit := "HEAD"
	if u.Host == "api.github.com" { // repos/OWNER/REPOSITORY/zipball/COMMIT
		if len(parts) < 4 || parts[0] != "repos" || (parts[3] != "zipball" && parts[3] != "tarball") {
			return deployspec.Revision{}, fmt.Errorf("the location %q is no archive of the GitHub API", location)
		}
		bundleType = map[string]string{"zipball": "zip", "tarball": "tar"}[parts[3]]
		if len(parts) > 4 {
			commit = strings.Join(parts[4:], "/")
		}
		parts = parts[1:3]
	}
	if len(parts) >= 4 && (parts[2] == "tree" || parts[2] == "commit") {
		commit, parts = strings.Join(parts[3:], "/"), parts[:2]
	}
	if len(parts) != 2 {
		return deployspec.Revision{}, fmt.Errorf("the location %q is not of the form https://github.com/OWNER/REPOSITORY", location)
	}
	return deployspec.Revision{Type: deployspec.GitHub, GitHub: &deployspec.GitHubCommit{
		Account: parts[0], Repository: strings.TrimSuffix(parts[1], ".git"), CommitID: commit, BundleType: bundleType, Anonymous: true,
	}}, nil
}

// localID makes an id in the form of 1.x: d-, nine letters or digits, -local.
func localID() string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	b := make([]byte, 9)
	_, _ = rand.Read(b)
	for i := range b {
		b[i] = letters[int(b[i])%len(letters)]
	}
	return "d-" + string(b) + "-local"
}
