package message

import "strings"

// MatchFilter tells whether one MQTT filter matches an address, for the rare question
// that needs no table.
func MatchFilter(filter, address string) bool {
	if strings.HasPrefix(address, "$") && (strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")) {
		return false
	}
	for {
		level, rest, more := strings.Cut(filter, "/")
		if level == "#" {
			return true
		}
		name, left, deeper := strings.Cut(address, "/")
		if level != "+" && level != name {
			return false
		}
		switch {
		case !more:
			return !deeper
		case !deeper:
			return rest == "#"
		}
		filter, address = rest, left
	}
}
