package tui

import (
	"strings"

	"github.com/robustmq/rmq/tui/kind"
)

// column is a column of a kind as it is drawn: with the width it has here.
type column[T any] struct {
	*kind.Column[T]
	index int // among the kind's
	width int
}

// gap is between columns; a mark of sorting stands in the first of its two columns.
const gap = 2

// margin is before the first column; the cursor's mark stands there.
const margin = 1

// columns chooses the columns that there is room for, and divides what is left over
// among those that need it.
func columns[T any](all []kind.Column[T], natural []int, w int) []column[T] {
	var cols []column[T]
	need := margin - gap + 1 // the mark of the last column
	for i := range all {
		c := column[T]{&all[i], i, max(all[i].Width, len(all[i].Title))}
		cols = append(cols, c)
		need += c.width + gap
	}
	for need > w && len(cols) > 1 {
		least := len(cols) - 1
		for i := range cols {
			if cols[i].Keep < cols[least].Keep {
				least = i
			}
		}
		need -= cols[least].width + gap
		cols = append(cols[:least], cols[least+1:]...)
	}
	grow(cols, natural, w-need)
	return cols
}

// grow gives columns their share of spare, each no more than it has use for.
func grow[T any](cols []column[T], natural []int, spare int) {
	for spare > 0 {
		shares := 0
		for i := range cols {
			if c := &cols[i]; c.index < len(natural) && natural[c.index] > c.width {
				shares += c.Grow
			}
		}
		if shares == 0 {
			return
		}
		before := spare
		for i := range cols {
			c := &cols[i]
			if c.Grow == 0 || c.index >= len(natural) || natural[c.index] <= c.width {
				continue
			}
			more := min(max(1, before*c.Grow/shares), natural[c.index]-c.width, spare)
			c.width += more
			spare -= more
		}
	}
}

// widen notes how wide the columns that may grow have to be for one item.
func widen[T any](natural []int, all []kind.Column[T], item *T, l kind.Look) {
	for i := range all {
		if all[i].Grow > 0 {
			natural[i] = max(natural[i], width(all[i].Cell(item, l).Text))
		}
	}
}

// heading is the line of titles.
func heading[T any](t *theme, cols []column[T], sortBy int, falling bool, w int) string {
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", margin))
	for i := range cols {
		sorted := " "
		if cols[i].index == sortBy {
			sorted = arrow(falling)
		}
		if cols[i].Numeric() {
			b.WriteString(fit(cols[i].Title, cols[i].width, true) + sorted)
		} else {
			b.WriteString(fit(cols[i].Title+sorted, cols[i].width+1, false))
		}
		b.WriteString(strings.Repeat(" ", gap-1))
	}
	return t.line(w, kind.Cell{Text: strings.TrimRight(b.String(), " "), Tone: kind.Faint})
}

// arrow says which way a column is sorted.
func arrow(falling bool) string {
	if falling {
		return "↓"
	}
	return "↑"
}

// row is the line of one item.
func row[T any](t *theme, cols []column[T], item *T, l kind.Look, selected bool, w int) string {
	cells := make(kind.Line, 0, 2*len(cols)+1)
	mark := " "
	if selected {
		mark = "›"
	}
	cells = append(cells, kind.Cell{Text: mark})
	for i := range cols {
		c := cols[i].Cell(item, l)
		c.Text = fit(c.Text, cols[i].width, cols[i].Numeric())
		cells = append(cells, c)
		if i < len(cols)-1 {
			cells = append(cells, kind.Cell{Text: strings.Repeat(" ", gap)})
		}
	}
	if !selected {
		return t.line(w, cells...)
	}
	var b strings.Builder
	for _, c := range cells {
		b.WriteString(c.Text)
	}
	return t.selected.Render(fit(b.String(), w, false))
}
