package sim

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
)

// model is what the broker has promised. All clients write to it, under mu.
type model struct {
	mu   sync.Mutex
	tick uint64 // orders calls and answers

	streams  map[string]*streamModel
	queues   map[string]*queueModel // sessions too, by "session:" and their name
	sessions map[string]uint64      // tick from which a session's subscription holds; 0: not yet
	retained map[string]*retainedModel
	latest   map[string]*retainedModel // by key of the compacted stream
	ring     ringModel
	offsets  map[offsetKey]*offsetModel
	history  map[string][]string // of each message in a queue
	ends     []end               // since a kernel was last open
	broken   error               // what a client saw that it should not have
	lost     int                 // acknowledged, and not found
	taken    int                 // acknowledged in async, and not promised any more after a power loss
}

// sent is one message that a client has sent, once or again.
type sent struct {
	id       string
	producer string
	seq      int
	acked    bool
	called   uint64 // tick of the call
	answered uint64 // tick of the answer, and broker time of it in ms, once acked
	at       int64
}

// streamModel is one stream.
type streamModel struct {
	durability kernel.Durability
	cut        bool // by power losses since it was last checked: it may end earlier
	sent       map[string]*sent
	seen       map[int32][]string // by partition: what a read has returned, from offset 0
	epochs     map[int32]int32    // by partition: the last life's leader epoch
}

// queueModel is one queue.
type queueModel struct {
	durability kernel.Durability
	sent       map[string]*sent
	settled    map[string]uint64 // tick at which the settlement was handed over; perhaps: it may be lost
	sure       uint64            // settlements handed over before this tick are durable
}

const perhaps = ^uint64(0)

// retainedModel is one retained address.
type retainedModel struct {
	sent  []*sent // in order; one client owns the address
	acked int     // sent[:acked] are superseded by an acknowledged one, or are it
}

func newModel() *model {
	m := &model{streams: make(map[string]*streamModel), queues: make(map[string]*queueModel), retained: make(map[string]*retainedModel),
		latest:  make(map[string]*retainedModel),
		offsets: make(map[offsetKey]*offsetModel), sessions: make(map[string]uint64), history: make(map[string][]string)}
	for i := range sessions {
		m.sessions[fmt.Sprintf("s%d", i)] = 0
	}
	return m
}

func (m *model) breach(format string, args ...any) {
	if m.broken == nil {
		m.broken = fmt.Errorf(format, args...)
	}
}

func (m *model) stream(name string) *streamModel {
	st := m.streams[name]
	if st == nil {
		st = &streamModel{durability: durabilityOf(name), sent: make(map[string]*sent), seen: make(map[int32][]string), epochs: make(map[int32]int32)}
		m.streams[name] = st
	}
	return st
}

func (m *model) queue(name string) *queueModel {
	q := m.queues[name]
	if q == nil {
		q = &queueModel{durability: durabilityOf(name), sent: make(map[string]*sent), settled: make(map[string]uint64)}
		m.queues[name] = q
	}
	return q
}

// ended draws the consequences of the end of a life.
func (m *model) ended(how end) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, q := range m.queues {
		for id, at := range q.settled {
			if at >= q.sure {
				q.settled[id] = perhaps
			}
		}
	}
	m.ends = append(m.ends, how)
	m.lessEnded(how)
}

// check holds what a kernel has against what was promised, at the beginning of a life.
func (m *model) check(n *node) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range sortedKeys(m.streams) {
		if err := m.checkStream(n, name, m.streams[name]); err != nil {
			return fmt.Errorf("stream %s: %w", name, err)
		}
	}
	for _, name := range everyQueue() {
		if m.queues[name] == nil {
			continue
		}
		if err := m.queues[name].check(n, name); err != nil {
			return fmt.Errorf("queue %s: %w", name, err)
		}
	}
	if err := m.checkLatest(n); err != nil {
		return fmt.Errorf("stream %s: %w", latest, err)
	}
	if err := m.ring.check(n); err != nil {
		return fmt.Errorf("stream %s: %w", ring, err)
	}
	if err := m.checkOffsets(n); err != nil {
		return err
	}
	return m.checkRetained(n)
}

// read returns the values of a stream's partitions, each from offset 0.
func read(n *node, name string) (map[int32][]string, bool, error) {
	info, ok := n.Stream("/", name)
	if !ok {
		return nil, false, nil
	}
	all := make(map[int32][]string)
	for i := range int32(len(info.Parts)) {
		p, err := n.Partition(info.ID, i)
		if err != nil {
			return nil, true, err
		}
		all[i] = nil
		state := p.Info()
		if state.Start != 0 {
			return nil, true, fmt.Errorf("partition %d begins at %d", i, state.Start)
		}
		for off := int64(0); off < state.End; {
			r, err := p.Read(off, 1<<20, "", true)
			if err != nil {
				return nil, true, fmt.Errorf("partition %d at %d: %w", i, off, err)
			}
			if r.Next <= off {
				return nil, true, fmt.Errorf("partition %d: nothing at %d of %d", i, off, state.End)
			}
			for _, raw := range r.Batches {
				for len(raw) > 0 {
					b, rest, err := record.Check(raw, 1<<20)
					if err != nil {
						return nil, true, fmt.Errorf("partition %d at %d: %w", i, off, err)
					}
					raw = rest
					err = b.Each(func(rec *record.Record) error {
						if rec.Offset != int64(len(all[i])) {
							return fmt.Errorf("partition %d: record %d where %d is due", i, rec.Offset, len(all[i]))
						}
						all[i] = append(all[i], idOf(rec.Value))
						return nil
					})
					if err != nil {
						return nil, true, err
					}
				}
			}
			off = r.Next
		}
	}
	return all, true, nil
}

func (m *model) checkStream(n *node, name string, st *streamModel) error {
	all, ok, err := read(n, name)
	if err != nil {
		return err
	}
	if !ok {
		return m.checkLost(st, nil)
	}
	have := make(map[string]bool)
	for p, values := range all {
		last := make(map[string]int)
		for off, v := range values {
			s := st.sent[v]
			switch {
			case s == nil:
				return fmt.Errorf("partition %d has %q at %d, which nobody sent", p, v, off)
			case have[v]:
				return fmt.Errorf("partition %d has %q at %d again", p, v, off)
			case s.seq <= last[s.producer]:
				return fmt.Errorf("partition %d has %q at %d after %d of the same producer", p, v, off, last[s.producer])
			}
			have[v] = true
			last[s.producer] = s.seq
		}
		before := st.seen[p]
		if st.cut {
			before = before[:min(len(before), len(values))]
		}
		if len(before) > len(values) || !slices.Equal(before, values[:len(before)]) {
			return fmt.Errorf("partition %d was %v and is %v", p, before, values)
		}
		st.seen[p] = values
	}
	if st.cut && len(all) == 1 {
		if err := st.checkHoles(have); err != nil {
			return err
		}
	}
	st.cut = false
	return m.checkLost(st, have)
}

// checkLost counts what was acknowledged and is not there.
func (m *model) checkLost(st *streamModel, have map[string]bool) (err error) {
	for _, id := range sortedKeys(st.sent) {
		if st.sent[id].acked && !have[id] {
			m.lost++
			err = fmt.Errorf("%s was acknowledged at %s and is gone, one of %d", id, time.UnixMilli(st.sent[id].at).UTC().Format(time.TimeOnly+".000"), m.lost)
		}
	}
	return err
}

// check compares counts; drain looks at the messages.
func (q *queueModel) check(n *node, name string) error {
	info, err := n.Queue("/", name, 0)
	if err != nil {
		return err
	}
	least := 0 // acknowledged, and never settled
	most := 0  // ever sent, and not surely settled
	for id, s := range q.sent {
		at, settled := q.settled[id]
		if s.acked && !settled {
			least++
		}
		if !settled || at >= q.sure {
			most++
		}
	}
	if held := int(info.Ready + info.Unacked); held < least || held > most {
		return fmt.Errorf("holds %d messages; between %d and %d are due", held, least, most)
	}
	return nil
}

func (m *model) checkRetained(n *node) error {
	have := make(map[string]string)
	for _, msg := range n.RetainedMessages("/", "state/#", 1000) {
		have[msg.Address] = string(msg.Value)
	}
	for _, address := range sortedKeys(m.retained) {
		r := m.retained[address]
		got, ok := have[address]
		at := slices.IndexFunc(r.sent, func(s *sent) bool { return s.id == got })
		switch {
		case !ok && r.acked > 0:
			return fmt.Errorf("retained %s is gone; it was %s", address, r.sent[r.acked-1].id)
		case ok && at < 0:
			return fmt.Errorf("retained %s is %q, which nobody sent", address, got)
		case ok && at+1 < r.acked:
			return fmt.Errorf("retained %s is %s; %s was acknowledged later", address, got, r.sent[r.acked-1].id)
		}
		delete(have, address)
	}
	for address, v := range have {
		return fmt.Errorf("retained %s is %q, which nobody sent", address, v)
	}
	return nil
}

// drain takes everything out of the queues and sessions, at the very end.
func (m *model) drain(ctx context.Context, n *node) error {
	for _, name := range everyQueue() {
		info, err := n.Queue("/", name, 0)
		if err != nil {
			return err
		}
		in := kerneltest.NewInbox()
		a, err := n.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: name, Credit: kernel.Unlimited, Sink: in})
		if err != nil {
			return err
		}
		got := 0
		err = m.queues[name].drain(0, func() (kerneltest.Arrived, bool, error) {
			if got == int(info.Ready) {
				return kerneltest.Arrived{}, false, nil
			}
			got++
			d, err := in.Next(ctx)
			return d, true, err
		})
		if err != nil {
			return fmt.Errorf("queue %s, %d of %d delivered: %w", name, got, info.Ready, err)
		}
		if err := a.Detach(ctx, false); err != nil {
			return err
		}
	}
	for _, name := range sortedKeys(m.sessions) {
		if m.sessions[name] == 0 {
			continue // no life was long enough
		}
		in := kerneltest.NewInbox()
		s, present, err := n.OpenSession(ctx, sessionSpec(name, in))
		if err != nil {
			return err
		}
		if !present {
			return fmt.Errorf("session %s is gone", name)
		}
		s.Start()
		// The last message is one that is sent now: nothing comes after it.
		last := &sent{id: "last", producer: "last", seq: 1, acked: true}
		q := m.queues["session:"+name]
		q.sent["last"] = last
		n.Publish(&kernel.Publish{Namespace: "/", Msg: message.Message{Source: message.MQTT, Address: "plant/last", Value: []byte("last"), QoS: 1}})
		ended := false
		err = q.drain(m.sessions[name], func() (kerneltest.Arrived, bool, error) {
			if ended {
				return kerneltest.Arrived{}, false, nil
			}
			d, err := in.Next(ctx)
			ended = d.ID == "last"
			if d.Packet != 0 {
				s.Ack(d.Packet, true)
			}
			return d, true, err
		})
		if err != nil {
			return fmt.Errorf("session %s: %w", name, err)
		}
		delete(q.sent, "last")
		s.Close(false, nil)
	}
	return nil
}

// drain checks deliveries until there are no more. What was sent by the tick since may have
// come before the subscription.
func (q *queueModel) drain(since uint64, next func() (kerneltest.Arrived, bool, error)) error {
	got := make(map[string]bool)
	last := make(map[string]int)
	for {
		d, more, err := next()
		if err != nil {
			return err
		}
		if !more {
			break
		}
		s := q.sent[d.ID]
		switch at, settled := q.settled[d.ID]; {
		case s == nil:
			return fmt.Errorf("delivers %q, which nobody sent", d.ID)
		case got[d.ID]:
			return fmt.Errorf("delivers %s twice", d.ID)
		case settled && at < q.sure:
			return fmt.Errorf("delivers %s, which was settled", d.ID)
		case s.called <= since: // may be routed here only when it is sent again, after others
		case s.seq <= last[s.producer]:
			return fmt.Errorf("delivers %s after %d of the same producer", d.ID, last[s.producer])
		}
		got[d.ID] = true
		last[s.producer] = max(last[s.producer], s.seq)
	}
	for _, id := range sortedKeys(q.sent) {
		if _, settled := q.settled[id]; q.sent[id].acked && !settled && !got[id] {
			return fmt.Errorf("%s was acknowledged and is gone", id)
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, cmp.Compare[string])
	return keys
}

// idOf is the identity of a message from its value: what fills it up is left out.
func idOf(value []byte) string {
	id, _, _ := strings.Cut(string(value), " ")
	return id
}
