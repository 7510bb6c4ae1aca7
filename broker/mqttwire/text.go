package mqttwire

import (
	"bytes"
	"unicode/utf8"
)

// stringMax is the length that a string or binary data can have, in bytes.
const stringMax = 65535

// ValidString tells whether s may stand in a UTF-8 encoded string: well-formed,
// no surrogates, no U+0000, and not too long (section 1.5.4).
func ValidString(s []byte) bool {
	return len(s) <= stringMax && utf8.Valid(s) && bytes.IndexByte(s, 0) < 0
}

// ValidTopic tells whether s may be a topic name: a valid string of at least one
// character, without wildcards (sections 4.7.1 and 4.7.3).
func ValidTopic(s []byte) bool {
	if len(s) == 0 || len(s) > stringMax {
		return false
	}
	ascii := true
	for _, c := range s {
		switch {
		case c == 0 || c == '+' || c == '#':
			return false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return ascii || utf8.Valid(s)
}

// ValidFilter tells whether s may be a topic filter: a valid string, "+" only as a
// whole level, "#" only as the whole last level (section 4.7.1). SplitShared checks
// what is special in the filter of a shared subscription.
func ValidFilter(s []byte) bool {
	if len(s) == 0 || !ValidString(s) {
		return false
	}
	for i, c := range s {
		if c != '+' && c != '#' {
			continue
		}
		last := i == len(s)-1
		switch {
		case i > 0 && s[i-1] != '/':
			return false
		case c == '#' && !last:
			return false
		case !last && s[i+1] != '/':
			return false
		}
	}
	return true
}

// SplitShared takes the filter of a shared subscription, "$share/group/filter",
// apart. shared tells whether it is one; ok, whether its group and its filter are
// valid (section 4.8.2). One that is not shared is returned as it is, unchecked.
func SplitShared(s []byte) (group, filter []byte, shared, ok bool) {
	rest, shared := bytes.CutPrefix(s, []byte("$share"))
	switch {
	case !shared || (len(rest) > 0 && rest[0] != '/'):
		return nil, s, false, true
	case len(rest) == 0:
		return nil, nil, true, false
	}
	group, filter, ok = bytes.Cut(rest[1:], []byte("/"))
	if !ok || len(group) == 0 || bytes.ContainsAny(group, "+#") || !ValidFilter(filter) {
		return nil, nil, true, false
	}
	return group, filter, true, true
}

// SplitExclusive takes the filter of an exclusive subscription, "$exclusive/filter", apart. One
// that is not exclusive is returned as it is.
func SplitExclusive(s []byte) (filter []byte, exclusive bool) {
	return bytes.CutPrefix(s, []byte("$exclusive/"))
}

// Levels counts the levels of a topic name or filter.
func Levels(s []byte) int { return bytes.Count(s, []byte("/")) + 1 }
