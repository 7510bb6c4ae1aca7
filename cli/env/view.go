package env

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/robustmq/rmq/broker/adminapi"
)

// Formats of -o.
const (
	FormatTable = "table" // aligned, for people; what a terminal gets
	FormatText  = "text"  // tab-separated, no heading, for cut and awk; what a pipe gets
	FormatJSON  = "json"  // an envelope; for streams one value a line
	FormatYAML  = "yaml"  // the envelope
)

// Formats lists what -o takes.
var Formats = []string{FormatTable, FormatText, FormatJSON, FormatYAML}

// Format is the format asked for, or the one that fits Out.
func (e *Env) Format() string {
	switch {
	case e.Picks():
		return FormatJSON
	case e.Output != "":
		return e.Output
	case e.OutTTY:
		return FormatTable
	}
	return FormatText
}

// Machine tells whether a program reads the result: JSON, YAML, or what is picked of it.
func (e *Env) Machine() bool {
	return e.Output == FormatJSON || e.Output == FormatYAML || e.Picks()
}

// View is a result in all its forms: Data for machines, Fields and Tables for people.
type View struct {
	Schema   string
	Data     any
	Warnings []string

	Fields []Field
	Tables []Table
	// Empty is said on Err when a table format shows nothing.
	Empty string
}

// Field is one property of one thing.
type Field struct {
	Name  string
	Value any
}

// Table is rows of things. A table with a Title stands beside fields: in text its rows
// begin with the title, so that they can be told apart.
type Table struct {
	Title string
	Head  []string
	Rows  [][]any // cells: strings, numbers, booleans, times, nil
}

// Print writes a result to Out in the format asked for.
func (e *Env) Print(v View) error {
	switch e.Format() {
	case FormatJSON, FormatYAML:
		return e.printEnvelope(v)
	case FormatText:
		return e.write(textOf(v))
	}
	for _, w := range v.Warnings {
		e.Say("warning: %s", w)
	}
	if v.Empty != "" && len(v.Fields) == 0 && !hasRows(v.Tables) {
		e.Say("%s", v.Empty)
		return nil
	}
	return e.write(tableOf(v, e.Colored(e.OutTTY), e.Width))
}

// PrintLine writes one value of a stream as a JSON line.
func (e *Env) PrintLine(v any) error {
	if e.Picks() {
		return e.printPicked(v)
	}
	b, err := encodeJSON(v, "")
	if err != nil {
		return err
	}
	return e.write(b)
}

func (e *Env) write(b []byte) error {
	_, err := e.Out.Write(b)
	return err
}

// envelope is adminapi.Envelope with its data still a value.
type envelope struct {
	Schema   string          `json:"schema"`
	Data     any             `json:"data,omitempty"`
	Warnings []string        `json:"warnings,omitempty"`
	Error    *adminapi.Error `json:"error,omitempty"`
}

func (e *Env) printEnvelope(v View) error {
	if e.Picks() {
		for _, w := range v.Warnings {
			e.Say("warning: %s", w)
		}
		return e.printPicked(v.Data)
	}
	e.printed = true
	b, err := encodeJSON(envelope{Schema: v.Schema, Data: v.Data, Warnings: v.Warnings}, "  ")
	if err == nil && e.Format() == FormatYAML {
		b, err = jsonToYAML(b)
	}
	if err != nil {
		return err
	}
	return e.write(b)
}

// encodeJSON leaves <, > and & alone: this is no web page.
func encodeJSON(v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	err := enc.Encode(v)
	return b.Bytes(), err
}

// jsonToYAML goes through JSON so that both formats have the same names and order.
func jsonToYAML(b []byte) ([]byte, error) {
	var node yaml.Node
	if err := yaml.Unmarshal(b, &node); err != nil { // JSON is YAML
		return nil, err
	}
	blockStyle(&node)
	return yaml.Marshal(&node)
}

// YAML writes a value with the names and the order of its JSON.
func YAML(v any) ([]byte, error) {
	b, err := encodeJSON(v, "  ")
	if err != nil {
		return nil, err
	}
	return jsonToYAML(b)
}

func blockStyle(n *yaml.Node) {
	n.Style &^= yaml.FlowStyle
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		n.Style = 0 // quoted again where it would read as something else
	}
	for _, c := range n.Content {
		blockStyle(c)
	}
}

// ---- people's forms

func hasRows(ts []Table) bool {
	for _, t := range ts {
		if len(t.Rows) > 0 {
			return true
		}
	}
	return false
}

func textOf(v View) []byte {
	var b bytes.Buffer
	for _, f := range v.Fields {
		fmt.Fprintf(&b, "%s\t%s\n", f.Name, textCell(f.Value))
	}
	for _, t := range v.Tables {
		for _, row := range t.Rows {
			if t.Title != "" {
				b.WriteString(t.Title + "\t")
			}
			for i, c := range row {
				if i > 0 {
					b.WriteByte('\t')
				}
				b.WriteString(textCell(c))
			}
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// tableOf lays a result out for a terminal of so many columns; 0: as wide as it is.
func tableOf(v View, color bool, columns int) []byte {
	var b bytes.Buffer
	width := 0
	for _, f := range v.Fields {
		width = max(width, Width(f.Name))
	}
	for _, f := range v.Fields {
		fmt.Fprintf(&b, "%s  %s\n", paint(color, bold, pad(f.Name, width, false)), tableCell(f.Value))
	}
	for i, t := range v.Tables {
		if len(t.Rows) == 0 && len(v.Fields) > 0 {
			continue
		}
		if i > 0 || len(v.Fields) > 0 {
			b.WriteByte('\n')
		}
		writeTable(&b, t, color, columns)
	}
	return b.Bytes()
}

func writeTable(b *bytes.Buffer, t Table, color bool, columns int) {
	cells := make([][]string, len(t.Rows))
	widths := make([]int, len(t.Head))
	right := make([]bool, len(t.Head))
	for i, h := range t.Head {
		widths[i] = Width(h)
	}
	for r, row := range t.Rows {
		cells[r] = make([]string, len(row))
		for i, c := range row {
			cells[r][i] = tableCell(c)
			widths[i] = max(widths[i], Width(cells[r][i]))
			right[i] = right[i] || isNumber(c)
		}
	}
	fit(widths, right, columns)
	line := func(row []string, attribute string) {
		for more := true; more; { // what does not fit goes on below
			more = false
			last, gap := len(row)-1, ""
			for last > 0 && row[last] == "" {
				last--
			}
			for i, c := range row[:last+1] {
				rest := ""
				if Width(c) > widths[i] {
					c, rest = breakAt(c, widths[i])
				}
				row[i], more = rest, more || rest != ""
				if i < last || right[i] {
					c = pad(c, widths[i], right[i])
				}
				b.WriteString(gap + paint(color && attribute != "", attribute, c))
				gap = "  "
			}
			b.WriteByte('\n')
		}
	}
	line(slices.Clone(t.Head), bold)
	for _, row := range cells {
		line(row, "")
	}
}

// columnMin is the least that a column of text is narrowed to.
const columnMin = 12

// fit narrows the widest columns of text until the table is no wider than the terminal, if that can be.
func fit(widths []int, right []bool, columns int) {
	total := 2 * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	for ; columns > 0 && total > columns; total-- {
		widest := -1
		for i, w := range widths {
			if !right[i] && w > columnMin && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		widths[widest]--
	}
}

// breakAt cuts a text that is wider than a column: between words, or, where a word is as wide, inside it.
func breakAt(s string, width int) (line, rest string) {
	n, space := 0, 0
	for i, r := range s {
		if n += Width(string(r)); n > width {
			if r == ' ' {
				return s[:i], s[i+1:]
			}
			if space > 0 {
				return s[:space], s[space+1:]
			}
			return s[:i], s[i:]
		}
		if r == ' ' {
			space = i
		}
	}
	return s, ""
}

func isNumber(v any) bool {
	switch v.(type) {
	case int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float64, Bytes:
		return true
	}
	return false
}

// Bytes is a size: plain in text, with a unit for people.
type Bytes int64

// Ago is a time: exact in text, an age for people.
type Ago struct{ At, Now time.Time }

func textCell(v any) string {
	switch v := v.(type) {
	case Bytes:
		return strconv.FormatInt(int64(v), 10)
	case Ago:
		return textCell(v.At) // when it was is the stable form of how long ago
	}
	return Clean(plainCell(v))
}

func tableCell(v any) string {
	switch v := v.(type) {
	case Bytes:
		return v.String()
	case Ago:
		if v.At.IsZero() {
			return "-"
		}
		return HumanDuration(v.Now.Sub(v.At)) + " ago"
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case float64:
		return humanRate(v)
	}
	if s := Clean(plainCell(v)); s != "" {
		return s
	}
	return "-"
}

func plainCell(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case []string:
		return strings.Join(v, " ")
	case bool:
		return strconv.FormatBool(v)
	case time.Time:
		if v.IsZero() {
			return ""
		}
		return v.Format(time.RFC3339)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

// Clean makes a string from a peer safe to show: no control character reaches the
// terminal, and no tab or line end breaks a row.
func Clean(s string) string {
	clean := utf8.ValidString(s)
	for _, r := range s {
		clean = clean && !unsafeRune(r)
	}
	if clean {
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
		case unsafeRune(r) && r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case unsafeRune(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// unsafeRune tells control characters, and those that turn the direction of what
// follows, so that a name shows as what it is.
func unsafeRune(r rune) bool {
	return unicode.IsControl(r) || r == 0x2028 || r == 0x2029 || (r >= 0x202A && r <= 0x202E) || (r >= 0x2066 && r <= 0x2069)
}

// Width is how many columns s takes: two for wide East Asian characters and emoji, none
// for marks that combine.
func Width(s string) int {
	n := 0
	for _, r := range s {
		switch {
		case r < 0x300:
			n++
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		case r >= 0x1100 && r <= 0x115F, r >= 0x2E80 && r <= 0xA4CF, r >= 0xAC00 && r <= 0xD7A3, r >= 0xF900 && r <= 0xFAFF,
			r >= 0xFE30 && r <= 0xFE6F, r >= 0xFF00 && r <= 0xFF60, r >= 0xFFE0 && r <= 0xFFE6, r >= 0x1F300 && r <= 0x1FAFF, r >= 0x20000 && r <= 0x3FFFD:
			n += 2
		default:
			n++
		}
	}
	return n
}

func pad(s string, width int, right bool) string {
	gap := strings.Repeat(" ", max(0, width-Width(s)))
	if right {
		return gap + s
	}
	return s + gap
}

func (b Bytes) String() string {
	if b < 1024 {
		return strconv.FormatInt(int64(b), 10) + " B"
	}
	f, unit := float64(b), 0
	for f >= 1024 && unit < 6 {
		f /= 1024
		unit++
	}
	if f < 10 {
		return fmt.Sprintf("%.1f %ciB", f, " KMGTPE"[unit])
	}
	return fmt.Sprintf("%.0f %ciB", f, " KMGTPE"[unit])
}

func humanRate(f float64) string {
	switch {
	case f == 0:
		return "0"
	case f < 10:
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return strconv.FormatFloat(f, 'f', 0, 64)
}

// HumanDuration writes an age with its two largest units: "3d4h", "12m5s".
func HumanDuration(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	units := []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}}
	s, left := "", 2
	for _, u := range units {
		if n := int64(d / u.size); n > 0 && left > 0 {
			s += strconv.FormatInt(n, 10) + u.name
			d %= u.size
			left--
		} else if s != "" {
			left-- // 1d0h is "1d", not "1d5m"
		}
	}
	if s == "" {
		return "0s"
	}
	return s
}

// Preview shows the beginning of a value in at most width columns, with "…" where it
// goes on.
func Preview(value []byte, width int) string {
	// A column takes at most four bytes, and a control character shows as more columns.
	cut := value
	if len(cut) > 4*width {
		cut = cut[:4*width]
	}
	s := []rune(Clean(string(cut)))
	if len(s) <= width && len(cut) == len(value) {
		return string(s)
	}
	return string(s[:min(len(s), width-1)]) + "…"
}

// PrintDocument writes one value of a stream as a YAML document.
func (e *Env) PrintDocument(v any) error {
	b, err := YAML(v)
	if err != nil {
		return err
	}
	return e.write(append([]byte("---\n"), b...))
}

// Faint sets off what only accompanies the data, on a terminal that has colour.
func (e *Env) Faint(s string) string { return paint(e.Colored(e.OutTTY), faint, s) }

// Bold sets off what data is about, on a terminal that has colour.
func (e *Env) Bold(s string) string { return paint(e.Colored(e.OutTTY), bold, s) }
