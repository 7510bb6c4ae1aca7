package mqtt

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/route"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/record"
)

// A subscription to "$stream/FILTER" replays a stream: what it keeps of addresses that match the
// filter, from where the client says, and what comes to it from then on. It is the connection's, not
// the session's: the position is kept nowhere else. At QoS 1, PUBACKs pace it.
const (
	streamRoot   = "$stream/"
	replaysMax   = 16      // of one connection; beyond it SUBACK says 0x97
	replayWindow = 100     // messages of one under way
	replayRead   = 1 << 18 // bytes of one read

	// offsetProperty is the user property of SUBSCRIBE that says where to begin: earliest, latest, or
	// a time, in ms since 1970 or as RFC 3339 has it. Without it: latest.
	offsetProperty = "stream-offset"
)

func streamOf(filter []byte) (want string, ok bool) {
	return strings.CutPrefix(string(filter), streamRoot)
}

// replay is one such subscription.
//
// Ownership: run's goroutine, but for credit. It ends with stop, which conn.mu guards.
type replay struct {
	c       *conn
	filter  string // as subscribed
	want    string
	address string // of the stream
	ids     []uint32
	parts   []position
	no      uint64
	credit  atomic.Int64
	wake    chan struct{} // capacity 1: there is credit again
	stop    chan struct{}
}

// position is what a replay reads next of one partition.
type position struct {
	p    *kernel.Partition
	next int64
}

// newReplay prepares a replay. fault.NotFound: no stream keeps what the filter wants.
func (c *conn) newReplay(filter, want, from string, id uint32) (*replay, error) {
	prefix, _, _ := strings.Cut(want, "+")
	prefix, _, _ = strings.Cut(prefix, "#")
	if prefix != want {
		prefix = strings.TrimSuffix(prefix, "/")
	}
	st, ok := c.server.core.Home(c.server.cfg.Namespace, prefix)
	if !ok {
		return nil, fault.Of(fault.NotFound, "replay", want)
	}
	r := &replay{c: c, filter: filter, want: want, address: st.Address, wake: make(chan struct{}, 1), stop: make(chan struct{})}
	if want == st.Address {
		r.want += "/#" // all that it keeps
	}
	if id != 0 {
		r.ids = []uint32{id}
	}
	r.credit.Store(replayWindow)
	for i := range st.Partitions {
		p, err := c.server.core.Partition(st.ID, int32(i))
		if err != nil {
			return nil, err
		}
		next, err := begin(p, from)
		if err != nil {
			return nil, err
		}
		r.parts = append(r.parts, position{p, next})
	}
	return r, nil
}

// begin is the offset at which a replay begins.
func begin(p *kernel.Partition, from string) (int64, error) {
	info := p.Info()
	switch from {
	case "earliest":
		return info.Start, nil
	case "", "latest":
		return info.End, nil
	}
	ms, err := strconv.ParseInt(from, 10, 64)
	if err != nil {
		at, err := time.Parse(time.RFC3339, from)
		if err != nil {
			return 0, fault.New(fault.Invalid, "replay", from, "it is neither earliest, latest, nor a time")
		}
		ms = at.UnixMilli()
	}
	offset, _, err := p.OffsetForTime(ms)
	if err == nil && offset < 0 {
		offset = info.End
	}
	return offset, err
}

// offsetOf is the user property that says where to begin; "": there is none.
func offsetOf(ps mqttwire.Properties) string {
	for p, rest, ok := ps.Next(); ok; p, rest, ok = rest.Next() {
		if p.ID == mqttwire.UserProperty && string(p.Key) == offsetProperty {
			return string(p.Value)
		}
	}
	return ""
}

// startReplay begins a replay, in place of one of that filter. false: there are too many.
func (c *conn) startReplay(r *replay) bool {
	c.stopReplay(r.filter)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	f := c.flowLocked()
	if len(f.replays) >= replaysMax {
		return false
	}
	f.replays = append(f.replays, r)
	f.leaving.Go(r.run)
	return true
}

// stopReplay ends the replay of a filter, and tells whether there was one.
func (c *conn) stopReplay(filter string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.flow
	if f == nil {
		return false
	}
	i := slices.IndexFunc(f.replays, func(r *replay) bool { return r.filter == filter })
	if i < 0 {
		return false
	}
	close(f.replays[i].stop)
	f.replays = slices.Delete(f.replays, i, i+1)
	return true
}

// stopReplays ends all of them. Caller holds conn.mu.
func (f *flow) stopReplays() {
	for _, r := range f.replays {
		close(r.stop)
	}
	f.replays = nil
}

// Settle implements settler: the client has acknowledged one, and may be sent another. A log has
// nothing to reject.
func (r *replay) Settle(uint64, bool, kernel.Outcome) {
	r.credit.Add(1)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

var errNoCredit = errors.New("the client is to acknowledge first")

// run reads and sends until the replay is stopped, or its stream is gone.
func (r *replay) run() {
	for {
		more := false
		for i := range r.parts {
			moved, err := r.advance(&r.parts[i])
			if err != nil {
				r.c.server.cfg.Log.Debug("mqtt: replay ended", "client", r.c.clientID, "filter", r.filter, "err", err)
				return
			}
			more = more || moved
		}
		w := kernel.NewWaiter()
		if more && r.credit.Load() > 0 {
			w.C <- struct{}{}
		} else if r.credit.Load() > 0 {
			for i := range r.parts {
				r.parts[i].p.Watch(r.parts[i].next, w)
			}
		}
		select {
		case <-r.stop:
			w.Close()
			return
		case <-r.wake:
		case <-w.C:
		}
		w.Close()
	}
}

// advance sends what one read of a partition gives, as far as there is credit, and tells whether
// there was anything to read.
func (r *replay) advance(at *position) (moved bool, err error) {
	if r.credit.Load() <= 0 {
		return false, nil
	}
	res, err := at.p.Read(at.next, replayRead, "", true)
	if fault.Is(err, fault.OutOfRange) { // it was trimmed meanwhile
		next := min(max(at.next, res.LogStart), res.HighWater)
		moved, at.next = next != at.next, next
		return moved, nil
	}
	if err != nil {
		return false, err
	}
	for _, raw := range res.Batches {
		for len(raw) > 0 {
			b, rest, err := record.Next(raw)
			if err != nil {
				return false, err
			}
			raw = rest
			if b.NextOffset() <= at.next {
				continue
			}
			if !b.Control() {
				if err := r.send(b, at); errors.Is(err, errNoCredit) {
					return true, nil
				} else if err != nil {
					return false, err
				}
			}
			at.next, moved = b.NextOffset(), true
		}
	}
	if !moved && at.next < res.HighWater { // only gaps are left
		at.next, moved = res.HighWater, true
	}
	return moved, nil
}

// send sends the records of a batch from a position on that the client wants and may read.
func (r *replay) send(b record.Batch, at *position) error {
	c := r.c
	return b.Each(func(rec *record.Record) error {
		if rec.Offset < at.next {
			return nil
		}
		m := message.FromRecord(rec.Key, rec.Value, slices.Clone(rec.Headers), rec.Time, r.address, b.Made())
		if !route.MatchFilter(r.want, m.Address) || !c.may(acl.Read, m.Address) {
			at.next = rec.Offset + 1
			return nil
		}
		if r.credit.Load() <= 0 {
			return errNoCredit
		}
		r.credit.Add(-1)
		at.next = rec.Offset + 1
		r.no++
		m.ExpiresAt = 0 // a log is history
		c.deliver(&kernel.Delivery{Msg: &m, No: r.no, QoS: 1, Shared: true, SubIDs: r.ids}, r)
		return nil
	})
}
