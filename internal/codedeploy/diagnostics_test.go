package codedeploy

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestDiagnosticsAsTheServiceGetsThem(t *testing.T) {
	for _, tc := range []struct {
		name string
		d    Diagnostics
		want string
	}{
		{"success", Diagnostics{Message: "Succeeded: "}, `{"error_code":0,"script_name":"","message":"Succeeded: ","log":""}`},
		{"signs of web pages stay as they are", Diagnostics{Code: ScriptFailed, Message: "<a> & b"}, `{"error_code":4,"script_name":"","message":"<a> & b","log":""}`},
		{"quotes and line ends", Diagnostics{Log: "[stdout]\"x\"\\\n\t"}, `{"error_code":0,"script_name":"","message":"","log":"[stdout]\"x\"\\\n\t"}`},
		{"bytes that are no UTF-8", Diagnostics{Code: ScriptFailed, Script: "a\xff.sh", Message: "\xc3", Log: "\xf0\x9f\x98x"}, `{"error_code":4,"script_name":"a�.sh","message":"�","log":"�x"}`},
	} {
		if got := tc.d.Envelope(); got.Format != "JSON" || got.Payload != tc.want {
			t.Errorf("%s:\n%s\nwant\n%s", tc.name, got.Payload, tc.want)
		}
	}
}

func TestTheEndOfTheLogAndBothEndsOfTheMessageAreKept(t *testing.T) {
	d := decode(t, Diagnostics{Message: "begin " + strings.Repeat("m", 20000) + " end", Log: "first" + strings.Repeat("l", 5000) + "last"})
	if !strings.HasPrefix(d.Message, "begin ") || !strings.HasSuffix(d.Message, " end") || !strings.Contains(d.Message, "m ... m") {
		t.Errorf("message %.20q", d.Message)
	}
	if n := utf8.RuneCountInString(d.Log); n != 2048 || !strings.HasSuffix(d.Log, "last") {
		t.Errorf("log of %d characters", n)
	}
	// Control characters take six characters each, so even a log of the allowed length does not fit.
	d = decode(t, Diagnostics{Message: "why", Log: strings.Repeat("\x01", 2047) + "!"})
	if d.Message != "why" || !strings.HasSuffix(d.Log, "\x01!") {
		t.Errorf("message %q, log %d", d.Message, len(d.Log))
	}
}

func decode(t interface{ Fatal(...any) }, d Diagnostics) (out Diagnostics) {
	payload := d.Envelope().Payload
	if n := len(utf16.Encode([]rune(payload))); n > 8192 {
		t.Fatal("payload of", n, "characters")
	}
	if err := json.Unmarshal([]byte(payload), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDiagnosticsAlwaysFit(t *testing.T) {
	bytes := func(most int) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			piece := rapid.SampledFrom([]string{"a", "\x00", "\"", "\n", "\u2028", "😀", "\xff", "é", "line of text\n", "\ufffd"}).Draw(t, "piece")
			other := rapid.StringN(0, 20, 60).Draw(t, "other")
			return strings.Repeat(piece+other, rapid.IntRange(0, most/len(piece+other)+1).Draw(t, "times"))
		})
	}
	rapid.Check(t, func(t *rapid.T) {
		d := Diagnostics{
			Code: ErrorCode(rapid.IntRange(0, 7).Draw(t, "code")), Script: bytes(3000).Draw(t, "script"),
			Message: bytes(30000).Draw(t, "message"), Log: bytes(30000).Draw(t, "log"),
		}
		got := decode(t, d)
		if got.Code != d.Code || utf8.RuneCountInString(got.Log) > 2048 {
			t.Fatal(got.Code, utf8.RuneCountInString(got.Log))
		}
		if !strings.HasSuffix(strings.ToValidUTF8(d.Log, "\ufffd"), got.Log) {
			t.Fatal("the log is no end of what was written")
		}
	})
}
