// Package edge is where connections come in: it listens, finds out what a client
// speaks, and hands the connection to the handler of that protocol.
//
// A listener serves one protocol, or, with Any, whichever the first bytes of a
// connection say: one port for MQTT, Kafka, AMQP, HTTP and WebSocket. The edge bounds what a
// stranger can take before a handler is in charge: how many connections there are, and how
// long one may be silent. What goes wrong here is counted by reason and ends one connection.
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
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/wire"
)

// Handler serves one client, and returns when nothing more is done for it; the
// connection is then closed.
type Handler interface {
	ServeConn(net.Conn)
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

	MaxConns  int           // connections open at once, over all listeners; 1,000,000
	FirstWait time.Duration // from accept to the bytes that tell the protocol; 10 s
	Log       *slog.Logger  // nil: silent
}

const (
	defaultMaxConns  = 1_000_000
	defaultFirstWait = 10 * time.Second
	// Waits after a failed accept, doubling from the first to the last.
	backoffMin = 5 * time.Millisecond
	backoffMax = time.Second
)

// Spec says where to listen and for what.
type Spec struct {
	Proto   Proto  // Any: find out
	Address string // host:port; port 0 takes a free one; an empty host is every interface
}

// Reason tells why the edge closed a connection itself.
type Reason uint8

const (
	OverLimit Reason = iota // MaxConns were open
	TooSilent               // FirstWait passed
	Unknown                 // the first bytes are of no protocol we know
	NotServed               // they are, and it has no handler here
	WentAway                // the client closed before it had said enough
	Closing                 // the server is
	reasons   = iota
)

var reasonNames = [reasons]string{"over limit", "too silent", "unknown protocol", "protocol not served", "went away", "closing"}

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
	conns     map[net.Conn]struct{}
	started   bool
	closed    bool
	stop      chan struct{} // closed with closed

	accepting sync.WaitGroup // one per listener that accepts
	serving   sync.WaitGroup // one per connection
}

type listener struct {
	net.Listener
	spec Spec
}

// New returns a server that listens to nothing yet.
func New(cfg Config) *Server {
	cfg.MaxConns = cmp.Or(cfg.MaxConns, defaultMaxConns)
	cfg.FirstWait = cmp.Or(cfg.FirstWait, defaultFirstWait)
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	return &Server{cfg: cfg, conns: make(map[net.Conn]struct{}), stop: make(chan struct{})}
}

// Stats returns the server's counters.
func (s *Server) Stats() *Stats { return &s.stats }

// Listen binds one more listener and returns its address. Clients can connect from then
// on, and are served once Start was called.
func (s *Server) Listen(ctx context.Context, spec Spec) (net.Addr, error) {
	if spec.Proto != Any && s.cfg.Handlers[spec.Proto] == nil {
		return nil, fault.New(fault.Unsupported, "listen", spec.Address, "nothing here serves %v", spec.Proto)
	}
	if err := s.allowed(ctx, spec); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", spec.Address)
	if err != nil {
		return nil, explain(spec, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = l.Close()
		return nil, fault.Of(fault.Unavailable, "listen", spec.Address)
	}
	ln := &listener{l, spec}
	s.listeners = append(s.listeners, ln)
	if s.started {
		s.acceptLocked(ln)
	}
	return l.Addr(), nil
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
			s.admit(c, l.spec.Proto)
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
func (s *Server) admit(c net.Conn, p Proto) {
	s.stats.Accepted.Add(1)
	s.mu.Lock()
	full, closed := len(s.conns) >= s.cfg.MaxConns, s.closed
	if !full && !closed {
		s.conns[c] = struct{}{}
		s.serving.Add(1)
	}
	s.mu.Unlock()
	switch {
	case closed:
		s.refuse(c, Closing)
	case full:
		s.refuse(c, OverLimit)
	default:
		s.stats.Open.Add(1)
		go s.serve(c, p)
	}
}

func (s *Server) refuse(c net.Conn, r Reason) {
	s.stats.Refused[r].Add(1)
	s.cfg.Log.Debug("connection refused", "remote", c.RemoteAddr().String(), "reason", r.String())
	_ = c.Close()
}

// serve finds out what the client speaks, if need be, and hands it over.
func (s *Server) serve(c net.Conn, p Proto) {
	defer func() {
		_ = c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		s.stats.Open.Add(-1)
		s.serving.Done()
	}()
	client := c
	if p == Any {
		var first []byte
		var r Reason
		if p, first, r = s.detect(c); p == Any {
			s.refuse(c, r)
			return
		}
		client = wire.NewPrefixConn(c, first)
	}
	h := s.cfg.Handlers[p]
	if h == nil {
		s.refuse(c, NotServed)
		return
	}
	s.stats.Served[p].Add(1)
	h.ServeConn(client)
}

// detect reads until the protocol is known. The bytes are still to be read by the handler.
func (s *Server) detect(c net.Conn) (p Proto, first []byte, r Reason) {
	if err := c.SetReadDeadline(time.Now().Add(s.cfg.FirstWait)); err != nil {
		return Any, nil, WentAway
	}
	buf := make([]byte, DetectMax)
	n := 0
	for {
		p, need := Detect(buf[:n])
		if p != Any {
			if err := c.SetReadDeadline(time.Time{}); err != nil {
				return Any, nil, WentAway
			}
			return p, buf[:n], 0
		}
		if need == 0 {
			return Any, nil, Unknown
		}
		m, err := c.Read(buf[n:need])
		n += m
		switch {
		case err == nil || m > 0:
		case errors.Is(err, net.ErrClosed):
			return Any, nil, Closing
		case isTimeout(err):
			return Any, nil, TooSilent
		default:
			return Any, nil, WentAway
		}
	}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
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
	s.listeners = nil
	s.mu.Unlock()
	s.accepting.Wait()
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
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	n := len(s.conns)
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	<-done
	return fmt.Errorf("%d connections were cut off: %w", n, ctx.Err())
}
