package kafka

import (
	"time"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/record"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// fetchWaitMax bounds how long a fetch may wait, whatever it asks for: the connection does
	// not notice meanwhile that its peer is gone.
	fetchWaitMax = 5 * time.Minute

	// unreadMax bounds, in bytes, what was read for fetches and not yet taken by their
	// peers. Beyond it a fetch gets no more than unreadMin, so that those who read go on.
	unreadMax = 256 << 20
	unreadMin = 1 << 20

	isolationCommitted = 1
)

// fetching is one Fetch request: which partitions it reads, and what it found.
type fetching struct {
	c         *conn
	version   int16
	h         header
	failed    code  // a planned fault: of everything
	broken    error // a planned fault that ends the connection
	committed bool  // isolation level: read committed
	minBytes  int
	maxBytes  int
	parts     []*fetchPart // in the order in which they share maxBytes
	session   *session     // nil: none, or none any more
	sessionID int32        // to answer with
	// full: every partition is answered, as outside of a session or at its beginning;
	// otherwise those with news.
	full    bool
	leaders leaders       // whom to ask instead
	held    *limits       // nil: there are no quotas
	worked  time.Duration // that reading has taken, where that counts
}

// fetchPart is one partition of a fetch, and, in a session, what its client was told last.
type fetchPart struct {
	topic     string          // v4-12
	id        kernel.StreamID // v13+
	index     int32
	offset    int64
	maxBytes  int32
	epoch     int32 // current leader epoch, as the client knows it; -1: it does not say
	lastEpoch int32 // of the last record it has read; -1 likewise

	// Of the request under way.
	log     *kernel.Partition // nil: missing says why
	missing code
	shard   uint32 // where it lives
	found   partFound
	address string
	leaf    string // address of a view; what follows is for views
	cursor  int64  // where to read on: before it, nothing was found
	cover   []byte // the empty batch that says so

	told partTold
}

// partFound is the answer for one partition.
type partFound struct {
	code       code
	highWater  int64
	lastStable int64
	logStart   int64
	batches    [][]byte
	size       int  // of batches
	idle       bool // batches hold no record, but move a view's reader on
	divergeEnd int64
	diverge    int32 // leader epoch at which the client's log leaves ours; -1: it does not
	leader     currentLeader
}

// partTold is what the client of a session knows of a partition.
type partTold struct {
	code      code
	highWater int64
	logStart  int64
}

// fetch answers a Fetch request, waiting until there is as much as it asks for.
func (c *conn) fetch(h header, body []byte, failed code) error {
	q := kmsg.NewPtrFetchRequest()
	q.Version = h.version
	if err := c.srv.decodes.decode(q, body); err != nil {
		return failf(BadRequest, "Fetch version %d: %w", h.version, err)
	}
	c.frames.done() // nothing of it is needed while we wait
	f := &fetching{
		c: c, version: h.version, committed: q.IsolationLevel == isolationCommitted,
		minBytes: max(int(q.MinBytes), 0), maxBytes: min(max(int(q.MaxBytes), 0), c.srv.cfg.FetchMax),
	}
	f.maxBytes = min(f.maxBytes, max(unreadMin, unreadMax-int(c.srv.unread.Load())))
	if f.held = c.held(); f.held != nil && f.held.fetch.rate > 0 {
		f.maxBytes = min(f.maxBytes, f.held.fetch.rate)
	}
	if f.minBytes > f.maxBytes {
		f.minBytes = f.maxBytes
	}
	if code := c.srv.sessions.begin(f, q); code != codeNone {
		c.respondFetch(h, f, code)
		return nil
	}
	f.h, f.failed = h, failed
	f.wait(min(time.Duration(max(q.MaxWaitMillis, 0))*time.Millisecond, fetchWaitMax))
	if f.broken != nil {
		return f.broken
	}
	c.respondFetch(h, f, codeNone)
	if f.session != nil {
		f.session.end(f)
	}
	return nil
}

// wait reads until there are minBytes, an error, or no time left. It is woken by the
// partitions, not by a clock.
func (f *fetching) wait(most time.Duration) {
	f.open()
	if f.read() || most == 0 || len(f.parts) == 0 {
		return
	}
	over := make(chan struct{})
	timer := f.c.srv.cfg.Link.AfterFunc(most, func() { close(over) })
	defer timer.Stop()
	for {
		w := kernel.NewWaiter()
		for _, p := range f.parts {
			p.log.Watch(p.found.highWater, w)
		}
		if f.moved() {
			w.Close()
			f.read()
			return
		}
		select {
		case <-w.C:
			w.Close()
			if f.read() {
				return
			}
		case <-over:
			w.Close()
			f.read()
			return
		case <-f.c.ctx.Done():
			w.Close()
			return
		}
	}
}

// moved tells whether one of the partitions is led by another node by now. Who watches them is
// woken when that happens: it is asked once they are watched.
func (f *fetching) moved() bool {
	for _, p := range f.parts {
		if !p.log.Leads() {
			return true
		}
	}
	return false
}

// open looks the partitions up, each topic once. It is done anew for every request: a
// topic may have been deleted, or a view have become a stream.
func (f *fetching) open() {
	var t topic
	known := false
	for i, p := range f.parts {
		if i == 0 || !p.sameTopic(f.parts[i-1], f.version) {
			if f.version >= 13 {
				t, known = f.c.srv.topicByID(p.id)
			} else {
				t, known = f.c.srv.topicByName(p.topic)
			}
		}
		p.log, p.leaf, p.missing, p.shard = nil, t.leaf, codeNone, 0
		if !known {
			p.missing = codeUnknownTopicID
			if f.version < 13 {
				p.missing = f.c.absent(acl.Read, p.topic)
			}
			continue
		}
		p.address = t.address()
		p.shard, _ = t.shardOf(p.index)
		var err error
		if p.log, err = f.c.srv.partition(&t, p.index); err != nil {
			p.missing = codeOf(err)
		}
	}
	f.disturb()
}

// disturb has partitions fail as the plan of faults says: each topic is asked about once.
func (f *fetching) disturb() {
	if f.failed == codeNone && !f.c.srv.cfg.Chaos.On(chaos.Kafka) {
		return
	}
	failed := f.failed
	for i, p := range f.parts {
		if f.failed == codeNone && (i == 0 || !p.sameTopic(f.parts[i-1], f.version)) {
			var err error
			if failed, err = f.c.disturbTopic(f.h, p.address); err != nil {
				f.broken = err
				return
			}
		}
		if failed != codeNone {
			p.missing = failed
		}
	}
}

// read reads every partition and tells whether the answer can leave.
func (f *fetching) read() (enough bool) {
	if f.held != nil {
		defer func(since time.Time) { f.worked += time.Since(since) }(time.Now())
	}
	left, total, minOne := f.maxBytes, 0, true
	f.leaders = leaders{}
	for _, p := range f.parts {
		p.found = f.readPart(p, min(left, int(p.maxBytes)), minOne)
		if c := p.found.code; f.version >= 16 && (c == codeNotLeader || c == codeFencedEpoch) {
			p.found.leader = f.leaders.of(f.c, p.shard)
		}
		if p.found.code != codeNone || p.found.diverge >= 0 {
			enough = true
		}
		if p.found.size > 0 {
			minOne = false
		}
		if !p.found.idle {
			total += p.found.size
		}
		left = max(left-p.found.size, 0)
	}
	return enough || total >= f.minBytes
}

// readPart reads one partition. most bounds the bytes; minOne lets the first batch pass it.
func (f *fetching) readPart(p *fetchPart, most int, minOne bool) partFound {
	if p.missing != codeNone {
		return notFound(p.missing)
	}
	if !f.c.may(acl.Read, acl.Address, p.address) { // each time: the rules may change while it waits
		return notFound(codeTopicDenied)
	}
	if c := f.c.srv.answers(p.log, p.epoch); c != codeNone {
		return notFound(c)
	}
	info := p.log.Info()
	if p.offset > info.End { // it may have been told of that by a node that is ahead of this one
		if c := f.c.newest(p.log, p.epoch); c != codeNone {
			return notFound(c)
		}
		info = p.log.Info()
	}
	found := partFound{highWater: info.End, lastStable: info.LastStable, logStart: info.Start, diverge: -1, leader: noLeader}
	if p.lastEpoch >= 0 && p.lastEpoch < info.LeaderEpoch {
		epoch, end, err := epochEnd(p.log, p.lastEpoch)
		switch {
		case err != nil:
			return notFound(codeOf(err))
		case end < p.offset:
			found.diverge, found.divergeEnd = epoch, end
			return found
		}
	}
	if most <= 0 && !minOne {
		if p.offset < info.Start || p.offset > info.End {
			found.code = codeOffsetOutOfRange
		}
		return found
	}
	if p.leaf != "" {
		return f.readView(p, most, found)
	}
	r, err := p.log.Read(p.offset, most, "", minOne)
	if err != nil {
		return notFound(codeOf(err))
	}
	found.highWater, found.lastStable, found.logStart = r.HighWater, r.LastStable, r.LogStart
	found.batches = r.Batches
	if f.committed && r.LastStable < r.HighWater {
		found.batches = stable(r.Batches, r.LastStable)
	}
	for _, b := range found.batches {
		found.size += len(b)
	}
	return found
}

// readView reads the records of one address. What was scanned in vain is not scanned again
// while the request waits, does not end the wait, and is told in the end, as an empty
// batch up to there, so that the reader's lag reaches zero.
func (f *fetching) readView(p *fetchPart, most int, found partFound) partFound {
	r, err := p.log.Read(max(p.offset, p.cursor), most, p.leaf, true)
	if err != nil {
		return notFound(codeOf(err))
	}
	found.highWater, found.lastStable, found.logStart = r.HighWater, r.LastStable, r.LogStart
	found.batches = r.Batches
	if len(r.Batches) == 1 {
		if b, _, err := record.Next(r.Batches[0]); err == nil && b.Count() == 0 {
			p.cursor, p.cover, found.idle = r.Next, b, true
		}
	}
	if len(r.Batches) == 0 && p.cover != nil {
		found.batches, found.idle = [][]byte{p.cover}, true
	}
	for _, b := range found.batches {
		found.size += len(b)
	}
	return found
}

func notFound(c code) partFound {
	return partFound{code: c, highWater: -1, lastStable: -1, logStart: -1, diverge: -1, leader: noLeader}
}

// checkEpoch compares the leader epoch that a client knows with ours (KIP-320).
func checkEpoch(theirs, ours int32) code {
	switch {
	case theirs < 0 || theirs == ours:
		return codeNone
	case theirs < ours:
		return codeFencedEpoch
	}
	return codeUnknownEpoch
}

// stable keeps the batches below the last stable offset. Each element may hold several.
func stable(batches [][]byte, end int64) [][]byte {
	for i, all := range batches {
		for rest := all; len(rest) > 0; {
			b, after, err := record.Next(rest)
			if err != nil || b.BaseOffset() >= end {
				kept := batches[:i:i]
				if n := len(all) - len(rest); n > 0 {
					kept = append(kept, all[:n])
				}
				return kept
			}
			rest = after
		}
	}
	return batches
}

// epochEnd finds the largest leader epoch in the log that is at most epoch, and the offset
// at which the next one begins. Batches carry their epoch and epochs only grow, so it
// is a binary search over offsets. -1, and the log's start: there is none.
func epochEnd(part *kernel.Partition, epoch int32) (found int32, end int64, err error) {
	info := part.Info()
	if epoch >= info.LeaderEpoch {
		return info.LeaderEpoch, info.End, nil
	}
	found = -1
	low, high := info.Start, info.End // every batch below low is of epoch or before; from high on, after it
	for low < high {
		mid := low + (high-low)/2
		r, err := part.Read(mid, 1, "", true)
		if err != nil {
			return 0, 0, err
		}
		b, _, err := firstBatch(r.Batches)
		if err != nil {
			high = mid // nothing at or after mid
			continue
		}
		if b.LeaderEpoch() <= epoch {
			found = max(found, b.LeaderEpoch())
			low = max(b.NextOffset(), mid+1)
		} else {
			high = mid
		}
	}
	return found, low, nil
}

func firstBatch(batches [][]byte) (record.Batch, []byte, error) {
	if len(batches) == 0 {
		return nil, nil, record.ErrShort
	}
	return record.Next(batches[0])
}

// news tells whether a session's client must be told of a partition.
func (p *fetchPart) news() bool {
	return p.found.size > 0 || p.found.code != codeNone || p.found.diverge >= 0 || p.told.code != codeNone ||
		p.found.highWater != p.told.highWater || p.found.logStart != p.told.logStart
}
