package testkit

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/message"
)

// timeline remembers the newest events of a broker, to be printed when a test fails. It is
// written by publishers and by the broker's log.
type timeline struct {
	start time.Time

	opened atomic.Bool // before, only what is wrong is of interest

	mu      sync.Mutex
	events  []event // a ring of eventsMax
	next    int     // where the next one goes once the ring is full
	dropped int     // overwritten
}

type event struct {
	at   time.Duration
	what string // as adminapi.Happened has it
	text string
	msg  *adminapi.Message // nil: it is none
}

const (
	eventsMax = 100     // events that are remembered
	showMax   = 60      // bytes of a value or key that are shown
	keptMax   = 4 << 10 // bytes of a value that are kept
)

func (l *timeline) add(what, format string, args ...any) {
	l.put(event{time.Since(l.start), what, fmt.Sprintf(format, args...), nil})
}

func (l *timeline) put(e event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.events) < eventsMax {
		l.events = append(l.events, e)
		return
	}
	l.events[l.next] = e
	l.next = (l.next + 1) % eventsMax
	l.dropped++
}

// published is the kernel's tap.
func (l *timeline) published(ns string, m *message.Message) {
	var s strings.Builder
	fmt.Fprintf(&s, "publish %s", m.Address)
	if ns != defaultNamespace {
		fmt.Fprintf(&s, " in %s", ns)
	}
	if m.Key != nil {
		fmt.Fprintf(&s, " key %s", show(m.Key))
	}
	fmt.Fprintf(&s, " %s qos %d", show(m.Value), m.QoS)
	if m.Retain {
		s.WriteString(" retain")
	}
	kept := adminapi.MessageOf(ns, m, keptMax)
	l.put(event{time.Since(l.start), m.Source.String(), s.String(), &kept})
}

// show prints bytes for a person.
func show(b []byte) string {
	if b == nil {
		return "null"
	}
	cut := b[:min(len(b), showMax)]
	for len(cut) > 0 && len(cut) < len(b) && !utf8.RuneStart(b[len(cut)]) {
		cut = cut[:len(cut)-1]
	}
	text := fmt.Sprintf("%q", cut)
	if len(cut) < len(b) {
		text += fmt.Sprintf("… (%d bytes)", len(b))
	}
	return text
}

// print writes the events, oldest first.
func (l *timeline) tell(s *strings.Builder) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dropped > 0 {
		fmt.Fprintf(s, "  … %d earlier events are forgotten\n", l.dropped)
	}
	for i := range l.events {
		e := &l.events[(l.next+i)%len(l.events)]
		fmt.Fprintf(s, "  %10.6fs  %-5s  %s\n", e.at.Seconds(), e.what, e.text)
	}
	if len(l.events) == 0 {
		s.WriteString("  nothing\n")
	}
}

// lines writes the events as the note of a bundle has them.
func (l *timeline) lines() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []byte
	for i := range l.events {
		e := &l.events[(l.next+i)%len(l.events)]
		line, err := json.Marshal(adminapi.Happened{After: e.at, What: e.what, Text: e.text, Message: e.msg})
		if err != nil {
			panic(fmt.Sprintf("testkit: an event cannot be written: %v", err))
		}
		out = append(append(out, line...), '\n')
	}
	return out
}

// of returns the events of one kind, one a line.
func (l *timeline) of(what string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var s strings.Builder
	for i := range l.events {
		if e := &l.events[(l.next+i)%len(l.events)]; e.what == what {
			fmt.Fprintf(&s, "%10.6fs  %s\n", e.at.Seconds(), e.text)
		}
	}
	return s.String()
}

// logger returns a logger whose lines become events.
func (l *timeline) logger() *slog.Logger { return slog.New(logHandler{l: l}) }

// logHandler turns log records into events.
type logHandler struct {
	l     *timeline
	attrs string
}

func (h logHandler) Enabled(_ context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn || h.l.opened.Load()
}

func (h logHandler) Handle(_ context.Context, r slog.Record) error {
	var s strings.Builder
	s.WriteString(r.Message)
	s.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		s.WriteString(" " + a.String())
		return true
	})
	h.l.add("log", "%s %s", strings.ToLower(r.Level.String()), s.String())
	return nil
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		h.attrs += " " + a.String()
	}
	return h
}

func (h logHandler) WithGroup(string) slog.Handler { return h }

// story is what the broker saw and what it holds now.
func (b *Broker) story() string {
	var s strings.Builder
	s.WriteString("what happened:\n")
	b.events.tell(&s)
	b.faultsStory(&s)
	s.WriteString("what there is now:\n")
	before := s.Len()
	k := b.Kernel()
	for _, st := range k.Streams(defaultNamespace) {
		n := int64(0)
		for _, p := range st.Parts {
			n += p.End - p.Start
		}
		fmt.Fprintf(&s, "  topic    %s: %d records in %d partitions\n", st.Address, n, len(st.Parts))
	}
	for _, q := range k.Queues(defaultNamespace) {
		fmt.Fprintf(&s, "  queue    %s: %d ready, %d unacked, %d consumers\n", q.Name, q.Ready, q.Unacked, q.Consumers)
	}
	for _, i := range k.Sessions(defaultNamespace) {
		state := "away"
		if i.Connected {
			state = "connected"
		}
		fmt.Fprintf(&s, "  session  %s: %s, %d inflight, %d in backlog, subscribed to", i.ClientID, state, i.Inflight, i.Backlog)
		for _, sub := range i.Subscriptions {
			fmt.Fprintf(&s, " %s", sub.Filter)
		}
		if len(i.Subscriptions) == 0 {
			s.WriteString(" nothing")
		}
		s.WriteByte('\n')
	}
	for _, g := range b.groups() {
		fmt.Fprintf(&s, "  group    %s: %s, %d members, lag %d\n", g.ID, g.State, len(g.Members), g.Lag)
	}
	if n := k.Counts().Retained; n > 0 {
		fmt.Fprintf(&s, "  retained %d\n", n)
	}
	if s.Len() == before {
		s.WriteString("  nothing\n")
	}
	return s.String()
}
