package appspec

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

var contextKeys = []string{"user", "name", "type", "range"}

var contextAdvice = map[string]string{
	"role":  "the role of files is always object_r",
	"level": `did you mean "range"?`,
}

// context reads the SELinux user under "user", as the user guide writes it, or under "name", as 1.x reads it.
func (r *reader) context(o *object) *Context {
	v := o.value("context")
	if isNull(v) {
		return nil
	}
	at := o.sub("context")
	if v.Kind != yaml.MappingNode {
		r.add(ruleContext, o.at("context"), at, kind(v)+" stands where user, type and range should be", "write type: and the SELinux type below it")
		return nil
	}
	c := r.object(v, at)
	var out Context
	out.User = r.optionalText(c, "user")
	if name := r.optionalText(c, "name"); name != "" {
		if out.User != "" && out.User != name {
			r.add(ruleContextOdd, c.at("name"), c.sub("name"), "both user and name are given; name counts", "write one of the two")
		}
		out.User = name
	}
	if t := c.value("type"); isNull(t) {
		r.missing(c, ruleContext, "type", contextKeys, "write type: and an SELinux type, for example httpd_sys_content_t")
	} else {
		out.Type, _ = r.text(c.at("type"), t, c.sub("type"))
	}
	if v := c.value("range"); !isNull(v) {
		text, ok := r.text(c.at("range"), v, c.sub("range"))
		if ok {
			rendered, problem := renderRange(text)
			if problem != "" {
				r.add(ruleRange, v, c.sub("range"), fmt.Sprintf("%s %s", quote(text), problem), "write s0, s0-s1 or s0:c0.c3,c5")
			}
			out.Range = rendered
		}
	}
	r.unknown(c, contextKeys, contextAdvice)
	return &out
}

// renderRange reads sN[-sM][:cA[.cB][,cC...]] and writes it with the categories sorted and runs of them as cA.cB.
func renderRange(text string) (rendered, problem string) {
	levels, categories, hasCategories := strings.Cut(text, ":")
	low, high, isPair := strings.Cut(levels, "-")
	if !isPair {
		high = low
	}
	from, ok1 := numbered(low, 's')
	to, ok2 := numbered(high, 's')
	switch {
	case !ok1 || !ok2:
		return "", "is no range: a sensitivity is an s and a number"
	case to < from:
		return "", "has the higher sensitivity first"
	}
	rendered = fmt.Sprintf("s%d", from)
	if to != from {
		rendered += fmt.Sprintf("-s%d", to)
	}
	if !hasCategories {
		return rendered, ""
	}
	set, problem := categorySet(categories)
	if problem != "" {
		return "", problem
	}
	return rendered + ":" + renderCategories(set), ""
}

const maxCategory = 1023

func categorySet(text string) (set []int, problem string) {
	for part := range strings.SplitSeq(strings.TrimRight(text, ","), ",") {
		low, high, isRun := strings.Cut(part, ".")
		if !isRun {
			high = low
		}
		from, ok1 := numbered(low, 'c')
		to, ok2 := numbered(high, 'c')
		switch {
		case !ok1 || !ok2 || from > maxCategory || to > maxCategory:
			return nil, fmt.Sprintf("has the category %s; a category is a c and a number up to %d", quote(part), maxCategory)
		case to < from:
			return nil, fmt.Sprintf("has the higher category first in %s", quote(part))
		}
		for c := from; c <= to; c++ {
			set = append(set, c)
		}
		if len(set) > maxCategory+1 {
			return nil, "names a category twice"
		}
	}
	slices.Sort(set)
	if len(slices.Compact(slices.Clone(set))) != len(set) {
		return nil, "names a category twice"
	}
	return set, ""
}

func renderCategories(set []int) string {
	var parts []string
	for i := 0; i < len(set); {
		end := i
		for end+1 < len(set) && set[end+1] == set[end]+1 {
			end++
		}
		part := fmt.Sprintf("c%d", set[i])
		if end > i {
			part += fmt.Sprintf(".c%d", set[end])
		}
		parts = append(parts, part)
		i = end + 1
	}
	return strings.Join(parts, ",")
}

// numbered reads a letter followed by digits only.
func numbered(text string, letter byte) (int, bool) {
	if len(text) < 2 || text[0] != letter || strings.Trim(text[1:], "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(text[1:])
	return n, err == nil
}
