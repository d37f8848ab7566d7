package hooks

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// tailLimit is what the service takes: the entries of a tail have less than this many characters together.
const tailLimit = 2048

// tailScrap is the least of an overlong entry that is worth showing.
const tailScrap = 64

// tailDots stand for what was cut off.
const tailDots = "..."

// tail keeps the last entries of a hook's output for the report to the service.
type tail struct {
	entries []tailEntry
	total   int // characters in entries
}

type tailEntry struct {
	mark, text string // text ends in a newline, mark is for example "[stdout]"
	size       int    // characters of both, at most tailLimit
}

// overlong tells that an entry could not be shown whole even if it were the only one.
func (e tailEntry) overlong() bool { return e.size >= tailLimit }

// add appends an entry; line has no newline. Bytes that are no UTF-8 are replaced.
func (t *tail) add(mark string, line []byte) {
	dots := ""
	if most := utf8.UTFMax * tailLimit; len(line) > most { // more can never be shown
		line, dots = line[len(line)-most:], tailDots
		for len(line) > 0 && !utf8.RuneStart(line[0]) {
			line = line[1:]
		}
	}
	text := dots + strings.ToValidUTF8(string(line), "\uFFFD") + "\n"
	e := tailEntry{mark: mark, text: text}
	e.size = min(utf8.RuneCountInString(mark)+utf8.RuneCountInString(text), tailLimit)
	t.entries = append(t.entries, e)
	t.total += e.size
	// The first entry stays while those after it leave room: its end may be shown.
	drop := 0
	for t.total-t.entries[drop].size >= tailLimit {
		t.total -= t.entries[drop].size
		drop++
	}
	t.entries = slices.Delete(t.entries, 0, drop)
}

// String returns the last whole entries that fit. An entry that fits nowhere whole shows its end in the room that is
// left: the reason of a failure may be in it.
func (t *tail) String() string {
	first, total := len(t.entries), 0
	for first > 0 && total+t.entries[first-1].size < tailLimit {
		first--
		total += t.entries[first].size
	}
	var b strings.Builder
	if first > 0 && t.entries[first-1].overlong() {
		b.WriteString(t.entries[first-1].end(tailLimit - 1 - total))
	}
	for _, e := range t.entries[first:] {
		b.WriteString(e.mark + e.text)
	}
	return b.String()
}

// end returns the mark and as much of the end of the text as fits into so many characters.
func (e tailEntry) end(room int) string {
	keep := room - utf8.RuneCountInString(e.mark) - len(tailDots)
	if keep < tailScrap {
		return ""
	}
	runes := []rune(e.text)
	return e.mark + tailDots + string(runes[max(0, len(runes)-keep):])
}
