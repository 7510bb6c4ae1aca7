package transport

import (
	"cmp"
	"errors"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"time"
)

// stats are a node's counters that belong to no peer.
type stats struct {
	unknown    atomic.Uint64           // frames sent to a node that is no peer
	turnedAway atomic.Uint64           // connections, as too many were in a handshake
	unproven   atomic.Uint64           // connections that ended before it was proven who is there
	refused    [refusals]atomic.Uint64 // of those, by refusal
}

// counts are a peer's.
type counts struct {
	dials               atomic.Uint64 // connections made to it
	bytesOut, framesOut atomic.Uint64
	bytesIn, framesIn   atomic.Uint64
	dropped             atomic.Uint64 // frames that were not sent, or not whole
	unheard             atomic.Uint64 // frames that came on a channel without a receiver
	refused             atomic.Uint64 // frames that their receiver did not take
}

// Status is how a node stands with its peers. Times are of the link clock.
type Status struct {
	Self       uint64
	Cluster    string
	Addr       string // where it listens; empty: nowhere
	TLS        bool
	Unknown    uint64            // frames for nodes that are no peers, dropped
	TurnedAway uint64            // connections closed as too many had not proven who is there
	Unproven   uint64            // connections that ended before they had
	Refused    map[string]uint64 // of those, by what was wrong: version, cluster, target, node, token, certificate, plain
	Peers      []PeerStatus      // by id
}

// PeerStatus is how it stands with one.
type PeerStatus struct {
	Node uint64
	Addr string
	// OutSince and InSince tell since when there is a connection to it, and from it; zero: there
	// is none.
	OutSince, InSince   time.Time
	InAddr              string // where that one comes from
	BytesOut, FramesOut uint64
	BytesIn, FramesIn   uint64
	Connections         uint64        // made to it, ever
	Waiting             int           // bytes that are to be sent to it
	Dropped             uint64        // frames to it: unreachable, too much waiting, or too long
	Unheard             uint64        // frames from it that nobody here receives
	Refused             uint64        // frames from it that their receiver did not take
	RoundTrip           time.Duration // of the last ping; 0: none yet
	Error               string        // what went wrong last with a connection to it; empty: nothing yet
	ErrorAt             time.Time
	InError             string // with one from it
	InErrorAt           time.Time
}

// Status returns how it stands with all peers.
func (t *TCP) Status() Status {
	s := Status{
		Self: t.cfg.Self, Cluster: t.cfg.Cluster, TLS: t.cfg.TLS != nil,
		Unknown: t.stats.unknown.Load(), TurnedAway: t.stats.turnedAway.Load(), Unproven: t.stats.unproven.Load(), Refused: make(map[string]uint64),
	}
	if a := t.Addr(); a != nil {
		s.Addr = a.String()
	}
	for r := refusal(1); r < refusals; r++ {
		if n := t.stats.refused[r].Load(); n > 0 {
			s.Refused[r.String()] = n
		}
	}
	for _, p := range *t.peers.Load() {
		s.Peers = append(s.Peers, p.status())
	}
	slices.SortFunc(s.Peers, func(a, b PeerStatus) int { return cmp.Compare(a.Node, b.Node) })
	return s
}

func (p *peer) status() PeerStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &p.counts
	s := PeerStatus{
		Node: p.id, Addr: p.addr, Waiting: p.queue.bytes, Connections: c.dials.Load(),
		BytesOut: c.bytesOut.Load(), FramesOut: c.framesOut.Load(), BytesIn: c.bytesIn.Load(), FramesIn: c.framesIn.Load(),
		Dropped: c.dropped.Load(), Unheard: c.unheard.Load(), Refused: c.refused.Load(),
		Error: p.said.err, ErrorAt: p.said.at, InError: p.heard.err, InErrorAt: p.heard.at,
	}
	if p.out != nil {
		s.OutSince, s.RoundTrip = p.out.since, p.out.roundTrip
	}
	if p.in != nil {
		s.InSince, s.InAddr = p.in.since, p.in.addr
	}
	return s
}

// plain is an error without what differs each time, as the port of this end.
func plain(err error) string {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return op.Op + ": " + op.Err.Error()
	}
	if errors.Is(err, io.EOF) {
		return "it closed the connection"
	}
	return err.Error()
}
