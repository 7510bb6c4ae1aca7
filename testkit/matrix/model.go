package matrix

import (
	"math"
	"slices"
	"strings"
	"sync"
)

// moment orders what clients asked and were told.
type moment uint64

const never = moment(math.MaxUint64)

// promise is one thing that a client asked for.
type promise struct {
	called moment
	done   moment // when the broker said that it is so; never: not yet, or never
}

func (p *promise) sure(at moment) bool  { return p.done <= at }
func (p *promise) maybe(at moment) bool { return p.called <= at }

// message is one message that was sent.
type message struct {
	promise
	id, key string
}

// model is what clients have asked for and were told. Guarded by mu.
type model struct {
	mu  sync.Mutex
	now moment

	streams  map[string]*streamModel
	queues   map[string]*queueModel // sessions too: see sessionName
	retained map[string][]*message  // by address, in order; one with no value has an empty id
	offsets  map[string][]*promise  // by group: the i-th commit is of offset i+1
}

type streamModel struct {
	life
	weak  bool // made by capture: a power loss may take its end
	keyed bool // compacted: of each key the last record remains
	parts [][]*message
	trims []trim
}

// trim is one DeleteRecords.
type trim struct {
	*promise
	part int
	to   int64
}

type queueModel struct {
	life
	sent []*queued
}

// queued is a message on its way through a queue.
type queued struct {
	*message
	handed  moment // when its settlement was first handed over: from then on it may be gone
	settled moment // when it was last handed over to a broker that lives
	gone    moment // when the broker answered something behind that: from then on it is
}

// life is when something was made, and deleted.
type life struct{ made, deleted promise }

func newLife() life { return life{promise{never, never}, promise{never, never}} }

const sessionPrefix = "session "

func sessionName(client string) string { return sessionPrefix + client }

func newModel() *model {
	return &model{
		streams: make(map[string]*streamModel), queues: make(map[string]*queueModel),
		retained: make(map[string][]*message), offsets: make(map[string][]*promise),
	}
}

// moment is now: what was answered is not later.
func (m *model) moment() moment {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// asks notes that something is asked for.
func (m *model) asks(p *promise) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asksLocked(p)
}

func (m *model) asksLocked(p *promise) {
	m.now++
	*p = promise{called: m.now, done: never}
}

// told notes the answer.
func (m *model) told(p *promise, err error) {
	if err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now++
	p.done = m.now
}

// stream returns the model of a stream, made on first use.
func (m *model) stream(name string, parts int) *streamModel {
	m.mu.Lock()
	defer m.mu.Unlock()
	st := m.streams[name]
	if st == nil {
		st = &streamModel{life: newLife(), parts: make([][]*message, parts)}
		m.streams[name] = st
	}
	return st
}

func (m *model) queue(name string) *queueModel {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.queues[name]
	if q == nil {
		q = &queueModel{life: newLife()}
		m.queues[name] = q
	}
	return q
}

// sends notes a message to a partition, if st is given, and to queues.
func (m *model) sends(x *message, st *streamModel, part int, queues ...*queueModel) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asksLocked(&x.promise)
	if st != nil {
		st.parts[part] = append(st.parts[part], x)
	}
	for _, q := range queues {
		q.sent = append(q.sent, &queued{message: x, handed: never, settled: never, gone: never})
	}
}

// sent notes its answer. What was settled before it was sent is settled for good, as one
// shard does both in order.
func (m *model) sent(x *message, err error, queues ...*queueModel) {
	if err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now++
	x.done = m.now
	for _, q := range queues {
		for _, s := range q.sent {
			if s.settled < x.called && s.gone == never {
				s.gone = m.now
			}
		}
	}
}

// refused takes back what the broker has refused before it did anything: it was not sent.
func (m *model) refused(x *message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	same := func(y *message) bool { return y == x }
	for _, st := range m.streams {
		for i := range st.parts {
			st.parts[i] = slices.DeleteFunc(st.parts[i], same)
		}
	}
	for _, q := range m.queues {
		q.sent = slices.DeleteFunc(q.sent, func(y *queued) bool { return y.message == x })
	}
	for address := range m.retained {
		m.retained[address] = slices.DeleteFunc(m.retained[address], same)
	}
}

// settles notes that the settlement of a message is handed over.
func (m *model) settles(q *queueModel, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range q.sent {
		if s.id == id {
			m.now++
			s.handed, s.settled = min(s.handed, m.now), m.now
		}
	}
}

// crashed draws the consequences of a crash between two rounds: a settlement that nobody has
// answered may be lost, and a power loss takes what it likes of the end of captured streams.
func (m *model) crashed(power bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, q := range m.queues {
		for _, s := range q.sent {
			s.settled = never
		}
	}
	if power {
		delete(m.streams, loose)
	}
}

// idOf is the identity of a message: what fills its value up is left out.
func idOf(value []byte) string {
	id, _, _ := strings.Cut(string(value), " ")
	return id
}
