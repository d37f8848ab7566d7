package appspec

import (
	"fmt"
	"math"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"codedeploy-agent/internal/report"
)

// scriptable are the events for which the service asks a host to run scripts.
var scriptable = []string{
	"ApplicationStop", "BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService",
	"BeforeBlockTraffic", "AfterBlockTraffic", "BeforeAllowTraffic", "AfterAllowTraffic",
}

// unscriptable are events of the service in which nothing of the revision runs, and what to use instead.
var unscriptable = map[string]string{
	"Start":          "use ApplicationStop or BeforeInstall",
	"DownloadBundle": "use ApplicationStop before it or BeforeInstall after it",
	"Install":        "use BeforeInstall or AfterInstall",
	"BlockTraffic":   "use BeforeBlockTraffic or AfterBlockTraffic",
	"AllowTraffic":   "use BeforeAllowTraffic or AfterAllowTraffic",
	"End":            "use ValidateService",
}

// elsewhere are events of other platforms.
var elsewhere = map[string]string{
	"AfterAllowTestTraffic": "it exists only for Amazon ECS",
	"PreTraffic":            "it exists only for AWS Lambda",
	"PostTraffic":           "it exists only for AWS Lambda",
}

var scriptKeys = []string{"location", "timeout", "runas", "sudo"}

var scriptAdvice = map[string]string{
	"user":           `did you mean "runas"?`,
	"owner":          `did you mean "runas"?`,
	"run_as_user":    `did you mean "runas"?`,
	"script":         `did you mean "location"?`,
	"path":           `did you mean "location"?`,
	"file":           `did you mean "location"?`,
	"source":         `did you mean "location"?`,
	"command":        "write the command into a script of the revision and name that as location",
	"run":            "write the command into a script of the revision and name that as location",
	"args":           "scripts get no arguments; write them into the script",
	"arguments":      "scripts get no arguments; write them into the script",
	"env":            "no agent sets variables from here; set them in the script",
	"environment":    "no agent sets variables from here; set them in the script",
	"mode":           "the agent makes scripts executable by itself",
	"retries":        "scripts run once; repeat in the script",
	"log-group-name": "no agent sends logs anywhere; configure that in the CloudWatch agent",
}

func (r *reader) hooks(top *object) map[string][]Script {
	n, at := top.value("hooks"), top.sub("hooks")
	hooks := map[string][]Script{}
	if isNothing(n) {
		return hooks
	}
	if n.Kind != yaml.MappingNode {
		hint := `write the events below it, each with a colon: "BeforeInstall:"`
		if n.Kind == yaml.SequenceNode {
			hint = "remove the dashes before the names of events"
		}
		r.add(ruleHooks, top.at("hooks"), at, kind(n)+" stands where the events should be", hint)
		return hooks
	}
	events := r.object(n, at)
	for _, event := range events.names {
		if r.sectionInHooks(events, event) {
			continue
		}
		r.event(events, event)
		hooks[event] = r.scripts(events, event)
	}
	return hooks
}

// event warns of names that nobody calls.
func (r *reader) event(events *object, name string) {
	at, key := events.keyNode(name), events.sub(name)
	if slices.Contains(scriptable, name) {
		return
	}
	if hint, ok := unscriptable[name]; ok {
		r.add(ruleEventService, at, key, "no script ever runs at this event", hint)
		return
	}
	if hint, ok := elsewhere[name]; ok {
		r.add(ruleEventUnknown, at, key, "the service calls no event of this name on hosts", hint)
		return
	}
	hint := "it runs only where a deployment names it; the service's own events are " + strings.Join(scriptable, ", ")
	if slices.Contains(scriptKeys, name) {
		hint = "indent it further, under an event and after a dash"
	} else if meant := report.Suggest(name, append(slices.Clone(scriptable), "Install", "DownloadBundle")); meant != "" {
		hint = fmt.Sprintf("did you mean %q?", meant)
	}
	r.add(ruleEventUnknown, at, key, "the service calls no event of this name", hint)
}

// sectionInHooks recognises files or permissions that stand under hooks because of their indentation. 1.x takes
// them for events and refuses their entries.
func (r *reader) sectionInHooks(events *object, name string) bool {
	if !slices.Contains([]string{"files", "permissions", "os", "version", "file_exists_behavior"}, name) {
		return false
	}
	v := events.value(name)
	if isNull(v) || v.Kind != yaml.ScalarNode && len(v.Content) == 0 {
		return false
	}
	r.add(ruleSectionInHooks, events.keyNode(name), events.sub(name), fmt.Sprintf("%q stands under hooks and is taken for an event", name),
		"indent it less: it begins in the same column as hooks")
	return true
}

func (r *reader) scripts(events *object, event string) []Script {
	n, at := events.value(event), events.sub(event)
	scripts := []Script{}
	switch {
	case isNull(n), n.Kind == yaml.MappingNode && len(n.Content) == 0:
		return scripts
	case n.Kind != yaml.SequenceNode:
		hint := `begin each script with a dash and a blank: "- location: ..."`
		if n.Kind == yaml.MappingNode && strings.HasPrefix(n.Content[0].Value, "-") {
			hint = "write a blank after the dash"
		}
		r.add(ruleEventScripts, events.at(event), at, kind(n)+" stands where a list of scripts is wanted", hint)
		return scripts
	}
	entries := r.entries(n.Content, at, ruleScript, "location: and the path of the script")
	total := 0.0
	for i, o := range entries {
		if o == nil {
			continue
		}
		script, written, ok := r.script(o, strayDash(entries, i))
		total += written
		if ok {
			scripts = append(scripts, script)
		}
	}
	if total > DefaultTimeout.Seconds() {
		r.add(ruleTimeoutSum, events.keyNode(event), at,
			fmt.Sprintf("the timeouts of this event add up to %.0f seconds; the service gives up after 3600", total),
			"shorten them, or move long work out of the deployment")
	}
	return scripts
}

// strayDash recognises "- timeout: 300" below "- location: x", and "- AfterInstall:" among the scripts of an event.
func strayDash(entries []*object, i int) string {
	o := entries[i]
	for _, name := range o.names {
		if slices.Contains(scriptable, name) {
			o.explained[name] = true
			return fmt.Sprintf("%q is an event: remove the dash before it, and indent it like the event above", name)
		}
	}
	if i == 0 || entries[i-1] == nil || !entries[i-1].has("location") || o.has("location") || len(o.names) == 0 {
		return ""
	}
	for _, name := range o.names {
		if !slices.Contains(scriptKeys, name) {
			return ""
		}
	}
	return fmt.Sprintf("remove the dash before %q: it belongs to the script on line %d", o.names[0], entries[i-1].node.Line)
}

// script reads one entry; written is the time limit in seconds when there is one in the file.
func (r *reader) script(o *object, hint string) (s Script, written float64, ok bool) {
	s = Script{Pos: position(o.node), Timeout: DefaultTimeout}
	s.Location, ok = r.trimmed(o, "location", ruleLocationMissing, scriptKeys, hint)
	if ok {
		r.checkLocation(o, s.Location)
	}
	if v := o.value("runas"); !isNull(v) {
		text, textOK := r.text(o.at("runas"), v, o.sub("runas"))
		s.RunAs = trim(text)
		ok = ok && textOK
	}
	s.Sudo = r.truth(o, "sudo")
	if v := o.value("timeout"); !isNothing(v) {
		seconds, timeoutOK := r.timeout(o.at("timeout"), v, o.sub("timeout"))
		if timeoutOK {
			written, s.Timeout = seconds, duration(seconds)
		}
		ok = ok && timeoutOK
	}
	r.unknown(o, scriptKeys, scriptAdvice)
	return s, written, ok
}

// trimmed returns the text under a required key without blanks around it; nothing but blanks counts as missing.
func (r *reader) trimmed(o *object, name, rule string, known []string, hint string) (string, bool) {
	text, ok := r.path(o, name, rule, known, hint)
	if !ok {
		return "", false
	}
	if text = trim(text); text == "" {
		r.add(rule, o.at(name), o.sub(name), fmt.Sprintf("%q is empty", name), fmt.Sprintf("write %s: and a path", name))
		return "", false
	}
	return text, true
}

// timeout reads seconds as Ruby's to_i does: numbers lose their fraction, texts count as far as they are digits.
func (r *reader) timeout(at, v *yaml.Node, key string) (seconds float64, ok bool) {
	const hint = "write whole seconds, for example timeout: 300"
	if v.Kind != yaml.ScalarNode || isTrue(v) || plain(v) && (dateText.MatchString(v.Value) || strings.HasPrefix(v.Value, ":")) {
		r.add(ruleTimeout, at, key, kind(v)+" is no number of seconds", hint)
		return 0, false
	}
	exact := true
	if f, isNumber := number(v.Value); isNumber && plain(v) {
		seconds = math.Trunc(f)
		exact = decimalText.MatchString(v.Value) || floatText.MatchString(v.Value)
	} else {
		seconds, exact = leadingInteger(v.Value)
	}
	switch {
	case math.IsNaN(seconds), seconds <= 0:
		r.add(ruleTimeout, at, key, fmt.Sprintf("%s is no number of seconds above 0", quote(v.Value)), hint)
		return 0, false
	case !exact:
		r.add(ruleTimeoutOdd, at, key, fmt.Sprintf("%s is read as %.0f seconds", quote(v.Value), seconds), hint)
	}
	return seconds, true
}

// duration caps what a time.Duration cannot hold; the longest is 292 years.
func duration(seconds float64) time.Duration {
	if seconds >= math.MaxInt64/float64(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(seconds) * time.Second
}

// truth reads a value as Ruby does: everything but nothing and false is true.
func (r *reader) truth(o *object, name string) bool {
	v := o.value(name)
	if isNothing(v) {
		return false
	}
	if !isTrue(v) {
		r.add(ruleSudo, o.at(name), o.sub(name), kind(v)+" counts as true: everything but false, no, off and nothing does", "write true or false")
	}
	return true
}

var commandWord = regexp.MustCompile(`^(sh|bash|dash|zsh|sudo|su|env|nohup|python[0-9.]*|pip[0-9]?|node|npm|npx|yarn|pm2|php|composer|ruby|bundle|rake|perl|java|mvn|gradle|go|docker|docker-compose|systemctl|service|supervisorctl|chmod|chown|cp|mv|rm|mkdir|ln|cd|echo|cat|kill|pkill|killall|sleep|source|export|curl|wget|aws|apt|apt-get|yum|dnf|make|touch|sed|tar|unzip|exit|true|false|\.)$`)

var scriptWord = regexp.MustCompile(`(?i)\.(sh|bash|py|rb|pl|js|php)$`)

// checkLocation warns of a command line where a path is wanted.
func (r *reader) checkLocation(o *object, location string) {
	at, key := o.at("location"), o.sub("location")
	words := strings.Fields(location)
	command := len(words) > 1 && (commandWord.MatchString(path.Base(words[0])) || scriptWord.MatchString(words[0]) ||
		strings.HasPrefix(words[1], "-") || strings.ContainsAny(location, "|;&<>"))
	switch {
	case command:
		r.add(ruleArguments, at, key, fmt.Sprintf("%s is taken for the name of one file, blanks included", quote(location)),
			"write the command into a script of the revision and name that")
	case windowsPath.MatchString(location), strings.Contains(location, `\`):
		r.add(rulePathBackslash, at, key, fmt.Sprintf("a backslash is a letter like any other in %s", quote(location)), "separate directories by slashes")
	case variable.MatchString(location):
		r.add(rulePathVariable, at, key, fmt.Sprintf("no agent replaces the variable in %s", quote(location)), "name a script of the revision")
	}
}

// misplacedEvents warns of events that stand beside hooks and not below.
func (r *reader) misplacedEvents(top *object) {
	for _, name := range top.names {
		if slices.Contains(topKeys, name) || top.explained[name] || top.value(name) != nil && top.value(name).Kind == yaml.ScalarNode && !isNull(top.value(name)) {
			continue
		}
		meant := name
		if !slices.Contains(scriptable, name) && unscriptable[name] == "" {
			if report.Suggest(name, topKeys) != "" {
				continue
			}
			meant = report.Suggest(name, scriptable)
		}
		if meant == "" {
			continue
		}
		top.explained[name] = true
		hint := "indent it and its scripts under hooks"
		if meant != name {
			hint += fmt.Sprintf(", and write %s", meant)
		}
		r.add(ruleMisplaced, top.keyNode(name), top.sub(name), "this event stands beside hooks and not below it; its scripts do not run", hint)
	}
}
