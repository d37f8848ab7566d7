package config

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestTheTableOfDefaultsTellsTheTruth compares docs/compatibility.md with the code, value by value.
func TestTheTableOfDefaultsTellsTheTruth(t *testing.T) {
	text, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| [^|]* \\| [^|]* \\| ([^|]*) \\| ([^|]*) \\|$")
	rows := row.FindAllStringSubmatch(string(text), -1)
	if len(rows) < 10 {
		t.Fatalf("the table has %d rows", len(rows))
	}
	seen := map[string]bool{}
	for _, r := range rows {
		name := r[1]
		seen[name] = true
		i := slices.IndexFunc(keys, func(k key) bool { return k.name == name })
		if i < 0 {
			t.Errorf("%s: there is no such key", name)
			continue
		}
		for j, c := range []*Config{defaultsFor(""), defaultsFor(Compat1x)} {
			if want, got := keys[i].show(c), strings.TrimSpace(r[2+j]); got != want {
				t.Errorf("%s: the table says %q, the code %q (compatibility %q)", name, got, want, c.Compatibility)
			}
		}
	}
	for _, k := range keys { // whatever the switch changes must be in the table
		if k.show(defaultsFor("")) != k.show(defaultsFor(Compat1x)) && k.name != "compatibility" && !seen[k.name] {
			t.Errorf("%s differs under compatibility: 1.x and is not in the table", k.name)
		}
	}
}
