package install

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strconv"
	"strings"

	"codedeploy-agent/internal/atomicfile"
	"codedeploy-agent/internal/state"

	"golang.org/x/sys/unix"
)

// A transaction is one file in the instructions folder while an Install is under way:
//
//	a header, one line of JSON
//	dir MTIME NSEC DEV "PATH"       a directory in which temporary names appear
//	label "PATH"                    an SELinux rule that is added to the policy
//	new DIR TAG INODE "NAME"        a name that is new: the inode staged for it
//	swap DIR TAG INODE "NAME"       a name that gets another object: the inode of the old one
//	attr DIR JSON                   a directory that stays and gets other attributes
//	gone DIR TAG INODE "NAME"       a name of the previous deployment that goes
//	rmdir "PATH"                    a directory of earlier deployments that goes when it is empty
//	unlabel "PATH"                  an SELinux rule of an earlier deployment that goes
//	commit SHA256
//	undo
//
// Header, dir and label lines are on the disk before the first temporary name is made, everything up to the commit
// line before the first target is touched. Without a commit line there is nothing but temporary names to be dropped;
// with one, the Install happens, at the next start if need be; after an undo line, it is taken back.

const transactionSuffix = "-transaction"

// The records of 1.x and our manifest wait under these names until everything is in place. They do not end like the
// records themselves: whoever looks for cleanup lists must not find them.
const (
	waitingCleanup  = transactionSuffix + ".cleanup"
	waitingInstall  = transactionSuffix + ".install"
	waitingManifest = transactionSuffix + ".manifest"
)

// header starts a transaction file.
type header struct {
	Version    int    `json:"version"`
	ID         string `json:"id"`
	Group      string `json:"group"`
	Deployment string `json:"deployment"` // the id; the pointer to the last successful Install will name it
	Token      string `json:"token"`
	Root       string `json:"root,omitempty"`
}

const transactionVersion = 1

// tempPrefix starts every temporary name: a leading dot and no suffix, so that nobody who reads a directory of
// snippets takes one for a snippet.
const tempPrefix = ".cd-"

// What a temporary name holds.
const (
	tempNew    = 'n' // what is staged; after an exchange, what was replaced
	tempOld    = 'o' // what was replaced, where names cannot be exchanged
	tempBackup = 'b' // a copy of what is overwritten in place
)

// temp is the temporary name for an operation, 18 bytes long.
func temp(id string, kind byte, tag string) string { return tempPrefix + id + string(kind) + tag }

// tag numbers an operation: the letter says whether the number counts files, directories or stale paths.
func tag(letter byte, n int32) string {
	digits := strconv.FormatInt(int64(n), 36)
	return string(letter) + "000000"[:6-len(digits)] + digits
}

// transaction writes the file.
type transaction struct {
	header
	group state.Group
	file  *os.File
	out   *bufio.Writer
	sum   hash.Hash
}

func transactionFile(g state.Group) string { return g.File(transactionSuffix) }

// begin starts the transaction file of a group. dirs are the directories in which temporary names will appear.
func begin(h header, g state.Group, dirs []hostDir, labels []string) (*transaction, error) {
	h.Version = transactionVersion
	h.ID = newID()
	f, err := os.OpenFile(transactionFile(g), os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot begin the transaction: %w", err)
	}
	tx := &transaction{header: h, group: g, file: f, sum: newDigest()}
	tx.out = bufio.NewWriterSize(io.MultiWriter(f, tx.sum), 64<<10)
	if err := tx.writeStart(dirs, labels); err != nil {
		_ = f.Close()
		_ = os.Remove(f.Name())
		return nil, fmt.Errorf("cannot begin the transaction: %w", err)
	}
	return tx, nil
}

func (tx *transaction) writeStart(dirs []hostDir, labels []string) error {
	line, err := json.Marshal(tx.header)
	if err != nil {
		return err
	}
	_, _ = tx.out.Write(append(line, '\n'))
	for _, d := range dirs {
		_, _ = fmt.Fprintf(tx.out, "dir %d %d %d %q\n", d.mtime, d.mtimeNs, d.dev, d.path)
	}
	for _, path := range labels {
		_, _ = fmt.Fprintf(tx.out, "label %q\n", path)
	}
	if err := tx.sync(); err != nil {
		return err
	}
	return atomicfile.SyncDir(tx.group.Root().Instructions())
}

func (tx *transaction) sync() error {
	if err := tx.out.Flush(); err != nil {
		return err
	}
	return tx.file.Sync()
}

// op appends an operation on a name.
func (tx *transaction) op(verb string, dir int32, tag string, ino uint64, name string) {
	b := tx.out.AvailableBuffer()
	b = append(append(b, verb...), ' ')
	b = append(strconv.AppendInt(b, int64(dir), 10), ' ')
	b = append(append(b, tag...), ' ')
	b = append(strconv.AppendUint(b, ino, 10), ' ')
	b = strconv.AppendQuote(b, name)
	_, _ = tx.out.Write(append(b, '\n')) // a bufio.Writer keeps its first error for Flush
}

func (tx *transaction) attr(dir int32, c attrChange) error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(tx.out, "attr %d %s\n", dir, b)
	return err
}

// path appends an operation for the end, on a whole path.
func (tx *transaction) path(verb, path string) { _, _ = fmt.Fprintf(tx.out, "%s %q\n", verb, path) }

// seal makes the commit durable: from here on the Install happens.
func (tx *transaction) seal() error {
	if err := tx.out.Flush(); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(tx.file, "commit %s\n", hex.EncodeToString(tx.sum.Sum(nil))); err != nil {
		return err
	}
	return tx.file.Sync()
}

// markUndo makes the decision durable that the Install is taken back.
func markUndo(f *os.File) error {
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	if _, err := f.WriteString("undo\n"); err != nil {
		return err
	}
	return f.Sync()
}

// removeTransaction ends a transaction: its waiting records first, so that a crash leaves no record without a file.
func removeTransaction(g state.Group) error {
	for _, suffix := range []string{waitingCleanup, waitingInstall, waitingManifest, transactionSuffix} {
		if err := os.Remove(g.File(suffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("cannot end the transaction: %w", err)
		}
	}
	return atomicfile.SyncDir(g.Root().Instructions())
}

func newID() string { return strings.ToLower(rand.Text()[:6]) }
