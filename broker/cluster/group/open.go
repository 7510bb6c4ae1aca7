package group

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/storage"
)

// Bounds of what raft does at once.
const (
	appendMax   = 1 << 20  // bytes of entries in one message to a peer
	applyMax    = 4 << 20  // bytes of entries in one call of Machine.Apply
	inflightMax = 256      // messages with entries under way to one peer
	peerBytes   = 64 << 20 // bytes of entries under way to one peer

	never = 1 << 30 // ticks: raft's own election timeout, which is not reached
)

// Open starts a group from what its log holds. A voter that is the quorum by itself
// campaigns at once; Machine.Lead tells when it leads.
//
// The errors are storage.ErrCorrupt, when the log lacks what it has promised to
// hold, and those of the log itself.
func (h *Host) Open(cfg Config) (*Group, error) {
	members := cfg.Members.Clone()
	for _, set := range [...][]uint64{members.Voters, members.Outgoing, members.Learners, members.Next} {
		slices.Sort(set)
	}
	if len(members.All()) == 0 {
		members.Voters = []uint64{h.self}
	}
	if cfg.Forsake {
		members = storage.Members{Voters: []uint64{h.self}}
	}
	alone := members.Alone(h.self)
	target := shardName(cfg.Shard)
	switch {
	case cfg.Log == nil || cfg.Machine == nil:
		return nil, fault.New(fault.Invalid, "open", target, "a group needs a log and a machine")
	case !alone && h.transport == nil:
		return nil, fault.New(fault.Invalid, "open", target, "members %v and no transport", members.All())
	}
	if err := members.Check(); err != nil {
		return nil, fault.New(fault.Invalid, "open", target, "%w", err)
	}

	found, err := cfg.Log.Load(cfg.Shard)
	if err != nil {
		return nil, &fault.Error{Kind: fault.Internal, Op: "open", Target: target, Err: err}
	}
	loaded := found.Entries
	if cfg.Forsake && unfinished(loaded, cfg.Applied) {
		return nil, fault.New(fault.Conflict, "open", target, "this replica is not whole: it was being replaced by the state of another node")
	}
	entries, hard, err := recoverLog(cfg, found, alone)
	if err != nil {
		return nil, &fault.Error{Kind: fault.Internal, Op: "open", Target: target, Err: err}
	}
	if cfg.Forsake {
		hard.Commit = entries.last()
	}
	if len(loaded) > 0 && entries.last() == entries.base && entries.base >= loaded[len(loaded)-1].Index {
		// Nothing of what was loaded is needed; let the next entry not seem to leave a gap.
		cfg.Log.Release(cfg.Shard, entries.base)
	}
	entries.conf = confState(members)
	if hard != (storage.HardState{}) {
		entries.hard = &pb.HardState{Term: new(hard.Term), Vote: new(hard.Vote), Commit: new(hard.Commit)}
	}

	g := &Group{
		shard: cfg.Shard, host: h, log: cfg.Log, sync: cfg.Sync, machine: cfg.Machine,
		limits: limits{
			entries: positive(cfg.EntriesMax, entriesMaxDefault),
			bytes:   positive(cfg.BytesMax, bytesMaxDefault),
			catchUp: positive(cfg.CatchUp, catchUpDefault),
		},
		logger:  h.logger.With("shard", uint32(cfg.Shard)),
		entries: entries,
		hard:    hard, hardSaved: hard, applied: cfg.Applied, shown: cfg.Applied, members: members, single: alone,
		rand: rand.New(rand.NewPCG(h.seed, h.self<<32|uint64(cfg.Shard))),
	}
	if cfg.Forsake {
		g.forsaken = entries.last()
	}
	g.onWrote = g.wrote
	g.leaseEnd.Store(leaseNone)
	g.waits = cfg.Applied == 0 && !members.Has(h.self)
	switch {
	case unfinished(loaded, cfg.Applied): // there are others, whatever the checkpoint says
		g.forgot, g.mark = true, loaded[len(loaded)-1]
	case !alone:
		g.forgot = hard == (storage.HardState{})
	case hard.Term > 0 && hard.Vote != h.self: // it was one of several, and may have made a promise to another
		g.time.promise = h.now() + h.election
	}
	if g.node, err = g.newNode(); err != nil {
		return nil, &fault.Error{Kind: fault.Internal, Op: "open", Target: target, Err: err}
	}
	g.status = Status{Term: hard.Term, Commit: hard.Commit, Applied: cfg.Applied, Members: members}
	if err := h.add(g, cfg.Bind); err != nil {
		return nil, err
	}
	return g, nil
}

// newNode makes raft anew, over what g.entries and g.applied say.
func (g *Group) newNode() (*raft.RawNode, error) {
	return raft.NewRawNode(&raft.Config{
		ID: g.host.self, Storage: g.entries, Applied: g.applied,
		ElectionTick: never, HeartbeatTick: 1,
		AsyncStorageWrites: true,
		MaxSizePerMsg:      appendMax, MaxCommittedSizePerReady: applyMax,
		MaxInflightMsgs: inflightMax, MaxInflightBytes: peerBytes,
		PreVote: true, DisableProposalForwarding: true, StepDownOnRemoval: true,
		Logger: raftLogger{g.logger},
	})
}

// lastOf is the index of the last of some entries, 0 of none.
func lastOf(ents []storage.Entry) uint64 {
	if len(ents) == 0 {
		return 0
	}
	return ents[len(ents)-1].Index
}

// recoverLog decides what of a log is believed at opening: the entries that raft
// starts with, and the hard state.
//
//   - Entries at or below Applied are kept where they continue to the rest, for
//     members that lag; a group of one member forgets them.
//   - The commit index is at least Applied: what a checkpoint holds was committed.
//   - A commit index that the log does not reach means that entries were lost after
//     they had been promised. With Sync, or with other members, that is corruption.
//     Otherwise it is what a relaxed durability allows: the log ends where it ends.
//   - An entry that the log once held durably, and that neither it nor the checkpoint has, is
//     corruption: somebody removed a file.
//   - What stands before the mark of an installed state, and the mark, is of the replica that
//     was replaced. A mark beyond Applied is of an installation that was not ended: then
//     there is no log, and the replica starts over from its checkpoint.
func recoverLog(cfg Config, found storage.Loaded, alone bool) (*entryLog, storage.HardState, error) {
	hard, ents := found.Hard, found.Entries
	if last := max(cfg.Applied, lastOf(ents)); found.Once > last {
		return nil, hard, fmt.Errorf("%w: the log and the checkpoint end at entry %d, and the log once held %d: a file of it is missing", storage.ErrCorrupt, last, found.Once)
	}
	if unfinished(ents, cfg.Applied) {
		ents, hard.Commit = nil, 0
	}
	for i := len(ents) - 1; i >= 0; i-- {
		if ents[i].Kind == storage.KindInstalled {
			ents = ents[i+1:]
			break
		}
	}
	for i := 1; i < len(ents); i++ {
		if ents[i].Index != ents[i-1].Index+1 || ents[i].Term < ents[i-1].Term {
			return nil, hard, fmt.Errorf("%w: entry %d of term %d after entry %d of term %d",
				storage.ErrCorrupt, ents[i].Index, ents[i].Term, ents[i-1].Index, ents[i-1].Term)
		}
	}
	l := &entryLog{base: cfg.Applied, baseTerm: cfg.AppliedTerm}
	switch {
	case len(ents) == 0:
	case ents[0].Index > cfg.Applied+1:
		return nil, hard, fmt.Errorf("%w: the log begins at entry %d, the checkpoint ends at %d",
			storage.ErrCorrupt, ents[0].Index, cfg.Applied)
	case ents[len(ents)-1].Index < cfg.Applied:
		if lost := ents[len(ents)-1]; cfg.Sync && hard.Commit > lost.Index {
			return nil, hard, fmt.Errorf("%w: the log ends at entry %d, and %d were committed", storage.ErrCorrupt, lost.Index, hard.Commit)
		}
		ents = nil // older than the checkpoint, all of it
	case alone || ents[0].Index > 1:
		// The first entry whose predecessor's term is known.
		first := cfg.Applied + 1
		if !alone && ents[0].Index <= cfg.Applied {
			first = ents[0].Index + 1
		}
		if before := first - 1; before >= ents[0].Index {
			e := ents[before-ents[0].Index]
			if before == cfg.Applied && cfg.AppliedTerm != 0 && e.Term != cfg.AppliedTerm {
				return nil, hard, fmt.Errorf("%w: entry %d is of term %d in the log and %d in the checkpoint",
					storage.ErrCorrupt, before, e.Term, cfg.AppliedTerm)
			}
			l.base, l.baseTerm = before, e.Term
		}
		ents = ents[first-ents[0].Index:]
	default: // from the very first entry
		l.base, l.baseTerm = 0, 0
	}
	for _, e := range ents {
		t := pb.EntryType(e.Kind)
		l.ents = append(l.ents, &pb.Entry{Index: new(e.Index), Term: new(e.Term), Type: t.Enum(), Data: e.Data})
		l.bytes += entrySize(l.ents[len(l.ents)-1])
	}

	hard.Commit = max(hard.Commit, cfg.Applied)
	if hard.Commit > l.last() {
		if cfg.Sync || !alone {
			return nil, hard, fmt.Errorf("%w: the log ends at entry %d, and %d were committed", storage.ErrCorrupt, l.last(), hard.Commit)
		}
		hard.Commit = l.last()
	}
	lastTerm, err := l.Term(l.last())
	if err != nil {
		return nil, hard, err
	}
	if hard.Term < lastTerm { // written with the entries or before them, unless nothing was synced
		hard.Term, hard.Vote = lastTerm, 0
	}
	return l, hard, nil
}

func positive(n, or int) int {
	if n > 0 {
		return n
	}
	return or
}

func shardName(id storage.ShardID) string { return "shard " + strconv.FormatUint(uint64(id), 10) }

func (g *Group) name() string { return shardName(g.shard) }

// errClosed is why a group that was closed refuses.
var errClosed = errors.New("closed")
