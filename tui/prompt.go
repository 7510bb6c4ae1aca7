package tui

import (
	"slices"

	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"github.com/robustmq/rmq/tui/kind"
)

// historyMax is how many filters are remembered.
const historyMax = 50

// sourceMax bounds a filter that is typed.
const sourceMax = 512

// prompt is the line where a filter is typed. It remembers those that were used, on
// whatever screen: a name that was looked for among topics is often looked for among
// messages next.
type prompt struct {
	input   textinput.Model
	before  string // the filter when it was opened, to go back to
	err     error  // of what is typed now
	history []string
	at      int    // in history; len(history) is what was typed
	typed   string // before history was looked at
}

func newPrompt() prompt {
	in := textinput.New()
	in.CharLimit = sourceMax
	in.SetVirtualCursor(false) // the terminal has one, and it blinks as its user likes
	return prompt{input: in}
}

// open begins with the filter that is in use.
func (p *prompt) open(filter string) tea.Cmd {
	p.before, p.err, p.at, p.typed = filter, nil, len(p.history), filter
	p.input.SetValue(filter)
	p.input.CursorEnd()
	return p.input.Focus()
}

func (p *prompt) close() { p.input.Blur() }

// text is what is seen of the filter in room columns, and where the cursor stands in it:
// the end of it at least, as far as there is room, where people type.
func (p *prompt) text(room int) (seen string, cursor int) {
	all, at := []rune(p.input.Value()), p.input.Position()
	from := 0
	before := func() int { return width(kind.Clean(string(all[from:at]))) }
	for from < at && before() > room {
		from++
	}
	return kind.Clean(string(all[from:])), before()
}

// take gives it a key, or what was pasted.
func (p *prompt) take(msg tea.Msg) (cmd tea.Cmd) {
	p.input, cmd = p.input.Update(msg)
	p.at, p.typed = len(p.history), p.input.Value()
	return cmd
}

// used remembers a filter that was accepted, as the newest.
func (p *prompt) used(filter string) {
	if filter == "" {
		return
	}
	p.history = slices.DeleteFunc(p.history, func(s string) bool { return s == filter })
	p.history = append(p.history, filter)
	if n := len(p.history) - historyMax; n > 0 {
		p.history = slices.Delete(p.history, 0, n)
	}
}

// can tells whether there is an older or newer filter to go to.
func (p *prompt) can(v verb) bool {
	if v == older {
		return p.at > 0
	}
	return p.at < len(p.history)
}

func (p *prompt) move(v verb) {
	if v == older {
		p.at--
	} else {
		p.at++
	}
	if p.at == len(p.history) {
		p.input.SetValue(p.typed)
	} else {
		p.input.SetValue(p.history[p.at])
	}
	p.input.CursorEnd()
}
