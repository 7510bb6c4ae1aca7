package bridge

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/mqtt"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/setting"
	"github.com/robustmq/rmq/broker/wire"
)

const (
	// window is how many QoS 1 and 2 messages may be under way in each direction, if the remote broker
	// allows so many.
	window = 256
	// outboxMax is how many bytes may wait for the remote broker to take them; beyond dropAbove messages at
	// QoS 0 are dropped.
	outboxMax = 64 << 20
	dropAbove = 1 << 20
	// remoteExpiry is how long the remote broker is to keep our session while we are away, in seconds: one
	// that never ends would be left there when the bridge is removed meanwhile.
	remoteExpiry = 7 * 24 * 3600
	// subscribeID is the packet identifier of SUBSCRIBE. Deliveries have those up to 49151.
	subscribeID = 60000
)

// conn is one connection to the remote broker. It is the kernel's Sink of the bridge's session, and the
// Publisher of what comes in.
//
// Ownership:
//   - run's goroutine: in, answered, incoming, stamp, expected, and what CONNACK says, before the session starts.
//   - atomic: greeted, heard, ended, gone.
//   - mu: why, timer, pinged.
type conn struct {
	r       *runner
	nc      net.Conn
	in      *wire.Reader
	out     *wire.Outbox
	version mqttwire.Version
	plain   bool // of MQTT 3: CONNECT says nothing of bridges
	routes  []setting.Route
	cluster string // of this broker

	session  *kernel.Session // nil before CONNACK
	answered bool            // CONNACK has come, and accepts the version
	// What CONNACK says.
	present   bool
	maxOut    int
	maxQoS    uint8
	retains   bool
	keepAlive time.Duration
	remote    string // the remote broker's cluster; "": it has none

	incoming mqtt.Inbound // run's, as stamp
	stamp    mqttwire.Properties
	expected []string // filters that SUBACK is to grant, in their order; nil: it has

	greeted atomic.Bool  // CONNACK has let us in
	heard   atomic.Int64 // link time of the last packet, ns
	ended   atomic.Bool
	gone    atomic.Bool // the kernel has ended the session
	aside   sync.WaitGroup

	mu     sync.Mutex
	why    error       // what ended it
	timer  clock.Timer // nil: over
	pinged bool        // PINGREQ waits for an answer
}

func newConn(r *runner, nc net.Conn) *conn {
	return &conn{
		r: r, nc: nc, in: wire.NewReader(nc), out: wire.NewOutbox(nc, outboxMax), version: r.spec.Version(), plain: r.plain,
		routes: r.spec.Routes, cluster: r.b.k.Cluster(), maxOut: mqttwire.PacketMax, maxQoS: 2, retains: true, keepAlive: time.Duration(r.spec.KeepAlive) * time.Second,
	}
}

// run speaks with the remote broker until the connection ends, and returns why.
func (c *conn) run() error {
	stop := context.AfterFunc(c.r.ctx, func() { c.end(context.Cause(c.r.ctx)) })
	defer stop()
	c.arm(connectTimeout)
	c.out.Append(c.connect)
	c.end(c.serve())
	c.close()
	c.r.plain = c.plain && c.answered
	if c.version != mqttwire.V5 && !c.answered && !c.plain && (errors.Is(c.why, errPlain) || errors.Is(c.why, errClosed)) {
		c.r.plain = true
		return errPlain
	}
	return c.why
}

// errPlain says that the remote broker knows no bridges of MQTT 3: it is to be told nothing of that.
var errPlain = errors.New("the remote broker knows no bridges")

// errHere says that the remote broker is this one.
var errHere = errors.New("it leads to this cluster")

// errClosed is that the remote broker has closed the connection.
var errClosed = errors.New("it was closed")

// close waits until nothing more is done, and gives the session back.
func (c *conn) close() {
	c.mu.Lock()
	c.timer.Stop()
	c.timer = nil
	c.mu.Unlock()
	c.out.Wait()
	c.in.Release()
	if c.session != nil && !c.gone.Load() {
		c.session.Close(false, nil)
	}
	c.aside.Wait()
}

// end ends the connection. Any goroutine may call it, more than once; the first reason counts. It does
// not wait.
func (c *conn) end(err error) {
	if !c.ended.CompareAndSwap(false, true) {
		return
	}
	c.mu.Lock()
	c.why = err
	c.mu.Unlock()
	var d mqttwire.Disconnect
	said, wrong := errors.AsType[*mqttwire.Error](err)
	removed := !c.r.b.defined(c.r) || errors.Is(err, errHere)
	switch {
	case !c.greeted.Load(): // DISCONNECT follows CONNACK
		c.out.Close(false)
		return
	case wrong && said.Reason.AllowedIn(mqttwire.DISCONNECT):
		d.Reason = said.Reason
	case removed && c.version == mqttwire.V5: // the remote broker has nothing to keep
		d.Properties = d.Properties.Uint32(mqttwire.SessionExpiry, 0)
	case !removed && !errors.Is(err, errStopped):
		c.out.Close(false)
		return
	}
	c.out.Append(func(dst []byte) []byte { return d.Append(dst, c.version) })
	c.out.Close(true)
}

// connect appends CONNECT.
func (c *conn) connect(dst []byte) []byte {
	s := &c.r.spec
	p := mqttwire.Connect{
		Version: c.version, Bridge: !c.plain, ClientID: []byte(s.ClientID), KeepAlive: s.KeepAlive,
		HasUserName: s.User != "", UserName: []byte(s.User), HasPassword: s.Password != "", Password: []byte(s.Password),
	}
	if !p.HasUserName {
		p.UserName = nil
	}
	if !p.HasPassword {
		p.Password = nil
	}
	if c.version == mqttwire.V5 {
		p.Properties = p.Properties.Uint32(mqttwire.SessionExpiry, remoteExpiry).Uint16(mqttwire.ReceiveMaximum, window).
			User(mqtt.Origin, c.cluster)
	}
	return p.Append(dst)
}

// serve reads and handles packets until there is nothing more to read.
func (c *conn) serve() error {
	for {
		f, n, more, err := mqttwire.ReadFrame(c.in.Bytes(), c.version, mqttwire.PacketMax)
		if err != nil {
			return err
		}
		if n == 0 {
			if err := c.in.Fill(more); err != nil {
				return fault.New(fault.Unavailable, "connection to", c.r.spec.URL, "%w: %w", errClosed, err)
			}
			continue
		}
		c.in.Discard(n)
		c.heard.Store(c.r.b.cfg.Link.Now().UnixNano())
		if c.session == nil {
			err = c.connack(f)
		} else {
			err = c.packet(f)
		}
		if err != nil || c.ended.Load() {
			return err
		}
	}
}

// connack handles the first packet: the remote broker lets us in, or does not.
func (c *conn) connack(f mqttwire.Frame) error {
	refused := func(kind fault.Kind, text string) error {
		return fault.New(kind, "connect to", c.r.spec.URL, "the remote broker refuses: %s", text)
	}
	var a mqttwire.Connack
	if f.Type != mqttwire.CONNACK {
		return &mqttwire.Error{Reason: mqttwire.ProtocolError, Text: f.Type.String() + " in place of CONNACK"}
	}
	if c.version == mqttwire.V5 && len(f.Body) == 2 { // one of MQTT 5 has properties, if none
		return fault.New(fault.Unsupported, "connect to", c.r.spec.URL, "the remote broker does not speak MQTT 5; use --protocol 3.1.1")
	}
	if err := a.Decode(c.version, f); err != nil {
		return err
	}
	if c.version == mqttwire.V5 && a.Reason.Failed() {
		return refused(fault.Denied, reason(a.Reason, a.Properties))
	}
	if a.Code == mqttwire.RefusedVersion && !c.plain {
		return errPlain
	}
	c.answered = a.Code != mqttwire.RefusedVersion
	if c.version != mqttwire.V5 && a.Code != mqttwire.Accepted {
		return refused(fault.Denied, connectCodes[a.Code])
	}
	c.greeted.Store(true)
	c.present = a.SessionPresent
	receive := uint16(window)
	for p, rest, ok := a.Properties.Next(); ok; p, rest, ok = rest.Next() {
		switch p.ID {
		case mqttwire.ReceiveMaximum:
			receive = min(receive, uint16(p.Num))
		case mqttwire.MaximumPacketSize:
			c.maxOut = min(c.maxOut, int(min(p.Num, math.MaxInt32)))
		case mqttwire.MaximumQoS:
			c.maxQoS = uint8(p.Num)
		case mqttwire.RetainAvailable:
			c.retains = p.Num == 1
		case mqttwire.ServerKeepAlive:
			c.keepAlive = time.Duration(p.Num) * time.Second
		case mqttwire.UserProperty:
			if string(p.Key) == mqtt.Origin {
				c.remote = string(p.Value)
			}
		}
	}
	if c.remote == c.cluster {
		return fault.New(fault.Conflict, "connect to", c.r.spec.URL, "%w", errHere)
	}
	return c.begin(receive)
}

var connectCodes = map[mqttwire.ConnectCode]string{
	mqttwire.RefusedVersion: "it does not speak MQTT 3.1.1", mqttwire.RefusedClientID: "the client id", mqttwire.RefusedUnavailable: "it is not available",
	mqttwire.RefusedCredentials: "user name or password", mqttwire.RefusedAuthority: "not authorized",
}

// reason says a reason code in words, and in those of who has sent it.
func reason(r mqttwire.Reason, ps mqttwire.Properties) string {
	if text, ok := ps.Value(mqttwire.ReasonString); ok && len(text) > 0 {
		return fmt.Sprintf("%s (%s)", r, text)
	}
	return r.String()
}

// begin has messages flow, after CONNACK.
func (c *conn) begin(receive uint16) error {
	ctx, cancel := context.WithTimeout(c.r.ctx, sessionTimeout)
	defer cancel()
	session, err := c.r.b.open(ctx, c.r.name, false, receive, c)
	if err != nil {
		return err
	}
	c.session = session
	if !c.r.b.defined(c.r) { // and what was opened just now nobody else will end
		_ = c.r.b.k.EndSession(ctx, kernel.DefaultNamespace, c.r.client)
		return errStopped
	}
	outs := subscriptions(&c.r.spec)
	existed, errs := session.Subscribe(ctx, outs)
	anew := !c.present // somebody has to be told the retained messages
	for i, err := range errs {
		if err != nil {
			return err
		}
		anew = anew || !existed[i]
	}
	if !c.present {
		if err := session.Renew(ctx); err != nil {
			return err
		}
	}
	if c.keepAlive > 0 {
		c.arm(c.patience())
	} else {
		c.arm(time.Duration(math.MaxInt64))
	}
	if s := c.subscribe(); len(c.expected) > 0 {
		c.out.Append(func(dst []byte) []byte { return s.Append(dst, c.version) })
	} else {
		c.connected("")
	}
	session.Start()
	if anew && len(outs) > 0 {
		c.aside.Add(1)
		go func() { // ends with the session
			defer c.aside.Done()
			if err := session.Retained(outs...); err != nil {
				c.end(err)
			}
		}()
	}
	return nil
}

// subscribe returns the SUBSCRIBE of the routes that lead in.
func (c *conn) subscribe() *mqttwire.Subscribe {
	s := &mqttwire.Subscribe{PacketID: subscribeID}
	for i := range c.routes {
		if r := &c.routes[i]; r.Comes() {
			c.expected = append(c.expected, r.RemoteFilter())
			s.Filters = append(s.Filters, mqttwire.Filter{
				Filter: []byte(r.RemoteFilter()), QoS: r.QoS, NoLocal: true, RetainAsPublished: true, RetainHandling: 1,
			})
		}
	}
	if c.version != mqttwire.V5 {
		for i := range s.Filters {
			s.Filters[i] = mqttwire.Filter{Filter: s.Filters[i].Filter, QoS: s.Filters[i].QoS}
		}
	}
	return s
}

// suback takes the answer to subscribe. What is refused stays so until the next connection, and what
// else there is flows.
func (c *conn) suback(f mqttwire.Frame) error {
	var a mqttwire.Suback
	if err := a.Decode(c.version, f); err != nil {
		return err
	}
	if a.PacketID != subscribeID || len(a.Reasons) != len(c.expected) || c.expected == nil {
		return &mqttwire.Error{Reason: mqttwire.ProtocolError, Text: "SUBACK to no SUBSCRIBE"}
	}
	var refused []string
	for i, r := range a.Reasons {
		if r.Failed() {
			refused = append(refused, fmt.Sprintf("%s: %s", c.expected[i], reason(r, a.Properties)))
		}
	}
	c.expected = nil
	text := ""
	if len(refused) > 0 {
		text = "the remote broker refuses subscriptions: " + strings.Join(refused, ", ")
	}
	c.connected(text)
	return nil
}

// connected has all nodes told that messages flow, but for what the text says.
func (c *conn) connected(problem string) {
	c.r.b.cfg.Log.Info("bridge: connected", "bridge", c.r.name, "to", c.r.spec.URL, "resumed", c.present)
	c.r.change(func(s *State) {
		s.Connected = true
		if problem != "" {
			s.fail(errors.New(problem), c.r.now())
		}
	})
}

// packet handles one packet after CONNACK.
func (c *conn) packet(f mqttwire.Frame) error {
	switch f.Type {
	case mqttwire.PUBLISH:
		return c.publish(f)
	case mqttwire.PUBACK, mqttwire.PUBREC, mqttwire.PUBREL, mqttwire.PUBCOMP:
		var a mqttwire.Ack
		if err := a.Decode(c.version, f); err != nil {
			return err
		}
		switch f.Type {
		case mqttwire.PUBACK:
			return c.puback(&a)
		case mqttwire.PUBREC:
			return c.pubrec(&a)
		case mqttwire.PUBREL:
			c.pubrel(&a)
		case mqttwire.PUBCOMP:
			c.session.Ack(a.PacketID, true)
		}
		return nil
	case mqttwire.SUBACK:
		return c.suback(f)
	case mqttwire.PINGRESP:
		return f.Empty()
	case mqttwire.DISCONNECT:
		if c.version == mqttwire.V5 {
			var d mqttwire.Disconnect
			if err := d.Decode(c.version, f); err != nil {
				return err
			}
			return fault.New(fault.Unavailable, "connection to", c.r.spec.URL, "the remote broker ended it: %s", reason(d.Reason, d.Properties))
		}
	}
	return &mqttwire.Error{Reason: mqttwire.ProtocolError, Text: f.Type.String() + " from a server"}
}

// ack sends an acknowledgement.
func (c *conn) ack(a *mqttwire.Ack) {
	if !c.out.Append(func(dst []byte) []byte { return a.Append(dst, c.version) }) {
		c.tooSlow()
	}
}

// tooSlow ends a connection whose outbox has no room for what may not be dropped.
func (c *conn) tooSlow() {
	c.end(fault.New(fault.Unavailable, "connection to", c.r.spec.URL, "the remote broker does not read"))
}

// patience is how long nothing need be heard before the remote broker is asked whether it is there; it
// is sent something as often.
func (c *conn) patience() time.Duration { return c.keepAlive * 2 / 3 }

// arm has alarm called.
func (c *conn) arm(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	c.timer = c.r.b.cfg.Link.AfterFunc(d, c.alarm)
}

// alarm runs when the remote broker was to have answered CONNECT, and then now and then: who does not
// answer PINGREQ before the next is gone.
func (c *conn) alarm() {
	now := c.r.b.cfg.Link.Now().UnixNano()
	c.mu.Lock()
	if c.timer == nil || c.ended.Load() {
		c.mu.Unlock()
		return
	}
	heard := c.heard.Load()
	silent := heard == 0 || c.pinged && now-heard > int64(c.patience())
	if !silent {
		c.pinged = true
		c.timer = c.r.b.cfg.Link.AfterFunc(c.patience(), c.alarm)
	}
	c.mu.Unlock()
	if silent {
		c.end(fault.New(fault.Timeout, "connection to", c.r.spec.URL, "the remote broker does not answer"))
		return
	}
	c.out.Append(mqttwire.AppendPingreq)
}

// Gone implements kernel.Sink.
func (c *conn) Gone(reason kernel.GoneReason) {
	c.gone.Store(true)
	text := "it ended"
	switch reason {
	case kernel.GoneTakenOver:
		text = "another node, or a new connection, has taken it over"
	case kernel.GoneDeleted:
		text = "an operator ended it"
	case kernel.GoneClosing:
		text = "the broker is closing, or was away for too long"
	}
	c.end(fault.New(fault.Conflict, "session of bridge", c.r.name, "%s", text))
}
