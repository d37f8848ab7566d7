// Package imds is the metadata service of an EC2 instance, version 2 by default: a token first, then the data.
package imds

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"codedeploy-agent/internal/stub/fault"
	"codedeploy-agent/internal/stub/record"
)

const (
	tokenHeader = "X-Aws-Ec2-Metadata-Token"
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
)

// Options describe the instance. Empty fields get values that look real.
type Options struct {
	InstanceID, Account, Region, Partition, Domain, Role, InstanceType string
	// AllowV1 answers requests without a token, too.
	AllowV1 bool
	// Rotate is how long a set of keys is handed out; zero means one hour.
	Rotate time.Duration
	// Lifetime is how long keys are valid from when they are made; zero means six hours.
	Lifetime time.Duration
}

// Credentials are the keys of the instance's role.
type Credentials struct {
	AccessKeyID, SecretAccessKey, Token string
	Expiration                          time.Time
	updated                             time.Time
}

// Server answers as the metadata service does.
type Server struct {
	options Options
	faults  *fault.Set
	log     *record.Log
	issued  func(Credentials)

	mu      sync.Mutex
	tokens  map[string]time.Time
	current Credentials
}

// New makes a metadata service; issued is told of every set of keys before an agent gets it.
func New(o Options, faults *fault.Set, log *record.Log, issued func(Credentials)) *Server {
	o.InstanceID = cmp.Or(o.InstanceID, "i-0123456789abcdef0")
	o.Partition = cmp.Or(o.Partition, "aws")
	o.Domain = cmp.Or(o.Domain, "amazonaws.com")
	o.Role = cmp.Or(o.Role, "codedeploy-instance-role")
	o.InstanceType = cmp.Or(o.InstanceType, "t3.micro")
	o.Rotate = cmp.Or(o.Rotate, time.Hour)
	o.Lifetime = cmp.Or(o.Lifetime, 6*time.Hour)
	return &Server{options: o, faults: faults, log: log, issued: issued, tokens: map[string]time.Time{}}
}

// HostIdentifier is the host identifier of the instance.
func (s *Server) HostIdentifier() string {
	o := s.options
	return fmt.Sprintf("arn:%s:ec2:%s:%s:instance/%s", o.Partition, o.Region, o.Account, o.InstanceID)
}

// Rotate makes new keys at once; the old ones work until they expire.
func (s *Server) Rotate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = Credentials{}
}

// ForgetTokens makes every session token invalid, as a replaced metadata service does.
func (s *Server) ForgetTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	pending, w := s.log.Begin(w, r, "imds")
	defer pending.End()
	operation := "GetMetadata"
	if r.URL.Path == "/latest/api/token" {
		operation = "GetToken"
	}
	struck := s.faults.Take(fault.Request{Service: "imds", Operation: operation, Key: r.URL.Path})
	pending.Note(func(e *record.Request) {
		e.Operation, e.Key, e.Fault = operation, r.URL.Path, string(struck.Kind)
	})
	refuse := func(w http.ResponseWriter, status int, _, message string) {
		http.Error(w, cmp.Or(message, http.StatusText(status)), status)
	}
	struck.Serve(w, r, refuse, func(w http.ResponseWriter) { s.answer(w, r) })
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/latest/api/token" {
		s.giveToken(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	if status := s.checkToken(r); status != http.StatusOK {
		http.Error(w, http.StatusText(status), status)
		return
	}
	text, ok := s.lookup(strings.TrimPrefix(r.URL.Path, "/latest/"))
	if !ok {
		http.Error(w, "Not Found", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write([]byte(text))
}

// giveToken follows the rules that keep a token on the instance: PUT, a time to live, and no proxy on the way.
func (s *Server) giveToken(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPut {
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	if r.Header.Get("X-Forwarded-For") != "" {
		http.Error(w, "Forbidden", http.StatusForbidden)
		return
	}
	ttl, err := strconv.Atoi(r.Header.Get(ttlHeader))
	if err != nil || ttl < 1 || ttl > 21600 {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	token := "LOCAL" + random(24)
	s.mu.Lock()
	s.tokens[token] = time.Now().Add(time.Duration(ttl) * time.Second)
	s.mu.Unlock()
	w.Header().Set(ttlHeader, strconv.Itoa(ttl))
	_, _ = w.Write([]byte(token))
}

func (s *Server) checkToken(r *http.Request) int {
	token := r.Header.Get(tokenHeader)
	if token == "" {
		if s.options.AllowV1 {
			return http.StatusOK
		}
		return http.StatusUnauthorized
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if until, ok := s.tokens[token]; !ok || time.Now().After(until) {
		return http.StatusUnauthorized
	}
	return http.StatusOK
}

func (s *Server) lookup(path string) (string, bool) {
	o := s.options
	switch strings.TrimSuffix(path, "/") {
	case "dynamic/instance-identity/document":
		return s.document(), true
	case "meta-data/instance-id":
		return o.InstanceID, true
	case "meta-data/instance-type":
		return o.InstanceType, true
	case "meta-data/placement/region":
		return o.Region, true
	case "meta-data/placement/availability-zone":
		return o.Region + "a", true
	case "meta-data/services/partition":
		return o.Partition, true
	case "meta-data/services/domain":
		return o.Domain, true
	case "meta-data/iam/security-credentials":
		return o.Role, true
	case "meta-data/iam/security-credentials/" + o.Role:
		return s.credentials(), true
	}
	return "", false
}

func (s *Server) document() string {
	o := s.options
	b, _ := json.MarshalIndent(map[string]any{
		"accountId": o.Account, "architecture": "x86_64", "availabilityZone": o.Region + "a", "imageId": "ami-0123456789abcdef0",
		"instanceId": o.InstanceID, "instanceType": o.InstanceType, "privateIp": "10.0.0.10", "region": o.Region,
		"pendingTime": "2026-01-01T00:00:00Z", "version": "2017-09-30",
	}, "", "  ")
	return string(b)
}

func (s *Server) credentials() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.current.updated) >= s.options.Rotate {
		s.current = Credentials{
			AccessKeyID: "ASIA" + strings.ToUpper(random(8)), SecretAccessKey: random(20), Token: "local-session-" + random(40),
			Expiration: now.Add(s.options.Lifetime).UTC().Truncate(time.Second), updated: now,
		}
		s.issued(s.current)
	}
	c := s.current
	b, _ := json.MarshalIndent(map[string]any{
		"Code": "Success", "LastUpdated": c.updated.UTC().Format(time.RFC3339), "Type": "AWS-HMAC",
		"AccessKeyId": c.AccessKeyID, "SecretAccessKey": c.SecretAccessKey, "Token": c.Token,
		"Expiration": c.Expiration.Format(time.RFC3339),
	}, "", "  ")
	return string(b)
}

func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}
