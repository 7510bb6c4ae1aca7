package tui

import (
	"strings"

	"github.com/robustmq/rmq/tui/kind"
)

// tree shows items below each other, in place of a table.
type tree struct {
	roots   []*kind.Twig
	rows    []treeRow
	small   bool            // so small that branches are open at first
	toggled map[string]bool // branches that are not as they are at first, by ID

	cursor, top int // indexes into rows
}

// treeRow is a twig in sight.
type treeRow struct {
	twig *kind.Twig
	deep int
}

// openMax is how many lines a tree may have for all its branches to be open at first.
const openMax = 500

func newTree() *tree { return &tree{toggled: map[string]bool{}} }

// set takes a tree as it is now, and keeps the cursor on the twig it was on.
func (t *tree) set(roots []*kind.Twig, height int) {
	was := t.current()
	if t.roots == nil {
		t.small = kind.Twigs(roots) <= openMax
	}
	t.roots = roots
	t.flatten()
	if was != nil {
		for i, r := range t.rows {
			if r.twig.ID == was.ID {
				t.top += i - t.cursor
				t.cursor = i
				break
			}
		}
	}
	t.hold(height)
}

func (t *tree) flatten() {
	t.rows = t.rows[:0]
	var add func(all []*kind.Twig, deep int)
	add = func(all []*kind.Twig, deep int) {
		for _, twig := range all {
			t.rows = append(t.rows, treeRow{twig, deep})
			if t.open(twig) {
				add(twig.Kids, deep+1)
			}
		}
	}
	add(t.roots, 0)
}

func (t *tree) open(twig *kind.Twig) bool { return t.small != t.toggled[twig.ID] }

func (t *tree) current() *kind.Twig {
	if t.cursor < len(t.rows) {
		return t.rows[t.cursor].twig
	}
	return nil
}

// item is the index of the item under the cursor, or -1.
func (t *tree) item() int {
	if twig := t.current(); twig != nil {
		return twig.Item
	}
	return -1
}

// seek goes to an item, through branches that are closed.
func (t *tree) seek(item, height int) {
	var way func(all []*kind.Twig) bool
	way = func(all []*kind.Twig) bool {
		for _, twig := range all {
			if twig.Item == item {
				return true
			}
			if way(twig.Kids) {
				t.toggled[twig.ID] = !t.small
				return true
			}
		}
		return false
	}
	way(t.roots)
	t.flatten()
	for i, r := range t.rows {
		if r.twig.Item == item {
			t.cursor = i
			break
		}
	}
	t.hold(height)
}

func (t *tree) hold(height int) {
	t.cursor = max(0, min(t.cursor, len(t.rows)-1))
	t.top = max(0, min(t.top, len(t.rows)-height))
	t.top = max(min(t.top, t.cursor), t.cursor-height+1)
}

func (t *tree) can(v verb) bool {
	twig := t.current()
	switch v {
	case up, pageUp, first:
		return t.cursor > 0
	case down, pageDown, last:
		return t.cursor < len(t.rows)-1
	case open:
		return twig != nil && (twig.Item >= 0 || len(twig.Kids) > 0)
	case fold:
		return twig != nil && len(twig.Kids) > 0
	}
	return false
}

func (t *tree) do(v verb, height int) {
	switch v {
	case up:
		t.cursor--
	case down:
		t.cursor++
	case pageUp:
		t.cursor -= height
		t.top -= height
	case pageDown:
		t.cursor += height
		t.top += height
	case first:
		t.cursor = 0
	case last:
		t.cursor = len(t.rows) - 1
	case open, fold:
		id := t.current().ID
		t.toggled[id] = !t.toggled[id]
		t.flatten()
	}
	t.hold(height)
}

func (t *tree) click(y int) verb {
	switch n := t.top + y; {
	case n >= len(t.rows):
	case n == t.cursor:
		return open
	default:
		t.cursor = n
	}
	return none
}

func (t *tree) status(height int) kind.Line {
	if len(t.rows) <= height {
		return nil
	}
	return kind.Line{{Text: rangeOf(t.top, height, len(t.rows)) + " ", Tone: kind.Faint}}
}

func (t *tree) body(th *theme, w, height int) []string {
	var out []string
	for n := t.top; n < min(t.top+height, len(t.rows)); n++ {
		r := t.rows[n]
		sign := "  "
		if len(r.twig.Kids) > 0 {
			sign = "▸ "
			if t.open(r.twig) {
				sign = "▾ "
			}
		}
		cells := append(kind.Line{{Text: " " + strings.Repeat("  ", r.deep)}, {Text: sign, Tone: kind.Faint}}, r.twig.Label...)
		if n != t.cursor {
			out = append(out, th.line(w, cells...))
			continue
		}
		cells[0].Text = "›" + cells[0].Text[1:]
		var b strings.Builder
		for _, c := range cells {
			b.WriteString(c.Text)
		}
		out = append(out, th.selected.Render(fit(b.String(), w, false)))
	}
	return out
}
