package systemd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

const (
	scopeSuffix = ".scope"
	// nameMax is the longest unit name that systemd takes.
	nameMax = 255
)

// ScopeName returns the unit name for the n-th run of a deployment's event, "codedeploy-hook-<deployment>-<event>-<n>.scope".
// Bytes that a unit name cannot hold are written as \xNN, as systemd-escape does, and a name that would be too long
// ends in a digest of what was cut off.
func ScopeName(deployment, event string, n int) string {
	head := "codedeploy-hook-" + escape(deployment) + "-" + escape(event)
	tail := fmt.Sprintf("-%d%s", n, scopeSuffix)
	if room := nameMax - len(tail); len(head) > room {
		sum := sha256.Sum256([]byte(head))
		digest := "-" + hex.EncodeToString(sum[:6])
		head = head[:room-len(digest)] + digest
	}
	return head + tail
}

func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == ':', c == '.':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String()
}
