package appspec

import (
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// ACL is one entry of a POSIX access control list.
type ACL struct {
	// Default entries are for what is made in a directory later.
	Default bool
	// Type is "user", "group", "mask" or "other".
	Type string
	// Name is the user or group; it is "" for the owner, which only default entries may name, and for mask and other.
	Name string
	// Perms are three letters: "rwx", with "-" for what is not granted.
	Perms string
}

// String returns the entry as setfacl(1) takes it, "default:user:alice:r-x".
func (a ACL) String() string {
	text := a.Type + ":" + a.Name + ":" + a.Perms
	if a.Default {
		text = "default:" + text
	}
	return text
}

func (r *reader) acls(o *object) []ACL {
	v := o.value("acls")
	if isNull(v) {
		return nil
	}
	at := o.sub("acls")
	if emptyMapping := v.Kind == yaml.MappingNode && len(v.Content) == 0; v.Kind != yaml.SequenceNode && !emptyMapping {
		r.add(ruleACL, o.at("acls"), at, kind(v)+" stands where a list of entries is wanted", `write a list: acls: ["u:alice:rw"]`)
		return nil
	}
	acls := []ACL{}
	for i, n := range v.Content {
		n, key := r.visit(n), item(at, i)
		if n == nil {
			break
		}
		if n.Kind != yaml.ScalarNode || isNull(n) {
			r.add(ruleACL, n, key, kind(n)+" stands where an entry is wanted", `put the entry between quotes: "u:alice:rw"`)
			continue
		}
		acl, problem, hint := parseACL(n.Value)
		if problem != "" {
			r.add(ruleACL, n, key, fmt.Sprintf("%s %s", quote(n.Value), problem), hint)
			continue
		}
		r.checkACL(n, key, acl)
		acls = append(acls, acl)
	}
	return acls
}

const aclGrammar = "write [default:][user:|group:]name:rwx, [default:]mask:rwx or default:other:rwx"

var aclTypes = map[string]string{
	"u": "user", "user": "user", "g": "group", "group": "group", "m": "mask", "mask": "mask", "o": "other", "other": "other",
}

func isDefault(part string) bool { return part == "d" || part == "default" }

// parseACL reads [d:][type:][name:]perms. The parts are told apart from the right: of three the first may be a type
// or the word default, and without a type the name is a user's unless it is the word mask or other.
func parseACL(text string) (acl ACL, problem, hint string) {
	parts := strings.Split(text, ":")
	n := len(parts)
	if n < 2 || n > 4 {
		return acl, "is no entry: two to four parts are wanted, with colons between them", aclGrammar
	}
	if n == 4 {
		if !isDefault(parts[0]) {
			return acl, `has four parts and does not begin with "default"`, aclGrammar
		}
		acl.Default = true
	}
	if n >= 3 {
		switch word := parts[n-3]; {
		case isDefault(word) && acl.Default:
			return acl, `says "default" twice`, aclGrammar
		case isDefault(word):
			acl.Default = true
		case aclTypes[word] == "":
			return acl, fmt.Sprintf("has the type %s; there are user, group, mask and other", quote(word)), aclGrammar
		default:
			acl.Type = aclTypes[word]
		}
	}
	name := parts[n-2]
	switch long := aclTypes[name]; {
	case acl.Type == "" && (long == "mask" || long == "other"):
		acl.Type = long
	case long == "mask" || long == "other":
		acl.Name = long
	default:
		acl.Name = name
		if acl.Type == "" {
			acl.Type = "user"
		}
	}
	if (acl.Type == "mask" || acl.Type == "other") && acl.Name != "" {
		return acl, fmt.Sprintf("gives %s a name", acl.Type), "a mask or other entry has none: " + acl.Type + "::r-x"
	}
	if !acl.Default && acl.Type != "mask" && acl.Name == "" {
		return acl, "sets a base entry", "use mode for what the owner, the group and all others may do"
	}
	perms, bad := parsePerms(parts[n-1])
	if bad != 0 {
		return acl, fmt.Sprintf("has %s among the permissions; there are r, w, x and -, or one octal digit", quote(string(bad))), aclGrammar
	}
	acl.Perms = perms
	return acl, "", ""
}

// parsePerms returns the rwx form of one octal digit or of letters in any order, or the letter that is neither.
func parsePerms(text string) (perms string, bad rune) {
	bits := 0
	if len(text) == 1 && text[0] >= '0' && text[0] <= '7' {
		bits = int(text[0] - '0')
	} else {
		for _, c := range text {
			switch c {
			case 'r':
				bits |= 4
			case 'w':
				bits |= 2
			case 'x':
				bits |= 1
			case '-':
			default:
				return "", c
			}
		}
	}
	out := []byte("---")
	for i, letter := range []byte("rwx") {
		if bits&(4>>i) != 0 {
			out[i] = letter
		}
	}
	return string(out), 0
}

// checkACL warns of entries that mean something else than they seem to.
func (r *reader) checkACL(n *yaml.Node, key string, acl ACL) {
	if acl.Type == "user" && (aclTypes[acl.Name] != "" || isDefault(acl.Name)) {
		r.add(ruleACLOdd, n, key, fmt.Sprintf("%s is read as an entry for a user named %s", quote(n.Value), quote(acl.Name)), "write "+aclGrammar[len("write "):])
	}
	if strings.HasSuffix(n.Value, ":") {
		r.add(ruleACLOdd, n, key, fmt.Sprintf("%s grants nothing", quote(n.Value)), "write the permissions after the last colon, --- if that is meant")
	}
}
