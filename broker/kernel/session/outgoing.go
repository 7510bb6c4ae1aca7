package session

import "slices"

// State is how far a delivery has come.
type State uint8

const (
	AwaitAck  State = iota + 1 // QoS 1: PUBACK is to come
	AwaitRec                   // QoS 2: PUBREC is to come
	AwaitComp                  // QoS 2: PUBCOMP is to come; the message is settled
)

// Inflight is one delivery under way.
type Inflight struct {
	PacketID uint16
	State    State
	No       uint64 // of the delivery in the queue; rises from one to the next
}

// inflight is Inflight as it is kept: in the order in which they were sent.
type inflight struct {
	no    uint64
	id    uint16
	state State
}

// limit is how many deliveries may be under way.
func (s *Session) limit() int {
	if s.receiveMax == 0 {
		return PacketMax
	}
	return min(int(s.receiveMax), PacketMax)
}

func (s *Session) inflight() []inflight { return s.window[s.head:] }

// Room is how many more deliveries may be under way; it may be negative once a client
// comes back with a smaller window than it left with.
func (s *Session) Room() int { return s.limit() - len(s.inflight()) }

// Deliver gives a packet identifier to the delivery no, of QoS 1 or 2, of the session's
// queue; 0 when there is no room. no rises from call to call.
func (s *Session) Deliver(no uint64, qos uint8) (packetID uint16) {
	if s.Room() <= 0 {
		return 0
	}
	s.own()
	if s.free == 0 {
		s.scanFree()
	}
	s.next = successor(s.next)
	s.free--
	state := AwaitAck
	if qos == 2 {
		state = AwaitRec
	}
	if len(s.window) == cap(s.window) && s.head > 0 && int(s.head) >= len(s.window)/2 {
		n := copy(s.window, s.inflight())
		s.window, s.head = s.window[:n], 0
	}
	s.window = append(s.window, inflight{no, s.next, state})
	return s.next
}

func successor(id uint16) uint16 {
	if id >= PacketMax {
		return 1
	}
	return id + 1
}

// distance is how many steps of successor lead from a to b, from 1 to PacketMax.
func distance(a, b uint16) int {
	d := int(b) - int(a)
	if d <= 0 {
		d += PacketMax
	}
	return d
}

// scanFree moves next to before the next identifier that is not in use, and counts how
// many follow it. There must be one. Since identifiers are given in turn, looking through
// what is under way is needed about once a round.
func (s *Session) scanFree() {
	var used [PacketMax/64 + 1]uint64
	for _, f := range s.inflight() {
		used[f.id/64] |= 1 << (f.id % 64)
	}
	inUse := func(id uint16) bool { return used[id/64]>>(id%64)&1 != 0 }
	for inUse(successor(s.next)) {
		s.next = successor(s.next)
	}
	id := successor(s.next)
	for s.free = 0; s.free < PacketMax && !inUse(id); s.free++ {
		id = successor(id)
	}
}

// find returns the index of what is under way with that identifier; -1 when nothing is.
func (s *Session) find(id uint16) int {
	w := s.inflight()
	n := len(w)
	if n == 0 || id == 0 || id > PacketMax {
		return -1
	}
	// Sent and acknowledged in turn, as nearly always, it is where its number says.
	if d := distance(w[0].id, id) % PacketMax; d < n && w[d].id == id {
		return d
	}
	if d := n - 1 - distance(id, w[n-1].id)%PacketMax; d >= 0 && w[d].id == id {
		return d
	}
	for i := range w {
		if w[i].id == id {
			return i
		}
	}
	return -1
}

// Ack ends the delivery of that identifier: PUBACK, PUBCOMP, or a PUBREC that refuses. no
// is the delivery to be settled in the queue, 0 when that was done at Received. known
// false: there is no such delivery.
func (s *Session) Ack(packetID uint16) (no uint64, known bool) {
	i := s.find(packetID)
	if i < 0 {
		return 0, false
	}
	s.own()
	i += int(s.head)
	if s.window[i].state != AwaitComp {
		no = s.window[i].no
	}
	if i == int(s.head) {
		s.head++
	} else {
		s.window = slices.Delete(s.window, i, i+1)
	}
	if int(s.head) == len(s.window) {
		s.window, s.head = s.window[:0], 0
		if cap(s.window) > windowKeep {
			s.window = nil
		}
	}
	return no, true
}

// windowKeep bounds the memory that an idle session holds on to, in deliveries.
const windowKeep = 32

// Received notes PUBREC for a QoS 2 delivery. no is the delivery to be settled in the
// queue, 0 when that was done before. known false: there is no such delivery, and
// PUBREL says so with 0x92 (MQTT5-4.3.3).
func (s *Session) Received(packetID uint16) (no uint64, known bool) {
	i := s.find(packetID)
	if i < 0 || s.inflight()[i].state == AwaitAck {
		return 0, false
	}
	if s.inflight()[i].state == AwaitComp {
		return 0, true
	}
	s.own()
	f := &s.inflight()[i]
	f.state = AwaitComp
	return f.no, true
}

// State tells how far the delivery of that identifier has come.
func (s *Session) State(packetID uint16) (Inflight, bool) {
	i := s.find(packetID)
	if i < 0 {
		return Inflight{}, false
	}
	f := s.inflight()[i]
	return Inflight{f.id, f.state, f.no}, true
}

// PacketID returns the identifier that the delivery no was given; 0 when it is not
// under way.
func (s *Session) PacketID(no uint64) uint16 {
	i, ok := slices.BinarySearchFunc(s.inflight(), no, func(f inflight, no uint64) int {
		switch {
		case f.no < no:
			return -1
		case f.no > no:
			return 1
		}
		return 0
	})
	if !ok {
		return 0
	}
	return s.inflight()[i].id
}

// Inflight calls f for each delivery under way, in the order in which they were first
// sent: that in which a client that comes back is sent them again (MQTT5-4.4.0-1).
func (s *Session) Inflight(f func(Inflight) bool) {
	for _, d := range s.inflight() {
		if !f(Inflight{d.id, d.state, d.no}) {
			return
		}
	}
}
