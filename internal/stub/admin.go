package stub

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"codedeploy-agent/internal/stub/fault"
)

// State is what the control interface tells of the whole.
type State struct {
	URL         string           `json:"url"`
	Region      string           `json:"region"`
	Hosts       []HostState      `json:"hosts"`
	Deployments []DeploymentInfo `json:"deployments"`
	Faults      []fault.Fault    `json:"faults"`
}

// adminRoutes is the control interface: JSON under /-/.
func (s *Server) adminRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /-/status", s.adminStatus)
	mux.HandleFunc("POST /-/hosts", s.adminAddHost)
	mux.HandleFunc("POST /-/bundles", s.adminPush)
	mux.HandleFunc("POST /-/deployments", s.adminDeploy)
	mux.HandleFunc("GET /-/deployments/{id}", s.adminDeployment)
	mux.HandleFunc("DELETE /-/deployments/{id}", s.adminStop)
	mux.HandleFunc("GET /-/deployments/{id}/events", s.adminEvents)
	mux.HandleFunc("GET /-/transcript", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.Transcript()) })
	mux.HandleFunc("GET /-/commands", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.Commands()) })
	mux.HandleFunc("POST /-/faults", s.adminFault)
	mux.HandleFunc("GET /-/faults", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.Faults()) })
	mux.HandleFunc("DELETE /-/faults", s.adminClearFaults)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		replyError(w, http.StatusNotFound, fmt.Errorf("there is no %s %s", r.Method, r.URL.Path))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !fromHere(r) {
			replyError(w, http.StatusForbidden, fmt.Errorf("the control interface answers programs on this machine, not web pages"))
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// fromHere keeps web pages out: a browser says where a request comes from, and a rebound name shows in Host.
func fromHere(r *http.Request) bool {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(host)
	return r.Header.Get("Origin") == "" && (host == "localhost" || ip != nil && ip.IsLoopback())
}

func (s *Server) adminStatus(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, State{URL: s.URL(), Region: s.options.Region, Hosts: s.Hosts(), Deployments: s.Deployments(), Faults: s.Faults()})
}

func (s *Server) adminAddHost(w http.ResponseWriter, r *http.Request) {
	var in Host
	if !decode(w, r, &in) {
		return
	}
	h, err := s.AddHost(in)
	if err != nil {
		replyError(w, http.StatusConflict, err)
		return
	}
	reply(w, http.StatusCreated, h)
}

func (s *Server) adminPush(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	rev, err := s.PushStream(r.Body, url.PathEscape(q.Get("name")), q.Get("type"))
	if err != nil {
		replyError(w, http.StatusInternalServerError, err)
		return
	}
	reply(w, http.StatusCreated, rev)
}

func (s *Server) adminDeploy(w http.ResponseWriter, r *http.Request) {
	var in DeployOptions
	if !decode(w, r, &in) {
		return
	}
	d, err := s.Deploy(r.Context(), in)
	if err != nil {
		replyError(w, http.StatusConflict, err)
		return
	}
	reply(w, http.StatusCreated, d.Info())
}

func (s *Server) adminDeployment(w http.ResponseWriter, r *http.Request) {
	if d := s.deploymentOf(w, r); d != nil {
		reply(w, http.StatusOK, d.Info())
	}
}

func (s *Server) adminStop(w http.ResponseWriter, r *http.Request) {
	if d := s.deploymentOf(w, r); d != nil {
		d.Stop()
		reply(w, http.StatusOK, d.Info())
	}
}

// adminEvents sends one JSON object a line, each as it happens.
func (s *Server) adminEvents(w http.ResponseWriter, r *http.Request) {
	d := s.deploymentOf(w, r)
	if d == nil {
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	flush := http.NewResponseController(w)
	for event := range d.Events(r.Context()) {
		if out.Encode(event) != nil || flush.Flush() != nil {
			return
		}
	}
}

func (s *Server) deploymentOf(w http.ResponseWriter, r *http.Request) *Deployment {
	d, ok := s.Deployment(r.PathValue("id"))
	if !ok {
		replyError(w, http.StatusNotFound, fmt.Errorf("there is no deployment %q", r.PathValue("id")))
		return nil
	}
	return d
}

func (s *Server) adminFault(w http.ResponseWriter, r *http.Request) {
	var in fault.Fault
	if !decode(w, r, &in) {
		return
	}
	id, err := s.Fault(in)
	if err != nil {
		replyError(w, http.StatusBadRequest, err)
		return
	}
	reply(w, http.StatusCreated, map[string]int{"id": id})
}

// adminClearFaults ends one fault (?id=N) or all.
func (s *Server) adminClearFaults(w http.ResponseWriter, r *http.Request) {
	id, _ := strconv.Atoi(r.URL.Query().Get("id"))
	s.faults.Remove(id)
	reply(w, http.StatusOK, s.Faults())
}

func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		replyError(w, http.StatusBadRequest, fmt.Errorf("cannot read the request: %w", err))
		return false
	}
	return true
}

func reply(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	_ = out.Encode(value)
}

func replyError(w http.ResponseWriter, status int, err error) {
	reply(w, status, map[string]string{"error": err.Error()})
}
