package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
)

// Connections of which the test is the other end, and what a node makes of them.

// identityOf is a node's that a test speaks for.
func identityOf(id uint64) identity { return identity{id, "test", []byte(testToken)} }

// stranger is where a node finds a peer that the test speaks for.
type stranger struct {
	net.Listener
	t *testing.T
}

func newStranger(t *testing.T) stranger {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return stranger{l, t}
}

// meet accepts a connection and proves to be node id.
func (s stranger) meet(id uint64) net.Conn {
	s.t.Helper()
	conn, err := s.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	if _, _, err := identityOf(id).accept(conn, nil, anyNode, anyCert); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// visit connects to a node, and proves to be node id.
func (n *node) visit(id uint64) net.Conn {
	n.t.Helper()
	conn, err := (&net.Dialer{}).DialContext(n.t.Context(), "tcp", n.Addr().String())
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { conn.Close() })
	if err := identityOf(id).dial(conn, n.cfg.Self, nil); err != nil {
		n.t.Fatal(err)
	}
	return conn
}

// ends waits until the other side has closed a connection.
func ends(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(waitMax)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		t.Fatal("the connection was not closed")
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// virtual has a node live on a clock of the test.
func virtual() (*clock.Virtual, func(*TCPConfig)) {
	c := clock.NewVirtual(time.Unix(1_700_000_000, 0))
	return c, func(cfg *TCPConfig) { cfg.Clock = c }
}

// A peer that takes nothing, or is gone without a word, is cut after silenceMax, although what
// is sent to it would still fit the system's buffers.
func TestTCPHalfOpenTo(t *testing.T) {
	c, on := virtual()
	n, s := startNode(t, 1, on), newStranger(t)
	n.SetPeers(map[uint64]string{2: s.Addr().String()})
	n.Channel(ChanRaft).Send(2, []byte("x"))
	conn := s.meet(2)
	until(t, "it is connected", func() bool { return !n.peerStatus(2).OutSince.IsZero() })
	c.Advance(pingEvery + silenceMax - 1)
	if p := n.peerStatus(2); p.OutSince.IsZero() {
		t.Errorf("cut too early: %s", p.Error)
	}
	c.Advance(pingEvery)
	ends(t, conn)
	until(t, "it is not connected", func() bool { return n.peerStatus(2).Error == errSilent.Error() })
}

// A connection from a peer that is gone without a word is cut too.
func TestTCPHalfOpenFrom(t *testing.T) {
	c, on := virtual()
	n := startNode(t, 1, on)
	n.SetPeers(map[uint64]string{2: "127.0.0.1:1"})
	conn := n.visit(2)
	conn.Write(appendChunk(nil, chunk{channel: ChanRaft, body: []byte("x")}))
	n.next()
	c.Advance(2 * silenceMax)
	ends(t, conn)
	until(t, "it is not connected", func() bool { p := n.peerStatus(2); return p.InSince.IsZero() && p.InError == errSilent.Error() })
}

// Two that have nothing to say stay connected.
func TestTCPQuiet(t *testing.T) {
	c, on := virtual()
	one, two := startNode(t, 1, on), startNode(t, 2, on)
	meet(one, two)
	one.Channel(ChanRaft).Send(2, []byte("x"))
	two.next()
	p := (*one.peers.Load())[2]
	for i := range uint64(5 * silenceMax / pingEvery) {
		c.Advance(pingEvery)
		until(t, "the ping was answered", func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.out != nil && p.out.number == i+1 && p.out.asked.IsZero()
		})
	}
	if s := one.peerStatus(2); s.Connections != 1 || s.OutSince.IsZero() || s.Error != "" {
		t.Errorf("status %+v", s)
	}
}

// Who connects and does not prove who he is has handshakeWait, on both sides.
func TestTCPSilentHandshake(t *testing.T) {
	c, on := virtual()
	n, s := startNode(t, 1, on), newStranger(t)
	n.SetPeers(map[uint64]string{2: s.Addr().String()})
	n.Channel(ChanRaft).Send(2, []byte("x"))
	to, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	from, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", n.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	until(t, "both are in a handshake", func() bool { n.mu.Lock(); defer n.mu.Unlock(); return n.strangers == 1 })
	if _, _, err := readHello(to); err != nil {
		t.Fatal(err)
	}
	until(t, "both were given up", func() bool {
		c.Advance(handshakeWait)
		return n.peerStatus(2).Error == errSlow.Error() && n.Status().Unproven > 0
	})
	ends(t, to)
	ends(t, from)
}

// A peer that reads nothing costs a bounded number of bytes, and holds up nobody else.
func TestTCPSlowPeer(t *testing.T) {
	one := startNode(t, 1, func(c *TCPConfig) { c.WaitingMax = 1 << 20 })
	s, three := newStranger(t), startNode(t, 3, nil)
	three.SetPeers(map[uint64]string{1: one.Addr().String()})
	one.SetPeers(map[uint64]string{2: s.Addr().String(), 3: three.Addr().String()})
	to := one.Channel(ChanRaft)
	to.Send(2, nil)
	s.meet(2)
	for one.peerStatus(2).Dropped == 0 {
		to.Send(2, make([]byte, 100_000))
	}
	if w := one.peerStatus(2).Waiting; w > 1<<20 {
		t.Errorf("%d bytes wait", w)
	}
	for range 100 {
		to.Send(2, make([]byte, 100_000))
		to.Send(3, []byte("x"))
		three.next()
	}
	// Nor does it hold up what has a channel of its own.
	before := one.peerStatus(2).Dropped
	one.Channel(ChanBeat).Send(2, []byte("x"))
	if one.peerStatus(2).Dropped != before {
		t.Error("a heartbeat was dropped for what waits in another channel")
	}
}

// A heartbeat passes a big frame that is on its way.
func TestTCPBeatPassesBigFrame(t *testing.T) {
	one, s := startNode(t, 1, nil), newStranger(t)
	one.SetPeers(map[uint64]string{2: s.Addr().String()})
	one.Channel(ChanRaft).Send(2, make([]byte, 100<<20)) // more than any buffer of the system
	conn := s.meet(2)
	r := newChunkReader(conn, readBuffer)
	if c, err := r.next(); err != nil || c.channel != ChanRaft {
		t.Fatalf("channel %d, %v", c.channel, err)
	}
	one.Channel(ChanBeat).Send(2, []byte("beat"))
	for {
		c, err := r.next()
		switch {
		case err != nil:
			t.Fatal(err)
		case c.channel == ChanBeat:
			return
		case c.channel == ChanRaft && c.rest == 0:
			t.Fatal("the big frame came first")
		}
	}
}

// What a peer says that is not the protocol ends its connection, and is told.
func TestTCPGarbage(t *testing.T) {
	n := startNode(t, 1, nil)
	n.SetPeers(map[uint64]string{2: "127.0.0.1:1"})
	conn := n.visit(2)
	b := appendChunk(nil, chunk{channel: ChanRaft, body: []byte("x")})
	b = append(b, make([]byte, chunkHeader)...)
	conn.Write(b)
	if r := n.next(); r.frame != "x" {
		t.Errorf("received %q", r.frame)
	}
	ends(t, conn)
	until(t, "it is told", func() bool { return n.peerStatus(2).InError == "a chunk of 0 bytes was damaged on its way" })
}

// A newer connection of a peer takes the place of the one before, which may be dead.
func TestTCPNewerConnection(t *testing.T) {
	n := startNode(t, 1, nil)
	n.SetPeers(map[uint64]string{2: "127.0.0.1:1"})
	first := n.visit(2)
	second := n.visit(2)
	ends(t, first)
	second.Write(appendChunk(nil, chunk{channel: ChanRaft, body: []byte("x")}))
	if r := n.next(); r.frame != "x" || r.from != 2 {
		t.Errorf("received %q of %d", r.frame, r.from)
	}
}

// A peer that moves is found where it is now; one that is removed is let go of.
func TestTCPSetPeers(t *testing.T) {
	one, here, there := startNode(t, 1, nil), newStranger(t), newStranger(t)
	one.SetPeers(map[uint64]string{2: here.Addr().String()})
	one.Channel(ChanRaft).Send(2, []byte("x"))
	first := here.meet(2)
	one.SetPeers(map[uint64]string{2: there.Addr().String()})
	ends(t, first)
	second := there.meet(2) // without a frame that asks for it
	until(t, "it is connected", func() bool { return !one.peerStatus(2).OutSince.IsZero() })
	from := one.visit(2)
	until(t, "it has connected", func() bool { return !one.peerStatus(2).InSince.IsZero() })
	one.SetPeers(nil)
	ends(t, second)
	ends(t, from)
	one.Channel(ChanRaft).Send(2, []byte("x"))
	if s := one.Status(); s.Unknown != 1 || len(s.Peers) != 0 {
		t.Errorf("status %+v", s)
	}
}

// A peer that cannot be reached is tried again, seldom, and frames to it do not wait; once it
// connects itself, it is tried at once.
func TestTCPRedial(t *testing.T) {
	c, on := virtual()
	tries := make(chan string, 100)
	var mu sync.Mutex
	down := true
	n := startNode(t, 1, func(cfg *TCPConfig) {
		on(cfg)
		cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			tries <- addr
			if down {
				return nil, errors.New("no way there")
			}
			return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		}
	})
	s := newStranger(t)
	n.SetPeers(map[uint64]string{2: s.Addr().String()})
	n.Channel(ChanRaft).Send(2, []byte("x"))
	rests := func() {
		t.Helper()
		<-tries
		p := (*n.peers.Load())[2]
		until(t, "the attempt has failed", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.state == resting })
	}
	rests()
	for range 10 { // at most redialMax apart from then on
		n.Channel(ChanRaft).Send(2, []byte("dropped"))
		c.Advance(redialMax)
		rests()
	}
	if d := n.peerStatus(2).Dropped; d != 11 {
		t.Errorf("%d frames dropped", d)
	}
	mu.Lock()
	down = false
	mu.Unlock()
	n.visit(2) // the clock stands
	s.meet(2)
	if e := n.peerStatus(2).Error; e != "no way there" {
		t.Errorf("error %q", e)
	}
}

func TestBackoff(t *testing.T) {
	want := redialMin
	for failures := 1; failures < 100; failures++ {
		for range 100 {
			if d := backoff(failures); d < want/2 || d > want {
				t.Fatalf("after %d failures %v, want %v at most", failures, d, want)
			}
		}
		want = min(2*want, redialMax)
	}
}

// A connection that was accepted elsewhere is served, of whatever kind it is.
func TestTCPServeConn(t *testing.T) {
	two := startNode(t, 2, func(c *TCPConfig) { c.Addr, c.Peers = "", map[uint64]string{1: ""} })
	one := startNode(t, 1, func(cfg *TCPConfig) {
		cfg.Peers = map[uint64]string{2: "through a pipe"}
		cfg.Dial = func(context.Context, string) (net.Conn, error) {
			a, b := net.Pipe()
			go two.ServeConn(b) // ends with its node
			return a, nil
		}
	})
	one.Channel(ChanRaft).Send(2, []byte("x"))
	if r := two.next(); r.from != 1 || r.frame != "x" {
		t.Errorf("received %q of %d", r.frame, r.from)
	}
	if two.Addr() != nil {
		t.Errorf("it listens on %v", two.Addr())
	}
}

// Close waits for receivers, as long as it may.
func TestTCPCloseWaits(t *testing.T) {
	one, two := startNode(t, 1, nil), startNode(t, 2, nil)
	meet(one, two)
	in, out := make(chan struct{}), make(chan struct{})
	two.Handle(ChanRaft, func(uint64, []byte) error { in <- struct{}{}; <-out; return nil })
	one.Channel(ChanRaft).Send(2, []byte("x"))
	<-in
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := two.Close(ctx); !fault.Is(err, fault.Timeout) {
		t.Errorf("closed: %v", err)
	}
	close(out)
	if err := two.Close(t.Context()); err != nil {
		t.Errorf("closed: %v", err)
	}
}

// A small frame costs no memory, from Send to its receiver.
func TestTCPAllocations(t *testing.T) {
	got := make(chan struct{})
	one, _ := pair(t, func(uint64, []byte) error { got <- struct{}{}; return nil })
	to, frame := one.Channel(ChanRaft), make([]byte, 100)
	if n := testing.AllocsPerRun(1000, func() { to.Send(2, frame); <-got }); n > 0 {
		t.Errorf("%v allocations a frame", n)
	}
}
