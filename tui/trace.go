package tui

import (
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/trace"
	"github.com/robustmq/rmq/tui/feed"
	"github.com/robustmq/rmq/tui/kind"
)

// traced is the screen of a trace: what the node that is asked sees of a client, of a topic or of an
// address, and does for it. The newest is at the end, where the cursor follows.
type traced struct {
	kind  *kind.Kind[trace.Event]
	place place
	query adminapi.TraceQuery // zero: nothing is traced yet

	kept    []trace.Event // the oldest first, at most keptMax
	gone    uint64        // let go before them
	here    kind.Filter
	away    uint64 // left out by it
	missed  uint64 // came faster than they could be shown
	held    uint64 // came while everything was held still
	dropped uint64 // the node lost them
	bound   string // that ended the trace
	err     error

	natural       []int
	follow        bool
	cursor, top   int
	width, height int
	picked        *trace.Event // shown in full
	page          pager
}

func newTraced(p place) *traced {
	s := &traced{kind: kind.Traced(), place: p}
	s.forget()
	return s
}

// traceQuery reads "client ID", "topic FILTER" and "ip ADDRESS".
func traceQuery(src string) (q adminapi.TraceQuery, err error) {
	what, of, _ := strings.Cut(src, " ")
	of = strings.TrimSpace(of)
	switch {
	case of == "":
	case what == "client":
		return adminapi.TraceQuery{Client: of}, nil
	case what == "topic":
		return adminapi.TraceQuery{Topic: of}, nil
	case what == "ip":
		return adminapi.TraceQuery{IP: of}, nil
	}
	return q, fmt.Errorf("trace client ID, trace topic FILTER or trace ip ADDRESS")
}

// traceOf goes to the trace of something.
func (m *Model) traceOf(q adminapi.TraceQuery) tea.Cmd {
	s := m.screens[tracedAt].(*traced)
	s.query = q
	s.forget()
	m.leave()
	m.at, m.help = tracedAt, false
	return m.enter()
}

func (s *traced) forget() {
	s.kept, s.gone, s.away, s.missed, s.held, s.dropped, s.bound, s.err = nil, 0, 0, 0, 0, 0, "", nil
	s.cursor, s.top, s.follow, s.picked = 0, 0, true, nil
	s.natural = make([]int, len(s.kind.Columns))
}

func (s *traced) resize(width, height int)    { s.width, s.height = width, height; s.hold() }
func (s *traced) question() feed.Question     { return nil }
func (s *traced) answer(any, time.Time)       {}
func (s *traced) failed(err error)            { s.err = err }
func (s *traced) begin(time.Time)             { s.bound, s.err = "", nil }
func (s *traced) filter() string              { return s.here.Source }
func (s *traced) fields() []string            { return s.kind.Fields() }
func (s *traced) copied() (text, what string) { return s.command(), "command" }

func (s *traced) listen(f *feed.Feed) *feed.Stream {
	if s.query == (adminapi.TraceQuery{}) {
		return nil
	}
	return f.Trace(s.query)
}

func (s *traced) add(b feed.Batch, l kind.Look, paused bool) {
	s.missed += b.Skipped
	s.dropped = b.Stats.Dropped
	s.bound = b.Bound
	if paused {
		s.held += uint64(len(b.Events))
		return
	}
	for i := range b.Events {
		if e := &b.Events[i]; s.here.Empty() || s.kind.Match(&s.here, e, l) {
			s.kept = append(s.kept, *e)
			widen(s.natural, s.kind.Columns, e, l)
		} else {
			s.away++
		}
	}
	if more := len(s.kept) - keptMax; more > 0 {
		s.kept = slices.Delete(s.kept, 0, more)
		s.gone += uint64(more)
		s.cursor, s.top = s.cursor-more, s.top-more
	}
	if s.follow {
		s.cursor = len(s.kept) - 1
	}
	s.hold()
}

func (s *traced) rowsSeen() int { return max(1, s.height-1) }

func (s *traced) hold() {
	s.cursor = max(0, min(s.cursor, len(s.kept)-1))
	s.top = max(0, min(s.top, len(s.kept)-s.rowsSeen()))
	s.top = max(min(s.top, s.cursor), s.cursor-s.rowsSeen()+1)
}

func (s *traced) setFilter(src string, l kind.Look) error {
	f, err := kind.ParseFilter(src, s.fields())
	if err != nil {
		return err
	}
	s.here = f
	s.kept = slices.DeleteFunc(s.kept, func(e trace.Event) bool { return !f.Empty() && !s.kind.Match(&f, &e, l) })
	s.hold()
	return nil
}

func (s *traced) can(v verb) bool {
	if s.picked != nil {
		switch v {
		case up, pageUp, first:
			return s.page.top > 0
		case down, pageDown, last:
			return s.page.top < len(s.detail(noTheme, kind.Look{}))-s.height
		}
		return v == back || v == copyCommand || v == copyIt
	}
	switch v {
	case up, pageUp, first:
		return s.cursor > 0
	case down, pageDown:
		return s.cursor < len(s.kept)-1
	case last:
		return len(s.kept) > 0 && !s.follow
	case open, wipe, export:
		return len(s.kept) > 0
	case back:
		return s.here.Source != ""
	case find, copyIt, copyCommand:
		return s.query != (adminapi.TraceQuery{})
	}
	return false
}

func (s *traced) do(v verb, l kind.Look) (asks bool) {
	if s.picked != nil {
		if v == back {
			s.picked = nil
		} else {
			s.page.scroll(v, len(s.detail(noTheme, l)), s.height)
		}
		return false
	}
	switch v {
	case up, down, pageUp, pageDown, first, last:
		s.cursor, s.top = moved(v, s.cursor, s.top, s.rowsSeen(), len(s.kept))
	case open:
		e := s.kept[s.cursor]
		s.picked, s.page = &e, pager{}
		return false
	case back:
		return s.setFilter("", l) != nil // no filter is always right
	case wipe:
		s.forget()
	}
	s.hold()
	s.follow = s.cursor >= len(s.kept)-1
	return false
}

func (s *traced) click(_, y int, _ kind.Look) verb {
	switch n := s.top + y - 1; {
	case s.picked != nil || y == 0 || n >= len(s.kept):
	case n == s.cursor:
		return open
	default:
		s.cursor, s.follow = n, n == len(s.kept)-1
		s.hold()
	}
	return none
}

func (s *traced) exported() (lines []any) {
	for i := range s.kept {
		lines = append(lines, &s.kept[i])
	}
	return lines
}

func (s *traced) table(l kind.Look) (rows [][]string) {
	rows = append(rows, s.kind.Fields())
	for n := range s.kept {
		var row []string
		for i := range s.kind.Columns {
			row = append(row, s.kind.Columns[i].Plain(&s.kept[n], l))
		}
		rows = append(rows, row)
	}
	return rows
}

func (s *traced) headless() string {
	if s.query == (adminapi.TraceQuery{}) {
		return s.place.headless
	}
	return kind.TraceCommand(s.query)
}

func (s *traced) command() string { return s.headless() }

func (s *traced) status(l kind.Look) (left, right kind.Line) {
	if s.query == (adminapi.TraceQuery{}) {
		return kind.Line{{Text: " nothing is traced", Tone: kind.Faint}}, nil
	}
	what := strings.TrimPrefix(kind.TraceCommand(s.query), "rmq trace ")
	if s.picked != nil {
		return kind.Line{{Text: " event ", Tone: kind.Faint}, {Text: kind.Clean(what), Tone: kind.Strong}, {Text: " at " + l.Clock(s.picked.At), Tone: kind.Faint}}, nil
	}
	left = kind.Line{{Text: " " + kind.Clean(what), Tone: kind.Strong}, {Text: "  " + eventCount(len(s.kept)), Tone: kind.Faint}}
	if s.here.Source != "" {
		left = append(left, kind.Cell{Text: "  filter ", Tone: kind.Faint}, kind.Cell{Text: kind.Clean(s.here.Source), Tone: kind.Strong})
	}
	if s.err != nil {
		left = append(left, kind.Cell{Text: "  " + kind.Clean(s.err.Error()), Tone: kind.Bad})
	}
	for _, c := range []struct {
		n    uint64
		what string
		tone kind.Tone
	}{{s.dropped + s.missed, "dropped", kind.Warn}, {s.held, "while paused", kind.Warn}, {s.away, "filtered", kind.Faint}, {s.gone, "older let go", kind.Faint}} {
		if c.n > 0 {
			right = append(right, kind.Cell{Text: kind.Count(int64(c.n)) + " " + c.what + "  ", Tone: c.tone})
		}
	}
	switch {
	case s.bound != "":
		right = append(right, kind.Cell{Text: "ended, by its " + s.bound + "; r goes on ", Tone: kind.Warn})
	case s.follow:
		right = append(right, kind.Cell{Text: "following ", Tone: kind.Good})
	}
	return left, right
}

func eventCount(n int) string {
	if n == 1 {
		return "1 event"
	}
	return fmt.Sprintf("%d events", n)
}

func (s *traced) detail(t *theme, l kind.Look) []string {
	return t.sections(kind.EventDetail(s.picked, l), s.width)
}

func (s *traced) body(t *theme, l kind.Look) []string {
	say := func(lines ...string) []string {
		out := []string{""}
		for _, text := range lines {
			out = append(out, t.line(s.width, kind.Cell{Text: " " + text, Tone: kind.Faint}))
		}
		return out
	}
	switch {
	case s.picked != nil:
		seen, _ := s.page.view(s.detail(t, l), s.height)
		return seen
	case s.query == (adminapi.TraceQuery{}):
		return say("what the node that is asked sees of clients and does for them, while it happens:", "", "  :trace client ID", "  :trace topic FILTER", "  :trace ip ADDRESS", "",
			"T traces the session, the subscription or the message under the cursor")
	case len(s.kept) == 0:
		return say("waiting; what happens from now on shows here")
	}
	cols := columns(s.kind.Columns, s.natural, s.width)
	out := []string{heading(t, cols, unsorted, false, s.width)}
	for n := s.top; n < min(s.top+s.rowsSeen(), len(s.kept)); n++ {
		out = append(out, row(t, cols, &s.kept[n], l, n == s.cursor, s.width))
	}
	return out
}
