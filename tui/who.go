package tui

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/tui/feed"
	"github.com/robustmq/rmq/tui/kind"
)

// who is the screen that tells who would get a message: it is asked anew with each letter of the topic, and
// again as sessions and bindings come and go.
type who struct {
	place place
	src   string
	query adminapi.ExplainQuestion
	said  *adminapi.Explanation // nil: nothing yet
	err   error

	width, height int
	page          pager
}

func newWho(p place, namespace string) *who {
	return &who{place: p, query: adminapi.ExplainQuestion{Namespace: namespace}}
}

// whoGets goes to that screen, to type a topic or with one.
func (m *Model) whoGets(src string) tea.Cmd {
	s := m.screens[whoAt].(*who)
	if src != "" {
		if err := s.setFilter(src, m.look()); err != nil {
			m.note = err.Error()
			return nil
		}
	}
	m.leave()
	m.at, m.help = whoAt, false
	cmd := m.enter()
	if src == "" {
		m.typing = true
		return tea.Batch(cmd, m.prompt.open(filtering, s.src))
	}
	return cmd
}

func (s *who) resize(width, height int)    { s.width, s.height = width, height }
func (s *who) failed(err error)            { s.err = err }
func (s *who) filter() string              { return s.src }
func (s *who) fields() []string            { return nil }
func (s *who) copied() (text, what string) { return s.command(), "command" }
func (s *who) command() string             { return s.headless() }
func (s *who) headless() string            { return kind.ExplainCommand(s.src) }

// parse reads what is typed in place of a filter.
func (s *who) parse(src string) error {
	_, err := kind.ExplainQuestion(src)
	return err
}

func (s *who) setFilter(src string, _ kind.Look) error {
	q, err := kind.ExplainQuestion(src)
	if err != nil {
		return err
	}
	q.Namespace = s.query.Namespace
	s.src, s.query, s.said, s.err, s.page = src, q, nil, nil, pager{}
	return nil
}

func (s *who) question() feed.Question {
	if s.query.Protocol == "" {
		return nil
	}
	q := s.query
	return func(ctx context.Context, src adminapi.Source) (any, error) { return src.Explain(ctx, q) }
}

func (s *who) answer(data any, _ time.Time) {
	if x, ok := data.(adminapi.Explanation); ok {
		s.said, s.err = &x, nil
	}
}

func (s *who) can(v verb) bool {
	switch v {
	case up, pageUp, first:
		return s.page.top > 0
	case down, pageDown, last:
		return s.page.top < len(s.lines(noTheme))-s.height
	case back, copyIt, copyCommand:
		return s.src != ""
	}
	return v == find
}

func (s *who) do(v verb, l kind.Look) (asks bool) {
	if v == back {
		return s.setFilter("", l) == nil // nothing is always right
	}
	s.page.scroll(v, len(s.lines(noTheme)), s.height)
	return false
}

func (s *who) status(kind.Look) (left, right kind.Line) {
	left = kind.Line{{Text: " who gets ", Tone: kind.Faint}, {Text: kind.Clean(s.src), Tone: kind.Strong}}
	if s.src == "" {
		left = kind.Line{{Text: " who gets a message", Tone: kind.Faint}}
	}
	if s.err != nil {
		left = append(left, kind.Cell{Text: "  " + kind.Clean(s.err.Error()), Tone: kind.Bad})
	}
	if n := len(s.lines(noTheme)); n > s.height {
		right = kind.Line{{Text: rangeOf(min(s.page.top, n-s.height), s.height, n) + " lines ", Tone: kind.Faint}}
	}
	return left, right
}

func (s *who) lines(t *theme) []string {
	if s.said == nil {
		return nil
	}
	return t.sections(kind.Explained(s.said), s.width)
}

func (s *who) body(t *theme, _ kind.Look) []string {
	if s.said != nil {
		seen, _ := s.page.view(s.lines(t), s.height)
		return seen
	}
	if s.src != "" {
		return []string{"", t.line(s.width, kind.Cell{Text: " asking the broker…", Tone: kind.Faint})}
	}
	var out []string
	for _, l := range []string{"", "/ and a topic: who would get a message that is published there now, and who", "would not, and why. Nothing is published.", "",
		"  fleet/dev1/temp", "  fleet/dev1/temp qos=0 retain as=ann client=dev1", "  kafka:orders", "  amqp:amq.topic/order.9.paid", "  amqp:queue:jobs"} {
		out = append(out, t.line(s.width, kind.Cell{Text: " " + l, Tone: kind.Faint}))
	}
	return out
}
