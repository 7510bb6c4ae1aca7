package mqtt

import (
	"sync/atomic"

	"github.com/robustmq/rmq/broker/mqttwire"
)

// Stats counts what a Server has done since it started. All fields may be read at
// any time.
type Stats struct {
	Connections     atomic.Int64  // open now, with a session
	Connects        atomic.Uint64 // CONNECTs accepted
	Refused         atomic.Uint64 // CONNECTs refused
	PacketsIn       atomic.Uint64
	BytesIn         atomic.Uint64
	MessagesIn      atomic.Uint64 // PUBLISH packets received
	MessagesOut     atomic.Uint64 // PUBLISH packets put in an outbox
	BytesOut        atomic.Uint64 // of those
	DroppedSlow     atomic.Uint64 // QoS 0, the client did not keep up
	DroppedTooLarge atomic.Uint64 // longer than the client's maximum packet size
	DroppedExpired  atomic.Uint64
	Denied          atomic.Uint64 // publishes and deliveries that the rules of access forbid
	KeepAlive       atomic.Uint64 // connections that fell silent
	TakenOver       atomic.Uint64
	Slowed          atomic.Uint64 // pauses of clients that published more than they may
	Flapping        atomic.Uint64 // clients that were banned for coming and going too often
	Parked          atomic.Int64  // QoS 1 and 2 publishes that wait for room now
	ParkedBytes     atomic.Int64  // of those

	errors [256]atomic.Uint64 // connections ended by us, by reason code
}

// Ended returns how many connections were ended by the server with a reason, CONNECTs
// refused included.
func (s *Stats) Ended(r mqttwire.Reason) uint64 { return s.errors[r].Load() }

// Dropped counts messages that a client did not get for a reason of its own.
func (s *Stats) Dropped() uint64 {
	return s.DroppedSlow.Load() + s.DroppedTooLarge.Load() + s.DroppedExpired.Load()
}

// EndedBy calls f for each reason with which connections were ended.
func (s *Stats) EndedBy(f func(r mqttwire.Reason, n uint64)) {
	for i := range s.errors {
		if n := s.errors[i].Load(); n > 0 {
			f(mqttwire.Reason(i), n)
		}
	}
}
