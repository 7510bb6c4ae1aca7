package tui

import (
	"strings"

	"github.com/robustmq/rmq/tui/kind"
)

// pager shows sections of text, and scrolls.
type pager struct {
	top int // first line shown
}

// scroll moves by a verb in total lines of which height are shown.
func (p *pager) scroll(v verb, total, height int) {
	switch v {
	case up:
		p.top--
	case down:
		p.top++
	case pageUp:
		p.top -= height - 1
	case pageDown:
		p.top += height - 1
	case first:
		p.top = 0
	case last:
		p.top = total
	}
	p.top = max(0, min(p.top, total-height))
}

// view returns what is seen of lines, and where that is.
func (p *pager) view(lines []string, height int) (seen []string, from int) {
	from = max(0, min(p.top, len(lines)-height))
	return lines[from:min(len(lines), from+height)], from
}

// nameMax bounds the column of names, so that one long header leaves room for values.
const nameMax = 28

// sections writes sections w columns wide.
func (t *theme) sections(all []kind.Section, w int) []string {
	var out []string
	for i := range all {
		s := &all[i]
		if s.Title != "" {
			out = append(out, "", t.line(w, kind.Cell{Text: " "}, kind.Cell{Text: s.Title, Tone: kind.Strong},
				kind.Cell{Text: noted(s.Note), Tone: kind.Faint}))
		}
		if len(s.Fields) == 0 && len(s.Rows) == 0 && len(s.Lines) == 0 && s.Empty != "" {
			out = append(out, t.line(w, kind.Cell{Text: " " + s.Empty, Tone: kind.Faint}))
		}
		out = append(out, t.fields(s.Fields, w)...)
		out = append(out, t.rows(s.Head, s.Rows, w)...)
		for _, l := range s.Lines {
			for _, piece := range wrap(l, w-2) {
				out = append(out, t.line(w, append(kind.Line{{Text: " "}}, piece...)...))
			}
		}
	}
	return out
}

func noted(note string) string {
	if note == "" {
		return ""
	}
	return "  " + note
}

func (t *theme) fields(fields []kind.Field, w int) []string {
	names := 0
	for _, f := range fields {
		names = max(names, min(width(f.Name), nameMax))
	}
	var out []string
	for _, f := range fields {
		name := fit(f.Name, names, false)
		for _, piece := range wrap(kind.Line{f.Value}, w-names-4) {
			out = append(out, t.line(w, append(kind.Line{{Text: " "}, {Text: name + "  ", Tone: kind.Faint}}, piece...)...))
			name = strings.Repeat(" ", names)
		}
	}
	return out
}

// cellMin is how narrow a column of rows may become.
const cellMin = 6

// rows writes a table. Columns are as wide as what is in them; when that is too much,
// the widest gives way.
func (t *theme) rows(head []kind.Head, rows [][]kind.Cell, w int) []string {
	if len(rows) == 0 {
		return nil
	}
	widths := make([]int, len(head))
	for i, h := range head {
		widths[i] = width(h.Title)
	}
	total := 1 - 2
	for i := range widths {
		for _, r := range rows {
			widths[i] = max(widths[i], width(r[i].Text))
		}
		total += widths[i] + 2
	}
	for ; total > w; total-- {
		widest := 0
		for i := range widths {
			if widths[i] > widths[widest] {
				widest = i
			}
		}
		if widths[widest] <= cellMin {
			break
		}
		widths[widest]--
	}
	write := func(cells func(i int) kind.Cell) string {
		l := kind.Line{{Text: " "}}
		for i := range head {
			c := cells(i)
			c.Text = fit(c.Text, widths[i], head[i].Right)
			l = append(l, c, kind.Cell{Text: "  "})
		}
		return t.line(w, l[:len(l)-1]...)
	}
	out := []string{write(func(i int) kind.Cell { return kind.Cell{Text: head[i].Title, Tone: kind.Faint} })}
	for _, r := range rows {
		out = append(out, write(func(i int) kind.Cell { return r[i] }))
	}
	return out
}
