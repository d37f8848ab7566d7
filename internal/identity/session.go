package identity

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"go.uber.org/zap"
)

// Times of a session's credentials.
const (
	// rereadAfter is when the file is read again although it looks unchanged, 5 minutes before the half hour that 1.x
	// takes for the credentials' life.
	rereadAfter = 25 * time.Minute
	// assumedLife is how long credentials are kept while their file cannot be read, when it does not say itself.
	assumedLife = time.Hour
	// askAgain is how long others may hold on to what they got, so that a replaced file is seen soon.
	askAgain = time.Minute
)

// session reads the credentials of an assumed role from a file that something else renews. The file is read again
// when it has changed and before the credentials expire. When that fails the old ones are used as long as they live.
type session struct {
	path string
	log  *zap.Logger

	mu      sync.Mutex
	current aws.Credentials
	expires time.Time
	read    time.Time
	stamp   stamp
	failed  bool
}

// stamp tells one state of a file from another.
type stamp struct {
	modified time.Time
	size     int64
	inode    uint64
}

func newSession(path string, log *zap.Logger) *session { return &session{path: path, log: log} }

// Retrieve returns the credentials in force.
func (s *session) Retrieve(context.Context) (aws.Credentials, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	stamp, err := stampOf(s.path)
	if err == nil && stamp == s.stamp && now.Sub(s.read) < rereadAfter && now.Before(s.expires) {
		return s.answer(now), nil
	}
	if err == nil {
		err = s.load(stamp, now)
	}
	switch {
	case err == nil:
		s.failed = false
	case s.current.AccessKeyID == "" || !now.Before(s.expires):
		return aws.Credentials{}, fmt.Errorf("cannot read the session's credentials (aws_credentials_file): %w", err)
	case !s.failed:
		s.failed = true
		s.log.Warn("cannot read the session's credentials; the old ones are used while they live", zap.String("file", s.path), zap.Error(err))
	}
	return s.answer(now), nil
}

// answer returns the current credentials with a short life, because other caches look at nothing else.
func (s *session) answer(now time.Time) aws.Credentials {
	c := s.current
	c.CanExpire, c.Expires = true, now.Add(askAgain)
	return c
}

func (s *session) load(stamp stamp, now time.Time) error {
	data, err := readSmall(s.path)
	if err != nil {
		return err
	}
	c, expires, err := parseCredentials(data)
	if err != nil {
		return fmt.Errorf("%q: %w", s.path, err)
	}
	if expires.IsZero() {
		expires = now.Add(assumedLife)
	}
	if s.read.IsZero() {
		warnReadable(s.path, s.log)
	}
	s.current, s.expires, s.read, s.stamp = c, expires, now, stamp
	return nil
}

func stampOf(path string) (stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	st := stamp{modified: info.ModTime(), size: info.Size()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		st.inode = sys.Ino
	}
	return st, nil
}

// parseCredentials reads the profile "default" of a shared credentials file. A file without any profile line is taken
// as that profile. The expiry is zero when the file does not give one.
func parseCredentials(data []byte) (c aws.Credentials, expires time.Time, err error) {
	c.Source = "aws_credentials_file"
	inside := true
	lines := bufio.NewScanner(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff"))))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if line[0] == '[' {
			name := strings.TrimSpace(strings.TrimPrefix(strings.Trim(line, "[]"), "profile "))
			inside = name == "default"
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || !inside {
			continue
		}
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "aws_access_key_id":
			c.AccessKeyID = value
		case "aws_secret_access_key":
			c.SecretAccessKey = value
		case "aws_session_token", "aws_security_token":
			c.SessionToken = value
		case "expiration", "aws_expiration", "aws_session_expiration", "x_security_token_expires":
			expires, _ = time.Parse(time.RFC3339, value)
		}
	}
	if err := lines.Err(); err != nil {
		return c, expires, errors.New("it has a line that is too long")
	}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return c, expires, errors.New("its profile \"default\" has no aws_access_key_id or no aws_secret_access_key")
	}
	return c, expires, nil
}
