package stub

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"codedeploy-agent/internal/stub/sigv4"
)

const (
	// OperatorKeyID and OperatorSecret are the keys of the person in front of the machine: good for S3 and the AWS CLI.
	OperatorKeyID  = "AKIALOCALOPERATOR000"
	OperatorSecret = "local-operator-secret-key-not-a-real-one"
)

// Host is a machine that agents speak for.
type Host struct {
	// ID is the host identifier; empty makes one of an on-premises instance with Name.
	ID string `json:"id"`
	// Name is the last part of the id; empty makes one.
	Name string `json:"name"`
	// Groups are the deployment groups that the host belongs to; empty means all.
	Groups []string `json:"groups,omitempty"`
	// AccessKeyID, SecretAccessKey and SessionToken sign the host's requests; empty ones are made.
	AccessKeyID     string `json:"access_key_id"`
	SecretAccessKey string `json:"secret_access_key"`
	SessionToken    string `json:"session_token,omitempty"`

	server   *Server
	instance bool // an EC2 instance: who it is, and its keys, come from the metadata service
}

// HostState is what the twin saw of a host.
type HostState struct {
	ID           string    `json:"id"`
	Name         string    `json:"name"`
	Groups       []string  `json:"groups,omitempty"`
	LastPoll     time.Time `json:"last_poll,omitzero"`
	Polls        int       `json:"polls"`
	AgentVersion string    `json:"agent_version,omitempty"`
	// Waiting and Running are the commands not yet, and already, acknowledged.
	Waiting []string `json:"waiting,omitempty"`
	Running []string `json:"running,omitempty"`
}

// host is a Host as the engine keeps it.
type host struct {
	Host
	lastPoll     time.Time
	polls        int
	agentVersion string
	commands     []*command // not ended
}

// AddHost makes a host known. A host with the same id is replaced by the new keys.
func (s *Server) AddHost(h Host) (*Host, error) {
	h.Name = cmp.Or(h.Name, h.ID[strings.LastIndex(h.ID, "/")+1:], "host-"+random(4))
	h.ID = cmp.Or(h.ID, fmt.Sprintf("arn:aws:iam::%s:user/AWS/CodeDeploy/%s", s.options.Account, h.Name))
	if h.AccessKeyID == "" {
		h.AccessKeyID, h.SecretAccessKey = "AKIA"+strings.ToUpper(random(8)), random(20)
	}
	h.server = s
	if err := s.keys.own(sigv4.Key{ID: h.AccessKeyID, Secret: h.SecretAccessKey, Token: h.SessionToken, Owner: h.ID}); err != nil {
		return nil, fmt.Errorf("cannot add host %q: %w", h.ID, err)
	}
	s.engine.addHost(h)
	return &h, nil
}

// AddInstance makes the EC2 instance of the metadata service known as a host.
func (s *Server) AddInstance(groups ...string) *Host {
	h := Host{ID: s.IMDS.HostIdentifier(), Groups: groups, server: s, instance: true}
	h.Name = h.ID[strings.LastIndex(h.ID, "/")+1:]
	s.engine.addHost(h)
	return &h
}

// Hosts returns the hosts in the order in which they were added.
func (s *Server) Hosts() []HostState { return s.engine.hostStates() }

func (h *host) in(group string) bool {
	return len(h.Groups) == 0 || slices.Contains(h.Groups, group)
}

// keyring holds the access keys.
type keyring struct {
	mu   sync.Mutex
	keys map[string]sigv4.Key
}

func newKeyring() *keyring { return &keyring{keys: map[string]sigv4.Key{}} }

func (k *keyring) lookup(id string) (sigv4.Key, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key, ok := k.keys[id]
	return key, ok
}

func (k *keyring) add(key sigv4.Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[key.ID] = key
}

// own adds a key unless it is someone else's.
func (k *keyring) own(key sigv4.Key) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if old, ok := k.keys[key.ID]; ok && old.Owner != key.Owner {
		return fmt.Errorf("the access key %s belongs to somebody else", key.ID)
	}
	k.keys[key.ID] = key
	return nil
}

// random returns 2n hexadecimal digits.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}
