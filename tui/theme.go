package tui

import (
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/robustmq/rmq/tui/kind"
)

// theme turns tones into attributes of the terminal. Colours are the sixteen that every
// terminal has in the shades its user chose, so that a light background needs no
// question. The theme without colour has bold, faint and reverse alone.
type theme struct {
	tones    [kind.Tones]lipgloss.Style
	selected lipgloss.Style // the row under the cursor, all of it
	bar      lipgloss.Style // the program's name
	tab      lipgloss.Style // the screen that is shown
}

func newTheme(color bool) *theme {
	base := lipgloss.NewStyle()
	t := &theme{selected: base.Reverse(true), bar: base.Reverse(true).Bold(true), tab: base.Bold(true)}
	for i := range t.tones {
		t.tones[i] = base
	}
	t.tones[kind.Faint] = base.Faint(true)
	t.tones[kind.Strong] = base.Bold(true)
	t.tones[kind.Warn] = base.Bold(true)
	t.tones[kind.Bad] = base.Bold(true)
	if !color {
		return t
	}
	fg := func(tone kind.Tone, c string, bold bool) {
		t.tones[tone] = base.Foreground(lipgloss.Color(c)).Bold(bold)
	}
	fg(kind.Good, "2", false)
	fg(kind.Warn, "3", false)
	fg(kind.Bad, "1", true)
	fg(kind.MQTT, "5", false)
	fg(kind.Kafka, "4", false)
	fg(kind.AMQP, "6", false)
	fg(kind.Name, "4", false)
	fg(kind.Text, "2", false)
	fg(kind.Num, "6", false)
	t.bar = t.bar.Foreground(lipgloss.Color("6"))
	t.tab = t.tab.Foreground(lipgloss.Color("6"))
	return t
}

// paint writes text in a tone.
func (t *theme) paint(c kind.Cell) string {
	if c.Text == "" || c.Tone == kind.Plain {
		return c.Text
	}
	return t.tones[c.Tone].Render(c.Text)
}

// width is how many columns a text takes.
func width(s string) int { return ansi.StringWidth(s) }

// cut shortens a text without attributes to w columns; "…" shows that it did.
func cut(s string, w int) string {
	if len(s) <= w { // no text is wider than its bytes
		return s
	}
	return ansi.Truncate(s, w, "…")
}

// fit makes a text w columns wide: cut, or filled up on the left or on the right.
func fit(s string, w int, right bool) string {
	if w <= 0 {
		return ""
	}
	s = cut(s, w)
	gap := strings.Repeat(" ", max(0, w-width(s)))
	if right {
		return gap + s
	}
	return s + gap
}

// line writes cells one after the other, w columns in all.
func (t *theme) line(w int, cells ...kind.Cell) string {
	var b strings.Builder
	left := w
	for i, c := range cells {
		n := width(c.Text)
		if n > left || n == left && hasText(cells[i+1:]) {
			c.Text = cut(c.Text+"…", left)
			b.WriteString(t.paint(c))
			left -= width(c.Text)
			break
		}
		b.WriteString(t.paint(c))
		left -= n
	}
	b.WriteString(strings.Repeat(" ", max(0, left)))
	return b.String()
}

func hasText(cells []kind.Cell) bool {
	for _, c := range cells {
		if c.Text != "" {
			return true
		}
	}
	return false
}

// split writes one text at the left and one at the right end of a line. Where there is
// no room for both, the right one gives way, to half of the line at most.
func (t *theme) split(w int, left, right kind.Line) string {
	rw := lineWidth(right)
	rw = min(rw, max(w-lineWidth(left)-1, w/2))
	if rw <= 0 {
		return t.line(w, left...)
	}
	return t.line(w-rw-1, left...) + " " + t.line(rw, right...)
}

func lineWidth(l kind.Line) int {
	n := 0
	for _, c := range l {
		n += width(c.Text)
	}
	return n
}

// wrap divides a line into pieces of at most w columns.
func wrap(l kind.Line, w int) []kind.Line {
	if w <= 0 {
		return nil
	}
	var out []kind.Line
	var now kind.Line
	left := w
	for _, c := range l {
		for c.Text != "" {
			piece := c.Text
			if width(piece) > left {
				piece = ansi.Truncate(piece, left, "")
				if piece == "" && left == w { // wider than the whole line: a wide letter in one column
					return append(out, now)
				}
			}
			if piece != "" {
				now = append(now, kind.Cell{Text: piece, Tone: c.Tone})
				left -= width(piece)
				c.Text = c.Text[len(piece):]
			}
			if c.Text != "" {
				out, now, left = append(out, now), nil, w
			}
		}
	}
	return append(out, now)
}
