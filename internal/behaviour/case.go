// Package behaviour is what a customer, or the service, can tell of a host agent from outside: one case per line of
// the description of how agents behave. Every case starts the program itself, with a local twin of the service before
// it and a part of the disk for a host, and looks at what went over the wire and what lies on that disk.
//
// Nothing here knows an agent's insides, so that any agent can be held against it.
package behaviour

import (
	"context"
	"os"
	"slices"
	"strings"
)

// Case is one line of the description, played out.
type Case struct {
	// Name says what a customer would see.
	Name string
	// Source is the chapter of the description that the line stands in.
	Source string
	// NeedsRoot is set when the agent must run as root for it.
	NeedsRoot bool
	// Run plays it on a fresh host whose agent has not been started.
	Run func(*Host)
}

// The chapters of the description.
const (
	Protocol    = "MATCH: protocol"
	Hooks       = "MATCH: hooks"
	Files       = "MATCH: bundles and files"
	Security    = "IMPROVE: security"
	Correctness = "IMPROVE: correctness"
	LocalTool   = "Local tool"
	AppSpecs    = "What real AppSpec files look like"
	Traps       = "Traps"
)

// chapters collects what the files of this package add, each in its own variable's initialisation.
var chapters [][]Case

// add makes cases known; it is called as var _ = add(Protocol, ...).
func add(source string, cases ...Case) bool {
	for i := range cases {
		cases[i].Source = source
	}
	chapters = append(chapters, cases)
	return true
}

// Cases returns all cases, chapter by chapter.
func Cases() []Case {
	all := slices.Concat(chapters...)
	slices.SortStableFunc(all, func(a, b Case) int { return strings.Compare(a.Source, b.Source) })
	return all
}

// Programs are the agent under test.
type Programs struct {
	// Agent is the path of codedeploy-agent, started as "codedeploy-agent run --config-file FILE".
	Agent string
	// Local is the path of codedeploy-local.
	Local string
}

// Reporter takes what a case has to say; *testing.T is one.
type Reporter interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Failed() bool
	Log(args ...any)
	Logf(format string, args ...any)
	Error(args ...any)
	Errorf(format string, args ...any)
	// Fatal and Fatalf end the calling goroutine.
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// Play runs the case on a host of its own. It returns false without running it when root is needed and missing.
func (c Case) Play(r Reporter, p Programs) bool {
	if c.NeedsRoot && os.Geteuid() != 0 {
		return false
	}
	c.Run(newHost(r, p))
	return true
}
