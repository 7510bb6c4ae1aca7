package mqtt

import (
	"sync"

	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/wire"
)

// A plan of faults may have packets lost, held back, sent twice, answered with a failure, or the connection ended.
// Without rules for MQTT a packet pays the loads in disturbed.

// disturbed tells whether the plan of faults is to be asked about what the client is sent.
func (c *conn) disturbed() bool {
	return c.server.cfg.Chaos.On(chaos.MQTT) || c.line.Load() != nil
}

// disturb asks about a packet that write appends to the outbox; topic is that of PUBLISH. true: it is taken care of.
func (c *conn) disturb(topic string, write func(dst []byte) []byte) bool {
	packet := write(nil)
	f, n, _, err := mqttwire.ReadFrame(packet, c.version, mqttwire.PacketMax)
	if err != nil || n == 0 {
		return false
	}
	act, ok := c.server.cfg.Chaos.Ask(chaos.Ask{Seam: chaos.MQTT, What: f.Type.String(), Client: c.clientID, Topic: topic})
	l := c.line.Load()
	if !ok {
		return l != nil && l.behind(packet)
	}
	switch act.Do {
	case chaos.Drop:
	case chaos.Delay:
		if l == nil {
			c.line.CompareAndSwap(nil, &line{c: c})
			l = c.line.Load()
		}
		l.hold(packet, act)
	case chaos.Duplicate:
		again := append([]byte(nil), packet...)
		if f.Type == mqttwire.PUBLISH && f.Flags&6 != 0 {
			again[0] |= 8 // DUP, as QoS is not 0 (MQTT5-3.3.1-1)
		}
		c.late(l, append(append([]byte(nil), packet...), again...))
	case chaos.Answer:
		c.answerWith(l, f, mqttwire.Reason(act.Code))
	default:
		c.breakOff(act)
	}
	return true
}

// late sends a packet behind those that are held back.
func (c *conn) late(l *line, packet []byte) {
	if l != nil && l.behind(packet) {
		return
	}
	if !c.out.Write(packet) {
		c.tooSlow()
	}
}

// answerWith sends an acknowledgement with another reason. MQTT 3 has none but in SUBACK: the connection ends instead,
// as it does for every publish that fails.
func (c *conn) answerWith(l *line, f mqttwire.Frame, r mqttwire.Reason) {
	switch f.Type {
	case mqttwire.SUBACK, mqttwire.UNSUBACK:
		var p mqttwire.Suback
		if p.Decode(c.version, f) != nil {
			return
		}
		for i := range p.Reasons {
			if p.Reasons[i] = r; c.version != mqttwire.V5 {
				p.Reasons[i] = mqttwire.UnspecifiedError
			}
		}
		if c.version == mqttwire.V5 || f.Type == mqttwire.SUBACK {
			c.late(l, p.Append(nil, c.version))
			return
		}
	default:
		var p mqttwire.Ack
		if p.Decode(c.version, f) != nil {
			return
		}
		if c.version == mqttwire.V5 {
			p.Reason = r
			send := func() { c.late(l, p.Append(nil, c.version)) }
			if p.Type != mqttwire.PUBREC || !r.Failed() {
				send()
				return
			}
			c.receivedNot(p.PacketID)
			c.session.Release(p.PacketID, func(bool) { send() }) // the identifier is free with the answer (MQTT5-4.3.3-9)
			return
		}
	}
	c.end(r, injected)
}

// receivedNot forgets a QoS 2 publish that was in progress.
func (c *conn) receivedNot(id uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flow != nil {
		delete(c.flow.receiving, id)
	}
}

// injected is what a client is told of an end that the plan of faults wants.
const injected = "a planned fault"

// breakOff ends the connection.
func (c *conn) breakOff(act chaos.Act) {
	if act.Do == chaos.Disconnect {
		if !c.connected.Load() {
			c.refuse(mqttwire.Reason(act.Code), injected)
			return
		}
		c.end(mqttwire.Reason(act.Code), injected)
		return
	}
	c.ended.Store(true)
	wire.Reset(c.nc)
}

// disturbIn asks about a packet from the client; topic is that of PUBLISH. gone: nothing more is done with it.
func (c *conn) disturbIn(t mqttwire.Type, topic string) (act chaos.Act, gone bool) {
	act, ok := c.server.cfg.Chaos.Ask(chaos.Ask{Seam: chaos.MQTT, What: t.String(), In: true, Client: c.clientID, Topic: topic})
	if !ok {
		return act, false
	}
	switch act.Do {
	case chaos.Drop:
		return act, true
	case chaos.Delay:
		c.rest() // what came before it is not to wait too
		c.server.cfg.Chaos.Wait(act, c.server.ctx.Done(), wire.Closed(c.nc))
		return act, c.ended.Load()
	case chaos.Answer:
		if t == mqttwire.CONNECT {
			c.refuse(mqttwire.Reason(act.Code), injected)
			return act, true
		}
		return act, false
	}
	c.breakOff(act)
	return act, true
}

// failPublish answers a PUBLISH that is not taken.
func (c *conn) failPublish(p *mqttwire.Publish, r mqttwire.Reason) error {
	switch {
	case p.QoS == 0:
		return nil
	case c.version != mqttwire.V5:
		return &mqttwire.Error{Reason: r, Text: injected}
	}
	a := mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: p.PacketID, Reason: r}
	if p.QoS == 2 {
		a.Type = mqttwire.PUBREC
	}
	c.ack(&a)
	return nil
}

// line is what of a connection is held back: in the order of sending, as on a slow network.
type line struct {
	c *conn

	mu      sync.Mutex // not held while the connection is told to end: what it is sent then comes here too
	waiting []held
	bytes   int
	cancel  func() // the waiting for the first one; nil: nothing waits
	over    bool   // the connection is
}

type held struct {
	packet []byte
	act    chaos.Act // whose delay it waits for, behind what is before it; zero: for that alone
}

// lineMax bounds, in bytes, what is held back for a client; at it the connection ends, as for who does not read.
const lineMax = 64 << 20

// behind puts a packet behind what is held back; false: nothing is.
func (l *line) behind(packet []byte) bool {
	l.mu.Lock()
	some, fits := len(l.waiting) > 0, true
	if some {
		fits = l.putLocked(packet, chaos.Act{})
	}
	l.mu.Unlock()
	if !fits {
		l.c.tooSlow()
	}
	return some
}

func (l *line) hold(packet []byte, act chaos.Act) {
	l.mu.Lock()
	fits := l.putLocked(packet, act)
	if l.cancel == nil && len(l.waiting) > 0 {
		l.nextLocked()
	}
	l.mu.Unlock()
	if !fits {
		l.c.tooSlow()
	}
}

func (l *line) putLocked(packet []byte, act chaos.Act) (fits bool) {
	switch {
	case l.over:
		return true // nobody is there to get it
	case l.bytes+len(packet) > lineMax:
		return false
	}
	l.bytes += len(packet)
	l.waiting = append(l.waiting, held{append([]byte(nil), packet...), act})
	return true
}

// nextLocked waits for the first one. Caller holds l.mu.
func (l *line) nextLocked() {
	l.cancel = l.c.server.cfg.Chaos.After(l.waiting[0].act, l.due)
}

// due sends the first one, and those behind it that waited for it alone.
func (l *line) due() {
	l.mu.Lock()
	taken := true
	for first := true; len(l.waiting) > 0 && (first || l.waiting[0].act.Delay == 0); first = false {
		h := l.waiting[0]
		l.waiting[0] = held{}
		l.waiting = l.waiting[1:]
		l.bytes -= len(h.packet)
		taken = l.c.out.Write(h.packet) && taken
	}
	if l.cancel = nil; len(l.waiting) > 0 {
		l.nextLocked()
	} else {
		l.waiting = nil
	}
	l.mu.Unlock()
	if !taken { // closed, or full
		l.c.tooSlow()
	}
}

// end lets go of what is held back for a client that is gone.
func (l *line) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over, l.waiting, l.bytes = true, nil, 0
	if l.cancel != nil {
		l.cancel()
	}
}
