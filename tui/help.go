package tui

import (
	"strings"

	"github.com/robustmq/rmq/tui/kind"
)

// helpLines explains the screen it is called on: its keys, those that do something there
// now and those that do not, and its filters.
func helpLines(t *theme, s screen, at int, can func(verb) bool, w int) []string {
	title := func(what, note string) string {
		return t.line(w, kind.Cell{Text: " " + what, Tone: kind.Strong}, kind.Cell{Text: "  " + note, Tone: kind.Faint})
	}
	out := []string{title("keys", "those that do nothing at the moment step back")}
	var keys []kind.Line
	for i := range keymap {
		b := &keymap[i]
		switch {
		case b.typed, b.local && !can(b.verb):
		case can(b.verb):
			keys = append(keys, kind.Line{{Text: fit(b.shown, 6, false), Tone: kind.Strong}, {Text: " " + b.long}})
		default:
			keys = append(keys, kind.Line{{Text: fit(b.shown, 6, false) + " " + b.long, Tone: kind.Faint}})
		}
	}
	out = append(out, t.inColumns(keys, w)...)
	if s.fields() == nil {
		return out
	}
	note := "words with spaces between them, all of which must hold"
	if at == liveAt {
		note = "all must hold; ● sees all that is published, the rest what is shown"
	}
	out = append(out, "", title("filter", note))
	var grammar []kind.Line
	for _, g := range filterHelp(at) {
		grammar = append(grammar, kind.Line{{Text: fit(g[0], 13, false), Tone: kind.Strong}, {Text: " " + g[1]}})
	}
	out = append(out, t.inColumns(grammar, w)...)
	for _, l := range wrap(kind.Line{{Text: "columns: " + strings.Join(s.fields(), " "), Tone: kind.Faint}}, w-2) {
		out = append(out, t.line(w, append(kind.Line{{Text: " "}}, l...)...))
	}
	return out
}

// filterHelp is examples of filters, and what they do.
func filterHelp(at int) [][2]string {
	if at == liveAt {
		return [][2]string{
			{"fleet/+/temp", "addresses ●"},
			{"proto:mqtt", "one protocol ●"},
			{"text:urgent", "anywhere, in full ●"},
			{"alarm !debug", "in the row; not in it"},
			{"key:eu", "in that column"},
			{"size>4Ki", "a number: > >= < <= ="},
			{"json.temp > 30", "as consume --where ●"},
		}
	}
	return [][2]string{
		{"alarm !debug", "in some column; in none"},
		{"state:on", "in that column"},
		{"lag>10k", "a number: > >= < <= ="},
		{`"a b" "c:d"`, "text as it stands"},
	}
}

// inColumns puts entries in as many columns as there is room for, filled downwards.
func (t *theme) inColumns(entries []kind.Line, w int) []string {
	widest := 0
	for _, e := range entries {
		widest = max(widest, lineWidth(e)+3)
	}
	n := max(1, min(3, (w-1)/max(1, min(widest, (w-1)/2))))
	each := (w - 1) / n
	rows := (len(entries) + n - 1) / n
	var out []string
	for r := range rows {
		var b strings.Builder
		b.WriteString(" ")
		for c := range n {
			if i := c*rows + r; i < len(entries) {
				b.WriteString(t.line(each, append(entries[i], kind.Cell{Text: "  "})...))
			}
		}
		out = append(out, b.String())
	}
	return out
}
