package sim

import (
	"errors"
	"iter"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
)

// A replica that is behind fetches another's state, in the order in which the kernel does:
// segments, synced; the mark in the log; the checkpoint; memory. Each step takes its time, and the
// power may go between any two.

// fetched is a state of another replica.
type fetched struct {
	at   storage.CheckpointMeta
	meta *meta.State    // of log 0
	data *shard.Machine // of the shard
	logs map[uint64][]record.Batch
	segs map[uint64]storage.Segment
}

const (
	fetchTime  = 30 * time.Millisecond // of one step, at most
	fetchAgain = 50 * time.Millisecond
)

// Behind implements group.Machine.
func (r *replica) Behind(_, index, _ uint64) bool {
	if r.dead || r.v.c.broken != nil {
		return false
	}
	r.v.c.note("node %d is behind in shard %d, and needs %d", r.v.id, r.id, index)
	r.away = true
	r.step(func() { r.fetch(index) })
	return true
}

// step does something in a while, if the node is there then.
func (r *replica) step(f func()) { r.after(time.Duration(r.v.rand.Int64N(int64(fetchTime))), f) }

func (r *replica) after(d time.Duration, f func()) {
	r.v.c.later(d, func() {
		switch {
		case r.dead || !r.v.up || r.v.c.broken != nil || r.v.mount.stopped():
		case r.v.paused > 0 || r.saving:
			r.after(fetchAgain, f)
		default:
			f()
		}
	})
}

func (r *replica) fetch(index uint64) {
	c := r.v.c
	from := c.nodes[r.v.rand.IntN(len(c.nodes))]
	if from == r.v || !from.runs() || from.replicas[r.id].away || from.replicas[r.id].index < max(index, r.index+1) {
		r.after(fetchAgain, func() { r.fetch(index) })
		return
	}
	d := from.replicas[r.id]
	s := &fetched{
		at:   storage.CheckpointMeta{Index: d.index, Term: d.term, Members: d.members},
		logs: make(map[uint64][]record.Batch), segs: make(map[uint64]storage.Segment),
	}
	var err error
	if r.id == log0Shard {
		s.meta = new(meta.State)
		err = s.meta.Restore(d.meta.Encode(nil))
	} else {
		s.data = shard.New()
		err = s.data.Restore(d.data.Encode(everything()))
		for l := range s.data.Logs() {
			batches, e := d.log(l.ID).from(l.Keep())
			s.logs[l.ID], err = batches, errors.Join(err, e)
		}
	}
	if err != nil {
		c.breach("node %d, shard %d: the state of node %d: %v", r.v.id, r.id, from.id, err)
		return
	}
	c.note("node %d fetches shard %d as of %d from node %d", r.v.id, r.id, d.index, from.id)
	r.step(func() { r.install(s) })
}

// install brings segments to where the state is, and writes the mark.
func (r *replica) install(s *fetched) {
	if s.data != nil {
		switch err := r.segments(s); {
		case err == nil:
		case storage.NoSpace(err):
			r.after(fetchAgain, func() { r.install(s) })
			return
		default:
			r.fail(err)
			return
		}
	}
	r.group.Install(s.at, func(err error) { r.step(func() { r.installed(s, err) }) })
}

// fail ends the node, unless the power has.
func (r *replica) fail(err error) {
	if !r.v.mount.stopped() {
		r.v.exit(err)
	}
}

func (r *replica) segments(s *fetched) error {
	for l := range s.data.Logs() {
		id := storage.LogID{Shard: r.id, Log: l.ID}
		b := r.logs[l.ID]
		if b == nil || b.seg == nil { // no checkpoint speaks of what is there
			if old := s.segs[l.ID]; old != nil {
				_ = old.Close()
			}
			if err := r.v.engine.Segments().Remove(id); err != nil {
				return err
			}
			seg, err := r.v.engine.Segments().Open(id)
			if err != nil {
				return err
			}
			s.segs[l.ID] = seg
		} else {
			s.segs[l.ID] = b.seg
		}
		if err := complete(s.segs[l.ID], s.logs[l.ID], l.Next); err != nil {
			return err
		}
	}
	return nil
}

// complete appends what a segment lacks up to an offset.
func complete(seg storage.Segment, batches []record.Batch, next int64) error {
	if seg.End() > next { // of an attempt before
		if err := seg.TruncateTo(next); err != nil {
			return err
		}
	}
	at := seg.End()
	var list [][]byte
	for _, b := range batches {
		if b.NextOffset() <= at {
			continue
		}
		switch {
		case b.BaseOffset() < at: // one that spans offsets that nobody wants
			b = gap(at, b.NextOffset())
		case b.BaseOffset() > at:
			list = append(list, gap(at, b.BaseOffset()))
		}
		list, at = append(list, b), b.NextOffset()
	}
	if at < next {
		list = append(list, gap(at, next))
	}
	if len(list) > 0 {
		if err := seg.Append(list...); err != nil {
			return err
		}
	}
	return seg.Sync()
}

// installed makes the state the checkpoint, and takes it in.
func (r *replica) installed(s *fetched, err error) {
	c := r.v.c
	switch {
	case fault.Is(err, fault.Conflict): // the log got there by itself
		for _, b := range r.logs {
			if b.seg != nil {
				if err := b.seg.TruncateTo(b.flushed); err != nil {
					r.fail(err)
					return
				}
			}
		}
		r.away = false
		r.group.Resume()
		return
	case err != nil:
		return // the group has ended
	}
	var pairs iter.Seq2[[]byte, []byte]
	if s.meta != nil {
		pairs = s.meta.Encode(nil)
	} else {
		pairs = s.data.Encode(everything())
	}
	if err := r.v.mount.Save(r.id, s.at, true, pairs); err != nil {
		r.fail(err)
		return
	}
	c.note("node %d has shard %d as of %d", r.v.id, r.id, s.at.Index)
	c.report.CaughtUp++
	r.index, r.term, r.members, r.since = s.at.Index, s.at.Term, s.at.Members, 0
	if s.meta != nil {
		r.meta = s.meta
	} else {
		r.data, r.logs = s.data, make(map[uint64]*batches)
		for l := range r.data.Logs() {
			r.logs[l.ID] = &batches{seg: s.segs[l.ID], flushed: l.Next}
		}
		sent := r.data.Sent(uint32(r.v.id), uint64(r.v.life))
		for len(r.asked) > 0 && r.asked[0].seq <= sent { // nobody knows what came of it
			r.asked = r.asked[1:]
		}
	}
	r.away = false
	r.group.Resume()
}
