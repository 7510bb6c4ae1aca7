package transport

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
)

// Channels share the connections of a node: each has a receiver of its own, and its frames
// arrive in the order they were sent in, whatever waits in others. The numbers are part of the
// protocol between nodes.
const (
	control   = 0 // the transport's own
	ChanRaft  = 1 // logs: appends and what is forwarded (broker/cluster/group)
	ChanBeat  = 2 // of the same: heartbeats, votes and answers, which are small and may not wait
	ChanRelay = 3 // the kernel's own (broker/kernel, relay.go)
	channels  = 16
)

// Bounds of a connection, in link time.
const (
	handshakeWait = 5 * time.Second // from dial or accept to the proof of the other end
	pingEvery     = time.Second     // the one that dialled asks so often whether the other one listens
	silenceMax    = 10 * time.Second
	redialMin     = 50 * time.Millisecond // between two attempts, doubling, less up to half by chance
	redialMax     = 2 * time.Second
	steadyAfter   = 5 * time.Second // a connection that lasted so long begins with redialMin again
	strangersMax  = 64              // connections in a handshake at once; more are closed
)

// TCPConfig says what a TCP stands on. Zero values mean the defaults, where there are any.
type TCPConfig struct {
	Self    uint64 // this node; never 0
	Cluster string // the cluster's name, 1 to 255 bytes
	Token   string // what every node of the cluster knows, and nobody else; never empty

	// TLS is used for both roles; nil: none. A node without a name in it is verified under the
	// host of its address. With InsecureSkipVerify connections are private and the token still
	// proves who is there, as both ends bind their proof to the connection.
	TLS *tls.Config
	// CheckCert tells whether a certificate is a node's, after the token was proven; nil: the
	// token is believed. With it, a node that has the token cannot pass for another one.
	CheckCert func(node uint64, s tls.ConnectionState) error

	Listener net.Listener // taken over; nil: listen on Addr
	Addr     string       // host:port; with no Listener and no Addr, connections come by ServeConn
	Peers    map[uint64]string

	Dial func(ctx context.Context, addr string) (net.Conn, error) // nil: TCP

	WaitingMax int          // bytes that wait in one channel for one peer; 64 MiB
	Clock      clock.Clock  // link time; nil: the wall's
	Log        *slog.Logger // nil: silent
}

// TCP joins nodes over a network. Safe for concurrent use.
//
// Each node dials those it has something to send to, and sends over the connections that it
// has dialled; over those that it has accepted it receives, and only answers pings. So a
// connection has one owner, and two nodes never argue about which of two to keep.
//
// # Who owns what
//
// A peer has at most one goroutine that dials and writes, and beside it one that reads what
// comes back; a connection that was accepted has one, which calls the receivers. All end when
// their context does, which Close, SetPeers and the watch of each connection can bring about.
//
// peers is a map that never changes once stored. mu orders those who replace it, and guards
// closed, strangers and told. Lock order: TCP.mu → peer.mu.
type TCP struct {
	cfg      TCPConfig
	id       identity
	listener net.Listener // nil: none

	receivers [channels]atomic.Pointer[Receiver]
	answers   atomic.Pointer[func(context.Context, []byte) []byte]
	peers     atomic.Pointer[map[uint64]*peer]
	stats     stats

	ctx     context.Context // ends with Close
	cancel  context.CancelCauseFunc
	running sync.WaitGroup // every goroutine

	mu        sync.Mutex
	closed    bool
	strangers int             // connections in a handshake
	told      map[string]bool // what was logged of connections that nobody proved
}

var (
	errClosed  = fault.New(fault.Unavailable, "connect", "", "this node is closing")
	errRemoved = fault.New(fault.Unavailable, "connect", "", "it is no peer any more")
	errMoved   = fault.New(fault.Unavailable, "connect", "", "its address has changed")
	errSilent  = fault.New(fault.Timeout, "connect", "", "nothing was heard of it for %v", silenceMax)
	errSlow    = fault.New(fault.Timeout, "connect", "", "it did not prove who it is within %v", handshakeWait)
	errNewer   = fault.New(fault.Fenced, "accept", "", "a newer connection has taken its place")
)

// Listen returns a node that its peers can reach. What arrives before Handle is lost.
func Listen(cfg TCPConfig) (*TCP, error) {
	switch {
	case cfg.Self == 0:
		return nil, fault.New(fault.Invalid, "listen", cfg.Addr, "a node needs an id")
	case cfg.Cluster == "" || len(cfg.Cluster) > clusterMax:
		return nil, fault.New(fault.Invalid, "listen", cfg.Addr, "a cluster's name has 1 to %d bytes, not %d", clusterMax, len(cfg.Cluster))
	case cfg.Token == "":
		return nil, fault.New(fault.Invalid, "listen", cfg.Addr, "a cluster needs a token")
	}
	cfg = cfg.withDefaults()
	t := &TCP{cfg: cfg, id: identity{cfg.Self, cfg.Cluster, []byte(cfg.Token)}, listener: cfg.Listener, told: make(map[string]bool)}
	t.ctx, t.cancel = context.WithCancelCause(context.Background())
	if t.listener == nil && cfg.Addr != "" {
		var err error
		lc := net.ListenConfig{KeepAliveConfig: keepAlive}
		if t.listener, err = lc.Listen(t.ctx, "tcp", cfg.Addr); err != nil {
			t.cancel(errClosed)
			return nil, &fault.Error{Kind: fault.Unavailable, Op: "listen", Target: cfg.Addr, Err: err}
		}
	}
	t.peers.Store(new(map[uint64]*peer))
	t.SetPeers(cfg.Peers)
	if t.listener != nil {
		t.running.Go(t.acceptAll)
	}
	return t, nil
}

func (cfg TCPConfig) withDefaults() TCPConfig {
	cfg.WaitingMax = cmp.Or(cfg.WaitingMax, waitingDefault)
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	if cfg.Clock == nil {
		cfg.Clock = clock.Wall{}
	}
	if cfg.Dial == nil {
		d := &net.Dialer{KeepAliveConfig: keepAlive}
		cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	}
	if cfg.TLS != nil {
		cfg.TLS = cfg.TLS.Clone()
		cfg.TLS.MinVersion = max(cfg.TLS.MinVersion, tls.VersionTLS13) // what is exported is to be of this connection alone
	}
	return cfg
}

// keepAlive finds a dead host also where the watch of a connection is held up.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// Addr is where the node listens; nil: nowhere.
func (t *TCP) Addr() net.Addr {
	if t.listener == nil {
		return nil
	}
	return t.listener.Addr()
}

// Handle gives what arrives on a channel to r from now on; nil: to nobody. It is called by one
// goroutine for each peer; what holds it up holds up that peer. It must not keep the frame.
func (t *TCP) Handle(channel byte, r Receiver) {
	mustChannel(channel)
	if r == nil {
		t.receivers[channel].Store(nil)
		return
	}
	t.receivers[channel].Store(&r)
}

// Channel is a way to all peers.
func (t *TCP) Channel(channel byte) *Channel {
	mustChannel(channel)
	return &Channel{t, channel}
}

func mustChannel(channel byte) {
	if channel == control || channel >= channels {
		panic("transport: there is no such channel")
	}
}

// Channel sends the frames of one channel.
type Channel struct {
	t  *TCP
	id byte
}

// Send sends a frame to a peer, or drops it: when the peer is none, cannot be reached just
// now, or has too much waiting. It does not block. The frame is the transport's from then on.
func (c *Channel) Send(to uint64, frame []byte) {
	p := (*c.t.peers.Load())[to]
	if p == nil {
		c.t.stats.unknown.Add(1)
		return
	}
	p.send(c.id, frame)
}

// SetPeers replaces the peers, and where they are. Connections of those that stay where they
// are go on; those of others are cut. This node itself is left out.
func (t *TCP) SetPeers(addrs map[uint64]string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	old := *t.peers.Load()
	peers := make(map[uint64]*peer, len(addrs))
	for id, addr := range addrs {
		if id == t.cfg.Self || id == 0 {
			continue
		}
		p := old[id]
		if p == nil {
			p = newPeer(t, id, addr)
		} else {
			p.move(addr)
		}
		peers[id] = p
	}
	t.peers.Store(&peers)
	for id, p := range old {
		if peers[id] == nil {
			p.end(errRemoved)
		}
	}
}

// Peers returns the peers, and where they are.
func (t *TCP) Peers() map[uint64]string {
	out := make(map[uint64]string)
	for id, p := range *t.peers.Load() {
		p.mu.Lock()
		out[id] = p.addr
		p.mu.Unlock()
	}
	return out
}

// Close cuts all connections, and returns when nothing runs any more, or with ctx. What was
// sent and waits is lost.
func (t *TCP) Close(ctx context.Context) error {
	t.mu.Lock()
	t.closed = true
	peers := maps.Clone(*t.peers.Load())
	t.mu.Unlock()
	t.cancel(errClosed)
	if t.listener != nil {
		_ = t.listener.Close()
	}
	for _, p := range peers {
		p.end(errClosed)
	}
	done := make(chan struct{})
	go func() { // ends when everything else has
		t.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fault.New(fault.Timeout, "close", "transport", "a receiver has not returned: %w", context.Cause(ctx))
	}
}

// spawn runs f unless the node is closed, and has Close wait for it.
func (t *TCP) spawn(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.running.Go(f)
	return true
}

// acceptAll accepts connections until the listener is closed.
func (t *TCP) acceptAll() {
	for failures := 0; ; {
		conn, err := t.listener.Accept()
		switch {
		case err == nil:
			failures = 0
			if !t.spawn(func() { t.serve(conn) }) {
				_ = conn.Close()
			}
		case errors.Is(err, net.ErrClosed):
			return
		default: // out of files, most likely
			t.tell("accept: "+plain(err), "node connections cannot be accepted", "err", err)
			failures++
			t.pause(backoff(failures))
		}
	}
}

// pause waits, or until the node closes.
func (t *TCP) pause(d time.Duration) {
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	timer := t.cfg.Clock.AfterFunc(d, cancel)
	defer timer.Stop()
	<-ctx.Done()
}

// ServeConn serves a connection that somebody else accepted, and returns when it has ended.
func (t *TCP) ServeConn(conn net.Conn) {
	done := make(chan struct{})
	if !t.spawn(func() { defer close(done); t.serve(conn) }) {
		_ = conn.Close()
		return
	}
	<-done
}
