package shard

import (
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/codec"
	"github.com/robustmq/rmq/broker/kernel/queue"
	"github.com/robustmq/rmq/broker/kernel/route"
	"github.com/robustmq/rmq/broker/kernel/session"
)

// Session is one session and its backlog: a queue with one consumer that stays through
// all connections of the client, paused (without credit) while there is none. It is made for
// the first message: most sessions never have one that has to wait.
type Session struct {
	*session.Session
	Key     string       // namespace, 0, client id
	backlog *queue.Queue // nil: there never was anything in it
	started bool         // the connection takes deliveries
	due     int64
	gen     uint64
}

// Bounds of one session's backlog; the oldest message goes when one is reached.
const (
	BacklogMax      = 1_000_000
	BacklogBytesMax = 1 << 30
)

// consumer is the one attachment of a backlog.
const consumer = 1

// filter is one subscription in the table that messages are matched with.
type filter struct {
	key  string // of the session
	text string
}

// SessionKey is how a session is named within a shard.
func SessionKey(ns, client string) string { return ns + "\x00" + client }

// SplitSessionKey is the reverse.
func SplitSessionKey(key string) (ns, client string) {
	ns, client, _ = strings.Cut(key, "\x00")
	return ns, client
}

func newBacklog() *queue.Queue {
	l := queue.NoLimits()
	l.MaxLength, l.MaxBytes = BacklogMax, BacklogBytesMax
	return queue.New(l)
}

// attachConsumer makes a backlog one that messages may be put in.
func attachConsumer(now int64, q *queue.Queue) {
	_, _ = q.Attach(now, queue.AttachSpec{ID: consumer}, nil) // the first of an empty queue is never refused
}

// Backlog tells of the messages that wait in the session or are under way.
func (s *Session) Backlog() queue.Stats {
	if s.backlog == nil {
		return queue.Stats{}
	}
	return s.backlog.Stats()
}

// allow sets how many deliveries the backlog may make. One that is not there has it from the start.
func (m *Machine) allow(s *Session, n int64, out *Outcome) {
	if s.backlog != nil {
		m.eff = s.backlog.SetCredit(m.now, consumer, n, m.eff[:0])
		m.backlogEffects(s, out)
	}
}

// room is how many deliveries the client takes now.
func (s *Session) room() int64 {
	if !s.started {
		return 0
	}
	return int64(max(s.Room(), 0))
}

// session returns a session that may be changed, or nil.
func (m *Machine) session(key string) *Session {
	s, ok := m.sessions.Get(key)
	if !ok {
		return nil
	}
	if s.gen != m.gen {
		c := *s
		c.Session, c.gen = s.Session.Fork(m.gen), m.gen
		if s.backlog != nil {
			c.backlog = s.backlog.Fork(m.gen, m.saved)
		}
		s = &c
		m.sessions.Set(key, s)
	}
	m.dirty.sessions.Insert(key)
	return s
}

// OpenSession connects a client; Known tells whether it found a session.
func (b *Builder) OpenSession(key string, o *session.OpenSpec) int {
	i := b.op(OpOpenSession)
	d := codec.String(b.ops, key)
	d = codec.Uint(d, o.Epoch)
	d = codec.Bool(d, o.Clean)
	d = codec.Uint(d, uint64(o.Expiry))
	d = codec.Uint(d, uint64(o.ReceiveMax))
	if o.Will != nil {
		d = codec.Nullable(d, append([]byte{}, o.Will.Message...))
		d = codec.Uint(d, uint64(o.Will.Delay))
	} else {
		d = codec.Nullable(d, nil)
		d = codec.Uint(d, 0)
	}
	b.ops = d
	return i
}

func (m *Machine) openSession(r *codec.Reader, out *Outcome) OpResult {
	key := r.String()
	o := session.OpenSpec{Epoch: r.Uint(), Clean: r.Bool(), Expiry: r.Uint32(), ReceiveMax: uint16(r.Uint())}
	will, delay := r.Nullable(), r.Uint32()
	if r.Err() != nil {
		return OpResult{}
	}
	if will != nil {
		o.Will = &session.Will{Message: will, Delay: delay}
	}
	s := m.session(key)
	if s == nil {
		s = &Session{Session: session.New().Fork(m.gen), Key: key, gen: m.gen}
		m.sessions.Set(key, s)
		m.dirty.sessions.Insert(key)
	}
	eff, present := s.Open(m.now, o, nil)
	m.sessionEffects(s, eff, out)
	s.started = false
	m.allow(s, 0, out)
	m.sessionDue(s)
	out.Effects = append(out.Effects, Effect{Kind: SessionOpened, Session: key, Attachment: o.Epoch})
	return OpResult{Known: present}
}

// CloseSession ends a connection's hold on its session.
type CloseSession struct {
	Key    string
	Epoch  uint64 // 0: whichever holds it
	Will   bool
	Expiry *uint32
	End    bool // end the session, whatever its expiry
}

// CloseSession adds the command.
func (b *Builder) CloseSession(c *CloseSession) int {
	i := b.op(OpCloseSession)
	d := codec.String(b.ops, c.Key)
	d = codec.Uint(d, c.Epoch)
	d = codec.Bool(d, c.Will)
	if c.Expiry != nil {
		d = codec.Uint(d, uint64(*c.Expiry)+1)
	} else {
		d = codec.Uint(d, 0)
	}
	b.ops = codec.Bool(d, c.End)
	return i
}

func (m *Machine) closeSession(r *codec.Reader, out *Outcome) OpResult {
	key, epoch, will, expiry, end := r.String(), r.Uint(), r.Bool(), r.Uint(), r.Bool()
	s := m.session(key)
	if s == nil || r.Err() != nil {
		return OpResult{}
	}
	if epoch == 0 {
		epoch = s.Info().Epoch
	}
	held := s.Holds(epoch)
	var eff []session.Effect
	if end {
		eff = s.End(nil)
	} else {
		var e *uint32
		if expiry > 0 {
			v := uint32(min(expiry-1, math.MaxUint32))
			e = &v
		}
		eff = s.Close(m.now, epoch, will, e, nil)
	}
	if held {
		s.started = false
		m.allow(s, 0, out)
	}
	if held && !end { // else it is taken
		out.Effects = append(out.Effects, Effect{Kind: Parted, Session: key, Attachment: epoch})
	}
	m.sessionEffects(s, eff, out)
	m.sessionDue(s)
	return OpResult{Known: held}
}

// Start lets deliveries begin, those under way first.
func (b *Builder) Start(key string, epoch uint64) int { return b.onSession(OpStart, key, epoch, 0) }

func (b *Builder) onSession(o Op, key string, epoch uint64, packetID uint16) int {
	i := b.op(o)
	d := codec.String(b.ops, key)
	d = codec.Uint(d, epoch)
	b.ops = codec.Uint(d, uint64(packetID))
	return i
}

// held reads what onSession wrote, and returns the session if that connection holds it.
func (m *Machine) held(r *codec.Reader) (*Session, uint16) {
	key, epoch, id := r.Bytes(), r.Uint(), uint16(r.Uint())
	if s := m.session(string(key)); s != nil && s.Holds(epoch) && r.Err() == nil {
		return s, id
	}
	return nil, 0
}

// lostSession is what a connection is told that does not hold the session: what it asks about is
// up to the one that does.
func lostSession(op string) OpResult {
	return OpResult{Err: fault.New(fault.Unavailable, op, "", "the connection has lost its session")}
}

func (m *Machine) start(r *codec.Reader, out *Outcome) OpResult {
	s, _ := m.held(r)
	if s == nil {
		return OpResult{}
	}
	epoch := s.Info().Epoch
	m.eff = m.eff[:0]
	if s.backlog != nil {
		var err error
		if m.eff, err = s.backlog.Resume(consumer, 0, m.eff); err != nil {
			return OpResult{Err: err}
		}
	}
	// What is unsettled in the backlog and what is under way in the session are in the same
	// order; those that wait for PUBCOMP are only in the session.
	i := 0
	s.Inflight(func(f session.Inflight) bool {
		if f.State == session.AwaitComp {
			out.Effects = append(out.Effects, Effect{Kind: Resend, Attachment: epoch, PacketID: f.PacketID})
			return true
		}
		for i < len(m.eff) && (m.eff[i].Kind != queue.Deliver || m.eff[i].No < f.No) {
			i++
		}
		if i < len(m.eff) && m.eff[i].No == f.No {
			m.deliverTo(s, &m.eff[i], f.PacketID, true, out)
		}
		return true
	})
	s.started = true
	m.flow(s, out)
	return OpResult{Known: true}
}

// flow gives the backlog as much credit as the client's window has room.
func (m *Machine) flow(s *Session, out *Outcome) {
	if !s.started {
		return
	}
	m.allow(s, s.room(), out)
	m.sessionDue(s)
}

// Ack ends an outgoing delivery; ok false: the client refused it.
func (b *Builder) Ack(key string, epoch uint64, packetID uint16, ok bool) int {
	i := b.onSession(OpAck, key, epoch, packetID)
	b.ops = codec.Bool(b.ops, ok)
	return i
}

func (m *Machine) ack(r *codec.Reader, out *Outcome) OpResult {
	s, id := m.held(r)
	ok := r.Bool()
	if s == nil {
		return OpResult{}
	}
	no, known := s.Ack(id)
	if no != 0 && s.backlog != nil {
		o := queue.Accept
		if !ok {
			o = queue.Reject
		}
		m.eff, _ = s.backlog.Settle(m.now, consumer, no, false, o, m.eff[:0])
		m.backlogEffects(s, out)
	}
	m.flow(s, out)
	return OpResult{Known: known}
}

// Received notes PUBREC for an outgoing QoS 2 delivery.
func (b *Builder) Received(key string, epoch uint64, packetID uint16) int {
	return b.onSession(OpReceived, key, epoch, packetID)
}

func (m *Machine) received(r *codec.Reader, out *Outcome) OpResult {
	s, id := m.held(r)
	if s == nil {
		return lostSession("receive")
	}
	no, known := s.Received(id)
	if no != 0 && s.backlog != nil {
		m.eff, _ = s.backlog.Settle(m.now, consumer, no, false, queue.Accept, m.eff[:0])
		m.backlogEffects(s, out)
	}
	return OpResult{Known: known}
}

// Incoming notes that a QoS 2 publish of the client was received and is stored. A connection
// that has lost the session is told so: its client must not take for noted what is not.
func (b *Builder) Incoming(key string, epoch uint64, packetID uint16) int {
	return b.onSession(OpIncoming, key, epoch, packetID)
}

func (m *Machine) incoming(r *codec.Reader) OpResult {
	s, id := m.held(r)
	if s == nil {
		return lostSession("note publish")
	}
	s.Note(id)
	return OpResult{}
}

// Release ends a QoS 2 publish of the client at PUBREL.
func (b *Builder) Release(key string, epoch uint64, packetID uint16) int {
	return b.onSession(OpRelease, key, epoch, packetID)
}

func (m *Machine) release(r *codec.Reader) OpResult {
	s, id := m.held(r)
	if s == nil {
		return lostSession("release")
	}
	return OpResult{Known: s.Release(id)}
}

// Refuse ends a QoS 2 publish of the client that could not be stored everywhere.
func (b *Builder) Refuse(key string, epoch uint64, packetID uint16) int {
	return b.onSession(OpRefuse, key, epoch, packetID)
}

func (m *Machine) refuse(r *codec.Reader) OpResult {
	s, id := m.held(r)
	if s == nil {
		return lostSession("refuse")
	}
	s.Refuse(id)
	return OpResult{}
}

// Subscribe adds or replaces a subscription; Known tells whether it was there.
func (b *Builder) Subscribe(key, text string, o session.Options) int {
	i := b.op(OpSubscribe)
	d := codec.String(b.ops, key)
	d = codec.String(d, text)
	d = codec.Uint(d, uint64(o.ID))
	d = append(d, o.QoS, o.RetainHandling)
	d = codec.Bool(d, o.NoLocal)
	b.ops = codec.Bool(d, o.RetainAsPublished)
	return i
}

func (m *Machine) subscribe(r *codec.Reader, out *Outcome) OpResult {
	key, text := r.String(), r.String()
	o := session.Options{ID: r.Uint32(), QoS: r.Byte(), RetainHandling: r.Byte(), NoLocal: r.Bool(), RetainAsPublished: r.Bool()}
	s := m.session(key)
	if s == nil || r.Err() != nil {
		return OpResult{Err: fault.Of(fault.NotFound, "subscribe", "")}
	}
	existed, err := s.Subscribe(text, o)
	if err == nil && !existed {
		m.watch(key, text)
	}
	if err == nil {
		out.Effects = append(out.Effects, Effect{Kind: FilterAdded, Session: key, Key: text, Filter: o})
	}
	return OpResult{Known: existed, Err: err}
}

// Unsubscribe removes a subscription; Known tells whether it was there.
func (b *Builder) Unsubscribe(key, text string) int {
	i := b.op(OpUnsubscribe)
	b.ops = codec.String(codec.String(b.ops, key), text)
	return i
}

func (m *Machine) unsubscribe(r *codec.Reader, out *Outcome) OpResult {
	key, text := r.String(), r.String()
	s := m.session(key)
	if s == nil || !s.Unsubscribe(text) {
		return OpResult{}
	}
	m.unwatch(key, text)
	out.Effects = append(out.Effects, Effect{Kind: FilterGone, Session: key, Key: text})
	return OpResult{Known: true}
}

// SharePrefix begins the name of a shared subscription, before its group and filter; QueuePrefix
// that of one to a queue, before its name.
const (
	SharePrefix = "$share/"
	QueuePrefix = "$queue/"
)

// Joins tells whether a subscription is an attachment to a queue, and not a filter.
func Joins(text string) bool {
	return strings.HasPrefix(text, SharePrefix) || strings.HasPrefix(text, QueuePrefix)
}

// ExclusivePrefix begins the name of an exclusive subscription, before its filter.
const ExclusivePrefix = "$exclusive/"

// Wanted is the filter of a subscription that is one: what its messages match.
func Wanted(text string) string { return strings.TrimPrefix(text, ExclusivePrefix) }

// watch and unwatch keep the table of filters, which is derived from the sessions. What
// joins a queue is not in it.
func (m *Machine) watch(key, text string) {
	if Joins(text) {
		return
	}
	if m.filters == nil {
		return // made when it is asked
	}
	ns, _ := SplitSessionKey(key)
	t := m.filters[ns]
	if t == nil {
		t = route.New[filter]()
		m.filters[ns] = t
	}
	t.Add(route.SlashedFilter(Wanted(text)), filter{key, text})
}

// table returns the filters of a namespace; nil when there are none.
func (m *Machine) table(ns string) *route.Table[filter] {
	m.Prepare()
	return m.filters[ns]
}

// Prepare derives the table of filters, which a machine that was restored or forked does
// not have, and else makes the first time that it is asked: then an entry would wait.
func (m *Machine) Prepare() {
	if m.filters != nil {
		return
	}
	m.filters = make(map[string]*route.Table[filter])
	m.sessions.Scan(func(key string, s *Session) bool {
		s.Subscriptions(func(text string, _ session.Options) bool {
			m.watch(key, text)
			return true
		})
		return true
	})
}

func (m *Machine) unwatch(key, text string) {
	ns, _ := SplitSessionKey(key)
	if t := m.filters[ns]; t != nil {
		t.Remove(route.SlashedFilter(Wanted(text)), filter{key, text})
	}
}

// toSessions puts a message into the backlog of each session that is to have it at QoS 1
// or 2, and returns how many those are. Sessions are visited in the order of their keys,
// so that the effects do not depend on the order of the table.
func (m *Machine) toSessions(ns, address, from string, p place, msg *queue.Message, out *Outcome) (n int64) {
	t := m.table(ns)
	if t == nil {
		return 0
	}
	m.found = t.Match(m.found[:0], route.Slashed(address))
	slices.SortFunc(m.found, func(a, b filter) int {
		if c := strings.Compare(a.key, b.key); c != 0 {
			return c
		}
		return strings.Compare(a.text, b.text)
	})
	for i := 0; i < len(m.found); {
		key := m.found[i].key
		s, _ := m.sessions.Get(key)
		var qos uint8
		local, retain := true, false
		for ; i < len(m.found) && m.found[i].key == key; i++ {
			o, _ := s.Subscription(m.found[i].text)
			qos = max(qos, o.QoS)
			local = local && o.NoLocal
			retain = retain || o.RetainAsPublished
		}
		if qos = min(qos, msg.QoS); qos == 0 {
			continue
		}
		if _, client := SplitSessionKey(key); local && from != "" && client == from {
			continue
		}
		c := *msg
		c.QoS, c.Priority = qos, 0
		if !retain {
			c.Tag &^= tagRetain
		}
		m.toSession(m.session(key), p, &c, out)
		n++
	}
	return n
}

// toSession puts a message into the backlog of one session.
func (m *Machine) toSession(s *Session, p place, msg *queue.Message, out *Outcome) {
	p.log.refer(p.base, 1)
	if s.backlog == nil {
		s.backlog = newBacklog().Fork(m.gen, m.saved)
		attachConsumer(m.now, s.backlog)
		m.allow(s, s.room(), out)
	}
	var ok bool
	m.eff, ok = s.backlog.Push(m.now, msg, m.eff[:0])
	m.backlogEffects(s, out)
	if !ok {
		m.unref(msg.Ref, out)
	}
	m.sessionDue(s)
}

// backlogEffects turns what a backlog asks for (in m.eff) into effects of the machine.
func (m *Machine) backlogEffects(s *Session, out *Outcome) {
	for i := range m.eff {
		switch e := &m.eff[i]; e.Kind {
		case queue.Deliver:
			if id := s.Session.Deliver(e.No, e.QoS); id != 0 {
				m.deliverTo(s, e, id, false, out)
			}
		case queue.Drop:
			m.unref(e.Ref, out)
			if e.Reason != queue.Accepted && e.Reason != queue.Purged {
				out.Effects = append(out.Effects, Effect{Kind: Dropped, Session: s.Key, Reason: e.Reason, Share: e.Tag >> tagShareShift})
			}
		default: // a backlog has no dead letters, and its one consumer stays
		}
	}
}

func (m *Machine) deliverTo(s *Session, e *queue.Effect, packetID uint16, again bool, out *Outcome) {
	out.Effects = append(out.Effects, Effect{
		Kind: Deliver, Session: s.Key, Attachment: s.Info().Epoch, No: e.No, Seq: e.Seq, Log: e.Ref.Log, Offset: e.Ref.Offset,
		PacketID: packetID, QoS: e.QoS, Redelivered: again, Retain: e.Tag&tagRetain != 0, ExpiresAt: e.ExpiresAt,
		Share: e.Tag >> tagShareShift,
	})
}

// sessionEffects carries out within the machine what a session asks for, and passes on
// the rest.
func (m *Machine) sessionEffects(s *Session, eff []session.Effect, out *Outcome) {
	for i := range eff {
		switch e := &eff[i]; e.Kind {
		case session.TakenOver:
			out.Effects = append(out.Effects, Effect{Kind: SessionTaken, Session: s.Key, Attachment: e.Epoch})
		case session.Unsubscribed:
			m.unwatch(s.Key, e.Filter)
			out.Effects = append(out.Effects, Effect{Kind: FilterGone, Session: s.Key, Key: e.Filter})
		case session.PublishWill:
			m.will(s.Key, e.Will, out)
		case session.Discarded:
			if s.backlog != nil {
				m.entomb(append(named('s', s.Key), 'p'), s.backlog)
				m.backlogEffects(s, out)
				s.backlog = nil
			}
		case session.Ended:
			m.bury(func(full bool, put func(k, v []byte) bool) bool {
				return m.encodeSession(s.Key, s, full, m.saved, put)
			})
			m.setDue(&s.due, 0, dueSession, s.Key)
			m.sessions.Delete(s.Key)
			out.Effects = append(out.Effects, Effect{Kind: SessionEnded, Session: s.Key})
		}
	}
}

// sessionDue keeps the session's place among the deadlines.
func (m *Machine) sessionDue(s *Session) {
	if _, there := m.sessions.Get(s.Key); !there {
		return
	}
	at := s.NextDeadline()
	if s.backlog != nil {
		if b := s.backlog.NextExpiry(); b != 0 && (at == 0 || b < at) {
			at = b
		}
		if s.backlog.Busy() {
			at = m.now
		}
	}
	m.setDue(&s.due, at, dueSession, s.Key)
}

func (m *Machine) tickSession(s *Session, out *Outcome) {
	if s.backlog != nil {
		m.eff = s.backlog.Tick(m.now, tickMax, m.eff[:0])
		m.backlogEffects(s, out)
	}
	m.sessionEffects(s, s.Expire(m.now, nil), out)
	m.sessionDue(s)
}

// SessionsAfter calls f for at most n sessions whose keys come after the given one, in
// their order. It returns the key of the last, and whether there may be more.
func (m *Machine) SessionsAfter(after string, n int, f func(s *Session)) (last string, more bool) {
	last = after
	m.sessions.Ascend(after, func(key string, s *Session) bool {
		if key == after {
			return true
		}
		if more = n == 0; more {
			return false
		}
		n--
		last = key
		f(s)
		return true
	})
	return last, more
}

// SessionCount is how many sessions there are.
func (m *Machine) SessionCount() int { return m.sessions.Len() }

// Session returns a session, to be read.
func (m *Machine) Session(key string) (*Session, bool) { return m.sessions.Get(key) }

// ConnectedSessions yields the sessions that a connection holds, and that connection.
func (m *Machine) ConnectedSessions(yield func(key string, epoch uint64)) {
	m.sessions.Scan(func(key string, s *Session) bool {
		if info := s.Info(); info.Connected {
			yield(key, info.Epoch)
		}
		return true
	})
}

// ---- checkpoints ----

func (m *Machine) encodeSession(key string, s *Session, full bool, since uint64, put func(k, v []byte) bool) bool {
	if s == nil {
		return true // buried
	}
	prefix := named('s', key)
	ok := put(slices.Concat(prefix, []byte("h")), codec.Int(codec.Bool(nil, s.started), s.due))
	s.Save(full, since, func(k, v []byte) {
		if v != nil {
			v = append([]byte{}, v...)
		}
		ok = ok && put(slices.Concat(prefix, []byte("o"), k), v)
	})
	return ok && encodeBacklog(key, s, full, since, put)
}

func encodeBacklog(key string, s *Session, full bool, since uint64, put func(k, v []byte) bool) bool {
	prefix := append(named('s', key), 'p')
	ok := true
	q := s.backlog
	if q == nil { // it is told as one that is empty, which is what every release reads
		q, full = emptyBacklog(), true
	}
	q.Save(full, since, func(k, v []byte) {
		if v != nil {
			v = append([]byte{}, v...)
		}
		ok = ok && put(slices.Concat(prefix, k), v)
	})
	return ok
}

// emptyBacklog is what a checkpoint has in place of a backlog that is not there.
var emptyBacklog = sync.OnceValue(func() *queue.Queue {
	q := newBacklog()
	attachConsumer(0, q)
	return q
})

func (m *Machine) finishSession(p *parts) error {
	inner, err := session.Load(m.saved, p.pairs(p.own))
	if err != nil {
		return err
	}
	backlog, err := queue.Load(m.saved, p.pairs(p.backlog))
	if err != nil {
		return err
	}
	if !backlog.Pushed() {
		backlog = nil
	}
	r := codec.NewReader(p.head)
	s := &Session{Session: inner, Key: p.name, backlog: backlog, started: r.Bool(), gen: m.gen}
	if err := m.restoreDue(&s.due, &r, dueSession, s.Key); err != nil {
		return err
	}
	m.sessions.Set(s.Key, s)
	return nil
}
