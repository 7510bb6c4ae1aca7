package group

import (
	"encoding/binary"
	"fmt"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/storage"
)

// A frame carries all that one step of a worker has to say to one node, whichever
// groups say it: so the heartbeats of all groups between two nodes travel as one.
// Little-endian, version first, then messages up to the end:
//
//	0     1               0       4               12      16
//	┌─────┬───            ┌───────┬───────────────┬───────┬────────────┐
//	│ ver │ messages …    │ shard │ stamp         │ len   │ raftpb     │
//	│ u8  │               │ u32   │ i64           │ u32   │ Message    │
//	└─────┴───            └───────┴───────────────┴───────┴────────────┘
//
// What is urgent travels in frames of its own, if the host has a way for them: a big entry does
// not hold back the heartbeats that tell that its leader lives.
//
// stamp is a leader's time, given back by those who answer (see election.go).
// A receiver checks the version, then each length against what is left.
const (
	frameVersion  = 1
	messageHeader = 16
	frameTarget   = 1 << 20 // bytes; a frame that has reached it is sent
)

// received is a message of a peer.
type received struct {
	msg   *pb.Message
	stamp instant
}

// outbound is a frame in the making.
type outbound struct {
	to     uint64
	urgent bool
	frame  []byte
}

// urgent tells whether a message may overtake others: it is small, and true whether or not what
// was sent before it has arrived.
func urgent(m *pb.Message) bool {
	switch m.GetType() {
	case pb.MsgHeartbeat, pb.MsgHeartbeatResp, pb.MsgAppResp, pb.MsgVote, pb.MsgVoteResp, pb.MsgPreVote, pb.MsgPreVoteResp:
		return true
	}
	return false
}

// send adds a message to the frame for its node.
func (g *Group) send(m *pb.Message) {
	if g.host.transport == nil {
		return
	}
	if kind := m.GetType(); g.leadTerm != 0 && (kind == pb.MsgApp || kind == pb.MsgSnap) {
		m.Context = g.shows(m.GetTo())
	}
	o := g.worker.outbound(m.GetTo(), g.host.urgent != nil && urgent(m))
	if len(o.frame) == 0 {
		o.frame = append(o.frame, frameVersion)
	}
	start := len(o.frame)
	o.frame = binary.LittleEndian.AppendUint32(o.frame, uint32(g.shard))
	o.frame = binary.LittleEndian.AppendUint64(o.frame, uint64(g.stamp(m)))
	o.frame = append(o.frame, 0, 0, 0, 0)
	body := len(o.frame)
	frame, err := proto.MarshalOptions{}.MarshalAppend(o.frame, m)
	if err != nil { // raft made it: it can be encoded
		panic("group: " + err.Error())
	}
	o.frame = frame
	binary.LittleEndian.PutUint32(o.frame[start+12:], uint32(len(o.frame)-body))
	if len(o.frame) >= frameTarget {
		g.host.post(o)
	}
}

// post sends a frame.
func (h *Host) post(o *outbound) {
	way := h.transport
	if o.urgent {
		way = h.urgent
	}
	way.Send(o.to, o.frame)
	o.frame = nil
}

func (w *worker) outbound(to uint64, urgent bool) *outbound {
	for i := range w.frames {
		if w.frames[i].to == to && w.frames[i].urgent == urgent {
			return &w.frames[i]
		}
	}
	w.frames = append(w.frames, outbound{to: to, urgent: urgent})
	return &w.frames[len(w.frames)-1]
}

// flush sends the frames that a step has filled.
func (w *worker) flush() {
	for i := range w.frames {
		if o := &w.frames[i]; len(o.frame) > 0 {
			w.host.post(o)
		}
	}
}

// Receive takes in a frame of another node. It never blocks, and keeps nothing of
// the frame. The error says that the sender does not speak as it should; what came
// before the offence was taken in.
func (h *Host) Receive(from uint64, frame []byte) error {
	if len(frame) == 0 || frame[0] != frameVersion {
		return fault.New(fault.Unsupported, "receive", "frame", "not of version %d", frameVersion)
	}
	for rest := frame[1:]; len(rest) > 0; {
		if len(rest) < messageHeader {
			return fault.New(fault.Invalid, "receive", "frame", "%d bytes where a message should begin", len(rest))
		}
		shard := storage.ShardID(binary.LittleEndian.Uint32(rest))
		stamp := instant(binary.LittleEndian.Uint64(rest[4:]))
		n := binary.LittleEndian.Uint32(rest[12:])
		rest = rest[messageHeader:]
		if uint64(n) > uint64(len(rest)) {
			return fault.New(fault.Invalid, "receive", "frame", "a message of %d bytes in the %d that are left", n, len(rest))
		}
		body := rest[:n]
		rest = rest[n:]
		g := h.Group(shard)
		if g == nil {
			continue // not ours, or not yet
		}
		m := new(pb.Message)
		err := proto.Unmarshal(body, m)
		if err == nil {
			err = checkMessage(m, from, h.self)
		}
		if err != nil {
			g.drop()
			return fault.New(fault.Invalid, "receive", g.name(), "from node %d: %w", from, err)
		}
		g.deliver(received{m, stamp})
	}
	return nil
}

// deliver puts a message into the inbox, or drops it when too many wait.
func (g *Group) deliver(r received) {
	g.mu.Lock()
	if len(g.in.messages) >= messagesMax {
		g.status.Dropped++
		g.mu.Unlock()
		return
	}
	g.in.messages = append(g.in.messages, r)
	g.scheduleUnlock()
}

func (g *Group) drop() {
	g.mu.Lock()
	g.status.Dropped++
	g.mu.Unlock()
}

// checkMessage refuses what raft would take for a broken invariant of its own, or
// what only a node may say to itself.
func checkMessage(m *pb.Message, from, self uint64) error {
	if m.GetFrom() != from || m.GetTo() != self {
		return fmt.Errorf("a message from %d to %d", m.GetFrom(), m.GetTo())
	}
	if (m.GetTerm() == 0) != (m.GetType() == pb.MsgProp) {
		return fmt.Errorf("a %v of term %d", m.GetType(), m.GetTerm())
	}
	switch m.GetType() {
	case pb.MsgProp:
		for _, e := range m.GetEntries() {
			if e == nil || e.GetType() != pb.EntryNormal || len(e.GetData()) == 0 || len(e.GetData()) > EntryMax {
				return fmt.Errorf("a forwarded entry of kind %v with %d bytes", e.GetType(), len(e.GetData()))
			}
		}
	case pb.MsgAppResp, pb.MsgVote, pb.MsgVoteResp, pb.MsgPreVote, pb.MsgPreVoteResp,
		pb.MsgHeartbeat, pb.MsgHeartbeatResp, pb.MsgTimeoutNow:
		if len(m.GetEntries()) > 0 {
			return fmt.Errorf("a %v with entries", m.GetType())
		}
	case pb.MsgApp:
		index, term := m.GetIndex(), m.GetLogTerm()
		for _, e := range m.GetEntries() {
			if e == nil || e.GetIndex() != index+1 || e.GetTerm() < term || e.GetTerm() > m.GetTerm() {
				return fmt.Errorf("entry %d of term %d after entry %d of term %d", e.GetIndex(), e.GetTerm(), index, term)
			}
			if len(e.GetData()) > EntryMax {
				return fmt.Errorf("entry %d has %d bytes", e.GetIndex(), len(e.GetData()))
			}
			if e.GetType() != pb.EntryNormal && (e.GetType() != pb.EntryConfChangeV2 || proto.Unmarshal(e.GetData(), new(pb.ConfChangeV2)) != nil) {
				return fmt.Errorf("entry %d is of kind %v, or malformed", e.GetIndex(), e.GetType())
			}
			index, term = e.GetIndex(), e.GetTerm()
		}
		if term > m.GetTerm() {
			return fmt.Errorf("an append of term %d after term %d", m.GetTerm(), term)
		}
	case pb.MsgSnap:
		if at := m.GetSnapshot().GetMetadata(); len(m.GetEntries()) > 0 || at.GetIndex() == 0 || at.GetTerm() == 0 || at.GetTerm() > m.GetTerm() {
			return fmt.Errorf("a %v of entry %d of term %d", m.GetType(), at.GetIndex(), at.GetTerm())
		}
	default:
		return fmt.Errorf("a %v is not for the network", m.GetType())
	}
	return nil
}
