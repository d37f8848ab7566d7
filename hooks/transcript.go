package hooks

import (
	"bytes"
	"sync"
	"time"
	"unicode/utf8"
)

// maxLine is where an endless line of output is cut into several entries.
const maxLine = 64 << 10

// transcript is a hook's output on its way to the logs and into the tail. An entry is one line: a header, or a line of
// output with the mark of its stream.
type transcript struct {
	mu           sync.Mutex
	scripts      *logFile // nil: no such log
	deployments  *logFile
	deploymentID string
	tail         tail
	forScripts   []byte // buffers, kept between calls
	forAll       []byte
}

func newTranscript(j job) *transcript {
	t := &transcript{deploymentID: j.DeploymentID}
	log := func(path string) *logFile {
		if path == "" {
			return nil
		}
		return &logFile{path: path, maxBytes: j.Options.MaxLogBytes, files: j.Options.LogFiles}
	}
	t.scripts, t.deployments = log(j.ScriptsLog), log(j.DeploymentsLog)
	return t
}

// header adds an entry without a mark.
func (t *transcript) header(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.add("", [][]byte{[]byte(text)})
}

// add writes lines, each without its newline, under one time stamp. The caller holds the lock.
func (t *transcript) add(mark string, lines [][]byte) {
	if len(lines) == 0 {
		return
	}
	now := time.Now()
	if t.scripts != nil {
		t.forScripts = t.forScripts[:0]
		stamp := now.AppendFormat(nil, "2006-01-02 15:04:05 ")
		stamp = append(stamp, mark...)
		for _, l := range lines {
			t.forScripts = append(append(append(t.forScripts, stamp...), l...), '\n')
		}
		t.scripts.write(t.forScripts)
	}
	if t.deployments != nil {
		t.forAll = t.forAll[:0]
		stamp := now.AppendFormat(nil, "[2006-01-02 15:04:05.000] [")
		stamp = append(append(append(stamp, t.deploymentID...), ']'), mark...)
		for _, l := range lines {
			t.forAll = append(append(append(t.forAll, stamp...), l...), '\n')
		}
		t.deployments.write(t.forAll)
	}
	// No entry is shorter than its newline and, without a header, its mark; more than these cannot be in the tail.
	for _, l := range lines[max(0, len(lines)-tailLimit/2):] {
		t.tail.add(mark, l)
	}
}

// end returns the tail.
func (t *transcript) end() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tail.String()
}

// warnings says what the logs have lost.
func (t *transcript) warnings() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []string
	for _, l := range []*logFile{t.scripts, t.deployments} {
		if l != nil && l.warning() != "" {
			all = append(all, l.warning())
		}
	}
	return all
}

// stream cuts one output of a script into lines.
type stream struct {
	t       *transcript
	mark    string
	pending []byte // the beginning of a line
	lines   [][]byte
}

// Write takes the next bytes of the output. It never fails.
func (s *stream) Write(b []byte) (int, error) {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	s.pending = append(s.pending, b...)
	if len(s.pending) <= maxLine && bytes.IndexByte(b, '\n') < 0 {
		return len(b), nil // what was pending has been looked through before
	}
	rest := s.pending
	s.lines = s.lines[:0]
	for {
		line, after, ok := bytes.Cut(rest, []byte{'\n'})
		switch {
		case len(line) > maxLine:
			cut := lineCut(line)
			line, after = line[:cut], rest[cut:]
		case !ok:
			s.t.add(s.mark, s.lines)
			s.pending = append(s.pending[:0], rest...)
			return len(b), nil
		}
		s.lines = append(s.lines, line)
		rest = after
	}
}

// flush makes an entry of a line that has no end yet.
func (s *stream) flush() {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	if len(s.pending) > 0 {
		s.t.add(s.mark, [][]byte{s.pending})
		s.pending = s.pending[:0]
	}
}

// lineCut returns where to cut an overlong line: not inside a character, if it is text.
func lineCut(line []byte) int {
	for cut := maxLine; cut > maxLine-utf8.UTFMax; cut-- {
		if utf8.RuneStart(line[cut]) {
			return cut
		}
	}
	return maxLine
}
