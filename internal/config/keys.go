package config

import (
	"strconv"
	"time"
)

// key is one key of the file.
type key struct {
	name string
	// form says what a value looks like.
	form string
	// read sets the field from a value's text. An error of type advice is a warning.
	read func(c *Config, value string) error
	// show returns the field's value as one would write it.
	show func(c *Config) string
}

// keys are the ones that have an effect, in the order of the documentation.
var keys = []key{
	path("root_dir", func(c *Config) *string { return &c.RootDir }),
	path("log_dir", func(c *Config) *string { return &c.LogDir }),
	path("pid_dir", func(c *Config) *string { return &c.PIDDir }),
	component("program_name", func(c *Config) *string { return &c.ProgramName }),
	component("ongoing_deployment_tracking", func(c *Config) *string { return &c.OngoingDeploymentTracking }),
	path("on_premises_config_file", func(c *Config) *string { return &c.OnPremisesConfigFile }),

	flag("verbose", func(c *Config) *bool { return &c.Verbose }),
	flag("log_aws_wire", func(c *Config) *bool { return &c.LogAWSWire }),
	flag("enable_deployments_log", func(c *Config) *bool { return &c.EnableDeploymentsLog }),

	seconds("wait_between_runs", 100*time.Millisecond, 24*time.Hour, func(c *Config) *time.Duration { return &c.WaitBetweenRuns }),
	seconds("http_read_timeout", time.Second, time.Hour, func(c *Config) *time.Duration { return &c.HTTPReadTimeout }),
	seconds("kill_agent_max_wait_time_seconds", 0, 24*time.Hour, func(c *Config) *time.Duration { return &c.KillAgentMaxWaitTime }),
	address("deploy_control_endpoint", func(c *Config) *string { return &c.DeployControlEndpoint }),
	address("s3_endpoint_override", func(c *Config) *string { return &c.S3EndpointOverride }),
	flag("enable_auth_policy", func(c *Config) *bool { return &c.EnableAuthPolicy }),
	flag("use_fips_mode", func(c *Config) *bool { return &c.UseFIPSMode }),
	flag("use_dual_stack", func(c *Config) *bool { return &c.UseDualStack }),
	flag("disable_imds_v1", func(c *Config) *bool { return &c.DisableIMDSv1 }),
	proxy("proxy_uri", func(c *Config) *string { return &c.ProxyURI }),
	text("no_proxy", "host names, suffixes and networks with commas between", func(c *Config) *string { return &c.NoProxy }),
	path("signer_ca_file", func(c *Config) *string { return &c.SignerCAFile }),

	{
		name: "max_revisions", form: "a whole number from 1 on",
		read: func(c *Config, value string) error {
			var n int64
			if err := readNumber(&n, value, 1, 1_000_000); err != nil {
				return err
			}
			c.MaxRevisions = int(n)
			return nil
		},
		show: func(c *Config) string { return strconv.Itoa(c.MaxRevisions) },
	},
	size("max_revisions_bytes", func(c *Config) *int64 { return &c.MaxRevisionsBytes }),
	seconds("max_revisions_age", 0, 100*365*24*time.Hour, func(c *Config) *time.Duration { return &c.MaxRevisionsAge }),
	flag("keep_bundles", func(c *Config) *bool { return &c.KeepBundles }),
	flag("enable_archive_reuse", func(c *Config) *bool { return &c.EnableArchiveReuse }),
	flag("ignore_ownership_in_bundle", func(c *Config) *bool { return &c.IgnoreOwnershipInBundle }),
	size("archive_max_bytes", func(c *Config) *int64 { return &c.ArchiveMaxBytes }),
	number("archive_max_entries", func(c *Config) *int64 { return &c.ArchiveMaxEntries }),
	number("archive_max_ratio", func(c *Config) *int64 { return &c.ArchiveMaxRatio }),

	oneOf("hook_environment", func(c *Config) *string { return &c.HookEnvironment }, HookEnvironmentFull, HookEnvironmentClean),
	seconds("hook_kill_grace_seconds", 0, time.Hour, func(c *Config) *time.Duration { return &c.HookKillGrace }),
	slice("hook_slice", func(c *Config) *string { return &c.HookSlice }),

	oneOf("compatibility", func(c *Config) *string { return &c.Compatibility }, "", Compat1x),
}

// other is a key of an older agent that has no effect of its own here.
type other struct {
	name string
	// usual is the value that goes without saying: it asks for nothing, or for what is done anyway. Any other gets the
	// note as a warning; an empty note is silence for every value.
	usual, note string
	// read, when set, translates the key.
	read func(c *Config, value string) error
}

// always is the note for hardening that cannot be switched off.
const always = "this is always done; the key has no effect"

// never is the note for what this agent does not have.
const never = "this agent does not have this; the key has no effect"

var others = []other{
	// 1.x: how its processes are made and kept.
	{name: "children", usual: "1", note: "one process does all the work; the key has no effect"},
	{name: "wait_between_spawning_children"},
	{name: "max_runs_per_worker"},
	{name: "shared_dir"},
	{name: "user", note: "the agent runs as the user that starts it; set User= in the systemd unit"},
	{name: "group", note: "the agent runs as the group that starts it; set Group= in the systemd unit"},
	{name: "instance_service_region"},
	{name: "instance_service_endpoint"},
	{name: "instance_service_port"},
	{name: "codedeploy_test_profile"},
	{name: "wait_after_error"},
	{name: "wait_after_throttle_error"},
	{name: "wait_after_connection_problem"},
	{name: "ssl_verify_peer", usual: "true", note: "certificates are always verified; an own authority's certificate goes into a file named by SSL_CERT_FILE or AWS_CA_BUNDLE"},
	// 2.x: mostly hardening that has to be switched on there.
	{name: "archive_max_extraction_size", read: func(c *Config, value string) error { return readSize(&c.ArchiveMaxBytes, value) }},
	{name: "restrict_hook_env_to_allowlist", read: func(c *Config, value string) error {
		var on bool
		if err := readFlag(&on, value); err != nil {
			return err
		}
		if on {
			c.HookEnvironment = HookEnvironmentClean
		}
		return nil
	}},
	{name: "reject_path_traversal_in_bundle", usual: "true", note: always},
	{name: "strip_loader_env_in_hooks", usual: "true", note: always},
	{name: "disable_core_dumps", usual: "true", note: always},
	{name: "reject_symlinks_in_bundle", usual: "false", note: "links that lead out of the archive are never written through, and links are always unpacked as links; the key has no effect"},
	{name: "reject_unsafe_permissions_in_bundle", usual: "false", note: never},
	{name: "reject_unconfined_selinux_in_bundle", usual: "false", note: never},
	{name: "reject_symlink_permission_targets", usual: "false", note: "permissions are never set through links; the key has no effect"},
	{name: "restrict_agent_dir_permissions", usual: "false", note: never},
	{name: "restrict_log_dir_permissions", usual: "false", note: never},
	{name: "enable_command_port", usual: "false", note: never},
	{name: "disable_powershell_profile_in_hooks"},
}

// known is every key that is understood, for suggestions.
func known() []string {
	var names []string
	for _, k := range keys {
		names = append(names, k.name)
	}
	for _, o := range others {
		names = append(names, o.name)
	}
	return names
}

// Setting is one key with its value in force.
type Setting struct {
	Key string
	// Value is written as in the file; a password in it is hidden.
	Value string
	// Default tells whether it is the value of a host without a file.
	Default bool
}

// Settings returns all keys with the values in force.
func (c *Config) Settings() []Setting {
	var out []Setting
	usual := Default()
	for _, k := range keys {
		out = append(out, Setting{Key: k.name, Value: k.show(c), Default: k.show(c) == k.show(usual)})
	}
	return out
}
