package format

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/itchyny/timefmt-go"

	"github.com/robustmq/rmq/broker/grammar"
)

// modifier is one way of writing, as docs/FORMAT.md tells it.
type modifier struct{ name, text string }

var textModifiers = []modifier{
	{"text", "as it is; the same as none"},
	{"json", "as JSON: a value that was decoded or is JSON in one line, anything else as a JSON string (base64 when it is not UTF-8)"},
	{"hex", "two hexadecimal digits a byte"},
	{"base64", "base64 with padding"},
	{"base64raw", "base64 without padding"},
	{"base64url", "base64 with - and _, without padding"},
	{"quote", "in quotes, with escapes"},
	{"clean", "with escapes for what a terminal would obey"},
	{"first[N]", "its first N bytes"},
	{"unpack[SPEC]", "as binary numbers, see below"},
}

var numberModifiers = []modifier{
	{"number", "digits; the same as none. What is not there is `-`"},
	{"ascii", "the same"},
	{"hex64", "16 hexadecimal digits; also hex32, hex16, hex8, hex4"},
	{"big64", "8 bytes, the highest first; also big32, big16, big8"},
	{"little64", "8 bytes, the lowest first; also little32, little16, little8"},
	{"byte", "1 byte"},
	{"bool", "`true` when it is not 0, else `false`"},
}

var timeModifiers = []modifier{
	{"ms", "milliseconds since 1970; the same as none"},
	{"us", "microseconds since 1970"},
	{"unix", "seconds since 1970"},
	{"rfc3339", "`2026-01-31T12:00:00.000Z`"},
	{"date", "`2026-01-31`"},
	{"time", "`12:00:00.000`"},
	{"ago", "how long ago"},
	{"strftime[F]", "by a format of strftime, as `%d{strftime[%F %T]}`"},
	{"go[F]", "by a layout of Go, as `%d{go[15:04:05]}`"},
	{"local:M", "any of the above in the zone of this machine; without it in UTC"},
}

// unknown tells that there is no such modifier, and which is near.
func (c *compiler) unknown(n node, of []modifier) error {
	var names []string
	for _, m := range of {
		name, _, _ := strings.Cut(m.name, "[")
		names = append(names, strings.TrimSuffix(name, ":M"))
	}
	name, _, _ := argument(n.modifier)
	hint := "there are " + strings.Join(names, ", ")
	if near := grammar.Closest(name, names); near != "" && near != name {
		hint = "did you mean " + near + "?"
	} else if near != "" {
		hint = near + " wants brackets: see docs/FORMAT.md"
	}
	return &Error{Source: c.source, Pos: n.at, What: "there is no " + strconv.Quote(n.modifier) + " for %" + string(n.verb), Hint: hint}
}

// writeText appends a text; decoded is what a decoder made of it, or nil.
type writeText func(dst, text, decoded []byte) []byte

func (c *compiler) textModifier(n node) (writeText, error) {
	name, arg, given := argument(n.modifier)
	if given {
		switch name {
		case "unpack":
			u, err := parseUnpack(arg)
			if err != nil {
				return nil, &Error{Source: c.source, Pos: n.at + strings.Index(n.modifier, arg), What: err.Error()}
			}
			return func(dst, text, _ []byte) []byte { return u.append(dst, text) }, nil
		case "first":
			most, err := grammar.ParseSize(arg)
			if err != nil {
				return nil, &Error{Source: c.source, Pos: n.at, What: err.Error()}
			}
			return func(dst, text, _ []byte) []byte { return append(dst, text[:min(int64(len(text)), most)]...) }, nil
		}
		return nil, c.unknown(n, textModifiers)
	}
	switch name {
	case "", "text":
		return func(dst, text, _ []byte) []byte { return append(dst, text...) }, nil
	case "json":
		return func(dst, text, decoded []byte) []byte {
			if decoded != nil {
				text = decoded
			}
			return appendJSON(dst, text)
		}, nil
	case "hex":
		return func(dst, text, _ []byte) []byte { return hex.AppendEncode(dst, text) }, nil
	case "base64":
		return func(dst, text, _ []byte) []byte { return base64.StdEncoding.AppendEncode(dst, text) }, nil
	case "base64raw":
		return func(dst, text, _ []byte) []byte { return base64.RawStdEncoding.AppendEncode(dst, text) }, nil
	case "base64url":
		return func(dst, text, _ []byte) []byte { return base64.RawURLEncoding.AppendEncode(dst, text) }, nil
	case "quote":
		return func(dst, text, _ []byte) []byte { return strconv.AppendQuote(dst, string(text)) }, nil
	case "clean":
		return func(dst, text, _ []byte) []byte {
			quoted := strconv.AppendQuote(nil, string(text))
			return append(dst, bytes.ReplaceAll(quoted[1:len(quoted)-1], []byte(`\"`), []byte(`"`))...)
		}, nil
	}
	return nil, c.unknown(n, textModifiers)
}

// appendJSON writes JSON in one line, and anything else as a string.
func appendJSON(dst, text []byte) []byte {
	if text == nil {
		return append(dst, "null"...)
	}
	if json.Valid(text) {
		var b bytes.Buffer
		if json.Compact(&b, text) == nil {
			return append(dst, b.Bytes()...)
		}
	}
	if !utf8.Valid(text) {
		return append(base64.StdEncoding.AppendEncode(append(dst, '"'), text), '"')
	}
	b, err := encode(string(text))
	if err != nil {
		return dst
	}
	return append(dst, b...)
}

// writeNumber appends a number, which may not be there.
type writeNumber func(dst []byte, n int64, ok bool) []byte

func (c *compiler) numberModifier(n node) (writeNumber, error) {
	if n.modifier == "" || n.modifier == "number" || n.modifier == "ascii" {
		return func(dst []byte, n int64, ok bool) []byte {
			if !ok {
				return append(dst, '-')
			}
			return strconv.AppendInt(dst, n, 10)
		}, nil
	}
	if n.modifier == "bool" {
		return func(dst []byte, n int64, ok bool) []byte { return strconv.AppendBool(dst, ok && n != 0) }, nil
	}
	if write, ok := binaryNumber(n.modifier); ok {
		return func(dst []byte, n int64, _ bool) []byte { return write(dst, uint64(n)) }, nil
	}
	return nil, c.unknown(n, numberModifiers)
}

// binaryNumber returns how a number of a fixed width is written.
func binaryNumber(name string) (func(dst []byte, n uint64) []byte, bool) {
	digits := func(width int) func([]byte, uint64) []byte {
		return func(dst []byte, n uint64) []byte {
			const set = "0123456789abcdef"
			for i := width - 1; i >= 0; i-- {
				dst = append(dst, set[n>>(4*i)&15])
			}
			return dst
		}
	}
	one := func(dst []byte, n uint64) []byte { return append(dst, byte(n)) }
	switch name {
	case "hex64":
		return digits(16), true
	case "hex32":
		return digits(8), true
	case "hex16":
		return digits(4), true
	case "hex8":
		return digits(2), true
	case "hex4":
		return digits(1), true
	case "big64":
		return binary.BigEndian.AppendUint64, true
	case "big32":
		return func(dst []byte, n uint64) []byte { return binary.BigEndian.AppendUint32(dst, uint32(n)) }, true
	case "big16":
		return func(dst []byte, n uint64) []byte { return binary.BigEndian.AppendUint16(dst, uint16(n)) }, true
	case "little64":
		return binary.LittleEndian.AppendUint64, true
	case "little32":
		return func(dst []byte, n uint64) []byte { return binary.LittleEndian.AppendUint32(dst, uint32(n)) }, true
	case "little16":
		return func(dst []byte, n uint64) []byte { return binary.LittleEndian.AppendUint16(dst, uint16(n)) }, true
	case "big8", "little8", "byte":
		return one, true
	}
	return nil, false
}

type writeTime func(dst []byte, t time.Time) []byte

func (c *compiler) timeModifier(n node) (writeTime, error) {
	rest, local := strings.CutPrefix(n.modifier, "local:")
	zone := func(t time.Time) time.Time {
		if local {
			return t.Local()
		}
		return t.UTC()
	}
	name, arg, given := argument(rest)
	layout := func(l string) writeTime {
		return func(dst []byte, t time.Time) []byte { return zone(t).AppendFormat(dst, l) }
	}
	count := func(f func(time.Time) int64) writeTime {
		return func(dst []byte, t time.Time) []byte { return strconv.AppendInt(dst, f(t), 10) }
	}
	switch {
	case given && name == "strftime":
		return func(dst []byte, t time.Time) []byte { return timefmt.AppendFormat(dst, zone(t), arg) }, nil
	case given && name == "go":
		return layout(arg), nil
	case given:
	case name == "" && !local, name == "ms":
		return count(time.Time.UnixMilli), nil
	case name == "us":
		return count(time.Time.UnixMicro), nil
	case name == "unix":
		return count(time.Time.Unix), nil
	case name == "rfc3339" || name == "":
		return layout("2006-01-02T15:04:05.000Z07:00"), nil
	case name == "date":
		return layout("2006-01-02"), nil
	case name == "time":
		return layout("15:04:05.000"), nil
	case name == "ago":
		now := c.now
		if now == nil {
			now = time.Now
		}
		return func(dst []byte, t time.Time) []byte {
			return append(dst, now().Sub(t).Round(time.Millisecond).String()...)
		}, nil
	}
	if write, ok := binaryNumber(name); ok && !given && !local {
		return func(dst []byte, t time.Time) []byte { return write(dst, uint64(t.UnixMilli())) }, nil
	}
	return nil, c.unknown(n, timeModifiers)
}

// Reference is what docs/FORMAT.md says: a table by its title.
func Reference() map[string]string {
	out := map[string]string{}
	var b strings.Builder
	b.WriteString("| field | |\n|---|---|\n")
	for _, v := range verbs {
		name := "%" + string(v.letter)
		switch v.letter {
		case '(':
			name = "%(EXPR)"
		case 'h':
			name = "%h{…}"
		}
		b.WriteString("| `" + name + "` | " + v.name + " |\n")
	}
	out["Fields"] = b.String()
	for title, of := range map[string][]modifier{"Text": textModifiers, "Numbers": numberModifiers, "Times": timeModifiers} {
		var b strings.Builder
		b.WriteString("| modifier | |\n|---|---|\n")
		for _, m := range of {
			b.WriteString("| `{" + m.name + "}` | " + m.text + " |\n")
		}
		out[title] = b.String()
	}
	return out
}
