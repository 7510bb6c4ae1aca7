package mqtt

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/setting"
	"github.com/robustmq/rmq/broker/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen before it is said not to. No
// test that passes waits for it.
const patience = time.Minute

// fakeKernel plays the kernel: it notes what it is asked, and answers as the test says.
type fakeKernel struct {
	mu       sync.Mutex
	specs    []kernel.SessionSpec
	messages []string // of each publish, what say makes of it
	openErr  error
	present  bool
	publish  func(p *kernel.Publish) // nil: one subscriber, at once
	session  *fakeSession            // the last one opened
}

func (k *fakeKernel) Open(_ context.Context, spec kernel.SessionSpec) (session, bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.specs = append(k.specs, spec)
	if k.openErr != nil {
		return nil, false, k.openErr
	}
	k.session = &fakeSession{calls: make(chan string, 100), sink: spec.Sink, known: true}
	return k.session, k.present, nil
}

func (*fakeKernel) Settings(string, setting.Kind) []setting.Setting { return nil }

func (*fakeKernel) ItemsVersion() uint64 { return 0 }

func (*fakeKernel) Home(string, string) (kernel.StreamInfo, bool) { return kernel.StreamInfo{}, false }

func (*fakeKernel) Partition(kernel.StreamID, int32) (*kernel.Partition, error) { return nil, nil }

func (k *fakeKernel) Room() <-chan struct{} { return nil }

func (k *fakeKernel) Publish(p *kernel.Publish) error {
	k.mu.Lock()
	k.messages = append(k.messages, fmt.Sprintf("%s %q qos%d retain=%v", p.Msg.Address, p.Msg.Value, p.Msg.QoS, p.Msg.Retain))
	f := k.publish
	k.mu.Unlock()
	switch {
	case f != nil:
		f(p)
	case p.Reply != nil:
		p.Reply.Published(p.Tag, kernel.PublishResult{Subscribers: 1})
	}
	return nil
}

// said returns what was published so far.
func (k *fakeKernel) said() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string(nil), k.messages...)
}

// fakeSession notes the calls of the adapter in order.
type fakeSession struct {
	calls       chan string
	sink        kernel.Sink
	known       bool
	subErrs     map[string]error
	existed     map[string]bool
	retainedErr error // of Retained
	unsub       error
	stored      chan func() // not nil: what is received is durable when these are called
}

func (s *fakeSession) note(format string, args ...any) { s.calls <- fmt.Sprintf(format, args...) }
func (s *fakeSession) Start()                          { s.note("start") }

func (s *fakeSession) Subscribe(_ context.Context, subs []kernel.Subscription) (existed []bool, errs []error) {
	for _, sub := range subs {
		s.note("subscribe %s qos%d nl=%v rap=%v rh=%d id=%d", sub.Filter, sub.QoS, sub.NoLocal, sub.RetainAsPublished,
			sub.RetainHandling, sub.ID)
		existed = append(existed, s.existed[sub.Filter])
		errs = append(errs, s.subErrs[sub.Filter])
	}
	return existed, errs
}

func (s *fakeSession) Retained(subs ...kernel.Subscription) error {
	for _, sub := range subs {
		s.note("retained %s", sub.Filter)
	}
	return s.retainedErr
}

func (s *fakeSession) Unsubscribe(_ context.Context, filters []string) (existed []bool, err error) {
	for _, f := range filters {
		s.note("unsubscribe %s", f)
		existed = append(existed, s.existed[f])
	}
	return existed, s.unsub
}

func (s *fakeSession) Ack(id uint16, ok bool) bool {
	s.note("ack %d %v", id, ok)
	return s.known
}

func (s *fakeSession) Received(id uint16, done func(bool)) {
	s.note("received %d", id)
	if s.stored != nil {
		s.stored <- func() { done(s.known) }
		return
	}
	done(s.known)
}

func (s *fakeSession) Release(id uint16, done func(bool)) {
	s.note("release %d", id)
	done(s.known)
}

func (s *fakeSession) Close(will bool, expiry *uint32) {
	if expiry == nil {
		s.note("close will=%v", will)
		return
	}
	s.note("close will=%v expiry=%d", will, *expiry)
}

// bench is a server on a fake kernel.
type bench struct {
	t      *testing.T
	k      *fakeKernel
	s      *Server
	clock  *clock.Virtual // broker time
	link   *clock.Virtual
	served sync.WaitGroup
}

func newBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	start := time.UnixMilli(now)
	b := &bench{t: t, k: &fakeKernel{}, clock: clock.NewVirtual(start), link: clock.NewVirtual(start)}
	cfg := Config{Clock: b.clock, Link: b.link}
	if change != nil {
		change(&cfg)
	}
	b.s = newServer(cfg, b.k)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // cut off who is left
		_ = b.s.Close(ctx)
		b.served.Wait()
	})
	return b
}

// peer is the client's end of a connection.
type peer struct {
	t  *testing.T
	v  mqttwire.Version
	nc net.Conn
	r  *wire.Reader
}

// dial connects, over a pipe, without CONNECT.
func (b *bench) dial(v mqttwire.Version) *peer {
	b.t.Helper()
	near, far := net.Pipe()
	b.served.Go(func() { b.s.ServeConn(far) })
	b.t.Cleanup(func() { _ = near.Close() })
	_ = near.SetDeadline(time.Now().Add(patience))
	return &peer{t: b.t, v: v, nc: near, r: wire.NewReader(near)}
}

// connect connects with CONNECT, and expects to be accepted. It returns the fake session
// too, started.
func (b *bench) connect(p mqttwire.Connect) (*peer, *fakeSession) {
	b.t.Helper()
	if p.Version == 0 {
		p.Version = mqttwire.V5
	}
	if p.ClientID == nil {
		p.ClientID = []byte("c")
	}
	c := b.dial(p.Version)
	c.send(&p)
	var ack mqttwire.Connack
	if err := ack.Decode(c.v, c.read(mqttwire.CONNACK)); err != nil {
		b.t.Fatal(err)
	}
	if ack.Reason != mqttwire.Success || ack.Code != mqttwire.Accepted {
		b.t.Fatalf("refused: %v, %d", ack.Reason, ack.Code)
	}
	b.k.mu.Lock()
	s := b.k.session
	b.k.mu.Unlock()
	b.calls(s, "start")
	return c, s
}

// calls expects the adapter's next calls of a session.
func (b *bench) calls(s *fakeSession, want ...string) {
	b.t.Helper()
	for _, w := range want {
		select {
		case got := <-s.calls:
			if got != w {
				b.t.Fatalf("the session was asked to %q, want %q", got, w)
			}
		case <-time.After(patience):
			b.t.Fatalf("the session was not asked to %q", w)
		}
	}
}

// encode encodes a packet of any type.
func encode(t *testing.T, v mqttwire.Version, packet any) []byte {
	t.Helper()
	switch p := packet.(type) {
	case []byte:
		return p
	case *mqttwire.Connect:
		return p.Append(nil)
	case *mqttwire.Connack:
		return p.Append(nil, v)
	case *mqttwire.Publish:
		return p.Append(nil, v)
	case *mqttwire.Ack:
		return p.Append(nil, v)
	case *mqttwire.Subscribe:
		return p.Append(nil, v)
	case *mqttwire.Suback:
		return p.Append(nil, v)
	case *mqttwire.Unsubscribe:
		return p.Append(nil, v)
	case *mqttwire.Disconnect:
		return p.Append(nil, v)
	case *mqttwire.Auth:
		return p.Append(nil)
	}
	t.Fatalf("no packet: %T", packet)
	return nil
}

func (c *peer) send(packets ...any) {
	c.t.Helper()
	var b []byte
	for _, p := range packets {
		b = append(b, encode(c.t, c.v, p)...)
	}
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// next reads one packet.
func (c *peer) next() (mqttwire.Frame, []byte, error) {
	for {
		f, n, more, err := mqttwire.ReadFrame(c.r.Bytes(), c.v, mqttwire.PacketMax)
		if err != nil {
			return f, nil, err
		}
		if n > 0 {
			raw := c.r.Bytes()[:n]
			c.r.Discard(n)
			return f, raw, nil
		}
		if err := c.r.Fill(more); err != nil {
			return f, nil, err
		}
	}
}

// read reads one packet, which must be of that type.
func (c *peer) read(t mqttwire.Type) mqttwire.Frame {
	c.t.Helper()
	f, raw, err := c.next()
	if err != nil {
		c.t.Fatalf("waiting for %v: %v", t, err)
	}
	if f.Type != t {
		c.t.Fatalf("got %v (%x), want %v", f.Type, raw, t)
	}
	return f
}

// want reads packets, which must be those, to the byte.
func (c *peer) want(packets ...any) {
	c.t.Helper()
	for _, p := range packets {
		want := encode(c.t, c.v, p)
		f, raw, err := c.next()
		if err != nil {
			c.t.Fatalf("waiting for %+v: %v", p, err)
		}
		if !bytes.Equal(raw, want) {
			c.t.Fatalf("got %v %x, want %x", f.Type, raw, want)
		}
	}
}

// wantEnd expects the end of the connection.
func (c *peer) wantEnd() {
	c.t.Helper()
	f, raw, err := c.next()
	if err == nil {
		c.t.Fatalf("got %v %x, want the end", f.Type, raw)
	}
	if err != io.EOF {
		c.t.Fatalf("got %v, want the end", err)
	}
}

// wantDisconnect expects DISCONNECT with a reason, whatever its words, and the end; in MQTT
// 3 only the end.
func (c *peer) wantDisconnect(r mqttwire.Reason) {
	c.t.Helper()
	if c.v == mqttwire.V5 {
		var d mqttwire.Disconnect
		if err := d.Decode(c.v, c.read(mqttwire.DISCONNECT)); err != nil {
			c.t.Fatal(err)
		}
		if d.Reason != r {
			c.t.Fatalf("DISCONNECT with %v, want %v", d.Reason, r)
		}
	}
	c.wantEnd()
}

var (
	pingreq  = mqttwire.AppendPingreq(nil)
	pingresp = mqttwire.AppendPingresp(nil)
)

// settled makes sure that all that was sent before is handled.
func (c *peer) settled() {
	c.t.Helper()
	c.send(pingreq)
	c.want(pingresp)
}
