package kind

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Form is how a value is shown.
type Form uint8

// Forms of a value.
const (
	Pretty Form = iota // JSON indented, text as it is, anything else as bytes
	AsText
	AsHex
	Forms
)

// Lines writes a value as lines, in the form asked for, and says which one that came
// out to be. contentType is the sender's word on it, if any: it never makes a value
// into what it is not.
func Lines(value []byte, contentType string, form Form) (lines []Line, shown string) {
	switch {
	case value == nil:
		return []Line{{{"(null)", Faint}}}, "null"
	case len(value) == 0:
		return []Line{{{"(empty)", Faint}}}, "empty"
	case form == AsHex:
		return hexLines(value), "hex"
	case form == AsText:
		return textLines(value), "text"
	}
	if lines, ok := jsonLines(value); ok {
		return lines, "json"
	}
	if printable(value) && !binaryType(contentType) {
		return textLines(value), "text"
	}
	return hexLines(value), "hex"
}

func binaryType(contentType string) bool {
	return strings.HasPrefix(contentType, "application/octet-stream") || strings.Contains(contentType, "protobuf")
}

// printable tells text from bytes: UTF-8 (which may be cut at its end) and no control
// characters but those of layout.
func printable(value []byte) bool {
	for len(value) > 0 {
		r, n := utf8.DecodeRune(value)
		switch {
		case r == utf8.RuneError && n == 1:
			return len(value) < utf8.UTFMax && !utf8.FullRune(value)
		case r == '\n', r == '\r', r == '\t':
		case r < 0x20, r == 0x7f:
			return false
		}
		value = value[n:]
	}
	return true
}

func textLines(value []byte) []Line {
	var out []Line
	for line := range strings.Lines(string(value)) {
		line = strings.TrimRight(line, "\r\n")
		out = append(out, Line{{Text: Clean(strings.ReplaceAll(line, "\t", "    "))}})
	}
	return out
}

// hexWidth is how many bytes stand on a line of a dump: 76 columns in all.
const hexWidth = 16

// hexLines writes offset, bytes and ASCII.
func hexLines(value []byte) []Line {
	var out []Line
	for at := 0; at < len(value); at += hexWidth {
		row := value[at:min(at+hexWidth, len(value))]
		var h, a strings.Builder
		for i := range hexWidth {
			if i == hexWidth/2 {
				h.WriteByte(' ')
			}
			if i >= len(row) {
				h.WriteString("   ")
				continue
			}
			fmt.Fprintf(&h, "%02x ", row[i])
			if row[i] >= 0x20 && row[i] < 0x7f {
				a.WriteByte(row[i])
			} else {
				a.WriteByte('.')
			}
		}
		out = append(out, Line{{fmt.Sprintf("%08x  ", at), Faint}, {Text: h.String()}, {" " + a.String(), Text}})
	}
	return out
}

// prettyMax bounds indented JSON: brackets in brackets grow with the square of their
// number.
const prettyMax = 256 << 10

// jsonLines indents objects and arrays. A bare 21.5 is better read as text.
func jsonLines(value []byte) ([]Line, bool) {
	trimmed := bytes.TrimLeft(value, " \t\r\n")
	if len(trimmed) == 0 || trimmed[0] != '{' && trimmed[0] != '[' {
		return nil, false
	}
	var b bytes.Buffer
	if depth(trimmed) > depthMax || json.Indent(&b, trimmed, "", "  ") != nil || b.Len() > prettyMax {
		return nil, false
	}
	var out []Line
	for line := range strings.Lines(b.String()) {
		out = append(out, jsonTones(strings.TrimRight(line, "\n")))
	}
	return out, true
}

// depthMax is how deep brackets may stand for a value to be indented.
const depthMax = 64

// depth counts brackets as they open, those within strings too: an upper bound will do.
func depth(value []byte) int {
	open, most := 0, 0
	for _, c := range value {
		switch c {
		case '{', '[':
			open++
			most = max(most, open)
		case '}', ']':
			open--
		}
	}
	return most
}

// jsonTones divides a line of indented JSON into what it consists of.
func jsonTones(s string) Line {
	var out Line
	add := func(text string, tone Tone) {
		if text == "" {
			return
		}
		if n := len(out); n > 0 && out[n-1].Tone == tone {
			out[n-1].Text += Clean(text)
			return
		}
		out = append(out, Cell{Clean(text), tone})
	}
	for s != "" {
		switch c := s[0]; {
		case c == '"':
			end := stringEnd(s)
			tone := Text
			if strings.HasPrefix(s[end:], ":") {
				tone = Name
			}
			add(s[:end], tone)
			s = s[end:]
		case strings.IndexByte(" {}[],:", c) >= 0:
			end := len(s) - len(strings.TrimLeft(s, " {}[],:"))
			add(s[:end], Plain)
			s = s[end:]
		default:
			end := strings.IndexAny(s, " {}[],:\"")
			if end < 0 {
				end = len(s)
			}
			add(s[:end], Num)
			s = s[end:]
		}
	}
	return out
}

// stringEnd is the index after the JSON string that s begins with.
func stringEnd(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}
