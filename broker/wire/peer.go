package wire

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"net"
)

// Transports, as Peer names them.
const (
	TransportTCP  = "tcp"
	TransportTLS  = "tls"
	TransportWS   = "ws"
	TransportWSS  = "wss"
	TransportUnix = "unix"
	TransportQUIC = "quic"
)

// Peer is who is at the other end of a connection, as far as its transport has made sure.
type Peer struct {
	Transport string
	// Remote is the client's address: of a client behind a trusted proxy, the one that the
	// proxy tells.
	Remote net.Addr
	// Proxy is the address of the proxy that the client came through; nil: none.
	Proxy net.Addr

	// Certificate is what the client has shown and the listener has verified, the handshake
	// being over; nil: none.
	Certificate *x509.Certificate
	// CommonName is of the subject of Certificate, or, without one, of the certificate that a
	// trusted proxy says it has verified.
	CommonName string
	// ServerName is the host that the client asked for (SNI), in lower case; "": none.
	ServerName string
}

// Fingerprint returns the SHA-256 of the certificate in hexadecimal, 64 characters; "" when
// there is none.
func (p *Peer) Fingerprint() string {
	if p.Certificate == nil {
		return ""
	}
	sum := sha256.Sum256(p.Certificate.Raw)
	return hex.EncodeToString(sum[:])
}

// PeerOf returns who is at the other end of conn. What TLS knows is there once its handshake
// is over.
func PeerOf(conn net.Conn) Peer {
	switch c := conn.(type) {
	case interface{ Peer() Peer }:
		return c.Peer()
	case *PrefixConn:
		return PeerOf(c.Conn)
	case *tls.Conn:
		p := PeerOf(c.NetConn())
		p.Transport = TransportTLS
		p.Verified(c.ConnectionState())
		return p
	case *net.UnixConn:
		return Peer{Transport: TransportUnix, Remote: c.RemoteAddr()}
	}
	return Peer{Transport: TransportTCP, Remote: conn.RemoteAddr()}
}

// Verified takes over what a handshake of TLS has made sure of.
func (p *Peer) Verified(s tls.ConnectionState) {
	p.ServerName = s.ServerName
	if len(s.VerifiedChains) > 0 && len(s.PeerCertificates) > 0 { // shown, and signed by whom we trust
		p.Certificate = s.PeerCertificates[0]
		p.CommonName = p.Certificate.Subject.CommonName
	}
}

// PeerConn is a connection of which more is known than the connection itself could tell.
// Reader and Outbox look through it.
type PeerConn struct {
	net.Conn
	peer  *Peer
	below net.Conn // what carries the connection, as of a WebSocket; nil: it is Conn
}

// NewPeerConn returns conn with what is known of its peer, which is not to change.
func NewPeerConn(conn net.Conn, peer *Peer) *PeerConn { return &PeerConn{conn, peer, nil} }

// NewCarriedConn is NewPeerConn for a connection within another: of a request with ctx, from WithPeer.
func NewCarriedConn(ctx context.Context, conn net.Conn, peer *Peer) *PeerConn {
	below, _ := ctx.Value(peerKey{}).(net.Conn)
	return &PeerConn{conn, peer, below}
}

// Peer returns what is known.
func (c *PeerConn) Peer() Peer { return *c.peer }

// RemoteAddr returns the client's address, as Peer.Remote.
func (c *PeerConn) RemoteAddr() net.Addr { return c.peer.Remote }

type peerKey struct{}

// WithPeer returns ctx with who is at the other end of the connection that conn is, for
// handlers of HTTP, which are given no connection.
func WithPeer(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, conn)
}

// PeerFrom returns what WithPeer left in ctx; false: nothing.
func PeerFrom(ctx context.Context) (Peer, bool) {
	conn, ok := ctx.Value(peerKey{}).(net.Conn)
	if !ok {
		return Peer{}, false
	}
	return PeerOf(conn), true
}
