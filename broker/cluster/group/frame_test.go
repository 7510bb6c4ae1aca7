package group

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/storage"
)

// loopback records what a host sends.
type loopback struct{ frames [][]byte }

func (l *loopback) Send(_ uint64, frame []byte) { l.frames = append(l.frames, frame) }

func frameOf(shard uint32, stamp uint64, ms ...*pb.Message) []byte {
	f := []byte{frameVersion}
	for _, m := range ms {
		body, err := proto.Marshal(m)
		if err != nil {
			panic(err)
		}
		f = binary.LittleEndian.AppendUint32(f, shard)
		f = binary.LittleEndian.AppendUint64(f, stamp)
		f = binary.LittleEndian.AppendUint32(f, uint32(len(body)))
		f = append(f, body...)
	}
	return f
}

func message(kind pb.MessageType, from, to, term uint64, more ...func(*pb.Message)) *pb.Message {
	m := &pb.Message{Type: kind.Enum(), From: new(from), To: new(to), Term: new(term)}
	for _, f := range more {
		f(m)
	}
	return m
}

func at(index, logTerm uint64) func(*pb.Message) {
	return func(m *pb.Message) { m.Index, m.LogTerm = new(index), new(logTerm) }
}

func entry(index, term uint64) func(*pb.Message) {
	return func(m *pb.Message) {
		m.Entries = append(m.Entries, &pb.Entry{Index: new(index), Term: new(term), Data: []byte("x")})
	}
}

// TestReceiveRefuses: what a peer may not say is refused before raft hears of it.
func TestReceiveRefuses(t *testing.T) {
	h := NewHost(Options{Self: 1, Clock: clock.NewVirtual(time.Unix(0, 0)), Transport: new(loopback)})
	g := mustOpen(t, h, Config{Shard: 7, Members: three, Log: newFakeLog(), Machine: newRecorder()})
	good := message(pb.MsgApp, 2, 1, 5, at(0, 0), entry(1, 5), entry(2, 5))
	tests := []struct {
		name  string
		frame []byte
		want  fault.Kind
	}{
		{"nothing", nil, fault.Unsupported},
		{"another version", []byte{9}, fault.Unsupported},
		{"half a header", []byte{frameVersion, 1, 2, 3}, fault.Invalid},
		{"a length beyond the frame", frameOf(7, 0, good)[:40], fault.Invalid},
		{"not a message", append(frameOf(7, 0), 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0xff, 0xff), fault.Invalid},
		{"in another's name", frameOf(7, 0, message(pb.MsgHeartbeat, 3, 1, 5)), fault.Invalid},
		{"to another", frameOf(7, 0, message(pb.MsgHeartbeat, 2, 3, 5)), fault.Invalid},
		{"no term", frameOf(7, 0, message(pb.MsgHeartbeat, 2, 1, 0)), fault.Invalid},
		{"a local message", frameOf(7, 0, message(pb.MsgHup, 2, 1, 5)), fault.Invalid},
		{"a write that ended", frameOf(7, 0, message(pb.MsgStorageAppendResp, 2, 1, 5)), fault.Invalid},
		{"a proposal", frameOf(7, 0, message(pb.MsgProp, 2, 1, 5, entry(1, 5))), fault.Invalid},
		{"a snapshot", frameOf(7, 0, message(pb.MsgSnap, 2, 1, 5)), fault.Invalid},
		{"entries with a gap", frameOf(7, 0, message(pb.MsgApp, 2, 1, 5, at(0, 0), entry(1, 5), entry(3, 5))), fault.Invalid},
		{"entries elsewhere", frameOf(7, 0, message(pb.MsgApp, 2, 1, 5, at(3, 1), entry(3, 5))), fault.Invalid},
		{"entries of the future", frameOf(7, 0, message(pb.MsgApp, 2, 1, 5, at(0, 0), entry(1, 6))), fault.Invalid},
		{"terms that fall", frameOf(7, 0, message(pb.MsgApp, 2, 1, 5, at(0, 0), entry(1, 5), entry(2, 4))), fault.Invalid},
		{"a vote with entries", frameOf(7, 0, message(pb.MsgVote, 2, 1, 5, entry(1, 5))), fault.Invalid},
	}
	for _, tt := range tests {
		if err := h.Receive(2, tt.frame); !fault.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	settle(h)
	if s := g.Status(); s.Term != 0 || s.Err != nil || s.Dropped == 0 {
		t.Errorf("status %+v", s)
	}
	if err := h.Receive(2, frameOf(8, 0, good)); err != nil {
		t.Errorf("a shard that is not here: %v", err)
	}
	if err := h.Receive(2, frameOf(7, 0, good)); err != nil {
		t.Errorf("a good one: %v", err)
	}
	settle(h)
	if s := g.Status(); s.Term != 5 || s.Leader != 2 {
		t.Errorf("status %+v", s)
	}
}

// TestReceiveBound: what a worker has not come to is bounded.
func TestReceiveBound(t *testing.T) {
	h := NewHost(Options{Self: 1, Clock: clock.NewVirtual(time.Unix(0, 0)), Transport: new(loopback)})
	g := mustOpen(t, h, Config{Members: three, Log: newFakeLog(), Machine: newRecorder()})
	f := frameOf(0, 0, message(pb.MsgHeartbeat, 2, 1, 5))
	for range messagesMax + 10 {
		if err := h.Receive(2, f); err != nil {
			t.Fatal(err)
		}
	}
	if n := g.Status().Dropped; n != 10 {
		t.Errorf("dropped %d", n)
	}
}

// TestLostLog: a leader that counts on entries which this node no longer has ends
// the group here, and nothing else. One that came with nothing at all says so, and has no
// vote until it has what it may have promised.
func TestLostLog(t *testing.T) {
	wire := new(loopback)
	h := NewHost(Options{Self: 1, Clock: clock.NewVirtual(time.Unix(0, 0)), Transport: wire})
	log := newFakeLog()
	log.shard(0).hard = storage.HardState{Term: 1, Commit: 1}
	log.shard(0).entries = []storage.Entry{{Index: 1, Term: 1}}
	cfg := Config{Members: three, Log: log, Machine: newRecorder()}
	g := mustOpen(t, h, cfg)
	cfg.Shard = 1
	empty := mustOpen(t, h, cfg)
	settle(h)
	wire.frames = nil
	for shard := range uint32(2) {
		if err := h.Receive(2, frameOf(shard, 0, message(pb.MsgHeartbeat, 2, 1, 5, func(m *pb.Message) { m.Commit = new(uint64(9)) }))); err != nil {
			t.Fatal(err)
		}
	}
	settle(h)
	if err := g.Status().Err; err == nil || h.Group(0) != nil {
		t.Error("the group goes on")
	}
	if empty.Status().Err != nil || h.Group(1) == nil {
		t.Error("the one that is empty was ended")
	}
	if len(wire.frames) != 1 || !bytes.Contains(wire.frames[0], lostContext) {
		t.Errorf("sent %q", wire.frames)
	}
	wire.frames = nil
	if err := h.Receive(3, frameOf(1, 0, message(pb.MsgVote, 3, 1, 9, at(20, 8)))); err != nil {
		t.Fatal(err)
	}
	settle(h)
	if len(wire.frames) != 0 {
		t.Error("it voted")
	}
}

// TestDenied: who denies what it has acknowledged is not sent it as fast as it answers, but with the next heartbeat.
func TestDenied(t *testing.T) {
	c, wire := clock.NewVirtual(time.Unix(0, 0)), new(loopback)
	h := NewHost(Options{Self: 1, Clock: c, Transport: wire})
	g := mustOpen(t, h, Config{Members: three, Log: newFakeLog(), Machine: newRecorder()})
	settle(h)
	says := func(m *pb.Message) {
		t.Helper()
		wire.frames = nil
		if err := h.Receive(2, frameOf(0, 0, m)); err != nil {
			t.Fatal(err)
		}
		settle(h)
	}
	rejects := func(index uint64) *pb.Message {
		return message(pb.MsgAppResp, 2, 1, 1, at(index, 0), func(m *pb.Message) { m.Reject, m.RejectHint = new(true), new(index) })
	}
	says(message(pb.MsgPreVoteResp, 2, 1, 1))
	says(message(pb.MsgVoteResp, 2, 1, 1))
	says(message(pb.MsgAppResp, 2, 1, 1, at(1, 0)))
	if err := g.Propose([]byte("y")); err != nil {
		t.Fatal(err)
	}
	settle(h)
	if says(rejects(2)); len(wire.frames) == 0 {
		t.Fatal("what it has not acknowledged is not sent again")
	}
	for range 3 {
		if says(rejects(1)); len(wire.frames) != 0 {
			t.Fatalf("answered with %q", wire.frames)
		}
	}
	c.Advance(heartbeatDefault)
	if settle(h); len(wire.frames) == 0 {
		t.Error("no heartbeat")
	}
}

// FuzzReceive: no bytes of a peer break the host.
func FuzzReceive(f *testing.F) {
	f.Add(true, frameOf(0, 5, message(pb.MsgApp, 2, 1, 5, at(1, 1), entry(2, 5))), frameOf(0, 0, message(pb.MsgHeartbeat, 2, 1, 5)))
	f.Add(false, frameOf(0, 5, message(pb.MsgVote, 2, 1, 7, at(9, 5))), frameOf(0, 0, message(pb.MsgPreVote, 2, 1, 9)))
	f.Add(true, frameOf(0, 5, message(pb.MsgAppResp, 2, 1, 1, at(1, 0))), frameOf(0, 0, message(pb.MsgTimeoutNow, 2, 1, 1)))
	f.Add(true, frameOf(0, 5, message(pb.MsgVoteResp, 2, 1, 1), message(pb.MsgPreVoteResp, 2, 1, 2)), frameOf(0, 0, message(pb.MsgHeartbeatResp, 2, 1, 1)))
	f.Add(true, []byte("\x01\x00\x00\x00\x0000000000\f\x00\x00\x00\b\x04\x10\x01\x18\x02 \x010000"), []byte("0")) // counts from nowhere
	f.Add(false, frameOf(0, 5, message(pb.MsgSnap, 2, 1, 7, func(m *pb.Message) {
		m.Snapshot = &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: new(uint64(9)), Term: new(uint64(7)), ConfState: &pb.ConfState{Voters: []uint64{1, 2, 3}}}}
	})), frameOf(0, 0, message(pb.MsgHeartbeat, 2, 1, 9)))
	f.Fuzz(func(t *testing.T, leading bool, a, b []byte) {
		c := clock.NewVirtual(time.Unix(0, 0))
		h := NewHost(Options{Self: 1, Clock: c, Transport: new(loopback)})
		g := mustOpen(t, h, Config{Shard: 0, Members: three, Log: newFakeLog(), Machine: newRecorder()})
		settle(h)
		if leading { // shard 0's preferred voter is the first: give it its votes
			for _, m := range []*pb.Message{message(pb.MsgPreVoteResp, 2, 1, 1), message(pb.MsgVoteResp, 2, 1, 1), message(pb.MsgAppResp, 2, 1, 1, at(1, 0))} {
				if err := h.Receive(2, frameOf(0, 0, m)); err != nil {
					t.Fatal(err)
				}
				settle(h)
			}
			if g.Status().Leader != 1 {
				t.Fatalf("not elected: %+v", g.Status())
			}
			_ = g.Propose([]byte("y"))
		}
		for _, frame := range [][]byte{a, b} {
			_ = h.Receive(2, frame)
			settle(h)
			c.Advance(3 * time.Second)
			settle(h)
		}
		if s := g.Status(); s.Err == nil && s.Applied > s.Commit {
			t.Errorf("status %+v", s)
		}
	})
}

// TestUrgent: what tells that a leader lives does not wait behind what it has to say.
func TestUrgent(t *testing.T) {
	c := clock.NewVirtual(time.Unix(0, 0))
	slow, fast := new(loopback), new(loopback)
	h := NewHost(Options{Self: 1, Clock: c, Transport: slow, Urgent: fast})
	g := mustOpen(t, h, Config{Members: storage.Members{Voters: []uint64{1, 2}}, Log: newFakeLog(), Machine: newRecorder()})
	said := func(l *loopback) (kinds []pb.MessageType) {
		settle(h)
		for _, f := range l.frames {
			for rest := f[1:]; len(rest) > 0; {
				n := binary.LittleEndian.Uint32(rest[12:])
				m := new(pb.Message)
				if err := proto.Unmarshal(rest[messageHeader:messageHeader+n], m); err != nil {
					t.Fatal(err)
				}
				kinds = append(kinds, m.GetType())
				rest = rest[messageHeader+n:]
			}
		}
		l.frames = nil
		return kinds
	}
	expect := func(l *loopback, want ...pb.MessageType) {
		t.Helper()
		if got := said(l); !slices.Equal(got, want) {
			t.Errorf("said %v, want %v", got, want)
		}
	}
	c.Advance(3 * time.Second) // nobody leads
	expect(fast, pb.MsgPreVote)
	answer := func(kind pb.MessageType, term uint64, more ...func(*pb.Message)) {
		t.Helper()
		if err := h.Receive(2, frameOf(0, 0, message(kind, 2, 1, term, more...))); err != nil {
			t.Fatal(err)
		}
	}
	answer(pb.MsgPreVoteResp, 1)
	expect(fast, pb.MsgVote)
	answer(pb.MsgVoteResp, 1)
	settle(h)
	expect(slow, pb.MsgApp) // that it leads
	answer(pb.MsgAppResp, 1, at(g.Status().Commit+1, 0))
	said(fast)
	said(slow)
	c.Advance(heartbeatDefault)
	expect(fast, pb.MsgHeartbeat)
	expect(slow)
}
