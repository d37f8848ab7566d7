package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// imagePath is where the program lies now: a package may have replaced the file that this process was started from.
func imagePath() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("cannot find the program: %w", err)
	}
	return strings.TrimSuffix(path, " (deleted)"), nil
}

// checkNewImage asks the installed program for its version and whether it can read the configuration.
func checkNewImage(cli *commandLine) error {
	path, err := imagePath()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, path, "version").CombinedOutput(); err != nil {
		return fmt.Errorf("cannot run %q: %w: %s", path, err, strings.TrimSpace(string(out)))
	}
	check := []string{"run", "--check"}
	if cli.ConfigFile != "" {
		check = append(check, "--config-file", cli.ConfigFile)
	}
	if out, err := exec.CommandContext(ctx, path, check...).CombinedOutput(); err != nil {
		return fmt.Errorf("%q cannot use the configuration: %w: %s", path, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// reexecute replaces this process's image by the installed one. The lock stays held, hooks stay children. It returns
// only when that failed; the service manager then starts a new process.
func reexecute(cli *commandLine, self *instance, log *zap.Logger) error {
	path, err := imagePath()
	if err != nil {
		return err
	}
	// A reload that arrives between exec and the new image's handler must not end the process.
	signal.Ignore(unix.SIGHUP)
	fd := int(self.lock.Fd())
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
		return fmt.Errorf("cannot keep the lock over a reload: %w", err)
	}
	args := []string{path, "run"}
	if cli.ConfigFile != "" {
		args = append(args, "--config-file", cli.ConfigFile)
	}
	log.Info("The agent goes on as the installed program.", zap.String("program", path))
	environment := append(os.Environ(), fmt.Sprintf("%s=%d", lockVariable, fd))
	err = unix.Exec(path, args, environment)
	return fmt.Errorf("cannot execute %q: %w", path, err)
}
