package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/record"
)

// ring is a stream that keeps its newest ringBytes. One client writes to it, one record after
// another.
const (
	ring      = "ring"
	ringBytes = 6 << 10
	ringValue = 400 // bytes of a value, at most
	ringBatch = ringValue + 200
)

// ringModel is what was sent, in order. It grows at one end and never gives back at the other.
type ringModel struct {
	sent  []string // what is at each offset; the last may not be there
	acked int64    // offset up to which all was acknowledged
	start int64    // least first offset that may be seen
}

// createRing makes the stream, unless an earlier life has.
func createRing(ctx context.Context, n *node) error {
	if _, ok := n.Stream("/", ring); ok {
		return nil
	}
	_, err := n.CreateStream(ctx, kernel.StreamSpec{Namespace: "/", Address: ring, Partitions: 1, Exact: true, Config: map[string]string{
		"cleanup.policy": "delete", "retention.bytes": fmt.Sprint(ringBytes), "retention.ms": "-1",
	}})
	return err
}

// appendRing appends one record after another, and lets time pass so that the oldest go.
func (c *client) appendRing(ctx context.Context, rnd *rand.Rand) {
	m := c.sim.model
	st, ok := c.node.Stream("/", ring)
	if !ok {
		return // the power was off before it was made
	}
	p, err := c.node.Partition(st.ID, 0)
	if err != nil {
		return
	}
	for i := range c.ops {
		id := fmt.Sprintf("%s-ring.%d", c.name, i)
		m.mu.Lock()
		m.ring.sent = append(m.ring.sent, id)
		at := int64(len(m.ring.sent)) - 1
		m.mu.Unlock()
		var b record.Builder
		b.Reset(nil, c.node.time.Now().UnixMilli())
		b.Add(c.node.time.Now().UnixMilli(), nil, fill(id, rnd.IntN(ringValue)))
		reply := make(chan kernel.AppendResult, 1)
		p.Append(b.Finish(), -1, appended(func(r kernel.AppendResult) { reply <- r }), 0)
		select {
		case r := <-reply:
			if r.Err != nil {
				return
			}
			m.mu.Lock()
			if r.BaseOffset != at {
				m.breach("stream %s: %s is at %d, %d is due", ring, id, r.BaseOffset, at)
			}
			m.ring.acked = at + 1
			m.mu.Unlock()
		case <-c.node.disk.dark:
			return
		case <-ctx.Done():
			return
		}
		if rnd.IntN(5) == 0 {
			c.node.time.Advance(1500 * time.Millisecond)
		}
	}
}

// check: from its first offset to its last the stream has what was sent there, up to what was
// acknowledged at least, and never less than ringBytes once it had more.
func (r *ringModel) check(n *node) error {
	st, ok := n.Stream("/", ring)
	if !ok {
		if len(r.sent) > 0 {
			return fmt.Errorf("it is gone")
		}
		return nil
	}
	p, err := n.Partition(st.ID, 0)
	if err != nil {
		return err
	}
	info := p.Info()
	switch {
	case info.Start < r.start:
		return fmt.Errorf("it began at %d and begins at %d", r.start, info.Start)
	case info.End < r.acked:
		return fmt.Errorf("it ends at %d, and %d was acknowledged", info.End, r.acked-1)
	case info.End > int64(len(r.sent)):
		return fmt.Errorf("it ends at %d, and %d were sent", info.End, len(r.sent))
	}
	due, bytes := info.Start, 0
	for off := info.Start; off < info.End; {
		got, err := p.Read(off, 4<<10, "", true)
		if err != nil {
			return fmt.Errorf("at %d: %w", off, err)
		}
		if got.Next <= off {
			return fmt.Errorf("a reader stands still at %d of %d", off, info.End)
		}
		for _, raw := range got.Batches {
			for len(raw) > 0 {
				b, rest, err := record.Check(raw, len(raw))
				if err != nil {
					return fmt.Errorf("at %d: %w", off, err)
				}
				raw = rest
				if b.BaseOffset() < due {
					continue // the batch that the first offset lies in
				}
				bytes += len(b)
				if err := b.Each(func(rec *record.Record) error {
					if id := idOf(rec.Value); rec.Offset != due || id != r.sent[due] {
						return fmt.Errorf("%q at %d; %q is due at %d", id, rec.Offset, r.sent[due], due)
					}
					due++
					return nil
				}); err != nil {
					return err
				}
			}
		}
		off = got.Next
	}
	if due != info.End {
		return fmt.Errorf("it has records up to %d, and ends at %d", due, info.End)
	}
	if info.Start > 0 && bytes+ringBatch < ringBytes {
		return fmt.Errorf("%d bytes are left, from %d on; %d are to be kept", bytes, info.Start, ringBytes)
	}
	if n.disk.stopped() {
		return nil // something may be on its way still
	}
	r.start = info.Start
	// What nobody was told of and is there counts from here on; what is not will never be.
	r.sent, r.acked = r.sent[:info.End], info.End
	return nil
}
