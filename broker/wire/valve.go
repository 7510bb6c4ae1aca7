package wire

import (
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"syscall"
)

// Flow is what is done to the bytes of a connection in place of handing them on. It is called by those who read, write
// and close, on their goroutines.
type Flow interface {
	Read(c net.Conn, p []byte) (int, error)
	Write(c net.Conn, p []byte) (int, error)
	Close(c net.Conn) error
}

// Valve is a connection that can be disturbed while it is open. Reader and Outbox go by its socket as long as it is not:
// they pay one load.
type Valve struct {
	net.Conn
	flow  atomic.Pointer[Flow]
	named func(client string) // nil: nobody asks

	bed    atomic.Uint64                 // where the poller has who sleeps; 0: nobody
	poller *Poller                       // set before bed is
	ended  atomic.Pointer[chan struct{}] // closed with it; nil: nobody waits
}

// NewValve returns conn as one that is not disturbed. named is told who the client is, when its protocol knows.
func NewValve(conn net.Conn, named func(client string)) *Valve {
	return &Valve{Conn: conn, named: named}
}

// Set has the bytes go through f from now on; nil: through nothing.
func (v *Valve) Set(f Flow) {
	if f == nil {
		v.flow.Store(nil)
		return
	}
	v.flow.Store(&f)
}

// disturbed tells whether bytes go through a flow.
func (v *Valve) disturbed() bool { return v != nil && v.flow.Load() != nil }

func (v *Valve) Read(p []byte) (int, error) {
	if f := v.flow.Load(); f != nil {
		return (*f).Read(v.Conn, p)
	}
	return v.Conn.Read(p)
}

func (v *Valve) Write(p []byte) (int, error) {
	if f := v.flow.Load(); f != nil {
		return (*f).Write(v.Conn, p)
	}
	return v.Conn.Write(p)
}

func (v *Valve) Close() error {
	v.end()
	if f := v.flow.Load(); f != nil {
		defer v.awaken()
		return (*f).Close(v.Conn)
	}
	return v.Cut()
}

// Cut is Close around any flow.
func (v *Valve) Cut() error {
	v.end()
	err := v.Conn.Close()
	v.awaken()
	return err
}

// past is a channel that is closed.
var past = func() *chan struct{} {
	c := make(chan struct{})
	close(c)
	return &c
}()

// end tells who waits in Closed.
func (v *Valve) end() {
	if waits := v.ended.Swap(past); waits != nil && waits != past {
		close(*waits)
	}
}

// CloseWrite closes the side that writes, where the connection has sides.
func (v *Valve) CloseWrite() error {
	if c, ok := v.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Peer is who is at the other end.
func (v *Valve) Peer() Peer { return PeerOf(v.Conn) }

// valveOf finds the valve of a connection; nil: it has none.
func valveOf(conn net.Conn) *Valve {
	for {
		switch c := conn.(type) {
		case *Valve:
			return c
		case *PrefixConn:
			conn = c.Conn
		case *PeerConn:
			if conn = c.below; conn == nil {
				conn = c.Conn
			}
		case *tls.Conn:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

// Closed is closed once we close the connection; nil, where that is not told: of QUIC.
func Closed(conn net.Conn) <-chan struct{} {
	v := valveOf(conn)
	if v == nil {
		return nil
	}
	for {
		if c := v.ended.Load(); c != nil {
			return *c
		}
		c := make(chan struct{})
		v.ended.CompareAndSwap(nil, &c)
	}
}

// Name tells who the client of a connection is.
func Name(conn net.Conn, client string) {
	if v := valveOf(conn); v != nil && v.named != nil {
		v.named(client)
	}
}

// Await waits until a connection is to be read from, or, write, written to, again: until a deadline, its end, or Wake.
// Nothing is read or written meanwhile.
func Await(conn net.Conn, write bool, over func() bool) error {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return errors.ErrUnsupported
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	until := func(uintptr) bool { return over() }
	if write {
		return raw.Write(until)
	}
	return raw.Read(until)
}
