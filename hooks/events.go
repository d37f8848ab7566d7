package hooks

import "slices"

// The lifecycle events that can have scripts.
const (
	BeforeBlockTraffic = "BeforeBlockTraffic"
	AfterBlockTraffic  = "AfterBlockTraffic"
	ApplicationStop    = "ApplicationStop"
	BeforeInstall      = "BeforeInstall"
	AfterInstall       = "AfterInstall"
	ApplicationStart   = "ApplicationStart"
	ValidateService    = "ValidateService"
	BeforeAllowTraffic = "BeforeAllowTraffic"
	AfterAllowTraffic  = "AfterAllowTraffic"
)

// The lifecycle events that the agent itself carries out.
const (
	DownloadBundle = "DownloadBundle"
	Install        = "Install"
)

// Events returns the events that reach a host, in the order of a local deployment.
func Events() []string {
	return []string{
		BeforeBlockTraffic, AfterBlockTraffic, ApplicationStop, DownloadBundle, BeforeInstall, Install,
		AfterInstall, ApplicationStart, ValidateService, BeforeAllowTraffic, AfterAllowTraffic,
	}
}

// Scriptable tells whether the event is one of the nine to which an AppSpec can bind scripts. Custom events of a
// deployment specification are not known here.
func Scriptable(event string) bool {
	return event != DownloadBundle && event != Install && slices.Contains(Events(), event)
}

// Revision says which deployment's AppSpec and scripts an event uses.
type Revision int

const (
	// Current is the deployment that the command belongs to.
	Current Revision = iota
	// LastSuccessful is the group's last deployment whose Install succeeded.
	LastSuccessful
	// MostRecent is the group's last deployment whose bundle was downloaded.
	MostRecent
)

// String returns the revision in words.
func (r Revision) String() string {
	return [...]string{"current", "last successful", "most recent"}[r]
}

// RevisionFor returns which revision an event's scripts come from, given the creator and the type of the deployment.
// Anything but Current holds only as long as the current deployment has not unpacked its own revision.
func RevisionFor(event, creator, deploymentType string) Revision {
	blueGreenRollback := creator == "codeDeployRollback" && deploymentType == "BLUE_GREEN"
	switch event {
	case BeforeBlockTraffic, AfterBlockTraffic:
		if blueGreenRollback {
			return MostRecent
		}
		return LastSuccessful
	case ApplicationStop:
		return LastSuccessful
	case BeforeAllowTraffic, AfterAllowTraffic:
		if blueGreenRollback {
			return LastSuccessful
		}
	}
	return Current
}
