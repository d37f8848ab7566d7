package appspec

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
	"pgregory.net/rapid"
)

// bomb is a file whose aliases stand for width to the power of depth values.
func bomb(width, depth int, leaf string) string {
	var b strings.Builder
	b.WriteString("version: 0.0\nos: linux\n")
	fmt.Fprintf(&b, "x0: &x0 %s\n", leaf)
	for i := range depth {
		fmt.Fprintf(&b, "x%d: &x%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*x%d, ", i), width), ", "))
	}
	return b.String()
}

func TestAliasesDoNotExplode(t *testing.T) {
	scripts := strings.TrimSuffix(strings.Repeat("{location: a.sh}, ", 2000), ", ")
	var events strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&events, "  E%d: *s\n", i)
	}
	merges := "version: 0.0\nos: linux\nm0: &m0 {a: 1}\n"
	for i := range 40 {
		merges += fmt.Sprintf("m%d: &m%d {<<: [*m%d, *m%d, *m%d]}\n", i+1, i+1, i, i, i)
	}
	for name, text := range map[string]string{
		"lists of lists":       bomb(10, 12, "[a, b]") + "files: *x12\nhooks: {A: *x12}\npermissions: *x12\n",
		"long lists, repeated": "version: 0.0\nos: linux\nx: &s [" + scripts + "]\nhooks:\n" + events.String(),
		"merges of merges":     merges + "hooks: *m40\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, findings := Parse("appspec.yml", []byte(text))
			if findings.Err() == nil {
				t.Error("accepted")
			}
			if len(findings) > 3*maxFindings {
				t.Errorf("%d findings", len(findings))
			}
		})
	}
}

func TestAliasesMayGoInCircles(t *testing.T) {
	for _, text := range []string{
		"&a [*a]", "&a {version: *a, os: *a}", "a: &a {<<: *a}\nversion: 0.0\nos: linux\n",
		"version: 0.0\nos: linux\nhooks: &h {A: [*h], B: *h, <<: *h}\nfiles: &f [*f]\npermissions: &p [{object: /a, except: *p, type: *p, acls: *p, context: *p}]\n",
	} {
		Parse("appspec.yml", []byte(text)) // ends
	}
}

func TestASizeAboveTheLimitIsRefused(t *testing.T) {
	_, findings := Parse("appspec.yml", []byte("version: 0.0\nos: linux\n"+strings.Repeat("#", MaxSize)))
	if len(findings) != 1 || findings[0].Rule != ruleTooLarge || findings[0].Line != 1 {
		t.Errorf("got %v", findings)
	}
}

func TestFindingsAreBoundedAndErrorsCount(t *testing.T) {
	text := minimal + "files:\n" + strings.Repeat("  - source: a\n    destination: relative\n", 5000) + "  - source: last\n"
	_, findings := Parse("appspec.yml", []byte(text))
	if len(findings.Warnings()) > maxFindings || findings.Err() == nil {
		t.Errorf("%d warnings, error %v", len(findings.Warnings()), findings.Err())
	}
}

// Reflection into yaml.v3 finds the place of syntax errors; a new version may hide it.
func TestSyntaxErrorsHaveLineAndColumn(t *testing.T) {
	for text, want := range map[string]string{
		"a: b\n\tc: d\n":                            "2:1",
		"version: 0.0\nos: linux: x\n":              "2:10",
		"files:\n  - a\n   b\n  c: d\n":             "4:3",
		"a:\n - b\n c: d\n":                         "3:2",
		"a: [b\nc: d\n":                             "1:4",
		"a: \"b\nc: d\n":                            "1:4",
		"a: *none\n":                                "1:4",
		"a:\r\n  b: c\r\n d: e\r\n":                 "3:2",
		"# \xc3\xa4\xc3\xb6\na: \xc3\xa4 @: b: c\n": "2:7",
	} {
		_, findings := Parse("f", []byte(text))
		got := ""
		if len(findings) > 0 {
			got = fmt.Sprintf("%d:%d", findings[0].Line, findings[0].Column)
		}
		if got != want {
			t.Errorf("%q: at %s, want %s: %v", text, got, want, findings)
		}
	}
}

func TestPlainScalarsMeanWhatRubyMakesOfThem(t *testing.T) {
	for text, want := range map[string]float64{
		"0": 0, "0.0": 0, "-0": 0, ".0": 0, "0.": 0, "00": 0, "0_0": 0, "+0.0": 0, "0x0": 0, "0b0": 0, "0:0": 0,
		"1": 1, "1_000": 1000, "1,000": 1000, "010": 8, "0x1F": 31, "0b101": 5, "1:30": 5400, "1:30:15": 5415,
		"1.5": 1.5, "1.5e+3": 1500, "-7": -7, "+7": 7,
	} {
		if got, ok := number(text); !ok || got != want {
			t.Errorf("number(%q) = %v, %t, want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "a", "08", "1e3", "0.0.0", "1.5e3", "v0", "0 0", "--1", "1:75", "0o17", ".", "_1"} {
		if got, ok := number(text); ok {
			t.Errorf("number(%q) = %v, want text", text, got)
		}
	}
	for _, text := range []string{".inf", "-.INF", ".nan"} {
		if got, ok := number(text); !ok || !math.IsNaN(got) {
			t.Errorf("number(%q) = %v, %t, want no finite number", text, got, ok)
		}
	}
	for text, want := range map[string]float64{
		"300": 300, " 45 ": 45, "300s": 300, "5m": 5, "1_0": 10, "1__0": 1, "+7": 7, "-3": -3, "x": 0, "": 0, "0x10": 0, "3.9": 3, "08": 8,
	} {
		if got, _ := leadingInteger(text); got != want {
			t.Errorf("leadingInteger(%q) = %v, want %v", text, got, want)
		}
	}
	for text, want := range map[string]bool{"~": true, "": true, "null": true, "NULL": true, "Null": true, "nil": false, "''": false, "none": false} {
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte("a: "+text), &doc); err != nil {
			t.Fatal(err)
		}
		if got := isNull(doc.Content[0].Content[1]); got != want {
			t.Errorf("isNull(%q) = %t", text, got)
		}
	}
}

func TestAnEndlessTimeoutIsCapped(t *testing.T) {
	spec, findings := Parse("f", []byte(minimal+"hooks: {AfterInstall: [{location: a, timeout: 99999999999999999999999}]}\n"))
	if findings.Err() != nil || spec.Hooks["AfterInstall"][0].Timeout != math.MaxInt64 {
		t.Errorf("%v %v", spec, findings)
	}
}

func TestFileMode(t *testing.T) {
	for mode, want := range map[string]uint32{"644": 0o644, "0644": 0o644, "4755": 0o4755, "000": 0, "7777": 0o7777, "006": 6} {
		if got, ok := (Permission{Mode: mode}).FileMode(); !ok || got != want {
			t.Errorf("%s: %o, %t", mode, got, ok)
		}
	}
	if _, ok := (Permission{}).FileMode(); ok {
		t.Error("no mode is a mode")
	}
}

// What is rendered is read again as the same, so that records and commands agree.
func TestRangesAndACLsSurviveTheirOwnText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		low := rapid.IntRange(0, 15).Draw(t, "low")
		text := fmt.Sprintf("s%d-s%d", low, low+rapid.IntRange(0, 3).Draw(t, "more"))
		if categories := rapid.SliceOfNDistinct(rapid.IntRange(0, maxCategory), 1, 12, rapid.ID).Draw(t, "categories"); len(categories) > 0 {
			var parts []string
			for _, c := range categories {
				parts = append(parts, fmt.Sprintf("c%d", c))
			}
			text += ":" + strings.Join(parts, ",")
		}
		rendered, problem := renderRange(text)
		if problem != "" {
			t.Fatalf("%s: %s", text, problem)
		}
		if again, problem := renderRange(rendered); again != rendered || problem != "" {
			t.Fatalf("%s -> %s -> %s (%s)", text, rendered, again, problem)
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`((d|default):)?((u|user|g|group|m|mask|o|other):)?[a-z]{0,3}:[rwx-]{0,4}`).Draw(t, "entry")
		acl, problem, _ := parseACL(text)
		if problem != "" {
			return
		}
		again, problem, _ := parseACL(acl.String())
		if again != acl || problem != "" {
			t.Fatalf("%s -> %s -> %s (%s)", text, acl, again, problem)
		}
	})
}

func TestTheDefaultTimeoutIsOneHour(t *testing.T) {
	spec, _ := Parse("f", []byte(minimal+"hooks: {AfterInstall: [{location: a}]}\n"))
	if got := spec.Hooks["AfterInstall"][0].Timeout; got != time.Hour {
		t.Errorf("got %v", got)
	}
}
