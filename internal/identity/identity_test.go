package identity

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"codedeploy-agent/internal/config"
)

// resolve asks once, with an on-premises file of the given text ("" for none).
func resolve(t *testing.T, file string, change ...func(*config.Config)) (*Host, *observer.ObservedLogs, error) {
	t.Helper()
	cfg := config.Default()
	cfg.OnPremisesConfigFile = filepath.Join(t.TempDir(), "codedeploy.onpremises.yml")
	if file != "" {
		if err := os.WriteFile(cfg.OnPremisesConfigFile, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range change {
		c(cfg)
	}
	core, logs := observer.New(zap.DebugLevel)
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	host, err := Resolve(t.Context(), cfg, client, zap.New(core))
	return host, logs, err
}

func keyOf(t *testing.T, h *Host) string {
	t.Helper()
	c, err := h.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c.AccessKeyID
}

func allowV1(c *config.Config) { c.DisableIMDSv1 = false }

const userFile = `---
region: eu-central-1
iam_user_arn: arn:aws:iam::123456789012:user/web-1
aws_access_key_id: AKIDFILE
aws_secret_access_key: hidden
`

// rubyFile is the same with the keys as Ruby writes its symbols.
const rubyFile = `---
:region: eu-central-1
:iam_user_arn: arn:aws:iam::123456789012:user/web-1
:aws_access_key_id: AKIDFILE
:aws_secret_access_key: hidden
`

func TestWhoThisHostIs(t *testing.T) {
	instance := Host{ID: "arn:aws:ec2:eu-west-1:123456789012:instance/i-0abc", Region: "eu-west-1", Domain: "amazonaws.com"}
	document := "dynamic/instance-identity/document"
	for _, tc := range []struct {
		name    string
		file    string
		prepare func(*testing.T, *fakeIMDS)
		want    Host
	}{
		{"an instance", "", nil, instance},
		{"an instance in China", "", func(_ *testing.T, f *fakeIMDS) {
			f.page(document, `{"region":"cn-north-1","accountId":"1","instanceId":"i-1"}`)
			f.page("meta-data/services/partition", "aws-cn")
			f.page("meta-data/services/domain", "amazonaws.com.cn")
		}, Host{ID: "arn:aws-cn:ec2:cn-north-1:1:instance/i-1", Region: "cn-north-1", Domain: "amazonaws.com.cn"}},
		{"metadata that do not know partition and domain", "", func(_ *testing.T, f *fakeIMDS) {
			f.page(document, `{"region":"eusc-de-east-1","accountId":"1","instanceId":"i-1"}`)
			f.page("meta-data/services/partition", "")
			f.page("meta-data/services/domain", "")
		}, Host{ID: "arn:aws-eusc:ec2:eusc-de-east-1:1:instance/i-1", Region: "eusc-de-east-1", Domain: "amazonaws.eu"}},
		{"an instance with another region in the environment", "", func(t *testing.T, _ *fakeIMDS) { t.Setenv("AWS_REGION", "cn-north-1") },
			Host{ID: instance.ID, Region: "cn-north-1", Domain: "amazonaws.com.cn"}},
		{"an instance with another name in the environment", "", func(t *testing.T, _ *fakeIMDS) { t.Setenv("AWS_HOST_IDENTIFIER", "me") },
			Host{ID: "me", Region: "eu-west-1", Domain: "amazonaws.com"}},
		{"region and name in the environment ask for nothing else", "", func(t *testing.T, f *fakeIMDS) {
			f.page(document, "")
			t.Setenv("AWS_HOST_IDENTIFIER", "me")
			t.Setenv("AWS_REGION", "eu-west-3")
		}, Host{ID: "me", Region: "eu-west-3", Domain: "amazonaws.com"}},
		{"an IAM user", userFile, nil,
			Host{ID: "arn:aws:iam::123456789012:user/web-1", Region: "eu-central-1", Domain: "amazonaws.com", OnPremises: true}},
		{"an IAM user, written for Ruby", rubyFile, nil,
			Host{ID: "arn:aws:iam::123456789012:user/web-1", Region: "eu-central-1", Domain: "amazonaws.com", OnPremises: true}},
		{"a file that names nobody", "region: eu-central-1\n", nil, instance},
		{"an empty file", "\n", nil, instance},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newIMDS(t)
			if tc.prepare != nil {
				tc.prepare(t, f)
			}
			got, logs, err := resolve(t, tc.file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, *got, cmpopts.IgnoreFields(Host{}, "Credentials", "Source")); diff != "" {
				t.Errorf("host (-want +got):\n%s", diff)
			}
			want := "AKID1"
			if got.OnPremises {
				want = "AKIDFILE"
			}
			if key := keyOf(t, got); key != want {
				t.Errorf("key %q, want %q", key, want)
			}
			if logs.Len() != 0 {
				t.Errorf("log: %v", logs.All())
			}
		})
	}
}

func TestOnPremisesFilesThatCannotBeUsed(t *testing.T) {
	for _, tc := range []struct{ name, file, want string }{
		{"no region", "iam_user_arn: a\naws_access_key_id: b\naws_secret_access_key: hidden\n", "'region' key is required when 'iam_user_arn' is provided"},
		{"no key", "iam_user_arn: a\nregion: eu-west-1\naws_secret_access_key: hidden\n", "'aws_access_key_id' key is required when 'iam_user_arn' is provided"},
		{"no secret", "iam_user_arn: a\nregion: eu-west-1\naws_access_key_id: b\n", "'aws_secret_access_key' key is required when 'iam_user_arn' is provided"},
		{"no credentials file", "iam_session_arn: a\nregion: eu-west-1\n", "'aws_credentials_file' key is required when 'iam_session_arn' is provided"},
		{"two names", "iam_session_arn: a\niam_user_arn: b\nregion: eu-west-1\n", "it has both 'iam_user_arn' and 'iam_session_arn'; only one of them can say who this host is"},
		{"a zone", strings.Replace(userFile, "eu-central-1", "eu-central-1a", 1), `cannot use "eu-central-1a" as a region: it is an Availability Zone of region "eu-central-1"`},
		{"no YAML", "a: b: c\n", "it is no valid YAML: mapping values are not allowed in this context"},
		{"a list", "- hidden\n", "it is no valid YAML: it does not consist of keys and values"},
		{"a list for a text", "iam_user_arn: [hidden]\n", `line 1: "iam_user_arn" is not a text`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			newIMDS(t)
			_, _, err := resolve(t, tc.file)
			if err == nil || !strings.HasSuffix(err.Error(), `codedeploy.onpremises.yml": `+tc.want) {
				t.Errorf("error %v\nwant %s", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "hidden") {
				t.Error("the error shows what is in the file")
			}
		})
	}
}

func TestKeysThatEverybodyCanReadAreWarnedAbout(t *testing.T) {
	_, logs, err := resolve(t, userFile, func(c *config.Config) {
		if err := os.Chmod(c.OnPremisesConfigFile, 0o644); err != nil {
			t.Fatal(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if logs.Len() != 1 || !strings.Contains(logs.All()[0].Message, "chmod 600") {
		t.Errorf("log: %v", logs.All())
	}
}

func TestKeysOfTheEnvironmentAreIgnored(t *testing.T) {
	newIMDS(t)
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "x")
	if err := os.MkdirAll(filepath.Join(home, ".aws"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".aws", "credentials"), []byte("[default]\naws_access_key_id=AKIDHOME\naws_secret_access_key=x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	host, _, err := resolve(t, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := keyOf(t, host); got != "AKID1" {
		t.Errorf("key %q", got)
	}
}

func TestAnswersOfBadMetadataServicesAreExplained(t *testing.T) {
	for _, tc := range []struct {
		name    string
		prepare func(*fakeIMDS)
		want    string
	}{
		{"switched off", func(f *fakeIMDS) { f.noTokens = 403 }, "it is switched off for this instance"},
		{"tokens get lost", func(f *fakeIMDS) { f.slow = true }, "its hop limit may be too low"},
		{"away", func(f *fakeIMDS) { f.Close() }, "so this is no EC2 instance or its network is not up"},
		{"version 1 only", func(f *fakeIMDS) { f.noTokens, f.v1 = 404, true }, "answers /latest/api/token with HTTP 404"},
		{"an odd document", func(f *fakeIMDS) { f.page("dynamic/instance-identity/document", "{}") }, "the instance identity document does not name region, account and instance"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newIMDS(t)
			tc.prepare(f)
			_, _, err := resolve(t, "")
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "there is no on-premises file") {
				t.Errorf("error %v\nwant ...%s...", err, tc.want)
			}
		})
	}
}

func TestVersion1IsUsedOnlyWhereItIsAllowed(t *testing.T) {
	f := newIMDS(t)
	f.noTokens, f.v1 = http.StatusNotFound, true
	host, logs, err := resolve(t, "", allowV1)
	if err != nil {
		t.Fatal(err)
	}
	if got := keyOf(t, host); got != "AKID1" {
		t.Errorf("key %q", got)
	}
	if logs.FilterMessageSnippet("disable_imds_v1").Len() != 1 {
		t.Errorf("log: %v", logs.All())
	}
	f.v1 = false
	if _, _, err := resolve(t, "", allowV1); err == nil || !strings.Contains(err.Error(), "refuses version 1") {
		t.Errorf("error %v", err)
	}
}

func TestATokenThatWasRevokedIsReplaced(t *testing.T) {
	f := newIMDS(t)
	m, err := newMetadata(f.Client(), false, func(string) string { return f.URL }, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Client().CloseIdleConnections()
	for range 2 {
		if _, err := m.document(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.mu.Lock()
		f.tokens = 7 // the service has been restarted
		f.mu.Unlock()
	}
}

func TestARoleThatIsAttachedLateIsFoundWithoutARestart(t *testing.T) {
	f := newIMDS(t)
	f.page("meta-data/iam/security-credentials/", "")
	host, _, err := resolve(t, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := host.Credentials.Retrieve(t.Context()); err == nil || !strings.Contains(err.Error(), "no role is attached to this instance; attach an instance profile") {
		t.Errorf("error %v", err)
	}
	f.page("meta-data/iam/security-credentials/", "web")
	if got := keyOf(t, host); got != "AKID1" {
		t.Errorf("key %q", got)
	}
}

func TestARoleThatTrustsNobodyIsNamed(t *testing.T) {
	f := newIMDS(t)
	f.page("meta-data/iam/security-credentials/web", `{"Code":"AssumeRoleUnauthorizedAccess","Message":"EC2 cannot assume the role web"}`)
	host, _, err := resolve(t, "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = host.Credentials.Retrieve(t.Context())
	if want := `cannot get credentials of the role "web": AssumeRoleUnauthorizedAccess: EC2 cannot assume the role web; check that the role trusts ec2.amazonaws.com`; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("error %v", err)
	}
}

func TestCredentialsAreRenewedBeforeTheyExpireAndKeptWhileTheyLive(t *testing.T) {
	f := newIMDS(t)
	now := time.Now()
	f.role("AKID1", now.Add(time.Hour))
	m, err := newMetadata(f.Client(), false, func(string) string { return f.URL }, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Client().CloseIdleConnections()
	r := &role{metadata: m}
	first, err := r.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	adjust := func(expires time.Time) time.Duration {
		c := first
		c.Expires = expires
		c, err := r.AdjustExpiresBy(c, -renewBefore)
		if err != nil {
			t.Fatal(err)
		}
		return c.Expires.Sub(now).Round(time.Second)
	}
	if got := adjust(now.Add(time.Hour)); got != 55*time.Minute {
		t.Errorf("asked again after %s, want 55m", got)
	}
	if got := adjust(now.Add(2 * time.Minute)); got != time.Minute {
		t.Errorf("asked again after %s, want 1m", got)
	}
	if got := adjust(now.Add(10 * time.Second)); got != 10*time.Second {
		t.Errorf("asked again after %s, want 10s", got)
	}
	cause := context.DeadlineExceeded
	if kept, err := r.HandleFailToRefresh(t.Context(), first, cause); err != nil || kept.AccessKeyID != "AKID1" {
		t.Errorf("kept %v, %v", kept.AccessKeyID, err)
	}
	r.expires = now.Add(-time.Second)
	if _, err := r.HandleFailToRefresh(t.Context(), first, cause); err == nil {
		t.Error("expired credentials were kept")
	}
}

func TestIPv6Metadata(t *testing.T) {
	for _, tc := range []struct{ name, variable, value, want string }{
		{"the usual address", "", "", "http://169.254.169.254"},
		{"IPv6", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ipv6", "http://[fd00:ec2::254]"},
		{"another address", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1338/", "http://127.0.0.1:1338"},
	} {
		m, err := newMetadata(nil, false, func(name string) string {
			if name == tc.variable {
				return tc.value
			}
			return ""
		}, zap.NewNop())
		if err != nil || m.base != tc.want {
			t.Errorf("%s: %v, %v", tc.name, m, err)
		}
	}
	if _, err := newMetadata(nil, false, func(string) string { return "metadata" }, zap.NewNop()); err == nil {
		t.Error("an endpoint that is no URL was accepted")
	}
}
