package codedeploy

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// ErrorCode says how a command ended. The service shows it as a word of its own.
type ErrorCode int

// The codes of 1.x.
const (
	Success             ErrorCode = 0
	ScriptMissing       ErrorCode = 1
	ScriptExecutability ErrorCode = 2
	ScriptTimedOut      ErrorCode = 3
	ScriptFailed        ErrorCode = 4
	UnknownError        ErrorCode = 5
	OutputsLeftOpen     ErrorCode = 6
	FailedAfterRestart  ErrorCode = 7
)

// Limits of what the service takes, in characters.
const (
	maxPayload = 8192
	maxLog     = 2048
	maxScript  = 512
	// minMessage is what a message may keep of its length when message and log do not fit together.
	minMessage = 2048
)

// Diagnostics is what the service shows about a command.
type Diagnostics struct {
	Code ErrorCode `json:"error_code"`
	// Script is the location of the script that failed, as the AppSpec file has it.
	Script  string `json:"script_name"`
	Message string `json:"message"`
	// Log is the end of what the scripts wrote.
	Log string `json:"log"`
}

// Envelope returns the diagnostics as JSON of at most 8,192 characters. Bytes that are not UTF-8 are replaced; of the
// log at most the last 2,048 characters are kept; what is still too long loses the middle of the message and then
// more of the log's beginning.
func (d Diagnostics) Envelope() Envelope {
	d.Script = keepEnds(strings.ToValidUTF8(d.Script, "\ufffd"), maxScript)
	d.Message = strings.ToValidUTF8(d.Message, "\ufffd")
	d.Log = keepLast(strings.ToValidUTF8(d.Log, "\ufffd"), maxLog)
	room := maxPayload - jsonLength(d.Script) - len(`{"error_code":-9223372036854775808,"script_name":"","message":"","log":""}`)
	d.Message = keepEnds(d.Message, max(minMessage, room-jsonLength(d.Log)))
	d.Log = keepTail(d.Log, room-jsonLength(d.Message))
	return Envelope{Format: "JSON", Payload: string(encode(d))}
}

// encode writes JSON as it is sent: without the escapes that are meant for web pages.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // nothing that is sent has a type that can fail
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// jsonLength is the length of a text inside JSON quotes, in UTF-16 units, the strictest way to count characters.
func jsonLength(s string) int {
	n := 0
	for _, c := range s {
		n += runeLength(c)
	}
	return n
}

func runeLength(c rune) int {
	switch {
	case c == '"', c == '\\', c == '\n', c == '\r', c == '\t', c == '\b', c == '\f':
		return 2
	case c < ' ', c == '\u2028', c == '\u2029':
		return 6
	case c > 0xffff:
		return 2
	}
	return 1
}

// keepLast returns the last n characters of a text.
func keepLast(s string, n int) string {
	at := len(s)
	for ; n > 0 && at > 0; n-- {
		_, size := utf8.DecodeLastRuneInString(s[:at])
		at -= size
	}
	return s[at:]
}

// keepTail returns as much of the end of a text as has the JSON length n.
func keepTail(s string, n int) string {
	at := len(s)
	for at > 0 {
		c, size := utf8.DecodeLastRuneInString(s[:at])
		if n -= runeLength(c); n < 0 {
			break
		}
		at -= size
	}
	return s[at:]
}

func keepHead(s string, n int) string {
	for at, c := range s {
		if n -= runeLength(c); n < 0 {
			return s[:at]
		}
	}
	return s
}

// keepEnds returns a text of at most the JSON length n, cut out of the middle when it is longer: a message starts with
// what happened and ends with what to do.
func keepEnds(s string, n int) string {
	const mark = " ... "
	if jsonLength(s) <= n {
		return s
	}
	half := (n - len(mark)) / 2
	return keepHead(s, half) + mark + keepTail(s, half)
}
