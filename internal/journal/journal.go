// Package journal keeps the commands in flight and their results on stable storage, so that no result is lost and no
// command is carried out twice, whatever happens to the agent or its host.
//
// A command has one record, named by a digest of its HostCommandIdentifier. The record is written whole or not at all
// and goes through four phases:
//
//	Received  the agent has read the command and is about to acknowledge it
//	Begun     the service said "go on"; from here on the work may have been started
//	Done      the work has ended, the result is stored but not yet accepted by the service
//	Reported  the service has the result; kept for a day so that a late re-delivery is recognised
package journal

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"codedeploy-agent/internal/atomicfile"
)

// version of the record format. A reader refuses records of a later one.
const version = 1

// Phase says how far a command has come.
type Phase string

// The phases of a command, in order.
const (
	Received Phase = "received"
	Begun    Phase = "begun"
	Done     Phase = "done"
	Reported Phase = "reported"
)

// maxReported bounds the records that are kept after the report, besides their age.
const maxReported = 256

// KeepReported is how long a reported command is remembered.
const KeepReported = 24 * time.Hour

// Record is what the journal knows of one command.
type Record struct {
	Version int `json:"version"`
	// HostCommandIdentifier is the service's name of the command.
	HostCommandIdentifier string `json:"host_command_identifier"`
	// HostIdentifier is who this host was when it received the command.
	HostIdentifier        string `json:"host_identifier"`
	DeploymentExecutionID string `json:"deployment_execution_id"`
	CommandName           string `json:"command_name"`
	DeploymentID          string `json:"deployment_id,omitempty"`
	GroupID               string `json:"deployment_group_id,omitempty"`
	Phase                 Phase  `json:"phase"`
	// Attempt counts how often the work was begun; it is 1 but for work that was interrupted and done again.
	Attempt int `json:"attempt,omitempty"`
	// At is when the command was received, Begun when the service accepted it.
	At     time.Time `json:"received_at"`
	Begun  time.Time `json:"begun_at,omitzero"`
	Result *Result   `json:"result,omitempty"`
}

// Result is what will be reported, or was.
type Result struct {
	// Status is the CommandStatus of the service: Succeeded or Failed.
	Status string `json:"status"`
	// Diagnostics is the payload of the report, exactly as it goes over the wire.
	Diagnostics string `json:"diagnostics"`
}

// Journal is an open journal. Its methods may be called concurrently.
type Journal struct {
	dir string

	mu      sync.Mutex
	records map[string]Record
}

// Open reads the journal in dir, which exists. Records that cannot be read are put aside under a name that ends in
// ".unreadable" and returned as warnings; they are never fatal.
func Open(dir string) (*Journal, []error, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the command journal: %w", err)
	}
	j := &Journal{dir: dir, records: map[string]Record{}}
	var warnings []error
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), ".tmp-"): // an interrupted write
			_ = os.Remove(path)
		case filepath.Ext(e.Name()) == recordSuffix:
			r, err := read(path)
			if err != nil {
				warnings = append(warnings, putAside(path, err))
				continue
			}
			j.records[r.HostCommandIdentifier] = r
		}
	}
	j.forgetOld()
	j.sweep(entries)
	return j, warnings, nil
}

// keepLeftovers is how long what belongs to no command any more can be looked at.
const keepLeftovers = 7 * 24 * time.Hour

// sweep removes what agents and codedeploy-local left where they were killed: directories of hooks whose command is
// reported, and after a while those that belong to no command, and records that were put aside.
func (j *Journal) sweep(entries []fs.DirEntry) {
	reported := map[string]bool{}
	for id, r := range j.records {
		reported[name(id)] = r.Phase == Reported
	}
	for _, e := range entries {
		command, _, _ := strings.Cut(e.Name(), ".")
		ended, owned := reported[command]
		info, err := e.Info()
		switch {
		case err != nil, !e.IsDir() && !strings.HasSuffix(e.Name(), asideSuffix), owned && !ended:
		case owned && e.IsDir(), time.Since(info.ModTime()) > keepLeftovers:
			_ = os.RemoveAll(filepath.Join(j.dir, e.Name()))
		}
	}
}

const (
	recordSuffix = ".json"
	asideSuffix  = ".unreadable"
)

func read(path string) (Record, error) {
	var r Record
	b, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, err
	}
	switch {
	case r.Version > version:
		return r, fmt.Errorf("it has version %d, this agent knows %d", r.Version, version)
	case name(r.HostCommandIdentifier) != strings.TrimSuffix(filepath.Base(path), recordSuffix):
		return r, errors.New("its name does not belong to its content")
	case !slices.Contains([]Phase{Received, Begun, Done, Reported}, r.Phase):
		return r, fmt.Errorf("its phase is %q", r.Phase)
	case (r.Phase == Done || r.Phase == Reported) && r.Result == nil:
		return r, errors.New("it has no result")
	}
	return r, nil
}

func putAside(path string, cause error) error {
	err := fmt.Errorf("cannot use journal record %q: %w", path, cause)
	if e := os.Rename(path, path+asideSuffix); e != nil {
		return errors.Join(err, e)
	}
	return err
}

// name turns an identifier of the service, which may hold any characters, into a file name.
func name(hostCommandIdentifier string) string {
	sum := sha256.Sum256([]byte(hostCommandIdentifier))
	return hex.EncodeToString(sum[:16])
}

func (j *Journal) path(id string) string {
	return filepath.Join(j.dir, name(id)+recordSuffix)
}

// HookRecord is the directory in which the runner of a command's hook keeps its own records; each attempt has its own.
func (j *Journal) HookRecord(r Record) string {
	return filepath.Join(j.dir, fmt.Sprintf("%s.%d", name(r.HostCommandIdentifier), max(r.Attempt, 1)))
}

// Lookup returns the record of a command.
func (j *Journal) Lookup(hostCommandIdentifier string) (Record, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r, ok := j.records[hostCommandIdentifier]
	return r, ok
}

// All returns the records, oldest first.
func (j *Journal) All() []Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.SortedFunc(maps.Values(j.records), func(a, b Record) int { return a.At.Compare(b.At) })
}

// Receive stores a new command.
func (j *Journal) Receive(r Record) (Record, error) {
	r.Version, r.Phase = version, Received
	return r, j.store(r)
}

// Begin stores that the service wants the command to be carried out.
func (j *Journal) Begin(r Record) (Record, error) {
	if r.Begun.IsZero() {
		r.Begun = time.Now()
	}
	r.Phase = Begun
	r.Attempt++
	return r, j.store(r)
}

// Done stores the result. When the disk refuses it, the record is kept in memory all the same, and the error tells.
func (j *Journal) Done(r Record, result Result) (Record, error) {
	r.Version, r.Phase, r.Result = version, Done, &result
	err := j.store(r)
	if err != nil {
		j.remember(r)
	}
	return r, err
}

// End stores that the service has the result, and removes what the hook's runner left.
func (j *Journal) End(r Record) error {
	r.Phase = Reported
	err := j.store(r)
	if err != nil {
		// Without space for the new phase the old record would report again at the next start.
		err = errors.Join(err, atomicfile.Remove(j.path(r.HostCommandIdentifier)))
		j.remember(r)
	}
	for attempt := range max(r.Attempt, 1) {
		r.Attempt = attempt + 1
		err = errors.Join(err, os.RemoveAll(j.HookRecord(r)))
	}
	j.forgetOld()
	return err
}

// PutAside takes a record out of the journal without deleting it: nobody acts on it any more.
func (j *Journal) PutAside(r Record) error {
	j.mu.Lock()
	delete(j.records, r.HostCommandIdentifier)
	j.mu.Unlock()
	path := j.path(r.HostCommandIdentifier)
	if err := os.Rename(path, path+asideSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot put aside the record of command %q: %w", r.CommandName, err)
	}
	return atomicfile.SyncDir(j.dir)
}

// Forget removes a command that the agent will have no more to do with.
func (j *Journal) Forget(r Record) error {
	j.mu.Lock()
	delete(j.records, r.HostCommandIdentifier)
	j.mu.Unlock()
	return atomicfile.Remove(j.path(r.HostCommandIdentifier))
}

func (j *Journal) store(r Record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("cannot encode the record of command %q: %w", r.CommandName, err)
	}
	if err := atomicfile.Write(j.path(r.HostCommandIdentifier), b, 0o600); err != nil {
		return fmt.Errorf("cannot record command %q: %w", r.CommandName, err)
	}
	j.remember(r)
	return nil
}

func (j *Journal) remember(r Record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.records[r.HostCommandIdentifier] = r
}

// forgetOld drops reported commands that nobody will deliver again.
func (j *Journal) forgetOld() {
	j.mu.Lock()
	defer j.mu.Unlock()
	reported := slices.DeleteFunc(slices.Collect(maps.Values(j.records)), func(r Record) bool { return r.Phase != Reported })
	slices.SortFunc(reported, func(a, b Record) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.HostCommandIdentifier, b.HostCommandIdentifier))
	})
	for i, r := range reported {
		if i >= maxReported || time.Since(r.At) > KeepReported {
			delete(j.records, r.HostCommandIdentifier)
			_ = os.Remove(j.path(r.HostCommandIdentifier))
		}
	}
}
