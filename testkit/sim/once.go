package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/message"
)

// exact is an MQTT client that publishes at QoS 2. It outlives the lives of the broker,
// and its connections: on each new one it sends again what has no PUBREC, and then
// releases again what has no PUBCOMP, in order.
type exact struct {
	name   string
	opened bool // its session is there, and stays

	mu      sync.Mutex
	changed sync.Cond
	flows   []*flow // not over, oldest first
	due     []*flow // PUBREC has come on this connection, PUBREL is to be sent
	conn    int     // counts connections: answers to an earlier one are not heard
}

// flow is one publish, from PUBLISH to PUBCOMP.
type flow struct {
	id       uint16
	address  string
	value    []byte
	acked    func(error) // of the model
	stored   bool        // PUBREC has come
	released bool        // PUBREL was sent, perhaps to no avail
}

const (
	exacts = 2 // clients of this kind
	// flowsMax is how many publishes of one client are under way.
	flowsMax = 4
	// packetIDs is how many identifiers it uses: few, so that each is used often.
	packetIDs = 6
)

func newExact(i int) *exact {
	x := &exact{name: fmt.Sprintf("exact%d", i)}
	x.changed.L = &x.mu
	return x
}

// exactly runs an exact client for one life.
func (c *client) exactly(ctx context.Context, x *exact) {
	r := rand.New(rand.NewPCG(uint64(c.number), c.sim.seed+3))
	for left := c.ops / 3; ; {
		s, err := c.connect(ctx, x)
		if err != nil {
			return
		}
		n, breaks := left, left > 0 && r.IntN(3) == 0 // connections break, too
		if breaks {
			n = r.IntN(left)
		}
		left -= n
		for range n {
			if !c.begin(ctx, x, s, r) {
				return
			}
		}
		if !breaks {
			x.mu.Lock()
			c.proceed(ctx, x, s, func() bool { return len(x.flows) == 0 })
			x.mu.Unlock()
			return
		}
		if r.IntN(2) == 0 {
			s.Close(false, nil)
		} // else the next connection takes the session over
	}
}

// connect opens the session and takes up what is under way.
func (c *client) connect(ctx context.Context, x *exact) (*kernel.Session, error) {
	x.mu.Lock()
	x.conn++
	x.due = nil
	again := slices.Clone(x.flows)
	x.mu.Unlock()
	s, present, err := c.node.OpenSession(ctx, sessionSpec(x.name, kerneltest.NewInbox()))
	if err != nil {
		return nil, err
	}
	m := c.sim.model
	m.mu.Lock()
	if x.opened && !present {
		m.breach("session %s is gone", x.name)
	}
	x.opened = true
	c.sim.report.Resent += len(again)
	m.mu.Unlock()
	s.Start()
	for _, f := range again {
		c.send2(x, s, f)
	}
	return s, nil
}

// begin makes the next publish, once there is room for it; false: this life is over.
func (c *client) begin(ctx context.Context, x *exact, s *kernel.Session, r *rand.Rand) bool {
	f := &flow{address: fmt.Sprintf("plant/m%d/temp", r.IntN(4))}
	id, size := r.IntN(packetIDs), r.IntN(200)
	x.mu.Lock()
	if !c.proceed(ctx, x, s, func() bool { return len(x.flows) < flowsMax }) {
		x.mu.Unlock()
		return false
	}
	for f.id = uint16(1 + id); slices.ContainsFunc(x.flows, func(o *flow) bool { return o.id == f.id }); {
		f.id = 1 + f.id%packetIDs
	}
	m, acked := c.toPlant(x.name + "." + c.name)
	f.acked, f.value = acked, fill(m.id, size)
	x.flows = append(x.flows, f)
	x.mu.Unlock()
	c.send2(x, s, f)
	return true
}

// proceed releases what has its PUBREC until a condition holds; false: this life is
// over. Caller holds x.mu, which is let go of meanwhile.
func (c *client) proceed(ctx context.Context, x *exact, s *kernel.Session, until func() bool) bool {
	for {
		switch {
		case len(x.due) > 0:
			f := x.due[0]
			x.due = x.due[1:]
			x.mu.Unlock()
			c.send2(x, s, f)
			x.mu.Lock()
		case until():
			return true
		case c.node.disk.stopped() || ctx.Err() != nil:
			return false
		default:
			x.changed.Wait()
		}
	}
}

// send2 sends what a flow is due: PUBLISH, or PUBREL.
func (c *client) send2(x *exact, s *kernel.Session, f *flow) {
	x.mu.Lock()
	conn, stored := x.conn, f.stored
	x.mu.Unlock()
	if stored {
		c.release(x, s, f, conn)
		return
	}
	p := kernel.Publish{Namespace: "/", From: s, PacketID: f.id, Msg: message.Message{Source: message.MQTT, Address: f.address, Value: f.value, QoS: 2}}
	p.Reply = received(func(err error) { c.received(x, f, conn, err) })
	c.node.Publish(&p)
}

// received is called as PUBREC comes.
type received func(err error)

func (f received) Published(_ uint64, r kernel.PublishResult) { f(r.Err) }

func (c *client) received(x *exact, f *flow, conn int, err error) {
	x.mu.Lock()
	heard := conn == x.conn && err == nil
	if heard {
		f.stored = true
		x.due = append(x.due, f)
	}
	x.changed.Broadcast()
	x.mu.Unlock()
	if !heard {
		return
	}
	m := c.sim.model
	m.mu.Lock()
	m.tick++
	f.acked(nil)
	c.sim.report.ExactlyOnce++
	m.mu.Unlock()
}

func (c *client) release(x *exact, s *kernel.Session, f *flow, conn int) {
	x.mu.Lock()
	again := f.released
	f.released = true
	x.mu.Unlock()
	s.Release(f.id, func(known bool) {
		x.mu.Lock()
		heard := conn == x.conn && !c.node.disk.stopped()
		if heard {
			x.flows = slices.DeleteFunc(x.flows, func(o *flow) bool { return o == f })
		}
		x.changed.Broadcast()
		x.mu.Unlock()
		if heard && !known && !again {
			m := c.sim.model
			m.mu.Lock()
			m.breach("session %s: PUBREL of %d, which had its PUBREC, is not known", x.name, f.id)
			m.mu.Unlock()
		}
	})
}
