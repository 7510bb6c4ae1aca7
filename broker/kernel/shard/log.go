package shard

import (
	"math"

	"github.com/tidwall/btree"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/record"
)

// Bodies is the id of the shard's own log: message bodies that no partition of the
// shard is home to. Its batches are kept while something refers to them.
const Bodies uint64 = 0

// Bounds of one log's producer table (Kafka's producer.id.expiration.ms, and a
// limit so that a client inventing ids cannot grow it without end).
const (
	producersMax    = 10_000
	producerExpiry  = 24 * 60 * 60 * 1000 // ms
	producerBatches = 5                   // batches remembered per producer, as Kafka
	maxSequence     = 1<<31 - 1
)

// Log is the state of one log: where it starts and ends, who wrote to it last, and
// which of its batches something still refers to. The batches themselves are not state:
// they follow from the log of entries.
type Log struct {
	ID    uint64
	Start int64 // first offset that readers may see
	Next  int64 // offset of the next record
	Epoch int32 // Kafka leader epoch stamped on batches

	Address string // of the stream that it is a partition of
	// Deleted: its stream is no more. It stays, unseen by readers and closed for appends,
	// until nothing refers to its records.
	Deleted bool

	producers btree.Map[int64, *producer]
	// live counts references (from queues, sessions and retained messages) to the
	// records of a batch, by the batch's base offset. Batches without one are absent.
	live btree.Map[int64, int32]

	gen     uint64     // the machine generation that may change this value in place
	changed logChanges // in that generation
}

// producer is one idempotent producer's window. Immutable once stored.
type producer struct {
	epoch   int16
	lastUse int64 // ms
	n       int
	batches [producerBatches]producedBatch // oldest first
}

type producedBatch struct {
	first, last int32 // sequences
	base        int64 // offset
}

func (l *Log) fork(gen uint64) *Log {
	c := *l
	c.producers, c.live = *l.producers.Copy(), *l.live.Copy()
	c.gen, c.changed = gen, logChanges{}
	return &c
}

// BatchResult is what became of one batch of an entry.
type BatchResult struct {
	Err       error
	Base      int64
	Duplicate bool
	Start     int64
}

// append gives a batch its place. ok false: it is not to be stored.
func (l *Log) append(b record.Batch, now int64) (r BatchResult, ok bool) {
	r.Start = l.Start
	if b.HasProducer() {
		dup, base, err := l.sequence(b, now)
		if err != nil {
			r.Err, r.Base = err, -1
			return r, false
		}
		if dup {
			r.Duplicate, r.Base = true, base
			return r, false
		}
	}
	r.Base = l.Next
	l.Next += int64(b.LastOffsetDelta()) + 1
	if b.HasProducer() {
		l.remember(b, r.Base, now)
	}
	return r, true
}

// sequence checks an idempotent batch against its producer's window (KIP-98).
func (l *Log) sequence(b record.Batch, now int64) (dup bool, base int64, err error) {
	p, known := l.producers.Get(b.ProducerID())
	if !known {
		// Kafka accepts any first sequence of a producer it does not know (KIP-360).
		return false, 0, nil
	}
	switch {
	case b.ProducerEpoch() < p.epoch:
		return false, 0, fault.New(fault.Fenced, "append", "", "producer %d epoch %d, current is %d", b.ProducerID(), b.ProducerEpoch(), p.epoch)
	case b.ProducerEpoch() > p.epoch:
		if b.BaseSequence() != 0 {
			return false, 0, fault.New(fault.OutOfOrder, "append", "", "new epoch begins at sequence %d", b.BaseSequence())
		}
		return false, 0, nil
	}
	for i := range p.n {
		if w := p.batches[i]; w.first == b.BaseSequence() && w.last == b.LastSequence() {
			return true, w.base, nil
		}
	}
	want := p.batches[p.n-1].last
	if want == maxSequence {
		want = 0
	} else {
		want++
	}
	if b.BaseSequence() != want {
		return false, 0, fault.New(fault.OutOfOrder, "append", "", "producer %d sequence %d, expected %d", b.ProducerID(), b.BaseSequence(), want)
	}
	return false, 0, nil
}

func (l *Log) remember(b record.Batch, base, now int64) {
	p := producer{epoch: b.ProducerEpoch(), lastUse: now}
	if old, ok := l.producers.Get(b.ProducerID()); ok && old.epoch == p.epoch {
		p.n = copy(p.batches[:], old.batches[max(0, old.n-producerBatches+1):old.n])
	} else if !ok && l.producers.Len() >= producersMax {
		l.evict(now)
	}
	p.batches[p.n] = producedBatch{b.BaseSequence(), b.LastSequence(), base}
	p.n++
	l.producers.Set(b.ProducerID(), &p)
	l.changed.producers.Insert(b.ProducerID())
}

// evict makes room: the producers that have been silent too long go, or else the one
// that has been silent longest.
func (l *Log) evict(now int64) {
	var idle []int64
	oldest, oldestUse := int64(-1), now
	l.producers.Scan(func(id int64, p *producer) bool {
		if now-p.lastUse > producerExpiry {
			idle = append(idle, id)
		}
		if oldest < 0 || p.lastUse < oldestUse {
			oldest, oldestUse = id, p.lastUse
		}
		return true
	})
	if len(idle) == 0 {
		idle = append(idle, oldest)
	}
	for _, id := range idle {
		l.producers.Delete(id)
		l.changed.producers.Insert(id)
	}
}

// forgetProducers lets go of all of them.
func (l *Log) forgetProducers() {
	l.producers.Scan(func(id int64, _ *producer) bool {
		l.changed.producers.Insert(id)
		return true
	})
	l.producers = btree.Map[int64, *producer]{}
}

// refer counts n more references to the batch that begins at base.
func (l *Log) refer(base int64, n int32) {
	c, _ := l.live.Get(base)
	l.live.Set(base, c+n)
	l.changed.pages.Insert(base >> livePageBits)
}

// drop counts one reference less to the batch that holds offset, and tells the base
// of the batch when it was the last.
func (l *Log) drop(offset int64) (base int64, freed bool) {
	base = -1
	var count int32
	l.live.Descend(offset, func(b int64, c int32) bool {
		base, count = b, c
		return false
	})
	if base < 0 {
		return 0, false
	}
	l.changed.pages.Insert(base >> livePageBits)
	if count > 1 {
		l.live.Set(base, count-1)
		return base, false
	}
	l.live.Delete(base)
	return base, true
}

// Live tells whether something refers to the batch that begins at base.
func (l *Log) Live(base int64) bool {
	_, ok := l.live.Get(base)
	return ok
}

// Referred is how many batches something refers to.
func (l *Log) Referred() int { return l.live.Len() }

// LiveIn counts the batches that something refers to and that begin from one offset on,
// before another.
func (l *Log) LiveIn(from, to int64) int {
	n := 0
	l.live.Ascend(from, func(base int64, _ int32) bool {
		if base < to {
			n++
		}
		return base < to
	})
	return n
}

// Keep is the lowest offset that must stay on the device: the start for readers, or
// before it the oldest batch that is still referred to.
func (l *Log) Keep() int64 {
	keep := l.Start
	if l.ID == Bodies {
		keep = l.Next
	}
	return min(keep, l.oldest())
}

// oldest is the first batch that something refers to; when there is none, behind all offsets.
func (l *Log) oldest() int64 {
	if base, _, ok := l.live.Min(); ok {
		return base
	}
	return math.MaxInt64
}
