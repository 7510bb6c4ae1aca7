package amqp

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/amqpwire"
	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/trace"
)

// Config says what a server stands on. Zero values of the limits mean their defaults.
type Config struct {
	Kernel *kernel.Kernel
	Auth   auth.Authority
	Link   clock.Clock // heartbeats and time limits; nil: the machine's
	Log    *slog.Logger
	Trace  *trace.Tracer // told what is seen of clients and done for them; nil: nobody asks
	Chaos  *chaos.Engine // has methods go wrong as a plan says; nil: there is none

	Product, Version, Cluster string // told to clients in connection.start

	FrameMax   int           // bytes of the largest frame; 131072
	ChannelMax int           // channels of one connection; 2047
	Heartbeat  time.Duration // proposed to clients, in whole seconds; 60 s
	MessageMax int           // bytes of the largest body; 16 MiB
	OutboxMax  int           // bytes waiting for one client that does not read; 64 MiB
}

// Defaults of Config, which are RabbitMQ's where it has such a setting.
const (
	DefaultFrameMax   = 128 << 10
	DefaultChannelMax = 2047
	DefaultHeartbeat  = 60 * time.Second
	DefaultMessageMax = 16 << 20
	DefaultOutboxMax  = 64 << 20
)

// Server serves AMQP 0-9-1 on connections that it is given.
//
// Ownership: mu guards conns, closing and left. Server.mu is never held while a connection's
// locks are taken.
type Server struct {
	cfg   Config
	k     *kernel.Kernel
	link  clock.Clock
	log   *slog.Logger
	hello []byte // connection.start, the same for everybody
	stats Stats

	mu      sync.Mutex
	conns   map[*conn]struct{}
	closing bool
	left    chan struct{} // closed, and nil again, when one is taken out of conns; nil: nobody waits
	serving sync.WaitGroup
}

// New returns a server; it starts nothing.
func New(cfg Config) *Server {
	if cfg.FrameMax == 0 {
		cfg.FrameMax = DefaultFrameMax
	}
	if cfg.ChannelMax == 0 {
		cfg.ChannelMax = DefaultChannelMax
	}
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = DefaultHeartbeat
	}
	if cfg.MessageMax == 0 {
		cfg.MessageMax = DefaultMessageMax
	}
	if cfg.OutboxMax == 0 {
		cfg.OutboxMax = DefaultOutboxMax
	}
	if cfg.Link == nil {
		cfg.Link = clock.Wall{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Product == "" {
		cfg.Product = "rmq"
	}
	s := &Server{cfg: cfg, k: cfg.Kernel, link: cfg.Link, log: cfg.Log, conns: make(map[*conn]struct{})}
	s.hello = amqpwire.AppendMethod(nil, 0, s.start())
	s.k.OnRefusal(s.readmit)
	return s
}

// readmit has parked publishes go on, when the kernel lets them in again.
func (s *Server) readmit() {
	if s.k.Refusal() != nil {
		return
	}
	for _, c := range s.snapshot() {
		c.signal()
		c.tryUnblock()
	}
}

// ServeConn serves one connection until it ends, and closes it. It returns why it ended;
// nil when the client closed it in order, or the server.
func (s *Server) ServeConn(nc net.Conn) error {
	c := newConn(s, nc)
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		_ = nc.Close()
		return net.ErrClosed
	}
	s.conns[c] = struct{}{}
	s.serving.Add(1)
	s.mu.Unlock()
	s.stats.Connections.Add(1)
	s.stats.Accepted.Add(1)
	err := c.serve()
	s.stats.Connections.Add(-1)
	s.mu.Lock()
	delete(s.conns, c)
	if s.left != nil {
		close(s.left)
		s.left = nil
	}
	s.mu.Unlock()
	s.serving.Done()
	return err
}

// Settle waits until the connections that are cut off have ended: what comes of that is handed to the
// kernel then.
func (s *Server) Settle(ctx context.Context) error {
	for {
		s.mu.Lock()
		ending := false
		for c := range s.conns {
			ending = ending || c.cut.Load() || c.ended.Load()
		}
		if ending && s.left == nil {
			s.left = make(chan struct{})
		}
		left := s.left
		s.mu.Unlock()
		if !ending {
			return nil
		}
		select {
		case <-left:
		case <-ctx.Done():
			return fault.New(fault.Timeout, "settle", "connections of AMQP", "%w", context.Cause(ctx))
		}
	}
}

// Close tells every client that the broker is closing, and waits until their connections
// have ended: those that do not answer are cut off when ctx ends, or after a while.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	all := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		c.shutdown()
	}
	done := make(chan struct{})
	go func() { s.serving.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		for _, c := range all {
			c.out.Close(false)
		}
		<-done
		return ctx.Err()
	}
}

// ConnInfo describes one open connection, for lists.
type ConnInfo struct {
	Name      string // "127.0.0.1:50412 -> 127.0.0.1:5672", or what the client calls itself
	Peer      string
	User      string
	Namespace string
	Channels  int
	Consumers int
	Since     time.Time
	Owner     uint64 // as its consumers have it in the kernel
	Blocked   bool   // it was told that publishes wait

	// Uncommitted is how many publishes and acknowledgements wait for tx.commit.
	Uncommitted int
}

// Connections lists the connections that have completed their handshake.
func (s *Server) Connections() []ConnInfo {
	all := s.snapshot()
	out := make([]ConnInfo, 0, len(all))
	for _, c := range all {
		if info := c.info.Load(); info != nil {
			i := *info
			i.Channels, i.Consumers = int(c.nchannels.Load()), int(c.nconsumers.Load())
			i.Blocked, i.Uncommitted = c.blocked.Load(), int(c.uncommitted.Load())
			out = append(out, i)
		}
	}
	return out
}

// Stats returns the counters, which go on counting.
func (s *Server) Stats() *Stats { return &s.stats }

// Stats counts since the server was made; Connections, Channels and Consumers are as of
// now.
type Stats struct {
	Connections, Channels, Consumers atomic.Int64
	Waiting, WaitingBytes            atomic.Int64 // publishes and methods behind busy channels now

	Accepted                       atomic.Uint64 // connections
	Published, PublishedBytes      atomic.Uint64
	Confirmed, Nacked              atomic.Uint64 // publishes
	Returned                       atomic.Uint64 // mandatory publishes that nobody took
	Refused                        atomic.Uint64 // publishes that failed and could not be nacked
	Delivered, DeliveredBytes      atomic.Uint64 // consume and get
	Acked, Requeued, Rejected      atomic.Uint64 // deliveries
	HeadersTrimmed                 atomic.Uint64 // deliveries whose header table did not fit a frame
	ChannelErrors                  atomic.Uint64 // channels that we closed
	ConnectionErrors               atomic.Uint64 // connections that we closed with an error
	Malformed                      atomic.Uint64 // of those: for bytes that are not AMQP
	AuthFailures, HandshakeTimeout atomic.Uint64
	HeartbeatsMissed               atomic.Uint64 // connections closed for it
	TooSlow                        atomic.Uint64 // connections closed at OutboxMax, or waitingMax
	Blocked                        atomic.Uint64 // times that connection.blocked was sent
}

func (s *Stats) published(bytes int) {
	s.Published.Add(1)
	s.PublishedBytes.Add(uint64(bytes))
}
