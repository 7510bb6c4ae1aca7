package wire

import "net"

// PrefixConn is a connection of which some bytes were read already, to find out
// what the peer speaks: Read returns those first. Reader and Outbox look
// through it, so that detection costs a connection nothing afterwards.
type PrefixConn struct {
	net.Conn
	prefix []byte // not yet read again; owned by whoever reads
}

// NewPrefixConn returns conn with peeked in front of what it has still to say.
// It keeps peeked.
func NewPrefixConn(conn net.Conn, peeked []byte) *PrefixConn {
	return &PrefixConn{Conn: conn, prefix: peeked}
}

func (c *PrefixConn) Read(p []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(p, c.prefix)
		c.prefix = c.prefix[n:]
		if len(c.prefix) == 0 {
			c.prefix = nil
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// Peek returns the next n bytes and leaves them to be read; fewer, with the
// connection's error, when it ends or its read deadline passes before.
func (c *PrefixConn) Peek(n int) ([]byte, error) {
	for len(c.prefix) < n {
		b := make([]byte, n)
		have := copy(b, c.prefix)
		m, err := c.Conn.Read(b[have:])
		c.prefix = b[:have+m]
		if err != nil && m == 0 {
			return c.prefix, err
		}
	}
	return c.prefix[:n], nil
}

// unwrap returns the connection below any PrefixConn and PeerConn, and the bytes that
// are still to be read before its own.
func unwrap(conn net.Conn) (inner net.Conn, prefix []byte) {
	for {
		switch c := conn.(type) {
		case *PrefixConn:
			// The outer prefix was read off the inner connection: it comes first.
			prefix = append(prefix, c.prefix...)
			conn = c.Conn
		case *PeerConn:
			conn = c.Conn
		default:
			return conn, prefix
		}
	}
}
