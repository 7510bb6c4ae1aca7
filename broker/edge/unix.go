package edge

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/wire"
)

const (
	// unixMode is who may connect to a Unix socket when nobody says.
	unixMode fs.FileMode = 0o600
	// unixPathMax is the longest path of a Unix socket, in bytes.
	unixPathMax = 107
)

// unixListener is a Unix socket. Its clients have no address of their own, so that they are
// shown by the path of the socket.
type unixListener struct {
	net.Listener
	path string
	made fs.FileInfo // of the socket, to know it again
	peer *wire.Peer
	once sync.Once
}

// listenUnix makes a socket. One that is left of a broker that is gone makes room; one that
// somebody answers on does not, nor does anything else.
func listenUnix(ctx context.Context, spec Spec) (net.Listener, error) {
	path := spec.Address
	if len(path) > unixPathMax {
		return nil, fault.New(fault.Invalid, "listen", path, "the path of a Unix socket has at most %d bytes, and this one %d", unixPathMax, len(path))
	}
	// Whoever else begins to listen in this directory waits: between looking and making, the
	// socket could become another's.
	unlock, err := lockDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer unlock()
	mode := cmp.Or(spec.Mode, unixMode)
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		// Where the system heeds it, nobody gets in before Chmod.
		return raw.Control(func(fd uintptr) { chmodSocket(fd, unixMode) })
	}}
	l, err := lc.Listen(ctx, "unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if err := removeStale(ctx, path); err != nil {
			return nil, err
		}
		l, err = lc.Listen(ctx, "unix", path)
	}
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // it would remove whatever is there by then
	made, err := os.Lstat(path)
	if err == nil {
		err = os.Chmod(path, mode)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	at := &net.UnixAddr{Name: path, Net: "unix"}
	return &unixListener{Listener: l, path: path, made: made, peer: &wire.Peer{Transport: wire.TransportUnix, Remote: at}}, nil
}

// removeStale removes a socket that nobody listens on.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // it has gone by itself
	case err != nil:
		return err
	case info.Mode()&fs.ModeSocket == 0:
		return fault.New(fault.Exists, "listen", path, "there is something that is no socket; it stays, so choose another path")
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		_ = c.Close()
		return fault.New(fault.Exists, "listen", path, "somebody listens there already; choose another path")
	case !errors.Is(err, syscall.ECONNREFUSED): // whether it is in use cannot be told
		return fault.New(fault.Exists, "listen", path, "there is a socket, and whether somebody listens on it cannot be told: %w", err)
	}
	return os.Remove(path)
}

func (l *unixListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return wire.NewPeerConn(c, l.peer), nil
}

// Close removes the socket too, if it is still ours.
func (l *unixListener) Close() error {
	l.once.Do(func() {
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(l.made, now) {
			_ = os.Remove(l.path) // it is a name without a listener, at worst
		}
	})
	return l.Listener.Close()
}
