// Codedeploy-stub is a local twin of the CodeDeploy service: agents on this machine connect to it as they would to AWS.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// version is set at build time.
var version = "3.0.0"

const (
	exitFailed = 1
	exitUsage  = 2
)

const description = `A local twin of AWS CodeDeploy for one machine: the command service that agents poll, an S3 and the metadata service.

For tests, demos and laptops. "codedeploy-stub demo" shows it all; docs/stub.md explains it.`

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// commandLine is what codedeploy-stub understands.
type commandLine struct {
	Version kong.VersionFlag `help:"Print the version and exit." short:"v"`

	Serve  serveCommand  `cmd:"" help:"Run the service until it is told to stop."`
	Deploy deployCommand `cmd:"" help:"Send a bundle to the hosts of a running service and follow it to the end (exit code 0: succeeded, 1: failed, 2: wrong usage)."`
	Status statusCommand `cmd:"" help:"Show hosts, deployments and faults of a running service."`
	Fault  faultCommand  `cmd:"" help:"Break answers of a running service on purpose."`
	Demo   demoCommand   `cmd:"" help:"Start service and agent in a temporary directory and deploy the sample website three times."`
	Web    webCommand    `cmd:"" help:"The small web server of the sample website: serve a directory in the background."`
	Fetch  fetchCommand  `cmd:"" help:"Fetch a page and say whether it holds a text; what the sample website validates itself with."`
}

// output is where a command writes.
type output struct {
	out, err io.Writer
}

// run is the program without its process: arguments in, exit code out.
func run(args []string, stdout, stderr io.Writer) int {
	var line commandLine
	exited, code := false, 0
	parser, err := kong.New(&line, kong.Name("codedeploy-stub"), kong.Description(description), kong.UsageOnError(),
		kong.Writers(stdout, stderr), kong.Vars{"version": version}, kong.Exit(func(c int) { exited, code = true, c }))
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "error:", err)
		return exitFailed
	}
	parsed, err := parser.Parse(args)
	if exited {
		return code // --help and --version have answered
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "error: %v\nTry `codedeploy-stub --help`.\n", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	parsed.BindTo(ctx, (*context.Context)(nil))
	switch err := parsed.Run(output{stdout, stderr}); {
	case errors.Is(err, errFailed):
		return exitFailed // everything is said
	case err != nil:
		_, _ = fmt.Fprintln(stderr, "error:", err)
		var usage usageError
		if errors.As(err, &usage) {
			return exitUsage
		}
		return exitFailed
	}
	return 0
}

// errFailed ends the program with code 1 and no further word.
var errFailed = errors.New("failed")

// usageError is a fault of the person who typed.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// connection is how a command finds the service.
type connection struct {
	Server string `help:"Address of the running service." default:"http://127.0.0.1:7474" env:"CODEDEPLOY_STUB_URL" placeholder:"URL"`
}
