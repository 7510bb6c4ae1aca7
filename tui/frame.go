package tui

import (
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/robustmq/rmq/tui/kind"
)

// A frame is, from the top: the broker and how it is; the tabs; what the screen has to
// say, or the prompt; the screen; the keys.
const chrome = 4

// Below this there is no room to say anything with.
const (
	widthMin  = 40
	heightMin = 10
)

// View draws a frame: always as many lines as the terminal has, each as wide as it is.
func (m *Model) View() tea.View {
	v := tea.NewView(m.frame())
	v.AltScreen = true
	if m.mouse {
		v.MouseMode = tea.MouseModeCellMotion
	}
	v.WindowTitle = "rmq: " + places[m.at].name
	if m.typing && m.roomy() {
		_, x := m.promptText()
		v.Cursor = tea.NewCursor(x, promptLine)
		v.Cursor.Shape = tea.CursorBar
	}
	return v
}

// Lines of a frame.
const (
	tabsLine   = 1
	promptLine = 2 // where filters and commands are typed
	bodyLine   = 3
)

func (m *Model) roomy() bool { return m.width >= widthMin && m.height >= heightMin }

func (m *Model) frame() string {
	if !m.roomy() {
		return m.fill([]string{cut(fmt.Sprintf("%d×%d is too small:", m.width, m.height), m.width), cut(fmt.Sprintf("rmq needs %d×%d", widthMin, heightMin), m.width)}, m.height)
	}
	body := m.height - chrome
	var lines []string
	if m.help {
		seen, _ := m.page.view(m.helpLines(), body)
		lines = seen
	} else {
		lines = m.screen().body(m.theme, m.look())
	}
	var b strings.Builder
	b.WriteString(m.head() + "\n" + m.tabs() + "\n" + m.status() + "\n")
	b.WriteString(m.fill(lines, body) + "\n")
	b.WriteString(m.theme.footer(m.width, m.typing, m.can))
	return b.String()
}

// fill makes lines into exactly height lines of the frame's width.
func (m *Model) fill(lines []string, height int) string {
	out := make([]string, height)
	for i := range out {
		if i < len(lines) {
			out[i] = lines[i]
		}
		if gap := m.width - width(out[i]); gap > 0 {
			out[i] += strings.Repeat(" ", gap)
		}
	}
	return strings.Join(out, "\n")
}

func (m *Model) helpLines() []string {
	return helpLines(m.theme, m.screen(), m.at, m.canHere, m.width)
}

// head says which broker this is, and how it is.
func (m *Model) head() string {
	l := m.look()
	left := kind.Line{{Text: " " + kind.Clean(m.where), Tone: kind.Strong}}
	if m.opt.Namespace != "" && m.opt.Namespace != "/" {
		left = append(left, kind.Cell{Text: "  namespace " + kind.Clean(m.opt.Namespace), Tone: kind.Faint})
	}
	var right kind.Line
	switch {
	case !m.paused.IsZero():
		right = kind.Line{{Text: "‖ PAUSED at " + l.Clock(l.Now) + " ", Tone: kind.Warn}}
	case m.link.Up && m.clock.Frozen:
		right = kind.Line{{Text: "● ", Tone: kind.Good}, {Text: "frozen at " + l.Now.UTC().Format(time.DateTime) + " ", Tone: kind.Warn}}
	case m.link.Up:
		right = kind.Line{{Text: "● ", Tone: kind.Good}, {Text: "up " + l.Since(m.overview().broker.Started), Tone: kind.Faint}, {Text: "  " + l.Clock(l.Now) + " "}}
	case m.link.Tries > 0:
		wait := max(0, m.link.Again.Sub(m.now))
		text := "asking again"
		if wait >= tickEvery {
			text = "again in " + kind.Duration(wait)
		}
		lost := "no broker"
		if m.link.Ever {
			lost = "LOST for " + kind.Duration(m.now.Sub(m.link.Since))
		}
		right = kind.Line{{Text: "○ " + lost, Tone: kind.Bad}, {Text: ", " + text + " "}}
	default:
		right = kind.Line{{Text: "○ asking… ", Tone: kind.Faint}}
	}
	bar := m.theme.bar.Render(" rmq ")
	return bar + m.theme.split(m.width-width(" rmq "), left, right)
}

// tab is a screen's name at the top.
type tab struct {
	at   int // of places
	text string
}

// tabTexts names the screens with their keys, as fully as there is room for: with counts,
// by name, by short name, by that close to the key, by number. A screen without a key is named while it is shown.
func (m *Model) tabTexts() []tab {
	var out []tab
	for _, text := range []func(i int) string{
		func(i int) string { return " " + places[i].name + " " + m.total(i) },
		func(i int) string { return " " + places[i].name },
		func(i int) string { return " " + places[i].short },
		func(i int) string { return places[i].short },
		func(i int) string {
			if i == m.at {
				return " " + places[i].name
			}
			return ""
		},
	} {
		n := 0
		out = out[:0]
		for i, p := range places {
			if p.key == "" && i != m.at {
				continue
			}
			key := p.key
			if key == "" {
				key = ":"
			}
			out = append(out, tab{i, strings.TrimSpace(key + text(i))})
			n += width(out[len(out)-1].text) + 2
		}
		if n <= m.width {
			return out
		}
	}
	return nil
}

// tabs draws them. The one that is shown stands in brackets.
func (m *Model) tabs() string {
	var b strings.Builder
	for _, tab := range m.tabTexts() {
		if tab.at == m.at {
			b.WriteString(m.theme.tab.Render("[" + tab.text + "]"))
		} else {
			b.WriteString(m.theme.paint(kind.Cell{Text: " " + tab.text + " ", Tone: kind.Faint}))
		}
	}
	return m.fill([]string{b.String()}, 1)
}

// total is how many things a screen has to show, as the overview counts them; "" where
// nobody counts.
func (m *Model) total(at int) string {
	o := m.overview()
	totals := map[int]int{1: o.now.Topics, 2: o.now.Queues, 3: o.now.Exchanges, 4: o.now.Sessions, 5: o.now.Subscriptions, 6: o.now.Groups, 7: o.now.Retained}
	n, ok := totals[at]
	if !ok || !o.known {
		return ""
	}
	return kind.Count(int64(n))
}

// status is the line of the screen: what it shows, or the prompt, or why it is stale.
func (m *Model) status() string {
	if m.typing {
		line, _ := m.promptText()
		return line
	}
	if m.help {
		return m.theme.split(m.width, kind.Line{{Text: " help", Tone: kind.Strong}, {Text: " for " + places[m.at].name + "; without a screen: ", Tone: kind.Faint}, {Text: m.screen().headless()}},
			kind.Line{{Text: "any key closes it ", Tone: kind.Faint}})
	}
	left, right := m.screen().status(m.look())
	switch {
	case m.link.Tries > 0 && m.link.Ever:
		left = kind.Line{{Text: " STALE since " + m.look().Clock(m.link.Since.Add(m.skew)) + ": ", Tone: kind.Bad}, {Text: kind.Clean(errorText(m.link.Err))}}
		right = nil
	case m.link.Tries > 0:
		left = kind.Line{{Text: " " + kind.Clean(errorText(m.link.Err)), Tone: kind.Bad}}
		right = nil
	case m.note != "":
		right = kind.Line{{Text: kind.Clean(m.note) + " ", Tone: kind.Good}}
	case m.every > m.opt.Interval:
		right = append(right, kind.Cell{Text: "every " + kind.Duration(m.every) + " ", Tone: kind.Faint})
	}
	return m.theme.split(m.width, left, right)
}

// errorText is an error on one line.
func errorText(err error) string {
	if err == nil {
		return "the broker ended the stream"
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// promptText is the line of the prompt, and in which column the cursor stands.
func (m *Model) promptText() (line string, cursor int) {
	var right kind.Line
	room := m.width
	least := min(m.width/2, width(m.prompt.purpose.mark())+width(kind.Clean(m.prompt.value()))+2) // what is typed stays in sight
	switch {
	case m.prompt.err == nil && m.prompt.purpose == commanding:
		right = m.candidateLine()
		room = max(least, m.width-lineWidth(right))
	case m.prompt.err != nil:
		right = kind.Line{{Text: " " + kind.Clean(m.prompt.err.Error()) + " ", Tone: kind.Bad}}
		room = max(least, m.width-lineWidth(right))
	}
	mark := m.prompt.purpose.mark()
	text, at := m.prompt.text(room - len(mark) - 1)
	left := m.theme.line(room, kind.Cell{Text: mark, Tone: kind.Strong}, kind.Cell{Text: text})
	return left + m.theme.line(m.width-room, right...), len(mark) + at
}
