package kind

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The language of filters: terms with spaces between them, all of which must hold.
//
//	fleet          some column holds this text, in whatever case
//	!fleet         none does
//	state:stable   this column holds it
//	!state:stable  it does not
//	lag>10k        a column of numbers: > >= < <= = (= is for texts too)
//	"a b" "x:y"    quotes keep spaces and colons as they are
//
// Numbers may end in k, M, G (thousands) or Ki, Mi, Gi (1024s).

// termsMax bounds a filter; a longer one was pasted by mistake.
const termsMax = 32

// Filter is a parsed filter. The zero value lets everything through.
type Filter struct {
	Source string
	Terms  []Term
}

// Term is one condition.
type Term struct {
	Not    bool
	Field  string // "": any
	Op     string // ":" for text, or a comparison
	Text   string // as typed
	lower  string
	Number float64
}

// Value is what a field of a subject holds: text or a number. The zero Value is
// neither, and matches nothing.
type Value struct {
	text    string
	number  float64
	isText  bool
	isCount bool
}

// TextValue is a text.
func TextValue(s string) Value { return Value{text: s, isText: true} }

// NumberValue is a number; NaN is unknown and matches nothing.
func NumberValue(f float64) Value { return Value{number: f, isCount: true} }

// Subject is what a filter judges.
type Subject interface {
	// Any tells whether has holds for one of its texts.
	Any(has func(text string) bool) bool
	Field(name string) Value
}

// operators, the longer ones first.
var operators = []string{">=", "<=", ">", "<", "="}

// ParseFilter reads a filter whose fields may be those named.
func ParseFilter(src string, fields []string) (Filter, error) {
	f := Filter{Source: strings.TrimSpace(src)}
	for rest := f.Source; rest != ""; rest = strings.TrimLeft(rest, " \t") {
		if len(f.Terms) == termsMax {
			return Filter{}, fmt.Errorf("more than %d terms", termsMax)
		}
		t, after, err := parseTerm(rest, fields)
		if err != nil {
			return Filter{}, err
		}
		f.Terms, rest = append(f.Terms, t), after
	}
	return f, nil
}

func parseTerm(src string, fields []string) (t Term, rest string, err error) {
	if after, ok := strings.CutPrefix(src, "!"); ok {
		t.Not, src = true, after
	}
	name := src[:len(src)-len(strings.TrimLeft(src, letters))]
	if after := src[len(name):]; name != "" && after != "" {
		field := strings.ToLower(name)
		known := slices.Contains(fields, field)
		if after[0] == ':' {
			if !known {
				return t, "", fmt.Errorf("no column %s; there are %s (in quotes it is text)", name, strings.Join(fields, " "))
			}
			t.Field, t.Op, src = field, ":", after[1:]
		} else if op := operator(after); op != "" && known {
			t.Field, t.Op, src = field, op, after[len(op):]
		}
	}
	t.Text, rest, err = word(src)
	if err != nil {
		return t, "", err
	}
	t.lower = strings.ToLower(t.Text)
	if t.Text == "" {
		if t.Field != "" {
			return t, "", fmt.Errorf("%s%s what?", t.Field, t.Op)
		}
		return t, "", fmt.Errorf("! what?")
	}
	if t.Op != "" && t.Op != ":" {
		if t.Number, err = parseNumber(t.Text); err != nil && t.Op != "=" {
			return t, "", fmt.Errorf("%s%s%s: %q is no number", t.Field, t.Op, t.Text, t.Text)
		} else if err != nil {
			t.Number = math.NaN() // equal to a text, if to anything
		}
	}
	return t, rest, nil
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"

func operator(s string) string {
	for _, op := range operators {
		if strings.HasPrefix(s, op) {
			return op
		}
	}
	return ""
}

// word reads up to a space, or a quoted text.
func word(s string) (w, rest string, err error) {
	if after, ok := strings.CutPrefix(s, `"`); ok {
		w, rest, ok = strings.Cut(after, `"`)
		if !ok {
			return "", "", fmt.Errorf("a quote has no end")
		}
		return w, rest, nil
	}
	if i := strings.IndexAny(s, " \t"); i >= 0 {
		return s[:i], s[i:], nil
	}
	return s, "", nil
}

func parseNumber(s string) (float64, error) {
	scale := 1.0
	for _, u := range []struct {
		suffix string
		scale  float64
	}{{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}} {
		if cut, ok := strings.CutSuffix(s, u.suffix); ok {
			s, scale = cut, u.scale
			break
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, fmt.Errorf("no number")
	}
	return f * scale, nil
}

// Match tells whether a subject meets every term.
func (f *Filter) Match(s Subject) bool {
	for i := range f.Terms {
		if t := &f.Terms[i]; t.holds(s) == t.Not {
			return false
		}
	}
	return true
}

func (t *Term) holds(s Subject) bool {
	if t.Field == "" {
		return s.Any(t.has)
	}
	v := s.Field(t.Field)
	if t.Op == ":" {
		switch {
		case v.isText:
			return t.has(v.text)
		case v.isCount:
			return strconv.FormatFloat(v.number, 'f', -1, 64) == t.Text
		}
		return false
	}
	n := v.number
	if v.isText || !v.isCount || math.IsNaN(n) {
		return v.isText && t.Op == "=" && strings.EqualFold(v.text, t.Text)
	}
	switch t.Op {
	case ">":
		return n > t.Number
	case ">=":
		return n >= t.Number
	case "<":
		return n < t.Number
	case "<=":
		return n <= t.Number
	}
	return n == t.Number
}

// has is strings.Contains but for case.
func (t *Term) has(text string) bool {
	return strings.Contains(text, t.Text) || strings.Contains(strings.ToLower(text), t.lower)
}

// Empty tells whether it lets everything through.
func (f *Filter) Empty() bool { return len(f.Terms) == 0 }
