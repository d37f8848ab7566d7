package deployspec

import (
	"encoding/json"
	"fmt"
	"io"
)

const redacted = "REDACTED"

// Secret is a text that no log, error or JSON document shows by accident. An empty one prints as nothing.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String returns "REDACTED".
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString returns "REDACTED", for %#v.
func (s Secret) GoString() string { return s.String() }

// Format writes "REDACTED" for every verb, %x included.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText returns "REDACTED".
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON returns "REDACTED" as a JSON string.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }
