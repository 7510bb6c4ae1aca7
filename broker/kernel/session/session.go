// Package session is the machine of one client's state that may outlive its
// connection: an MQTT session.
//
// A Session holds subscriptions, who is connected, the packet identifiers of
// deliveries under way in either direction, the will, and when all of that ends. The
// messages themselves, delivered or still to be, are in a queue beside it: the
// session ties a packet identifier to the number of a delivery of that queue.
//
// A Session is a deterministic state machine: it has no clock, and starts nothing. Each
// command takes the time in ms. Equal states that are given equal commands stay
// equal, whatever was saved, restored or forked in between.
//
// # Connections
//
// A connection is known by its epoch, which rises with every connection that a client
// makes. A command of a connection carries its epoch, so that the last words of one that
// was taken over change nothing.
//
// # Window
//
// At most ReceiveMax deliveries of QoS 1 and 2 are under way. One counts from Deliver to
// Ack; with QoS 2 that is PUBCOMP, although its message is settled at PUBREC.
package session

import (
	"slices"

	"github.com/tidwall/btree"

	"github.com/robustmq/rmq/broker/fault"
)

// Bounds of one session.
const (
	// PacketMax is the highest packet identifier that a session gives to a delivery. Those
	// above are for deliveries that do not come from the session's own queue.
	PacketMax = 49151
	// SubscriptionsMax bounds the filters; beyond it Subscribe answers fault.Exhausted.
	SubscriptionsMax = 1 << 16
	// Forever is the expiry interval of a session that never ends by itself.
	Forever = uint32(0xFFFFFFFF)
)

// Options are those of one subscription.
type Options struct {
	ID                uint32 // subscription identifier; 0 none
	QoS               uint8
	RetainHandling    uint8
	NoLocal           bool
	RetainAsPublished bool
}

// Will is what is published for a client that is gone.
type Will struct {
	Message []byte // the owner's encoding; copied
	Delay   uint32 // seconds
}

// OpenSpec is what a client asks for when it connects.
type OpenSpec struct {
	Epoch      uint64 // of the connection: not 0, and above every earlier one of this client
	Clean      bool   // discard what there is
	Expiry     uint32 // seconds that the session outlives the connection; Forever
	ReceiveMax uint16 // deliveries under way; 0 counts as 65,535
	Will       *Will  // nil: none
}

// Kind says what an Effect is about.
type Kind uint8

const (
	// TakenOver: the connection Epoch lost the session to a newer one.
	TakenOver Kind = iota
	// Discarded: what the session held is void: its backlog, its window, its subscriptions.
	// An Unsubscribed for each filter came before.
	Discarded
	// Unsubscribed: Filter is not subscribed to any more.
	Unsubscribed
	// PublishWill: publish Will.
	PublishWill
	// Ended: the session is over and can be forgotten, after a Discarded.
	Ended
)

// Effect is something to be done outside of the machine.
type Effect struct {
	Kind   Kind
	Epoch  uint64
	Filter string
	Will   []byte
}

// Session is one session. Not safe for concurrent use, except that a Session which is no
// longer given commands may be read (Save, Fork and the queries) by several.
type Session struct {
	owner *token // what may be written in place; nil after a Fork
	gen   uint64 // stamp of changes; see Fork
	ver   uint64 // stamp of the last change
	subV  uint64 // stamp of the last change of subscriptions

	created    uint64 // epoch that made the session: tells it from an earlier one of that client
	epoch      uint64 // of the last connection
	connected  bool
	receiveMax uint16
	expiry     uint32    // seconds
	ends       int64     // ms; 0 while connected, or never
	will       *lastWill // nil: none

	subs *btree.Map[string, Options] // nil when there are none

	next   uint16 // the last packet identifier given
	free   uint16 // so many after next are known to be free; derived
	head   int32
	window []inflight // window[head:] is under way, in the order in which it was sent
	in     incoming
}

// lastWill is the will of the last connection. It never changes, so forks share it.
type lastWill struct {
	message []byte
	delay   uint32 // seconds
	at      int64  // ms; 0 while connected
}

// token is an identity: slices that a Session made since its last Fork may be written in
// place.
type token struct{ _ byte }

// New returns a session that nobody opened yet.
func New() *Session { return &Session{} }

// own makes what commands write in place ours.
func (s *Session) own() {
	s.ver = s.gen
	if s.owner != nil {
		return
	}
	s.owner = new(token)
	s.window, s.head = slices.Clone(s.window[s.head:]), 0
	s.in.received = slices.Clone(s.in.received)
	s.in.runs = slices.Clone(s.in.runs)
}

// Open connects a client; present tells whether it finds what an earlier connection left
// (MQTT5-3.1.2-4 to -6).
//
// A connection that holds the session loses it. Its will is published unless it has a
// delay and the session goes on, since then the session neither ended nor did the delay
// pass (MQTT 5 section 3.1.4).
func (s *Session) Open(now int64, spec OpenSpec, eff []Effect) (_ []Effect, present bool) {
	s.own()
	eff = s.Expire(now, eff)
	if s.connected {
		eff = append(eff, Effect{Kind: TakenOver, Epoch: s.epoch})
		s.connected = false
		if s.will != nil && s.will.delay == 0 {
			eff = s.publishWill(eff)
		}
		if s.expiry == 0 {
			eff = s.end(eff, false)
		}
	}
	switch {
	case s.created == 0:
	case spec.Clean:
		eff = s.end(eff, false)
	default:
		present = true
	}
	if s.created == 0 {
		s.created = spec.Epoch
	}
	s.epoch, s.connected, s.expiry, s.ends = spec.Epoch, true, spec.Expiry, 0
	s.receiveMax = spec.ReceiveMax
	s.will = nil
	if w := spec.Will; w != nil {
		s.will = &lastWill{message: append(make([]byte, 0, len(w.Message)), w.Message...), delay: w.Delay}
	}
	return eff, present
}

// Close ends a connection: nothing happens unless it is the one that holds the session.
// will: publish the will, after its delay. expiry, when not nil, replaces the expiry
// interval, unless that was 0 (MQTT 5 section 3.14.2.2.2).
func (s *Session) Close(now int64, epoch uint64, will bool, expiry *uint32, eff []Effect) []Effect {
	if !s.Holds(epoch) {
		return eff
	}
	s.own()
	s.connected = false
	if expiry != nil && s.expiry != 0 {
		s.expiry = *expiry
	}
	switch {
	case !will:
		s.will = nil
	case s.will != nil && s.will.delay == 0:
		eff = s.publishWill(eff)
	case s.will != nil:
		s.will = &lastWill{s.will.message, s.will.delay, after(now, s.will.delay)}
	}
	if s.expiry == 0 {
		return s.end(eff, true)
	}
	if s.expiry != Forever {
		s.ends = after(now, s.expiry)
	}
	return eff
}

// after is never 0, which stands for never.
func after(now int64, seconds uint32) int64 { return max(now+int64(seconds)*1000, 1) }

// Expire lets time pass: the will of a client that is gone, and the end of its session.
func (s *Session) Expire(now int64, eff []Effect) []Effect {
	at := s.NextDeadline()
	if at == 0 || at > now {
		return eff
	}
	s.own()
	if at := s.willAt(); at != 0 && at <= now {
		eff = s.publishWill(eff)
	}
	if s.ends != 0 && s.ends <= now {
		eff = s.end(eff, true)
	}
	return eff
}

// NextDeadline is when Expire has something to do, in ms; 0: never.
func (s *Session) NextDeadline() int64 {
	switch at := s.willAt(); {
	case at == 0:
		return s.ends
	case s.ends == 0:
		return at
	default:
		return min(at, s.ends)
	}
}

// willAt is when the will is to be published, in ms; 0: not while connected, or there is none.
func (s *Session) willAt() int64 {
	if s.will == nil {
		return 0
	}
	return s.will.at
}

// End ends the session whatever its state: an operator asked for it.
func (s *Session) End(eff []Effect) []Effect {
	s.own()
	if s.connected {
		eff = append(eff, Effect{Kind: TakenOver, Epoch: s.epoch})
		s.connected = false
	}
	return s.end(eff, true)
}

// end discards the session. A will that still waits for its delay is published now, as
// the session ends first (MQTT 5 section 3.1.3.2.2).
func (s *Session) end(eff []Effect, forget bool) []Effect {
	if s.created == 0 {
		return eff
	}
	if s.will != nil {
		eff = s.publishWill(eff)
	}
	if s.subs != nil {
		s.subs.Scan(func(filter string, _ Options) bool {
			eff = append(eff, Effect{Kind: Unsubscribed, Filter: filter})
			return true
		})
		s.subs, s.subV = nil, s.gen
	}
	s.created, s.ends, s.expiry = 0, 0, 0
	s.next, s.free, s.window, s.head, s.in = 0, 0, nil, 0, incoming{}
	eff = append(eff, Effect{Kind: Discarded})
	if forget {
		eff = append(eff, Effect{Kind: Ended})
	}
	return eff
}

func (s *Session) publishWill(eff []Effect) []Effect {
	eff = append(eff, Effect{Kind: PublishWill, Will: s.will.message})
	s.will = nil
	return eff
}

// Holds tells whether that connection holds the session.
func (s *Session) Holds(epoch uint64) bool { return s.connected && s.epoch == epoch }

// ---- subscriptions -------------------------------------------------------

// Subscribe adds or replaces a subscription; existed tells which (MQTT5-3.8.4-3).
func (s *Session) Subscribe(filter string, o Options) (existed bool, err error) {
	s.own()
	if s.subs == nil {
		s.subs = new(btree.Map[string, Options])
	}
	if s.subs.Len() >= SubscriptionsMax {
		if _, ok := s.subs.Get(filter); !ok {
			return false, fault.New(fault.Exhausted, "subscribe", filter, "%d subscriptions", s.subs.Len())
		}
	}
	s.subV = s.gen
	_, existed = s.subs.Set(filter, o)
	return existed, nil
}

// Unsubscribe removes a subscription and tells whether there was one.
func (s *Session) Unsubscribe(filter string) bool {
	if s.subs == nil {
		return false
	}
	s.own()
	if _, ok := s.subs.Delete(filter); !ok {
		return false
	}
	s.subV = s.gen
	if s.subs.Len() == 0 {
		s.subs = nil
	}
	return true
}

// Subscription returns the options of a filter.
func (s *Session) Subscription(filter string) (Options, bool) {
	if s.subs == nil {
		return Options{}, false
	}
	return s.subs.Get(filter)
}

// Subscriptions calls f for each subscription, by filter, until it returns false.
func (s *Session) Subscriptions(f func(filter string, o Options) bool) {
	if s.subs != nil {
		s.subs.Scan(f)
	}
}

// ---- what a session is ---------------------------------------------------

// Info is a session as it stands.
type Info struct {
	Created       uint64 // epoch of the connection that made it
	Epoch         uint64 // of the last connection
	Connected     bool
	Expiry        uint32 // seconds
	Ends          int64  // ms; 0: not while connected, or never
	WillAt        int64  // ms at which the will of a client that is gone is published; 0 none
	HasWill       bool
	ReceiveMax    int
	Inflight      int // deliveries under way to the client
	Received      int // QoS 2 publishes of the client that wait for their PUBREL
	Subscriptions int
}

// Info describes the session.
func (s *Session) Info() Info {
	i := Info{
		Created: s.created, Epoch: s.epoch, Connected: s.connected, Expiry: s.expiry, Ends: s.ends, WillAt: s.willAt(),
		HasWill: s.will != nil, ReceiveMax: s.limit(), Inflight: len(s.inflight()), Received: len(s.in.received),
	}
	if s.subs != nil {
		i.Subscriptions = s.subs.Len()
	}
	return i
}
