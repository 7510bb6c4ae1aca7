package kafka

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/wire"
)

// produce is one Produce request. It goes through three steps on the connection's
// goroutine: parse, which refuses a malformed request before anything has happened;
// judge, which finds each partition and validates its batch (validate.go); start, which
// hands the batches to the kernel.
//
// The answer is written before the appends begin: everything in it is known but the
// outcome of each, which has a place of fixed width. An append's tag is the position of
// its place, so the kernel's callback stores four numbers and counts down; the last one
// hands the frame to the connection, which sends it in its turn.
//
// Ownership: the connection's goroutine until start; then each callback its own place in
// frame, and whoever counts left to zero the rest.
type produce struct {
	c       *conn
	h       header
	acks    int16
	timeout time.Duration // how long the client would have an append take
	topics  []produceTopic
	parts   []producePart // of all topics, in order
	frame   []byte        // the answer
	size    int           // bytes of the request
	refused code          // the first error of any partition
	broken  error         // a planned fault that ends the connection
	hold    hold

	throttleAt int           // where in frame the time to be silent is; version 1+
	silent     time.Duration // for which the client is to be, for its quotas

	left atomic.Int32 // appends under way, and one while they are being started
	done bool         // guarded by conn.mu

	reader  record.Reader
	leaders leaders // whom to ask instead
	errors  []recordError
	message string
}

type produceTopic struct {
	name  []byte          // v0-12; aliases the request
	id    kernel.StreamID // v13+
	parts int
}

type producePart struct {
	index   int32
	records []byte
	batch   record.Batch      // to be appended; nil when it was refused
	to      *kernel.Partition // where
	place   int               // of the outcome in frame
}

// noTransactions answers who wants a transaction. Nobody may use a transactional id, which
// is what Kafka says with this code, and, of what it could say, what makes every client
// stop at once instead of asking again.
const noTransactions = codeTxnDenied

var produces = sync.Pool{New: func() any { return new(produce) }}

// What of a produce is kept for the next, at most.
const (
	keptAnswer = 64 << 10
	keptParts  = 1 << 10
)

func takeProduce(c *conn, h header, size int) *produce {
	p := produces.Get().(*produce)
	p.c, p.h, p.size = c, h, size
	p.refused, p.done, p.silent = codeNone, false, 0
	return p
}

func giveProduce(p *produce) {
	if cap(p.frame) > keptAnswer || cap(p.parts) > keptParts || cap(p.topics) > keptParts {
		return
	}
	clear(p.topics)
	clear(p.parts)
	p.leaders = leaders{}
	p.c, p.frame, p.topics, p.parts = nil, p.frame[:0], p.topics[:0], p.parts[:0]
	p.h, p.message, p.broken = header{}, "", nil
	produces.Put(p)
}

// produce answers a Produce request, or starts to.
func (c *conn) produce(h header, body []byte, failed code) error {
	p := takeProduce(c, h, len(body))
	held, since := c.held(), time.Time{}
	if held != nil {
		since = time.Now()
	}
	transactional, ok := p.parse(body)
	if !ok {
		giveProduce(p)
		return failf(BadRequest, "Produce version %d: %w", h.version, errMalformed)
	}
	p.traceProduce()
	all := failed
	switch {
	case failed != codeNone:
	case p.acks < -1 || p.acks > 1:
		all = codeInvalidAcks
	case h.version < 3:
		all = codeUnsupportedFormat
	case transactional:
		all = noTransactions
	}
	p.judge(all)
	if err := p.broken; err != nil {
		giveProduce(p)
		return err
	}
	if c.lost.Load() {
		defer func() { c.settle(); wire.Reset(c.nc) }()
	}
	if held != nil {
		now := c.srv.cfg.Link.Now()
		p.silent = max(held.produce.take(now, len(body), silenceMax), held.worked(now, since))
		c.silent = p.silent
	}
	if p.acks == 0 {
		p.startUnanswered()
		refused := p.refused
		giveProduce(p)
		if refused != codeNone {
			// There is no answer to put an error in. Kafka closes the connection, so that the
			// producer asks for metadata again.
			return failf(Unanswerable, "error code %d", refused)
		}
		return nil
	}
	c.enqueue(p)
	p.start()
	return nil
}

// parse splits the request.
func (p *produce) parse(body []byte) (transactional, ok bool) {
	in := parser{b: body}
	flexible := p.h.version >= 9
	if p.h.version >= 3 {
		transactional = in.string(flexible) != nil
	}
	p.acks = in.i16()
	// It bounds how long the request is held; once let in, an append takes as long as its
	// commit does.
	p.timeout = time.Duration(in.i32()) * time.Millisecond
	const topicMin, partitionMin = 3, 5
	for n := in.array(flexible, topicMin); n > 0; n-- {
		var t produceTopic
		if p.h.version >= 13 {
			copy(t.id[:], in.take(len(t.id)))
		} else {
			t.name = in.string(flexible)
		}
		t.parts = in.array(flexible, partitionMin)
		for range t.parts {
			part := producePart{index: in.i32(), records: in.bytes(flexible)}
			in.tags(flexible)
			if in.bad {
				return false, false
			}
			p.parts = append(p.parts, part)
		}
		in.tags(flexible)
		if in.bad {
			return false, false
		}
		p.topics = append(p.topics, t)
	}
	in.tags(flexible)
	return transactional, !in.bad
}

// judge validates every partition and writes the answer, with the outcome of what is to
// be appended left open. all, when not 0, is the error of every partition.
func (p *produce) judge(all code) {
	v := p.h.version
	flexible := v >= 9
	f := append(p.frame[:0], 0, 0, 0, 0)
	f = binary.BigEndian.AppendUint32(f, uint32(p.h.correlation))
	if flexible {
		f = append(f, 0)
	}
	f = appendArrayLen(f, len(p.topics), flexible)
	at := 0
	p.leaders = leaders{}
	for i := range p.topics {
		t := &p.topics[i]
		var found produceTarget
		missing := all
		if missing == codeNone {
			missing = p.find(t, &found)
		}
		if missing == codeNone && p.c.srv.cfg.Chaos.On(chaos.Kafka) {
			missing, p.broken = p.c.disturbTopic(p.h, found.topic.address())
		}
		if v >= 13 {
			f = append(f, t.id[:]...)
		} else {
			f = appendString(f, t.name, flexible)
		}
		f = appendArrayLen(f, t.parts, flexible)
		for range t.parts {
			part := &p.parts[at]
			at++
			p.errors, p.message = p.errors[:0], ""
			c, stamp := missing, int64(-1)
			if c == codeNone {
				c, stamp = p.validate(&found, part)
			}
			if c != codeNone {
				part.batch = nil
				if p.refused == codeNone {
					p.refused = c
				}
			}
			f = binary.BigEndian.AppendUint32(f, uint32(part.index))
			part.place = len(f)
			f = appendOutcome(f, v, c, -1, stamp, -1)
			if v >= 8 {
				f = p.appendErrors(f, flexible)
			}
			if flexible {
				f = p.appendLeader(f, c, &found, part)
			}
		}
		if flexible {
			f = append(f, 0)
		}
	}
	if v >= 1 {
		p.throttleAt = len(f)
		f = binary.BigEndian.AppendUint32(f, 0)
	}
	if flexible {
		f = p.leaders.appendTags(f)
	}
	binary.BigEndian.PutUint32(f, uint32(len(f)-4))
	p.frame = f
	p.reader.Forget()
}

// appendLeader writes the tagged fields of a partition: from version 10 on, who leads it, when that
// is another node.
func (p *produce) appendLeader(f []byte, c code, t *produceTarget, part *producePart) []byte {
	if c != codeNotLeader || p.h.version < 10 || t.topic.stream == nil { // planned to fail, it was not looked for
		return append(f, 0)
	}
	shard, ok := t.topic.shardOf(part.index)
	if !ok {
		return append(f, 0)
	}
	l := p.leaders.of(p.c, shard)
	if l == noLeader {
		return append(f, 0)
	}
	return l.append(append(f, 1), 0)
}

// appendOutcome writes what an append comes to: error code, base offset, and from
// versions 2 and 5 on, append time and log start.
func appendOutcome(f []byte, version int16, c code, base, stamp, start int64) []byte {
	be := binary.BigEndian
	f = be.AppendUint16(f, uint16(c))
	f = be.AppendUint64(f, uint64(base))
	if version >= 2 {
		f = be.AppendUint64(f, uint64(stamp))
	}
	if version >= 5 {
		f = be.AppendUint64(f, uint64(start))
	}
	return f
}

// recordError says which record is why a batch was refused (KIP-467).
type recordError struct {
	index   int32
	message string
}

func (p *produce) appendErrors(f []byte, flexible bool) []byte {
	f = appendArrayLen(f, len(p.errors), flexible)
	for _, e := range p.errors {
		f = binary.BigEndian.AppendUint32(f, uint32(e.index))
		f = appendString(f, e.message, flexible)
		if flexible {
			f = append(f, 0)
		}
	}
	if p.message == "" {
		if flexible {
			return append(f, 0) // null
		}
		return append(f, 0xff, 0xff)
	}
	return appendString(f, p.message, flexible)
}

// start hands the batches to the kernel.
func (p *produce) start() {
	n := int32(1)
	for i := range p.parts {
		if p.parts[i].batch != nil {
			n++
		}
	}
	p.left.Store(n)
	for i := range p.parts {
		if part := &p.parts[i]; part.batch != nil {
			if err := p.append(part, p); err != nil {
				p.Appended(uint64(part.place), kernel.AppendResult{Err: err})
				continue
			}
			p.c.srv.countProduced(part.batch)
		}
	}
	p.endHold()
	p.countDown()
}

func (p *produce) startUnanswered() {
	for i := range p.parts {
		if part := &p.parts[i]; part.batch != nil {
			if err := p.append(part, nil); err != nil {
				p.refused = appendCode(err)
				continue
			}
			p.c.srv.countProduced(part.batch)
		}
	}
	p.endHold()
}

func (s *Server) countProduced(b record.Batch) {
	s.Stats.Batches.Add(1)
	s.Stats.Produced.Add(uint64(b.Count()))
	s.Stats.ProducedSize.Add(uint64(len(b)))
}

// Appended implements kernel.Appended.
func (p *produce) Appended(tag uint64, r kernel.AppendResult) {
	if r.Err == nil && p.c.srv.cfg.Trace.On() {
		for i := range p.parts {
			if part := &p.parts[i]; part.batch != nil && part.place == int(tag) {
				p.traceAppended(part, r.BaseOffset)
			}
		}
	}
	place := p.frame[tag:tag:len(p.frame)]
	stamp := int64(-1)
	if p.h.version >= 2 && r.Err == nil {
		if stamp = r.LogAppend; stamp < 0 { // ours, if any
			stamp = int64(binary.BigEndian.Uint64(p.frame[tag+10:]))
		}
	}
	if r.Err != nil {
		appendOutcome(place, p.h.version, appendCode(r.Err), -1, -1, -1)
	} else {
		appendOutcome(place, p.h.version, codeNone, r.BaseOffset, stamp, r.LogStart)
	}
	p.countDown()
}

func (p *produce) countDown() {
	if p.left.Add(-1) == 0 {
		p.throttle()
		p.c.finished(p)
	}
}
