package kernel

import (
	"sync"

	"github.com/robustmq/rmq/broker/storage"
)

// immediate is the Group of a shard that is not logged: what is proposed is applied at
// once, by whoever proposes, one entry after another. An entry proposed while another is
// being applied (by an effect of it, or by another goroutine) waits its turn with the
// goroutine that is at it.
type immediate struct {
	m    Machine
	term uint64 // of every entry

	mu      sync.Mutex
	queue   [][]byte // bounded by the proposer's inflightMax
	index   uint64
	running bool
}

// Machine is what a Group drives; cluster/group.Machine has the same methods. It keeps the
// Data of entries, and writes to it where the group has one voter.
type Machine interface {
	Apply(entries []storage.Entry)
	Members(index, term uint64, m storage.Members)
	Lead(term uint64, leading bool)
	Follow(leader uint64)
	Behind(leader, index, term uint64) bool
	Stopped(err error)
}

func (g *immediate) Propose(data []byte) error {
	g.mu.Lock()
	g.queue = append(g.queue, data)
	if g.running {
		g.mu.Unlock()
		return nil
	}
	g.running = true
	for len(g.queue) > 0 {
		g.index++
		e := [1]storage.Entry{{Index: g.index, Term: g.term, Data: g.queue[0]}}
		g.queue = g.queue[1:]
		g.mu.Unlock()
		g.m.Apply(e[:])
		g.mu.Lock()
	}
	g.queue = nil
	g.running = false
	g.mu.Unlock()
	return nil
}

func (g *immediate) Checkpointed(uint64, uint64) {} // nothing is kept

func (g *immediate) Nudge() {} // nothing is checkpointed
