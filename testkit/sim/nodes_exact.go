package sim

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
)

// nodeFlow is one publish at QoS 2, from PUBLISH to PUBCOMP.
type nodeFlow struct {
	pid    uint16
	id     string
	stored bool // PUBREC has come
}

// line is one connection of a client: its sink, and what has come over it, in order.
type line struct {
	l    *life
	mu   sync.Mutex
	got  []lineEvent
	some chan struct{} // capacity 1
	gone bool
}

// lineEvent is one packet that comes to the client.
type lineEvent struct {
	flow  *nodeFlow // PUBREC or PUBCOMP of it
	comp  bool
	rel   bool // PUBREL
	pid   uint16
	id    string // of a PUBLISH
	qos   uint8
	known bool
}

func newLine(l *life) *line { return &line{l: l, some: make(chan struct{}, 1)} }

func (c *line) put(e lineEvent) {
	c.mu.Lock()
	if !c.l.ended.Load() {
		c.got = append(c.got, e)
	}
	c.mu.Unlock()
	c.wake()
}

func (c *line) wake() {
	select {
	case c.some <- struct{}{}:
	default:
	}
}

// Deliver implements kernel.Sink.
func (c *line) Deliver(d *kernel.Delivery) bool {
	if d.Msg == nil {
		c.put(lineEvent{rel: true, pid: d.PacketID, known: true})
	} else {
		c.put(lineEvent{pid: d.PacketID, id: idOf(d.Msg.Value), qos: d.QoS})
	}
	return true
}

// Gone implements kernel.Sink: the connection ends.
func (c *line) Gone(kernel.GoneReason) {
	c.mu.Lock()
	c.gone = true
	c.mu.Unlock()
	c.wake()
}

// next waits for a packet; false: none comes within d, or the connection has ended.
func (c *line) next(d time.Duration) (lineEvent, bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		c.mu.Lock()
		gone := c.gone || c.l.ended.Load()
		if len(c.got) > 0 && !gone {
			e := c.got[0]
			c.got = c.got[1:]
			c.mu.Unlock()
			return e, true
		}
		c.mu.Unlock()
		if gone {
			return lineEvent{}, false
		}
		select {
		case <-c.some:
		case <-timer.C:
			return lineEvent{}, false
		}
	}
}

// openLine connects a client to some node; nil: the run ends.
func (g *guest) openLine(opened bool) (*line, *kernel.Session) {
	for {
		g.at("connects")
		l, k := g.connect()
		if k == nil {
			return nil, nil
		}
		c := newLine(l)
		ctx, cancel := g.f.patience()
		s, present, err := k.OpenSession(ctx, kernel.SessionSpec{Namespace: "/", ClientID: g.name, Expiry: kernel.ExpiryNever, ReceiveMaximum: 10, Sink: c})
		cancel()
		switch {
		case err != nil:
			g.at("connects: %v", err)
			time.Sleep(calmStep) // virtual
			continue
		case opened && !present:
			g.f.breach("session %s is gone", g.name)
			return nil, nil
		}
		g.f.count(&g.f.report.TakeOvers)
		return c, s
	}
}

// publishExactly publishes at QoS 2, over one connection after another: on each it sends again what
// has no PUBREC, and releases again what has no PUBCOMP, in order.
func (g *guest) publishExactly() {
	var flows []*nodeFlow
	made, opened := 0, false
	for made < nodesExact || len(flows) > 0 {
		c, s := g.openLine(opened)
		if c == nil {
			return
		}
		opened = true
		s.Start()
		for _, f := range flows {
			g.send(c, s, f)
		}
		breaks := g.rand.IntN(12) // packets until the connection breaks
		for n := 0; made < nodesExact || len(flows) > 0; n++ {
			g.at("%d of %d made, %d under way", made, nodesExact, len(flows))
			if made < nodesExact && len(flows) < flowsMax && g.rand.IntN(2) == 0 {
				f := &nodeFlow{pid: uint16(1 + g.rand.IntN(packetIDs)), id: fmt.Sprintf("%s-%04d", g.name, made)}
				for slices.ContainsFunc(flows, func(o *nodeFlow) bool { return o.pid == f.pid }) {
					f.pid = 1 + f.pid%packetIDs
				}
				made++
				g.mu.Lock()
				g.exact[f.id] = false
				g.mu.Unlock()
				flows = append(flows, f)
				g.send(c, s, f)
			}
			if n >= breaks && !g.f.isCalm() {
				break
			}
			if len(flows) == 0 {
				g.think()
				continue
			}
			e, ok := c.next(nodesWait)
			if !ok {
				break
			}
			if f := e.flow; f != nil {
				g.f.note("%s has the answer to packet %d, %s: known %v", g.name, f.pid, f.id, e.known)
			}
			switch f := e.flow; {
			case f == nil:
			case e.comp || !e.known: // over, or refused
				flows = slices.DeleteFunc(flows, func(o *nodeFlow) bool { return o == f })
			case !f.stored:
				f.stored = true
				g.mu.Lock()
				g.exact[f.id] = true
				g.mu.Unlock()
				g.f.count(&g.f.report.ExactlyIn)
				g.send(c, s, f)
			}
			time.Sleep(time.Duration(g.rand.Int64N(int64(nodesThink / 3)))) // virtual
		}
		if g.rand.IntN(2) == 0 && !c.l.ended.Load() {
			s.Close(false, nil)
		} // else the next connection takes the session over
	}
}

// send sends what a flow is due: PUBLISH, or PUBREL.
func (g *guest) send(c *line, s *kernel.Session, f *nodeFlow) {
	g.f.note("%s sends packet %d, %s, to node %d, released %v", g.name, f.pid, f.id, c.l.n.id, f.stored)
	if f.stored {
		s.Release(f.pid, func(known bool) { c.put(lineEvent{flow: f, comp: true, known: known}) })
		return
	}
	k := c.l.k.Load()
	if k == nil {
		return
	}
	err := k.Publish(&kernel.Publish{
		Namespace: "/", From: s, PacketID: f.pid,
		Msg:   message.Message{Source: message.MQTT, Address: nodesPlant + "/a", Value: fill(f.id, g.rand.IntN(100)), QoS: 2},
		Reply: received(func(err error) { c.put(lineEvent{flow: f, known: err == nil}) }),
	})
	if err != nil {
		c.Gone(kernel.GoneClosing) // the adapter would hold it; this client gives up
	}
}

// receive is a client with a durable session: it is given what was published at QoS 2, on one
// connection after another, until it has all.
func (g *guest) receive(qos int) {
	have := make(map[uint16]string) // what a client keeps: given, and not released
	for {
		c, s := g.openLine(true)
		if c == nil {
			return
		}
		s.Start()
		breaks := g.rand.IntN(20) // packets until the connection breaks
		for n := 0; ; n++ {
			if g.hasAll() {
				s.Close(false, nil)
				return
			}
			if n >= breaks && !g.f.isCalm() {
				break
			}
			e, ok := c.next(nodesWait)
			if !ok {
				break
			}
			g.packet(c, s, e, have, qos)
		}
		if g.rand.IntN(2) == 0 && !c.l.ended.Load() {
			s.Close(false, nil)
		}
	}
}

// packet is what a client does with a packet. have is what it keeps over connections.
func (g *guest) packet(c *line, s *kernel.Session, e lineEvent, have map[uint16]string, qos int) {
	g.at("packet %+v", e)
	g.f.note("%s has packet %+v of node %d", g.name, e, c.l.n.id)
	c.l.gate.pass()
	switch {
	case e.rel:
		delete(have, e.pid)
		if e.known {
			s.Ack(e.pid, true)
		}
	case qos == 1:
		g.given(e.id, false)
		s.Ack(e.pid, true)
	default:
		before, again := have[e.pid]
		if again && before != e.id {
			g.f.breach("session %s is given %s as packet %d, which is %s and not released", g.name, e.id, e.pid, before)
		}
		if !again {
			have[e.pid] = e.id
			g.given(e.id, true)
		}
		s.Received(e.pid, func(known bool) { c.put(lineEvent{rel: true, pid: e.pid, known: known}) })
	}
}

// given notes that the session's client was given a message; once: it is not to be twice.
func (g *guest) given(id string, once bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, sent := g.exact[id]; !sent {
		g.f.breach("session %s is given %q, which nobody sent", g.name, id)
	}
	if once && g.got[g.name][id] {
		g.f.breach("session %s is given %s twice, at QoS 2", g.name, id)
	}
	g.got[g.name][id] = true
	g.f.count(&g.f.report.ExactlyOut)
}

// hasAll tells whether the session's client was given all, and no more will come.
func (g *guest) hasAll() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open > 0 {
		return false
	}
	missing := ""
	for id, acked := range g.exact {
		if acked && !g.got[g.name][id] {
			missing = id
		}
	}
	if missing == "" {
		return true
	}
	g.f.mu.Lock()
	g.f.busy[g.name] = "waits for " + missing
	g.f.mu.Unlock()
	return false
}
