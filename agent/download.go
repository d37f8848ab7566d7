package agent

import (
	"context"
	"errors"
	"os"
	"slices"

	"go.uber.org/zap"

	"codedeploy-agent/appspec"
	"codedeploy-agent/hooks"
	"codedeploy-agent/internal/bundle"
	"codedeploy-agent/internal/deployspec"
	"codedeploy-agent/internal/state"
)

// download carries out DownloadBundle: the revision lies unpacked in the deployment's folder, and what is wrong with
// its AppSpec file is known before anything is stopped or replaced.
func (x *Executor) download(ctx context.Context, spec *deployspec.Specification) outcome {
	group, d := x.Root.Group(spec.DeploymentGroupID), x.deployment(spec)
	log := x.Log.With(zap.String("deployment", spec.DeploymentID))
	old, err := x.chooseOldRevisions(group, d)
	if err != nil {
		return failed(err)
	}
	reused := x.reuse(ctx, spec, d, log)
	if !reused {
		err = x.bring(ctx, spec, d, &old, log)
	}
	if err == nil {
		err = x.checkAppSpec(d, spec, log)
	}
	if err == nil {
		err = group.SetMostRecent(d)
	}
	if err != nil {
		return failed(err)
	}
	old.Remove(log)
	if reused {
		return succeeded("the archive of deployment " + spec.ReuseArchiveFrom + " was used again")
	}
	return succeeded("")
}

// chooseOldRevisions picks what goes when the new revision is in place, or earlier when it has no room. Deployments in
// progress stay.
func (x *Executor) chooseOldRevisions(group state.Group, current state.Deployment) (bundle.Doomed, error) {
	policy := x.Revisions.Keep
	policy.Current = current
	tracked, err := x.Root.AllTracked()
	if err != nil {
		return nil, err
	}
	for _, t := range tracked {
		policy.Protected = append(policy.Protected, group.Deployment(t.DeploymentID))
	}
	return bundle.Retain(group, policy)
}

// makeRoom removes old revisions before their time. The most recent one is still that until the new one is in place, so
// it stays for now.
func makeRoom(group state.Group, old *bundle.Doomed, log *zap.Logger) {
	recent, ok, err := group.MostRecent()
	isRecent := func(path string) bool { return err != nil || ok && path == recent.Dir() }
	slices.DeleteFunc(slices.Clone(*old), isRecent).Remove(log)
	*old = slices.DeleteFunc(*old, func(path string) bool { return !isRecent(path) })
}

// reuse takes the archive of an earlier deployment, when this deployment asks for it. Whatever is wrong with that
// archive, the revision can be downloaded.
func (x *Executor) reuse(ctx context.Context, spec *deployspec.Specification, d state.Deployment, log *zap.Logger) bool {
	if spec.ReuseArchiveFrom == "" || !x.Revisions.Reuse {
		return false
	}
	err := x.Root.CheckID("deployment id", spec.ReuseArchiveFrom)
	if err == nil {
		from := x.Root.Group(spec.DeploymentGroupID).Deployment(spec.ReuseArchiveFrom)
		hasAppSpec := func(archive string) error {
			_, err := appspec.Locate(archive, spec.AppSpecFilename)
			return err
		}
		err = bundle.Reuse(ctx, from, d, hasAppSpec, x.Revisions.Unpack, log)
	}
	if err != nil {
		log.Warn("The archive of an earlier deployment cannot be used again; the revision is downloaded.", zap.Error(err))
	}
	return err == nil
}

// bring puts the revision into the deployment's archive. When it has no room, old revisions go first.
func (x *Executor) bring(ctx context.Context, spec *deployspec.Specification, d state.Deployment, old *bundle.Doomed, log *zap.Logger) error {
	if spec.Revision.Type == deployspec.LocalDirectory {
		_, err := bundle.CopyDirectory(ctx, spec.Revision.Local.Location, d.Archive(), x.Revisions.Unpack, log)
		return err
	}
	info, err := x.fetch(ctx, spec, d, old, log)
	if err != nil {
		return err
	}
	unpack := func() (bundle.Summary, error) {
		return bundle.Unpack(ctx, d.Bundle(), bundleType(spec.Revision), d.Archive(), x.Revisions.Unpack, log)
	}
	summary, err := unpack()
	if short := new(bundle.SpaceError); errors.As(err, &short) && len(*old) > 0 {
		log.Warn("The revision has no room; old revisions are removed first.", zap.Error(err))
		makeRoom(x.Root.Group(spec.DeploymentGroupID), old, log)
		summary, err = unpack()
	}
	if err != nil {
		_ = os.Remove(d.Bundle()) // it would only take space: the next attempt fetches it again
		return err
	}
	for _, w := range summary.Warnings {
		log.Warn(w)
	}
	log.Info("The revision is unpacked.", zap.Int64("entries", summary.Entries), zap.Int64("bytes", summary.Bytes))
	if err := bundle.RecordDownload(d, info); err != nil {
		log.Warn("A detail of the download cannot be written down.", zap.Error(err))
	}
	if x.Revisions.KeepBundles {
		return nil
	}
	if err := os.Remove(d.Bundle()); err != nil {
		log.Warn("The downloaded archive cannot be removed.", zap.Error(err))
	}
	return nil
}

// fetch puts the archive of the revision at its place; one that lies on this host is only linked.
func (x *Executor) fetch(ctx context.Context, spec *deployspec.Specification, d state.Deployment, old *bundle.Doomed, log *zap.Logger) (bundle.Info, error) {
	if spec.Revision.Type == deployspec.LocalFile {
		return bundle.Info{}, bundle.LinkLocal(spec.Revision.Local.Location, d.Bundle())
	}
	clients := x.Clients()
	clients.GitHubToken = spec.GitHubToken
	return bundle.Fetch(ctx, spec.Revision, d.Bundle(), clients, bundle.FetchOptions{
		Volatile: !x.Revisions.KeepBundles,
		MakeRoom: func(int64) { makeRoom(x.Root.Group(spec.DeploymentGroupID), old, log) },
	}, log)
}

// bundleType is the kind of archive that a revision comes as. GitHub makes a tarball unless it is asked for a zip.
func bundleType(r deployspec.Revision) string {
	switch {
	case r.S3 != nil:
		return r.S3.BundleType
	case r.Local != nil:
		return r.Local.BundleType
	case r.GitHub != nil && r.GitHub.BundleType == "zip":
		return "zip"
	}
	return "tgz"
}

// checkAppSpec refuses what no later command could use, and writes every other finding to the log.
func (x *Executor) checkAppSpec(d state.Deployment, spec *deployspec.Specification, log *zap.Logger) error {
	as, findings, err := appspec.Load(d.Archive(), spec.AppSpecFilename)
	if err != nil {
		return err
	}
	findings = append(findings, hooks.Check(d.Archive(), as)...)
	findings.Sort()
	for _, f := range findings.Warnings() {
		log.Warn(f.String())
	}
	return nil
}
