package amqp

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/amqpwire"
	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/wire"
)

// Time limits of a connection, on the link clock.
const (
	closeMax    = 10 * time.Second // for connection.close-ok, and to take our last bytes
	leaveMax    = time.Second      // the same, when the broker ends: nobody is to wait for one client
	teardownMax = 30 * time.Second // for the kernel to let go of what the connection held
	blockedFor  = time.Second      // from connection.blocked until publishes are tried again
)

// conn is one connection.
//
// Ownership:
//   - the reader: stage, caps, names, frameMax … channels; set before other goroutines
//     exist, or read by the reader alone.
//   - roomMu: whoever waits for room; see publish.go.
//   - dirtyMu: what flush.go has to look after.
//   - atomics: as said at each.
//
// Lock order: channel.mu → channel.pubMu → dirtyMu → the outbox's. None of them is held
// while the kernel is called, which may call back before it returns.
type conn struct {
	s     *Server
	nc    net.Conn
	r     *wire.Reader
	out   *wire.Outbox
	owner uint64 // of exclusive queues

	stage stage
	caps  struct{ cancelNotify, blocked, authClose bool }

	name, user, vhost string
	identity          auth.Identity
	login             auth.Login  // without the password
	access            *acl.Access // in vhost; set before any channel is there
	subject           acl.Subject // as bans see it; written before info
	frameMax          int
	channelMax        int
	channels          map[uint16]*channel
	settling          []*channel // with settlements gathered since the last Fill

	// ctx ends when the connection does: what waits for the kernel on its behalf gives up.
	ctx    context.Context
	cancel context.CancelFunc

	early     clock.Timer // ends a handshake that takes too long
	heartbeat time.Duration
	beatMu    sync.Mutex
	beat      clock.Timer // guarded by beatMu; nil once the connection has ended
	heard     atomic.Bool // something arrived since the last look
	said      atomic.Bool // something was sent since the last look
	silent    int         // looks without a word from the client; owned by the beat timer

	nchannels  atomic.Int32
	nconsumers atomic.Int32
	acking     atomic.Int32 // attachments whose deliveries this connection acknowledges
	info       atomic.Pointer[ConnInfo]

	uncommitted atomic.Int64 // of all channels

	// Publishes that the kernel has not answered.
	inflight atomic.Int64 // bytes
	roomMu   sync.Mutex
	room     sync.Cond // signalled when inflight or waiting falls while somebody waits, and at the end
	roomWait atomic.Int32
	waiting  atomic.Int64 // bytes that wait behind busy channels
	blocked  atomic.Bool  // connection.blocked was sent
	ended    atomic.Bool
	cut      atomic.Bool // its client was silent for too long

	flushing      atomic.Int32            // see flush.go
	scratch       []byte                  // of whoever flushes
	takeScratch   func(dst []byte) []byte // c.appendScratch, bound once
	dirtyMu       sync.Mutex
	confirms      []*channel  // with confirms to send
	credits       []*consumer // that may be due more credit
	spareChannels []*channel
	spareCredits  []*consumer

	workMu   sync.Mutex
	sealed   bool                    // guarded by workMu: no further work begins
	work     sync.WaitGroup          // goroutines that serve channels or flush; teardown waits for them
	stop     atomic.Pointer[failure] // why we end it; set once
	released bool
	lease    clock.Timer // of the reader: ends a connection whose authentication expires
	lateMu   sync.Mutex
	late     clock.Timer // guarded by lateMu: cuts off a client that does not answer connection.close
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{
		s: s, nc: nc, r: wire.NewReader(nc), out: wire.NewOutbox(nc, s.cfg.OutboxMax), owner: s.k.NewOwner(),
		frameMax: frameMaxEarly, channelMax: s.cfg.ChannelMax, channels: make(map[uint16]*channel),
	}
	c.room.L = &c.roomMu
	c.takeScratch = c.appendScratch
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

func (c *conn) peer() string { return c.nc.RemoteAddr().String() }

// serve runs the connection from its first byte to its last.
func (c *conn) serve() error {
	c.early = c.s.link.AfterFunc(handshakeMax, func() {
		c.s.stats.HandshakeTimeout.Add(1)
		c.out.Close(false)
	})
	err := c.run()
	c.traceEnd(err)
	c.early.Stop()
	c.expireAt(time.Time{})
	c.stopHeartbeats()
	c.out.Close(true)
	c.teardown(err != nil)
	c.out.Wait()
	c.r.Release()
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		if f := c.stop.Load(); f != nil {
			return errors.New(f.replyText())
		}
	}
	return err
}

// run reads until the connection ends; nil when it ended in order.
func (c *conn) run() error {
	ok, err := c.readHeader()
	if err != nil || !ok {
		return err
	}
	c.out.Write(c.s.hello)
	for {
		f, n, ok, err := amqpwire.DecodeFrame(c.r.Bytes(), c.limit())
		if err != nil {
			return c.desync(err)
		}
		if !ok {
			c.endBatch()
			if err := c.r.Fill(n); err != nil {
				return err
			}
			c.heard.Store(true)
			continue
		}
		if c.stage != ending && c.stop.Load() != nil { // somebody else said connection.close
			c.stage = ending
			c.release(true)
		}
		fail, over := c.frame(f)
		c.r.Discard(n)
		if over {
			c.endBatch()
			return nil
		}
		if fail != nil && c.stage != ending {
			if err := c.close(fail); err != nil {
				return err
			}
		}
	}
}

// frameSlack is what clients may exceed the negotiated maximum by: some forget the
// overhead of a frame in their sums, and RabbitMQ lets them.
const frameSlack = amqpwire.FrameOverhead

func (c *conn) limit() int {
	if c.stage < awaitOpen {
		return frameMaxEarly
	}
	return c.frameMax + frameSlack
}

// desync ends a connection whose bytes make no sense: it cannot be told where the next
// frame begins, so nothing more is understood.
func (c *conn) desync(err error) error {
	c.s.stats.Malformed.Add(1)
	if c.stage == ending {
		return err
	}
	f := wireFailure(err)
	if cerr := c.close(f); cerr != nil {
		return cerr
	}
	for {
		c.r.Discard(c.r.Buffered())
		if err := c.r.Fill(1); err != nil {
			return errors.New(f.replyText())
		}
	}
}

// close tells the client why its connection ends. An error says that there is nobody to
// wait for any more.
func (c *conn) close(f *failure) error {
	c.s.stats.ConnectionErrors.Add(1)
	c.s.log.Info("connection error", "protocol", "amqp", "peer", c.peer(), "user", c.user, "err", f.replyText())
	c.stage = ending
	c.stop.CompareAndSwap(nil, f)
	c.release(true)
	if f.silent {
		return errors.New(f.replyText())
	}
	c.send(0, &amqpwire.ConnectionClose{ReplyCode: f.code, ReplyText: f.replyText(), ClassID: f.method.Class(), MethodID: f.method.Method()})
	c.flushNow()
	c.giveUpAfter(closeMax)
	return nil
}

// giveUpAfter cuts the connection off if the client does not answer connection.close in that time.
func (c *conn) giveUpAfter(d time.Duration) {
	c.lateMu.Lock()
	if c.late != nil {
		c.late.Stop()
	}
	c.late = c.s.link.AfterFunc(d, func() { c.out.Close(false) })
	c.lateMu.Unlock()
}

// expireAt has the connection end at a time, in broker time; zero: never.
func (c *conn) expireAt(at time.Time) {
	if c.lease != nil {
		c.lease.Stop()
		c.lease = nil
	}
	if !at.IsZero() {
		clk := c.s.k.Clock()
		c.lease = clk.AfterFunc(at.Sub(clk.Now()), func() {
			c.abort(failf(amqpwire.ConnectionForced, "the authentication of user '%s' has expired", c.user))
		})
	}
}

// abort ends the connection from a goroutine that is not its reader.
func (c *conn) abort(f *failure) {
	if !c.stop.CompareAndSwap(nil, f) {
		return
	}
	c.s.stats.ConnectionErrors.Add(1)
	c.out.Append(func(dst []byte) []byte {
		return amqpwire.AppendMethod(dst, 0, &amqpwire.ConnectionClose{ReplyCode: f.code, ReplyText: f.replyText()})
	})
	c.end()
	c.giveUpAfter(closeMax)
}

// tooSlow cuts off a client that does not read what it asked for.
func (c *conn) tooSlow() {
	if c.stop.CompareAndSwap(nil, failf(amqpwire.ResourceError, "client does not read what it is sent")) {
		c.s.stats.TooSlow.Add(1)
		c.s.log.Warn("connection cut off: client does not read", "protocol", "amqp", "peer", c.peer(), "user", c.user)
	}
	c.end()
	c.out.Close(false)
}

// shutdown tells the client that the broker is closing.
func (c *conn) shutdown() {
	c.abort(failf(amqpwire.ConnectionForced, "broker forced connection closure with reason 'shutdown'"))
	c.giveUpAfter(leaveMax)
}

// sendAway tells the client that what it has here has ended without it: it is to come back.
func (c *conn) sendAway() {
	c.abort(failf(amqpwire.ConnectionForced, "broker forced connection closure with reason 'what the connection had has ended'"))
}

// end wakes who waits on behalf of the connection.
func (c *conn) end() {
	c.ended.Store(true)
	c.cancel()
	c.roomMu.Lock()
	c.room.Broadcast()
	c.roomMu.Unlock()
}

// frame handles one frame. over: the connection has ended in order.
func (c *conn) frame(f amqpwire.Frame) (fail *failure, over bool) {
	if f.Type == amqpwire.FrameMethod && c.s.cfg.Trace.On() {
		c.traceMethod(f.Channel, f.Payload)
	}
	if f.Type == amqpwire.FrameHeartbeat {
		if f.Channel != 0 && c.stage == running {
			return failf(amqpwire.UnexpectedFrame, "heartbeat on channel %d", f.Channel), false
		}
		return nil, false
	}
	if f.Channel == 0 {
		if f.Type != amqpwire.FrameMethod {
			if c.stage == ending {
				return nil, false
			}
			return failf(amqpwire.UnexpectedFrame, "type %d on channel 0", f.Type), false
		}
		return c.method0(f.Payload)
	}
	switch c.stage {
	case running:
		return c.channelFrame(f), false
	case ending:
		return nil, false
	}
	return failf(amqpwire.UnexpectedFrame, "frame on channel %d in connection state %s", f.Channel, c.stage), false
}

// method0 handles a method on channel 0.
func (c *conn) method0(payload []byte) (fail *failure, over bool) {
	m, err := amqpwire.DecodeMethod(payload)
	if err != nil {
		if c.stage == ending {
			return nil, false
		}
		return wireFailure(err), false
	}
	switch m := m.(type) {
	case *amqpwire.ConnectionClose:
		if c.stage != ending {
			c.stage = ending
			c.release(false)
		}
		c.send(0, &amqpwire.ConnectionCloseOk{})
		return nil, true
	case *amqpwire.ConnectionCloseOk:
		if c.stop.Load() != nil {
			return nil, true
		}
	case *amqpwire.ConnectionUpdateSecret:
		if c.stage == running {
			login := c.login
			login.Password = string(m.NewSecret)
			id, err := c.s.cfg.Auth.Authenticate(login)
			if err != nil || id.User != c.user {
				c.s.stats.AuthFailures.Add(1)
				return failf(amqpwire.NotAllowed, "New secret was refused by one of the backends").at(m.ID()), false
			}
			c.expireAt(id.Expires)
			c.send(0, &amqpwire.ConnectionUpdateSecretOk{})
			return nil, false
		}
	case *amqpwire.ConnectionBlocked, *amqpwire.ConnectionUnblocked: // ours to say, harmless to hear
	}
	if c.stage == ending {
		return nil, false
	}
	return c.handshake(m).at(m.ID()), false
}

// channelFrame hands a frame to its channel, which channel.open makes.
func (c *conn) channelFrame(f amqpwire.Frame) *failure {
	ch := c.channels[f.Channel]
	if ch != nil && ch.gone.Load() {
		delete(c.channels, ch.id)
		ch = nil
	}
	if ch == nil {
		if f.Type != amqpwire.FrameMethod {
			return failf(amqpwire.UnexpectedFrame, "expected method frame, got non method frame instead")
		}
		m, err := amqpwire.DecodeMethod(f.Payload)
		if err != nil {
			return wireFailure(err)
		}
		switch m.ID() {
		case amqpwire.IDChannelOpen:
		case amqpwire.IDChannelCloseOk: // to a close of ours that crossed the client's
			return nil
		default:
			return failf(amqpwire.ChannelError, "expected 'channel.open'").at(m.ID())
		}
		if n := int(c.nchannels.Load()); n >= c.channelMax {
			return failf(amqpwire.NotAllowed, "number of channels opened (%d) has reached the negotiated channel_max (%d)", n, c.channelMax).at(m.ID())
		}
		ch = newChannel(c, f.Channel)
		c.channels[f.Channel] = ch
		c.nchannels.Add(1)
		c.s.stats.Channels.Add(1)
		c.send(f.Channel, &amqpwire.ChannelOpenOk{})
		return nil
	}
	fail, over := ch.frame(f)
	if over {
		ch.leave()
	}
	return fail
}

// endBatch follows the last whole frame that has arrived.
func (c *conn) endBatch() {
	for _, ch := range c.settling {
		ch.flushSettles()
	}
	clear(c.settling)
	c.settling = c.settling[:0]
	c.flushNow()
}

// send puts a method in the outbox; the next flush takes it along.
func (c *conn) send(channel uint16, m amqpwire.Method) {
	c.hold(func(dst []byte) []byte { return amqpwire.AppendMethod(dst, channel, m) })
	if c.s.cfg.Trace.On() {
		c.traceSent(channel, m)
	}
}

func (c *conn) hold(f func(dst []byte) []byte) {
	c.said.Store(true)
	if !c.out.Hold(f) && c.out.Err() == nil {
		c.tooSlow()
	}
}

// spawn runs f on a goroutine that teardown waits for; false: the connection is gone, and
// f is not run.
func (c *conn) spawn(f func()) bool {
	c.workMu.Lock()
	defer c.workMu.Unlock()
	if c.sealed {
		return false
	}
	c.work.Go(f)
	return true
}

// waitFor waits until what it waits for is so, or the connection has ended.
func (c *conn) waitFor(so func() bool) {
	if so() {
		return
	}
	c.roomWait.Add(1)
	c.roomMu.Lock()
	for !so() && !c.ended.Load() {
		c.room.Wait()
	}
	c.roomMu.Unlock()
	c.roomWait.Add(-1)
}

// signal tells who waits in waitFor to look again.
func (c *conn) signal() {
	if c.roomWait.Load() > 0 {
		c.roomMu.Lock()
		c.room.Broadcast()
		c.roomMu.Unlock()
	}
}

// low tells the client that its publishes cannot be taken for now; after a while they
// are tried again.
func (c *conn) low(what string) {
	if c.block("low on " + what) {
		c.s.link.AfterFunc(blockedFor, c.unblock)
	}
}

// block tells the client that it is blocked; false: it is already, or cannot be told.
func (c *conn) block(reason string) bool {
	if !c.caps.blocked || !c.blocked.CompareAndSwap(false, true) {
		return false
	}
	c.s.stats.Blocked.Add(1)
	c.out.Append(func(dst []byte) []byte {
		return amqpwire.AppendMethod(dst, 0, &amqpwire.ConnectionBlocked{Reason: reason})
	})
	return true
}

// unblock takes that back, or has it tried again later.
func (c *conn) unblock() {
	if !c.tryUnblock() {
		c.s.link.AfterFunc(blockedFor, c.unblock)
	}
}

// tryUnblock takes it back if publishes can be taken. false: they cannot yet.
func (c *conn) tryUnblock() bool {
	if c.ended.Load() {
		return true
	}
	if c.waiting.Load() > waitingMax/2 || c.s.k.Refusal() != nil {
		return false
	}
	if c.blocked.CompareAndSwap(true, false) {
		c.out.Append(func(dst []byte) []byte { return amqpwire.AppendMethod(dst, 0, &amqpwire.ConnectionUnblocked{}) })
	}
	return true
}

// release lets go of what the channels hold. lost: the client did not close in order, so
// that what it had is counted as failed; otherwise what it asked for before is done first.
func (c *conn) release(lost bool) {
	c.released = true
	if lost || c.s.k.Refusal() != nil { // what is parked would keep the client waiting
		c.end()
	}
	late := c.s.link.AfterFunc(teardownMax, c.end) // nor is it to wait for ever for the disk
	defer late.Stop()
	var all sync.WaitGroup
	for _, ch := range c.channels {
		ch.flushSettles()
		all.Go(func() {
			ch.idle()
			if !lost {
				ctx, cancel := releaseCtx()
				ch.answeredAll(ctx)
				cancel()
				ch.tellConfirms()
			}
			ch.release(lost)
			ch.leave()
		})
	}
	all.Wait()
	c.end()
	clear(c.channels)
	if c.vhost != "" {
		c.s.k.CloseOwner(c.owner)
	}
}

// teardown ends what is left when the last byte was read.
func (c *conn) teardown(lost bool) {
	if !c.released {
		c.release(lost)
	}
	c.workMu.Lock()
	c.sealed = true
	c.workMu.Unlock()
	c.work.Wait()
	c.info.Store(nil)
	c.lateMu.Lock()
	if c.late != nil {
		c.late.Stop()
	}
	c.lateMu.Unlock()
}

// ---- heartbeats ------------------------------------------------------------

// startHeartbeats sends a heartbeat when half of the interval has passed in silence, and
// gives the client up after two intervals without a word from it.
func (c *conn) startHeartbeats(every time.Duration) {
	if every == 0 {
		return
	}
	c.heartbeat = every
	c.beatMu.Lock()
	c.beat = c.s.link.AfterFunc(every/2, c.onBeat)
	c.beatMu.Unlock()
}

const silentMax = 4 // half intervals

func (c *conn) onBeat() {
	if c.heard.Swap(false) {
		c.silent = 0
	} else if c.silent++; c.silent >= silentMax && c.roomWait.Load() == 0 {
		c.s.stats.HeartbeatsMissed.Add(1)
		c.s.log.Info("connection closed: missed heartbeats from client", "protocol", "amqp", "peer", c.peer(), "user", c.user)
		c.cut.Store(true)
		c.out.Close(false)
		return
	}
	if !c.said.Swap(false) {
		c.out.Append(amqpwire.AppendHeartbeat)
	}
	c.beatMu.Lock()
	if c.beat != nil {
		c.beat = c.s.link.AfterFunc(c.heartbeat/2, c.onBeat)
	}
	c.beatMu.Unlock()
}

func (c *conn) stopHeartbeats() {
	c.beatMu.Lock()
	if c.beat != nil {
		c.beat.Stop()
		c.beat = nil
	}
	c.beatMu.Unlock()
}
