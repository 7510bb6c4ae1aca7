package sim

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/robustmq/rmq/broker/kernel"
)

// Streams of one partition and queues that promise less than a sync: what was acknowledged
// is there
//
//   - in async, after a kill and a close: all of it; after a power loss, a beginning without
//     holes that has at least what the kernel names at its next start (kernel.Restart);
//   - in memory, for as long as the kernel lives: all of it, and nothing after that.
//
// Of each, leader epochs rise from life to life, so that a consumer can tell.
var lesser = []struct {
	stream, queue string
	durability    kernel.Durability
}{
	{"swift", "hurry", kernel.Async},
	{"brief", "moment", kernel.Memory},
}

func durabilityOf(name string) kernel.Durability {
	for _, l := range lesser {
		if name == l.stream || name == l.queue {
			return l.durability
		}
	}
	if name == loose {
		return kernel.Async // what capture makes
	}
	return kernel.Sync
}

// everyQueue lists the queues of all durabilities.
func everyQueue() []string {
	all := slices.Clone(queues)
	for _, l := range lesser {
		all = append(all, l.queue)
	}
	return all
}

// createLesser makes them, unless an earlier life has.
func createLesser(ctx context.Context, n *node) error {
	for _, l := range lesser {
		if _, ok := n.Stream("/", l.stream); ok {
			continue
		}
		if _, err := n.CreateStream(ctx, kernel.StreamSpec{Namespace: "/", Address: l.stream, Partitions: 1, Durability: l.durability}); err != nil {
			return err
		}
	}
	return nil
}

// lessEnded notes what the end of a life takes for sure: all that was in memory.
func (m *model) lessEnded(how end) {
	for _, st := range m.streams {
		switch {
		case st.durability == kernel.Memory:
			clear(st.sent)
			clear(st.seen)
		case st.durability == kernel.Async && how == powerLoss:
			st.cut = true
		}
	}
	for _, q := range m.queues {
		if q.durability == kernel.Memory {
			clear(q.sent)
			clear(q.settled)
			q.sure = 0
		}
	}
}

// opened takes the kernel at its word: what it says was lost is not promised any more. It must
// not say that of what cannot be lost, and must say that what was in memory is gone.
func (m *model) opened(n *node) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	until := make(map[uint32]int64) // by shard in async, ms
	inMemory := 0
	for _, r := range n.Restarts() {
		switch {
		case r.Durability == kernel.Memory:
			inMemory = r.Streams + r.Queues
		case len(m.ends) > 0 && m.ends[len(m.ends)-1] == closed:
			return fmt.Errorf("after a close it says: %s", &r)
		case r.Held:
			until[r.Shard] = math.MaxInt64
		default:
			until[r.Shard] = r.Until.UnixMilli()
		}
	}
	if want := m.inMemory(n); inMemory != want {
		return fmt.Errorf("it says that %d streams and queues in memory are empty, of %d", inMemory, want)
	}
	if slices.Contains(m.ends, powerLoss) {
		if len(m.ends) > 1 { // one of them was told to nobody: the kernel did not open
			clear(until)
			for _, s := range n.Holdings() {
				for _, shard := range s.Shards {
					until[shard] = 0
				}
			}
		}
		m.lose(n, until)
	}
	m.ends = nil
	return nil
}

// inMemory counts what log 0 has of memory's streams and queues.
func (m *model) inMemory(n *node) (count int) {
	for _, l := range lesser {
		if l.durability != kernel.Memory {
			continue
		}
		if _, ok := n.Stream("/", l.stream); ok {
			count++
		}
		if _, err := n.Queue("/", l.queue, 0); err == nil {
			count++
		}
	}
	return count
}

// lose takes back the promise of what async shards have acknowledged from a time on. Of a shard
// that is not named nothing is lost.
func (m *model) lose(n *node, until map[uint32]int64) {
	if len(until) == 0 {
		return
	}
	weaken := func(all map[string]*sent, until int64) {
		for _, x := range all {
			if x.acked && x.at >= until {
				x.acked = false
				m.taken++
			}
		}
	}
	for name, st := range m.streams {
		if info, ok := n.Stream("/", name); st.durability == kernel.Async && ok {
			if at, said := until[info.Parts[0].Shard]; said {
				weaken(st.sent, at)
			}
		}
	}
	least := slices.Min(slices.Collect(maps.Values(until))) // a queue does not tell its shard
	for _, q := range m.queues {
		if q.durability != kernel.Async {
			continue
		}
		weaken(q.sent, least)
		q.sure = 0
		for _, x := range q.sent {
			if x.acked {
				q.sure = max(q.sure, x.called)
			}
		}
		for id, at := range q.settled {
			if at >= q.sure {
				q.settled[id] = perhaps
			}
		}
	}
}

// checkHoles: nothing that was acknowledged is missing before something that is there, and
// was sent after that answer.
func (st *streamModel) checkHoles(have map[string]bool) error {
	newest := &sent{}
	for id := range have {
		if x := st.sent[id]; x.called > newest.called {
			newest = x
		}
	}
	for _, id := range sortedKeys(st.sent) {
		if x := st.sent[id]; x.answered != 0 && x.answered < newest.called && !have[id] {
			return fmt.Errorf("%s was acknowledged, and is gone from before %s", id, newest.id)
		}
	}
	// What is gone now is gone for good, and what comes is behind what is there.
	for id, x := range st.sent {
		if !have[id] && !x.acked {
			x.answered = 0
		}
	}
	return nil
}

// checkEpochs: no two lives share a leader epoch.
func (m *model) checkEpochs(n *node) error {
	for _, name := range sortedKeys(m.streams) {
		info, ok := n.Stream("/", name)
		if !ok {
			continue
		}
		st := m.streams[name]
		for _, p := range info.Parts {
			if was, known := st.epochs[p.Index]; known && p.LeaderEpoch <= was {
				return fmt.Errorf("stream %s, partition %d: leader epoch %d after %d", name, p.Index, p.LeaderEpoch, was)
			}
			st.epochs[p.Index] = p.LeaderEpoch
		}
	}
	return nil
}
