package kafka

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/wire"
)

// respondFetch writes a Fetch response. What stands between the record batches is encoded
// into one buffer; the batches themselves go to the socket from where the kernel keeps
// them.
//
// A response: throttle i32, error i16 (v7+), session i32 (v7+), then topics: name, or id
// (v13+), and partitions: index i32, error i16, high watermark i64, last stable offset
// i64, log start i64 (v5+), aborted transactions, preferred replica i32 (v11+), records;
// from v12 on every structure ends in tags, a partition's being 0: diverging epoch, and 1:
// current leader (v16+), the answer's 0: those leaders.
func (c *conn) respondFetch(h header, f *fetching, top code) {
	if c.lost.Load() {
		wire.Reset(c.nc)
		return
	}
	flexible := h.version >= 12
	b := wire.Get(1 << 10)
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(h.correlation))
	if flexible {
		b = append(b, 0)
	}
	throttleAt := len(b)
	b = binary.BigEndian.AppendUint32(b, 0)
	if h.version >= 7 {
		b = binary.BigEndian.AppendUint16(b, uint16(top))
		b = binary.BigEndian.AppendUint32(b, uint32(f.sessionID))
	}

	parts := f.parts
	if top != codeNone {
		parts = nil
	}
	told := make([]*fetchPart, 0, len(parts))
	records := 0
	for _, p := range parts {
		if f.full || p.news() {
			told = append(told, p)
			records += p.found.size
		}
	}
	told = grouped(told, h.version)
	// The batches are spliced in at these positions of b.
	type splice struct {
		at int
		p  *fetchPart
	}
	var splices []splice
	topics := 0
	for i := range told {
		if i == 0 || !told[i].sameTopic(told[i-1], h.version) {
			topics++
		}
	}
	b = appendArrayLen(b, topics, flexible)
	for i := 0; i < len(told); {
		n := 1
		for i+n < len(told) && told[i+n].sameTopic(told[i], h.version) {
			n++
		}
		if h.version >= 13 {
			b = append(b, told[i].id[:]...)
		} else {
			b = appendString(b, told[i].topic, flexible)
		}
		b = appendArrayLen(b, n, flexible)
		for _, p := range told[i : i+n] {
			b = appendPartition(b, h.version, p, f.committed)
			if p.found.size > 0 {
				splices = append(splices, splice{len(b), p})
			}
			if flexible {
				b = appendPartitionTags(b, p)
			}
		}
		if flexible {
			b = append(b, 0)
		}
		i += n
	}
	if flexible {
		b = f.leaders.appendTags(b)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4+records))
	if f.held != nil {
		now := c.srv.cfg.Link.Now()
		c.silent = max(f.held.fetch.take(now, records, silenceMax), f.held.request.take(now, int(f.worked), requestSilenceMax))
		throttleFrame(b, throttleAt, c.silent)
	}

	// The outbox has room: it is let run empty before, and one response fits.
	if c.out.Buffered() > 0 {
		c.out.Wait()
	}
	c.srv.unread.Add(int64(records))
	from := 0
	for _, s := range splices {
		c.out.Hold(func(dst []byte) []byte { return append(dst, b[from:s.at]...) })
		from = s.at
		n, size := int32(len(s.p.found.batches)), int64(s.p.found.size)
		left := new(atomic.Int32)
		left.Store(n)
		taken := func() {
			if left.Add(-1) == 0 {
				c.srv.unread.Add(-size)
			}
		}
		for _, batch := range s.p.found.batches {
			c.srv.Stats.Fetched.Add(recordsIn(batch))
			if !c.out.WriteRef(batch, taken) {
				taken()
			}
		}
	}
	c.out.Hold(func(dst []byte) []byte { return append(dst, b[from:]...) })
	c.out.Flush()
	c.srv.Stats.BytesOut.Add(uint64(len(b) + records))
	if c.srv.cfg.Trace.On() {
		for _, s := range splices {
			c.traceFetched(h, s.p)
		}
		c.traceResponse(h, len(b)+records, silence(c.silent))
	}
	c.srv.Stats.FetchedSize.Add(uint64(records))
	wire.Put(b)
}

// recordsIn counts the records of batches that stand one after another.
func recordsIn(raw []byte) (n uint64) {
	for len(raw) > 0 {
		b, rest, err := record.Next(raw)
		if err != nil {
			break
		}
		n += uint64(b.Count())
		raw = rest
	}
	return n
}

func (p *fetchPart) sameTopic(q *fetchPart, version int16) bool {
	if version >= 13 {
		return p.id == q.id
	}
	return p.topic == q.topic
}

// appendPartition writes a partition up to and with the length of its records.
func appendPartition(b []byte, version int16, p *fetchPart, committed bool) []byte {
	be := binary.BigEndian
	flexible := version >= 12
	b = be.AppendUint32(b, uint32(p.index))
	b = be.AppendUint16(b, uint16(p.found.code))
	b = be.AppendUint64(b, uint64(p.found.highWater))
	b = be.AppendUint64(b, uint64(p.found.lastStable))
	if version >= 5 {
		b = be.AppendUint64(b, uint64(p.found.logStart))
	}
	// Aborted transactions: none, which is null unless the reader asked for them.
	aborted := -1
	if committed && p.found.code == codeNone {
		aborted = 0
	}
	b = appendArrayLen(b, aborted, flexible)
	if version >= 11 {
		b = be.AppendUint32(b, ^uint32(0)) // preferred replica: -1
	}
	return appendArrayLen(b, p.found.size, flexible)
}

func appendPartitionTags(b []byte, p *fetchPart) []byte {
	n := len(b)
	b = append(b, 0) // how many there are
	if p.found.diverge >= 0 {
		b[n]++
		b = append(b, 0, 13) // tag 0, of 13 bytes
		b = binary.BigEndian.AppendUint32(b, uint32(p.found.diverge))
		b = binary.BigEndian.AppendUint64(b, uint64(p.found.divergeEnd))
		b = append(b, 0)
	}
	if p.found.leader != noLeader {
		b[n]++
		b = p.found.leader.append(b, 1)
	}
	return b
}
