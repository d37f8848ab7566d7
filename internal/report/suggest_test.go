package report

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSuggestFindsTheWordThatWasMeant(t *testing.T) {
	known := []string{
		"location", "timeout", "runas", "sudo", "source", "destination", "hooks", "files", "permissions", "os", "version",
		"BeforeInstall", "AfterInstall", "ApplicationStart", "ApplicationStop", "ValidateService",
		"BeforeAllowTraffic", "AfterAllowTraffic", "BeforeBlockTraffic", "AfterBlockTraffic",
	}
	for word, want := range map[string]string{
		"localtion":        "location",
		"Location":         "location",
		"loaction":         "location",
		"destinaion":       "destination",
		"run_as":           "runas",
		"runAs":            "runas",
		"time-out":         "timeout",
		"Before Install":   "BeforeInstall",
		"beforeinstall":    "BeforeInstall",
		"BEFORE_INSTALL":   "BeforeInstall",
		"ApplicattionStop": "ApplicationStop",
		"AfterInstal":      "AfterInstall",
		"ValidateServices": "ValidateService",
		"hook":             "hooks",
		"file":             "files",
		"OS":               "os",
		"banana":           "",
		"":                 "",
		"   ":              "",
	} {
		if got := Suggest(word, known); got != want {
			t.Errorf("Suggest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestSuggestNeverReturnsTheWordItself(t *testing.T) {
	if got := Suggest("hooks", []string{"hooks"}); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestSuggestBearsAnyText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.String().Draw(t, "word")
		known := rapid.SliceOf(rapid.String()).Draw(t, "known")
		if got := Suggest(word, known); got == word && word != "" {
			t.Fatalf("suggested the word itself: %q", got)
		}
	})
}

func TestOneSlipOfTheFingerIsUndone(t *testing.T) {
	known := []string{"permissions", "destination", "ApplicationStart"}
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.SampledFrom(known).Draw(t, "word")
		at := rapid.IntRange(0, len(word)-1).Draw(t, "at")
		slip := word[:at] + strings.Repeat("q", rapid.IntRange(0, 1).Draw(t, "q")) + word[at+1:]
		if slip == word {
			return
		}
		if got := Suggest(slip, known); got != word {
			t.Fatalf("Suggest(%q) = %q, want %q", slip, got, word)
		}
	})
}
