package group

import (
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// entryLog is what raft reads back of the log: the entries that are not applied,
// and behind them as many as lagging members are granted. It is in memory only;
// the log on the device is written, and read at the next start.
//
// It is owned by the worker. Entries are added when their write is issued: until
// that has ended raft keeps them itself and does not ask here.
type entryLog struct {
	hard *pb.HardState // what the log held at opening
	conf *pb.ConfState // of what is applied

	base, baseTerm uint64 // the entry before the first one
	ents           []*pb.Entry
	bytes          int
}

// entryOverhead is what an entry costs beside its data, in bytes; for limits.
const entryOverhead = 128

func entrySize(e *pb.Entry) int { return len(e.Data) + entryOverhead }

func (l *entryLog) last() uint64 { return l.base + uint64(len(l.ents)) }

// append adds entries; the first one replaces what is at or after its index.
func (l *entryLog) append(ents []*pb.Entry) {
	if len(ents) == 0 {
		return
	}
	keep := int(ents[0].GetIndex() - l.base - 1)
	for _, e := range l.ents[keep:] {
		l.bytes -= entrySize(e)
	}
	clear(l.ents[keep:])
	l.ents = append(l.ents[:keep], ents...)
	for _, e := range ents {
		l.bytes += entrySize(e)
	}
}

// trim forgets entries at or below index, the oldest first, until no more than
// keep bytes are held.
func (l *entryLog) trim(index uint64, keep int) {
	n := 0
	for n < len(l.ents) && l.ents[n].GetIndex() <= index && l.bytes > keep {
		l.base, l.baseTerm = l.ents[n].GetIndex(), l.ents[n].GetTerm()
		l.bytes -= entrySize(l.ents[n])
		l.ents[n] = nil
		n++
	}
	switch {
	case n == len(l.ents):
		l.ents = l.ents[:0]
	case n > 0 && n < cap(l.ents)/2:
		l.ents = l.ents[n:]
	case n > 0: // the array's room in front is most of it: let it go
		l.ents = append(make([]*pb.Entry, 0, 2*(len(l.ents)-n)), l.ents[n:]...)
	}
}

// InitialState implements raft.Storage, as do the methods after it.
func (l *entryLog) InitialState() (*pb.HardState, *pb.ConfState, error) { return l.hard, l.conf, nil }

func (l *entryLog) Entries(lo, hi, maxSize uint64) ([]*pb.Entry, error) {
	if lo <= l.base {
		return nil, raft.ErrCompacted
	}
	if hi > l.last()+1 {
		return nil, raft.ErrUnavailable
	}
	from := int(lo - l.base - 1)
	to, size := from, uint64(0)
	for to < int(hi-l.base-1) {
		size += uint64(entrySize(l.ents[to]))
		if size > maxSize && to > from {
			break
		}
		to++
	}
	return l.ents[from:to:to], nil
}

func (l *entryLog) Term(i uint64) (uint64, error) {
	switch {
	case i < l.base:
		return 0, raft.ErrCompacted
	case i == l.base:
		return l.baseTerm, nil
	case i > l.last():
		return 0, raft.ErrUnavailable
	}
	return l.ents[i-l.base-1].GetTerm(), nil
}

func (l *entryLog) LastIndex() (uint64, error)  { return l.last(), nil }
func (l *entryLog) FirstIndex() (uint64, error) { return l.base + 1, nil }

// Snapshot is asked for when a member needs what is not here any more: it tells from where on
// there is something. Its members are not those of that entry but of now, the one among them that
// it is sent to. See behind.go.
func (l *entryLog) Snapshot() (*pb.Snapshot, error) {
	if l.base == 0 {
		return nil, raft.ErrSnapshotTemporarilyUnavailable // there is everything
	}
	return &pb.Snapshot{Metadata: &pb.SnapshotMetadata{ConfState: l.conf, Index: new(l.base), Term: new(l.baseTerm)}}, nil
}
