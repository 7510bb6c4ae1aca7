package sim

import (
	"fmt"
	"slices"

	"github.com/robustmq/rmq/broker/storage"
)

// promise is what a node has said to have on its disk.
type promise struct {
	hard    storage.HardState
	first   uint64 // of terms
	terms   []uint64
	forgets uint64 // released up to
}

// voterLog is a node's log, with what it has said noted.
type voterLog struct {
	storage.Log
	v    *voter
	life int
}

func (l voterLog) Append(w storage.Write) error {
	v, p := l.v, l.v.promised[w.Shard]
	if len(w.Entries) > 0 {
		p.replace(w.Entries[0].Index)
		if w.Entries[0].Kind == storage.KindInstalled { // what came before goes with it
			p.first, p.terms = w.Entries[0].Index, nil
		}
	}
	done, entries, hard := w.Done, w.Entries, w.Hard
	ended := func(err error) {
		if err == nil {
			p.keep(entries, hard)
		}
		done(err)
	}
	early := false
	switch v.c.opt.Bug {
	case BugVoteNotSynced:
		early = len(entries) == 0
	case BugFollowerEarly:
		early = len(entries) > 0 && v.replicas[w.Shard] != nil && !v.replicas[w.Shard].group.Leading()
	}
	v.writing++
	w.Done = func(err error) {
		if v.life == l.life {
			v.writing--
		}
		if !early {
			ended(err)
		}
		if v.c.opt.Bug == BugAckAlone && err == nil && v.up && v.replicas[w.Shard] != nil {
			v.replicas[w.Shard].written(entries)
		}
	}
	if err := l.Log.Append(w); err != nil {
		return err
	}
	v.wantDisk()
	if early {
		ended(nil)
	}
	return nil
}

func (l voterLog) Release(shard storage.ShardID, index uint64) {
	p := l.v.promised[shard]
	p.forgets = max(p.forgets, index)
	l.Log.Release(shard, index)
	l.v.wantDisk()
}

// Load compares what is there with what was said to be there.
func (l voterLog) Load(shard storage.ShardID) (storage.Loaded, error) {
	loaded, err := l.Log.Load(shard)
	if err != nil {
		return loaded, err
	}
	hard, entries := loaded.Hard, loaded.Entries
	if l.v.c.opt.Forget && l.v.id == 1 && len(entries) > 3 && l.v.rand.IntN(2) == 0 {
		last := entries[len(entries)-1].Index
		entries = entries[:len(entries)/2]
		l.v.c.note("node %d: shard %d ends at %d of %d, commit %d", l.v.id, shard, entries[len(entries)-1].Index, last, hard.Commit)
		if l.v.c.opt.Bug == BugCommitBeyond {
			hard.Commit = min(hard.Commit, entries[len(entries)-1].Index)
		}
		return storage.Loaded{Hard: hard, Entries: entries}, nil
	}
	if err := l.v.promised[shard].missing(hard, entries); err != nil && !l.v.c.opt.Outcomes {
		l.v.c.breach("node %d, shard %d: %v", l.v.id, shard, err)
	}
	p := l.v.promised[shard] // what was there without having been promised is, from now on
	p.hard = hard
	if len(entries) > 0 {
		p.first, p.terms = entries[0].Index, nil
		p.keep(entries, nil)
	}
	return loaded, nil
}

// replace is called when entries from index on are about to be replaced: from then on they
// may be there, or not.
func (p *promise) replace(index uint64) {
	if index < p.first {
		p.first, p.terms = index, nil
	} else if n := index - p.first; n < uint64(len(p.terms)) {
		p.terms = p.terms[:n]
	}
}

// keep is called when entries and a hard state are said to be there.
func (p *promise) keep(entries []storage.Entry, hard *storage.HardState) {
	for _, e := range entries {
		p.replace(e.Index)
		if e.Index != p.first+uint64(len(p.terms)) {
			p.first, p.terms = e.Index, nil
		}
		p.terms = append(p.terms, e.Term)
	}
	if hard != nil {
		p.hard = *hard
	}
}

// holds tells whether an entry is said to be there, or was and is needed no more.
func (p *promise) holds(index, term uint64) bool {
	if index <= p.forgets {
		return true
	}
	return index >= p.first && index-p.first < uint64(len(p.terms)) && p.terms[index-p.first] == term
}

func (p *promise) missing(hard storage.HardState, entries []storage.Entry) error {
	if hard.Term < p.hard.Term || hard.Term == p.hard.Term && p.hard.Vote != 0 && hard.Vote != p.hard.Vote {
		return fmt.Errorf("the disk was said to hold term %d with a vote for %d, and holds %d and %d", p.hard.Term, p.hard.Vote, hard.Term, hard.Vote)
	}
	for i, term := range p.terms {
		index := p.first + uint64(i)
		if index <= p.forgets {
			continue
		}
		at := slices.IndexFunc(entries, func(e storage.Entry) bool { return e.Index == index })
		if at < 0 || entries[at].Term < term {
			return fmt.Errorf("the disk was said to hold entry %d of term %d, and does not", index, term)
		}
	}
	return nil
}

// decided tells whether an entry is on the disks of a quorum, as far as they say. One that was
// destroyed had it on its disk. An entry that came close behind a change of members may have been
// decided by those before.
func (c *cluster) decided(shard storage.ShardID, index, term uint64) bool {
	known := c.known[shard]
	at := len(known) - 1
	for known[at].index > index {
		at--
	}
	return c.onQuorum(shard, known[at].Members, index, term) || at > 0 && c.onQuorum(shard, known[at-1].Members, index, term)
}

func (c *cluster) onQuorum(shard storage.ShardID, m storage.Members, index, term uint64) bool {
	for _, voters := range [...][]uint64{m.Voters, m.Outgoing} {
		n := 0
		for _, id := range voters {
			if c.nodes[id-1].promised[shard].holds(index, term) {
				n++
			}
		}
		if len(voters) > 0 && n <= len(voters)/2 {
			return false
		}
	}
	return true
}
