package hooks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// A log is looked at again, whether somebody has rotated or removed it and whether it has become too large, after so
// much time or so many bytes.
const (
	logRecheckTime  = 250 * time.Millisecond
	logRecheckBytes = 1 << 20
)

// logFile appends to a log that several runners share. It never fails its caller: what cannot be written is counted.
type logFile struct {
	path     string
	maxBytes int64
	files    int

	f       *os.File // nil when the last attempt to open failed
	checked time.Time
	since   int64 // bytes written since checked
	torn    bool  // the last write stopped inside a line
	lost    int64 // bytes that could not be written
	lastErr error
}

// write appends whole lines in one call, so that lines of others cannot fall between.
func (l *logFile) write(lines []byte) {
	if now := time.Now(); l.f == nil || l.since >= logRecheckBytes || now.Sub(l.checked) >= logRecheckTime {
		l.check(now)
	}
	if l.f == nil {
		l.lost += int64(len(lines))
		return
	}
	if l.torn {
		lines = append([]byte{'\n'}, lines...)
	}
	n, err := l.f.Write(lines)
	l.since += int64(n)
	if n > 0 {
		l.torn = lines[n-1] != '\n'
	}
	if err != nil {
		l.lost += int64(len(lines) - n)
		l.lastErr = err
	}
}

func (l *logFile) check(now time.Time) {
	recently := !l.checked.IsZero() && now.Sub(l.checked) < logRecheckTime
	if l.f == nil && recently {
		return
	}
	l.checked, l.since = now, 0
	if l.f != nil {
		if err := rotateLog(l.path, l.maxBytes, l.files); err != nil {
			l.lastErr = err
		}
		if l.isCurrent() {
			return
		}
		_ = l.f.Close()
	}
	l.f, l.torn = nil, false
	// O_NONBLOCK is for a pipe that somebody may have put there; it means nothing to a regular file.
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NONBLOCK, 0o644)
	if err != nil {
		l.lastErr = err
		return
	}
	l.f = f
}

// isCurrent tells whether the open file is still the one that the path names.
func (l *logFile) isCurrent() bool {
	open, err := l.f.Stat()
	named, err2 := os.Stat(l.path)
	return err == nil && err2 == nil && os.SameFile(open, named)
}

// warning says what was lost, "" when nothing was.
func (l *logFile) warning() string {
	if l.lost == 0 {
		return ""
	}
	return fmt.Sprintf("%d bytes of output are missing in the log %q: %v", l.lost, l.path, l.lastErr)
}

// RotateLogs renames each log that has reached its maximal size, and its predecessors: log to log.1, log.1 to log.2.
// Runners do it themselves while they write; those that have a renamed log open notice soon.
func RotateLogs(o Options, paths ...string) error {
	o = o.withDefaults()
	var errs []error
	for _, p := range paths {
		errs = append(errs, rotateLog(p, o.MaxLogBytes, o.LogFiles))
	}
	return errors.Join(errs...)
}

// rotateLog holds a lock on the log's directory meanwhile. Who finds it taken leaves the work to the holder.
func rotateLog(path string, maxBytes int64, files int) error {
	if !tooLarge(path, maxBytes) {
		return nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("cannot rotate log %q: %w", path, err)
	}
	defer func() { _ = dir.Close() }()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil
		}
		return fmt.Errorf("cannot rotate log %q: %w", path, err)
	}
	if !tooLarge(path, maxBytes) { // somebody was faster
		return nil
	}
	if files == 1 {
		return os.Remove(path)
	}
	for i := files - 1; i > 0; i-- {
		from := path
		if i > 1 {
			from = fmt.Sprintf("%s.%d", path, i-1)
		}
		if err := os.Rename(from, fmt.Sprintf("%s.%d", path, i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot rotate log %q: %w", path, err)
		}
	}
	return nil
}

func tooLarge(path string, maxBytes int64) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Size() >= maxBytes
}
