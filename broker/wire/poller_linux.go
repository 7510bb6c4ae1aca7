package wire

import (
	"os"
	"sync"
	"syscall"
)

// Poller waits for many connections with one goroutine. A connection that says little costs it an entry of a table,
// where a goroutine would have a stack of 2 KiB. The zero Poller is ready to use.
//
// The system's poller is asked once for each sleep (EPOLLONESHOT), and waited for through the one of the runtime, which
// keeps no thread. Connections are registered by a bed, which tells which sleep an event is about: the descriptor of a
// connection that was closed may be another's by then.
type Poller struct {
	mu     sync.Mutex
	epoll  *os.File // nil before the first sleep
	fd     int      // of epoll
	over   chan struct{}
	beds   []bed
	free   []uint32 // of beds
	closed bool
}

// bed is where one sleeps. Its number is that of the sleep above its index.
type bed struct {
	sleeper Sleeper // nil: nobody
	sleep   uint32  // counts
}

const pollEvents = 128 // taken from the system at once

// sleep has s woken once there is something to read, or v was closed. false: it cannot.
func (p *Poller) sleep(v *Valve, raw syscall.RawConn, s Sleeper) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.openLocked() != nil {
		return false
	}
	i := uint32(len(p.beds))
	if n := len(p.free); n > 0 {
		i, p.free = p.free[n-1], p.free[:n-1]
	} else {
		p.beds = append(p.beds, bed{})
	}
	b := &p.beds[i]
	b.sleep++
	b.sleeper = s
	number := uint64(b.sleep)<<32 | uint64(i+1)

	// Whoever closes v does so first and looks for a bed then: either it finds this one, or the descriptor is gone below.
	if v.poller == nil {
		v.poller = p
	}
	v.bed.Store(number)
	ok := false
	err := raw.Control(func(fd uintptr) {
		e := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT, Fd: int32(i + 1), Pad: int32(b.sleep)}
		err := syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_MOD, int(fd), &e)
		if err == syscall.ENOENT { // it never slept
			err = syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_ADD, int(fd), &e)
		}
		ok = err == nil
	})
	if err == nil && ok {
		return true
	}
	v.bed.Store(0)
	p.takeLocked(number)
	return false
}

func (p *Poller) openLocked() error {
	if p.epoll != nil {
		return nil
	}
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // or the runtime would not poll it
		_ = syscall.Close(fd)
		return err
	}
	f := os.NewFile(uintptr(fd), "epoll")
	raw, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return err
	}
	p.epoll, p.fd, p.over = f, fd, make(chan struct{})
	go p.run(raw)
	return nil
}

// run wakes sleepers until the poller is closed.
func (p *Poller) run(raw syscall.RawConn) {
	defer close(p.over)
	events := make([]syscall.EpollEvent, pollEvents)
	var woken []Sleeper
	for {
		n := 0
		if raw.Read(func(fd uintptr) bool {
			for {
				var err error
				if n, err = syscall.EpollWait(int(fd), events, 0); err != syscall.EINTR {
					return n != 0
				}
			}
		}) != nil {
			return
		}
		p.mu.Lock()
		for _, e := range events[:n] {
			if s := p.takeLocked(uint64(uint32(e.Pad))<<32 | uint64(uint32(e.Fd))); s != nil {
				woken = append(woken, s)
			}
		}
		p.mu.Unlock()
		for _, s := range woken {
			go s.Wake(nil)
		}
		clear(woken)
		woken = woken[:0]
	}
}

// take takes a sleeper out of its bed; nil: it was woken before.
func (p *Poller) take(number uint64) Sleeper {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.takeLocked(number)
}

func (p *Poller) takeLocked(number uint64) Sleeper {
	i := uint32(number) - 1
	b := &p.beds[i]
	s := b.sleeper
	if s == nil || b.sleep != uint32(number>>32) {
		return nil
	}
	b.sleeper = nil
	p.free = append(p.free, i)
	return s
}

// Close ends the poller, by which nobody sleeps any more: connections are to be closed before.
func (p *Poller) Close() {
	p.mu.Lock()
	p.closed = true
	f := p.epoll
	p.mu.Unlock()
	if f != nil {
		_ = f.Close() // nothing was written to it
		<-p.over
	}
}
