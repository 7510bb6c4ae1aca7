package kind

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean makes text from a stranger safe to show on one line: no control character
// reaches the terminal, nothing turns the direction of what follows, and what is not
// UTF-8 shows as bytes.
func Clean(s string) string {
	if isClean(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case hazard(r) && r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case hazard(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

func isClean(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c == 0x7f || c >= 0x80 {
			return cleanFrom(s[i:])
		}
	}
	return true
}

func cleanFrom(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, hazard)
}

// hazard tells control characters, other line ends, what turns the direction of text,
// and what has no width and would make two names look the same.
func hazard(r rune) bool {
	switch {
	case r < 0x20, r >= 0x7f && r < 0xa0:
		return true
	case r == 0x200b, r == 0x2028, r == 0x2029, r == 0xfeff, r == utf8.RuneError:
		return true
	case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return unicode.IsControl(r)
}

// Preview returns the beginning of a value on one line, from at most most bytes of it.
func Preview(value []byte, most int) string {
	if len(value) <= most {
		return Clean(string(value))
	}
	cut := most
	for cut > most-utf8.UTFMax && cut > 0 && !utf8.RuneStart(value[cut]) {
		cut--
	}
	return Clean(string(value[:cut])) + "…"
}
