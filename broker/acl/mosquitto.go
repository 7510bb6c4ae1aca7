package acl

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// ImportMax bounds an access file, in bytes of a line.
const ImportMax = 64 << 10

// FromMosquitto reads Mosquitto's acl_file:
//
//	user NAME                                      what follows is about this user; before the first: about clients without a name
//	topic [read|write|readwrite|deny] FILTER
//	pattern [read|write|readwrite|deny] FILTER     about everybody; %u and %c stand for names
//
// Its denials beat what is allowed, as here. In Mosquitto a topic line before any user is about
// clients that give no user name; here they are asked for one by anonymous, which is who such a
// client is to this broker.
func FromMosquitto(r io.Reader, anonymous string) ([]Rule, error) {
	var rules []Rule
	user := anonymous
	in := bufio.NewScanner(r)
	in.Buffer(nil, ImportMax)
	for no := 1; in.Scan(); no++ {
		line := strings.TrimLeft(in.Text(), " \t")
		line = strings.TrimRight(line, "\r")
		if line == "" || line[0] == '#' {
			continue
		}
		word, text, _ := strings.Cut(line, " ")
		text = strings.TrimLeft(text, " ")
		rule := Rule{Actions: Read | Write, User: user}
		switch word {
		case "user":
			if text == "" {
				return nil, fmt.Errorf("line %d: user without a name", no)
			}
			user = text
			continue
		case "topic":
		case "pattern":
			rule.User = ""
		default:
			return nil, fmt.Errorf("line %d: %q is none of user, topic, pattern", no, word)
		}
		if access, filter, two := strings.Cut(text, " "); two {
			known := true
			switch access {
			case "read":
				rule.Actions = Read
			case "write":
				rule.Actions = Write
			case "readwrite":
			case "deny":
				rule.Deny = true
			default:
				known = false // a filter with a space in it
			}
			if known {
				text = strings.TrimLeft(filter, " ")
			}
		}
		rule.Name = text
		if word == "topic" { // there %u is a level like any other
			for l := range strings.SplitSeq(text, "/") {
				if l == "%u" || l == "%c" {
					return nil, fmt.Errorf("line %d: %s in a topic line is not a placeholder, and cannot be said here: use pattern", no, l)
				}
			}
		}
		if err := rule.Check(); err != nil {
			return nil, fmt.Errorf("line %d: %w", no, err)
		}
		rules = append(rules, rule)
		if len(rules) > RulesMax {
			return nil, fmt.Errorf("line %d: more than %d rules", no, RulesMax)
		}
	}
	return rules, in.Err()
}
