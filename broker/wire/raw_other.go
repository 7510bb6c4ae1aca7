//go:build !unix

package wire

import (
	"net"
	"syscall"
)

// Without a poller that lets us attempt a read, every connection takes the
// general path.

func rawOf(net.Conn) syscall.RawConn { return nil }

func tryRead(uintptr, []byte) (int, bool, error) { panic("wire: no raw connections here") }

func readable(uintptr) bool { panic("wire: no raw connections here") }

func tryWrite(uintptr, []byte) (int, error) { panic("wire: no raw connections here") }
