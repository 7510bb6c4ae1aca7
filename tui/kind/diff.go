package kind

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/robustmq/rmq/broker/adminapi"
)

// MessageDiff tells how two messages differ: what is about them, their headers and properties, and
// their values, of structured ones by path.
func MessageDiff(was, is *adminapi.Message, l Look, wasCalled string) []Section {
	about := Section{Note: "", Head: left("", wasCalled, "THIS", "CHANGE"), Title: "about"}
	row := func(s *Section, name, a, b, change string) {
		if a != b {
			s.Rows = append(s.Rows, []Cell{{Clean(name), Faint}, {orDash(Clean(a)), Bad}, {orDash(Clean(b)), Good}, {Text: change}})
		}
	}
	row(&about, "protocol", was.Protocol, is.Protocol, "")
	row(&about, "address", address(was, l), address(is, l), "")
	row(&about, "published", l.Stamp(was.Time), l.Stamp(is.Time), later(was, is))
	row(&about, "key", Preview(was.Key, previewBytes), Preview(is.Key, previewBytes), "")
	row(&about, "qos", strconv.Itoa(int(qos(was, l))), strconv.Itoa(int(qos(is, l))), "")
	row(&about, "priority", strconv.Itoa(int(was.Priority)), strconv.Itoa(int(is.Priority)), "")
	row(&about, "flags", flags(was), flags(is), "")
	row(&about, "size", Bytes(int64(was.Size)), Bytes(int64(is.Size)), delta(float64(is.Size-was.Size)))

	with := Section{Title: "headers and properties", Head: about.Head, Empty: "the same"}
	a, b := headersOf(was), headersOf(is)
	for _, name := range slices.Compact(slices.Sorted(func(yield func(string) bool) {
		maps.Keys(a)(yield)
		maps.Keys(b)(yield)
	})) {
		row(&with, name, a[name], b[name], "")
	}
	return []Section{about, with, valueDiff(was, is, l, about.Head)}
}

func later(was, is *adminapi.Message) string {
	if was.Time.IsZero() || is.Time.IsZero() {
		return ""
	}
	d := is.Time.Sub(was.Time)
	if d < 0 {
		return "-" + Duration(-d)
	}
	return "+" + Duration(d)
}

func delta(f float64) string {
	return strconv.FormatFloat(math.Round(f*1e9)/1e9, 'f', -1, 64)
}

func headersOf(m *adminapi.Message) map[string]string {
	out := maps.Clone(m.Properties)
	if out == nil {
		out = map[string]string{}
	}
	for _, h := range m.Headers {
		name := h.Name
		for n := 2; ; n++ { // one that is repeated is another one
			if _, had := out[name]; !had {
				break
			}
			name = fmt.Sprintf("%s (%d)", h.Name, n)
		}
		out[name] = string(h.Value)
	}
	return out
}

func valueDiff(was, is *adminapi.Message, l Look, head []Head) Section {
	s := Section{Title: "value", Empty: "the same"}
	a, okA := MessageTree(was, l)
	b, okB := MessageTree(is, l)
	if !okA || !okB {
		return lineDiff(was, is)
	}
	_, as, _ := l.Value(is)
	s.Head, s.Note = head, cmp.Or(as, "json")+", by path"
	before := map[string]*Branch{}
	a.Leaves(func(n *Branch) { before[n.Path] = n })
	b.Leaves(func(n *Branch) {
		old := before[n.Path]
		delete(before, n.Path)
		switch {
		case old == nil:
			s.Rows = append(s.Rows, []Cell{{Clean(n.Path), Faint}, {"-", Faint}, {Clean(leaf(n)), Good}, {Text: "new"}})
		case leaf(old) != leaf(n):
			change := ""
			if x, ok := old.Number(); ok {
				if y, ok := n.Number(); ok {
					change = delta(y - x)
					if y > x {
						change = "+" + change
					}
				}
			}
			s.Rows = append(s.Rows, []Cell{{Clean(n.Path), Faint}, {Clean(leaf(old)), Bad}, {Clean(leaf(n)), Good}, {Text: change}})
		}
	})
	a.Leaves(func(n *Branch) {
		if before[n.Path] != nil {
			s.Rows = append(s.Rows, []Cell{{Clean(n.Path), Faint}, {Clean(leaf(n)), Bad}, {"-", Faint}, {Text: "gone"}})
		}
	})
	return s
}

func leaf(n *Branch) string {
	switch n.Open {
	case "{":
		return "{}"
	case "[":
		return "[]"
	}
	return n.Text
}

// diffMax is how many lines of a value are compared.
const diffMax = 1000

// lineDiff compares values as text, or as bytes.
func lineDiff(was, is *adminapi.Message) Section {
	form := AsHex
	if printable(was.Value) && printable(is.Value) {
		form = AsText
	}
	s := Section{Title: "value", Empty: "the same"}
	before, shown := Lines(was.Value, "", form)
	after, _ := Lines(is.Value, "", form)
	s.Note = shown + ", by line"
	if len(before) > diffMax || len(after) > diffMax {
		s.Note += fmt.Sprintf(", the first %d", diffMax)
		before, after = before[:min(diffMax, len(before))], after[:min(diffMax, len(after))]
	}
	same := true
	for _, e := range edits(texts(before), texts(after)) {
		c := Cell{"  " + e.text, Faint}
		switch e.sign {
		case '-':
			c, same = Cell{"- " + e.text, Bad}, false
		case '+':
			c, same = Cell{"+ " + e.text, Good}, false
		}
		s.Lines = append(s.Lines, Line{c})
	}
	if same {
		s.Lines = nil
	}
	return s
}

func texts(lines []Line) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		for _, c := range l {
			out[i] += c.Text
		}
	}
	return out
}

// edit is a line that is the same, is gone (-) or new (+).
type edit struct {
	sign byte
	text string
}

// edits leads from a to b with the fewest lines that are gone or new: a longest common subsequence, by
// the table of its lengths.
func edits(a, b []string) []edit {
	long := make([][]int32, len(a)+1)
	for i := range long {
		long[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				long[i][j] = long[i+1][j+1] + 1
			} else {
				long[i][j] = max(long[i+1][j], long[i][j+1])
			}
		}
	}
	var out []edit
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, edit{' ', a[i]})
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || long[i+1][j] >= long[i][j+1]):
			out = append(out, edit{'-', a[i]})
			i++
		default:
			out = append(out, edit{'+', b[j]})
			j++
		}
	}
	return out
}
