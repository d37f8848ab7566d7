package appspec

import (
	"math"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Agent 1.x reads YAML 1.1 as Ruby's Psych does. These functions give plain scalars that meaning, because the
// resolver of yaml.v3 follows YAML 1.2 in half of the cases.

// plain reports whether the scalar is written without quotes and without a "!!str" tag, so that its text may stand
// for something else.
func plain(n *yaml.Node) bool {
	const quoted = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	if n.Kind != yaml.ScalarNode {
		return false
	}
	if n.Style&yaml.TaggedStyle != 0 {
		return n.Tag != "!!str" && n.Tag != "!str" && n.Style&quoted == 0
	}
	return n.Style&quoted == 0
}

// isNull is true for a value that is absent, empty, "~" or "null".
func isNull(n *yaml.Node) bool {
	if n == nil {
		return true
	}
	return plain(n) && (n.Value == "" || n.Value == "~" || strings.EqualFold(n.Value, "null"))
}

func isFalse(n *yaml.Node) bool {
	return n != nil && plain(n) && isOneOf(n.Value, "no", "false", "off")
}

func isTrue(n *yaml.Node) bool {
	return n != nil && plain(n) && isOneOf(n.Value, "yes", "true", "on")
}

// isNothing is true for the two values that Ruby holds for untrue.
func isNothing(n *yaml.Node) bool { return isNull(n) || isFalse(n) }

func isOneOf(text string, words ...string) bool {
	for _, word := range words {
		if strings.EqualFold(text, word) {
			return true
		}
	}
	return false
}

var (
	floatText       = regexp.MustCompile(`^[-+]?([0-9][0-9_,]*)?\.[0-9]*([eE][-+][0-9]+)?$`)
	binaryText      = regexp.MustCompile(`^[-+]?0b[01_,]+$`)
	octalText       = regexp.MustCompile(`^[-+]?0[0-7_,]+$`)
	decimalText     = regexp.MustCompile(`^[-+]?(0|[1-9]([0-9]|,[0-9]|_[0-9])*)$`)
	hexText         = regexp.MustCompile(`^[-+]?0x[0-9a-fA-F_,]+$`)
	sexagesimalText = regexp.MustCompile(`^[-+]?[0-9][0-9_]*(:[0-5]?[0-9]){1,2}$`)
	infinityText    = regexp.MustCompile(`^(?i)[-+]?\.(inf|nan)$`)
	dateText        = regexp.MustCompile(`^-?\d{4}-\d{1,2}-\d{1,2}($|[Tt\s])`)
)

// number returns what plain text stands for as a number in YAML 1.1, and whether it is one.
func number(text string) (float64, bool) {
	switch {
	case infinityText.MatchString(text):
		return math.NaN(), true
	case sexagesimalText.MatchString(text):
		return sexagesimal(text), true
	case floatText.MatchString(text):
		f, err := strconv.ParseFloat(strings.NewReplacer(",", "", "_", "").Replace(text), 64)
		return f, err == nil
	case binaryText.MatchString(text), octalText.MatchString(text), hexText.MatchString(text), decimalText.MatchString(text):
		return integer(text)
	}
	return 0, false
}

func integer(text string) (float64, bool) {
	text = strings.NewReplacer(",", "", "_", "").Replace(text)
	i, err := strconv.ParseInt(text, 0, 64)
	if err != nil {
		// Ruby's integers have no end; beyond 64 bits the exact value means nothing here.
		f, err := strconv.ParseFloat(text, 64)
		return f, err == nil
	}
	return float64(i), true
}

// sexagesimal counts the first part in units of 3600 whether there are two parts or three, as Psych does.
func sexagesimal(text string) float64 {
	sum, unit := 0.0, 3600.0
	for part := range strings.SplitSeq(text, ":") {
		f, _ := strconv.ParseFloat(strings.ReplaceAll(part, "_", ""), 64)
		sum += f * unit
		unit /= 60
	}
	return sum
}

var leadingDigits = regexp.MustCompile(`^[ \t\n\v\f\r]*[-+]?[0-9]+(_[0-9]+)*`)

// leadingInteger is Ruby's String#to_i: the number that text begins with, else 0. exact is false when something
// else than blanks follows.
func leadingInteger(text string) (value float64, exact bool) {
	digits := leadingDigits.FindString(text)
	if digits == "" {
		return 0, false
	}
	f, _ := strconv.ParseFloat(strings.ReplaceAll(strings.TrimLeft(digits, blanks), "_", ""), 64)
	return f, strings.Trim(text[len(digits):], blanks) == ""
}

// blanks are what Ruby's String#strip removes.
const blanks = "\x00\t\n\v\f\r "

func trim(text string) string { return strings.Trim(text, blanks) }
