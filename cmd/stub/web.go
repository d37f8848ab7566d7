package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"codedeploy-agent/internal/atomicfile"

	"golang.org/x/sys/unix"
)

// webCommand serves a directory. Without --foreground it starts itself again in a session of its own, with closed
// outputs, and ends when the new process listens: what a hook that starts a service should do.
type webCommand struct {
	Dir        string `help:"Directory to serve." required:"" type:"existingdir"`
	Listen     string `help:"Address to listen on." required:"" placeholder:"HOST:PORT"`
	PidFile    string `help:"File that holds the process id while the server runs." required:"" type:"path"`
	Foreground bool   `help:"Stay in the foreground."`
}

// readyFD is where the process in the background says that it listens, or why not.
const readyFD = 3

// Run starts the server.
func (c *webCommand) Run(ctx context.Context, o output) error {
	if c.Foreground {
		return c.serve(ctx)
	}
	pid, err := c.background()
	if err != nil {
		return fmt.Errorf("cannot start the web server: %w", err)
	}
	_, err = fmt.Fprintf(o.out, "web server listens on %s, pid %d\n", c.Listen, pid)
	return err
}

// background starts the server and waits until it listens.
func (c *webCommand) background() (pid int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	ready, tell, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer func() { _ = ready.Close() }()
	// Whatever the caller left open must not live on in the server: a hook would wait for it.
	_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	cmd := exec.Command(self, "web", "--foreground", "--dir", c.Dir, "--listen", c.Listen, "--pid-file", c.PidFile)
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{tell}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	_ = tell.Close()
	said, err := io.ReadAll(ready)
	if err != nil {
		return 0, err
	}
	if text := strings.TrimSpace(string(said)); text != "ready" {
		_ = cmd.Wait()
		if text == "" {
			text = "it ended at once"
		}
		return 0, errors.New(text)
	}
	pid = cmd.Process.Pid // Release forgets it
	return pid, cmd.Process.Release()
}

// serve is the process in the background.
func (c *webCommand) serve(ctx context.Context) error {
	tell := os.NewFile(readyFD, "ready")
	listener, err := net.Listen("tcp", c.Listen)
	if err == nil {
		err = atomicfile.Write(c.PidFile, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644)
	}
	if err != nil {
		_, _ = fmt.Fprintln(tell, err)
		_ = tell.Close()
		return err
	}
	defer func() { _ = os.Remove(c.PidFile) }()
	server := &http.Server{Handler: http.FileServer(http.Dir(c.Dir)), ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	_, _ = fmt.Fprintln(tell, "ready")
	_ = tell.Close()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// fetchCommand fetches a page, as curl would where it is installed.
type fetchCommand struct {
	URL    string        `arg:"" help:"Address of the page."`
	Expect string        `help:"Text that the page must hold." placeholder:"TEXT"`
	Wait   time.Duration `help:"How long to try while nothing answers." default:"5s"`
}

// Run prints the page.
func (c *fetchCommand) Run(ctx context.Context, o output) error {
	ctx, cancel := context.WithTimeout(ctx, c.Wait)
	defer cancel()
	for {
		page, err := fetch(ctx, c.URL)
		if err == nil {
			_, _ = fmt.Fprintln(o.out, strings.TrimSpace(page))
			if !strings.Contains(page, c.Expect) {
				return fmt.Errorf("the page does not hold %q", c.Expect)
			}
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

func fetch(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return "", fmt.Errorf("cannot fetch %s: %w", url, errors.Unwrap(err))
	}
	defer func() { _ = response.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return "", fmt.Errorf("cannot fetch %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return "", statusError{url, response.StatusCode}
	}
	return string(b), nil
}

// statusError is an answer other than 200.
type statusError struct {
	url    string
	status int
}

func (e statusError) Error() string {
	return fmt.Sprintf("%s answers %d %s", e.url, e.status, http.StatusText(e.status))
}

// pidIn reads a pid file.
func pidIn(path string) (int, error) {
	b, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}
