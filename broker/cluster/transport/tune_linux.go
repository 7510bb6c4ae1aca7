package transport

import (
	"net"
	"syscall"
)

// notSentLowat is TCP_NOTSENT_LOWAT of <linux/tcp.h>, which package syscall does not name.
const notSentLowat = 25

// notSentMax bounds what the system holds of a connection before it is on its way. What it
// holds cannot be overtaken: by default that is megabytes, seconds on a slow line.
const notSentMax = 128 << 10

// tune sets what the transport wants of a connection. Not to succeed costs time only.
func tune(conn net.Conn) {
	c, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	_ = c.SetNoDelay(true)
	_ = c.SetKeepAliveConfig(keepAlive)
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, notSentLowat, notSentMax)
		})
	}
}
