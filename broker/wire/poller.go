package wire

import "net"

// Sleeper is who waits for its connection by a Poller.
type Sleeper interface {
	// Wake is called once for each Sleep, on a goroutine of its own: there is something to read, the peer's end of it
	// included (nil), or this side has closed the connection (net.ErrClosed).
	Wake(err error)
}

// Sleep has p wait, with nothing buffered, until there is something to read, and wake s: the connection has no
// goroutine meanwhile, and the Reader is small. s belongs to who is woken from here on, who calls Woken first. false: a
// Poller cannot wait for this connection, and Wait can.
func (r *Reader) Sleep(p *Poller, s Sleeper) bool {
	if r.raw == nil || r.tap == nil {
		return false
	}
	r.Release()
	was := r.reading
	r.reading = nil
	if !p.sleep(r.tap, r.raw, s) {
		r.reading = was
		return false
	}
	return true
}

// Woken makes the Reader one that reads again, after Sleep.
func (r *Reader) Woken() { r.reading = newReading() }

// awaken wakes who sleeps until there is something to read from the connection, which was closed.
func (v *Valve) awaken() {
	if bed := v.bed.Swap(0); bed != 0 {
		if s := v.poller.take(bed); s != nil {
			go s.Wake(net.ErrClosed)
		}
	}
}
