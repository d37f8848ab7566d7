package bundle

import (
	"fmt"
	"strconv"
	"strings"
)

// contentRange is the header of that name: bytes start to end (exclusive) of total, which is -1 when unknown.
type contentRange struct{ start, end, total int64 }

func parseContentRange(text string) (contentRange, error) {
	bad := fmt.Errorf("the server sent a Content-Range that makes no sense: %.80q", text)
	unit, rest, ok := strings.Cut(strings.TrimSpace(text), " ")
	span, size, ok2 := strings.Cut(rest, "/")
	first, last, ok3 := strings.Cut(strings.TrimSpace(span), "-")
	if !ok || !ok2 || !ok3 || !strings.EqualFold(unit, "bytes") {
		return contentRange{}, bad
	}
	start, err1 := parseOffset(first)
	end, err2 := parseOffset(last)
	total := int64(-1)
	var err3 error
	if size = strings.TrimSpace(size); size != "*" {
		total, err3 = parseOffset(size)
	}
	if err1 != nil || err2 != nil || err3 != nil || end < start || (total >= 0 && end >= total) {
		return contentRange{}, bad
	}
	return contentRange{start, end + 1, total}, nil
}

// parseUnsatisfied reads the total size from the Content-Range of status 416, -1 when it is not there.
func parseUnsatisfied(text string) int64 {
	size, ok := strings.CutPrefix(strings.TrimSpace(text), "bytes */")
	if !ok {
		return -1
	}
	n, err := parseOffset(size)
	if err != nil {
		return -1
	}
	return n
}

// parseOffset reads digits alone; the largest offset leaves room for one more.
func parseOffset(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || n == 1<<63-1 {
		return 0, strconv.ErrRange
	}
	return int64(n), nil
}
