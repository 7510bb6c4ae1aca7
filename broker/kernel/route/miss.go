package route

import (
	"fmt"
	"slices"
	"strings"

	"github.com/robustmq/rmq/broker/message"
)

// Miss tells why a filter does not match a name.
type Miss struct {
	// Levels are those of the name that are as the filter has them, from the first on.
	Levels int
	Why    string
}

// Differ tells whether a filter does not match a name, and why. It is Match for one filter and for a
// person: slow.
func Differ(f Filter, n Name) (miss Miss, differs bool) {
	var want, have []string
	f.each(func(level string) { want = append(want, level) })
	unit := "level"
	if n.sep == '.' {
		unit = "word"
	}
	if n.text != "" {
		have = strings.Split(n.text, string(n.sep))
	} else if n.sep == '/' {
		return Miss{Why: "nothing matches the empty name"}, true
	}
	if n.root && len(want) > 0 && (want[0] == f.one || want[0] == f.rest) {
		return Miss{Why: "a wildcard at the first level does not match " + have[0]}, true
	}
	// The places in the filter that are reached, level by level.
	at := beyond(&f, want, []int{0})
	for i, level := range have {
		var next []int
		for _, p := range at {
			switch {
			case p == len(want):
			case want[p] == f.rest:
				next = append(next, p)
			case want[p] == f.one || want[p] == level:
				next = append(next, p+1)
			}
		}
		if len(next) == 0 {
			return Miss{i, differAt(unit, i, level, want, at)}, true
		}
		at = beyond(&f, want, next)
	}
	if slices.Contains(at, len(want)) {
		return Miss{}, false
	}
	p := slices.Max(at)
	return Miss{len(have), fmt.Sprintf("it goes on after %s %d, with %s", unit, len(have), strings.Join(want[p:], string(n.sep)))}, true
}

// beyond adds the places behind those that may stand for nothing.
func beyond(f *Filter, want []string, at []int) []int {
	for i := 0; i < len(at); i++ {
		if p := at[i]; p < len(want) && want[p] == f.rest && !slices.Contains(at, p+1) {
			at = append(at, p+1)
		}
	}
	slices.Sort(at)
	return slices.Compact(at)
}

func differAt(unit string, i int, level string, want []string, at []int) string {
	var others []string
	for _, p := range at {
		if p < len(want) && !slices.Contains(others, want[p]) {
			others = append(others, want[p])
		}
	}
	if len(others) == 0 {
		return fmt.Sprintf("it ends before %s %d, %q", unit, i+1, level)
	}
	why := fmt.Sprintf("%s %d is %q, not %q", unit, i+1, level, strings.Join(others, " or "))
	if strings.EqualFold(level, others[0]) {
		why += ": upper and lower case differ"
	}
	return why
}

// Differ tells whether a binding does not match a message with these headers, and why.
func (h *HeaderMatch) Differ(headers []message.Header) (miss Miss, differs bool) {
	if h.Match(headers) {
		return Miss{}, false
	}
	first, found := "", 0
	for i := range h.Want {
		want := &h.Want[i]
		if want.Name == matchArgument || !h.WithX && strings.HasPrefix(want.Name, "x-") {
			continue
		}
		if has(headers, want) {
			found++
			continue
		}
		if first != "" {
			continue
		}
		first = fmt.Sprintf("header %s is missing", want.Name)
		for _, x := range headers {
			if x.Name == want.Name {
				first = fmt.Sprintf("header %s is %q, not %q", want.Name, x.Value, want.Value)
			} else if strings.EqualFold(x.Name, want.Name) {
				first = fmt.Sprintf("header %s is missing, %s is another", want.Name, x.Name)
			}
		}
	}
	switch {
	case first == "":
		first = "x-match any, and it names no header"
	case h.Any:
		first = "x-match any, and none is there: " + first
	}
	return Miss{found, first}, true
}
