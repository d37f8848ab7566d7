// Package stub is a local twin of the CodeDeploy service for one machine: the command service that agents poll, an S3, and
// the metadata service of EC2, all behind one address on loopback. Tests drive it through this package, people through
// the program codedeploy-stub.
//
// It knows nothing of any agent's insides: what it sees of an agent is what the service sees.
package stub

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"codedeploy-agent/internal/stub/cms"
	"codedeploy-agent/internal/stub/fault"
	"codedeploy-agent/internal/stub/imds"
	"codedeploy-agent/internal/stub/record"
	"codedeploy-agent/internal/stub/s3"
	"codedeploy-agent/internal/stub/sigv4"
)

// Options say how the twin behaves. The zero value is a good service on a free port of 127.0.0.1.
type Options struct {
	// Listen is host:port; only addresses of this machine are allowed.
	Listen string
	// Dir holds objects and certificates. Empty means a temporary directory that Close removes.
	Dir string
	// TLS adds a second port, the next one if it is free, that speaks HTTPS with a certificate of our own.
	TLS bool
	// Region and Account appear in names and signatures; the defaults are us-east-1 and 123456789012.
	Region, Account string
	// LongPoll is how long PollHostCommand waits for a command; zero answers at once.
	LongPoll time.Duration
	// RedeliverAfter is when a command without acknowledgement is delivered again: zero at every poll, negative never.
	RedeliverAfter time.Duration
	// AnswerNoop is the answer to a no-op's acknowledgement: Succeeded (the default, as the service does), InProgress or Failed.
	AnswerNoop Status
	// StartTimeout fails an event that no agent acknowledged; zero means 5 minutes.
	StartTimeout time.Duration
	// EventTimeout fails an event that is not completed; zero means 1 hour.
	EventTimeout time.Duration
	// Instance describes the EC2 instance that the metadata service speaks for.
	Instance imds.Options
	// Now is the service's clock for signatures; nil means time.Now.
	Now func() time.Time
}

// Server is a running twin.
type Server struct {
	// S3 is the object store, for direct access.
	S3 *s3.Server
	// IMDS is the metadata service.
	IMDS *imds.Server

	options Options
	engine  *engine
	signer  *cms.Signer
	faults  *fault.Set
	log     *record.Log
	keys    *keyring
	dir     string
	ownDir  bool

	mux      http.Handler
	address  string
	secure   string
	handlers sync.WaitGroup
	cancel   context.CancelFunc
	base     context.Context
	closing  sync.Once

	mu      sync.Mutex
	closed  bool
	servers []*http.Server
	tls     *tls.Config
	tlsCA   []byte
}

// sharedSigner is made once in a process: keys of 2048 bits take a moment.
var sharedSigner = sync.OnceValues(cms.NewSigner)

// Start starts a twin. It ends with Close or with ctx.
func Start(ctx context.Context, o Options) (*Server, error) {
	o.Region = cmp.Or(o.Region, "us-east-1")
	o.Account = cmp.Or(o.Account, "123456789012")
	o.Listen = cmp.Or(o.Listen, "127.0.0.1:0")
	o.AnswerNoop = cmp.Or(o.AnswerNoop, Succeeded)
	o.StartTimeout = cmp.Or(o.StartTimeout, 5*time.Minute)
	o.EventTimeout = cmp.Or(o.EventTimeout, time.Hour)
	signer, err := sharedSigner()
	if err != nil {
		return nil, err
	}
	s := &Server{options: o, signer: signer, faults: &fault.Set{}, log: record.New(), keys: newKeyring(), dir: o.Dir}
	s.base, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.start(); err != nil {
		s.Close()
		return nil, fmt.Errorf("cannot start the local service: %w", err)
	}
	context.AfterFunc(ctx, s.Close)
	return s, nil
}

func (s *Server) start() error {
	if err := s.prepareDir(); err != nil {
		return err
	}
	verifier := sigv4.Verifier{Lookup: s.keys.lookup, Region: s.options.Region, Now: s.options.Now}
	var err error
	if s.S3, err = s3.New(s3.Options{Dir: filepath.Join(s.dir, "objects"), Verify: verifier, Faults: s.faults, Log: s.log}); err != nil {
		return err
	}
	s.engine = newEngine(s)
	instance := s.options.Instance
	instance.Region, instance.Account = s.options.Region, cmp.Or(instance.Account, s.options.Account)
	s.IMDS = imds.New(instance, s.faults, s.log, func(c imds.Credentials) {
		s.keys.add(sigv4.Key{ID: c.AccessKeyID, Secret: c.SecretAccessKey, Token: c.Token, Expires: c.Expiration, Owner: s.IMDS.HostIdentifier()})
	})
	s.keys.add(sigv4.Key{ID: OperatorKeyID, Secret: OperatorSecret})
	s.mux = s.routes(verifier)
	return s.listen()
}

func (s *Server) prepareDir() (err error) {
	if s.dir == "" {
		s.dir, err = os.MkdirTemp("", "stub-")
		s.ownDir = true
		return err
	}
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return err
	}
	return os.MkdirAll(s.dir, 0o700)
}

// listen opens the port or ports; the first time it chooses them, later it takes the same ones.
func (s *Server) listen() error {
	plain, err := listenLocal(cmp.Or(s.address, s.options.Listen))
	if err != nil {
		return err
	}
	s.address = plain.Addr().String()
	s.serve(plain)
	if !s.options.TLS {
		return nil
	}
	if err := s.makeCertificate(); err != nil {
		return err
	}
	secure, err := listenLocal(cmp.Or(s.secure, nextPort(s.options.Listen)))
	if err != nil && s.secure == "" {
		host, _, _ := net.SplitHostPort(s.address)
		secure, err = listenLocal(net.JoinHostPort(host, "0")) // somebody has the next port
	}
	if err != nil {
		return err
	}
	s.secure = secure.Addr().String()
	s.serve(tls.NewListener(secure, s.tls))
	return nil
}

// nextPort is where HTTPS answers: beside a port that was asked for, else on any.
func nextPort(address string) string {
	host, port, _ := net.SplitHostPort(address)
	n, err := strconv.Atoi(port)
	if err != nil || n == 0 {
		return net.JoinHostPort(host, "0")
	}
	return net.JoinHostPort(host, strconv.Itoa(n+1))
}

func listenLocal(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %q: %w", address, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("cannot listen on %q: whoever reaches this port can run programs on the connected hosts, so only loopback addresses such as 127.0.0.1 are allowed", address)
	}
	return net.Listen("tcp", address)
}

func (s *Server) serve(l net.Listener) {
	server := &http.Server{
		Handler:           http.HandlerFunc(s.handle),
		ReadHeaderTimeout: 30 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return s.base },
		// Connections are taken over to break them, which HTTP/2 does not allow.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ErrorLog:     quiet(),
	}
	s.mu.Lock()
	s.servers = append(s.servers, server)
	s.mu.Unlock()
	s.handlers.Go(func() {
		_ = server.Serve(l)
	})
}

func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		panic(http.ErrAbortHandler)
	}
	defer s.handlers.Done()
	s.mux.ServeHTTP(w, r)
}

// enter counts a request, so that Close can wait for it.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.handlers.Add(1)
	return true
}

// Close ends the twin; requests under way are cut. It may be called more than once.
func (s *Server) Close() {
	s.closing.Do(func() {
		s.cancel()
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.Down()
		s.handlers.Wait()
		if s.engine != nil {
			s.engine.close()
		}
		if s.S3 != nil {
			_ = s.S3.Close()
		}
		if s.ownDir {
			_ = os.RemoveAll(s.dir)
		}
	})
}

// Down closes the ports and cuts every connection, as in an outage. The state stays.
func (s *Server) Down() {
	s.mu.Lock()
	servers := s.servers
	s.servers = nil
	s.mu.Unlock()
	for _, server := range servers {
		_ = server.Close()
	}
}

// Up opens the ports again after Down, the same ones.
func (s *Server) Up() error {
	if s.base.Err() != nil {
		return errors.New("cannot open the port: the local service is closed")
	}
	return s.listen()
}

// URL is where everything answers: the command service, S3, the metadata service and the control interface.
func (s *Server) URL() string { return "http://" + s.address }

// SecureURL is the same with HTTPS; empty without Options.TLS.
func (s *Server) SecureURL() string {
	if s.secure == "" {
		return ""
	}
	return "https://" + s.secure
}

// Dir is the directory that the twin works in.
func (s *Server) Dir() string { return s.dir }

// SignerCA returns the certificate, in PEM, of the authority behind the signer of specifications.
func (s *Server) SignerCA() []byte { return s.signer.Authority() }

// Fault puts a fault in force and returns its number.
func (s *Server) Fault(f fault.Fault) (int, error) {
	if err := f.Check(); err != nil {
		return 0, fmt.Errorf("cannot set the fault: %w", err)
	}
	return s.faults.Add(f), nil
}

// Faults returns the faults with the number of their hits.
func (s *Server) Faults() []fault.Fault { return s.faults.List() }

// ClearFaults ends all faults.
func (s *Server) ClearFaults() { s.faults.Remove(0) }

// Transcript returns every request so far in the order of arrival.
func (s *Server) Transcript() []record.Request { return s.log.All() }

// WaitRequest waits for a request that want accepts, past ones included.
func (s *Server) WaitRequest(ctx context.Context, want func(record.Request) bool) (record.Request, error) {
	return s.log.Wait(ctx, want)
}

// routes sends a request to the service that it is for: one address serves them all.
func (s *Server) routes(verifier sigv4.Verifier) http.Handler {
	commands := &commands{engine: s.engine, verifier: verifier, faults: s.faults, log: s.log}
	admin := s.adminRoutes()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/-/"):
			admin.ServeHTTP(w, r)
		case r.Header.Get("X-Amz-Target") != "":
			commands.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, "/latest/") || r.URL.Path == "/latest":
			s.IMDS.ServeHTTP(w, r)
		case r.URL.Path == "/" && r.Header.Get("Authorization") == "":
			_, _ = w.Write([]byte("codedeploy-stub\n"))
		default:
			s.S3.ServeHTTP(w, r)
		}
	})
}
