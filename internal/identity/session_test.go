package identity

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func credentialsText(keyID string) string {
	return "[default]\naws_access_key_id = " + keyID + "\naws_secret_access_key = s\naws_session_token = t\n"
}

func TestASessionIsReadAgainWhenItsFileChanges(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "credentials")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	put(credentialsText("AKID1"))
	host, _, err := resolve(t, "iam_session_arn: arn:aws:sts::1:assumed-role/r/s\nregion: eu-west-1\naws_credentials_file: "+file+"\n")
	if err != nil {
		t.Fatal(err)
	}
	if host.ID != "arn:aws:sts::1:assumed-role/r/s" || !host.OnPremises {
		t.Errorf("%+v", host)
	}
	if got := keyOf(t, host); got != "AKID1" {
		t.Errorf("key %q", got)
	}
	put(credentialsText("AKID2"))
	if got := keyOf(t, host); got != "AKID2" {
		t.Errorf("key %q after the file was replaced", got)
	}
	put("[default]\n") // somebody is in the middle of writing
	if got := keyOf(t, host); got != "AKID2" {
		t.Errorf("key %q while the file is no good", got)
	}
	put(credentialsText("AKID3"))
	if got := keyOf(t, host); got != "AKID3" {
		t.Errorf("key %q after the file is good again", got)
	}
	c, err := host.Credentials.Retrieve(t.Context())
	if err != nil || !c.CanExpire || time.Until(c.Expires) > askAgain {
		t.Errorf("others would keep the credentials until %v, %v", c.Expires, err)
	}
}

func TestASessionWhoseFileIsGoneLivesOnUntilItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "credentials")
		if err := os.WriteFile(file, []byte(credentialsText("AKID1")), 0o600); err != nil {
			t.Fatal(err)
		}
		core, logs := observer.New(zap.DebugLevel)
		s := newSession(file, zap.New(core))
		if _, err := s.Retrieve(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		for _, wait := range []time.Duration{10 * time.Minute, 30 * time.Minute} {
			time.Sleep(wait)
			if c, err := s.Retrieve(t.Context()); err != nil || c.AccessKeyID != "AKID1" {
				t.Errorf("%v, %v", c.AccessKeyID, err)
			}
		}
		if logs.Len() != 1 {
			t.Errorf("log: %v", logs.All())
		}
		time.Sleep(30 * time.Minute)
		if _, err := s.Retrieve(t.Context()); err == nil || !strings.Contains(err.Error(), "aws_credentials_file") {
			t.Errorf("error %v", err)
		}
	})
}

func TestSharedCredentialsFiles(t *testing.T) {
	for _, tc := range []struct{ name, text, keyID, token string }{
		{"the usual form", credentialsText("A"), "A", "t"},
		{"no blanks, Windows line ends, a byte order mark", "\ufeff[default]\r\naws_access_key_id=A\r\naws_secret_access_key=s\r\n", "A", ""},
		{"other profiles around", "[other]\naws_access_key_id=B\naws_secret_access_key=x\n[default]\naws_access_key_id=A\naws_secret_access_key=s\n[more]\naws_access_key_id=C\n", "A", ""},
		{"comments", "# one\n[default]\n; two\naws_access_key_id=A\naws_secret_access_key=a=b\n", "A", ""},
		{"no profile line", "aws_access_key_id=A\naws_secret_access_key=s\n", "A", ""},
		{"another profile only", "[other]\naws_access_key_id=B\naws_secret_access_key=x\n", "", ""},
		{"half a profile", "[default]\naws_access_key_id=A\n", "", ""},
		{"nothing", "", "", ""},
	} {
		c, _, err := parseCredentials([]byte(tc.text))
		if (err == nil) != (tc.keyID != "") || err == nil && (c.AccessKeyID != tc.keyID || c.SessionToken != tc.token) {
			t.Errorf("%s: %q %q, %v", tc.name, c.AccessKeyID, c.SessionToken, err)
		}
	}
	_, expires, err := parseCredentials([]byte(credentialsText("A") + "expiration = 2030-01-02T03:04:05Z\n"))
	if err != nil || !expires.Equal(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Errorf("expires %v, %v", expires, err)
	}
}
