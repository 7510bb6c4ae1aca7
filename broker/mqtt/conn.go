package mqtt

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/trace"
	"github.com/robustmq/rmq/broker/wire"
)

// conn is one client's connection. It is the kernel's Sink of its session, and the
// Publisher of what it publishes.
//
// Ownership:
//   - run's goroutine: the fields of the reader. Those of the connection itself (version,
//     clientID, ...) it writes before connected is set, and nobody after.
//   - mu: what is under way, the alarm. Held while the outbox takes bytes whose order
//     matters, never across a kernel call.
//   - atomic: ended, connected, lastIn, parked.
//
// There may be a hundred thousand that say nothing: what only a busy one needs, or few do, is
// behind a pointer, and fields are in the order in which they take least room.
//
// Lock order: conn.mu → Outbox.mu, Wheel.
type conn struct {
	server *Server
	nc     net.Conn
	out    *wire.Outbox
	over   func() // to be called at the end

	clientID string
	user     string // as authenticated
	access   *acl.Access
	enhanced *enhanced       // authentication; nil: CONNECT named no method of it
	session  session         // nil before CONNECT
	handle   *kernel.Session // session, where it is the kernel's
	since    int64           // link time, ns
	// What the client asked for in CONNECT.
	expiry      uint32 // seconds
	maxOut      int32  // bytes of the longest packet it takes
	receiveMax  uint16
	keepAlive   uint16 // seconds; 0: none
	aliasMax    uint8  // topic aliases out
	version     mqttwire.Version
	problemInfo bool // it wants reason strings
	bridge      bool // of MQTT 3: it is sent nothing of its own, and RETAIN as it was published

	// Of the reader.
	calm      bool // what has been handled last came after a long silence
	withdrawn bool // DISCONNECT took the will back
	expires   bool // DISCONNECT said another expiry
	in        *wire.Reader
	work      *work    // nil while idle
	aliasesIn *aliases // nil until the first

	ended     atomic.Bool             // nothing more is done for the client
	gone      atomic.Bool             // the kernel has ended the session
	connected atomic.Bool             // CONNACK with success is in the outbox
	tracing   atomic.Bool             // there are acknowledgements to be told; written under mu
	why       atomic.Uint32           // the reason with which we ended it; 0: we did not
	lastIn    atomic.Int64            // link time of the last packet, ns
	parked    atomic.Pointer[parking] // nil: nothing ever was
	limits    atomic.Pointer[limits]  // nil: nothing was limited; the reader's but for its wake
	line      atomic.Pointer[line]    // nil: nothing ever was held back

	mu     sync.Mutex
	closed bool // no alarm any more, and no lease
	flow   *flow
	alarm  clock.Alarm[conn]
}

// flow is what is under way on a connection. Guarded by conn.mu.
type flow struct {
	window     window
	publishing int                 // QoS 1 publishes in progress
	receiving  map[uint16]struct{} // QoS 2 publishes in progress, until PUBCOMP
	aliasesOut map[string]uint16
	lease      clock.Timer            // ends a connection whose authentication expires
	left       map[string]struct{}    // shared subscriptions that the rules have ended
	replays    []*replay              // at most replaysMax
	timed      *underWay              // nil: nothing was timed
	traced     map[uint16]trace.Event // what is told once a delivery that was traced is acknowledged; by packet id
	leaving    sync.WaitGroup         // who ends them, and who replays; the connection's end waits for it
}

// flowLocked returns what is under way. Caller holds c.mu.
func (c *conn) flowLocked() *flow {
	if c.flow == nil {
		c.flow = &flow{window: window{max: int(c.receiveMax)}}
	}
	return c.flow
}

// aliases are the topics of topic aliases, by alias - 1.
type aliases []string

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
	number      string       // of the publish, when it is traced

	packets, bytes, messages uint64 // not yet in Stats
}

var workPool = sync.Pool{New: func() any { return new(work) }}

func newConn(s *Server, nc net.Conn, over func()) *conn {
	return &conn{server: s, nc: nc, in: wire.NewReader(nc), out: wire.NewOutbox(nc, s.cfg.OutboxMax), over: over}
}

// run serves the connection until it ends. It may return before: a connection with little to
// say waits without a goroutine, or, where that cannot be, on one whose stack has not grown.
func (c *conn) run() {
	err := c.serve()
	if errors.Is(err, errCalm) {
		if !c.in.Sleep(&c.server.calm, c) {
			go c.wait()
		}
		return
	}
	c.close(err)
}

// Wake goes on with a connection that has slept.
func (c *conn) Wake(err error) {
	c.in.Woken()
	if err != nil {
		c.close(err)
		return
	}
	c.run()
}

// wait waits for a client that is silent for long, and goes on with what it says.
func (c *conn) wait() {
	if err := c.in.Wait(); err != nil {
		c.close(err)
		return
	}
	c.run()
}

// close ends what serve has come to the end of.
func (c *conn) close(err error) {
	c.rest()
	c.in.Release()

	if e, ok := errors.AsType[*mqttwire.Error](err); ok {
		c.fail(e)
	}
	c.traceOver(err)
	c.ended.Store(true)
	c.unpark()
	c.unlimit()
	c.mu.Lock()
	c.closed = true
	c.server.alarms.Stop(&c.alarm)
	flow := c.flow
	if flow != nil {
		flow.stopReplays()
	}
	if flow != nil && flow.lease != nil {
		flow.lease.Stop()
	}
	c.mu.Unlock()
	if flow != nil {
		flow.leaving.Wait()
	}
	if c.session != nil {
		c.server.sys.went(c, err)
		if !c.gone.Load() {
			var expiry *uint32 // as it was
			if c.expires {
				expiry = &c.expiry
			}
			c.session.Close(!c.withdrawn, expiry)
		}
		c.server.stats.Connections.Add(-1)
		c.server.flaps.left(c)
	}
	c.out.Close(true)
	c.out.Wait()
	if l := c.line.Load(); l != nil {
		l.end()
	}
	c.server.forget(c)
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
		c.work.packets++
		c.work.bytes += uint64(n)
		if err := c.packet(f); err != nil || c.ended.Load() {
			return err
		}
		if c.connected.Load() {
			limit = c.server.cfg.MaxPacket
		}
		if f.Type == mqttwire.PUBLISH {
			c.pace(n)
		}
	}
}

var errCalm = errors.New("nothing to do")

// calmAfter is the silence after which a connection is taken for one that says little.
const calmAfter = 5 * time.Second

// rest ends a run of packets: what was held leaves, and what is needed only while there are
// packets goes back.
func (c *conn) rest() {
	w := c.work
	if w != nil {
		w.batch.Flush()
	}
	c.out.Flush()
	if w == nil {
		return
	}
	if w.packets > 0 {
		now := c.server.cfg.Link.Now().UnixNano()
		c.calm = now-c.lastIn.Swap(now) > int64(calmAfter) && c.connected.Load()
		s := &c.server.stats
		s.PacketsIn.Add(w.packets)
		s.BytesIn.Add(w.bytes)
		if w.messages > 0 {
			s.MessagesIn.Add(w.messages)
		}
		w.packets, w.bytes, w.messages = 0, 0, 0
	}
	if c.in.Buffered() == 0 {
		workPool.Put(w)
		c.work = nil
	}
}

// packet handles one packet.
func (c *conn) packet(f mqttwire.Frame) error {
	if !c.connected.Load() {
		if c.enhanced == nil {
			return c.connect(f)
		}
		c.traceIn(f, "")
		switch {
		case f.Type == mqttwire.AUTH:
			return c.auth(f)
		case f.Type == mqttwire.DISCONNECT:
			return c.disconnect(f)
		}
		return &mqttwire.Error{Reason: mqttwire.ProtocolError, Text: f.Type.String() + " in place of AUTH"} // section 3.1.2.11.9
	}
	if f.Type != mqttwire.PUBLISH && c.server.cfg.Trace.On() {
		c.traceIn(f, "")
	}
	if f.Type != mqttwire.PUBLISH && f.Type != mqttwire.SUBSCRIBE && c.server.cfg.Chaos.On(chaos.MQTT) {
		if _, gone := c.disturbIn(f.Type, ""); gone {
			return nil
		}
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
		if c.disturbed() && c.disturb("", mqttwire.AppendPingresp) {
			return nil
		}
		c.out.Hold(mqttwire.AppendPingresp)
		c.traceOut("", mqttwire.AppendPingresp)
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
		c.expiry, c.expires = min(expiry, c.server.cfg.MaxExpiry), true
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
	c.resume()
	c.server.stats.errors[r].Add(1)
	c.why.Store(uint32(r))
	if c.connected.Load() { // MQTT5-3.14.0-1
		c.server.cfg.Log.Debug("mqtt: connection ended", "client", c.clientID, "reason", r.String(), "text", text)
		if c.version == mqttwire.V5 {
			d := mqttwire.Disconnect{Reason: r, Properties: c.reasonString(text, 2+1+1)}
			write := func(dst []byte) []byte { return d.Append(dst, mqttwire.V5) }
			if !c.disturbed() || text == injected || !c.disturb("", write) {
				c.out.Append(write)
				c.traceOut("", write)
			}
		}
		c.traceEnd(r, text)
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
	if text == "" || rest+head+len(text) > int(c.maxOut) {
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

// arm sets the alarm by which the client must have said something; 0: it need not.
func (c *conn) arm(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if d == 0 {
		c.server.alarms.Stop(&c.alarm)
		return
	}
	c.server.alarms.Set(&c.alarm, c, d)
}

// patience is how long the client may be silent (MQTT5-3.1.2-22); 0: for ever.
func (c *conn) patience() time.Duration { return time.Duration(c.keepAlive) * time.Second * 3 / 2 }

// expireAt has the connection end at a time, in broker time; zero: never.
func (c *conn) expireAt(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flow != nil && c.flow.lease != nil {
		c.flow.lease.Stop()
		c.flow.lease = nil
	}
	if at.IsZero() || c.closed {
		return
	}
	clk := c.server.cfg.Clock
	c.flowLocked().lease = clk.AfterFunc(at.Sub(clk.Now()), func() { c.end(mqttwire.NotAuthorized, "the authentication has expired") })
}

// silent runs when the alarm calls.
func (c *conn) silent() {
	if !c.connected.Load() {
		c.end(mqttwire.KeepAliveTimeout, "") // no CONNECT, or none that ended: no CONNACK either
		return
	}
	if c.keepAlive == 0 {
		return // it called as CONNECT was handled
	}
	quiet := time.Duration(c.server.cfg.Link.Now().UnixNano() - c.lastIn.Load())
	if quiet < c.patience() {
		c.arm(c.patience() - quiet)
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
	c.mu.Lock()
	told := 0
	if c.flow != nil {
		told = len(c.flow.aliasesOut)
	}
	c.mu.Unlock()
	return Client{
		ClientID:  c.clientID,
		User:      c.user,
		Remote:    peer.Remote,
		Transport: peer.Transport,
		Version:   c.version,
		KeepAlive: time.Duration(c.keepAlive) * time.Second,
		Since:     time.Unix(0, c.since),
		Waiting:   c.out.Buffered(),
		Aliases:   told,
		AliasMax:  int(c.aliasMax),
	}, true
}
