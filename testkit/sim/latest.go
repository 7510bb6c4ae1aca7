package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/record"
)

// latest is a compacted stream of one partition. One client writes to it, and lets time
// pass meanwhile, so that files end, are compacted and joined, while the power may go.
const latest = "latest"

// latestKeys is how many keys it has: few, so that most records are outdated soon.
const latestKeys = 5

// createLatest makes the stream, unless an earlier life has.
func createLatest(ctx context.Context, n *node) error {
	if _, ok := n.Stream("/", latest); ok {
		return nil
	}
	_, err := n.CreateStream(ctx, kernel.StreamSpec{Namespace: "/", Address: latest, Partitions: 1, Exact: true, Config: map[string]string{
		"cleanup.policy": "compact", "segment.ms": "1000", "min.cleanable.dirty.ratio": "0.1", "retention.ms": "1",
	}})
	return err
}

// overwritten tells what became of one append.
type overwritten chan error

func (a overwritten) Appended(_ uint64, r kernel.AppendResult) { a <- r.Err }

// overwrite appends one record after another.
func (c *client) overwrite(ctx context.Context, rnd *rand.Rand) {
	m := c.sim.model
	st, ok := c.node.Stream("/", latest)
	if !ok {
		return // the power was off before it was made
	}
	p, err := c.node.Partition(st.ID, 0)
	if err != nil {
		return
	}
	for i := range c.ops {
		key := fmt.Sprint("k", rnd.IntN(latestKeys))
		s := &sent{id: fmt.Sprintf("%s.%s.%d", c.name, key, i)}
		m.mu.Lock()
		if m.latest[key] == nil {
			m.latest[key] = new(retainedModel)
		}
		m.latest[key].sent = append(m.latest[key].sent, s)
		n := len(m.latest[key].sent)
		m.mu.Unlock()

		var b record.Builder
		b.Reset(nil, c.node.time.Now().UnixMilli())
		b.Add(c.node.time.Now().UnixMilli(), []byte(key), []byte(s.id))
		batch := b.Finish()
		if codec := record.Codec(rnd.IntN(5)); codec != record.None {
			if batch, err = record.Recompress(nil, batch, codec); err != nil {
				panic(err) // it was built here
			}
		}
		reply := make(overwritten, 1)
		p.Append(batch, -1, reply, 0)
		select {
		case err := <-reply:
			if err != nil {
				return
			}
			m.mu.Lock()
			m.latest[key].acked = n
			m.mu.Unlock()
		case <-c.node.disk.dark:
			return
		case <-ctx.Done():
			return
		}
		if rnd.IntN(6) == 0 {
			c.node.time.Advance(1500 * time.Millisecond)
		}
	}
}

// checkLatest holds the compacted stream against what was sent: of each key the last
// record is the last that was acknowledged or a later one, whatever else is gone.
func (m *model) checkLatest(n *node) error {
	st, ok := n.Stream("/", latest)
	if !ok {
		if len(m.latest) > 0 {
			return fmt.Errorf("it is gone")
		}
		return nil
	}
	p, err := n.Partition(st.ID, 0)
	if err != nil {
		return err
	}
	last, before := make(map[string]string), int64(-1)
	info := p.Info()
	if info.Start != 0 {
		return fmt.Errorf("it begins at %d", info.Start)
	}
	for off := info.Start; off < info.End; {
		r, err := p.Read(off, 4<<10, "", true)
		if err != nil {
			return err
		}
		for _, raw := range r.Batches {
			for len(raw) > 0 {
				b, rest, err := record.Check(raw, len(raw))
				if err != nil {
					return err
				}
				raw = rest
				err = b.Each(func(rec *record.Record) error {
					if rec.Offset < off {
						return nil
					}
					if rec.Offset <= before {
						return fmt.Errorf("offset %d after %d", rec.Offset, before)
					}
					last[string(rec.Key)], before = string(rec.Value), rec.Offset
					return nil
				})
				if err != nil {
					return err
				}
			}
		}
		if r.Next <= off {
			return fmt.Errorf("a reader stands still at offset %d of %d", off, info.End)
		}
		off = r.Next
	}
	for _, key := range sortedKeys(m.latest) {
		r := m.latest[key]
		got, ok := last[key]
		at := slices.IndexFunc(r.sent, func(s *sent) bool { return s.id == got })
		switch {
		case !ok && r.acked > 0:
			m.lost++
			return fmt.Errorf("%s is gone; it was %s", key, r.sent[r.acked-1].id)
		case ok && at < 0:
			return fmt.Errorf("%s is %q, which nobody sent", key, got)
		case ok && at+1 < r.acked:
			m.lost++
			return fmt.Errorf("%s is %s; %s was acknowledged later", key, got, r.sent[r.acked-1].id)
		}
	}
	return nil
}
