package admin

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/filter"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/route"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/recording"
)

const (
	// recordBehind bounds the bytes that wait for who records. More is left out.
	recordBehind = 32 << 20
	// recordMark is the link time between marks, and the longest that an item waits to be sent.
	recordMark = 250 * time.Millisecond
)

// Record writes what is committed from now on, until ctx ends: then what was committed before that, and the
// end. Publishers pay for a copy, and do not wait.
func (s *Source) Record(ctx context.Context, q adminapi.RecordQuery, to io.Writer) error {
	switch {
	case q.Filter != "" && !mqttwire.ValidFilter([]byte(q.Filter)):
		return fault.New(fault.Invalid, "record", "filter "+q.Filter, "it is no MQTT topic filter")
	case q.Protocol != "" && q.Protocol != message.MQTT.String() && q.Protocol != message.Kafka.String() && q.Protocol != message.AMQP.String():
		return fault.New(fault.Invalid, "record", "protocol "+q.Protocol, "it is none of mqtt, kafka, amqp")
	}
	var where *filter.Filter
	if q.Where != "" {
		var err error
		if where, err = filter.Compile(q.Where, filter.Options{Now: s.c.Clock.Now}); err != nil {
			return fault.New(fault.Invalid, "record", "", "where: %w", err)
		}
	}
	w, err := recording.NewWriter(to, recording.About{
		Release: s.c.Version, Begun: s.c.Kernel.Now().UTC(), Virtual: s.c.Hands != nil, Cluster: s.c.Cluster, Profile: s.c.Profile,
	})
	if err != nil {
		return err
	}
	ns := namespace(q.Namespace)
	in := &recordRow{more: make(chan struct{}, 1)}
	stop := s.c.Kernel.Record(kernel.Recorder{
		Meant: func(of string, from message.Protocol, address string) bool {
			return of == ns && (q.Protocol == "" || q.Protocol == from.String()) && (q.Filter == "" || route.MatchFilter(q.Filter, address))
		},
		Take: in.take,
	})
	defer stop()
	if err := flush(to); err != nil { // what comes from now on is recorded
		return err
	}
	due := make(chan struct{}, 1)
	for told, unread := uint64(0), uint64(0); ; {
		timer := s.c.Link.AfterFunc(recordMark, func() {
			select {
			case due <- struct{}{}:
			default: // one that was too late to be stopped
			}
		})
		marked, ended := false, false
		select {
		case <-in.more:
			timer.Stop()
		case <-due:
			marked = true
		case <-ctx.Done():
			timer.Stop()
			stop()
			marked, ended = true, true
		}
		at := s.c.Kernel.Now().UnixMilli()
		for _, e := range in.all() {
			if e.item == nil {
				told = e.left
				if err := w.Mark(recording.Mark{Time: at, LeftOut: told + unread}); err != nil {
					return err
				}
				continue
			}
			it := *e.item // others may record it too
			if where != nil {
				if _, err := it.Only(func(m *message.Message) bool { return where.Match(filter.Of(m)) }); err != nil {
					unread++
					continue
				}
				if it.Batch == nil {
					continue
				}
			}
			if err := w.Item(&it); err != nil {
				return err
			}
		}
		if marked {
			if err := w.Mark(recording.Mark{Time: at, LeftOut: told + unread}); err != nil {
				return err
			}
		}
		if ended {
			return w.End()
		}
		if err := flush(to); err != nil {
			return err
		}
	}
}

// flush sends what a writer holds back.
func flush(w io.Writer) error {
	if f, ok := w.(interface{ Flush() error }); ok {
		return f.Flush()
	}
	return nil
}

// recordRow is what waits for one who records.
type recordRow struct {
	more chan struct{} // capacity 1: there is something

	mu    sync.Mutex
	row   []recordEntry
	bytes int
	left  uint64
}

// recordEntry is an item, or, where that is nil, how much has been left out so far.
type recordEntry struct {
	item *recording.Item
	left uint64
}

func (r *recordRow) take(it *recording.Item) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if it != nil && r.bytes+len(it.Batch) <= recordBehind {
		r.bytes += len(it.Batch)
		r.row = append(r.row, recordEntry{item: it})
	} else {
		r.left++
		if n := len(r.row); n > 0 && r.row[n-1].item == nil {
			r.row[n-1].left = r.left
		} else {
			r.row = append(r.row, recordEntry{left: r.left})
		}
	}
	select {
	case r.more <- struct{}{}:
	default:
	}
}

func (r *recordRow) all() []recordEntry {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.row
	r.row, r.bytes = nil, 0
	return all
}
