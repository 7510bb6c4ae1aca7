package kernel

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/recording"
)

// Recorder is told of what is published here and committed, in an order that every log has too: what two
// messages have a log in common stands in that order in it. What is not in any log, for nobody has it but
// who is connected, is told when it was given to them. What follows from a publish by itself is left out,
// for it follows again: dead letters, and what was delayed when its time has come.
type Recorder struct {
	// Meant tells whether it wants what goes to an address. It is asked by publishers, and must be quick.
	Meant func(ns string, from message.Protocol, address string) bool
	// Take is given each item, which it must not change, or nil: one was left out, for too many wait to be
	// committed. It must not block.
	Take func(*recording.Item)
}

// Bounds of what was published, and is not committed or behind what is not. More is left out, whatever becomes of it.
const (
	recordWaiting = 64 << 20 // bytes
	recordedEach  = 256      // at least, of each: a shard that hears of no majority is waited for however long, and others publish on
)

// recorders are those who record.
//
// Ownership: order is held while one publish is given to its shards, so that its place in the row is its
// place in each of their logs. mu guards row and bytes, and is the last lock of all.
type recorders struct {
	list atomic.Pointer[[]*Recorder] // nil: nobody records
	edit sync.Mutex

	order sync.Mutex
	mu    sync.Mutex
	row   []*recorded // in the order of publishing; the first is not done
	bytes int
}

// recorded is one publish on its way to those who record it. A nil one is not.
type recorded struct {
	in   *recorders
	to   []*Recorder
	item *recording.Item
	size int
	done bool
	kept bool              // it was committed
	lost map[*Recorder]int // what was left out behind it
}

// Record has r told of what is published from now on, until stop is called: what was answered before that
// it has been told of.
func (k *Kernel) Record(r Recorder) (stop func()) {
	p := &r
	k.recorders.change(func(l []*Recorder) []*Recorder { return append(l, p) })
	return func() {
		k.recorders.change(func(l []*Recorder) []*Recorder { return slices.DeleteFunc(l, func(e *Recorder) bool { return e == p }) })
	}
}

func (r *recorders) change(f func([]*Recorder) []*Recorder) {
	r.edit.Lock()
	defer r.edit.Unlock()
	var list []*Recorder
	if old := r.list.Load(); old != nil {
		list = slices.Clone(*old)
	}
	if list = f(list); len(list) == 0 {
		r.list.Store(nil)
		return
	}
	r.list.Store(&list)
}

// ofPublish begins to record a publish, unless nobody does. Until placed is called no other is given to a
// shard.
func (r *recorders) ofPublish(p *Publish) *recorded {
	if r.list.Load() == nil || p.again || p.dead || p.Here {
		return nil
	}
	m := &p.Msg
	return r.begin(p.Namespace, m.Source, m.Address, m.Size(), func() *recording.Item {
		return &recording.Item{
			Time: m.Time, Namespace: p.Namespace, ViaExchange: p.ViaExchange, Exchange: p.Exchange, Key: p.Key, Keys: slices.Clone(p.CC),
			Batch: recording.Made(m),
		}
	})
}

// ofBatch is ofPublish for what a Kafka producer sends to a partition.
func (r *recorders) ofBatch(st *meta.Stream, partition int32, batch record.Batch, acks int16, now int64) *recorded {
	if r.list.Load() == nil {
		return nil
	}
	return r.begin(st.Namespace, message.Kafka, st.Address, len(batch), func() *recording.Item {
		return &recording.Item{
			Time: now, Namespace: st.Namespace, Kafka: true, Address: st.Address, Partition: partition, Partitions: int32(len(st.Logs)),
			Acks: acks != 0, Batch: slices.Clone(batch),
		}
	})
}

func (r *recorders) begin(ns string, from message.Protocol, address string, size int, item func() *recording.Item) *recorded {
	list := r.list.Load()
	if list == nil {
		return nil
	}
	x := &recorded{in: r, size: size + recordedEach}
	for _, one := range *list {
		if one.Meant(ns, from, address) {
			x.to = append(x.to, one)
		}
	}
	if x.to == nil {
		return nil
	}
	r.order.Lock()
	if !r.enter(x) {
		r.order.Unlock()
		return nil
	}
	x.item = item()
	return x
}

// enter puts x at the end of the row; false: there is no room.
func (r *recorders) enter(x *recorded) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.row); n > 0 && r.bytes+x.size > recordWaiting {
		last := r.row[n-1]
		if last.lost == nil {
			last.lost = make(map[*Recorder]int)
		}
		for _, to := range x.to {
			last.lost[to]++
		}
		return false
	}
	r.bytes += x.size
	r.row = append(r.row, x)
	return true
}

// placed says that the publish has been given to its shards.
func (x *recorded) placed() {
	if x != nil {
		x.in.order.Unlock()
	}
}

// end says what became of it, and tells of those at the front of the row that have ended.
func (x *recorded) end(committed bool) {
	if x == nil {
		return
	}
	r := x.in
	r.mu.Lock()
	defer r.mu.Unlock()
	x.done, x.kept = true, committed
	n := 0
	for ; n < len(r.row) && r.row[n].done; n++ {
		first := r.row[n]
		r.row[n] = nil
		r.bytes -= first.size
		if first.kept {
			for _, to := range first.to {
				to.Take(first.item)
			}
		}
		for to, lost := range first.lost {
			for range lost {
				to.Take(nil)
			}
		}
	}
	r.row = r.row[n:]
}
