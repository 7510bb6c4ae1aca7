package route

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/robustmq/rmq/broker/message"
)

func TestDiffer(t *testing.T) {
	for _, tt := range []struct {
		f      Filter
		n      Name
		levels int
		why    string // "": it matches
	}{
		{SlashedFilter("a/+/c"), Slashed("a/b/c"), 0, ""},
		{SlashedFilter("a/#"), Slashed("a"), 0, ""},
		{SlashedFilter("a/+/temp"), Slashed("a/b/hum"), 2, `level 3 is "hum", not "temp"`},
		{SlashedFilter("a/+/Temp"), Slashed("a/b/temp"), 2, `level 3 is "temp", not "Temp": upper and lower case differ`},
		{SlashedFilter("a/b"), Slashed("a/b/c"), 2, `it ends before level 3, "c"`},
		{SlashedFilter("a/b/c/d"), Slashed("a/b"), 2, `it goes on after level 2, with c/d`},
		{SlashedFilter("/a/b"), Slashed("a/b"), 0, `level 1 is "a", not ""`},
		{SlashedFilter("#"), Slashed("$SYS/x"), 0, `a wildcard at the first level does not match $SYS`},
		{Dotted("#.b"), DottedKey("a.c"), 2, `it goes on after word 2, with b`},
		{Dotted("*"), DottedKey(""), 0, `it goes on after word 0, with *`},
		{Dotted("#"), DottedKey(""), 0, ""},
	} {
		miss, differs := Differ(tt.f, tt.n)
		if differs != (tt.why != "") || miss.Why != tt.why || miss.Levels != tt.levels {
			t.Errorf("%q and %q: %v %+v", tt.f.text, tt.n.text, differs, miss)
		}
	}
}

// Differ and Match are of one mind.
func TestDifferAndMatchAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		level := rapid.SampledFrom([]string{"a", "b", "", "$x"})
		name := strings.Join(rapid.SliceOfN(level, 0, 4).Draw(t, "name"), "/")
		pattern := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "", "$x", "+", "#"}), 1, 4).Draw(t, "pattern"), "/")
		dotted := strings.NewReplacer("/", ".", "+", "*")
		for _, x := range []struct {
			f Filter
			n Name
		}{{SlashedFilter(pattern), Slashed(name)}, {Dotted(dotted.Replace(pattern)), DottedKey(dotted.Replace(name))}} {
			table := New[int]()
			table.Add(x.f, 1)
			miss, differs := Differ(x.f, x.n)
			if matches := len(table.Match(nil, x.n)) > 0; matches == differs || differs == (miss.Why == "") {
				t.Fatalf("%q and %q: match %v, differ %v: %+v", x.f.text, x.n.text, matches, differs, miss)
			}
		}
	})
}

func TestHeadersDiffer(t *testing.T) {
	h := func(pairs ...string) (out []message.Header) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, message.Header{Name: pairs[i], Value: []byte(pairs[i+1])})
		}
		return out
	}
	for _, tt := range []struct {
		match HeaderMatch
		have  []message.Header
		why   string
	}{
		{HeaderMatch{Want: h("a", "1", "b", "2")}, h("a", "1", "b", "2"), ""},
		{HeaderMatch{Want: h("a", "1", "b", "2")}, h("a", "1"), "header b is missing"},
		{HeaderMatch{Want: h("a", "1")}, h("a", "2"), `header a is "2", not "1"`},
		{HeaderMatch{Want: h("a", "1")}, h("A", "1"), "header a is missing, A is another"},
		{HeaderMatch{Want: h("a", "1"), Any: true}, nil, "x-match any, and none is there: header a is missing"},
		{HeaderMatch{Any: true}, nil, "x-match any, and it names no header"},
	} {
		if miss, differs := tt.match.Differ(tt.have); miss.Why != tt.why || differs != (tt.why != "") {
			t.Errorf("%+v and %v: %v %+v", tt.match, tt.have, differs, miss)
		}
	}
}
