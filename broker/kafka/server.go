package kafka

import (
	"cmp"
	"context"
	"errors"
	"net"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/setting"
	"github.com/robustmq/rmq/broker/trace"
)

// Config is what a Server is told. Zero values mean what Kafka's defaults do, unless
// said otherwise.
type Config struct {
	Kernel    *kernel.Kernel
	Namespace string // which every connection sees; "" is "/"
	ClusterID string
	NodeID    int32
	// Advertise returns where clients are to connect, given the address at which they
	// reached us. nil: that address itself, which is right for every listener that
	// clients reach without translation.
	Advertise func(local net.Addr) (host string, port int32)

	// Authenticator checks SASL PLAIN, and what a client may do. nil: SASL is off, and asking for
	// it is an error; everybody may do everything.
	Authenticator auth.Authority
	// Trace is told what is seen of clients and done for them; nil: nobody asks.
	Trace *trace.Tracer
	// Chaos has requests go wrong as a plan says; nil: there is none.
	Chaos *chaos.Engine
	// Quotas say how much users and client ids may produce, consume and ask for; nil: none do.
	Quotas *setting.LiveQuotas
	// RequireSASL refuses everything else before it.
	RequireSASL bool

	// Broker is the clock of records, Link that of long polls. nil: the machine's.
	Broker, Link clock.Clock

	NoAutoCreate  bool  // auto.create.topics.enable=false
	Partitions    int32 // num.partitions; 0 is 1
	ExactStreams  bool  // streams created here capture nothing below their address
	RequestMax    int   // socket.request.max.bytes; 0 is 100 MiB
	MessageMax    int   // message.max.bytes; 0 is 1 MiB and 12 bytes
	FetchMax      int   // fetch.max.bytes; 0 is 55 MiB
	FetchSessions int   // max.incremental.fetch.session.cache.slots; 0 is 1000
	Groups        GroupLimits
	IdleMax       time.Duration // connections.max.idle.ms; 0 is 10 min
	// Users, when not nil, is asked how many users there are whenever a request comes on a
	// connection that has not authenticated: with any, SASL is required.
	Users func() int
	// LogDir is the path that DescribeLogDirs answers with; "" is "memory".
	LogDir string
	// Settings are further broker settings for DescribeConfigs to show, by Kafka's names.
	Settings map[string]string
}

// GroupLimits bound consumer groups.
type GroupLimits struct {
	MinSession time.Duration // group.min.session.timeout.ms; 0 is 6 s
	MaxSession time.Duration // group.max.session.timeout.ms; 0 is 30 min
	MaxSize    int32         // group.max.size; 0 is what the kernel allows
	// InitialDelay is how long a group that was empty waits for more members:
	// group.initial.rebalance.delay.ms. 0 is none, where Kafka's default is 3 s.
	InitialDelay time.Duration
}

// Stats are counters of one Server. Read them at any time.
type Stats struct {
	Connections  atomic.Int64 // open now
	Accepted     atomic.Uint64
	Requests     [apiKeys]atomic.Uint64 // by key
	BytesIn      atomic.Uint64          // of requests
	BytesOut     atomic.Uint64          // of responses
	Batches      atomic.Uint64          // produced
	Produced     atomic.Uint64          // records
	ProducedSize atomic.Uint64          // bytes of their batches
	FetchedSize  atomic.Uint64          // bytes of batches sent
	Fetched      atomic.Uint64          // their records
	Held         atomic.Int64           // Produce requests that wait for room now
	HeldBytes    atomic.Int64           // of those
	Sessions     atomic.Int64           // fetch sessions open now
	Throttled    atomic.Uint64          // times that a connection was not read, for its quotas
	Closed       [reasons]atomic.Uint64 // connections, by Reason
}

// Reason tells why a connection ended.
type Reason uint8

const (
	ByPeer         Reason = iota // the peer closed, or the network did
	ByServer                     // the server is closing
	BadLength                    // a request announced an impossible length
	BadRequest                   // a request's bytes are not what its key and version say
	UnknownRequest               // a key or version that is not offered
	NotAllowed                   // a request before authentication, or another out of place
	BadCredentials               // authentication failed
	Unanswerable                 // a Produce with acks=0 failed: closing is the only answer
	TooSlow                      // the peer took nothing of what was written to it
	Idle                         // the peer sent nothing for connections.max.idle.ms
	Banned                       // its user or address is
	Injected                     // a planned fault
	reasons        = iota
)

var reasonNames = [reasons]string{
	"closed by peer", "server closing", "bad length", "bad request", "unknown request", "not allowed",
	"bad credentials", "failed without acks", "too slow", "idle", "banned", "planned fault",
}

func (r Reason) String() string { return reasonNames[r] }

// Server serves connections. Make it with New.
//
// Ownership: mu guards conns and closing. Everything else is set by New, atomic, or
// guards itself.
type Server struct {
	cfg      Config
	kernel   *kernel.Kernel
	sessions sessions
	decodes  decodeBudget
	Stats    Stats

	// inflating bounds how many batches are decompressed at once, as each may take
	// record.InflatedMax of memory: as many as there are processors to do it.
	inflating chan struct{}
	unread    atomic.Int64 // bytes of batches on their way to peers

	buckets  buckets
	altering sync.Mutex // held while quotas are read and written back

	ctx    context.Context // ends with Close: every wait of a request listens to it
	cancel context.CancelFunc

	mu      sync.Mutex
	conns   map[*conn]struct{}
	closing bool
	served  sync.WaitGroup // of ServeConn
}

// New returns a Server.
func New(cfg Config) *Server {
	cfg.Namespace = cmp.Or(cfg.Namespace, "/")
	cfg.Partitions = cmp.Or(cfg.Partitions, 1)
	cfg.RequestMax = cmp.Or(cfg.RequestMax, 100<<20)
	cfg.MessageMax = cmp.Or(cfg.MessageMax, 1<<20+12)
	cfg.FetchMax = cmp.Or(cfg.FetchMax, 55<<20)
	cfg.FetchSessions = cmp.Or(cfg.FetchSessions, 1000)
	cfg.IdleMax = cmp.Or(cfg.IdleMax, 10*time.Minute)
	cfg.Groups.MinSession = cmp.Or(cfg.Groups.MinSession, 6*time.Second)
	cfg.Groups.MaxSession = cmp.Or(cfg.Groups.MaxSession, 30*time.Minute)
	cfg.LogDir = cmp.Or(cfg.LogDir, "memory")
	if cfg.Broker == nil {
		cfg.Broker = clock.Wall{}
	}
	if cfg.Link == nil {
		cfg.Link = clock.Wall{}
	}
	if cfg.Advertise == nil {
		cfg.Advertise = advertiseLocal
	}
	s := &Server{cfg: cfg, kernel: cfg.Kernel, conns: make(map[*conn]struct{})}
	s.inflating = make(chan struct{}, runtime.GOMAXPROCS(0))
	s.sessions.init(cfg.FetchSessions, cfg.Link, &s.Stats.Sessions)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// advertiseLocal tells clients to come where they came.
func advertiseLocal(local net.Addr) (string, int32) {
	host, port, err := net.SplitHostPort(local.String())
	if err != nil {
		return local.String(), 0 // a pipe, in tests
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return host, 0
	}
	return host, int32(n)
}

// errClosing is returned to who asks a closing server.
var errClosing = errors.New("kafka: server closed")

// ServeConn serves one connection and returns when it has ended, with what ended it; nil
// when the peer closed it between two requests. It closes nc.
func (s *Server) ServeConn(nc net.Conn) error {
	c := newConn(s, nc)
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		_ = nc.Close()
		return errClosing
	}
	s.conns[c] = struct{}{}
	s.served.Add(1)
	s.mu.Unlock()
	defer s.served.Done()

	s.Stats.Accepted.Add(1)
	s.Stats.Connections.Add(1)
	reason, err := c.serve()
	c.traceEnd(reason, err)
	s.Stats.Connections.Add(-1)
	s.Stats.Closed[reason].Add(1)

	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	return err
}

// Close ends every connection, after what was already answered has left, and waits until
// they have ended or ctx has.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	for c := range s.conns {
		c.shutdown()
	}
	s.mu.Unlock()
	s.cancel()
	ended := make(chan struct{})
	go func() { // ends with the last connection
		s.served.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		s.mu.Lock()
		for c := range s.conns {
			c.out.Close(false)
		}
		s.mu.Unlock()
		return ctx.Err()
	}
}
