package tui

import (
	"strings"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/robustmq/rmq/tui/kind"
)

// theme turns tones into attributes of the terminal. Without colour it has bold, faint and
// reverse alone.
type theme struct {
	colored bool
	name    string
	accent  string // over the palette's; "": none

	tones    [kind.Tones]lipgloss.Style
	selected lipgloss.Style // the row under the cursor, all of it
	bar      lipgloss.Style // the program's name
	tab      lipgloss.Style // the screen that is shown
}

// palette is the colours of a theme, as lipgloss.Color takes them.
type palette struct {
	good, warn, bad, mqtt, kafka, amqp, name, text, num, accent string
}

// themes are by name; auto, which is none of them, takes the terminal's until the terminal has
// said whether its background is dark or light.
var themes = []struct {
	name string
	palette
}{
	// The sixteen that every terminal has, in the shades that its user chose.
	{"terminal", palette{"2", "3", "1", "5", "4", "6", "4", "2", "6", "6"}},
	{"dark", palette{"#7ec699", "#e5c07b", "#f07178", "#c792ea", "#82aaff", "#6cc7d9", "#82aaff", "#a5d6a7", "#80cbc4", "#6cc7d9"}},
	{"light", palette{"#1b7f3b", "#9a6700", "#b3261e", "#7b3fa0", "#1f5fbf", "#00687a", "#1f5fbf", "#2e6b34", "#00687a", "#00687a"}},
	{"contrast", palette{"10", "11", "9", "13", "12", "14", "15", "10", "14", "15"}},
}

// auto is the name of the theme that follows the terminal, and mono that of the one without colours.
const (
	auto = "auto"
	mono = "mono"
)

// Themes returns the names of themes, the first one being taken unless another is named.
func Themes() []string {
	out := []string{auto}
	for _, t := range themes {
		out = append(out, t.name)
	}
	return append(out, mono)
}

// noTheme measures text where nothing is drawn.
var noTheme = newTheme(false, "", "")

func newTheme(color bool, name, accent string) *theme {
	t := &theme{colored: color, accent: accent}
	t.choose(name)
	return t
}

// choose takes another theme.
func (t *theme) choose(name string) {
	t.name = name
	p, colored := &themes[0].palette, t.colored && name != mono
	for i := range themes {
		if themes[i].name == name {
			p = &themes[i].palette
		}
	}
	t.set(p, colored)
}

// ask asks the terminal what its background is, when the theme follows that.
func (t *theme) ask() tea.Cmd {
	if !t.colored || t.name != auto && t.name != "" {
		return nil
	}
	return tea.RequestBackgroundColor
}

// on is told.
func (t *theme) on(dark bool) {
	if !t.colored || t.name != auto && t.name != "" {
		return
	}
	name := "light"
	if dark {
		name = "dark"
	}
	t.choose(name)
	t.name = auto
}

func (t *theme) set(p *palette, color bool) {
	base := lipgloss.NewStyle()
	t.selected, t.bar, t.tab = base.Reverse(true), base.Reverse(true).Bold(true), base.Bold(true)
	for i := range t.tones {
		t.tones[i] = base
	}
	t.tones[kind.Faint] = base.Faint(true)
	t.tones[kind.Strong] = base.Bold(true)
	t.tones[kind.Warn] = base.Bold(true)
	t.tones[kind.Bad] = base.Bold(true)
	if !color {
		return
	}
	for tone, c := range map[kind.Tone]string{
		kind.Good: p.good, kind.Warn: p.warn, kind.Bad: p.bad, kind.MQTT: p.mqtt, kind.Kafka: p.kafka, kind.AMQP: p.amqp,
		kind.Name: p.name, kind.Text: p.text, kind.Num: p.num,
	} {
		t.tones[tone] = base.Foreground(lipgloss.Color(c)).Bold(tone == kind.Bad)
	}
	t.bar = t.bar.Foreground(lipgloss.Color(p.accent))
	t.tab = t.tab.Foreground(lipgloss.Color(p.accent))
	if t.accent != "" {
		t.bar = t.bar.Foreground(lipgloss.Color(t.accent))
	}
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
