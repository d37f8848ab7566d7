// Package config reads the agent's configuration file, codedeployagent.yml. Files written for the older agents are
// understood: their keys keep their names, their meaning and, with few documented exceptions, their defaults.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Config is the configuration in force. The key of each field, its unit and its meaning are documented in
// docs/configuration.md.
type Config struct {
	// File is where it was read from, empty when nothing was read.
	File string

	// Where things lie.
	RootDir                   string
	LogDir                    string
	PIDDir                    string
	ProgramName               string
	OngoingDeploymentTracking string
	OnPremisesConfigFile      string

	// What is logged.
	Verbose              bool
	LogAWSWire           bool
	EnableDeploymentsLog bool

	// How the service is asked.
	WaitBetweenRuns       time.Duration
	HTTPReadTimeout       time.Duration
	KillAgentMaxWaitTime  time.Duration
	DeployControlEndpoint string
	S3EndpointOverride    string
	EnableAuthPolicy      bool
	UseFIPSMode           bool
	UseDualStack          bool
	DisableIMDSv1         bool
	ProxyURI              string
	NoProxy               string
	SignerCAFile          string

	// What is kept, and how large a revision may be. Zero ages and bytes are no limit.
	MaxRevisions            int
	MaxRevisionsBytes       int64
	MaxRevisionsAge         time.Duration
	KeepBundles             bool
	EnableArchiveReuse      bool
	IgnoreOwnershipInBundle bool
	ArchiveMaxBytes         int64
	ArchiveMaxEntries       int64
	ArchiveMaxRatio         int64

	// How hooks run.
	HookEnvironment string
	HookKillGrace   time.Duration
	HookSlice       string

	// Compatibility is empty or Compat1x.
	Compatibility string
}

// Values of Compatibility and HookEnvironment.
const (
	Compat1x = "1.x"

	HookEnvironmentFull  = "full"
	HookEnvironmentClean = "clean"
)

// Compat1x tells whether the old ways are wished for: su for runas, code 6 for open outputs, bundle.tar kept, owners
// as in the archive, IMDSv1.
func (c *Config) Compat1x() bool { return c.Compatibility == Compat1x }

// Default returns the configuration of a host without a file.
func Default() *Config { return defaultsFor("") }

func defaultsFor(compatibility string) *Config {
	c := &Config{
		RootDir:                   "/opt/codedeploy-agent/deployment-root",
		LogDir:                    "/var/log/aws/codedeploy-agent",
		PIDDir:                    "/opt/codedeploy-agent/state/.pid",
		ProgramName:               "codedeploy-agent",
		OngoingDeploymentTracking: "ongoing-deployment",
		OnPremisesConfigFile:      "/etc/codedeploy-agent/conf/codedeploy.onpremises.yml",
		EnableDeploymentsLog:      true,
		WaitBetweenRuns:           30 * time.Second,
		HTTPReadTimeout:           80 * time.Second,
		KillAgentMaxWaitTime:      7200 * time.Second,
		DisableIMDSv1:             true,
		MaxRevisions:              5,
		EnableArchiveReuse:        true,
		IgnoreOwnershipInBundle:   true,
		ArchiveMaxBytes:           64 << 30,
		ArchiveMaxEntries:         2_000_000,
		ArchiveMaxRatio:           200,
		HookEnvironment:           HookEnvironmentFull,
		HookKillGrace:             10 * time.Second,
		Compatibility:             compatibility,
	}
	if c.Compat1x() {
		c.DisableIMDSv1 = false
		c.KeepBundles = true
		c.IgnoreOwnershipInBundle = false
	}
	return c
}

// standardFiles are looked for when no file is named, the first one wins.
var standardFiles = []string{
	"/etc/codedeploy-agent/conf/codedeployagent.yml",
	"/opt/codedeploy-agent/conf/codedeployagent.yml",
}

// Find returns the file to load: the explicit one, else the first standard one that exists, else "" (use Default). An
// explicit file must exist.
func Find(explicit string) (path string, explicitGiven bool, err error) {
	if explicit != "" {
		if _, err := os.Stat(explicit); err != nil {
			return "", true, fmt.Errorf("cannot read the configuration: %w", err)
		}
		return explicit, true, nil
	}
	for _, path := range standardFiles {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, false, nil
		}
	}
	return "", false, nil
}
