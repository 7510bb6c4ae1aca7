package tui

import (
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/tui/kind"
)

// shown is the message that is shown in full, or compared with another one.
type shown struct {
	number  uint64 // base counted: it stays when others are let go
	message adminapi.Message
	form    kind.Form
	diff    bool
	page    pager

	tree   *kind.Branch    // of a value that is JSON, else nil
	closed map[string]bool // its branches that take one line, by path
	cursor int             // line of the tree, while there is one in sight
}

// pick shows a message in full, by its number.
func (s *messages) pick(number uint64, f kind.Form, l kind.Look) {
	s.cursor = int(number - s.base)
	s.follow = s.cursor == len(s.kept)-1
	was := s.shown
	s.shown = &shown{number: number, message: s.kept[s.cursor], form: f, closed: map[string]bool{}}
	s.shown.tree, _ = kind.MessageTree(&s.shown.message, l)
	if was != nil { // what was closed and looked at in one stays so in the next
		s.shown.closed, s.shown.cursor, s.shown.diff, s.shown.page = was.closed, was.cursor, was.diff, was.page
	}
	s.hold()
}

// treed tells whether the tree of the value is what is shown of it.
func (x *shown) treed() bool { return x.tree != nil && x.form == kind.Pretty && !x.diff }

// other is what a message is compared with: the one that is marked, or the one before of the same address.
func (s *messages) other(number uint64) *adminapi.Message {
	if s.marked != nil {
		return s.marked
	}
	if number < s.base || number-s.base >= uint64(len(s.kept)) {
		return nil
	}
	at := int(number - s.base)
	for i := at - 1; i >= 0; i-- {
		if s.kept[i].Address == s.kept[at].Address && s.kept[i].Protocol == s.kept[at].Protocol {
			return &s.kept[i]
		}
	}
	return nil
}

// detail is every line of what is shown, and which of them are the tree's.
func (s *messages) detail(t *theme, l kind.Look) (lines []string, from int, tree []kind.TreeLine) {
	x := s.shown
	if x.diff {
		was, called := s.other(x.number), "BEFORE"
		if s.marked != nil {
			called = "MARKED"
		}
		if was == nil {
			was = &adminapi.Message{}
		}
		return t.sections(kind.MessageDiff(was, &x.message, l, called), s.width), 0, nil
	}
	sections := kind.MessageDetail(&x.message, l, x.form)
	if !x.treed() {
		return t.sections(sections, s.width), 0, nil
	}
	// The tree's lines stand one to one, so that the cursor is on one of them: a long one is cut.
	tree = x.tree.Lines(x.closed)
	sections[len(sections)-1].Lines = nil
	lines = t.sections(sections, s.width)
	from = len(lines)
	for _, line := range tree {
		lines = append(lines, t.line(s.width, append(kind.Line{{Text: "  "}}, line.Line...)...))
	}
	return lines, from, tree
}

func (s *messages) shownBody(t *theme, l kind.Look) []string {
	lines, from, tree := s.detail(t, l)
	seen, top := s.shown.page.view(lines, s.height)
	if at := from + s.shown.cursor - top; len(tree) > 0 && at >= 0 && at < len(seen) && len(seen[at]) > 0 {
		seen = append([]string(nil), seen...)
		seen[at] = "›" + seen[at][1:]
	}
	return seen
}

func (s *messages) shownStatus(l kind.Look) (left, right kind.Line) {
	x := s.shown
	left = kind.Line{{Text: " message ", Tone: kind.Faint}, {Text: kind.Clean(x.message.Address), Tone: kind.Strong},
		{Text: " at " + l.Clock(x.message.Time), Tone: kind.Faint}}
	switch was := s.other(x.number); {
	case x.diff && s.marked != nil:
		left = append(left, kind.Cell{Text: ", compared with the marked one of " + l.Clock(was.Time), Tone: kind.Faint})
	case x.diff && was != nil:
		left = append(left, kind.Cell{Text: ", compared with the one before, of " + l.Clock(was.Time), Tone: kind.Faint})
	}
	lines, _, tree := s.detail(noTheme, l)
	if len(tree) > 0 && x.cursor < len(tree) {
		if b := tree[x.cursor].Branch; b != nil {
			right = append(right, kind.Cell{Text: kind.Clean(b.Path) + "  ", Tone: kind.Name})
		}
	}
	if n := len(lines); n > s.height {
		right = append(right, kind.Cell{Text: rangeOf(min(x.page.top, n-s.height), s.height, n) + " lines ", Tone: kind.Faint})
	}
	return left, right
}

func (s *messages) canShown(v verb) bool {
	x := s.shown
	lines, _, tree := s.detail(noTheme, kind.Look{})
	switch v {
	case back, form, mark, copyIt, copyCommand:
		return true
	case up, pageUp, first:
		return x.page.top > 0 || len(tree) > 0 && x.cursor > 0
	case down, pageDown, last:
		return x.page.top < len(lines)-s.height || len(tree) > 0 && x.cursor < len(tree)-1
	case open: // and close, in a tree
		b := x.branch(tree)
		return b != nil && len(b.Kids) > 0
	case plotIt:
		b := x.branch(tree)
		if b == nil {
			return false
		}
		_, ok := b.Number()
		return ok
	case diff:
		return x.diff || s.other(x.number) != nil
	case earlier:
		return x.number > s.base
	case later:
		return x.number+1 < s.base+uint64(len(s.kept))
	}
	return false
}

// branch is what the cursor is on.
func (x *shown) branch(tree []kind.TreeLine) *kind.Branch {
	if x.cursor >= len(tree) {
		return nil
	}
	return tree[x.cursor].Branch
}

func (s *messages) doShown(v verb, l kind.Look) {
	x := s.shown
	lines, from, tree := s.detail(noTheme, l)
	switch v {
	case back:
		if x.diff {
			x.diff, x.page = false, pager{}
			return
		}
		s.shown = nil
	case form:
		x.form = (x.form + 1) % kind.Forms
		x.page, x.diff = pager{}, false
	case mark:
		m := x.message
		s.marked = &m
	case diff:
		x.diff, x.page = !x.diff, pager{}
	case open:
		b := x.branch(tree)
		x.closed[b.Path] = !x.closed[b.Path]
	case plotIt:
		s.plotAll(&x.message, x.branch(tree), l)
	case earlier:
		s.pick(x.number-1, x.form, l)
	case later:
		s.pick(max(x.number+1, s.base), x.form, l)
	default:
		if len(tree) == 0 {
			x.page.scroll(v, len(lines), s.height)
			return
		}
		x.move(v, len(tree), from, s.height)
	}
}

// move moves the cursor of a tree, and scrolls so far that it is in sight. What is above the tree is seen
// when the cursor is at the top of it.
func (x *shown) move(v verb, n, from, height int) {
	switch v {
	case up:
		x.cursor--
	case down:
		x.cursor++
	case pageUp:
		x.cursor -= height - 1
	case pageDown:
		x.cursor += height - 1
	case first:
		x.cursor = 0
	case last:
		x.cursor = n - 1
	}
	x.cursor = max(0, min(x.cursor, n-1))
	at := from + x.cursor
	x.page.top = max(min(x.page.top, at), at-height+1)
	if x.cursor == 0 && from < height {
		x.page.top = 0
	}
	x.page.top = max(0, x.page.top)
}
