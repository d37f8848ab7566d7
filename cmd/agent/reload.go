package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
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

// checkNewImage asks the installed program whether it runs and can go on with the configuration.
func checkNewImage(ctx context.Context, cli *commandLine) error {
	path, err := imagePath()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, path, runArguments(cli, "--check")...).CombinedOutput(); err != nil {
		return fmt.Errorf("%q cannot go on with the configuration: %w: %s", path, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// runArguments are those that make another process of this program run as this one does.
func runArguments(cli *commandLine, more ...string) []string {
	args := append([]string{"run"}, more...)
	if cli.ConfigFile != "" {
		args = append(args, "--config-file", cli.ConfigFile)
	}
	return args
}

// reexecute replaces this process's image by the installed one. The lock stays held, hooks stay children. It returns
// only when that failed; the service manager then starts a new process.
func reexecute(cli *commandLine, self *instance, log *zap.Logger) error {
	path, err := imagePath()
	if err != nil {
		return err
	}
	// Nobody is to be started meanwhile who would inherit the lock.
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	fd := self.lock.Fd()
	if _, err := unix.FcntlInt(fd, unix.F_SETFD, 0); err != nil {
		return fmt.Errorf("cannot keep the lock over a reload: %w", err)
	}
	log.Info("The agent goes on as the installed program.", zap.String("program", path))
	environment := append(os.Environ(), fmt.Sprintf("%s=%d", lockVariable, fd))
	err = unix.Exec(path, append([]string{path}, runArguments(cli)...), environment)
	unix.CloseOnExec(int(fd)) // a hook that kept the lock would keep the next agent from starting
	return fmt.Errorf("cannot execute %q: %w", path, err)
}
