package kernel

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/storage"
)

// What a client has declared, bound or subscribed to holds on every node before it is told so:
// a message that is published anywhere from then on finds it. So whoever made the change
// waits until every node that is up has applied it.
//
// The waiting is done by asking: a node that is asked about an entry answers once it has
// applied it. Frames may be lost, so they are sent again until the answer has come, the node
// is marked down, or seenWait is over: a node that is not heard of for so long serves
// nobody that others would hear of.
//
//	kind (2: ask, 3: told), token u64, and for an ask: shard u32, index u64; little-endian
const (
	askLen  = 1 + 8 + 4 + 8
	toldLen = 1 + 8

	seenAgain = 50 * time.Millisecond // link time
	seenWait  = nodeDown
	asksMax   = 1 << 16 // asks of other nodes that wait in one shard; more are dropped, and come again
)

// asks are those of other nodes that wait for one shard, and how far the shard has come.
type asks struct {
	mu      sync.Mutex
	applied uint64
	waiting []ask
}

type ask struct {
	node, index, token uint64
}

// reached answers asks about entries up to index. Called by the applying goroutine.
func (a *asks) reached(k *Kernel, index uint64) {
	a.mu.Lock()
	a.applied = index
	var due []ask
	kept := a.waiting[:0]
	for _, x := range a.waiting {
		if x.index <= index {
			due = append(due, x)
		} else {
			kept = append(kept, x)
		}
	}
	a.waiting = kept
	a.mu.Unlock()
	for _, x := range due {
		k.tell(x.node, x.token)
	}
}

// at is the newest entry that was applied.
func (a *asks) at() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.applied
}

// seen are the questions of this node that wait for an answer.
type seen struct {
	mu      sync.Mutex
	token   uint64
	waiting map[uint64]chan struct{} // closed by the answer
}

func (k *Kernel) tell(node, token uint64) {
	k.cfg.Peers.Send(node, binary.LittleEndian.AppendUint64([]byte{toldFrame}, token))
}

// everywhere returns once every node that is up has applied what this one has, of a shard.
func (k *Kernel) everywhere(ctx context.Context, id storage.ShardID, a *asks) {
	if !k.Clustered() {
		return
	}
	index := a.at()
	var all sync.WaitGroup
	for _, n := range k.Nodes() {
		if n.ID != k.cfg.Self && !n.Down && n.State != NodeJoining { // who is joining serves nobody yet
			all.Go(func() { k.awaitNode(ctx, &n, id, index) })
		}
	}
	all.Wait()
}

// awaitNode returns once a node has told that it has applied an entry, or is given up.
func (k *Kernel) awaitNode(ctx context.Context, n *Node, id storage.ShardID, index uint64) {
	s := &k.seen
	told := make(chan struct{})
	s.mu.Lock()
	s.token++
	token := s.token
	s.waiting[token] = told
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.waiting, token)
		s.mu.Unlock()
	}()
	for range int(seenWait / seenAgain) {
		frame := binary.LittleEndian.AppendUint64([]byte{askFrame}, token)
		frame = binary.LittleEndian.AppendUint32(frame, uint32(id))
		k.cfg.Peers.Send(n.ID, binary.LittleEndian.AppendUint64(frame, index))
		again := k.alarm(seenAgain)
		select {
		case <-told:
		case <-ctx.Done():
		case <-k.ctx.Done():
		case <-again.rings:
			if now, ok := k.meta.view.Load().Node(n.ID); !ok || now.Down || now.Incarnation != n.Incarnation {
				return // what it starts with, it has from the logs
			}
			continue
		}
		again.stop()
		return
	}
}

// asked takes in an ask or an answer of another node.
func (k *Kernel) asked(from uint64, frame []byte) error {
	switch {
	case frame[0] == toldFrame && len(frame) == toldLen:
		token := binary.LittleEndian.Uint64(frame[1:])
		k.seen.mu.Lock()
		told := k.seen.waiting[token]
		delete(k.seen.waiting, token)
		k.seen.mu.Unlock()
		if told != nil {
			close(told)
		}
		return nil
	case frame[0] == askFrame && len(frame) == askLen:
		x := ask{node: from, token: binary.LittleEndian.Uint64(frame[1:]), index: binary.LittleEndian.Uint64(frame[13:])}
		a := k.asksOf(storage.ShardID(binary.LittleEndian.Uint32(frame[9:])))
		if a == nil {
			return nil // not open yet: it is asked again
		}
		a.mu.Lock()
		there := a.applied >= x.index
		if !there && len(a.waiting) < asksMax {
			a.waiting = append(a.waiting, x)
		}
		a.mu.Unlock()
		if there {
			k.tell(from, x.token)
		}
		return nil
	}
	return fault.New(fault.Invalid, "receive", "frame", "kind %d with %d bytes from node %d", frame[0], len(frame), from)
}

// asksOf finds a shard's asks; nil before it opens.
func (k *Kernel) asksOf(id storage.ShardID) *asks {
	k.topo.mu.RLock() // shards are made while it is held
	defer k.topo.mu.RUnlock()
	if id == 0 {
		if k.meta != nil {
			return &k.meta.asks
		}
		return nil
	}
	if s := k.shards[uint32(id)]; s != nil {
		return &s.asks
	}
	return nil
}
