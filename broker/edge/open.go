package edge

import (
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/robustmq/rmq/broker/wire"
)

// openMax is how many bytes are read at once before it is known what they are.
const openMax = 128

// refusal is why a connection is not served.
type refusal struct {
	reason Reason
	cause  error // for the operator; nil: there is no more to say
}

// opening is a connection of which the first bytes are looked at.
type opening struct {
	conn net.Conn
	buf  []byte // read, and not yet used
}

// need reads until there are n bytes.
func (o *opening) need(n int) *refusal {
	for len(o.buf) < n {
		if cap(o.buf) < n {
			o.buf = append(make([]byte, 0, max(n, openMax)), o.buf...)
		}
		m, err := o.conn.Read(o.buf[len(o.buf):cap(o.buf)])
		o.buf = o.buf[:len(o.buf)+m]
		if err != nil && m == 0 {
			return &refusal{failure(err, WentAway), err}
		}
	}
	return nil
}

// rest is the connection with what was not used in front.
func (o *opening) rest() net.Conn {
	if len(o.buf) == 0 {
		return o.conn
	}
	return wire.NewPrefixConn(o.conn, o.buf)
}

// failure tells what the failure of a read comes to: other, when neither we nor time are at
// its root.
func failure(err error, other Reason) Reason {
	var t net.Error
	switch {
	case errors.Is(err, net.ErrClosed):
		return Closing
	case errors.As(err, &t) && t.Timeout():
		return TooSilent
	}
	return other
}

// open brings a connection to where its protocol begins, within FirstWait: what a proxy has to
// say, then TLS, then the first bytes of the protocol, each where the listener has it.
func (s *Server) open(c net.Conn, l *listener) (net.Conn, Proto, *refusal) {
	spec := &l.spec
	if q, ok := c.(*quicConn); ok {
		client, err := q.open(s.cfg.FirstWait)
		return client, spec.Proto, err
	}
	proxied := spec.from(c.RemoteAddr())
	if !proxied && spec.TLS == Plain && spec.Proto != Any {
		return c, spec.Proto, nil
	}
	if err := c.SetDeadline(time.Now().Add(s.cfg.FirstWait)); err != nil {
		return nil, Any, &refusal{WentAway, err}
	}
	o := &opening{conn: c}
	if proxied {
		if err := o.proxy(); err != nil {
			return nil, Any, err
		}
	}
	secure := spec.TLS == MustTLS
	if spec.TLS == MayTLS {
		if err := o.need(1); err != nil {
			return nil, Any, err
		}
		first, _ := Detect(o.buf[:1])
		secure = first == TLS
	}
	if secure {
		t := tls.Server(o.rest(), s.cfg.Certs.config(spec.Clients))
		if err := t.Handshake(); err != nil { //nolint:noctx // the connection has a deadline
			return nil, Any, &refusal{failure(err, BadHandshake), err}
		}
		o = &opening{conn: t}
	}
	p := spec.Proto
	if p == Any {
		var err *refusal
		if p, err = o.detect(); err != nil {
			return nil, Any, err
		}
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return nil, Any, &refusal{WentAway, err}
	}
	return o.rest(), p, nil
}

// from tells whether connections from an address begin with what a proxy says.
func (spec *Spec) from(remote net.Addr) bool {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok || len(spec.Proxies) == 0 {
		return false
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	for _, p := range spec.Proxies {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// proxy reads what a proxy says of the client, which the connection then tells.
func (o *opening) proxy() *refusal {
	for {
		p, n, need, err := parseProxy(o.buf)
		if err != nil {
			return &refusal{BadProxy, err}
		}
		if n == 0 {
			if err := o.need(need); err != nil {
				return err
			}
			continue
		}
		o.buf = o.buf[n:]
		peer := wire.PeerOf(o.conn)
		if p.client != nil {
			peer.Remote, peer.Proxy = p.client, o.conn.RemoteAddr()
		}
		peer.CommonName, peer.ServerName = p.commonName, p.serverName
		o.conn = wire.NewPeerConn(o.conn, &peer)
		return nil
	}
}

// detect reads until it is known what the client speaks. What was read is still to be used.
func (o *opening) detect() (Proto, *refusal) {
	for {
		p, need := Detect(o.buf)
		switch {
		case p != Any:
			return p, nil
		case need == 0:
			return Any, &refusal{reason: Unknown}
		}
		if err := o.need(need); err != nil {
			return Any, err
		}
	}
}
