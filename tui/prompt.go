package tui

import (
	"fmt"
	"slices"

	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"github.com/robustmq/rmq/tui/kind"
)

// historyMax is how many filters are remembered.
const historyMax = 50

// sourceMax bounds a filter that is typed.
const sourceMax = 512

// purpose is what something is typed for.
type purpose int

const (
	filtering purpose = iota
	commanding
	purposes
)

// mark stands before what is typed.
func (p purpose) mark() string { return [purposes]string{" / ", " : "}[p] }

// prompt is the line where a filter or a command is typed. It remembers those that were
// used, on whatever screen: a name that was looked for among topics is often looked for
// among messages next.
type prompt struct {
	purpose   purpose
	input     textinput.Model
	before    string // the filter when it was opened, to go back to
	err       error  // of what is typed now
	asked     string // what was accepted once, and asks to be once more
	histories [purposes][]string
	at        int    // in the history; its length is what was typed
	typed     string // before the history was looked at
}

func newPrompt() prompt {
	in := textinput.New()
	in.CharLimit = sourceMax
	in.SetVirtualCursor(false) // the terminal has one, and it blinks as its user likes
	return prompt{input: in}
}

// open begins with a text: the filter that is in use.
func (p *prompt) open(why purpose, text string) tea.Cmd {
	p.purpose = why
	p.before, p.asked = text, ""
	p.err, p.at, p.typed = nil, len(*p.history()), text
	p.input.SetValue(text)
	p.input.CursorEnd()
	return p.input.Focus()
}

func (p *prompt) close() { p.input.Blur() }

func (p *prompt) history() *[]string { return &p.histories[p.purpose] }

// sure tells whether what is typed was accepted before. If not it asks, saying what it does.
func (p *prompt) sure(does string) bool {
	if p.asked == p.value() {
		return true
	}
	p.asked = p.value()
	p.err = fmt.Errorf("enter once more: it %s", does)
	return false
}

// value is what is typed.
func (p *prompt) value() string { return p.input.Value() }

// replace puts a text in place of what is typed.
func (p *prompt) replace(text string) {
	p.input.SetValue(text)
	p.input.CursorEnd()
	p.at, p.typed = len(*p.history()), text
}

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
	p.at, p.typed = len(*p.history()), p.input.Value()
	return cmd
}

// used remembers what was accepted, as the newest.
func (p *prompt) used(why purpose, text string) {
	if text == "" {
		return
	}
	h := &p.histories[why]
	*h = slices.DeleteFunc(*h, func(s string) bool { return s == text })
	*h = append(*h, text)
	if n := len(*h) - historyMax; n > 0 {
		*h = slices.Delete(*h, 0, n)
	}
}

// can tells whether there is an older or newer one to go to.
func (p *prompt) can(v verb) bool {
	if v == older {
		return p.at > 0
	}
	return p.at < len(*p.history())
}

func (p *prompt) move(v verb) {
	if v == older {
		p.at--
	} else {
		p.at++
	}
	if p.at == len(*p.history()) {
		p.input.SetValue(p.typed)
	} else {
		p.input.SetValue((*p.history())[p.at])
	}
	p.input.CursorEnd()
}
