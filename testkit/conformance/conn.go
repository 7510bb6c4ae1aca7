package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	mqtt "github.com/robustmq/rmq/broker/mqttwire"
)

// conn is one raw connection. Its methods end the test when the server does anything but
// what they want.
type conn struct {
	t      *T
	v      mqtt.Version
	id     string // client identifier
	name   string // in the exchange: c1, c2…
	nc     net.Conn
	buf    []byte
	held   []packet // came while another was awaited
	nextID uint16
	ack    *mqtt.Connack // once accepted
	over   bool          // the server has closed

	patience time.Duration // for one packet
}

// dial opens a connection, without CONNECT.
func (t *T) dial() *conn {
	t.dialled++
	c := &conn{t: t, v: t.v, name: fmt.Sprintf("c%d", t.dialled), patience: t.run.cfg.Patience}
	ctx, cancel := context.WithTimeout(t.ctx, t.run.cfg.Patience)
	defer cancel()
	protocol := "mqtt"
	if t.v == mqtt.V31 {
		protocol = "mqttv3.1"
	}
	nc, err := t.run.target.dial(ctx, t.dialled, protocol)
	if err != nil {
		t.fail("a connection", err.Error())
	}
	c.nc = nc
	t.conns = append(t.conns, c)
	return c
}

// send writes packets at once.
func (c *conn) send(packets ...[]byte) {
	all := join(packets...)
	for _, p := range packets {
		c.t.note(c, '>', p, describe(c.v, p))
	}
	_ = c.nc.SetWriteDeadline(time.Now().Add(c.t.run.cfg.Patience))
	_, _ = c.nc.Write(all) // a server that has closed says so to the reader
}

// read returns the next packet; io.EOF when the server has closed.
func (c *conn) read() (packet, error) {
	if len(c.held) > 0 {
		p := c.held[0]
		c.held = c.held[1:]
		return p, nil
	}
	return c.fetch()
}

// fetch is read without what is held.
func (c *conn) fetch() (packet, error) {
	_ = c.nc.SetReadDeadline(time.Now().Add(c.patience))
	for {
		f, n, _, err := mqtt.ReadFrame(c.buf, c.v, mqtt.PacketMax)
		if err != nil {
			c.t.note(c, '<', c.buf, "")
			c.t.fail("packets that may be sent", err.Error())
		}
		if n > 0 {
			raw := c.buf[:n:n]
			c.buf = c.buf[n:]
			body, err := decode(c.v, f)
			c.t.note(c, '<', raw, describe(c.v, raw))
			if err != nil && !(c.t.otherVersion && f.Type == mqtt.CONNACK) {
				c.t.fail("packets that may be sent", f.Type.String()+": "+err.Error())
			}
			return packet{Frame: f, Body: body, size: n}, nil
		}
		chunk := make([]byte, 16<<10)
		k, err := c.nc.Read(chunk)
		c.buf = append(c.buf, chunk[:k]...)
		if k > 0 {
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
			return packet{}, os.ErrDeadlineExceeded
		}
		if len(c.buf) > 0 {
			c.t.note(c, '<', c.buf, "a packet's beginning")
			c.buf = nil
		}
		if !c.over {
			c.over = true
			c.t.remark(c, "closed by the server")
		}
		return packet{}, io.EOF
	}
}

// next wants another packet.
func (c *conn) next(want string) packet {
	p, err := c.read()
	switch {
	case errors.Is(err, io.EOF):
		c.t.fail(want, "the connection was closed")
	case err != nil:
		c.t.fail(want, fmt.Sprintf("nothing for %v", c.patience))
	}
	return p
}

func (p packet) words(v mqtt.Version) string { return p.Type.String() + words(v, p.Body) }

// expect wants the next packet to be of a type.
func (c *conn) expect(typ mqtt.Type) packet {
	p := c.next(typ.String())
	if p.Type != typ {
		c.t.fail(typ.String(), p.words(c.v))
	}
	return p
}

// await returns the next packet that fits, and holds what comes before it.
func (c *conn) await(want string, fits func(packet) bool) packet {
	for i, p := range c.held {
		if fits(p) {
			c.held = slices.Delete(c.held, i, i+1)
			return p
		}
	}
	held := c.held
	for {
		c.held = nil
		p := c.next(want)
		if fits(p) {
			c.held = held
			return p
		}
		held = append(held, p)
	}
}

// quiet wants nothing to have come: a PINGRESP is the next thing that does.
func (c *conn) quiet() {
	c.send(mqtt.AppendPingreq(nil))
	p := c.next("PINGRESP, and nothing before")
	if p.Type != mqtt.PINGRESP {
		c.t.fail("PINGRESP, and nothing before", p.words(c.v))
	}
}

// ---- the end

// ended wants the server to close the connection. A reason that it gives should be one of
// those; another, or none in MQTT 5, is a variation. What is framed as packets is followed by a
// PINGREQ, so that a server that goes on shows it.
func (c *conn) ended(reasons ...mqtt.Reason) { c.closing(true, reasons) }

// endedCut is ended after bytes that are no whole packet.
func (c *conn) endedCut(reasons ...mqtt.Reason) { c.closing(false, reasons) }

func (c *conn) closing(ping bool, reasons []mqtt.Reason) {
	want := "the end of the connection"
	if c.v == mqtt.V5 && len(reasons) > 0 {
		kind := "DISCONNECT"
		if c.ack == nil {
			kind = "CONNACK"
		}
		want = kind + " with " + codes(reasons) + ", and the end of the connection"
	}
	if ping {
		c.send(mqtt.AppendPingreq(nil))
	}
	told := false
	for {
		p, err := c.read()
		switch {
		case errors.Is(err, io.EOF):
			if !told && c.v == mqtt.V5 && len(reasons) > 0 {
				c.t.vary(want, "the end of the connection, without a reason")
			}
			return
		case err != nil:
			c.t.fail(want, "the connection is open still")
		case told:
			c.t.fail("nothing more before the end", p.words(c.v))
		}
		var reason mqtt.Reason
		switch b := p.Body.(type) {
		case *mqtt.Disconnect:
			if c.v != mqtt.V5 || c.ack == nil {
				c.t.fail(want, p.words(c.v))
			}
			reason = b.Reason
		case *mqtt.Connack:
			if c.v != mqtt.V5 || c.ack != nil || !b.Reason.Failed() {
				c.t.fail(want, p.words(c.v))
			}
			reason = b.Reason
		default:
			c.t.fail(want, p.words(c.v))
		}
		told = true
		if !reason.Failed() {
			c.t.fail(want, p.words(c.v))
		}
		if len(reasons) > 0 && !slices.Contains(reasons, reason) {
			c.t.vary(want, p.words(c.v))
		}
	}
}

func codes(reasons []mqtt.Reason) string {
	var s []string
	for _, r := range reasons {
		s = append(s, fmt.Sprintf("0x%02X", byte(r)))
	}
	return strings.Join(s, " or ")
}

// drop cuts the connection, as a network that fails does.
func (c *conn) drop() {
	c.t.remark(c, "cut by the client")
	_ = c.nc.Close()
}

// disconnect says DISCONNECT, and returns when the server has closed: it has by then done
// what it does about it.
func (c *conn) disconnect(reason mqtt.Reason, ps mqtt.Properties) {
	d := mqtt.Disconnect{Reason: reason, Properties: ps}
	c.send(d.Append(nil, c.v))
	c.gone()
}

// leave is disconnect without a word more.
func (c *conn) leave() { c.disconnect(mqtt.NormalDisconnection, nil) }

// gone wants the server to close, whatever comes before.
func (c *conn) gone() {
	for {
		if _, err := c.fetch(); errors.Is(err, io.EOF) {
			_ = c.nc.Close()
			return
		} else if err != nil {
			c.t.fail("the end of the connection after DISCONNECT", "the connection is open still")
		}
	}
}

// ---- CONNECT

type option func(*mqtt.Connect)

func clean(yes bool) option     { return func(p *mqtt.Connect) { p.CleanStart = yes } }
func as(id string) option       { return func(p *mqtt.Connect) { p.ClientID = []byte(id) } }
func keepAlive(s uint16) option { return func(p *mqtt.Connect) { p.KeepAlive = s } }

// property appends to the properties of CONNECT; nothing before MQTT 5.
func property(f func(mqtt.Properties) mqtt.Properties) option {
	return func(p *mqtt.Connect) {
		if p.Version == mqtt.V5 {
			p.Properties = f(p.Properties)
		}
	}
}

func num16(id mqtt.PropertyID, n uint16) option {
	return property(func(ps mqtt.Properties) mqtt.Properties { return ps.Uint16(id, n) })
}

func num32(id mqtt.PropertyID, n uint32) option {
	return property(func(ps mqtt.Properties) mqtt.Properties { return ps.Uint32(id, n) })
}

func num8(id mqtt.PropertyID, n byte) option {
	return property(func(ps mqtt.Properties) mqtt.Properties { return ps.Byte(id, n) })
}

// sessionFor is how long the sessions of tests last that outlive their connection, in seconds.
const sessionFor = 600

// durable asks for a session that outlives the connection, and resumes one there is.
func durable(p *mqtt.Connect) { lasting(sessionFor)(p) }

// lasting is durable for so many seconds.
func lasting(seconds uint32) option {
	return func(p *mqtt.Connect) {
		p.CleanStart = false
		num32(mqtt.SessionExpiry, seconds)(p)
	}
}

// will leaves a will message.
func will(topic, payload string, qos byte, retain bool) option {
	return func(p *mqtt.Connect) {
		p.Will, p.WillQoS, p.WillRetain = true, qos, retain
		p.WillTopic, p.WillPayload = []byte(topic), []byte(payload)
	}
}

// willProperties sets the will's properties; nothing before MQTT 5.
func willProperties(ps mqtt.Properties) option {
	return func(p *mqtt.Connect) {
		if p.Version == mqtt.V5 {
			p.WillProps = ps
		}
	}
}

// hello makes a CONNECT with a client identifier of its own.
func (t *T) hello(options ...option) mqtt.Connect {
	p := mqtt.Connect{Version: t.v, CleanStart: true, KeepAlive: 60}
	if user := t.run.target.user; user != "" {
		p.HasUserName, p.UserName = true, []byte(user)
		if pass := t.run.target.pass; pass != nil {
			p.HasPassword, p.Password = true, []byte(*pass)
		}
	}
	for _, o := range options {
		o(&p)
	}
	if p.ClientID == nil {
		p.ClientID = []byte(t.clientID())
	}
	return p
}

// connect connects, and wants to be let in.
func (t *T) connect(options ...option) *conn {
	p := t.hello(options...)
	c := t.dial()
	c.id = string(p.ClientID)
	if expiry, _ := p.Properties.Num(mqtt.SessionExpiry); !p.CleanStart || expiry > 0 {
		t.left[c.id] = true
	}
	c.send(p.Append(nil))
	c.accepted()
	return c
}

// accepted wants CONNACK with success.
func (c *conn) accepted() {
	p := c.expect(mqtt.CONNACK)
	ack := p.Body.(*mqtt.Connack)
	if ack.Reason != mqtt.Success || ack.Code != mqtt.Accepted {
		c.t.fail("CONNACK with success", p.words(c.v))
	}
	c.ack = ack
	if id, ok := ack.Properties.Value(mqtt.AssignedClientID); ok {
		c.id = string(id)
	}
}

// present wants CONNACK to have said whether there was a session.
func (c *conn) present(want bool) {
	if c.ack.SessionPresent != want {
		c.t.fail(fmt.Sprintf("session present %v", want), fmt.Sprintf("session present %v", c.ack.SessionPresent))
	}
}

// ---- SUBSCRIBE and UNSUBSCRIBE

func (c *conn) packetID() uint16 {
	c.nextID++
	return c.nextID
}

// at is a filter with a QoS.
func at(topic string, qos byte) mqtt.Filter { return mqtt.Filter{Filter: []byte(topic), QoS: qos} }

// subscribe subscribes and returns the answers; what comes before SUBACK is held.
func (c *conn) subscribe(ps mqtt.Properties, filters ...mqtt.Filter) []mqtt.Reason {
	s := mqtt.Subscribe{PacketID: c.packetID(), Properties: ps, Filters: filters}
	c.send(s.Append(nil, c.v))
	return c.answers(mqtt.SUBACK, s.PacketID, len(filters))
}

// subscribed subscribes, and wants each filter to be granted.
func (c *conn) subscribed(ps mqtt.Properties, filters ...mqtt.Filter) {
	for i, r := range c.subscribe(ps, filters...) {
		if r.Failed() {
			c.t.fail(fmt.Sprintf("a subscription to %q", filters[i].Filter), fmt.Sprintf("0x%02X (%s)", byte(r), r))
		}
	}
}

func (c *conn) unsubscribe(filters ...string) []mqtt.Reason {
	u := mqtt.Unsubscribe{PacketID: c.packetID()}
	for _, f := range filters {
		u.Filters = append(u.Filters, []byte(f))
	}
	c.send(u.Append(nil, c.v))
	n := len(filters)
	if c.v != mqtt.V5 {
		n = 0
	}
	return c.answers(mqtt.UNSUBACK, u.PacketID, n)
}

func (c *conn) answers(typ mqtt.Type, id uint16, n int) []mqtt.Reason {
	want := fmt.Sprintf("%s for packet %d with %d codes", typ, id, n)
	p := c.await(want, func(p packet) bool { return p.Type == typ })
	ack := p.Body.(*mqtt.Suback)
	if ack.PacketID != id || len(ack.Reasons) != n {
		c.t.fail(want, p.words(c.v))
	}
	return ack.Reasons
}

// subscriber is a client that is subscribed.
func (t *T) subscriber(topic string, qos byte, options ...option) *conn {
	c := t.connect(options...)
	c.subscribed(nil, at(topic, qos))
	return c
}

// ---- PUBLISH

type change func(*mqtt.Publish)

func retain(p *mqtt.Publish)         { p.Retain = true }
func with(ps mqtt.Properties) change { return func(p *mqtt.Publish) { p.Properties = ps } }
func dup(p *mqtt.Publish)            { p.Dup = true }
func withID(id uint16) change        { return func(p *mqtt.Publish) { p.PacketID = id } }

// publication makes a PUBLISH and sends it.
func (c *conn) publication(topic, payload string, qos byte, changes ...change) mqtt.Publish {
	p := mqtt.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: qos}
	for _, f := range changes {
		f(&p)
	}
	if qos > 0 && p.PacketID == 0 {
		p.PacketID = c.packetID()
	}
	if p.Retain {
		c.t.retained[topic] = true
	}
	c.send(p.Append(nil, c.v))
	return p
}

// publish publishes, and wants what QoS 1 and 2 promise. It returns the code of PUBACK or
// PUBREC; one that failed ends QoS 2.
func (c *conn) publish(topic, payload string, qos byte, changes ...change) mqtt.Reason {
	p := c.publication(topic, payload, qos, changes...)
	switch qos {
	case 1:
		return c.acknowledged(mqtt.PUBACK, p.PacketID).Reason
	case 2:
		r := c.acknowledged(mqtt.PUBREC, p.PacketID).Reason
		if !r.Failed() {
			c.release(p.PacketID)
		}
		return r
	}
	return mqtt.Success
}

// acknowledged wants an acknowledgement; what comes before it is held.
func (c *conn) acknowledged(typ mqtt.Type, id uint16) *mqtt.Ack {
	want := fmt.Sprintf("%s for packet %d", typ, id)
	p := c.await(want, func(p packet) bool { return p.Type == typ })
	ack := p.Body.(*mqtt.Ack)
	if ack.PacketID != id {
		c.t.fail(want, p.words(c.v))
	}
	return ack
}

// release sends PUBREL and wants PUBCOMP.
func (c *conn) release(id uint16) *mqtt.Ack {
	c.confirm(mqtt.PUBREL, id, mqtt.Success)
	return c.acknowledged(mqtt.PUBCOMP, id)
}

// confirm sends an acknowledgement.
func (c *conn) confirm(typ mqtt.Type, id uint16, r mqtt.Reason) {
	a := mqtt.Ack{Type: typ, PacketID: id, Reason: r}
	c.send(a.Append(nil, c.v))
}

// message wants the next packet to be a message with that payload, and does not
// acknowledge it.
func (c *conn) message(payload string) *mqtt.Publish {
	want := fmt.Sprintf("PUBLISH with payload %q", payload)
	p := c.next(want)
	m, ok := p.Body.(*mqtt.Publish)
	if !ok || string(m.Payload) != payload {
		c.t.fail(want, p.words(c.v))
	}
	return m
}

// take is message, acknowledged as its QoS wants it.
func (c *conn) take(payload string) *mqtt.Publish {
	m := c.message(payload)
	c.settle(m)
	return m
}

func (c *conn) settle(m *mqtt.Publish) {
	switch m.QoS {
	case 1:
		c.confirm(mqtt.PUBACK, m.PacketID, mqtt.Success)
	case 2:
		c.confirm(mqtt.PUBREC, m.PacketID, mqtt.Success)
		c.acknowledged(mqtt.PUBREL, m.PacketID)
		c.confirm(mqtt.PUBCOMP, m.PacketID, mqtt.Success)
	}
}
