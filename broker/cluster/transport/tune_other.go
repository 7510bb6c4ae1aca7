//go:build !linux

package transport

import "net"

// tune sets what the transport wants of a connection. Not to succeed costs time only.
func tune(conn net.Conn) {
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.SetNoDelay(true)
		_ = c.SetKeepAliveConfig(keepAlive)
	}
}
