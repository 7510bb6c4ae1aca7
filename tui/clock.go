package tui

import (
	"context"
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/grammar"
	"github.com/robustmq/rmq/tui/feed"
	"github.com/robustmq/rmq/tui/kind"
)

// clocked is the screen of the time that the broker goes by: what it is, what will come of it next, and, where it is
// the broker's own, keys that move it.
type clocked struct {
	*list[adminapi.Due]
	clock   adminapi.Clock
	machine time.Time // here, when that was answered
	more    bool      // not all that is due was looked at
}

// clockLines stand over the list.
const clockLines = 3

func newClocked(p place, opt *Options) *clocked {
	s := &clocked{list: newList(kind.Dues(), opt.Namespace, p)}
	s.falling = false // what is next comes first
	return s
}

func (s *clocked) resize(width, height int) { s.list.resize(width, max(1, height-s.above())) }

// above is how many lines stand over the list; none over one thing in full.
func (s *clocked) above() int {
	if s.picked != nil {
		return 0
	}
	return clockLines
}

// clockAnswer is what the screen asks for.
type clockAnswer struct {
	clock adminapi.Clock
	dues  adminapi.Dues
}

func (s *clocked) question() feed.Question {
	if s.picked != nil {
		return s.list.question()
	}
	return func(ctx context.Context, src adminapi.Source) (any, error) {
		var a clockAnswer
		var err error
		if a.clock, err = src.Clock(ctx); err == nil {
			a.dues, err = src.Due(ctx)
		}
		return a, err
	}
}

func (s *clocked) answer(data any, at time.Time) {
	if a, ok := data.(clockAnswer); ok {
		s.clock, s.machine, s.more = a.clock, at, a.dues.More
		data = a.dues.Due
	}
	s.list.answer(data, at)
}

// own is the look by the broker's clock as it was answered: one that stands still does not go on between answers.
func (s *clocked) own(l kind.Look) kind.Look {
	if s.clock.Frozen {
		l.Now = s.clock.Now
	}
	return l
}

func (s *clocked) can(v verb) bool {
	switch v {
	case add:
		return s.virtual()
	case freeze:
		return s.virtual()
	}
	return s.list.can(v)
}

func (s *clocked) virtual() bool { return s.clock.Kind == adminapi.ClockVirtual }

func (s *clocked) click(x, y int, l kind.Look) verb {
	if y -= s.above(); y < 0 {
		return none
	}
	return s.list.click(x, y, s.own(l))
}

func (s *clocked) do(v verb, l kind.Look) bool {
	height := s.height + s.above()
	asks := s.list.do(v, s.own(l))
	s.resize(s.width, height)
	return asks
}

func (s *clocked) arrange(l kind.Look)          { s.list.arrange(s.own(l)) }
func (s *clocked) table(l kind.Look) [][]string { return s.list.table(s.own(l)) }
func (s *clocked) status(l kind.Look) (left, right kind.Line) {
	left, right = s.list.status(s.own(l))
	if s.more {
		right = append(right, kind.Cell{Text: "too much is due to count all of it ", Tone: kind.Warn})
	}
	return left, right
}

func (s *clocked) body(t *theme, l kind.Look) []string {
	l = s.own(l)
	if s.picked != nil || !s.known {
		return s.list.body(t, l)
	}
	state := kind.Cell{Text: "runs with the machine's", Tone: kind.Good}
	switch {
	case !s.virtual():
		state = kind.Cell{Text: "is the machine's"}
	case s.clock.Frozen:
		state = kind.Cell{Text: "stands still", Tone: kind.Warn}
	}
	now := s.clock.Now
	if !s.clock.Frozen {
		now = l.Now
	}
	says := kind.Line{{Text: " " + l.Stamp(now), Tone: kind.Strong}, {Text: "; the clock "}, state}
	if s.virtual() {
		switch apart := s.clock.Now.Sub(s.machine).Round(time.Second); {
		case apart > 0:
			says = append(says, kind.Cell{Text: ", " + kind.Duration(apart) + " ahead", Tone: kind.Faint})
		case apart < 0:
			says = append(says, kind.Cell{Text: ", " + kind.Duration(-apart) + " behind", Tone: kind.Faint})
		}
	}
	hint := kind.Line{{Text: " :clock advance 24h, set 2030-01-01, freeze, resume", Tone: kind.Faint}}
	if !s.virtual() {
		hint = kind.Line{{Text: " it cannot be moved; this one can: rmq up --memory --clock virtual", Tone: kind.Faint}}
	}
	return append([]string{t.line(s.width, says...), t.line(s.width, hint...), ""}, s.list.body(t, l)...)
}

// clockVerbs are what :clock takes.
var clockVerbs = []string{"advance ", "set ", "freeze", "resume"}

// clockCommand does what is typed behind :clock; ok: that was one of its verbs.
func (m *Model) clockCommand(arg string) (cmd tea.Cmd, ok bool, err error) {
	word, rest, _ := strings.Cut(arg, " ")
	rest, liveness := strings.CutSuffix(strings.TrimSpace(rest), " liveness")
	var do func(context.Context, adminapi.Source) (adminapi.Clock, error)
	switch word {
	case "advance", "set":
		move := adminapi.ClockMove{Liveness: liveness}
		if word == "set" {
			if move.To, err = grammar.ParseTime(rest); err != nil {
				return nil, true, fmt.Errorf("clock set TIME, as 2030-01-01 or 2030-01-01T12:00:00Z")
			}
		} else if move.By, err = grammar.ParseDuration(rest); err != nil || move.By < 0 {
			return nil, true, fmt.Errorf("clock advance DURATION, as 90s, 24h or 7d")
		}
		do = func(ctx context.Context, src adminapi.Source) (adminapi.Clock, error) {
			return src.MoveClock(ctx, move)
		}
	case "freeze", "resume":
		do = func(ctx context.Context, src adminapi.Source) (adminapi.Clock, error) {
			return src.FreezeClock(ctx, word == "freeze")
		}
	default:
		return nil, false, nil
	}
	zone := m.opt.Zone
	return m.change(func(ctx context.Context, src adminapi.Source) (string, error) {
		c, err := do(ctx, src)
		return "it is " + kind.Look{Zone: zone}.Stamp(c.Now), err
	}), true, nil
}

// change has the broker change something, and tells of it.
func (m *Model) change(do func(context.Context, adminapi.Source) (string, error)) tea.Cmd {
	return m.feed.Ask(forTell{}, 0, func(ctx context.Context, src adminapi.Source) (any, error) { return do(ctx, src) })
}
