package appspec

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"codedeploy-agent/internal/report"
)

// DefaultName is the name that a deployment asks for unless it says otherwise.
const DefaultName = "appspec.yml"

// fallbacks are looked for when the name itself is not there.
var fallbacks = []string{"appspec.yaml", "appspec.yml"}

// NotFoundError says that a revision has no AppSpec file, and what it has instead.
type NotFoundError struct {
	// Name is what was looked for first.
	Name string
	// Entries lie at the top of the revision; directories end with a slash. There are at most 20.
	Entries []string
	// More is how many entries are not listed.
	More int
	// Hint says what to do next; it may be empty.
	Hint string
}

func (e *NotFoundError) Error() string {
	names := []string{quote(e.Name)}
	for _, name := range fallbacks {
		if name != e.Name {
			names = append(names, quote(name))
		}
	}
	text := "cannot find the AppSpec file: the revision has no " + strings.Join(names, " or ")
	switch {
	case len(e.Entries) == 0:
		text += "; it is empty"
	default:
		var quoted []string
		for _, entry := range e.Entries {
			quoted = append(quoted, quote(entry))
		}
		text += "; at its top lie " + strings.Join(quoted, ", ")
		if e.More > 0 {
			text += fmt.Sprintf(" and %d more", e.More)
		}
	}
	if e.Hint != "" {
		text += ": " + e.Hint
	}
	return text
}

// Locate returns the path of the AppSpec file of an unpacked revision: the name below the archive directory, else
// appspec.yaml, else appspec.yml. An empty name is [DefaultName]; a name may have directories. Links count as long
// as they stay in the archive. The error is a *[NotFoundError] when there is no such file.
func Locate(archive, name string) (string, error) {
	root, err := os.OpenRoot(archive)
	if err != nil {
		return "", fmt.Errorf("cannot open the revision: %w", err)
	}
	defer root.Close()
	found, err := locate(root, name)
	if err != nil {
		return "", err
	}
	return filepath.Join(archive, found), nil
}

// Load finds the AppSpec file of an unpacked revision as [Locate] does, and reads it. The error is that of finding
// and reading, or the errors among the findings; the Spec may be there in spite of the latter, see [Parse].
func Load(archive, name string) (*Spec, report.Findings, error) {
	root, err := os.OpenRoot(archive)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot open the revision: %w", err)
	}
	defer root.Close()
	found, err := locate(root, name)
	if err != nil {
		return nil, nil, err
	}
	data, err := read(root, found)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the AppSpec file %q: %w", found, err)
	}
	spec, findings := Parse(found, data)
	return spec, findings, findings.Err()
}

// read stops beyond MaxSize; Parse says so.
func read(root *os.Root, name string) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxSize+1))
}

func locate(root *os.Root, name string) (string, error) {
	if name == "" {
		name = DefaultName
	}
	clean := path.Clean(name)
	if !filepath.IsLocal(name) || clean == "." {
		return "", fmt.Errorf("cannot use %q as the name of the AppSpec file: it leaves the revision", name)
	}
	for _, candidate := range slices.Concat([]string{clean}, fallbacks) {
		info, err := root.Stat(candidate)
		switch {
		case err == nil && info.Mode().IsRegular():
			return candidate, nil
		case err == nil || absent(err):
			// A directory of that name is no AppSpec file either.
		default:
			return "", fmt.Errorf("cannot look at the AppSpec file %q: %w", candidate, err)
		}
	}
	return "", notFound(root, clean)
}

// absent is also true when a part of the path is a file.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) }

func notFound(root *os.Root, name string) error {
	const limit = 20
	e := &NotFoundError{Name: name}
	entries, err := readDir(root, ".")
	if err != nil {
		return fmt.Errorf("cannot list the revision: %w", err)
	}
	e.Hint = hint(root, name, entries)
	for _, entry := range entries {
		if len(e.Entries) == limit {
			e.More = len(entries) - limit
			break
		}
		label := entry.Name()
		if entry.IsDir() {
			label += "/"
		}
		e.Entries = append(e.Entries, label)
	}
	return e
}

// readDir lists a directory in the order of names, the first ten thousand entries of it.
func readDir(root *os.Root, name string) ([]fs.DirEntry, error) {
	dir, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(10_000)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// hint looks for a file that was probably meant, at the top and one directory down.
func hint(root *os.Root, name string, entries []fs.DirEntry) string {
	want := path.Base(name)
	if other := likely(want, entries); other != "" {
		return fmt.Sprintf("rename %q to %q", other, name)
	}
	looked := 0
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		if looked++; looked > 100 {
			break
		}
		below, err := readDir(root, entry.Name())
		if err != nil {
			continue
		}
		for _, e := range below {
			if e.Name() == want || slices.Contains(fallbacks, e.Name()) {
				return fmt.Sprintf("%q lies in the directory %q: pack the content of that directory, not the directory itself", e.Name(), entry.Name())
			}
		}
	}
	if path.Dir(name) != "." {
		return "check the name of the AppSpec file that the deployment asks for"
	}
	return "put the AppSpec file at the top of the revision"
}

// likely returns the entry that was probably meant to be the AppSpec file: AppSpec.yml, appspec.yml.txt,
// app-spec.yaml, appspec.json.
func likely(want string, entries []fs.DirEntry) string {
	bare := func(name string) string {
		name = strings.ToLower(strings.Trim(name, " \t._~"))
		for _, suffix := range []string{".txt", ".bak", ".orig", ".sample", ".example", ".dist", ".template"} {
			name = strings.TrimSuffix(name, suffix)
		}
		for _, suffix := range []string{".yml", ".yaml", ".json", ".yam", ".yl", ".ymal", ".ylm", ".txt"} {
			name = strings.TrimSuffix(name, suffix)
		}
		return strings.Map(func(c rune) rune {
			if c == '-' || c == '_' || c == ' ' || c == '.' {
				return -1
			}
			return c
		}, name)
	}
	var names []string
	for _, entry := range entries {
		if !entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	for _, name := range names {
		if b := bare(name); b == bare(want) || b == "appspec" {
			return name
		}
	}
	return report.Suggest(want, names)
}
