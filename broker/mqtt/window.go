package mqtt

import (
	"github.com/robustmq/rmq/broker/kernel"
)

// Packet identifiers of deliveries: those of a session's own are the kernel's, chosen with
// the session's state; those of shared deliveries at QoS 1, which live no longer than the
// connection, are chosen here.
const (
	sharedIDMin = 49152
	sharedIDMax = 65535
)

// parkedMax bounds the deliveries that wait for the client's receive maximum. The kernel
// sends no more than the session's window and the credit of its shared subscriptions; who
// exceeds this has more of those than it can use.
const parkedMax = 8192

// window counts the QoS 1 and 2 deliveries in progress to one client, so that those of its
// session and those of its shared subscriptions together stay within its receive maximum
// (MQTT5-3.3.4-9). Deliveries beyond it are parked, encoded, in order.
//
// Guarded by conn.mu.
type window struct {
	max    int // the client's receive maximum
	sent   int // in progress
	parked [][]byte
	shares map[uint16]share // deliveries of shared subscriptions in progress
	lastID uint16
}

// share is one delivery of a shared subscription in progress.
type share struct {
	from settler
	no   uint64
}

// settler is what a shared delivery is settled with; *kernel.Attachment.
type settler interface {
	Settle(no uint64, multiple bool, o kernel.Outcome)
}

// open tells whether a delivery may be sent now.
func (w *window) open() bool { return w.sent < w.max && len(w.parked) == 0 }

// take takes a packet identifier for a shared delivery; 0 when all are in use.
func (w *window) take(s share) uint16 {
	if len(w.shares) > sharedIDMax-sharedIDMin {
		return 0
	}
	if w.shares == nil {
		w.shares = map[uint16]share{}
	}
	for {
		if w.lastID++; w.lastID < sharedIDMin { // wrapped, or the first
			w.lastID = sharedIDMin
		}
		if _, used := w.shares[w.lastID]; !used {
			w.shares[w.lastID] = s
			return w.lastID
		}
	}
}

// next ends one delivery and returns the parked one that may be sent instead, nil when
// there is none.
func (w *window) next() []byte {
	if w.sent > 0 {
		w.sent--
	}
	if len(w.parked) == 0 || w.sent >= w.max {
		return nil
	}
	p := w.parked[0]
	w.parked[0] = nil
	if w.parked = w.parked[1:]; len(w.parked) == 0 {
		w.parked = nil
	}
	w.sent++
	return p
}
