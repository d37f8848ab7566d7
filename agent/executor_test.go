package agent

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"codedeploy-agent/appspec"
	"codedeploy-agent/hooks"
	"codedeploy-agent/internal/codedeploy"
	"codedeploy-agent/internal/deployspec"
	"codedeploy-agent/internal/identity"
)

func TestVariablesOfAScript(t *testing.T) {
	base := []string{
		"LIFECYCLE_EVENT=BeforeInstall", "DEPLOYMENT_ID=d-1", "APPLICATION_NAME=shop",
		"DEPLOYMENT_GROUP_NAME=blue", "DEPLOYMENT_GROUP_ID=g-1",
	}
	for name, c := range map[string]struct {
		revision deployspec.Revision
		want     []string
	}{
		"S3 without version and ETag leaves both unset": {
			deployspec.Revision{Type: deployspec.S3, S3: &deployspec.S3Object{Bucket: "b", Key: "k"}},
			[]string{"BUNDLE_BUCKET=b", "BUNDLE_KEY=k"},
		},
		"S3 with version and ETag": {
			deployspec.Revision{Type: deployspec.S3, S3: &deployspec.S3Object{Bucket: "b", Key: "k", Version: "v", ETag: "e"}},
			[]string{"BUNDLE_BUCKET=b", "BUNDLE_KEY=k", "BUNDLE_VERSION=v", "BUNDLE_ETAG=e"},
		},
		"GitHub": {
			deployspec.Revision{Type: deployspec.GitHub, GitHub: &deployspec.GitHubCommit{CommitID: "c0ffee"}},
			[]string{"BUNDLE_COMMIT=c0ffee"},
		},
		"local": {
			deployspec.Revision{Type: deployspec.LocalDirectory, Local: &deployspec.LocalBundle{Location: "/srv"}},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := (&Executor{}).variables("BeforeInstall", &deployspec.Specification{
				DeploymentID: "d-1", DeploymentGroupID: "g-1", DeploymentGroupName: "blue", ApplicationName: "shop", Revision: c.revision,
			})
			if diff := cmp.Diff(append(base[:5:5], c.want...), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEveryOutcomeOfAHookHasItsCode(t *testing.T) {
	for outcome, want := range map[hooks.Outcome]codedeploy.ErrorCode{
		hooks.ScriptMissing: 1, hooks.NotExecutable: 2, hooks.TimedOut: 3, hooks.Failed: 4,
		hooks.Error: 5, hooks.OutputsLeftOpen: 6, hooks.Lost: 7, "of a later version": 5,
	} {
		got := hookOutcome("AfterInstall", hooks.Result{Outcome: outcome, Script: "run.sh", Message: "why", Log: "log"})
		if got.status != codedeploy.Failed || got.diagnostics.Code != want {
			t.Errorf("%s is reported as %s with code %d, want Failed with %d", outcome, got.status, got.diagnostics.Code, want)
		}
	}
	good := hookOutcome("AfterInstall", hooks.Result{Outcome: hooks.Succeeded, Log: "[stdout]secret"})
	want := outcome{codedeploy.Succeeded, codedeploy.Diagnostics{Message: "Succeeded: "}}
	if good != want {
		t.Errorf("a hook that went well is reported as %+v", good)
	}
}

func TestLocalEvents(t *testing.T) {
	for name, c := range map[string]struct {
		asked, want []string
		refused     string
	}{
		"none means all":                    {nil, hooks.Events(), ""},
		"what must come first is put first": {[]string{"AfterInstall"}, []string{"DownloadBundle", "Install", "AfterInstall"}, ""},
		"in the wrong order they are swapped": {
			[]string{"Install", "DownloadBundle"}, []string{"DownloadBundle", "Install"}, ""},
		"stop events may come before the download": {
			[]string{"ApplicationStop", "DownloadBundle", "BeforeInstall", "Install"},
			[]string{"ApplicationStop", "DownloadBundle", "BeforeInstall", "Install"}, ""},
		"others may not":             {[]string{"AfterInstall", "DownloadBundle", "Install"}, nil, "DownloadBundle"},
		"nor before the installing":  {[]string{"DownloadBundle", "ValidateService", "Install"}, nil, "Install"},
		"custom events come through": {[]string{"Smoke"}, []string{"DownloadBundle", "Install", "Smoke"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := localEvents(c.asked)
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), "cannot come before "+c.refused) {
					t.Errorf("got %v, %v", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLocationsOfALocalDeployment(t *testing.T) {
	for location, want := range map[string]deployspec.Revision{
		"s3://b/a/k.zip?versionId=v&etag=e": {Type: deployspec.S3, S3: &deployspec.S3Object{Bucket: "b", Key: "a/k.zip", BundleType: "zip", Version: "v", ETag: "e"}},
		"https://github.com/o/r":            {Type: deployspec.GitHub, GitHub: &deployspec.GitHubCommit{Account: "o", Repository: "r", CommitID: "HEAD", BundleType: "zip", Anonymous: true}},
		"https://github.com/o/r.git":        {Type: deployspec.GitHub, GitHub: &deployspec.GitHubCommit{Account: "o", Repository: "r", CommitID: "HEAD", BundleType: "zip", Anonymous: true}},
		"https://github.com/o/r/tree/a/b":   {Type: deployspec.GitHub, GitHub: &deployspec.GitHubCommit{Account: "o", Repository: "r", CommitID: "a/b", BundleType: "zip", Anonymous: true}},
		"https://api.github.com/repos/o/r/tarball/c": {
			Type: deployspec.GitHub, GitHub: &deployspec.GitHubCommit{Account: "o", Repository: "r", CommitID: "c", BundleType: "tar", Anonymous: true}},
	} {
		l := LocalDeployment{Location: location, Type: "zip"}
		got, err := l.revision("appspec.yml")
		if err != nil {
			t.Errorf("%s: %v", location, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", location, diff)
		}
	}
	for _, location := range []string{"http://example.com/x.zip", "https://example.com/x.zip", "s3://bucket", "https://github.com/o", "nowhere.zip"} {
		if got, err := (LocalDeployment{Location: location, Type: "zip"}).revision("appspec.yml"); err == nil {
			t.Errorf("%s is taken for %+v", location, got)
		}
	}
}

func TestCustomLifecycleEventsMustAgree(t *testing.T) {
	as := &appspec.Spec{Hooks: map[string][]appspec.Script{"AfterInstall": nil, "Smoke": nil}}
	for name, c := range map[string]struct {
		possible []string
		want     string
	}{
		"not restricted":            {nil, ""},
		"agreed":                    {append(hooks.Events(), "Smoke"), ""},
		"the AppSpec has more":      {hooks.Events(), "does not know: Smoke"},
		"the deployment wants more": {append(hooks.Events(), "Smoke", "Warm"), "no hook: Warm"},
	} {
		err := checkLifecycleEvents(c.possible, as)
		if (c.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOneAtATimeWorksOnAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var locks groupLocks
		var waits []string
		waiting := func(what string) func() {
			waits = append(waits, what)
			return func() { waits = append(waits, "over") }
		}
		first, err := locks.lock(t.Context(), "g", "Install of d-1", waiting)
		if err != nil {
			t.Fatal(err)
		}
		other, err := locks.lock(t.Context(), "h", "Install of d-9", waiting)
		if err != nil {
			t.Fatal(err)
		}
		other()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := locks.lock(ctx, "g", "Install of d-3", waiting); err == nil {
			t.Error("two work on one group")
		}
		entered := make(chan func())
		go func() {
			unlock, err := locks.lock(t.Context(), "g", "DownloadBundle of d-2", waiting)
			if err != nil {
				t.Error(err)
			}
			entered <- unlock
		}()
		synctest.Wait()
		first()
		(<-entered)()
		want := []string{"Install of d-3 waits for Install of d-1", "over", "DownloadBundle of d-2 waits for Install of d-1", "over"}
		if diff := cmp.Diff(want, waits); diff != "" {
			t.Error(diff)
		}
		if len(locks.held) != 0 {
			t.Error("locks are kept of groups that nobody uses")
		}
	})
}

func TestHealthIsHonest(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		status Status
		want   bool
	}{
		"just started":                    {Status{Started: now, HealthySeconds: 60}, true},
		"never reached the service":       {Status{Started: now.Add(-2 * time.Minute), HealthySeconds: 60}, false},
		"polled recently":                 {Status{Started: now.Add(-time.Hour), LastPoll: now.Add(-time.Second), HealthySeconds: 60}, true},
		"the last good poll was long ago": {Status{Started: now.Add(-time.Hour), LastPoll: now.Add(-2 * time.Minute), HealthySeconds: 60}, false},
	} {
		if got := c.status.Healthy(now); got != c.want {
			t.Errorf("%s: healthy is %t", name, got)
		}
	}
}

func TestScriptsOfAnOnPremisesHostLearnItsRegionAndName(t *testing.T) {
	for _, c := range []struct {
		name string
		host identity.Host
		want []string
	}{
		{"on premises", identity.Host{ID: "arn:aws:iam::123456789012:user/web-1", Region: "eu-west-1", OnPremises: true},
			[]string{"AWS_REGION=eu-west-1", "AWS_HOST_IDENTIFIER=arn:aws:iam::123456789012:user/web-1"}},
		{"EC2", identity.Host{ID: "arn:aws:ec2:eu-west-1:123456789012:instance/i-0", Region: "eu-west-1"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, (&Host{Host: &c.host}).variables()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
