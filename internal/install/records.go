package install

import (
	"bufio"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"codedeploy-agent/internal/state"

	"golang.org/x/sys/unix"
)

// writeRecords writes the records of the Install under their waiting names, durably.
func (p *Plan) writeRecords(tx *transaction) error {
	m := manifest{Deployment: tx.Deployment, Token: tx.Token}
	sum := newDigest()
	err := writeRecord(tx.group, waitingCleanup, func(w *bufio.Writer) error {
		m.Unlisted = p.writeCleanup(w)
		return nil
	}, sum)
	if err != nil {
		return err
	}
	err = writeRecord(tx.group, waitingInstall, func(w *bufio.Writer) error {
		p.writeInstructions(w)
		return nil
	}, nil)
	if err != nil {
		return err
	}
	m.Cleanup = digestText(sum)
	m.Inherited = append(m.Inherited, p.inherit...)
	for _, s := range p.stale {
		if s.isDir { // it stays if something is in it
			m.Inherited = append(m.Inherited, p.previous.path(s.entry))
		}
	}
	return writeRecord(tx.group, waitingManifest, func(w *bufio.Writer) error {
		b, err := m.encode()
		if err == nil {
			_, err = w.Write(b)
		}
		return err
	}, nil)
}

// writeRecord writes one file of the instructions folder through a buffer, and into sum if there is one.
func writeRecord(g state.Group, suffix string, write func(*bufio.Writer) error, sum hash.Hash) (err error) {
	path := g.File(suffix)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return fmt.Errorf("cannot write the records of the Install: %w", err)
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			err = fmt.Errorf("cannot write the records of the Install: %w", err)
		}
	}()
	var to io.Writer = f
	if sum != nil {
		to = io.MultiWriter(f, sum)
	}
	w := bufio.NewWriterSize(to, 256<<10)
	if err := write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Sync()
}

// writeCleanup writes the list of what was made, in creation order, as 1.x reads it. Paths that a list of lines cannot
// hold are returned: written there, they would name other files.
func (p *Plan) writeCleanup(w *bufio.Writer) (unlisted []string) {
	p.eachInstalled(func(dir, name string, _ uint16) {
		if !listable(dir) || !listable(name) {
			unlisted = append(unlisted, join(dir, name))
			return
		}
		_, _ = w.WriteString(dir)
		if dir != "/" {
			_ = w.WriteByte('/')
		}
		_, _ = w.WriteString(name)
		_ = w.WriteByte('\n')
	})
	for _, o := range p.labelledObjects() {
		if listable(o.path) {
			_, _ = w.WriteString(semanagePrefix + o.path + "\n")
		}
	}
	return unlisted
}

// listable tells whether a 1.x agent reads a path, or the last part of one, from its line as it is. Bytes that are no
// UTF-8 make it give up.
func listable(path string) bool {
	if last := path[len(path)-1]; strings.IndexByte(blanks, last) >= 0 {
		return false
	}
	for i := 0; i < len(path); i++ {
		if path[i] == '\n' {
			return false
		}
		if path[i] >= utf8.RuneSelf {
			return !strings.Contains(path[i:], "\n") && utf8.ValidString(path)
		}
	}
	return true
}

// writeInstructions writes what was done in the format of 1.x: for people, no agent reads it.
func (p *Plan) writeInstructions(w *bufio.Writer) {
	_, _ = w.WriteString(`{"instructions":[`)
	in := instructionWriter{w: w}
	for _, st := range p.steps {
		if !st.isRun {
			in.add("mkdir", "directory", p.dirs[st.index].path)
			continue
		}
		r := &p.runs[st.index]
		source := filepath.Join(p.in.Archive, r.src)
		for i := r.first; i < r.first+r.count; i++ {
			if f := &p.files[i]; f.action != retain {
				in.copy(source, p.dirs[r.dir].path, p.name(f))
			}
		}
	}
	p.eachInstalled(func(dir, name string, rule uint16) {
		if rule != 0 {
			in.addRule(join(dir, name), &p.rules[rule-1])
		}
	})
	_, _ = w.WriteString("]}")
}

type instructionWriter struct {
	w    *bufio.Writer
	some bool
}

func (in *instructionWriter) start(kind string) {
	if in.some {
		_ = in.w.WriteByte(',')
	}
	in.some = true
	_, _ = in.w.WriteString(`{"type":"`)
	_, _ = in.w.WriteString(kind)
	_ = in.w.WriteByte('"')
}

// add writes an instruction whose members are texts.
func (in *instructionWriter) add(kind string, members ...string) {
	in.start(kind)
	for i := 0; i < len(members); i += 2 {
		_, _ = in.w.WriteString(`,"` + members[i] + `":`)
		in.text(members[i+1])
	}
	_ = in.w.WriteByte('}')
}

// copy writes the instruction for one file. Hundreds of thousands of these are written without making strings.
func (in *instructionWriter) copy(source, destination, name string) {
	in.start("copy")
	_, _ = in.w.WriteString(`,"source":`)
	in.joined(source, name)
	_, _ = in.w.WriteString(`,"destination":`)
	in.joined(destination, name)
	_ = in.w.WriteByte('}')
}

func (in *instructionWriter) joined(dir, name string) {
	if !plain(dir) || !plain(name) || dir == "/" {
		in.text(join(dir, name))
		return
	}
	_ = in.w.WriteByte('"')
	_, _ = in.w.WriteString(dir)
	_ = in.w.WriteByte('/')
	_, _ = in.w.WriteString(name)
	_ = in.w.WriteByte('"')
}

// plain tells whether a text stands in JSON as it is.
func plain(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			return false
		}
	}
	return true
}

// text writes a JSON string; most paths need no escapes.
func (in *instructionWriter) text(s string) {
	if !plain(s) {
		in.value(s)
		return
	}
	_ = in.w.WriteByte('"')
	_, _ = in.w.WriteString(s)
	_ = in.w.WriteByte('"')
}

func (in *instructionWriter) value(v any) {
	b, err := json.Marshal(v)
	if err != nil { // texts and lists of texts always have a form
		panic(err)
	}
	_, _ = in.w.Write(b)
}

// optional turns a text that was not given into JSON's null.
func optional(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// addRule writes the permission instructions for one object, in the order of 1.x.
func (in *instructionWriter) addRule(path string, r *rule) {
	if r.Mode != "" {
		in.add("chmod", "mode", r.Mode, "file", path)
	}
	if r.ACLs != nil {
		acl := []string{}
		for _, a := range r.ACLs {
			acl = append(acl, a.String())
		}
		in.start("setfacl")
		_, _ = in.w.WriteString(`,"acl":`)
		in.value(acl)
		in.file(path)
	}
	if c := r.Context; c != nil {
		in.start("semanage")
		_, _ = in.w.WriteString(`,"context":{"user":`)
		in.value(optional(c.User))
		_, _ = in.w.WriteString(`,"role":null,"type":`)
		in.value(c.Type)
		_, _ = in.w.WriteString(`,"range":`)
		in.value(optional(c.Range))
		_, _ = in.w.WriteString("}")
		in.file(path)
	}
	if r.Owner != "" || r.Group != "" {
		in.start("chown")
		_, _ = in.w.WriteString(`,"owner":`)
		in.value(optional(r.Owner))
		_, _ = in.w.WriteString(`,"group":`)
		in.value(optional(r.Group))
		in.file(path)
	}
}

func (in *instructionWriter) file(path string) {
	_, _ = in.w.WriteString(`,"file":`)
	in.text(path)
	_ = in.w.WriteByte('}')
}
