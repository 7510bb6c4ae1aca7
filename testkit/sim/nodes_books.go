package sim

import (
	"bytes"
	"hash/crc32"
	"iter"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/cluster/group"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/storage"
)

// NodeBug is a mistake that a run of nodes makes on purpose, to show that it would be seen.
type NodeBug int

// Bugs beneath a kernel: in its log, its groups and its checkpoints.
const (
	NoNodeBug            NodeBug = iota
	NodeBugVoteNotSynced         // a vote is given before it is on the disk
	NodeBugFollowerEarly         // a voter says that entries are on its disk before they are
	NodeBugAckAlone              // a leader applies, and answers, what its own log alone has
	NodeBugStaleRead             // a leader whose lease has ended goes on as one until it hears of another
	NodeBugTornSave              // the log forgets before the checkpoint is written
)

// unsyncedFor is for how long what a bug has promised is not on the disk.
const unsyncedFor = 300 * time.Millisecond

// heldLog is a node's log, on a disk that takes its time. What waits is not on the disk.
//
// Ownership: mu guards what is below it.
type heldLog struct {
	storage.Log
	l *life

	mu       sync.Mutex
	rand     *rand.Rand
	waiting  []storage.Write // in order
	armed    bool            // somebody passes on what waits
	over     bool
	machines map[storage.ShardID]*bookedMachine
}

func newHeldLog(l *life, log storage.Log) *heldLog {
	return &heldLog{
		Log: log, l: l, rand: l.n.f.random(l.n.id<<32 | uint64(l.number)<<16 | 1), machines: make(map[storage.ShardID]*bookedMachine),
	}
}

func (h *heldLog) shard(id storage.ShardID, m *bookedMachine) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.machines[id] = m
}

// Append implements storage.Log.
func (h *heldLog) Append(w storage.Write) error {
	h.mu.Lock()
	if h.over {
		h.mu.Unlock()
		return storage.ErrClosed
	}
	m, done, entries := h.machines[w.Shard], w.Done, w.Entries
	early := false
	switch h.l.n.f.opt.Bug {
	case NodeBugVoteNotSynced:
		early = len(entries) == 0
	case NodeBugFollowerEarly:
		early = len(entries) > 0 && m != nil && m.group != nil && !m.group.Leading()
	case NodeBugAckAlone:
		w.Done = func(err error) {
			done(err)
			if err == nil && m != nil {
				m.early(entries)
			}
		}
	}
	if early {
		w.Done = func(error) {}
	}
	if early && h.l.n.f.opt.Bug == NodeBugVoteNotSynced && h.rand.IntN(4) == 0 { // the power goes just then
		time.AfterFunc(between(h.rand, time.Millisecond, 20*time.Millisecond), func() { h.l.finish(powerLoss) })
	}
	h.waiting = append(h.waiting, w)
	if !h.armed {
		h.armed = true
		h.armLocked(early)
	}
	h.mu.Unlock()
	if early {
		done(nil)
	}
	return nil
}

// armLocked has what waits passed on in a while. Caller holds mu.
func (h *heldLog) armLocked(late bool) {
	d := time.Duration(h.l.slow.Load())
	switch {
	case late:
		d = unsyncedFor
	case d == 0:
		d = time.Duration(50+h.rand.IntN(800)) * time.Microsecond
	}
	time.AfterFunc(d, func() { h.l.gate.through(h.pass) })
}

// pass passes on what waits.
func (h *heldLog) pass() {
	h.mu.Lock()
	if h.over {
		h.mu.Unlock()
		return
	}
	writes := h.waiting
	h.waiting = nil
	h.mu.Unlock()
	h.hand(writes)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.armed = len(h.waiting) > 0; h.armed {
		h.armLocked(false)
	}
}

func (h *heldLog) hand(writes []storage.Write) {
	for _, w := range writes {
		if err := h.Log.Append(w); err != nil {
			w.Done(err)
		}
	}
}

// end passes on what waits, to a disk that is there or not any more.
func (h *heldLog) end() {
	h.mu.Lock()
	writes := h.waiting
	h.waiting, h.over = nil, true
	h.mu.Unlock()
	h.hand(writes)
}

// books are what the nodes agree on.
type books struct {
	f *fleet

	mu      sync.Mutex
	entries map[storage.ShardID]map[uint64]booked
	leaders map[termKey]uint64
}

type booked struct {
	term uint64
	sum  uint32
}

func newBooks(f *fleet) *books {
	return &books{f: f, entries: make(map[storage.ShardID]map[uint64]booked), leaders: make(map[termKey]uint64)}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// apply holds an entry against what others were given at its index.
func (b *books) apply(node uint64, shard storage.ShardID, e *storage.Entry) {
	got := booked{e.Term, crc32.Checksum(e.Data, castagnoli)}
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.entries[shard]
	if all == nil {
		all = make(map[uint64]booked)
		b.entries[shard] = all
	}
	had, known := all[e.Index]
	if known && had != got && !b.f.opt.Outcomes {
		b.f.breach("node %d applies entry %d of shard %d as %d:%x, others as %d:%x", node, e.Index, shard, got.term, got.sum, had.term, had.sum)
	}
	all[e.Index] = got
	if !known {
		b.f.count(&b.f.report.Applied)
	}
}

// lead notes who leads in a term.
func (b *books) lead(node uint64, shard storage.ShardID, term uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := termKey{shard, term}
	switch who := b.leaders[key]; {
	case who == 0:
		b.leaders[key] = node
		b.f.count(&b.f.report.Leaders)
	case who != node && !b.f.opt.Outcomes:
		b.f.breach("nodes %d and %d both lead shard %d in term %d", who, node, shard, term)
	}
}

// bookedMachine stands between a group and the kernel's machine.
//
// Ownership: mu is held while the machine is called, and guards what is below it; it matters to bugs alone.
type bookedMachine struct {
	kernel.Machine
	l     *life
	shard storage.ShardID
	group *group.Group

	mu      sync.Mutex
	applied uint64 // the last entry that the machine was given, also early
	leading bool
	gated   uint64 // NodeBugStaleRead: the term whose end the machine is not told of
}

// Apply implements kernel.Machine.
func (m *bookedMachine) Apply(entries []storage.Entry) {
	for i := range entries {
		m.l.n.f.books.apply(m.l.n.id, m.shard, &entries[i])
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(entries) == 0 { // a nudge
		m.Machine.Apply(nil)
		return
	}
	for len(entries) > 0 && entries[0].Index <= m.applied {
		entries = entries[1:]
	}
	if len(entries) > 0 {
		m.applied = entries[len(entries)-1].Index
		m.Machine.Apply(entries)
	}
}

// early is NodeBugAckAlone: entries that this node's own log has are applied.
func (m *bookedMachine) early(entries []storage.Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range entries {
		if !m.leading || e.Kind != 0 {
			return
		}
		if e.Index > m.applied && len(e.Data) > 0 {
			m.applied = e.Index
			e.Data = bytes.Clone(e.Data)
			m.Machine.Apply([]storage.Entry{e})
		}
	}
}

// Members implements kernel.Machine.
func (m *bookedMachine) Members(index, term uint64, members storage.Members) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Machine.Members(index, term, members)
}

// Lead implements kernel.Machine.
func (m *bookedMachine) Lead(term uint64, leading bool) {
	if leading {
		m.l.n.f.note("node %d leads shard %d in term %d", m.l.n.id, m.shard, term)
		m.l.n.f.books.lead(m.l.n.id, m.shard, term)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.leading = leading
	if m.l.n.f.opt.Bug == NodeBugStaleRead {
		if m.gated = 0; !leading {
			m.gated = term
			return
		}
	}
	m.Machine.Lead(term, leading)
}

// Follow implements kernel.Machine.
func (m *bookedMachine) Follow(leader uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gated != 0 && leader != 0 && leader != m.l.n.id {
		m.Machine.Lead(m.gated, false)
		m.gated = 0
	}
	m.Machine.Follow(leader)
}

// bookedGroup is the group as the kernel has it.
type bookedGroup struct {
	*group.Group
	m *bookedMachine
}

// Leading is the group's, but for NodeBugStaleRead.
func (g bookedGroup) Leading() bool {
	g.m.mu.Lock()
	gated := g.m.gated != 0
	g.m.mu.Unlock()
	return gated || g.Group.Leading()
}

// Behind implements kernel.Machine.
func (m *bookedMachine) Behind(leader, index, term uint64) bool {
	taken := m.Machine.Behind(leader, index, term)
	if taken {
		m.l.n.f.note("node %d is behind in shard %d", m.l.n.id, m.shard)
		m.l.n.f.count(&m.l.n.f.report.CaughtUp)
	}
	return taken
}

// tornCheckpoints is NodeBugTornSave: what is saved is on the disk later than it says.
type tornCheckpoints struct{ *mount }

// Save implements storage.Checkpoints.
func (c tornCheckpoints) Save(shard storage.ShardID, meta storage.CheckpointMeta, full bool, changes iter.Seq2[[]byte, []byte]) error {
	type pair struct{ k, v []byte }
	var all []pair
	for k, v := range changes {
		all = append(all, pair{bytes.Clone(k), bytes.Clone(v)})
	}
	time.AfterFunc(unsyncedFor, func() {
		if c.stopped() || c.closed.Load() {
			return
		}
		_ = c.mount.Save(shard, meta, full, func(yield func(k, v []byte) bool) {
			for _, p := range all {
				if !yield(p.k, p.v) {
					return
				}
			}
		})
	})
	return nil
}
