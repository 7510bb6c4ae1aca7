package mqtt

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/wire"
)

// conn is one client's connection. It is the kernel's Sink of its session, and the
// Publisher of what it publishes.
//
// Ownership:
//   - run's goroutine: the fields of the reader. Those of the connection itself (version,
//     clientID, ...) it writes before connected is set, and nobody after.
//   - mu: the window of deliveries, publishes in progress, topic aliases out, the timer.
//     Held while the outbox takes bytes whose order matters, never across a kernel call.
//   - atomic: ended, connected, lastIn, parked.
//
// Lock order: conn.mu → Outbox.mu.
type conn struct {
	server *Server
	nc     net.Conn
	out    *wire.Outbox

	version  mqttwire.Version
	clientID string
	user     string // as authenticated
	access   *acl.Access
	method   string   // of authentication, as CONNECT names it; "": none
	proving  *proving // of the reader
	// What the client asked for in CONNECT.
	maxOut      int  // bytes of the longest packet it takes
	problemInfo bool // it wants reason strings
	expiry      uint32
	keepAlive   time.Duration // 0: none; already what we wait for, 1.5 times its interval
	since       time.Time
	session     session
	handle      *kernel.Session // session, where it is the kernel's

	// Of the reader.
	in        *wire.Reader
	work      *work    // nil while idle
	aliasesIn []string // topics by alias - 1; nil until the first
	withdrawn bool     // DISCONNECT took the will back
	newExpiry *uint32  // of DISCONNECT
	calm      bool     // what has been handled last came after a long silence
	packets   uint64   // not yet in Stats
	bytes     uint64
	messages  uint64

	ended     atomic.Bool             // nothing more is done for the client
	gone      atomic.Bool             // the kernel has ended the session
	connected atomic.Bool             // CONNACK with success is in the outbox
	lastIn    atomic.Int64            // link time of the last packet, ns
	parked    atomic.Pointer[parking] // nil: nothing ever was
	why       atomic.Uint32           // the reason with which we ended it; 0: we did not

	mu         sync.Mutex
	window     window
	publishing int                 // QoS 1 publishes in progress
	receiving  map[uint16]struct{} // QoS 2 publishes in progress, until PUBCOMP
	aliasesOut map[string]uint16   // nil: the client takes none
	aliasMax   int
	timer      clock.Timer
	lease      clock.Timer         // ends a connection whose authentication expires
	over       bool                // no timer any more
	left       map[string]struct{} // shared subscriptions that the rules have ended
	leaving    sync.WaitGroup      // who ends them; the connection's end waits for it
}

// work is the memory that handling packets needs. A connection has it while it is busy.
type work struct {
	publish     mqttwire.Publish
	ack         mqttwire.Ack
	subscribe   mqttwire.Subscribe
	unsubscribe mqttwire.Unsubscribe
	suback      mqttwire.Suback
	in          inbound
	out         kernel.Publish
	batch       kernel.Batch // flushed before anything that may wait
}

var workPool = sync.Pool{New: func() any { return new(work) }}

func newConn(s *Server, nc net.Conn) *conn {
	return &conn{server: s, nc: nc, in: wire.NewReader(nc), out: wire.NewOutbox(nc, s.cfg.OutboxMax)}
}

// run serves the connection until it ends, and then calls over. It may return before: a
// connection with little to say waits on a goroutine of its own, whose stack has not grown.
func (c *conn) run(over func()) {
	err := c.serve()
	if err == errCalm {
		go c.wait(over)
		return
	}
	c.close(err)
	over()
}

// wait waits for a client that is silent for long, and goes on with what it says.
func (c *conn) wait(over func()) {
	if err := c.in.Wait(); err != nil {
		c.close(err)
		over()
		return
	}
	c.run(over)
}

// close ends what serve has come to the end of.
func (c *conn) close(err error) {
	c.rest()
	c.in.Release()

	if e, ok := errors.AsType[*mqttwire.Error](err); ok {
		c.fail(e)
	}
	c.ended.Store(true)
	c.unpark()
	c.mu.Lock()
	c.over = true
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.lease != nil {
		c.lease.Stop()
	}
	c.mu.Unlock()
	c.leaving.Wait()
	if c.session != nil {
		c.server.sys.went(c, err)
		if !c.gone.Load() {
			c.session.Close(!c.withdrawn, c.newExpiry)
		}
		c.server.stats.Connections.Add(-1)
	}
	c.out.Close(true)
	c.out.Wait()
}

// serve reads and handles packets. It returns nil when the connection was ended by either
// side in good order, *mqttwire.Error when the client is to be told, and any other error
// when the connection is broken. errCalm: nothing has ended, and the client may be waited for
// elsewhere.
func (c *conn) serve() error {
	limit := min(connectMax, c.server.cfg.MaxPacket)
	for {
		f, n, more, err := mqttwire.ReadFrame(c.in.Bytes(), c.version, limit)
		if err != nil {
			return err
		}
		if n == 0 {
			c.rest()
			if c.calm && c.in.Buffered() == 0 && c.in.CanWait() {
				c.calm = false
				return errCalm
			}
			if err := c.in.Fill(more); err != nil {
				return err
			}
			continue
		}
		if c.work == nil {
			c.work = workPool.Get().(*work)
		}
		c.in.Discard(n)
		c.packets++
		c.bytes += uint64(n)
		if err := c.packet(f); err != nil || c.ended.Load() {
			return err
		}
		if c.connected.Load() {
			limit = c.server.cfg.MaxPacket
		}
	}
}

var errCalm = errors.New("nothing to do")

// calmAfter is the silence after which a connection is taken for one that says little.
const calmAfter = 5 * time.Second

// rest ends a run of packets: what was held leaves, and what is needed only while there are
// packets goes back.
func (c *conn) rest() {
	if c.work != nil {
		c.work.batch.Flush()
	}
	c.out.Flush()
	if c.packets > 0 {
		now := c.server.cfg.Link.Now().UnixNano()
		c.calm = now-c.lastIn.Swap(now) > int64(calmAfter) && c.connected.Load()
		s := &c.server.stats
		s.PacketsIn.Add(c.packets)
		s.BytesIn.Add(c.bytes)
		if c.messages > 0 {
			s.MessagesIn.Add(c.messages)
		}
		c.packets, c.bytes, c.messages = 0, 0, 0
	}
	if c.work != nil && c.in.Buffered() == 0 {
		workPool.Put(c.work)
		c.work = nil
	}
}

// packet handles one packet.
func (c *conn) packet(f mqttwire.Frame) error {
	if !c.connected.Load() {
		switch {
		case c.proving == nil:
			return c.connect(f)
		case f.Type == mqttwire.AUTH:
			return c.auth(f)
		case f.Type == mqttwire.DISCONNECT:
			return c.disconnect(f)
		}
		return &mqttwire.Error{Reason: mqttwire.ProtocolError, Text: f.Type.String() + " in place of AUTH"} // section 3.1.2.11.9
	}
	switch f.Type {
	case mqttwire.PUBLISH:
		return c.publish(f)
	case mqttwire.PUBACK, mqttwire.PUBREC, mqttwire.PUBREL, mqttwire.PUBCOMP:
		a := &c.work.ack
		if err := a.Decode(c.version, f); err != nil {
			return err
		}
		switch f.Type {
		case mqttwire.PUBACK:
			c.puback(a)
		case mqttwire.PUBREC:
			c.pubrec(a)
		case mqttwire.PUBREL:
			c.pubrel(a)
		case mqttwire.PUBCOMP:
			c.pubcomp(a)
		}
		return nil
	case mqttwire.SUBSCRIBE:
		c.work.batch.Flush()
		return c.subscribe(f)
	case mqttwire.UNSUBSCRIBE:
		c.work.batch.Flush()
		return c.unsubscribe(f)
	case mqttwire.PINGREQ:
		if err := f.Empty(); err != nil {
			return err
		}
		c.out.Hold(mqttwire.AppendPingresp)
		return nil
	case mqttwire.DISCONNECT:
		return c.disconnect(f)
	case mqttwire.CONNECT: // MQTT5-3.1.0-2
		return &mqttwire.Error{Reason: mqttwire.ProtocolError, Text: "a second CONNECT"}
	case mqttwire.AUTH:
		return c.auth(f)
	}
	return &mqttwire.Error{Reason: mqttwire.ProtocolError, Text: f.Type.String() + " from a client"}
}

// disconnect handles DISCONNECT: the client ends the connection.
func (c *conn) disconnect(f mqttwire.Frame) error {
	var d mqttwire.Disconnect
	if err := d.Decode(c.version, f); err != nil {
		return err
	}
	if expiry, ok := d.Properties.Num(mqttwire.SessionExpiry); ok {
		if c.expiry == 0 && expiry != 0 { // MQTT 5 section 3.14.2.2.2
			return &mqttwire.Error{Reason: mqttwire.ProtocolError, Text: "session expiry in DISCONNECT, none in CONNECT"}
		}
		expiry = min(expiry, c.server.cfg.MaxExpiry)
		c.newExpiry = &expiry
	}
	c.withdrawn = d.Reason == mqttwire.NormalDisconnection // MQTT5-3.14.4-3
	c.ended.Store(true)
	return nil
}

// fail ends the connection for what the client did wrong.
func (c *conn) fail(e *mqttwire.Error) {
	if c.connected.Load() {
		c.end(e.Reason, e.Text)
		return
	}
	c.refuse(e.Reason, e.Text)
}

// end ends the connection from our side: a client of MQTT 5 is told why. Any goroutine may
// call it, more than once; the first reason counts. It does not wait.
func (c *conn) end(r mqttwire.Reason, text string) {
	if !c.ended.CompareAndSwap(false, true) {
		return
	}
	c.server.stats.errors[r].Add(1)
	c.why.Store(uint32(r))
	if c.connected.Load() { // MQTT5-3.14.0-1
		c.server.cfg.Log.Debug("mqtt: connection ended", "client", c.clientID, "reason", r.String(), "text", text)
		if c.version == mqttwire.V5 {
			d := mqttwire.Disconnect{Reason: r, Properties: c.reasonString(text, 2+1+1)}
			c.out.Append(func(dst []byte) []byte { return d.Append(dst, mqttwire.V5) })
		}
	}
	if r == mqttwire.ServerShuttingDown {
		c.out.Close(true) // nobody waits for clients then
		return
	}
	c.out.Linger()
}

// reasonString returns the property that tells the client a reason in words, or nothing
// when there are none, or the packet would exceed what it takes. rest is the length of the
// packet without its properties.
func (c *conn) reasonString(text string, rest int) mqttwire.Properties {
	const head = 1 + 2 + 3 // identifier, length, and what the length fields may grow by
	if text == "" || rest+head+len(text) > c.maxOut {
		return nil
	}
	return mqttwire.Properties(nil).String(mqttwire.ReasonString, text)
}

// Gone implements kernel.Sink: the kernel has ended the session.
func (c *conn) Gone(reason kernel.GoneReason) {
	c.gone.Store(true)
	switch reason {
	case kernel.GoneTakenOver: // MQTT5-3.1.4-3
		c.server.stats.TakenOver.Add(1)
		c.end(mqttwire.SessionTakenOver, "")
	case kernel.GoneDeleted:
		c.end(mqttwire.AdministrativeAction, "")
	case kernel.GoneClosing:
		c.end(mqttwire.ServerShuttingDown, "")
	case kernel.GoneTooSlow:
		c.end(mqttwire.QuotaExceeded, "the client does not keep up")
	default:
		c.end(mqttwire.UnspecifiedError, "")
	}
}

// arm sets the timer by which the client must have said something; 0: it need not.
func (c *conn) arm(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	if d == 0 {
		return
	}
	c.timer = c.server.cfg.Link.AfterFunc(d, c.silent)
}

// expireAt has the connection end at a time, in broker time; zero: never.
func (c *conn) expireAt(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lease != nil {
		c.lease.Stop()
		c.lease = nil
	}
	if at.IsZero() || c.over {
		return
	}
	clk := c.server.cfg.Clock
	c.lease = clk.AfterFunc(at.Sub(clk.Now()), func() { c.end(mqttwire.NotAuthorized, "the authentication has expired") })
}

// silent runs when the timer has.
func (c *conn) silent() {
	if !c.connected.Load() {
		c.end(mqttwire.KeepAliveTimeout, "") // no CONNECT, or none that ended: no CONNACK either
		return
	}
	if c.keepAlive == 0 {
		return // it ran as CONNECT was handled
	}
	quiet := time.Duration(c.server.cfg.Link.Now().UnixNano() - c.lastIn.Load())
	if quiet < c.keepAlive {
		c.arm(c.keepAlive - quiet)
		return
	}
	c.server.stats.KeepAlive.Add(1)
	c.end(mqttwire.KeepAliveTimeout, "") // MQTT5-3.1.2-22
}

// describe tells who is connected; false before it is known.
func (c *conn) describe() (Client, bool) {
	if !c.connected.Load() {
		return Client{}, false
	}
	peer := wire.PeerOf(c.nc)
	return Client{
		ClientID:  c.clientID,
		User:      c.user,
		Remote:    peer.Remote,
		Transport: peer.Transport,
		Version:   c.version,
		KeepAlive: c.keepAlive * 2 / 3,
		Since:     c.since,
		Waiting:   c.out.Buffered(),
	}, true
}
