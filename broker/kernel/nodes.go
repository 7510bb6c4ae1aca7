package kernel

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/kernel/shard"
)

// Many nodes, one kernel.
//
// Every node keeps every shard: it is a voter of each group or a learner (members.go), and applies
// each entry. So what a client asks of any node is answered there: the node proposes, which its
// group forwards to whoever leads, and the answer is what the entry comes to when this node applies
// it itself.
// A delivery is made by the node that has the connection, an effect of time by the node that
// leads the shard.
//
// A proposal may be lost on its way, and is then proposed again, in order; the links of a
// machine and the origins of log 0 see to it that it is done once.
//
// What would die with one broker (transient queues, clean sessions) is on the shards' logs
// like all else, so that it is found from every node, and ends when its node is down. So are
// things whose durability is less than sync: a voter that has lost what it said it holds
// would not be one.

// Node is one node of the cluster.
type Node = meta.Node

// Bounds of what waits for other nodes, in link time.
const (
	againAfter = 300 * time.Millisecond // until what is not applied is proposed again
	nodeLook   = 500 * time.Millisecond // between two looks at who is heard of
	nodeDown   = 3 * time.Second        // not heard of for so long: down
)

// Clustered tells whether this is a node of a cluster: there are other nodes, or may be.
func (k *Kernel) Clustered() bool { return k.cfg.Peers != nil }

// newOrigin makes the name by which log 0 knows this life's commands: no other life has it.
func newOrigin() uint64 {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	return binary.LittleEndian.Uint64(id[:])
}

// again calls back when something is on its way for too long. Its owner's lock guards it.
type again struct {
	timer  clock.Timer
	oldest uint64 // number of what was on its way longest when the timer was set
}

// arm sets the timer, if it is not set.
func (a *again) arm(k *Kernel, oldest uint64, f func()) {
	if a.timer == nil && !k.closing.Load() {
		a.timer, a.oldest = k.cfg.Link.AfterFunc(againAfter, f), oldest
	}
}

// stop forgets the timer, and returns what it was set for.
func (a *again) stop() (oldest uint64) {
	if a.timer != nil {
		a.timer.Stop()
	}
	oldest, a.timer, a.oldest = a.oldest, nil, 0
	return oldest
}

// turned follows a change of who leads the shard.
func (s *shardRun) turned(leading bool) {
	s.k.moveOn()
	if !leading {
		s.wakeReaders()
		s.unschedule()
		s.k.groups.disarmAll(s)
		return
	}
	s.proposeAgain()
	s.schedule()
	s.k.restoreGroups(s)
	s.k.post(work{lead: s, fresh: true})
}

// barrier returns once this node has applied all of log 0 that was committed before.
func (l *log0) barrier(ctx context.Context) error {
	return untilKnown(func() error {
		_, err := l.do(ctx, &meta.Command{Op: meta.Pass})
		return err
	})
}

// barrier returns once this node has applied all of the shard's log that was committed before.
func (s *shardRun) barrier(ctx context.Context) error {
	return untilKnown(func() error {
		_, err := s.call(ctx, func(b *shard.Builder) int { return b.Tick() })
		return err
	})
}

// Leader is the node that leads a shard, as far as is known here; 0: none is known.
func (k *Kernel) Leader(shard uint32) uint64 {
	s := k.shards[shard]
	switch {
	case s == nil:
		return 0
	case !k.Clustered():
		return k.cfg.Self
	}
	return s.leader.Load()
}

// Leads tells whether this node leads a shard.
func (k *Kernel) Leads(shard uint32) bool {
	s := k.shards[shard]
	return s != nil && s.holds()
}

// Self is this node's id.
func (k *Kernel) Self() uint64 { return k.cfg.Self }

// Nodes lists the nodes of the cluster, by id, but those that were removed.
func (k *Kernel) Nodes() []Node {
	var out []Node
	for n := range k.meta.view.Load().AllNodes() {
		if n.State != NodeRemoved {
			out = append(out, *n)
		}
	}
	return out
}

// Announce tells the other nodes where clients find this one, by protocol: a URL. It leads by
// their leave from then on; a node that joins is up.
func (k *Kernel) Announce(ctx context.Context, addresses map[string]string) error {
	_, err := k.meta.do(ctx, &meta.Command{Op: meta.AnnounceNode, Node: &meta.Node{
		ID: k.cfg.Self, Incarnation: k.incarnation, Addresses: addresses,
	}})
	return err
}

// Barrier returns once this node has applied all that was committed before, in log 0 and in
// every shard.
func (k *Kernel) Barrier(ctx context.Context) error {
	if !k.Clustered() {
		return nil
	}
	if err := k.meta.barrier(ctx); err != nil {
		return err
	}
	for _, s := range k.everyShard() {
		if err := s.barrier(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Leave takes this node out of its cluster, before its connections are closed: nothing of
// what waits is waited for any more, for there may be no majority left to agree to it. The
// others notice, and end what was attached here.
func (k *Kernel) Leave() {
	if k.Clustered() && k.meta != nil {
		k.quit(fault.New(fault.Unavailable, "commit", "", "the node is leaving"))
	}
}

// quit has nothing of this node proposed any more.
func (k *Kernel) quit(why error) {
	k.ending.Store(true)
	for _, s := range k.shards {
		s.stop(why)
	}
	k.meta.stop(why)
}

// NewOwner is the name of a connection of this node, for what is exclusive to it.
func (k *Kernel) NewOwner() uint64 { return k.newAttachmentID() }

// life is the incarnation that an attachment or an owner is of.
func life(id uint64) uint64 { return id >> 40 }

// nodes watches whether the other nodes are heard of, while this one leads log 0.
//
// Ownership: mu guards timer and closed.
type nodes struct {
	mu     sync.Mutex
	timer  clock.Timer
	closed bool
}

func (n *nodes) stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	if n.timer != nil {
		n.timer.Stop()
	}
}

// watchNodes looks now and then, and has log 0 told who is down, and who is back.
func (k *Kernel) watchNodes() {
	if !k.Clustered() {
		return
	}
	n := &k.nodes
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	n.timer = k.cfg.Link.AfterFunc(nodeLook, func() {
		k.spawn(k.lookAtNodes)
		k.watchNodes()
	})
}

func (k *Kernel) lookAtNodes() {
	if !k.meta.leading.Load() {
		return
	}
	heard, ok := k.meta.group.(interface {
		Silence(node uint64) time.Duration
	})
	if !ok {
		return
	}
	for _, node := range k.Nodes() {
		if node.ID == k.cfg.Self || node.Incarnation == 0 {
			continue
		}
		down := heard.Silence(node.ID) >= nodeDown
		if down == node.Down {
			continue
		}
		node.Down = down
		if err := k.command(&meta.Command{Op: meta.MarkNode, Node: &node}); err == nil {
			k.log.Warn("node", "node", node.ID, "down", down)
		}
	}
}

// nodeChanged follows a node's start or end: what its earlier life had attached ends. If it is
// this node that the others did not hear from, or that they do without from now on, what was
// attached here has ended without its clients being told: so they are, and come back.
func (k *Kernel) nodeChanged(n *Node) {
	k.nodesChanged()
	if n.ID == k.cfg.Self && n.State == NodeRemoved {
		k.post(work{removed: true})
		return
	}
	if n.ID == k.cfg.Self && n.Incarnation == k.incarnation && n.Down {
		k.post(work{cut: true})
	}
	for _, s := range k.shards {
		if s.leads() {
			k.post(work{lead: s})
		}
	}
}

// nodesChanged has somebody look at who is to keep what, and tells who asked to be told.
func (k *Kernel) nodesChanged() {
	k.moveOn()
	if k.cfg.NodesChanged != nil {
		k.cfg.NodesChanged()
	}
}

// takeOver makes a shard that this node leads agree with log 0 and with who is there. fresh: it
// has just begun to lead it.
func (k *Kernel) takeOver(s *shardRun, fresh bool) {
	if !s.leads() {
		return
	}
	look := func() (*truth, error) {
		if err := k.meta.barrier(k.ctx); err != nil {
			return nil, err
		}
		return truths(k.meta.view.Load(), s)[uint32(s.id)], nil
	}
	err := s.barrier(k.ctx) // what is on its way to the shard is seen, too
	if err == nil {
		err = s.reconcile(k.ctx, fresh, look)
	}
	if err != nil && !k.closing.Load() {
		k.log.Warn("shard not reconciled", "shard", s.id, "err", err)
	}
}
