package mqtt

import (
	"container/heap"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/option"
)

// Slow deliveries are counted as EMQX counts them: from a message's arrival in the broker until its
// transmission is complete, which is PUBACK at QoS 1, PUBCOMP at QoS 2, and at QoS 0 when it was
// written to the socket. What arrived before the client connected is not counted, nor what was retained:
// it was the client that was late. A message of Kafka has its producer's time, and is counted from its
// delivery on.
//
// Nothing is noted of anybody while there is no threshold. While there is one, a connection notes what is
// under way to it, in memory that it keeps; of QoS 0, one message at a time.

// Slow is a client that was slow to take messages of a topic.
type Slow struct {
	ClientID string
	Topic    string
	QoS      byte
	Latency  time.Duration // of the last that was slow, in whole milliseconds
	At       time.Time     // when it was complete, broker time
	Count    uint64        // that were slow, since it is listed
}

// slows are the slowest there were lately.
type slows struct {
	on atomic.Pointer[slowLimits]    // nil: nobody wants to know
	of atomic.Pointer[option.Values] // which say so

	mu   sync.Mutex
	by   map[slowKey]*slow // guarded by mu, as list
	list slowHeap          // the fastest first: it makes room
	due  time.Time         // nothing of list is too old before
}

type slowLimits struct {
	threshold, window time.Duration
	top               int
}

type slowKey struct{ client, topic string }

type slow struct {
	Slow
	index int // in the heap
}

type slowHeap []*slow

func (h slowHeap) Len() int           { return len(h) }
func (h slowHeap) Less(i, j int) bool { return h[i].Latency < h[j].Latency }
func (h slowHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }
func (h *slowHeap) Push(x any)        { x.(*slow).index = len(*h); *h = append(*h, x.(*slow)) }
func (h *slowHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return x
}

// follow has what options say count.
func (s *slows) follow(v *option.Values) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.of.Store(v)
	l := slowLimits{threshold: v.SlowThreshold, window: v.SlowWindow, top: v.SlowTop}
	if l.threshold == 0 {
		s.on.Store(nil)
		s.by, s.list = nil, nil
		return
	}
	s.on.Store(&l)
	s.due = time.Time{}
	for len(s.list) > l.top {
		s.dropLocked(0)
	}
}

func (s *slows) dropLocked(i int) {
	x := heap.Remove(&s.list, i).(*slow)
	delete(s.by, slowKey{x.ClientID, x.Topic})
}

// expireLocked drops what was not slow again for the window.
func (s *slows) expireLocked(l *slowLimits, now time.Time) {
	if now.Before(s.due) {
		return
	}
	oldest, all := now, s.list
	s.list = s.list[:0]
	for _, x := range all {
		if now.Sub(x.At) >= l.window {
			delete(s.by, slowKey{x.ClientID, x.Topic})
			continue
		}
		if x.At.Before(oldest) {
			oldest = x.At
		}
		s.list.Push(x)
	}
	clear(all[len(s.list):])
	heap.Init(&s.list)
	s.due = oldest.Add(l.window)
}

// add counts a delivery that took long. It allocates only for who was not listed.
func (s *slows) add(l *slowLimits, client string, topic []byte, qos byte, latency time.Duration, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.on.Load() == nil {
		return
	}
	s.expireLocked(l, now)
	if x := s.by[slowKey{client, string(topic)}]; x != nil {
		x.Latency, x.QoS, x.At = latency, qos, now
		x.Count++
		heap.Fix(&s.list, x.index)
		return
	}
	if len(s.list) >= l.top {
		if s.list[0].Latency >= latency {
			return
		}
		s.dropLocked(0)
	}
	if s.by == nil {
		s.by = make(map[slowKey]*slow)
	}
	x := &slow{Slow: Slow{ClientID: client, Topic: string(topic), QoS: qos, Latency: latency, At: now, Count: 1}}
	s.by[slowKey{client, x.Topic}] = x
	heap.Push(&s.list, x)
}

// Slow returns the slowest of late, the slowest first. on: somebody wants to know.
func (s *Server) Slow() (list []Slow, on bool) {
	l := s.timing()
	if l == nil {
		return nil, false
	}
	s.slow.mu.Lock()
	defer s.slow.mu.Unlock()
	s.slow.due = time.Time{}
	s.slow.expireLocked(l, s.cfg.Clock.Now())
	for _, x := range s.slow.list {
		list = append(list, x.Slow)
	}
	slices.SortFunc(list, func(a, b Slow) int {
		if a.Latency != b.Latency {
			return int(b.Latency - a.Latency)
		}
		return strings.Compare(a.ClientID+"\x00"+a.Topic, b.ClientID+"\x00"+b.Topic)
	})
	return list, true
}

// timing is what is wanted of deliveries; nil: nobody wants to know. It goes by the options of this
// moment, so that who sets one has it count from the answer on.
func (s *Server) timing() *slowLimits {
	if v := s.cfg.Options.Load(); v != s.slow.of.Load() {
		s.slow.follow(v)
	}
	return s.slow.on.Load()
}

// underWayMax bounds the deliveries to one client that are timed at once; more are not counted.
const underWayMax = 1024

// underWay is what one connection notes of the deliveries to it.
//
// Ownership: conn.mu guards the ring; mu the QoS 0 message. Lock order: Outbox.mu → mu.
type underWay struct {
	c    *conn
	ring []timed // a power of two; what is under way is n from first on, in the order of delivery
	n    int
	head int
	sent func() // u.written, bound once

	mu   sync.Mutex
	zero timed // the QoS 0 message that is on its way to the socket; id 1: there is one
}

// timed is a delivery and when its message arrived. Its topic's memory is kept for the next.
type timed struct {
	id      uint16 // packet identifier; 0: it is over
	qos     byte
	arrived int64 // broker time, ms
	topic   []byte
}

func (t *timed) set(id uint16, qos byte, arrived int64, topic string) {
	t.id, t.qos, t.arrived, t.topic = id, qos, arrived, append(t.topic[:0], topic...)
}

// underWayLocked returns what is noted. Caller holds c.mu.
func (c *conn) underWayLocked() *underWay {
	f := c.flowLocked()
	if f.timed == nil {
		u := &underWay{c: c}
		u.sent = u.written
		f.timed = u
	}
	return f.timed
}

// arrived is when the message of a delivery arrived, in ms. false: it does not count.
func (c *conn) arrived(d *kernel.Delivery) (int64, bool) {
	now, m := c.server.cfg.Clock.Now(), d.Msg
	if d.Retain {
		return 0, false
	}
	if m.Source == message.Kafka || m.Time == 0 {
		return now.UnixMilli(), true
	}
	connected := now.Add(-time.Duration(c.server.cfg.Link.Now().UnixNano() - c.since))
	return m.Time, m.Time >= connected.UnixMilli()
}

// timeLocked notes a QoS 1 or 2 delivery. Caller holds c.mu.
func (c *conn) timeLocked(d *kernel.Delivery, id uint16, qos byte) {
	at, ok := c.arrived(d)
	if !ok {
		return
	}
	u := c.underWayLocked()
	if u.n == len(u.ring) {
		if u.n == underWayMax {
			return
		}
		grown := make([]timed, max(16, 2*u.n))
		for i := range u.n {
			grown[i] = *u.at(i)
		}
		u.ring, u.head = grown, 0
	}
	u.n++
	u.at(u.n-1).set(id, qos, at, d.Msg.Address)
}

func (u *underWay) at(i int) *timed { return &u.ring[(u.head+i)&(len(u.ring)-1)] }

// overLocked ends a delivery: the client has acknowledged it. Acknowledgements come in the order of the
// deliveries, as a rule. Caller holds c.mu.
func (u *underWay) overLocked(id uint16) {
	for i := range u.n {
		if t := u.at(i); t.id == id {
			u.c.took(t)
			t.id = 0
			break
		}
	}
	for u.n > 0 && u.at(0).id == 0 {
		u.head = (u.head + 1) & (len(u.ring) - 1)
		u.n--
	}
}

// timeWritten notes a QoS 0 delivery that was put in the outbox, unless another is on its way.
func (c *conn) timeWritten(d *kernel.Delivery) {
	at, ok := c.arrived(d)
	if !ok {
		return
	}
	c.mu.Lock()
	u := c.underWayLocked()
	c.mu.Unlock()
	u.mu.Lock()
	busy := u.zero.id != 0
	if !busy {
		u.zero.set(1, 0, at, d.Msg.Address)
	}
	u.mu.Unlock()
	if !busy {
		c.out.WhenWritten(u.sent)
	}
}

// written is told by the outbox that the QoS 0 message has left.
func (u *underWay) written() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.c.took(&u.zero)
	u.zero.id = 0
}

// took counts a delivery that is complete, if it took long.
func (c *conn) took(t *timed) {
	l := c.server.timing()
	if l == nil {
		return
	}
	now := c.server.cfg.Clock.Now()
	latency := time.Duration(now.UnixMilli()-t.arrived) * time.Millisecond
	if latency >= l.threshold {
		c.server.slow.add(l, c.clientID, t.topic, t.qos, latency, now)
	}
}
