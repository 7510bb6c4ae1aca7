package sim

import (
	"fmt"
	"slices"

	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
)

// batches are what a log of the shard holds: in its segment, and behind that in memory.
type batches struct {
	seg     storage.Segment
	tail    []record.Batch // in order of offset
	flushed int64          // the segment has, or will never have, what is before it
}

func (r *replica) openLogs() error {
	for l := range r.data.Logs() {
		b, err := r.openLog(l.ID)
		if err != nil {
			return err
		}
		if err := b.seg.TruncateTo(l.Next); err != nil {
			return err
		}
		if l.ID != shard.Bodies && b.seg.End() != l.Next {
			return fmt.Errorf("%w: the segment of log %d ends at %d, the checkpoint at %d", storage.ErrCorrupt, l.ID, b.seg.End(), l.Next)
		}
		b.flushed = l.Next
	}
	return nil
}

func (r *replica) openLog(id uint64) (*batches, error) {
	seg, err := r.v.engine.Segments().Open(storage.LogID{Shard: r.id, Log: id})
	if err != nil {
		return nil, err
	}
	b := &batches{seg: seg}
	r.logs[id] = b
	return b, nil
}

func (r *replica) log(id uint64) *batches {
	if b := r.logs[id]; b != nil {
		return b
	}
	b := new(batches)
	r.logs[id] = b
	return b
}

func (b *batches) append(batch record.Batch) { b.tail = append(b.tail, batch) }

func (b *batches) free(base int64) {
	b.tail = slices.DeleteFunc(b.tail, func(x record.Batch) bool { return x.BaseOffset() == base })
}

// flush moves to the segments what a machine speaks of.
func (r *replica) flush(m *shard.Machine) error {
	for l := range m.Logs() {
		b := r.log(l.ID)
		n := 0
		var list [][]byte
		for n < len(b.tail) && b.tail[n].BaseOffset() < l.Next {
			list = append(list, b.tail[n])
			n++
		}
		if b.seg == nil {
			seg, err := r.v.engine.Segments().Open(storage.LogID{Shard: r.id, Log: l.ID})
			if err == nil {
				err = seg.TruncateTo(b.flushed) // a checkpoint that was cut short may have been here
			}
			if err != nil {
				return err
			}
			b.seg = seg
		}
		held := b.flushed
		if n > 0 {
			held = b.tail[n-1].NextOffset()
		}
		if held < l.Next { // as the kernel marks that nothing is missing here
			list = append(list, gap(held, l.Next))
		}
		if len(list) > 0 {
			if err := b.seg.Append(list...); err != nil {
				return err
			}
		}
		if err := b.seg.Sync(); err != nil {
			return err
		}
		b.tail, b.flushed = slices.Clone(b.tail[n:]), l.Next
	}
	return nil
}

// gap is a batch without records that spans offsets.
func gap(from, to int64) record.Batch {
	var rb record.Builder
	rb.Reset(nil, 0)
	rb.Cover(int32(to - 1 - from))
	b := rb.Finish()
	b.SetBaseOffset(from)
	return b
}

// from returns all batches from the one on that holds an offset.
func (b *batches) from(offset int64) ([]record.Batch, error) {
	var all []record.Batch
	for b.seg != nil && offset < b.flushed {
		raw, err := b.seg.Read(offset, 1<<20)
		if err != nil {
			return nil, err
		}
		if len(raw) == 0 {
			break
		}
		for len(raw) > 0 {
			x, rest, err := record.Check(raw, 1<<20)
			if err != nil {
				return nil, err
			}
			all, raw, offset = append(all, x), rest, x.NextOffset()
		}
	}
	return append(all, b.tail...), nil
}

// drop lets go of what a machine needs no more.
func (r *replica) drop(m *shard.Machine) error {
	for l := range m.Logs() {
		if b := r.logs[l.ID]; b != nil && b.seg != nil {
			if err := b.seg.DropBefore(l.Keep()); err != nil {
				return err
			}
		}
	}
	return nil
}

// values returns the ids of all records of a log from an offset on, by offset.
func (r *replica) values(log uint64, from int64) (ids []string, offsets []int64, err error) {
	all, err := r.log(log).from(from)
	if err != nil {
		return nil, nil, err
	}
	for _, x := range all {
		err := x.Each(func(rec *record.Record) error {
			if rec.Offset >= from {
				ids, offsets = append(ids, idOf(rec.Value)), append(offsets, rec.Offset)
			}
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return ids, offsets, nil
}

// partition returns the records of the partition; each must be where it is due.
func (r *replica) partition() ([]string, error) {
	if r.id != dataShard {
		return nil, nil
	}
	ids, offsets, err := r.values(partitionLog, 0)
	if err != nil {
		return nil, fmt.Errorf("node %d: %w", r.v.id, err)
	}
	for i, off := range offsets {
		if off != int64(i) {
			return nil, fmt.Errorf("node %d: the partition has a record at %d where %d is due", r.v.id, off, i)
		}
	}
	return ids, nil
}

// body returns the id of one record.
func (r *replica) body(log uint64, offset int64) (string, error) {
	ids, offsets, err := r.values(log, offset)
	if err != nil {
		return "", err
	}
	if len(ids) == 0 || offsets[0] != offset {
		return "", fmt.Errorf("node %d: there is no record at %d of log %d", r.v.id, offset, log)
	}
	return ids[0], nil
}
