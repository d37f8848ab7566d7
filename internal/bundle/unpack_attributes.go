package bundle

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// AttributesName is the record, beside deployment-archive, of the owners and modes that members of the bundle had
// and that the private copy on the disk does not have.
//
// It is text: a head line, then `MODE UID GID PATH` for each member (mode in octal, paths relative to the archive as
// it was before a single top directory was taken away), `- PATH` where a later member took a record back, and at the
// end the number of records and the directory that was taken away. Each line ends with a NUL byte, because a name may
// contain a newline.
const AttributesName = ".archive-attributes"

const (
	attributesHead = "codedeploy archive attributes 1\x00"
	attributesEnd  = "end "
)

// attributeWriter makes the record. A nil writer, and one that nothing was added to, leave no file.
type attributeWriter struct {
	path  string
	file  *os.File
	buf   *bufio.Writer
	line  []byte
	count int
}

func (w *attributeWriter) add(path string, m fileMeta) error {
	w.line = strconv.AppendUint(w.line[:0], uint64(m.mode&0o7777), 8)
	w.line = strconv.AppendInt(append(w.line, ' '), int64(m.uid), 10)
	w.line = strconv.AppendInt(append(w.line, ' '), int64(m.gid), 10)
	w.line = append(w.line, ' ')
	return w.write(path)
}

// forget takes back what was recorded of the path, if anything was.
func (w *attributeWriter) forget(path string) error {
	if w == nil || w.file == nil {
		return nil
	}
	w.line = append(w.line[:0], "- "...)
	return w.write(path)
}

func (w *attributeWriter) write(path string) error {
	if w.file == nil {
		f, err := os.OpenFile(w.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("cannot record the attributes of the bundle's members: %w", err)
		}
		w.file, w.buf = f, bufio.NewWriterSize(f, 32<<10)
		_, _ = w.buf.WriteString(attributesHead) // the error stays for the next call
	}
	w.line = append(append(w.line, path...), 0)
	w.count++
	_, err := w.buf.Write(w.line)
	return err
}

// finish completes the record and tells whether there is one.
func (w *attributeWriter) finish(stripped string) (bool, error) {
	if w == nil || w.file == nil {
		return false, nil
	}
	_, err := fmt.Fprintf(w.buf, "%s%d %s\x00", attributesEnd, w.count, stripped)
	return true, errors.Join(err, w.buf.Flush())
}

func (w *attributeWriter) close() {
	if w != nil && w.file != nil {
		_ = w.file.Close()
	}
}

// Attributes are the owners and modes that the members of a bundle had.
type Attributes struct {
	data     []byte
	stripped string
	seed     maphash.Seed
	slots    []uint32 // offset of a record + 1, by the hash of its path
}

// ReadAttributes reads the record of the deployment whose folder is given. Without a record it returns an empty
// one: every member is on the disk as it was in the bundle.
func ReadAttributes(deploymentDir string) (*Attributes, error) {
	path := filepath.Join(deploymentDir, AttributesName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Attributes{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the attributes of the bundle's members: %w", err)
	}
	a, err := parseAttributes(data)
	if err != nil {
		return nil, fmt.Errorf("cannot read %q: %w; deploy the revision again", path, err)
	}
	return a, nil
}

func parseAttributes(data []byte) (*Attributes, error) {
	damaged := errors.New("it is damaged")
	if !bytes.HasPrefix(data, []byte(attributesHead)) || data[len(data)-1] != 0 || len(data) >= 1<<31 {
		return nil, damaged
	}
	last := bytes.LastIndexByte(data[:len(data)-1], 0) + 1
	end, ok := strings.CutPrefix(string(data[last:len(data)-1]), attributesEnd)
	number, stripped, ok2 := strings.Cut(end, " ")
	count, err := strconv.Atoi(number)
	if !ok || !ok2 || err != nil || count < 0 || count > len(data) {
		return nil, damaged
	}
	a := &Attributes{data: data[:last], stripped: stripped, seed: maphash.MakeSeed()}
	size := 16
	for size*3 < count*4 {
		size *= 2
	}
	a.slots = make([]uint32, size)
	seen := 0
	for at := len(attributesHead); at < last; seen++ {
		n := bytes.IndexByte(data[at:last], 0)
		if n < 0 {
			return nil, damaged
		}
		path, _, _, _, ok := parseAttribute(data[at : at+n])
		if !ok || seen == count {
			return nil, damaged
		}
		a.slots[a.slot(path)] = uint32(at) + 1
		at += n + 1
	}
	if seen != count {
		return nil, damaged
	}
	return a, nil
}

// parseAttribute takes a record apart; a record that was taken back has mode -1.
func parseAttribute(line []byte) (path []byte, mode int64, uid, gid int, ok bool) {
	if path, ok := bytes.CutPrefix(line, []byte("- ")); ok {
		return path, -1, 0, 0, true
	}
	var field [3]int64
	for i, base := range []int{8, 10, 10} {
		word, rest, found := bytes.Cut(line, []byte(" "))
		n, err := strconv.ParseInt(string(word), base, 64)
		if !found || err != nil || n < 0 {
			return nil, 0, 0, 0, false
		}
		field[i], line = n, rest
	}
	return line, field[0], int(field[1]), int(field[2]), field[0] <= 0o7777
}

// slot is where the path is in the table, or where it would be.
func (a *Attributes) slot(path []byte) int {
	mask := len(a.slots) - 1
	for i := int(maphash.Bytes(a.seed, path)) & mask; ; i = (i + 1) & mask {
		if a.slots[i] == 0 || bytes.Equal(a.record(i), path) {
			return i
		}
	}
}

func (a *Attributes) record(slot int) []byte {
	line := a.data[a.slots[slot]-1:]
	path, _, _, _, _ := parseAttribute(line[:bytes.IndexByte(line, 0)])
	return path
}

// Of tells the owner and the mode (permission bits with setuid, setgid and sticky) that a member had in the bundle;
// rel is its path relative to deployment-archive. ok is false where they are those of the file on the disk.
func (a *Attributes) Of(rel string) (uid, gid int, mode uint32, ok bool) {
	if a == nil || len(a.slots) == 0 {
		return 0, 0, 0, false
	}
	path := rel
	if a.stripped != "" {
		path = a.stripped + "/" + rel
	}
	i := a.slot([]byte(path))
	if a.slots[i] == 0 {
		return 0, 0, 0, false
	}
	line := a.data[a.slots[i]-1:]
	_, m, uid, gid, _ := parseAttribute(line[:bytes.IndexByte(line, 0)])
	return uid, gid, uint32(m & 0o7777), m >= 0
}

// Len is the number of records; members that came twice may count twice.
func (a *Attributes) Len() int {
	n := 0
	for _, s := range a.slots {
		if s != 0 {
			n++
		}
	}
	return n
}

// copyAttributes gives one deployment the record of another whose archive it reuses.
func copyAttributes(fromDir, toDir string) error {
	from, err := os.Open(filepath.Join(fromDir, AttributesName))
	to := filepath.Join(toDir, AttributesName)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.Remove(to); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	}
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	tmp, err := os.CreateTemp(toDir, AttributesName+"-")
	if err != nil {
		return err
	}
	_, err = io.Copy(tmp, from)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), to)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("cannot copy the attributes of the bundle's members: %w", err)
	}
	return nil
}
