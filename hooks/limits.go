package hooks

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"codedeploy-agent/internal/account"
)

// limitsGlobs are the files that pam_limits reads, in its order.
var limitsGlobs = []string{"/etc/security/limits.conf", "/etc/security/limits.d/*.conf"}

// limit is one resource limit to set; nil leaves that half as it is.
type limit struct {
	Resource   int
	Soft, Hard *uint64
}

// limitItem is a kind of limit and how many of the kernel's units one of the file's is.
type limitItem struct {
	resource int
	unit     uint64
}

var limitItems = map[string]limitItem{
	"core": {unix.RLIMIT_CORE, 1024}, "data": {unix.RLIMIT_DATA, 1024}, "fsize": {unix.RLIMIT_FSIZE, 1024},
	"memlock": {unix.RLIMIT_MEMLOCK, 1024}, "nofile": {unix.RLIMIT_NOFILE, 1}, "rss": {unix.RLIMIT_RSS, 1024},
	"stack": {unix.RLIMIT_STACK, 1024}, "cpu": {unix.RLIMIT_CPU, 60}, "nproc": {unix.RLIMIT_NPROC, 1},
	"as": {unix.RLIMIT_AS, 1024}, "locks": {unix.RLIMIT_LOCKS, 1}, "sigpending": {unix.RLIMIT_SIGPENDING, 1},
	"msgqueue": {unix.RLIMIT_MSGQUEUE, 1}, "nice": {unix.RLIMIT_NICE, 1}, "rtprio": {unix.RLIMIT_RTPRIO, 1},
}

// limitsFor returns the limits that a session of the user gets from pam_limits. Items that are no resource limits
// (maxlogins, priority, ...) mean nothing to a hook.
func limitsFor(u account.User) []limit {
	var rules []limitRule
	for _, glob := range limitsGlobs {
		paths, _ := filepath.Glob(glob) // sorted
		for _, path := range paths {
			if b, err := os.ReadFile(path); err == nil {
				rules = append(rules, parseLimits(string(b))...)
			}
		}
	}
	return applyRules(rules, u, func(name string) int {
		gid, err := account.LookupGroup(name)
		if err != nil {
			return -1
		}
		return gid
	})
}

// limitRule is one line of limits.conf.
type limitRule struct {
	domain     string
	soft, hard bool
	item       string // "" with both halves: no limits for the domain at all
	value      string
}

func parseLimits(text string) []limitRule {
	var rules []limitRule
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) != 4 && (len(f) != 2 || f[1] != "-") {
			continue
		}
		r := limitRule{domain: f[0]}
		switch kind := strings.ToLower(f[1]); kind {
		case "soft", "hard", "-":
			r.soft, r.hard = kind != "hard", kind != "soft"
		default:
			continue
		}
		if len(f) == 4 {
			r.item, r.value = strings.ToLower(f[2]), strings.ToLower(f[3])
		}
		rules = append(rules, r)
	}
	return rules
}

// Who a rule is for: the closer one wins whatever the order, and among equals the later one.
const (
	forUser = iota + 1
	forGroup
	forAll
	forNobody
)

// closeness tells how a rule's domain meets the user. Rules for groups and for all do not hold for root.
func (r limitRule) closeness(u account.User, groupID func(string) int) int {
	group, isGroup := strings.CutPrefix(r.domain, "@")
	switch {
	case r.domain == u.Name, !isGroup && inRange(r.domain, u.UID):
		return forUser
	case u.UID == 0:
		return forNobody
	case r.domain == "*":
		return forAll
	case isGroup && slices.ContainsFunc(u.Groups, func(gid int) bool { return inRange(group, gid) }),
		isGroup && !strings.Contains(group, ":") && slices.Contains(u.Groups, groupID(group)):
		return forGroup
	}
	return forNobody
}

// inRange reads "min:max", "min:" and ":max"; the last means exactly max.
func inRange(s string, id int) bool {
	low, high, ok := strings.Cut(s, ":")
	if !ok || low == "" && high == "" {
		return false
	}
	if low == "" {
		low = high
	}
	from, err := strconv.Atoi(low)
	to, err2 := strconv.Atoi(cmp.Or(high, strconv.Itoa(1<<32-2)))
	return err == nil && err2 == nil && from <= id && id <= to
}

func applyRules(rules []limitRule, u account.User, groupID func(string) int) []limit {
	type half struct {
		value uint64
		by    int
	}
	soft, hard := map[int]half{}, map[int]half{}
	put := func(m map[int]half, resource int, value uint64, by int) {
		if old, ok := m[resource]; !ok || by <= old.by {
			m[resource] = half{value, by}
		}
	}
	for _, r := range rules {
		by := r.closeness(u, groupID)
		if by == forNobody {
			continue
		}
		if r.item == "" {
			if by == forUser {
				return nil
			}
			continue
		}
		item, known := limitItems[r.item]
		if !known {
			continue
		}
		value, ok := item.value(r.value)
		if !ok {
			continue
		}
		if r.soft {
			put(soft, item.resource, value, by)
		}
		if r.hard {
			put(hard, item.resource, value, by)
		}
	}
	var limits []limit
	for resource := range unix.RLIMIT_RTPRIO + 2 {
		l := limit{Resource: resource}
		if h, ok := soft[resource]; ok {
			l.Soft = &h.value
		}
		if h, ok := hard[resource]; ok {
			l.Hard = &h.value
		}
		if l.Soft != nil || l.Hard != nil {
			limits = append(limits, l)
		}
	}
	return limits
}

// value turns the file's number into the kernel's.
func (i limitItem) value(s string) (uint64, bool) {
	if i.resource == unix.RLIMIT_NICE { // 20 - nice
		n, err := strconv.Atoi(s)
		return uint64(20 - min(max(n, -20), 19)), err == nil
	}
	switch s {
	case "unlimited", "infinity", "-1":
		return unix.RLIM_INFINITY, true
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, false
	}
	if n > unix.RLIM_INFINITY/i.unit {
		return unix.RLIM_INFINITY, true
	}
	return n * i.unit, true
}

// limitNames are the kernel's own names, as /proc/PID/limits has them.
var limitNames = map[string]int{
	"Max cpu time": unix.RLIMIT_CPU, "Max file size": unix.RLIMIT_FSIZE, "Max data size": unix.RLIMIT_DATA,
	"Max stack size": unix.RLIMIT_STACK, "Max core file size": unix.RLIMIT_CORE, "Max resident set": unix.RLIMIT_RSS,
	"Max processes": unix.RLIMIT_NPROC, "Max open files": unix.RLIMIT_NOFILE, "Max locked memory": unix.RLIMIT_MEMLOCK,
	"Max address space": unix.RLIMIT_AS, "Max file locks": unix.RLIMIT_LOCKS, "Max pending signals": unix.RLIMIT_SIGPENDING,
	"Max msgqueue size": unix.RLIMIT_MSGQUEUE, "Max nice priority": unix.RLIMIT_NICE, "Max realtime priority": unix.RLIMIT_RTPRIO,
	"Max realtime timeout": unix.RLIMIT_RTTIME,
}

// changedLimits compares two texts of /proc/PID/limits and returns what is new in the second.
func changedLimits(before, after string) []limit {
	old := map[string]bool{}
	for line := range strings.Lines(before) {
		old[line] = true
	}
	var limits []limit
	for line := range strings.Lines(after) {
		const columns = 26 // of the name
		if old[line] || len(line) < columns {
			continue
		}
		resource, known := limitNames[strings.TrimSpace(line[:columns])]
		values := strings.Fields(line[columns:])
		if !known || len(values) < 2 {
			continue
		}
		soft, ok := limitItem{resource: -1, unit: 1}.value(values[0])
		hard, ok2 := limitItem{resource: -1, unit: 1}.value(values[1])
		if ok && ok2 {
			limits = append(limits, limit{Resource: resource, Soft: &soft, Hard: &hard})
		}
	}
	return limits
}

// set applies the limit to this process. A soft limit above the hard one is cut to it.
func (l limit) set() error {
	var now unix.Rlimit
	if err := unix.Getrlimit(l.Resource, &now); err != nil {
		return err
	}
	if l.Hard != nil {
		now.Max = *l.Hard
	}
	if l.Soft != nil {
		now.Cur = *l.Soft
	}
	if l.Resource == unix.RLIMIT_NOFILE {
		now.Max = min(now.Max, maxOpenFiles())
	}
	now.Cur = min(now.Cur, now.Max)
	return unix.Setrlimit(l.Resource, &now)
}

// maxOpenFiles is the largest limit of open files that the kernel takes; "unlimited" is refused there.
func maxOpenFiles() uint64 {
	b, _ := os.ReadFile("/proc/sys/fs/nr_open")
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 1 << 20
	}
	return n
}
