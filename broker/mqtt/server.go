package mqtt

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/internal/fresh"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/option"
	"github.com/robustmq/rmq/broker/setting"
	"github.com/robustmq/rmq/broker/trace"
	"github.com/robustmq/rmq/broker/wire"
)

// Config is what a Server needs. Zero values of limits mean their defaults.
type Config struct {
	Kernel    *kernel.Kernel
	Namespace string         // "/" when empty
	Auth      auth.Authority // nil: every client is who it says, and may do everything
	Clock     clock.Clock    // broker time, for message expiry; the wall when nil
	Link      clock.Clock    // link time, for keep alive; the wall when nil
	Log       *slog.Logger   // nil: silent

	Version string // of the server, told under $SYS
	// Options are what may change while the server serves; nil: their defaults.
	Options *option.Live
	// Quotas say how much users and listeners may take; nil: none do.
	Quotas *setting.LiveQuotas
	// Trace is told what is seen of clients and done for them; nil: nobody asks.
	Trace *trace.Tracer
	// Chaos has packets go wrong as a plan says; nil: there is none.
	Chaos *chaos.Engine
	// Bridges calls f with each bridge to another broker, and whether it is connected; nil: there are none.
	Bridges func(f func(name string, connected bool))
	// Ban bans a client; nil: nobody is banned for coming and going too often.
	Ban func(context.Context, acl.Ban) error

	MaxPacket      int    // bytes of a packet from a client
	ReceiveMaximum uint16 // QoS 1 and 2 publishes of one client in progress at once
	Inflight       uint16 // QoS 1 and 2 deliveries to one client in progress at once, if it allows more
	TopicAliases   uint16 // topic aliases a client may define
	MaxClientID    int    // bytes
	MaxExpiry      uint32 // seconds a session may outlive its connection
	DropAbove      int    // bytes waiting for one client beyond which QoS 0 is dropped
	OutboxMax      int    // bytes waiting for one client beyond which it is disconnected

	// ResponseInformation is told to a client of MQTT 5 that asks for it: the root of
	// topics that it may use for answers. nil: "$reply/<client id>".
	ResponseInformation func(clientID string) string
}

// Defaults of Config.
const (
	defaultMaxPacket      = 16 << 20
	defaultReceiveMaximum = 1024
	defaultInflight       = 256
	defaultTopicAliases   = 32
	defaultMaxClientID    = 1024
	defaultDropAbove      = 1 << 20
	defaultOutboxMax      = 256 << 20
)

const (
	// connectMax is the longest CONNECT: its five strings at their longest leave room for
	// user properties.
	connectMax = 512 << 10
	// connectTimeout is how long a client may take to send CONNECT, and the kernel to open
	// its session.
	connectTimeout = 10 * time.Second
	// subscribeTimeout is how long the kernel may take over a SUBSCRIBE or UNSUBSCRIBE: without a
	// majority of the nodes it would take for ever, and the client is told that it is not done.
	subscribeTimeout = 10 * time.Second
	// aliasesOut is how many topic aliases we give the topics we send to one client.
	aliasesOut = 16
)

func (c *Config) defaults() {
	set(&c.Namespace, "/")
	set(&c.MaxPacket, defaultMaxPacket)
	set(&c.ReceiveMaximum, defaultReceiveMaximum)
	set(&c.Inflight, defaultInflight)
	set(&c.TopicAliases, defaultTopicAliases)
	set(&c.MaxClientID, defaultMaxClientID)
	set(&c.MaxExpiry, kernel.ExpiryNever)
	set(&c.DropAbove, defaultDropAbove)
	set(&c.OutboxMax, defaultOutboxMax)
	c.MaxPacket = min(c.MaxPacket, mqttwire.PacketMax)
	if c.Options == nil {
		c.Options = option.Fixed(nil)
	}
	if c.Auth == nil {
		c.Auth = auth.Anybody{}
	}
	if c.Clock == nil {
		c.Clock = clock.Wall{}
	}
	if c.Link == nil {
		c.Link = clock.Wall{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.ResponseInformation == nil {
		c.ResponseInformation = func(clientID string) string { return "$reply/" + clientID }
	}
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// core is what a Server asks of the kernel: the seam at which tests play the kernel.
type core interface {
	Publish(*kernel.Publish) error
	Room() <-chan struct{}
	Settings(namespace string, kind setting.Kind) []setting.Setting
	ItemsVersion() uint64
	Home(namespace, address string) (kernel.StreamInfo, bool)
	Partition(id kernel.StreamID, index int32) (*kernel.Partition, error)
	Open(context.Context, kernel.SessionSpec) (session, bool, error)
}

// session is what a connection asks of its session; *kernel.Session.
type session interface {
	Start()
	Subscribe(context.Context, []kernel.Subscription) (existed []bool, errs []error)
	Retained(...kernel.Subscription) error
	Unsubscribe(context.Context, []string) (existed []bool, err error)
	Ack(packetID uint16, ok bool) (known bool)
	Received(packetID uint16, done func(known bool))
	Release(packetID uint16, done func(known bool))
	Close(will bool, expiry *uint32)
}

type kernelCore struct{ *kernel.Kernel }

func (k kernelCore) Open(ctx context.Context, spec kernel.SessionSpec) (session, bool, error) {
	s, present, err := k.OpenSession(ctx, spec)
	if err != nil {
		return nil, false, err // not s: a nil *Session is not a nil session
	}
	return s, present, nil
}

// Server serves MQTT on the connections it is handed. It listens on nothing itself.
//
// Lock order: Server.mu and conn.mu are never held together, nor across a kernel call.
type Server struct {
	cfg   Config
	core  core
	stats Stats
	sys   *sys
	rules *fresh.Value[*rules] // that count now
	flaps flaps
	rates rates
	slow  slows

	admission admission

	since time.Time // link time

	alarms *clock.Wheel[conn] // of who must say something: CONNECT, and then anything
	calm   wire.Poller        // wakes who says little

	mu     sync.Mutex
	conns  map[*conn]struct{} // guarded by mu
	closed bool               // guarded by mu
	left   chan struct{}      // closed, and nil again, when one is taken out of conns; nil: nobody waits
	served sync.WaitGroup     // one for each conn in conns
	ctx    context.Context    // ends when Close gives up waiting
	stop   context.CancelFunc
}

// New returns a Server of cfg.
func New(cfg Config) *Server { return newServer(cfg, kernelCore{cfg.Kernel}) }

func newServer(cfg Config, core core) *Server {
	cfg.defaults()
	s := &Server{cfg: cfg, core: core, conns: map[*conn]struct{}{}}
	s.rules = fresh.New(core, s.readRules)
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.since = cfg.Link.Now()
	s.alarms = clock.NewWheel(cfg.Link, (*conn).silent)
	s.sys = newSys(s)
	return s
}

// Stats returns the server's counters.
func (s *Server) Stats() *Stats { return &s.stats }

// ServeConn serves one client and closes its connection. It returns when the client is
// gone and nothing more is done for it.
func (s *Server) ServeConn(nc net.Conn) {
	done := make(chan struct{})
	s.Take(nc, func() { close(done) })
	<-done
}

// Take is ServeConn, which may return before: over is called when ServeConn would have
// returned, once.
func (s *Server) Take(nc net.Conn, over func()) {
	c := newConn(s, nc, over)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		_ = nc.Close()
		over()
		return
	}
	s.conns[c] = struct{}{}
	s.served.Add(1)
	s.mu.Unlock()

	c.arm(connectTimeout)
	c.run()
}

// forget takes out a connection that is over.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	if s.left != nil {
		close(s.left)
		s.left = nil
	}
	s.mu.Unlock()
	s.served.Done()
	c.over()
}

// Settle waits until the connections that were told to end have: what comes of that is handed to the
// kernel then.
func (s *Server) Settle(ctx context.Context) error {
	for {
		s.mu.Lock()
		ending := false
		for c := range s.conns {
			ending = ending || c.ended.Load()
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
			return fault.New(fault.Timeout, "settle", "connections of MQTT", "%w", context.Cause(ctx))
		}
	}
}

// Close tells every client that the server is shutting down, and waits until all are
// gone, or, once ctx ends, cuts them off. The sessions stay in the kernel.
func (s *Server) Close(ctx context.Context) error {
	s.sys.stop()
	for _, c := range s.closing() {
		c.end(mqttwire.ServerShuttingDown, "")
	}
	done := make(chan struct{})
	go func() { // ends when the last connection has; cutting them off makes sure of that
		s.served.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
		s.stop()
		for _, c := range s.closing() {
			c.out.Close(false)
		}
		<-done
	}
	s.stop()
	s.flaps.stop()
	s.calm.Close()
	return err
}

// closing refuses new connections and returns those there are.
func (s *Server) closing() []*conn {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return s.snapshot()
}

// Client describes one connected client.
type Client struct {
	ClientID  string
	User      string // as authenticated
	Remote    net.Addr
	Transport string // as of wire.Peer
	Version   mqttwire.Version
	KeepAlive time.Duration // 0: none
	Since     time.Time     // link time
	Waiting   int           // bytes not yet taken by it
	Aliases   int           // topic aliases that it was told
	AliasMax  int           // that it takes
}

// Clients returns the clients that are connected, in no order.
func (s *Server) Clients() []Client {
	conns := s.snapshot()
	list := make([]Client, 0, len(conns))
	for _, c := range conns {
		if d, ok := c.describe(); ok {
			list = append(list, d)
		}
	}
	return list
}
