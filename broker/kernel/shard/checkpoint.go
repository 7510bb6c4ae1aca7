package shard

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/tidwall/btree"

	"github.com/robustmq/rmq/broker/kernel/codec"
	"github.com/robustmq/rmq/broker/kernel/queue"
)

// A checkpoint is a set of keys and values, written key by key as they change:
//
//	c                      clock: time of the newest entry, deadline of retained messages, links
//	d <number>             one delayed message
//	g <group> h            a group's deadline
//	g <group> o <key>      what the group's own machine saves
//	l <log> h              a log: where it starts and ends, and what it is of
//	l <log> i <producer>   one idempotent producer's window
//	l <log> p <page>       which batches of a range of offsets something refers to
//	o <session, id>        one QoS 2 publish that was stored
//	q <queue> h            when a queue expires unused, and its deadline
//	q <queue> p <key>      what the queue's own machine saves
//	r <key>                one retained message
//	s <session> h          whether a session takes deliveries, and its deadline
//	s <session> o <key>    what the session's own machine saves
//	s <session> p <key>    what its backlog's saves
//	w <log> <offset>       not the machine's: a batch that the log's segment lacks
//	x <number> h           deadline of what is left of a queue that is gone
//	x <number> p <key>     what its own machine saves
//
// Numbers in keys are 8 bytes, big-endian; session and group keys are length-prefixed (two
// bytes) so that no key is a prefix of another's. Equal states have equal full checkpoints.

// Carried begins the keys of batches that a checkpoint carries beside the machine.
const Carried = 'w'

// dirty is what changed since the last checkpoint.
type dirty struct {
	off bool // there are no checkpoints: nothing is noted

	logs, queues     changed[uint64]
	delays           changed[uint64]
	sessions, groups changed[string]
	onces            changed[string]
	graves           changed[uint64]
	gone             changed[string] // checkpoint keys of what was removed
	burials          []burial        // the same, of queues
}

// changed are the keys of what changed.
type changed[K cmp.Ordered] struct {
	btree.Set[K]
	off bool
}

func (c *changed[K]) Insert(key K) {
	if !c.off {
		c.Set.Insert(key)
	}
}

func newDirty(off bool) dirty {
	ids, names := changed[uint64]{off: off}, changed[string]{off: off}
	return dirty{off: off, logs: ids, queues: ids, delays: ids, sessions: names, groups: names, onces: names, graves: ids, gone: names}
}

// Delta is what a checkpoint of a fork has to write.
type Delta struct {
	d     dirty
	since uint64 // generation of the checkpoint before
	full  bool
	keys  []string // of retained messages
}

// Full tells whether the checkpoint replaces the one before.
func (d *Delta) Full() bool { return d.full }

// Fork returns an independent copy of the machine, in constant time, as of now, and what
// has changed since the last Fork. What either side changes from then on is its own.
func (m *Machine) Fork(full bool) (*Machine, Delta) {
	delta := Delta{d: m.dirty, since: m.saved, full: full, keys: m.retained.Changes()}
	if full {
		delta.keys = nil
	}
	m.dirty = newDirty(m.dirty.off)
	c := &Machine{
		now: m.now, gen: m.gen + 1, saved: m.saved,
		links: *m.links.Copy(), logs: *m.logs.Copy(), queues: *m.queues.Copy(), sessions: *m.sessions.Copy(), groups: *m.groups.Copy(),
		onces: *m.onces.Copy(), onceOrder: *m.onceOrder.Copy(), onceNext: m.onceNext,
		delays: *m.delays.Copy(), delayNext: m.delayNext, graves: *m.graves.Copy(),
		retained: m.retained, retainedGen: m.retainedGen, retainedAt: m.retainedAt,
	}
	c.due = *m.due.Copy()
	m.saved = m.gen
	m.gen++
	return c, delta
}

// Encode yields the pairs of a checkpoint; a nil value says that the key is gone.
func (m *Machine) Encode(delta Delta) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		put := func(k, v []byte) bool { return yield(k, v) }
		if !put([]byte("c"), m.encodeClock()) {
			return
		}
		if delta.full {
			m.encodeAll(put)
			return
		}
		// First what is gone: a session of the same name may have come since.
		ok := true
		delta.d.gone.Scan(func(key string) bool {
			ok = put([]byte(key), nil)
			return ok
		})
		for i := range delta.d.burials {
			ok = ok && delta.d.burials[i].keys(put)
		}
		if !ok {
			return
		}
		m.encodeChanges(delta, put)
	}
}

func (m *Machine) encodeClock() []byte {
	d := codec.Int(nil, m.now)
	d = codec.Int(d, m.retainedAt)
	d = codec.Uint(codec.Uint(d, m.onceNext), m.delayNext)
	d = codec.Uint(d, uint64(m.links.Len()))
	m.links.Scan(func(id uint32, l link) bool {
		d = codec.Uint(codec.Uint(codec.Uint(d, uint64(id)), l.incarnation), l.seq)
		return true
	})
	return d
}

func (m *Machine) encodeAll(put func(k, v []byte) bool) {
	ok := true
	m.delays.Scan(func(id uint64, d delayed) bool {
		ok = put(codec.Key([]byte("d"), id), d.encode())
		return ok
	})
	m.groups.Scan(func(key string, g *Group) bool {
		ok = ok && m.encodeGroup(key, g, true, 0, put)
		return ok
	})
	m.logs.Scan(func(_ uint64, l *Log) bool {
		ok = ok && l.save(true, put)
		return ok
	})
	m.onces.Scan(func(key string, s stored) bool {
		ok = ok && put([]byte("o"+key), s.encode())
		return ok
	})
	m.queues.Scan(func(id uint64, q *Queue) bool {
		ok = ok && encodeQueue(codec.Key([]byte("q"), id), q, true, 0, put)
		return ok
	})
	if ok {
		for k, v := range m.retained.Encode(nil) {
			if ok = put(append([]byte("r"), k...), v); !ok {
				return
			}
		}
	}
	m.sessions.Scan(func(key string, s *Session) bool {
		ok = ok && m.encodeSession(key, s, true, 0, put)
		return ok
	})
	m.graves.Scan(func(id uint64, g *grave) bool {
		ok = ok && encodeGrave(id, g, true, 0, put)
		return ok
	})
}

func (m *Machine) encodeChanges(delta Delta, put func(k, v []byte) bool) {
	ok := true
	delta.d.delays.Scan(func(id uint64) bool {
		var v []byte
		if d, there := m.delays.Get(id); there {
			v = d.encode()
		}
		ok = put(codec.Key([]byte("d"), id), v)
		return ok
	})
	delta.d.groups.Scan(func(key string) bool {
		g, _ := m.groups.Get(key)
		ok = ok && m.encodeGroup(key, g, false, delta.since, put)
		return ok
	})
	delta.d.logs.Scan(func(id uint64) bool {
		if l, there := m.logs.Get(id); there { // or it is buried
			ok = ok && l.save(false, put)
		}
		return ok
	})
	delta.d.onces.Scan(func(key string) bool {
		var v []byte
		if s, there := m.onces.Get(key); there {
			v = s.encode()
		}
		ok = ok && put([]byte("o"+key), v)
		return ok
	})
	delta.d.queues.Scan(func(id uint64) bool {
		q, _ := m.queues.Get(id)
		ok = ok && encodeQueue(codec.Key([]byte("q"), id), q, false, delta.since, put)
		return ok
	})
	if ok {
		for k, v := range m.retained.Encode(delta.keys) {
			if ok = put(append([]byte("r"), k...), v); !ok {
				return
			}
		}
	}
	delta.d.sessions.Scan(func(key string) bool {
		s, _ := m.sessions.Get(key)
		ok = ok && m.encodeSession(key, s, false, delta.since, put)
		return ok
	})
	delta.d.graves.Scan(func(id uint64) bool {
		g, _ := m.graves.Get(id)
		ok = ok && encodeGrave(id, g, false, delta.since, put)
		return ok
	})
}

// encodeQueue writes a queue under a prefix; nil: it is gone.
func encodeQueue(prefix []byte, q *Queue, full bool, since uint64, put func(k, v []byte) bool) bool {
	at := func(kind byte) []byte { return append(append([]byte(nil), prefix...), kind) }
	if q == nil {
		return true // buried
	}
	if !put(at('h'), codec.Int(codec.Int(nil, q.Expires), q.due)) {
		return false
	}
	ok := true
	q.Save(full, since, func(key, value []byte) {
		if value != nil {
			value = append([]byte{}, value...)
		}
		ok = ok && put(append(at('p'), key...), value)
	})
	return ok
}

// bury notes the checkpoint keys of something that is removed: those that it has now and
// those that it had at the last checkpoint.
func (m *Machine) bury(encode func(full bool, put func(k, v []byte) bool) bool) {
	if m.dirty.off {
		return
	}
	note := func(k, _ []byte) bool {
		m.dirty.gone.Insert(string(k))
		return true
	}
	encode(true, note)
	encode(false, note)
}

// named is the key of a session or group, with its length before it.
func named(kind byte, name string) []byte {
	b := append([]byte{kind}, 0, 0)
	binary.BigEndian.PutUint16(b[1:], uint16(len(name)))
	return append(b, name...)
}

// unnamed takes a session's or group's key apart.
func unnamed(k []byte) (name string, rest []byte, err error) {
	if len(k) < 3 {
		return "", nil, codec.ErrShort
	}
	n := int(binary.BigEndian.Uint16(k[1:]))
	if len(k) < 3+n {
		return "", nil, codec.ErrShort
	}
	return string(k[3 : 3+n]), k[3+n:], nil
}

// Restore reads a checkpoint into a new machine. Pairs come in the order of their keys.
func (m *Machine) Restore(pairs iter.Seq2[[]byte, []byte]) error {
	m.gen, m.saved = 1, 0 // what is loaded carries stamp 0: unchanged since this checkpoint
	var part parts
	for k, v := range pairs {
		if err := m.restore(k, v, &part); err != nil {
			return fmt.Errorf("checkpoint key %x: %w", k, err)
		}
	}
	return m.finish(&part)
}

// parts gathers the pairs of one queue, session or group, which follow one another.
type parts struct {
	kind    byte
	name    string
	head    []byte
	own     [][2][]byte // session's or group's own pairs
	backlog [][2][]byte // queue's
}

func (p *parts) pairs(list [][2][]byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		for _, kv := range list {
			if !yield(kv[0], kv[1]) {
				return
			}
		}
	}
}

func (m *Machine) restore(k, v []byte, p *parts) error {
	if len(k) == 0 {
		return codec.ErrShort
	}
	kind, name, rest := k[0], "", k[1:]
	switch kind {
	case Carried:
		return nil
	case 'q', 'x':
		if len(k) < 10 {
			return codec.ErrShort
		}
		name, rest = string(k[1:9]), k[9:]
	case 's', 'g':
		var err error
		if name, rest, err = unnamed(k); err != nil || len(rest) == 0 {
			return codec.ErrShort
		}
	}
	if kind != p.kind || name != p.name {
		if err := m.finish(p); err != nil {
			return err
		}
		*p = parts{kind: kind, name: name}
	}
	v = append([]byte{}, v...)
	switch kind {
	case 'c':
		return m.restoreClock(v)
	case 'l':
		return m.restoreLog(rest, v)
	case 'd':
		return m.restoreDelay(rest, v)
	case 'o':
		return m.restoreOnce(string(rest), v)
	case 'r':
		return m.retained.Restore(rest, v)
	case 'q', 's', 'g', 'x':
		key := append([]byte{}, rest[1:]...)
		switch rest[0] {
		case 'h':
			p.head = v
		case 'o':
			p.own = append(p.own, [2][]byte{key, v})
		case 'p':
			p.backlog = append(p.backlog, [2][]byte{key, v})
		default:
			return codec.ErrShort
		}
		return nil
	}
	return fmt.Errorf("unknown kind %q", kind)
}

func (m *Machine) restoreClock(v []byte) error {
	r := codec.NewReader(v)
	m.now = r.Int()
	at := r.Int()
	m.onceNext, m.delayNext = r.Uint(), r.Uint()
	for range r.Count() {
		id := r.Uint32()
		m.links.Set(id, link{r.Uint(), r.Uint()})
	}
	if m.retainedAt = at; at > 0 {
		m.due.Insert(deadlineOf(at, dueRetained, ""))
	}
	return r.Done()
}

// finish builds the queue, session or group whose pairs are complete.
func (m *Machine) finish(p *parts) error {
	switch p.kind {
	case 'q':
		q, err := queue.Load(m.saved, p.pairs(p.backlog))
		if err != nil {
			return err
		}
		r := codec.NewReader(p.head)
		id := binary.BigEndian.Uint64([]byte(p.name))
		mq := &Queue{Queue: q, ID: id, Expires: r.Int(), gen: m.gen}
		if err := m.restoreDue(&mq.due, &r, dueQueue, queueKey(id)); err != nil {
			return err
		}
		m.queues.Set(id, mq)
	case 's':
		return m.finishSession(p)
	case 'g':
		return m.finishGroup(p)
	case 'x':
		return m.finishGrave(p)
	}
	return nil
}

// Logs yields the logs in the order of their ids.
func (m *Machine) Logs() iter.Seq[*Log] {
	return func(yield func(*Log) bool) {
		m.logs.Scan(func(_ uint64, l *Log) bool { return yield(l) })
	}
}

// Bodies is the shard's own log.
func (m *Machine) Bodies() *Log {
	l, _ := m.logs.Get(Bodies)
	return l
}

// Keep is the lowest offset of a log that must stay on the device.
func (m *Machine) Keep(log uint64) int64 {
	if l, ok := m.logs.Get(log); ok {
		return l.Keep()
	}
	return 0
}

// Referred is how many batches of a log something refers to.
func (m *Machine) Referred(log uint64) int {
	if l, ok := m.logs.Get(log); ok {
		return l.Referred()
	}
	return 0
}

// QueueStats tells how a queue stands.
func (m *Machine) QueueStats(id uint64) (queue.Stats, bool) {
	q, ok := m.queues.Get(id)
	if !ok {
		return queue.Stats{}, false
	}
	return q.Stats(), true
}

// QueueIDs lists the queues.
func (m *Machine) QueueIDs() []uint64 { return m.queues.Keys() }

// BrowseQueue calls fn for the messages of a queue in the order of queue.Browse, those behind the one
// that after names, until it returns false.
func (m *Machine) BrowseQueue(id uint64, after *uint64, fn func(queue.Browsed) bool) {
	q, ok := m.queues.Get(id)
	if !ok {
		return
	}
	q.BrowseAfter(after, fn)
}
