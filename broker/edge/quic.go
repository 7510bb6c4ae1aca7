package edge

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/robustmq/rmq/broker/wire"
)

// MQTT over QUIC, as EMQX and its clients speak it: the client opens one bidirectional stream,
// which is to MQTT what a TCP connection is.
const (
	// quicALPN is the protocol that client and server agree upon.
	quicALPN = "mqtt"
	// quicIdle is how long a client may be unreachable. Half of it without a word, and it is
	// asked for one, so that the keep alive of MQTT alone decides how long a client may be silent.
	quicIdle = 5 * time.Minute
	// Bytes that a client may have sent which were not read yet: at first, and when it turns out
	// to have a long way. The second is what a client can make us hold that leaves gaps.
	quicStreamWindow, quicStreamWindowMax = 64 << 10, 1 << 20
	quicConnWindow, quicConnWindowMax     = 96 << 10, 1<<20 + 512<<10
	// quicCalm is how many strangers a second are believed to be where they say. More have to
	// prove it first, which costs them a round trip, and us nothing to forget.
	quicCalm = 128
	// quicLeaves is how long a client may take to leave once it has been told the last.
	quicLeaves = time.Second
)

// quicListener accepts clients whose handshake is over.
type quicListener struct {
	*quic.Listener
	transport *quic.Transport
	ctx       context.Context
	cancel    context.CancelFunc
}

func listenQUIC(ctx context.Context, spec Spec, cfg Config) (net.Listener, error) {
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, "udp", spec.Address)
	if err != nil {
		return nil, err
	}
	t := &quic.Transport{Conn: pc, VerifySourceAddress: (&strangers{}).many, StatelessResetKey: new(quic.StatelessResetKey)}
	_, _ = rand.Read(t.StatelessResetKey[:]) // never fails
	l, err := t.Listen(&tls.Config{
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			c := cfg.Certs.config(spec.Clients).Clone()
			c.NextProtos = []string{quicALPN}
			c.MinVersion = tls.VersionTLS13
			c.SessionTicketsDisabled = true // or they would outlive a change of authorities
			return c, nil
		},
	}, &quic.Config{
		HandshakeIdleTimeout: cfg.FirstWait / 2, // twice that, in all
		MaxIdleTimeout:       quicIdle, KeepAlivePeriod: quicIdle / 2,
		InitialStreamReceiveWindow: quicStreamWindow, MaxStreamReceiveWindow: quicStreamWindowMax,
		InitialConnectionReceiveWindow: quicConnWindow, MaxConnectionReceiveWindow: quicConnWindowMax,
		MaxIncomingStreams: 1, MaxIncomingUniStreams: -1,
	})
	if err != nil {
		_ = pc.Close()
		return nil, err
	}
	q := &quicListener{Listener: l, transport: t}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	return q, nil
}

func (l *quicListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept(l.ctx)
	switch {
	case err == nil:
		return &quicConn{c}, nil
	case errors.Is(err, quic.ErrServerClosed) || errors.Is(err, context.Canceled):
		return nil, net.ErrClosed
	}
	return nil, err
}

// Close ends the accepting. Connections stay, until release.
func (l *quicListener) Close() error {
	l.cancel()
	return l.Listener.Close()
}

// release gives the port back, once there are no connections.
func (l *quicListener) release() {
	_ = l.transport.Close()
	_ = l.transport.Conn.Close()
}

// strangers counts those who say hello.
type strangers struct {
	second atomic.Int64
	count  atomic.Int64
}

// many tells whether there have been many of late.
func (s *strangers) many(net.Addr) bool {
	now := time.Now().Unix()
	if s.second.Swap(now) != now {
		s.count.Store(0)
	}
	return s.count.Add(1) > quicCalm
}

// quicConn is a client that has opened no stream yet. It is only closed, or opened.
type quicConn struct{ conn *quic.Conn }

var errNoStream = errors.New("the client has opened no stream")

func (c *quicConn) Read([]byte) (int, error)         { return 0, errNoStream }
func (c *quicConn) Write([]byte) (int, error)        { return 0, errNoStream }
func (c *quicConn) Close() error                     { return c.conn.CloseWithError(0, "") }
func (c *quicConn) LocalAddr() net.Addr              { return c.conn.LocalAddr() }
func (c *quicConn) RemoteAddr() net.Addr             { return c.conn.RemoteAddr() }
func (c *quicConn) SetDeadline(time.Time) error      { return nil }
func (c *quicConn) SetReadDeadline(time.Time) error  { return nil }
func (c *quicConn) SetWriteDeadline(time.Time) error { return nil }

// open waits for the client's stream.
func (c *quicConn) open(wait time.Duration) (net.Conn, *refusal) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	s, err := c.conn.AcceptStream(ctx)
	switch {
	case err == nil:
		return &quicStream{s, c.conn}, nil
	case ctx.Err() != nil:
		return nil, &refusal{TooSilent, err}
	}
	return nil, &refusal{WentAway, err}
}

// quicStream is a client's stream as its connection. Where the client is may change as it
// moves from one network to another.
type quicStream struct {
	*quic.Stream
	conn *quic.Conn
}

func (s *quicStream) LocalAddr() net.Addr  { return s.conn.LocalAddr() }
func (s *quicStream) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }

// Peer tells who the client is.
func (s *quicStream) Peer() wire.Peer {
	p := wire.Peer{Transport: wire.TransportQUIC, Remote: s.conn.RemoteAddr()}
	p.Verified(s.conn.ConnectionState().TLS)
	return p
}

// CloseWrite says that no more comes.
func (s *quicStream) CloseWrite() error { return s.Stream.Close() }

// Close waits for the client to leave, for what was written last would be lost with the
// connection.
func (s *quicStream) Close() error {
	err := s.Stream.Close()
	s.CancelRead(0)
	timer := time.NewTimer(quicLeaves)
	defer timer.Stop()
	select {
	case <-s.conn.Context().Done():
	case <-timer.C:
	}
	return errors.Join(err, s.conn.CloseWithError(0, ""))
}
