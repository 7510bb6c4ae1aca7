package tui

import (
	tea "charm.land/bubbletea/v2"

	"github.com/robustmq/rmq/tui/kind"
)

// What the mouse does: the wheel scrolls; a press goes to a tab, does what the footer offers, selects a
// row, opens the one that is selected, sorts by a heading. The right button goes back. While it is used
// the terminal does not select text, so there is a switch.

// notch is how many rows the wheel scrolls by.
const notch = 3

func (m *Model) wheel(msg tea.MouseWheelMsg) tea.Cmd {
	v := none
	switch msg.Button {
	case tea.MouseWheelUp:
		v = up
	case tea.MouseWheelDown:
		v = down
	}
	var cmds []tea.Cmd
	for range notch {
		if v != none && !m.typing && m.can(v) {
			cmds = append(cmds, m.act(v))
		}
	}
	return tea.Batch(cmds...)
}

func (m *Model) click(msg tea.MouseClickMsg) tea.Cmd {
	if m.typing || !m.roomy() {
		return nil
	}
	m.note = ""
	before := m.asked
	m.asked = asked{}
	v := none
	switch {
	case msg.Button == tea.MouseRight:
		v = back
	case msg.Button != tea.MouseLeft:
	case msg.Y == tabsLine:
		return m.show(m.tabAt(msg.X))
	case msg.Y == m.height-1:
		v = m.theme.offered(msg.X, m.width, m.typing, m.can)
	case m.help:
		v = back
	case msg.Y >= bodyLine:
		if c, ok := m.screen().(clicker); ok {
			v = c.click(msg.X, msg.Y-bodyLine, m.look())
		}
	}
	if v == none || !m.can(v) {
		return nil
	}
	return m.press(v, before)
}

// tabAt is the screen whose tab is at a column; -1: none is.
func (m *Model) tabAt(x int) int {
	at := 0
	for _, tab := range m.tabTexts() {
		if at += width(tab.text) + 2; x < at {
			return tab.at
		}
	}
	return -1
}

// offered is the verb that the footer offers at a column.
func (t *theme) offered(x, w int, typing bool, can func(verb) bool) verb {
	at := 0
	for _, o := range offers(w, typing, can) {
		if at += lineWidth(o.line); x < at {
			return o.verb
		}
	}
	return none
}

// offer is a key of the footer and what it does.
type offer struct {
	verb verb
	line kind.Line
}
