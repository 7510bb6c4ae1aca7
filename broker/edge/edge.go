// Package edge is where connections come in: it listens, finds out what a client
// speaks, and hands the connection to the handler of that protocol.
//
// A listener serves one protocol, or, with Any, whichever the first bytes of a
// connection say: one port for MQTT, Kafka, AMQP, HTTP and WebSocket. It listens over TCP, on a
// Unix socket, or, for MQTT, over QUIC; in front of the protocol there may be TLS, and in front
// of that what a proxy says of the client (proxy.go). What a handler is given is a connection
// that says who is at its other end: wire.PeerOf.
//
// The edge bounds what a stranger can take before a handler is in charge: how many connections
// there are, how fast they come, and how long all of that takes. What goes wrong here is counted
// by reason and ends one connection.
//
// # Who owns what
//
// A Server starts one goroutine per listener, which ends when the listener is closed,
// and one per connection, which ends when its handler returns. Close stops the first,
// waits for the second, and cuts off what has not gone when its context ends.
package edge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/wire"
)

// Handler serves one client, and returns when nothing more is done for it; the
// connection is then closed.
type Handler interface {
	ServeConn(net.Conn)
}

// Taker is a Handler that may return while it still serves the client: it calls over, once, when
// nothing more is done for it.
type Taker interface {
	Handler
	Take(c net.Conn, over func())
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(net.Conn)

func (f HandlerFunc) ServeConn(c net.Conn) { f(c) }

// Config says what a Server stands on. Zero values mean the defaults.
type Config struct {
	// Handlers are by protocol; a client that speaks another is closed. Not to be changed.
	Handlers map[Proto]Handler
	// Users tells how many users there are; nil: some.
	Users func() int

	// Certs are what listeners show over TLS; nil: they speak none.
	Certs *Certs

	MaxConns int // connections open at once, over all listeners; 1,000,000
	// FirstWait is the time from accept to the bytes that tell the protocol: what a proxy says and
	// the handshake of TLS are in it; 10 s.
	FirstWait time.Duration
	Chaos     *chaos.Engine // has connections break as a plan says; nil: there is none
	Link      clock.Clock   // link time, by which connections are let in at a rate; nil: the machine's
	Log       *slog.Logger  // nil: silent
}

const (
	defaultMaxConns  = 1_000_000
	defaultFirstWait = 10 * time.Second
	// Waits after a failed accept, doubling from the first to the last.
	backoffMin = 5 * time.Millisecond
	backoffMax = time.Second
)

// Network is what a listener listens on.
type Network uint8

const (
	TCP Network = iota
	Unix
	QUIC // MQTT alone
)

// Encryption says whether clients of a listener speak TLS.
type Encryption uint8

const (
	Plain   Encryption = iota // they do not
	MayTLS                    // they may: the first byte tells
	MustTLS                   // they do
)

// Spec says where to listen and for what.
type Spec struct {
	Proto   Proto // Any: find out
	Network Network
	// Address is host:port, where port 0 takes a free one and an empty host is every interface;
	// for Unix, the path of the socket.
	Address string
	TLS     Encryption // of TCP and Unix; QUIC is encrypted in any case
	Clients ClientCert
	// Proxies are the networks from which every connection begins with a header of the PROXY
	// protocol; from elsewhere none may.
	Proxies  []netip.Prefix
	Mode     fs.FileMode // of the Unix socket; 0: for its owner alone
	MaxConns int         // of this listener, open at once; 0: those of Config
	MaxRate  int         // connections let in each second; 0: all. More wait in the system's queue
}

// Reason tells why the edge closed a connection itself.
type Reason uint8

const (
	OverLimit    Reason = iota // MaxConns were open
	TooSilent                  // FirstWait passed
	Unknown                    // the first bytes are of no protocol we know
	NotServed                  // they are, and it has no handler here
	WentAway                   // the client closed before it had said enough
	Closing                    // the server is
	BadProxy                   // a proxy did not begin with a header of its protocol
	BadHandshake               // TLS was not agreed upon, or the client's certificate is not taken
	Injected                   // a planned fault
	reasons      = iota
)

var reasonNames = [reasons]string{
	"over limit", "too silent", "unknown protocol", "protocol not served", "went away", "closing", "bad proxy header", "bad TLS handshake", "planned fault",
}

func (r Reason) String() string { return reasonNames[r] }

// Stats are counters of one Server. Read them at any time.
type Stats struct {
	Open     atomic.Int64           // connections, now
	Accepted atomic.Uint64          // ever
	Served   [protos]atomic.Uint64  // handed to the handler of a protocol
	Refused  [reasons]atomic.Uint64 // by Reason
	Failed   atomic.Uint64          // accepts that the system refused
}

// Server listens and hands connections out.
//
// Ownership: mu guards listeners, conns, started and closed. Handlers run without it.
type Server struct {
	cfg   Config
	stats Stats

	mu        sync.Mutex
	listeners []*listener
	conns     map[net.Conn]*link
	started   bool
	closed    bool
	stop      chan struct{} // closed with closed

	accepting sync.WaitGroup // one per listener that accepts
	serving   sync.WaitGroup // one per connection
}

// listener is one that is open.
type listener struct {
	net.Listener
	spec     Spec
	rate     pace // of the goroutine that accepts
	open     atomic.Int64
	accepted atomic.Uint64
	refused  [reasons]atomic.Uint64
}

// Listening tells of one listener.
type Listening struct {
	Spec     Spec
	Addr     net.Addr
	Open     int64             // connections, now
	Accepted uint64            // ever
	Refused  map[string]uint64 // of those, by reason
}

// New returns a server that listens to nothing yet.
func New(cfg Config) *Server {
	cfg.MaxConns = cmp.Or(cfg.MaxConns, defaultMaxConns)
	cfg.FirstWait = cmp.Or(cfg.FirstWait, defaultFirstWait)
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	if cfg.Link == nil {
		cfg.Link = clock.Wall{}
	}
	s := &Server{cfg: cfg, conns: make(map[net.Conn]*link), stop: make(chan struct{})}
	if cfg.Chaos != nil {
		cfg.Chaos.OnChange(s.disturb)
	}
	return s
}

// Stats returns the server's counters.
func (s *Server) Stats() *Stats { return &s.stats }

// Listen binds one more listener and returns its address. Clients can connect from then
// on, and are served once Start was called.
func (s *Server) Listen(ctx context.Context, spec Spec) (net.Addr, error) {
	if err := s.check(spec); err != nil {
		return nil, err
	}
	var l net.Listener
	var err error
	switch spec.Network {
	case Unix:
		l, err = listenUnix(ctx, spec)
	case QUIC:
		if err = s.allowed(ctx, spec); err == nil {
			l, err = listenQUIC(ctx, spec, s.cfg)
		}
	default:
		if err = s.allowed(ctx, spec); err == nil {
			var lc net.ListenConfig
			l, err = lc.Listen(ctx, "tcp", spec.Address)
		}
	}
	if err != nil {
		return nil, explain(spec, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = l.Close()
		return nil, fault.Of(fault.Unavailable, "listen", spec.Address)
	}
	ln := &listener{Listener: l, spec: spec, rate: pace{clock: s.cfg.Link, perSecond: spec.MaxRate}}
	s.listeners = append(s.listeners, ln)
	if s.started {
		s.acceptLocked(ln)
	}
	return l.Addr(), nil
}

// check refuses what cannot be served.
func (s *Server) check(spec Spec) error {
	refuse := func(kind fault.Kind, text string, args ...any) error {
		return fault.New(kind, "listen", spec.Address, text, args...)
	}
	needs := spec.TLS == MustTLS || spec.Network == QUIC
	switch {
	case spec.Proto != Any && s.cfg.Handlers[spec.Proto] == nil:
		return refuse(fault.Unsupported, "nothing here serves %v", spec.Proto)
	case spec.Network == QUIC && spec.Proto != MQTT:
		return refuse(fault.Unsupported, "over QUIC there is MQTT alone")
	case spec.Network != TCP && len(spec.Proxies) > 0:
		return refuse(fault.Unsupported, "the PROXY protocol is for TCP")
	case s.cfg.Certs == nil && (needs || spec.TLS != Plain):
		return refuse(fault.Invalid, "TLS needs a certificate to show")
	case s.cfg.Certs == nil:
	case spec.Clients > ClientCertNone && s.cfg.Certs.files.Authorities == "":
		return refuse(fault.Invalid, "certificates of clients need authorities who sign them")
	}
	return nil
}

// allowed refuses to open a broker without users to other machines: they could not be
// let in, and whoever asked for it surely meant to have a password.
func (s *Server) allowed(ctx context.Context, spec Spec) error {
	host, _, err := net.SplitHostPort(spec.Address)
	if err != nil {
		return fault.New(fault.Invalid, "listen", spec.Address, "an address is host:port, as 127.0.0.1:1883: %w", err)
	}
	if s.cfg.Users == nil || s.cfg.Users() > 0 {
		return nil
	}
	local := host != ""
	if local {
		ips, err := net.DefaultResolver.LookupIPAddr(ctx, host)
		if err != nil {
			return fault.New(fault.Invalid, "listen", spec.Address, "%w", err)
		}
		for _, ip := range ips {
			local = local && ip.IP.IsLoopback()
		}
	}
	if local {
		return nil
	}
	return fault.New(fault.Denied, "listen", spec.Address,
		"this broker has no users, so only this machine may reach it; add one first, with: rmq user create NAME, or listen on 127.0.0.1")
}

// explain says what to do about a bind that failed.
func explain(spec Spec, err error) error {
	if _, told := errors.AsType[*fault.Error](err); told {
		return err
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fault.New(fault.Exists, "listen", spec.Address, "the port for %v is taken; choose others with --any-port or --port N", spec.Proto)
	case errors.Is(err, syscall.EACCES):
		return fault.New(fault.Denied, "listen", spec.Address, "the system keeps this port for the administrator; ports from 1024 on are free")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fault.New(fault.Invalid, "listen", spec.Address, "this machine does not have that address")
	}
	return fault.New(fault.Unavailable, "listen", spec.Address, "%w", err)
}

// Listeners tells of every listener, in the order in which they were opened.
func (s *Server) Listeners() []Listening {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Listening, 0, len(s.listeners))
	for _, l := range s.listeners {
		x := Listening{Spec: l.spec, Addr: l.Addr(), Open: l.open.Load(), Accepted: l.accepted.Load()}
		for r := range Reason(reasons) {
			if n := l.refused[r].Load(); n > 0 {
				if x.Refused == nil {
					x.Refused = make(map[string]uint64)
				}
				x.Refused[r.String()] = n
			}
		}
		out = append(out, x)
	}
	return out
}

// Start begins to accept on every listener, those still to come included.
func (s *Server) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started || s.closed {
		return
	}
	s.started = true
	for _, l := range s.listeners {
		s.acceptLocked(l)
	}
}

func (s *Server) acceptLocked(l *listener) {
	s.accepting.Add(1)
	go s.accept(l)
}

// accept runs until its listener is closed.
func (s *Server) accept(l *listener) {
	defer s.accepting.Done()
	wait := backoffMin
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			wait = backoffMin
			s.admit(c, l)
			if !l.rate.next(s.stop) {
				return
			}
			continue
		case errors.Is(err, net.ErrClosed):
			return
		}
		s.stats.Failed.Add(1)
		if errors.Is(err, syscall.ECONNABORTED) { // the client's doing
			continue
		}
		// Out of file descriptors or memory: the others must go on, so this waits.
		s.cfg.Log.Warn("accept failed", "address", l.Addr().String(), "error", err, "retry", wait)
		select {
		case <-time.After(wait):
		case <-s.stop:
			return
		}
		wait = min(2*wait, backoffMax)
	}
}

// admit takes one connection in, or refuses it.
func (s *Server) admit(c net.Conn, l *listener) {
	s.stats.Accepted.Add(1)
	l.accepted.Add(1)
	k := s.link(c, l)
	s.mu.Lock()
	full, closed := len(s.conns) >= s.cfg.MaxConns || l.spec.MaxConns > 0 && l.open.Load() >= int64(l.spec.MaxConns), s.closed
	if !full && !closed {
		s.conns[c] = k
		s.serving.Add(1)
		l.open.Add(1)
	}
	s.mu.Unlock()
	switch {
	case closed:
		s.refuse(c, l, Closing, nil)
	case full:
		s.refuse(c, l, OverLimit, nil)
	default:
		s.stats.Open.Add(1)
		go s.serve(c, l, k)
	}
}

func (s *Server) refuse(c net.Conn, l *listener, r Reason, err error) {
	s.stats.Refused[r].Add(1)
	l.refused[r].Add(1)
	s.cfg.Log.Debug("connection refused", "listener", l.spec.URL(l.Addr()), "remote", c.RemoteAddr().String(), "reason", r.String(), "error", err)
	if r == BadHandshake { // TLS has told the client why
		wire.HalfClose(c)
	}
	_ = c.Close()
}

// serve finds out who the client is and what it speaks, and hands it over.
func (s *Server) serve(c net.Conn, l *listener, k *link) {
	if k.ask() {
		s.refuse(c, l, Injected, nil)
		s.served(c, l)
		return
	}
	client, p, err := s.open(k.conn(), l)
	if err == nil && k.speaks(p) {
		err = &refusal{reason: Injected}
	}
	if err != nil {
		s.refuse(c, l, err.reason, err.cause)
		s.served(c, l)
		return
	}
	h := s.cfg.Handlers[p]
	if h == nil {
		s.refuse(c, l, NotServed, nil)
		s.served(c, l)
		return
	}
	s.stats.Served[p].Add(1)
	over := func() {
		_ = client.Close() // in good order, where that is more than to close the socket
		s.served(c, l)
	}
	if t, ok := h.(Taker); ok {
		t.Take(client, over)
		return
	}
	h.ServeConn(client)
	over()
}

// served ends what admit has begun.
func (s *Server) served(c net.Conn, l *listener) {
	_ = c.Close()
	s.mu.Lock()
	k := s.conns[c]
	delete(s.conns, c)
	s.mu.Unlock()
	k.closed()
	l.open.Add(-1)
	s.stats.Open.Add(-1)
	s.serving.Done()
}

// StopListening closes the listeners and waits for the accepting to end. Connections stay.
func (s *Server) StopListening() {
	s.mu.Lock()
	first := !s.closed
	if first {
		s.closed = true
		close(s.stop)
	}
	for _, l := range s.listeners {
		_ = l.Close()
	}
	s.mu.Unlock()
	s.accepting.Wait()
}

// release gives back what connections needed of their listeners to the last.
func (s *Server) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		if q, ok := l.Listener.(*quicListener); ok {
			q.release()
		}
	}
	s.listeners = nil
}

// Close stops listening and waits until every handler has returned: they are to be told
// by their own servers. When ctx ends first, the connections left are cut off, the wait
// goes on until their handlers notice, and ctx's error is returned.
func (s *Server) Close(ctx context.Context) error {
	s.StopListening()
	done := make(chan struct{})
	go func() { // ends when the last connection has; cutting them off makes sure of that
		s.serving.Wait()
		close(done)
	}()
	select {
	case <-done:
		s.release()
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	n := len(s.conns)
	for _, k := range s.conns {
		k.cut()
	}
	s.mu.Unlock()
	<-done
	s.release()
	return fmt.Errorf("%d connections were cut off: %w", n, ctx.Err())
}
