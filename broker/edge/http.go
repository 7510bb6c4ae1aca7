package edge

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"

	"github.com/robustmq/rmq/broker/wire"
)

// HTTPHandler serves HTTP on connections that are handed to it, with a server of the
// standard library behind. Make it with NewHTTP.
type HTTPHandler struct {
	server *http.Server
	conns  chan net.Conn
	done   chan struct{} // closed by Close
	once   sync.Once
	ended  chan struct{} // closed when the server has stopped accepting
}

// NewHTTP starts to serve with server, whose Addr and listeners play no part. Handlers find
// in the context of a request who has sent it: wire.PeerFrom. Close ends it.
func NewHTTP(server *http.Server) *HTTPHandler {
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return wire.WithPeer(ctx, c.(*httpConn).Conn) // it accepts nothing else
	}
	h := &HTTPHandler{server: server, conns: make(chan net.Conn), done: make(chan struct{}), ended: make(chan struct{})}
	go func() { // ends with Close
		defer close(h.ended)
		if err := server.Serve((*handed)(h)); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			panic("edge: http server: " + err.Error()) // our own listener fails in no other way
		}
	}()
	return h
}

// ServeConn returns when the connection is closed, by the server or, when it was
// upgraded, by whoever has it then.
func (h *HTTPHandler) ServeConn(c net.Conn) {
	hc := &httpConn{Conn: c, closed: make(chan struct{})}
	select {
	case h.conns <- hc:
		<-hc.closed
	case <-h.done:
		_ = c.Close()
	}
}

// Close waits for the requests in progress, or, once ctx ends, cuts them off. Upgraded
// connections are not its to close.
func (h *HTTPHandler) Close(ctx context.Context) error {
	h.once.Do(func() { close(h.done) })
	err := h.server.Shutdown(ctx)
	<-h.ended
	_ = h.server.Close() // what Shutdown gave up on, and what it was handed meanwhile
	return err
}

// httpConn tells when it is closed.
type httpConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *httpConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}

// handed is HTTPHandler as the listener of its server.
type handed HTTPHandler

func (l *handed) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *handed) Close() error { return nil }

func (l *handed) Addr() net.Addr { return handedAddr{} }

type handedAddr struct{}

func (handedAddr) Network() string { return "edge" }
func (handedAddr) String() string  { return "edge" }
