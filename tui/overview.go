package tui

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/tui/feed"
	"github.com/robustmq/rmq/tui/kind"
)

// samplesMax is how far back series go, in samples: as wide as a terminal gets.
const samplesMax = 600

// overview is the first screen: what goes through the broker, and what it holds. It is
// filled by the pulse, which Model asks for whatever screen is shown.
type overview struct {
	interval time.Duration // between pulses
	place    place

	broker adminapi.Status
	now    adminapi.Overview
	before adminapi.Overview
	known  bool
	err    error // of the last pulse that the broker answered
	series []*series

	width, height int
	page          pager
}

// series is what one protocol carried, a sample for each pulse. A sample that is
// missing is NaN.
type series struct {
	protocol string
	in, out  []float64
}

func newOverview(interval time.Duration, p place) *overview {
	return &overview{interval: interval, place: p}
}

// take has a pulse. It tells whether the broker is another one than before: one that
// was started since.
func (s *overview) take(o adminapi.Overview, st *adminapi.Status) (restarted bool) {
	if st != nil {
		restarted = !s.broker.Started.IsZero() && !st.Started.Equal(s.broker.Started)
		s.broker = *st
	}
	adminapi.AddRates(s.now, &o)
	missing := 0
	if s.known {
		missing = int(math.Round(o.At.Sub(s.now.At).Seconds()/s.interval.Seconds())) - 1
	}
	for i := range o.Traffic {
		t := &o.Traffic[i]
		of := s.of(t.Protocol)
		for range min(max(0, missing), samplesMax) {
			of.add(math.NaN(), math.NaN())
		}
		switch {
		case t.Rates != nil:
			of.add(t.Rates.MessagesIn, t.Rates.MessagesOut)
		case s.known:
			of.add(math.NaN(), math.NaN())
		}
	}
	s.before, s.now, s.known, s.err = s.now, o, true, nil
	return restarted
}

func (s *overview) of(protocol string) *series {
	for _, x := range s.series {
		if x.protocol == protocol {
			return x
		}
	}
	x := &series{protocol: protocol}
	s.series = append(s.series, x)
	return x
}

func (x *series) add(in, out float64) {
	x.in, x.out = append(x.in, in), append(x.out, out)
	if n := len(x.in) - samplesMax; n > 0 {
		x.in, x.out = slices.Delete(x.in, 0, n), slices.Delete(x.out, 0, n)
	}
}

func (s *overview) failed(err error)                  { s.err = err }
func (s *overview) resize(width, height int)          { s.width, s.height = width, height }
func (s *overview) question() feed.Question           { return nil }
func (s *overview) answer(any, time.Time)             {}
func (s *overview) copied() (string, string)          { return "", "" }
func (s *overview) command() string                   { return s.headless() }
func (s *overview) filter() string                    { return "" }
func (s *overview) fields() []string                  { return nil }
func (s *overview) setFilter(string, kind.Look) error { return nil }
func (s *overview) headless() string                  { return s.place.headless }

// can scrolls where not everything is in sight.
func (s *overview) can(v verb) bool {
	switch v {
	case up, pageUp, first:
		return s.page.top > 0
	case down, pageDown, last:
		return s.page.top < len(s.lines(noTheme))-s.height
	case copyCommand:
		return true
	}
	return false
}

func (s *overview) do(v verb, _ kind.Look) bool {
	s.page.scroll(v, len(s.lines(noTheme)), s.height)
	return false
}

func (s *overview) status(kind.Look) (left, right kind.Line) {
	if !s.known && s.err == nil {
		return kind.Line{{Text: " overview", Tone: kind.Faint}}, nil
	}
	st := &s.broker
	where := "memory"
	if st.DataDir != "" {
		where = kind.Clean(st.DataDir)
	}
	left = kind.Line{{Text: " rmq " + kind.Clean(st.Version)}, {Text: "  profile ", Tone: kind.Faint}, {Text: kind.Clean(st.Profile)},
		{Text: "  data ", Tone: kind.Faint}, {Text: where}, {Text: fmt.Sprintf("  node %d", st.Node), Tone: kind.Faint}}
	if s.err != nil {
		left = kind.Line{{Text: " " + kind.Clean(s.err.Error()), Tone: kind.Bad}}
	}
	if n := len(s.lines(noTheme)); n > s.height {
		right = kind.Line{{Text: rangeOf(min(s.page.top, n-s.height), s.height, n) + " lines ", Tone: kind.Faint}}
	}
	return left, right
}

func (s *overview) body(t *theme, _ kind.Look) []string {
	if !s.known {
		return []string{"", t.line(s.width, kind.Cell{Text: " asking the broker…", Tone: kind.Faint})}
	}
	seen, _ := s.page.view(s.lines(t), s.height)
	return seen
}

// lines is the whole screen, which may be more than there is room for. Empty lines go
// first.
func (s *overview) lines(t *theme) []string {
	if !s.known {
		return nil
	}
	top, bottom := s.traffic(t), append(s.holdings(t), s.remarks(t)...)
	room := s.height - len(top) - len(bottom)
	charts := s.charts(t, room-2)
	var gap []string
	if len(charts)+2 <= room {
		gap = []string{""}
	}
	return slices.Concat(top, gap, charts, gap, bottom)
}

// traffic is one row for each protocol.
func (s *overview) traffic(t *theme) []string {
	head := []kind.Head{{Title: "PROTOCOL"}, {Title: " CONNS", Right: true}, {Title: "  IN/S", Right: true}, {Title: " OUT/S", Right: true},
		{Title: " BYTES IN/S", Right: true}, {Title: "BYTES OUT/S", Right: true}, {Title: " ERRORS", Right: true}, {Title: "DROPPED", Right: true}}
	var rows [][]kind.Cell
	for i := range s.now.Traffic {
		x := &s.now.Traffic[i]
		row := []kind.Cell{{Text: kind.Clean(x.Protocol), Tone: kind.Protocol(x.Protocol)}, quiet(kind.Count(int64(x.Connections)))}
		if r := x.Rates; r != nil {
			row = append(row, quiet(kind.Rate(r.MessagesIn)), quiet(kind.Rate(r.MessagesOut)), quiet(kind.Bytes(int64(r.BytesIn))), quiet(kind.Bytes(int64(r.BytesOut))))
		} else {
			for range 4 {
				row = append(row, kind.Cell{Text: "-", Tone: kind.Faint})
			}
		}
		rows = append(rows, append(row, loud(x.Errors), loud(x.Dropped)))
	}
	return t.rows(head, rows, s.width)
}

// quiet lets a zero step back.
func quiet(text string) kind.Cell {
	if text == "0" || text == "0 B" {
		return kind.Cell{Text: text, Tone: kind.Faint}
	}
	return kind.Cell{Text: text}
}

// loud is a count that should be zero.
func loud(n uint64) kind.Cell {
	if n == 0 {
		return kind.Cell{Text: "0", Tone: kind.Faint}
	}
	return kind.Cell{Text: kind.Count(int64(n)), Tone: kind.Warn}
}

// sideBySide is how wide a terminal must be for charts of both directions in one row.
const sideBySide = 110

// chartMax is how high a chart may be, in lines.
const chartMax = 8

// apart is how high charts must be for a line between them.
const apart = 3

// charts draws the series in the lines that there are for them.
func (s *overview) charts(t *theme, room int) []string {
	n := len(s.series)
	if n == 0 {
		return nil
	}
	in, out := func(x *series) []float64 { return x.in }, func(x *series) []float64 { return x.out }
	if s.width < sideBySide {
		high := s.high(room-2, 2*n, 2*(n-1))
		return append(s.chart(t, "messages in, per second", s.width, high, in), s.chart(t, "messages out, per second", s.width, high, out)...)
	}
	w, high := s.width/2, s.high(room-1, n, n-1)
	left, right := s.chart(t, "messages in, per second", w, high, in), s.chart(t, "messages out, per second", s.width-w, high, out)
	var lines []string
	for i := range left {
		lines = append(lines, left[i]+right[i])
	}
	return lines
}

// high is how high n charts can be in that many lines, of which gaps are lost once they
// stand apart.
func (s *overview) high(room, n, gaps int) int {
	high := min(chartMax, room/n)
	if high >= apart {
		high = max(apart-1, min(chartMax, (room-gaps)/n))
	}
	return max(1, high)
}

// chart draws one direction: a heading, and a series for each protocol with its value
// now and its peak in sight.
func (s *overview) chart(t *theme, title string, w, high int, of func(*series) []float64) []string {
	const label, values = 8, 15
	plot := max(1, w-label-values)
	span := kind.Duration(time.Duration(plot) * s.interval)
	out := []string{t.line(w, kind.Cell{Text: fit(" "+title, w-values, false), Tone: kind.Faint}, kind.Cell{Text: "    NOW   PEAK", Tone: kind.Faint})}
	if len(title)+len(span)+8 < w-values {
		out[0] = t.line(w, kind.Cell{Text: fit(" "+title+", last "+span, w-values, false), Tone: kind.Faint}, kind.Cell{Text: "    NOW   PEAK", Tone: kind.Faint})
	}
	for i, x := range s.series {
		if i > 0 && high >= apart {
			out = append(out, t.line(w))
		}
		v := of(x)
		seen := v[max(0, len(v)-plot):]
		now := math.NaN()
		if len(seen) > 0 {
			now = seen[len(seen)-1]
		}
		tone := kind.Protocol(x.protocol)
		lines := kind.Spark(seen, plot, high, 0)
		for i, l := range lines {
			name, tail := "", ""
			if i == len(lines)-1 {
				name, tail = x.protocol, fmt.Sprintf("%7s%7s ", kind.Rate(now), kind.Rate(kind.Peak(seen)))
			}
			out = append(out, t.line(w, kind.Cell{Text: fit(" "+kind.Clean(name), label, false), Tone: tone}, kind.Cell{Text: l, Tone: tone}, kind.Cell{Text: tail}))
		}
	}
	return out
}

// part is a number and what it counts.
type part struct {
	n, what string
	tone    kind.Tone
}

// parts is how many stand on one line, of partWidth columns each.
const (
	parts     = 4
	partWidth = 8 + 1 + 10
)

// holdings is what the broker holds and what it takes to do so.
func (s *overview) holdings(t *theme) []string {
	o := &s.now
	n := func(x int, what string) part { return part{n: kind.Count(int64(x)), what: what} }
	lag := part{kind.Count(o.Lag), "lag", kind.Plain}
	if o.Lag > 0 {
		lag.tone = kind.Warn
	}
	rows := [][parts]part{
		{n(o.Topics, "topics"), n(o.Partitions, "partitions"), {n: kind.Bytes(o.StreamBytes), what: "kept"}, n(o.Retained, "retained")},
		{n(o.Queues, "queues"), {n: kind.Count(o.Ready), what: "ready"}, {n: kind.Count(o.Unacked), what: "unacked"}, n(o.Consumers, "consumers")},
		{n(o.Exchanges, "exchanges"), n(o.Bindings, "bindings"), n(o.Groups, "groups"), lag},
		{n(o.Sessions, "sessions"), n(o.Connected, "online"), n(o.Subscriptions, "subs"), n(o.Goroutines, "goroutines")},
		{{n: kind.Bytes(int64(o.HeapBytes)), what: "heap"}, {n: kind.Bytes(int64(o.RSSBytes)), what: "resident"}, s.logRate(), s.syncRate()},
	}
	if l := &o.WAL; l.Syncs > 0 {
		p99, group, written := part{n: brief(l.SyncP99), what: "sync p99"}, part{n: kind.Rate(l.GroupEntries), what: "per group"}, part{n: kind.Rate(l.Amplification) + "×", what: "written/in"}
		if s.height < lowHeight { // one row for process and log
			rows[len(rows)-1] = [parts]part{{n: kind.Bytes(int64(o.RSSBytes)), what: "resident"}, p99, group, written}
		} else {
			rows = append(rows, [parts]part{{n: brief(l.SyncP50), what: "sync p50"}, p99, group, written})
		}
	}
	w := s.width
	if w >= 2*parts*partWidth {
		w /= 2
	}
	var out []string
	for _, r := range rows {
		l := kind.Line{}
		for _, p := range r {
			if p.what != "" {
				l = append(l, kind.Cell{Text: fit(p.n, 8, true), Tone: p.tone}, kind.Cell{Text: " " + fit(p.what, 10, false), Tone: kind.Faint})
			}
		}
		out = append(out, t.line(w, l...))
	}
	if w == s.width {
		return out
	}
	// Two lines side by side, the last one alone.
	var pairs []string
	for i := 0; i < len(out); i += 2 {
		right := t.line(s.width - w)
		if i+1 < len(out) {
			right = fit("", s.width-2*w, false) + out[i+1]
		}
		pairs = append(pairs, out[i]+right)
	}
	return pairs
}

// lowHeight is the lines below which the holdings are one row shorter: a terminal of 24 has
// 20 for them and all else.
const lowHeight = 22

// brief is a time in seconds in at most eight columns.
func brief(seconds float64) string {
	switch d := time.Duration(seconds * float64(time.Second)); {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	default:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
}

// pinnedMin is how much of the log one shard must keep before it is worth a remark.
const pinnedMin = 256 << 20

// logRate and syncRate are what the write-ahead log did since the pulse before; nothing
// in a broker that has none.
func (s *overview) logRate() part {
	return s.perSecond(s.before.WAL.Bytes, s.now.WAL.Bytes, "log/s", func(f float64) string { return kind.Bytes(int64(f)) })
}

func (s *overview) syncRate() part {
	return s.perSecond(s.before.WAL.Syncs, s.now.WAL.Syncs, "syncs/s", kind.Rate)
}

func (s *overview) perSecond(before, now uint64, what string, write func(float64) string) part {
	seconds := s.now.At.Sub(s.before.At).Seconds()
	if now == 0 {
		return part{}
	}
	if s.before.At.IsZero() || seconds <= 0 || now < before {
		return part{n: "-", what: what}
	}
	return part{n: write(float64(now-before) / seconds), what: what}
}

// sameAlarm tells whether a warning is an alarm of another moment: numbers differ, its
// first words do not.
func sameAlarm(a, b string) bool {
	first, _, _ := strings.Cut(a, ":")
	return strings.HasPrefix(b, first+":")
}

// remarks are what an operator should know of: the broker's warnings, and what went
// wrong in which protocol.
func (s *overview) remarks(t *theme) []string {
	var out []string
	say := func(tone kind.Tone, text string) {
		for _, l := range wrap(kind.Line{{Text: kind.Clean(text), Tone: tone}}, s.width-2) {
			out = append(out, t.line(s.width, append(kind.Line{{Text: " "}}, l...)...))
		}
	}
	for i := range s.now.Traffic {
		x := &s.now.Traffic[i]
		text := ""
		for _, reason := range slices.Sorted(maps.Keys(x.ErrorsBy)) {
			if n := x.ErrorsBy[reason]; n > 0 {
				text += fmt.Sprintf(", %s %s", kind.Count(int64(n)), reason)
			}
		}
		if text != "" {
			say(kind.Warn, x.Protocol+" errors: "+text[2:])
		}
	}
	for _, a := range s.now.Alarms {
		say(kind.Bad, "! "+a)
	}
	if p := s.now.WAL.Pins; len(p) > 0 && p[0].Bytes >= pinnedMin {
		say(kind.Warn, fmt.Sprintf("shard %d keeps %d files of the log, %s: its checkpoint does not cover them yet", p[0].Shard, p[0].Files, kind.Bytes(int64(p[0].Bytes))))
	}
	for _, w := range s.broker.Warnings {
		if !slices.ContainsFunc(s.now.Alarms, func(a string) bool { return sameAlarm(a, w) }) {
			say(kind.Warn, "! "+w)
		}
	}
	return out
}
