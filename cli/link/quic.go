package link

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/quic-go/quic-go"
)

// MQTT over QUIC: one connection with one stream, which is to MQTT what a TCP connection is.

const (
	quicIdle = time.Minute // without a word of the broker for so long, it is gone
	quicPing = quicIdle / 3
)

func dialQUIC(ctx context.Context, t Target, o Options) (net.Conn, error) {
	config := o.TLS.Clone()
	if config == nil {
		config = &tls.Config{}
	}
	config.NextProtos = []string{"mqtt"}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := quic.DialAddr(ctx, t.Address, config, &quic.Config{MaxIdleTimeout: quicIdle, KeepAlivePeriod: quicPing})
	if err != nil {
		return nil, err
	}
	s, err := c.OpenStreamSync(ctx)
	if err != nil {
		return nil, errors.Join(err, c.CloseWithError(0, ""))
	}
	return &quicConn{s, c}, nil
}

// quicConn is a stream as a connection.
type quicConn struct {
	*quic.Stream
	conn *quic.Conn
}

func (c *quicConn) LocalAddr() net.Addr  { return c.conn.LocalAddr() }
func (c *quicConn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// Close waits until the broker has taken what was written last, and hung up.
func (c *quicConn) Close() error {
	err := c.Stream.Close()
	c.CancelRead(0)
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-c.conn.Context().Done():
	case <-timer.C:
	}
	return errors.Join(err, c.conn.CloseWithError(0, ""))
}
