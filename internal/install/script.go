package install

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"codedeploy-agent/internal/state"
)

// hostDir is a directory in which names change.
type hostDir struct {
	path    string
	mtime   int64
	mtimeNs uint32
	dev     uint64
}

// operation is one line of a transaction file after its start.
type operation struct {
	verb string // new, swap, attr, gone, rmdir, unlabel
	dir  int    // index of the host directory, for all but the last two
	tag  string
	ino  uint64
	name string // for the last two the whole path
	attr *attrChange
}

// atEnd tells whether the operation waits until everything is in place and is not taken back.
func (op operation) atEnd() bool { return op.verb == "rmdir" || op.verb == "unlabel" }

// script is a transaction file that was read: its start, and where its operations are.
type script struct {
	header
	group     state.Group
	file      *os.File
	hosts     []hostDir
	labels    []string
	start     int64 // offset of the first operation
	committed bool
	undone    bool
}

// openScript reads the transaction file of a group, fs.ErrNotExist when there is none. Lines after damage are left
// out: without a commit line that covers them they mean nothing.
func openScript(g state.Group) (*script, error) {
	f, err := os.OpenFile(transactionFile(g), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	s := &script{group: g, file: f}
	if err := s.read(); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("cannot read the transaction %q: %w", f.Name(), err)
	}
	return s, nil
}

func (s *script) close() { _ = s.file.Close() }

// read takes in the start and finds out whether the commit line is there.
func (s *script) read() error {
	in := bufio.NewReaderSize(s.file, 256<<10)
	sum := newDigest()
	var at int64
	for {
		line, err := readLine(in)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		text := string(line[:len(line)-1])
		verb, rest, _ := strings.Cut(text, " ")
		switch {
		case s.committed:
			s.undone = s.undone || verb == "undo"
		case verb == "commit":
			s.committed = rest == hex.EncodeToString(sum.Sum(nil))
			if !s.committed {
				return nil
			}
		case at == 0:
			if err := json.Unmarshal(line, &s.header); err != nil {
				return nil // a torn first line: nothing has happened yet
			}
			if s.Version != transactionVersion {
				return fmt.Errorf("it is of version %d, this agent knows version %d; install the agent that wrote it", s.Version, transactionVersion)
			}
		case verb == "dir":
			d, err := parseDir(rest)
			if err != nil {
				return nil
			}
			s.hosts = append(s.hosts, d)
		case verb == "label":
			path, err := strconv.Unquote(rest)
			if err != nil {
				return nil
			}
			s.labels = append(s.labels, path)
		case s.start == 0:
			s.start = at
		}
		_, _ = sum.Write(line)
		at += int64(len(line))
	}
}

func parseDir(rest string) (hostDir, error) {
	var d hostDir
	_, err := fmt.Sscanf(rest, "%d %d %d %q", &d.mtime, &d.mtimeNs, &d.dev, &d.path)
	return d, err
}

// each calls f for the operations, the first one having index 0, until f fails.
func (s *script) each(f func(index int, op operation) error) error {
	if s.start == 0 {
		return nil
	}
	if _, err := s.file.Seek(s.start, io.SeekStart); err != nil {
		return err
	}
	in := bufio.NewReaderSize(s.file, 256<<10)
	for index := 0; ; index++ {
		line, err := readLine(in)
		if err != nil {
			return fmt.Errorf("cannot read the transaction %q: %w", s.file.Name(), err)
		}
		if bytes.HasPrefix(line, []byte("commit ")) {
			return nil
		}
		op, err := s.parse(line[:len(line)-1])
		if err != nil {
			return fmt.Errorf("cannot read line %q of the transaction %q: %w", line, s.file.Name(), err)
		}
		if err := f(index, op); err != nil {
			return err
		}
	}
}

var errShort = errors.New("it is not an operation")

func (s *script) parse(line []byte) (op operation, err error) {
	verb, rest, ok := strings.Cut(string(line), " ")
	op.verb = verb
	if !ok {
		return op, errShort
	}
	if op.atEnd() {
		op.name, err = strconv.Unquote(rest)
		return op, err
	}
	number, rest, ok := strings.Cut(rest, " ")
	if op.dir, err = strconv.Atoi(number); err != nil || !ok || op.dir < 0 || op.dir >= len(s.hosts) {
		return op, errShort
	}
	if verb == "attr" {
		op.attr = new(attrChange)
		return op, json.Unmarshal([]byte(rest), op.attr)
	}
	if op.tag, rest, ok = strings.Cut(rest, " "); !ok {
		return op, errShort
	}
	number, rest, _ = strings.Cut(rest, " ")
	if op.ino, err = strconv.ParseUint(number, 10, 64); err != nil {
		return op, err
	}
	op.name, err = strconv.Unquote(rest)
	return op, err
}
