package hooks

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

func TestTail(t *testing.T) {
	type entry struct{ mark, line string }
	long := strings.Repeat("x", 3000) + "END"
	for name, c := range map[string]struct {
		entries []entry
		want    string
	}{
		"nothing":   {nil, ""},
		"all of it": {[]entry{{"", "LifecycleEvent - X"}, {"[stdout]", "a"}, {"[stderr]", ""}}, "LifecycleEvent - X\n[stdout]a\n[stderr]\n"},
		"whole entries, less than 2048 characters": {
			[]entry{{"", strings.Repeat("a", 999)}, {"", strings.Repeat("b", 1023)}, {"", strings.Repeat("c", 1022)}},
			strings.Repeat("b", 1023) + "\n" + strings.Repeat("c", 1022) + "\n", // 1024 + 1023
		},
		"2048 is too much": {
			[]entry{{"", strings.Repeat("b", 1023)}, {"", strings.Repeat("c", 1023)}},
			strings.Repeat("c", 1023) + "\n",
		},
		"characters, not bytes": {
			[]entry{{"", strings.Repeat("ä", 1022)}, {"", strings.Repeat("€", 1022)}},
			strings.Repeat("ä", 1022) + "\n" + strings.Repeat("€", 1022) + "\n",
		},
		"the end of an overlong line":                   {[]entry{{"", "before"}, {"[stderr]", long}}, "[stderr]..." + long[len(long)-2035:] + "\n"},
		"the end of an overlong line before short ones": {[]entry{{"[stderr]", long}, {"[stdout]", "ok"}}, "[stderr]..." + long[len(long)-2024:] + "\n[stdout]ok\n"},
		"no room for a useful piece of it":              {[]entry{{"[stderr]", long}, {"", strings.Repeat("z", 2000)}}, strings.Repeat("z", 2000) + "\n"},
		"broken text":                                   {[]entry{{"", "a\xff\xfeb\xc3"}}, "a\uFFFDb\uFFFD\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var tl tail
			for _, e := range c.entries {
				tl.add(e.mark, []byte(e.line))
			}
			if got := tl.String(); got != c.want {
				t.Errorf("got %d characters %.100q, want %d %.100q", utf8.RuneCountInString(got), got, utf8.RuneCountInString(c.want), c.want)
			}
		})
	}
}

func FuzzTail(f *testing.F) {
	f.Add([]byte("a\nb\n\xff"), 7)
	f.Add(bytes.Repeat([]byte("é\n"), 900), 100)
	f.Fuzz(func(t *testing.T, output []byte, piece int) {
		tr := &transcript{}
		s := &stream{t: tr, mark: "[stdout]"}
		for rest := output; len(rest) > 0; {
			n := min(max(piece, 1), len(rest))
			_, _ = s.Write(rest[:n])
			rest = rest[n:]
		}
		s.flush()
		got := tr.end()
		if utf8.RuneCountInString(got) >= tailLimit || !utf8.ValidString(got) {
			t.Errorf("%d characters, valid %t", utf8.RuneCountInString(got), utf8.ValidString(got))
		}
		if len(output) > 0 && (got == "" || got[len(got)-1] != '\n') {
			t.Errorf("%q ends as %q", output, got)
		}
		// However the output arrives, the entries are the same.
		whole := &transcript{}
		w := &stream{t: whole, mark: "[stdout]"}
		_, _ = w.Write(output)
		w.flush()
		if other := whole.end(); other != got {
			t.Errorf("in pieces %q, at once %q", got, other)
		}
	})
}

func TestEndlessLine(t *testing.T) {
	l := newBench(t)
	l.misbehave("a.sh", "no-newline", fmt.Sprint(10<<20))
	res := l.run()
	if res.Outcome != Succeeded || len(res.Log) < 2000 || len(res.Log) >= tailLimit {
		t.Errorf("outcome %s, log of %d bytes", res.Outcome, len(res.Log))
	}
	lines, xs := 0, 0
	for line := range strings.Lines(l.read(l.req.ScriptsLog)) {
		lines++
		xs += strings.Count(line, "x")
		if len(line) > maxLine+40 || !strings.HasSuffix(line, "\n") {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
	if xs != 10<<20 || lines < 160 {
		t.Errorf("%d bytes in %d lines", xs, lines)
	}
}

func TestLineIsNotCutInsideACharacter(t *testing.T) {
	tr := &transcript{}
	s := &stream{t: tr}
	_, _ = s.Write([]byte(strings.Repeat("x", maxLine-1) + "€uro\n"))
	if got := tr.end(); !strings.HasSuffix(got, "x\n€uro\n") {
		t.Errorf("the end is %q", got[len(got)-20:])
	}
}

func TestLogsAreRotated(t *testing.T) {
	l := newBench(t)
	l.req.Options.MaxLogBytes, l.req.Options.LogFiles = 3<<20, 3
	l.misbehave("a.sh", "many-lines", fmt.Sprint(16<<20))
	res := l.run()
	if res.Outcome != Succeeded || len(res.Warnings) > 0 {
		t.Errorf("result %+v", res)
	}
	files, _ := filepath.Glob(l.req.ScriptsLog + "*")
	if len(files) != 3 {
		t.Errorf("files %v", files)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil || info.Size() > 6<<20 {
			t.Errorf("%s has %d bytes", f, info.Size())
		}
	}
}

func TestRotateLogs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scripts.log")
	o := Options{MaxLogBytes: 4, LogFiles: 3}
	for i := range 5 {
		if err := os.WriteFile(path, fmt.Appendf(nil, "log %d", i), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := RotateLogs(o, path, path+".absent"); err != nil {
			t.Fatal(err)
		}
	}
	files, _ := filepath.Glob(path + "*")
	b, _ := os.ReadFile(path + ".1")
	if len(files) != 2 || string(b) != "log 4" {
		t.Errorf("files %v, the newest is %q", files, b)
	}
}

func TestLogIsReopened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scripts.log")
	lf := &logFile{path: path, maxBytes: 1 << 20, files: 2}
	lf.write([]byte("one\n"))
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	lf.checked = lf.checked.Add(-logRecheckTime)
	lf.write([]byte("two\n"))
	if b, _ := os.ReadFile(path); string(b) != "two\n" {
		t.Errorf("the new log has %q", b)
	}
	_ = lf.f.Close()
}

// A full disk under the logs costs the lines, nothing else; what comes later is whole again.
func TestFullDiskUnderTheLogs(t *testing.T) {
	needsRoot(t, "a hook writes more than the disk under its logs takes")
	l := newBench(t)
	logs := filepath.Dir(l.req.ScriptsLog)
	if err := os.MkdirAll(logs, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", logs, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(logs, unix.MNT_DETACH) })
	l.misbehave("a.sh", "many-lines", fmt.Sprint(2<<20))
	l.sh("b.sh", "echo the end; exit 6")
	res := l.run()
	if res.Outcome != Failed || res.ExitCode != 6 || !strings.HasSuffix(res.Log, "[stdout]the end\n") {
		t.Errorf("result %+v", res)
	}
	if len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "no space left on device") {
		t.Errorf("warnings %q", res.Warnings)
	}
}

// The result needs no room that was not there when the hook began.
func TestDiskFillsUpWhileTheHookRuns(t *testing.T) {
	needsRoot(t, "a hook fills the disk that its record lies on")
	l := newBench(t)
	disk := l.path("small")
	if err := os.MkdirAll(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	l.req.Record = filepath.Join(disk, "record")
	l.sh("fill.sh", "cat /dev/zero > "+disk+"/full 2>/dev/null; echo filled; exit 3")
	res := l.run()
	if res.Outcome != Failed || res.ExitCode != 3 || !strings.Contains(res.Log, "filled") {
		t.Errorf("result %+v", res)
	}
	l.req.Record = filepath.Join(disk, "record2")
	if _, err := Start(t.Context(), l.req, nopLog); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("starting on a full disk: %v", err)
	}
}

func TestNoDirectoryForTheLogs(t *testing.T) {
	l := newBench(t)
	l.sh("a.sh", "echo x")
	l.req.DeploymentsLog = "/proc/nowhere/all.log"
	res := l.run()
	if res.Outcome != Succeeded || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "/proc/nowhere/all.log") {
		t.Errorf("result %+v", res)
	}
}

func TestLogsCannotBeWritten(t *testing.T) {
	l := newBench(t)
	l.sh("a.sh", "echo x")
	if err := os.MkdirAll(l.req.ScriptsLog, 0o755); err != nil { // a directory stands there
		t.Fatal(err)
	}
	res := l.run()
	if res.Outcome != Succeeded || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "is a directory") {
		t.Errorf("result %+v", res)
	}
}
