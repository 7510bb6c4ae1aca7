package admin

import (
	"context"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/filter"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
)

// where compiles an expression; nil: all messages are meant.
func (s *Source) where(source string) (*filter.Filter, error) {
	if source == "" {
		return nil, nil
	}
	f, err := filter.Compile(source, filter.Options{Now: s.c.Clock.Now})
	if err != nil {
		return nil, fault.New(fault.Invalid, "read where", source, "%w", err)
	}
	return f, nil
}

func meant(f *filter.Filter, m *message.Message) bool { return f == nil || f.Match(filter.Of(m)) }

// gathered is what fits in one answer.
type gathered[T any] struct {
	all   []T
	limit int
	bytes int
	more  bool
}

func gather[T any](limit int) *gathered[T] {
	if limit <= 0 {
		limit = adminapi.ListDefault
	}
	return &gathered[T]{limit: limit, bytes: adminapi.InspectBytes}
}

// room tells whether one with a value of that size fits.
func (s *gathered[T]) room(size int) bool {
	if len(s.all) == s.limit || len(s.all) > 0 && size > s.bytes {
		s.more = true
		return false
	}
	s.bytes -= size
	return true
}

// keep keeps one with a value of that size, if it and all before it fit.
func (s *gathered[T]) keep(size int, one func() T) {
	if !s.more && s.room(size) {
		s.all = append(s.all, one())
	}
}

// recordOf is a record of a topic in the form of the API.
func recordOf(ns string, at *kernel.TopicPlace, partition int32, rec *record.Record, m *message.Message) adminapi.Message {
	out := adminapi.MessageOf(ns, m, len(m.Value))
	offset := rec.Offset
	out.Partition, out.Offset = &partition, &offset
	if out.Topic == "" {
		out.Topic = message.KafkaName(at.Stream)
	}
	return out
}

// Records shows the records of a topic, by any spelling of its name.
func (s *Source) Records(ctx context.Context, q adminapi.RecordsQuery) ([]adminapi.Message, bool, error) {
	f, err := s.where(q.Where)
	if err != nil {
		return nil, false, err
	}
	ns := namespace(q.Namespace)
	at, ok := s.c.Kernel.Place(ns, q.Name)
	if !ok {
		return nil, false, fault.Of(fault.NotFound, "read topic", q.Name)
	}
	out, found := gather[adminapi.Message](q.Limit), false
	for _, p := range at.Parts {
		index := p.Info().Index
		if q.Partition != nil && *q.Partition != index {
			continue
		}
		found = true
		if _, err := at.Each(p, q.From, func(rec *record.Record, made bool) bool {
			m := at.Message(rec, made)
			if !meant(f, &m) {
				return ctx.Err() == nil // there may be much of them, and nobody who waits any more
			}
			if !out.room(len(m.Value)) {
				return false
			}
			out.all = append(out.all, recordOf(ns, &at, index, rec, &m))
			return true
		}); err != nil {
			return nil, false, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, false, fault.New(fault.Timeout, "read topic", q.Name, "%w", context.Cause(ctx))
	}
	if !found && q.Partition != nil {
		return nil, false, fault.New(fault.NotFound, "read topic", q.Name, "it has no partition %d", *q.Partition)
	}
	return out.all, out.more, nil
}

// Queued shows the messages of a queue.
func (s *Source) Queued(ctx context.Context, q adminapi.QueuedQuery) ([]adminapi.Queued, bool, error) {
	f, err := s.where(q.Where)
	if err != nil {
		return nil, false, err
	}
	out := gather[adminapi.Queued](q.Limit)
	err = s.c.Kernel.LookQueue(namespace(q.Namespace), q.Name, func(m *message.Message, at kernel.Queued) bool {
		if !meant(f, m) {
			return ctx.Err() == nil
		}
		if !out.room(len(m.Value)) {
			return false
		}
		state := adminapi.QueuedReady
		if at.Unacked {
			state = adminapi.QueuedUnacked
		}
		x := adminapi.Queued{Message: adminapi.MessageOf(namespace(q.Namespace), m, len(m.Value)), State: state, Deliveries: at.Deliveries, Since: time.UnixMilli(at.EnqueuedAt).UTC()}
		x.Message.Queue = q.Name
		if at.ExpiresAt != 0 {
			x.Message.ExpiresAt = time.UnixMilli(at.ExpiresAt).UTC()
		}
		out.all = append(out.all, x)
		return true
	})
	if err == nil && ctx.Err() != nil {
		err = fault.New(fault.Timeout, "look into queue", q.Name, "%w", context.Cause(ctx))
	}
	return out.all, out.more, err
}
