package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
)

// What is damaged on the device is fenced, and the rest goes on.
//
//   - Rot in a partition's segment fences that partition: it accepts nothing, deletes nothing,
//     and reads what is whole. Nothing else of its shard is touched. What its segment still
//     lacked is carried by the checkpoints of the shard: see carry.go.
//   - Rot in a shard's checkpoint or bodies, or a log that does not follow its checkpoint, fences the
//     shard: it answers nothing, and its part of the log is kept.
//   - Rot in log 0, or in the files of the log, which all shards share, stops the node: Open
//     fails.
//
// Clients are told fault.Damaged; the operator sees it in status and in the log, with file and
// position. The way out is to bring back the file from a copy and start again, or, for a partition,
// to delete its stream.

// Damage is one thing that is fenced.
type Damage struct {
	Shard     storage.ShardID
	Log       uint64 // of a partition; meaningless when Address is empty
	Address   string // of its stream; "": the whole shard, or its bodies
	Err       error  // names file and position
	Partition int32
}

func (d *Damage) String() string {
	what := fmt.Sprintf("shard %d", d.Shard)
	if d.Address != "" {
		what = d.Address + "/" + strconv.Itoa(int(d.Partition))
	}
	return what + " is damaged: " + d.Err.Error()
}

// Damages lists what is fenced, by shard and log.
func (k *Kernel) Damages() []Damage {
	k.damage.mu.Lock()
	out := slices.Clone(k.damage.list)
	k.damage.mu.Unlock()
	view := k.meta.view.Load()
	for st := range view.AllStreams() {
		for i, place := range st.Logs {
			for j := range out {
				if d := &out[j]; d.Address != "" && d.Shard == storage.ShardID(place.Shard) && d.Log == place.Log {
					d.Partition = int32(i)
				}
			}
		}
	}
	// What was deleted meanwhile is no more.
	out = slices.DeleteFunc(out, func(d Damage) bool {
		return d.Address != "" && k.shards[uint32(d.Shard)].tail(d.Log) == nil
	})
	slices.SortFunc(out, func(a, b Damage) int { return cmp.Or(cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Log, b.Log)) })
	return out
}

// damages is what is fenced.
type damages struct {
	mu   sync.Mutex
	list []Damage
}

// damagesMax bounds what is listed of what is damaged: more than that is a broken device.
const damagesMax = 1000

// damaged books one damage, and tells the operator once.
func (k *Kernel) damaged(d Damage) {
	k.damage.mu.Lock()
	defer k.damage.mu.Unlock()
	for _, x := range k.damage.list {
		if x.Shard == d.Shard && x.Log == d.Log && x.Address == d.Address {
			return
		}
	}
	if len(k.damage.list) < damagesMax {
		k.damage.list = append(k.damage.list, d)
	}
	k.log.Error("fenced", "shard", d.Shard, "log", d.Log, "stream", d.Address, "err", d.Err)
}

// fenced is what opening a shard ends with: err, unless that is rot. Then the shard is fenced
// and the node goes on without it.
func (s *shardRun) fenced(err error) error {
	if !rotten(err) {
		return err
	}
	s.begun.Store(false)
	s.readMu.Lock()
	s.m = shard.New() // what there is of it must not be taken for all
	s.readMu.Unlock()
	s.tailsMu.Lock()
	clear(s.tails)
	s.tailsMu.Unlock()
	s.fence = fault.New(fault.Damaged, "open", s.name(), "%w", err)
	s.k.damaged(Damage{Shard: s.id, Err: err})
	s.stop(s.fence)
	return nil
}

// mount opens a tail's segment and cuts it to where what the checkpoint carries begins, or to the
// end that it names. Rot fences the tail, and is an error where the tail is the shard's bodies.
func (t *tail) mount() error {
	_, err := t.open()
	if rotten(err) && t.id.Log != shard.Bodies {
		return nil
	}
	t.total = -1
	return err
}

// rotten tells whether an error says that what is on the device cannot be read, by us or by
// anybody.
func rotten(err error) bool {
	return errors.Is(err, storage.ErrCorrupt) || errors.Is(err, storage.ErrVersion)
}

// fence says that the tail's segment is damaged.
func (t *tail) fence(err error) {
	if t.id.Log != shard.Bodies {
		t.broken.CompareAndSwap(nil, &err)
	}
	t.damaged(err)
}

// whole is nil, or why the tail accepts nothing.
func (t *tail) whole() error {
	if err := t.broken.Load(); err != nil {
		return fault.New(fault.Damaged, "append", t.address, "%w", *err)
	}
	return nil
}

// watched is a segment whose rot fences its tail.
type watched struct {
	storage.Segment
	t *tail
}

// openSegment opens the tail's segment, unless that was once found to be damaged.
func (t *tail) openSegment(e storage.Engine) (storage.Segment, error) {
	if err := t.whole(); err != nil {
		return nil, err
	}
	seg, err := e.Segments().Open(t.id)
	if err == nil && e.Durable() { // memory loses no file
		if err = t.fits(seg); err != nil {
			err = errors.Join(err, seg.Close())
		}
	}
	if err != nil {
		return nil, t.told("open", err)
	}
	return watched{seg, t}, nil
}

// fits tells whether a segment reaches to where the checkpoint has its end: that much was synced before
// the checkpoint was saved. A file that is missing between two others is noticed by the segment itself.
func (t *tail) fits(seg storage.Segment) error {
	t.mu.RLock()
	due := t.flushed
	t.mu.RUnlock()
	end := seg.End()
	if end < due {
		return fmt.Errorf("%w: %s ends at offset %d, where the checkpoint has %d: a file is missing, or damaged", storage.ErrCorrupt, t.dir(), end, due)
	}
	bounds := seg.Bounds()
	if end == due || len(bounds) == 0 || bounds[0] >= due {
		return nil
	}
	// What is behind will be cut off. One batch ends there: where none does, it has got a higher offset,
	// which its checksum does not cover, and would be cut off too.
	raw, err := seg.Read(due-1, 0)
	if err != nil {
		return err
	}
	b, _, err := record.Next(raw)
	if err != nil {
		return err
	}
	if b.NextOffset() != due {
		return fmt.Errorf("%w: %s has batch %d-%d, where the checkpoint has one that ends before %d", storage.ErrCorrupt, t.dir(), b.BaseOffset(), b.LastOffset(), due)
	}
	return nil
}

// dir is where the tail's segment is within the data directory.
func (t *tail) dir() string { return fmt.Sprintf("segments/%08x/%016x", uint32(t.id.Shard), t.id.Log) }

// checkBegin looks whether segments have all that the machine wants kept, once the log is
// replayed: what it says was trimmed and settled may have been let go of before a checkpoint
// spoke of it.
func (s *shardRun) checkBegin() error {
	if !s.k.engine.Durable() {
		return nil // memory loses no file
	}
	s.readMu.RLock()
	defer s.readMu.RUnlock()
	for l := range s.m.Logs() {
		t := s.tail(l.ID)
		if t == nil {
			continue
		}
		seg := t.opened()
		if seg == nil {
			continue
		}
		at := seg.Bounds()
		if len(at) == 0 || at[0] <= l.Keep() {
			continue
		}
		err := fmt.Errorf("%w: %s begins at offset %d, and those from %d on are wanted: a file is missing", storage.ErrCorrupt, t.dir(), at[0], l.Keep())
		if l.ID == shard.Bodies {
			return err
		}
		// Nor is the rest read: whoever asks for what is missing would be given what follows it.
		// Fenced first: a checkpoint may be opening it meanwhile.
		t.fence(err)
		t.mu.Lock()
		t.segment = nil
		t.mu.Unlock()
		if err := seg.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (t *tail) told(op string, err error) error {
	if !rotten(err) {
		return err
	}
	t.fence(err)
	return fault.New(fault.Damaged, op, t.address, "%w", err)
}

func (w watched) Append(batches ...[]byte) error {
	return w.t.told("append", w.Segment.Append(batches...))
}
func (w watched) Sync() error                { return w.t.told("sync", w.Segment.Sync()) }
func (w watched) TruncateTo(end int64) error { return w.t.told("truncate", w.Segment.TruncateTo(end)) }

func (w watched) Read(offset int64, maxBytes int) ([]byte, error) {
	b, err := w.Segment.Read(offset, maxBytes)
	return b, w.t.told("read", err)
}

func (w watched) OffsetForTime(from, ms int64) (int64, int64, bool, error) {
	base, latest, ok, err := w.Segment.OffsetForTime(from, ms)
	return base, latest, ok, w.t.told("read", err)
}

func (w watched) SizeFrom(offset int64) (int64, error) {
	n, err := w.Segment.SizeFrom(offset)
	return n, w.t.told("read", err)
}

func (w watched) LastBytes(n int64) (int64, error) {
	offset, err := w.Segment.LastBytes(n)
	return offset, w.t.told("read", err)
}

func (w watched) Roll() error { return w.t.told("roll", w.Segment.Roll()) }

// DropBefore and Rewrite delete nothing of what is damaged.
func (w watched) Rewrite(from, to int64, edit func([]byte) ([]byte, error)) (bool, error) {
	if w.t.broken.Load() != nil {
		return false, nil
	}
	done, err := w.Segment.Rewrite(from, to, edit)
	return done, w.t.told("rewrite", err)
}

func (w watched) DropBefore(offset int64) error {
	if w.t.broken.Load() != nil {
		return nil
	}
	return w.t.told("drop", w.Segment.DropBefore(offset))
}
