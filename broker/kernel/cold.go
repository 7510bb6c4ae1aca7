package kernel

import (
	"sort"
	"sync"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/record"
)

// cold keeps what single records were last read from, of all segments of one shard. Who
// drains a deep queue reads one record after another, and each lies in a batch with
// thousands.
//
// A chunk is what one read of a segment gave: whole batches, one after another. Segments
// are only appended to and cut at their start, so a chunk never becomes wrong.
type cold struct {
	mu     sync.Mutex
	chunks []*chunk // the one used last comes first
	bytes  int
}

type chunk struct {
	t           *tail
	first, next int64 // offsets
	bytes       int
	batches     []tailBatch
}

// Bounds of what one shard keeps of its segments, for readers of single records. The one
// used longest ago goes.
const (
	coldRead   = 256 << 10 // bytes of one read, or one batch
	coldMax    = 16 << 20  // bytes kept; the newest chunk is, whatever its size
	coldChunks = 64
)

// record calls fn with the record of t's segment at offset.
func (c *cold) record(t *tail, offset int64, fn func(r *record.Record, made bool) error) error {
	ch := c.find(t, offset)
	if ch == nil {
		var err error
		if ch, err = readChunk(t, offset); err != nil {
			return err
		}
		if len(ch.batches) > 0 {
			c.add(ch)
		}
	}
	i := sort.Search(len(ch.batches), func(i int) bool { return ch.batches[i].next > offset })
	if i == len(ch.batches) || ch.batches[i].base > offset {
		return fault.New(fault.NotFound, "read record", "", "offset %d is not held", offset)
	}
	return ch.batches[i].record(offset, fn)
}

func readChunk(t *tail, offset int64) (*chunk, error) {
	raw, err := t.readSegment(offset, coldRead)
	if err != nil {
		return nil, err
	}
	ch := &chunk{t: t, bytes: len(raw), first: offset, next: offset}
	for len(raw) > 0 {
		var b record.Batch
		if b, raw, err = record.Next(raw); err != nil {
			return nil, err
		}
		ch.batches = append(ch.batches, tailBatch{base: b.BaseOffset(), next: b.NextOffset(), data: b, index: new(recordIndex)})
	}
	if n := len(ch.batches); n > 0 {
		ch.first, ch.next = min(offset, ch.batches[0].base), ch.batches[n-1].next
	}
	return ch, nil
}

func (c *cold) find(t *tail, offset int64) *chunk {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, ch := range c.chunks {
		if ch.t == t && ch.first <= offset && offset < ch.next {
			copy(c.chunks[1:i+1], c.chunks[:i])
			c.chunks[0] = ch
			return ch
		}
	}
	return nil
}

func (c *cold) add(ch *chunk) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.chunks = append(c.chunks, nil)
	copy(c.chunks[1:], c.chunks)
	c.chunks[0] = ch
	c.bytes += ch.bytes
	for n := len(c.chunks); n > 1 && (n > coldChunks || c.bytes > coldMax); n-- {
		c.bytes -= c.chunks[n-1].bytes
		c.chunks[n-1] = nil
		c.chunks = c.chunks[:n-1]
	}
}
