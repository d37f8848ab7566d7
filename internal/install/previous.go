package install

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"codedeploy-agent/internal/state"
)

// semanagePrefix marks the lines of a cleanup list that are SELinux rules.
const semanagePrefix = "semanage\x00"

// blanks are what 1.x cuts off around a line; for Ruby a zero byte is one of them.
const blanks = " \t\r\n\v\f\x00"

// maxCleanupBytes keeps a damaged list from being taken for a long one.
const maxCleanupBytes = 2 << 30

// readPrevious reads what the last Install of the group made: its 1.x cleanup list, and what our own manifest knows
// beyond that, if it belongs to this very list. Without a list nothing is owned.
func readPrevious(g state.Group) (*owned, error) {
	prev := newOwned()
	f, err := os.Open(g.CleanupFile())
	if errors.Is(err, fs.ErrNotExist) {
		return prev, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read what the last deployment installed: %w", err)
	}
	defer func() { _ = f.Close() }()
	// The first reading takes the digest and finds out how much room is needed, which keeps the peak of memory low.
	sum, size := newDigest(), lineCounter{}
	if _, err := io.Copy(io.MultiWriter(sum, &size), io.LimitReader(f, maxCleanupBytes)); err != nil {
		return nil, fmt.Errorf("cannot read what the last deployment installed: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("cannot read what the last deployment installed: %w", err)
	}
	prev.makeRoom(size.lines, size.names)
	if err := readCleanup(f, prev.add, func(path string) { prev.labels = append(prev.labels, path) }); err != nil {
		return nil, fmt.Errorf("cannot read what the last deployment installed from %q: %w", f.Name(), err)
	}
	m, err := readManifest(g)
	if err == nil && m.Cleanup == digestText(sum) {
		for _, p := range m.Unlisted {
			prev.add(p)
		}
		prev.inherit = m.Inherited
	}
	return prev, prev.markShared(g)
}

// lineCounter counts the lines with a slash that are written to it, and their bytes after the last one.
type lineCounter struct {
	lines, names, name int
	slash              bool
}

func (c *lineCounter) Write(b []byte) (int, error) {
	for _, x := range b {
		switch x {
		case '/':
			c.name, c.slash = 0, true
		case '\n':
			if c.slash {
				c.lines, c.names = c.lines+1, c.names+c.name
			}
			c.name, c.slash = 0, false
		default:
			c.name++
		}
	}
	return len(b), nil
}

// readCleanup reads a list in the 1.x format: one path a line in the order of creation, blanks around it cut off. A
// last line without its newline is the trace of a crash and not believed. Lines that climb above the root, hold a zero
// byte, or name the root itself are left out.
func readCleanup(r io.Reader, path, label func(string)) error {
	in := bufio.NewReaderSize(io.LimitReader(r, maxCleanupBytes), 256<<10)
	for {
		line, err := readLine(in)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		text := strings.Trim(string(line), blanks)
		rule, isLabel := strings.CutPrefix(text, semanagePrefix)
		abs, ok := absolute(rule)
		switch {
		case !ok, abs == "/", strings.ContainsRune(rule, 0):
		case isLabel:
			label(abs)
		default:
			path(abs)
		}
	}
}

// readLine returns a line of any length with its newline, io.EOF when there is no whole line left.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		return line, err
	}
	long := bytes.Clone(line)
	for err == bufio.ErrBufferFull {
		line, err = in.ReadSlice('\n')
		long = append(long, line...)
	}
	return long, err
}

// markShared finds the paths that other deployment groups of the same root list, too: those stay when this group does
// not need them any longer.
func (o *owned) markShared(g state.Group) error {
	if o.len() == 0 {
		return nil
	}
	return eachOtherGroup(g, func(other state.Group, path string) {
		if i := o.lookup(path); i >= 0 {
			o.mark(i, flagShared)
		}
	})
}

// eachOtherGroup calls f for every path that another group's cleanup list holds.
func eachOtherGroup(g state.Group, f func(other state.Group, path string)) error {
	lists, err := filepath.Glob(globEscape(g.Root().Instructions()) + "/*-cleanup")
	if err != nil {
		return err
	}
	for _, list := range lists {
		other := g.Root().Group(strings.TrimSuffix(filepath.Base(list), "-cleanup"))
		if other.ID() == g.ID() {
			continue
		}
		in, err := os.Open(list)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot read what another deployment group installed: %w", err)
		}
		err = readCleanup(in, func(path string) { f(other, path) }, func(string) {})
		_ = in.Close()
		if err != nil {
			return fmt.Errorf("cannot read what another deployment group installed from %q: %w", list, err)
		}
	}
	return nil
}

func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
