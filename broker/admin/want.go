package admin

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/filter"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
)

// Want waits until something is so. It is woken by the broker's changes, and looks at what is new of a
// topic alone.
func (s *Source) Want(ctx context.Context, q adminapi.Want) (adminapi.Wanted, error) {
	w := &want{s: s, q: q, ns: namespace(q.Namespace)}
	if err := w.begin(); err != nil {
		return adminapi.Wanted{}, err
	}
	changed, stop := s.c.Kernel.Changes()
	defer stop()
	timer := time.NewTimer(w.within) // in real time, also when broker time is virtual
	defer timer.Stop()
	for {
		began := time.Now()
		got, now, ok, err := w.look(ctx)
		if err != nil || ok {
			return got, err
		}
		rest := time.After(time.Since(began)) // who waits on a busy broker does not look all the time
		for woken, rested := false, false; !woken || !rested; {
			select {
			case <-changed:
				woken = true
			case <-rest:
				rested = true
			case <-timer.C:
				return got, fault.New(fault.Timeout, "want", w.kind+" "+w.name, "%s did not come true within %v: %s", w.what(), w.within, now)
			case <-ctx.Done():
				return got, w.left(ctx)
			}
		}
	}
}

// left is that nobody waits any more.
func (w *want) left(ctx context.Context) error {
	return fault.New(fault.Timeout, "want", w.kind+" "+w.name, "%w", context.Cause(ctx))
}

// want is the waiting of one call.
type want struct {
	s          *Source
	q          adminapi.Want
	ns         string
	kind, name string
	where      *filter.Filter
	within     time.Duration

	topic counted
}

func (w *want) begin() (err error) {
	if w.kind, w.name, err = w.q.Kind(); err != nil {
		return err
	}
	if w.within, err = w.q.For(); err != nil {
		return err
	}
	if w.where, err = w.s.where(w.q.Where); err != nil {
		return err
	}
	switch {
	case len(w.q.If) > 0:
	case w.kind == "retained" || w.q.Where != "":
		w.q.If = []adminapi.Condition{"messages>=1"}
	default:
		w.q.If = []adminapi.Condition{adminapi.Exists}
	}
	return nil
}

func (w *want) what() string {
	var all []string
	for _, c := range w.q.If {
		all = append(all, string(c))
	}
	text := strings.Join(all, ", ")
	if w.q.Where != "" {
		text += " of those where " + w.q.Where
	}
	return text
}

// look tells whether all conditions hold, and what the first that does not says.
func (w *want) look(ctx context.Context) (got adminapi.Wanted, now string, ok bool, err error) {
	got, thing, err := w.thing(ctx)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return got, "", false, err
	}
	for _, c := range w.q.If {
		holds, now, err := c.Holds(thing)
		if err != nil || !holds {
			return got, now, false, err
		}
	}
	return got, "", true, nil
}

// thing is what is waited for, and its fields; nil: there is none.
func (w *want) thing(ctx context.Context) (got adminapi.Wanted, fields map[string]any, err error) {
	ref := adminapi.Ref{Namespace: w.ns, Name: w.name}
	switch w.kind {
	case "topic":
		return w.ofTopic(ctx, ref)
	case "queue":
		q, err := w.s.Queue(ctx, ref)
		if err != nil {
			return got, nil, err
		}
		fields = adminapi.Fields(q)
		if w.where != nil {
			if got.Messages, err = w.queued(ctx, &fields); err != nil {
				return got, nil, err
			}
		}
		got.Queue = &q
		return got, fields, nil
	case "session":
		x, err := w.s.Session(ctx, ref)
		if err != nil {
			return got, nil, err
		}
		got.Session = &x
		return got, adminapi.Fields(x), nil
	case "group":
		g, err := w.s.Group(ctx, ref)
		if err != nil {
			return got, nil, err
		}
		got.Group = &g
		return got, adminapi.Fields(g), nil
	}
	n, some := 0, gather[adminapi.Message](adminapi.WantMessages)
	for _, m := range w.s.c.Kernel.RetainedMessages(w.ns, w.name, adminapi.ListMax) {
		if meant(w.where, &m) {
			n++
			some.keep(len(m.Value), func() adminapi.Message { return adminapi.MessageOf(w.ns, &m, len(m.Value)) })
		}
	}
	got.Messages = some.all
	return got, map[string]any{"messages": float64(n)}, nil
}

func (w *want) queued(ctx context.Context, fields *map[string]any) ([]adminapi.Message, error) {
	n, some := 0, gather[adminapi.Message](adminapi.WantMessages)
	err := w.s.c.Kernel.LookQueue(w.ns, w.name, func(m *message.Message, _ kernel.Queued) bool {
		if meant(w.where, m) {
			n++
			some.keep(len(m.Value), func() adminapi.Message { return adminapi.MessageOf(w.ns, m, len(m.Value)) })
		}
		return ctx.Err() == nil
	})
	if err == nil && ctx.Err() != nil {
		err = w.left(ctx)
	}
	(*fields)["messages"] = float64(n)
	return some.all, err
}

// ofTopic is the topic with its records counted, as Records shows them: those of a view, and of a
// compacted topic, are fewer than its offsets.
func (w *want) ofTopic(ctx context.Context, ref adminapi.Ref) (got adminapi.Wanted, fields map[string]any, err error) {
	at, ok := w.s.c.Kernel.Place(w.ns, w.name)
	if !ok {
		return got, nil, fault.Of(fault.NotFound, "get topic", w.name)
	}
	t, err := w.s.Topic(ctx, adminapi.Ref{Namespace: w.ns, Name: at.Stream, Spelling: "mqtt"})
	if err != nil {
		return got, nil, err
	}
	if err := w.topic.goOn(ctx, w, &at); err != nil {
		return got, nil, err
	}
	t.Records = w.topic.records
	fields = adminapi.Fields(t)
	fields["messages"] = float64(w.topic.meant)
	got.Topic, got.Messages = &t, w.topic.messages.all
	return got, fields, nil
}

// counted is what was seen of a topic so far.
type counted struct {
	id             string // of the places that it is of
	next, start    []int64
	records, meant int64
	messages       *gathered[adminapi.Message] // of Where
}

// goOn counts what has come since. It begins again when something has gone.
func (c *counted) goOn(ctx context.Context, w *want, at *kernel.TopicPlace) error {
	id := fmt.Sprintf("%x %s %d", at.ID, at.Leaf, len(at.Parts))
	again := c.id != id
	for i, p := range at.Parts {
		again = again || p.Info().Start != c.start[i]
	}
	if again {
		*c = counted{
			id: id, next: make([]int64, len(at.Parts)), start: make([]int64, len(at.Parts)), messages: gather[adminapi.Message](adminapi.WantMessages),
		}
	}
	for i, p := range at.Parts {
		info := p.Info()
		c.start[i] = info.Start
		next, err := at.Each(p, c.next[i], func(rec *record.Record, made bool) bool {
			c.records++
			if w.where == nil {
				return ctx.Err() == nil
			}
			if m := at.Message(rec, made); meant(w.where, &m) {
				c.meant++
				c.messages.keep(len(m.Value), func() adminapi.Message { return recordOf(w.ns, at, info.Index, rec, &m) })
			}
			return ctx.Err() == nil
		})
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return w.left(ctx)
		}
		c.next[i] = next
	}
	return nil
}
