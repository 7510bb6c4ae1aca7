//go:build unix

package wire

import (
	"io"
	"net"
	"syscall"
)

// rawOf returns the handle for reads and writes that never park on their own, or
// nil when conn has none: anything but a plain socket.
func rawOf(conn net.Conn) syscall.RawConn {
	if v, ok := conn.(*Valve); ok {
		conn = v.Conn
	}
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return nil // a wrapper that exposes its socket (none of ours) may not be bypassed
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// tryRead reads what is there. again: nothing is, yet.
func tryRead(fd uintptr, b []byte) (n int, again bool, err error) {
	for {
		n, err = syscall.Read(int(fd), b)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, true, nil
		case err != nil:
			return 0, false, err
		case n == 0:
			return 0, false, io.EOF
		}
		return n, false, nil
	}
}

// readable tells whether a read would not have to wait: for bytes, the end or an error. The poller
// is no substitute, for it tells once of what arrives: perhaps to a read that has had it already.
func readable(fd uintptr) bool {
	var b [1]byte
	for {
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		if err != syscall.EINTR {
			return err != syscall.EAGAIN
		}
	}
}

// tryWrite writes what the socket takes at once: n is short when it is full.
func tryWrite(fd uintptr, b []byte) (n int, err error) {
	for n < len(b) {
		m, err := syscall.Write(int(fd), b[n:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return n, nil
		case err != nil:
			return n, err
		}
		n += m
	}
	return n, nil
}
