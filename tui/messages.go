package tui

import (
	"fmt"
	"slices"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/tui/feed"
	"github.com/robustmq/rmq/tui/kind"
)

// keptMax is how many messages can be scrolled back to. At the broker's bound of 4 KiB
// of each value they are 8 MiB.
const keptMax = 2000

// shownMax is how many messages of a second the broker is asked for: more than anybody reads, and what
// showing them costs it is then little beside a flood of them. The rest is counted.
const shownMax = 250

// messages is the screen of live messages: the newest at the end, where the cursor
// follows them until it is moved away. What is not shown is counted, whoever left it
// out.
type messages struct {
	kind      *kind.Kind[adminapi.Message]
	namespace string
	place     place

	kept   []adminapi.Message // the oldest first
	base   uint64             // number of kept[0]: how many were let go before it
	query  adminapi.LiveQuery // what the broker leaves out
	here   kind.Filter        // what is left out here, of what the broker sent
	stats  adminapi.LiveStats // of this stream
	wiped  adminapi.LiveStats // of this stream, when everything was last forgotten
	before adminapi.LiveStats // of the streams before it, since then
	away   uint64             // left out here
	missed uint64             // came faster than they could be shown
	held   uint64             // came while everything was held still
	gap    time.Time          // end of the last time that nobody listened; zero when that leaves no gap
	err    error

	natural       []int // how wide each column had to be so far
	follow        bool
	cursor, top   int // indexes into kept
	width, height int
	shown         *shown            // nil: the list is shown
	marked        *adminapi.Message // that others are compared with
	plot          *plot             // over the list; nil: none
}

func newMessages(namespace string, p place) *messages {
	s := &messages{kind: kind.Live(), namespace: namespace, place: p, follow: true}
	s.query.Namespace, s.query.RateMax = namespace, shownMax
	s.forget()
	return s
}

func (s *messages) resize(width, height int) {
	s.width, s.height = width, height
	s.hold()
}

func (s *messages) question() feed.Question { return nil }
func (s *messages) answer(any, time.Time)   {}
func (s *messages) failed(err error)        { s.err = err }

// begin notes that a stream begins, perhaps after another one.
func (s *messages) begin(now time.Time) {
	s.err = nil
	s.before = s.leftOut()
	s.stats, s.wiped = adminapi.LiveStats{}, adminapi.LiveStats{}
	if len(s.kept) > 0 {
		s.gap = now
	}
}

// leftOut is what the broker left out since everything was last forgotten.
func (s *messages) leftOut() adminapi.LiveStats {
	return adminapi.LiveStats{Sampled: s.before.Sampled + s.stats.Sampled - s.wiped.Sampled, Dropped: s.before.Dropped + s.stats.Dropped - s.wiped.Dropped}
}

func (s *messages) listen(f *feed.Feed) *feed.Stream { return f.Live(s.query) }

// add takes a batch. paused: nothing that is shown may move.
func (s *messages) add(b feed.Batch, l kind.Look, paused bool) {
	s.stats = b.Stats
	s.missed += b.Skipped
	if paused {
		s.held += uint64(len(b.Messages))
		return
	}
	for i := range b.Messages {
		if m := &b.Messages[i]; s.here.Empty() || s.kind.Match(&s.here, m, l) {
			s.kept = append(s.kept, *m)
			if s.plot != nil {
				s.plot.take(m, l)
			}
			widen(s.natural, s.kind.Columns, m, l)
		} else {
			s.away++
		}
	}
	if more := len(s.kept) - keptMax; more > 0 {
		s.kept = slices.Delete(s.kept, 0, more)
		s.base += uint64(more)
		s.cursor -= more
		s.top -= more
	}
	if s.follow {
		s.cursor = len(s.kept) - 1
	}
	s.hold()
}

func (s *messages) rowsSeen() int { return max(1, s.height-1) }

func (s *messages) hold() {
	s.cursor = max(0, min(s.cursor, len(s.kept)-1))
	s.top = max(0, min(s.top, len(s.kept)-s.rowsSeen()))
	s.top = max(min(s.top, s.cursor), s.cursor-s.rowsSeen()+1)
}

// ---- what keys do

func (s *messages) can(v verb) bool {
	switch {
	case s.plot != nil:
		return v == back || (v == later || v == earlier) && len(s.plot.paths) > 1 || v == copyCommand
	case s.shown != nil:
		return s.canShown(v)
	}
	switch v {
	case up, pageUp, first:
		return s.cursor > 0
	case last:
		return len(s.kept) > 0 && !s.follow
	case down, pageDown:
		return s.cursor < len(s.kept)-1
	case open, wipe, mark, plotIt:
		return len(s.kept) > 0
	case diff:
		return len(s.kept) > 0 && s.other(s.base+uint64(s.cursor)) != nil
	case back:
		return s.here.Source != ""
	case find:
		return true
	case copyIt, copyCommand:
		return len(s.kept) > 0
	case export:
		return len(s.kept) > 0
	}
	return false
}

func (s *messages) do(v verb, l kind.Look) (asks bool) {
	switch {
	case s.plot != nil:
		s.doPlot(v, l)
		return false
	case s.shown != nil:
		s.doShown(v, l)
		return false
	}
	switch v {
	case mark:
		m := s.kept[s.cursor]
		s.marked = &m
	case diff:
		s.pick(s.base+uint64(s.cursor), kind.Pretty, l)
		s.shown.diff = true
		return false
	case plotIt:
		s.plotAll(&s.kept[s.cursor], nil, l)
		return false
	case up, down, pageUp, pageDown, first, last:
		s.cursor, s.top = moved(v, s.cursor, s.top, s.rowsSeen(), len(s.kept))
	case open:
		s.pick(s.base+uint64(s.cursor), kind.Pretty, l)
		return false
	case back:
		return s.setFilter("", l) == nil // no filter is always right
	case wipe:
		s.forget()
	}
	s.hold()
	s.follow = s.cursor >= len(s.kept)-1
	return false
}

// forget lets go of every message and of the counts about them.
func (s *messages) forget() {
	s.plot = nil
	s.kept, s.base, s.cursor, s.top, s.follow = nil, 0, 0, 0, true
	s.away, s.missed, s.held, s.gap = 0, 0, 0, time.Time{}
	s.wiped, s.before = s.stats, adminapi.LiveStats{}
	s.natural = make([]int, len(s.kind.Columns))
}

func (s *messages) copied() (text, what string) {
	switch {
	case s.shown != nil:
		return s.kind.Copied(&s.shown.message), "value"
	case s.cursor < len(s.kept):
		return s.kind.Copied(&s.kept[s.cursor]), "value"
	}
	return "", ""
}

// current is the message that is shown or has the cursor; nil: there is none.
func (s *messages) current() *adminapi.Message {
	switch {
	case s.shown != nil:
		return &s.shown.message
	case s.cursor < len(s.kept):
		return &s.kept[s.cursor]
	}
	return nil
}

func (s *messages) trace() (q adminapi.TraceQuery, ok bool) {
	m := s.current()
	if m == nil {
		return q, false
	}
	return adminapi.TraceQuery{Topic: m.Address}, true
}

// command sends a message like the one under the cursor.
func (s *messages) command() string {
	switch {
	case s.shown != nil:
		return kind.Produce(&s.shown.message)
	case s.cursor < len(s.kept):
		return kind.Produce(&s.kept[s.cursor])
	}
	return s.headless()
}

// exported is what is kept, a message a line, as rmq consume -o json has it.
func (s *messages) exported() (lines []any) {
	for i := range s.kept {
		lines = append(lines, &s.kept[i])
	}
	return lines
}

// table is what is kept, as the columns have it.
func (s *messages) table(l kind.Look) (rows [][]string) {
	cols := s.kind.Columns
	var head []string
	for i := range cols {
		head = append(head, cols[i].Field())
	}
	rows = append(rows, head)
	for n := range s.kept {
		var row []string
		for i := range cols {
			row = append(row, cols[i].Plain(&s.kept[n], l))
		}
		rows = append(rows, row)
	}
	return rows
}

// click is what a press of the mouse in the body asks for.
func (s *messages) click(_, y int, _ kind.Look) verb {
	switch n := s.top + y - 1; {
	case s.shown != nil || s.plot != nil || y == 0 || n >= len(s.kept):
	case n == s.cursor:
		return open
	default:
		s.cursor, s.follow = n, n == len(s.kept)-1
		s.hold()
	}
	return none
}

func (s *messages) headless() string {
	switch {
	case s.shown != nil:
		return s.kind.Command(&s.shown.message)
	case s.query.Where != "" || s.query.Filter != "":
		return kind.ConsumeCommand(s.query)
	}
	return s.place.headless
}

// ---- filter

func (s *messages) filter() string   { return s.here.Source }
func (s *messages) fields() []string { return kind.LiveFields() }

// setFilter begins anew: what was kept passed another filter.
func (s *messages) setFilter(src string, _ kind.Look) error {
	q, here, err := kind.LiveQuery(src)
	if err != nil {
		return err
	}
	q.Namespace, q.RateMax = s.namespace, shownMax
	s.query, s.here = q, here
	s.forget()
	return nil
}

// ---- what is seen

func (s *messages) status(l kind.Look) (left, right kind.Line) {
	switch {
	case s.plot != nil:
		return s.plot.status()
	case s.shown != nil:
		return s.shownStatus(l)
	}
	left = kind.Line{{Text: " " + messageCount(len(s.kept))}}
	if s.marked != nil {
		left = append(left, kind.Cell{Text: "  marked ", Tone: kind.Faint}, kind.Cell{Text: l.Clock(s.marked.Time), Tone: kind.Strong})
	}
	if s.here.Source != "" {
		left = append(left, kind.Cell{Text: "  filter ", Tone: kind.Faint}, kind.Cell{Text: kind.Clean(s.here.Source), Tone: kind.Strong})
	}
	if s.err != nil {
		left = append(left, kind.Cell{Text: "  " + kind.Clean(s.err.Error()), Tone: kind.Bad})
	}
	out := s.leftOut()
	for _, c := range []struct {
		n    uint64
		what string
		tone kind.Tone
	}{
		{out.Sampled, "sampled out", kind.Warn}, {out.Dropped + s.missed, "dropped", kind.Warn},
		{s.held, "while paused", kind.Warn},
		{s.away, "filtered", kind.Faint}, {s.base, "older let go", kind.Faint},
	} {
		if c.n > 0 {
			right = append(right, kind.Cell{Text: kind.Count(int64(c.n)) + " " + c.what + "  ", Tone: c.tone})
		}
	}
	if !s.gap.IsZero() {
		right = append(right, kind.Cell{Text: "gap until " + l.Clock(s.gap) + "  ", Tone: kind.Warn})
	}
	if below := len(s.kept) - s.top - s.rowsSeen(); below > 0 {
		right = append(right, kind.Cell{Text: fmt.Sprintf("%d newer ↓ ", below), Tone: kind.Strong})
	} else if s.follow {
		right = append(right, kind.Cell{Text: "following ", Tone: kind.Good})
	}
	if n := len(s.kind.Columns) - len(s.columns()); n > 0 && len(s.kept) > 0 {
		right = append(right, kind.Cell{Text: " " + hidden(n) + " ", Tone: kind.Faint})
	}
	return left, right
}

func messageCount(n int) string {
	if n == 1 {
		return "1 message"
	}
	return fmt.Sprintf("%d messages", n)
}

func (s *messages) body(t *theme, l kind.Look) []string {
	switch {
	case s.plot != nil:
		return s.plot.body(t, l, s.width, s.height)
	case s.shown != nil:
		return s.shownBody(t, l)
	}
	if len(s.kept) == 0 {
		text := " waiting for messages; they show here as they are published"
		if s.here.Source != "" {
			text = " waiting for messages that pass the filter"
		}
		return []string{"", t.line(s.width, kind.Cell{Text: text, Tone: kind.Faint})}
	}
	cols := s.columns()
	out := []string{heading(t, cols, unsorted, false, s.width)}
	for n := s.top; n < min(s.top+s.rowsSeen(), len(s.kept)); n++ {
		out = append(out, row(t, cols, &s.kept[n], l, n == s.cursor, s.width))
	}
	return out
}

func (s *messages) columns() []column[adminapi.Message] {
	return columns(s.kind.Columns, s.natural, s.width)
}

// unsorted is no column: messages stay in the order they came.
const unsorted = -1
