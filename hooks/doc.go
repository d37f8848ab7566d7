// Package hooks runs the scripts of a deployment's lifecycle events.
//
// A hook does not hang on the agent's life. [Start] writes a record and starts the agent's own program once more, as a
// small runner that leaves the agent's session and, under systemd, its unit; the runner runs the event's scripts one
// after the other, stops at the first that fails, and leaves a result file. [Execution.Wait] waits for that file. An
// agent that was restarted meanwhile finds the runner again with [Attach] and gets the true result: a script never runs
// twice because the agent was not there to see it end.
//
// # What a script sees
//
//   - Its path, absolute inside the revision's deployment-archive, as argv[0]; no arguments. A script that is not
//     executable is made so; one without "#!" is run by /bin/sh.
//   - The agent's working directory, and its umask and resource limits unless /etc/profile sets others; a standard input that is at its end; standard output
//     and error as pipes; no other open file; default signal actions; a process group of its own.
//   - The service's environment, then what /etc/profile exports, then the deployment's variables and LIFECYCLE_EVENT.
//     See [Environment] for what is taken out.
//   - With runas, run by root: the user's id, primary group and all supplementary groups; HOME and SHELL, and for
//     others than root also USER and LOGNAME, as su sets them; then /etc/environment and /etc/default/locale; the limits of
//     /etc/security/limits.conf and limits.d. The working directory and all other variables stay. The account's shell is not used, so
//     accounts with nologin work. With [Options].Compat1x the script is run by su itself.
//   - With sudo: true it runs as root: directly when the agent is root, through "sudo -n" when it is not.
//
// # When a script ends
//
// A script has ended when its own process has. Its outputs are then read until they close, for [Options].Drain at most:
// a background process that keeps them open is named in a warning, lives on, and its output still goes to the
// log. With Compat1x the output must close within the script's time limit or the hook fails.
//
// At its time limit the script's process group gets SIGTERM. After [Options].KillGrace what is left of the group, and
// where cgroups allow it whatever else the script started, gets SIGKILL. Processes that earlier scripts left behind
// are not touched.
package hooks
