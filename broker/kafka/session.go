package kafka

import (
	"container/list"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// This file keeps fetch sessions (KIP-227): a client names its partitions once, then
// only what changes, and is answered with only what has news.
//
// A request says where it stands by session id and epoch: epoch -1, or id and epoch 0,
// is a fetch without a session or one that begins one; otherwise the epoch is the one
// after the last answer's, or the two have lost each other and the client begins again.

const (
	// heldMax bounds the partitions of all sessions together, at some 300 bytes each. A
	// client that would pass it fetches without a session.
	heldMax = 500_000
	// sessionIdle is how long a session must have been unused before another may take its
	// slot, as min.incremental.fetch.session.eviction.ms.
	sessionIdle = 2 * time.Minute
)

// Epochs of a request that are no session's.
const (
	epochInitial = 0
	epochFinal   = -1
)

// sessions holds the sessions of a Server, at most slots of them.
//
// Ownership: mu guards byID and order, and which session a request may use: a session
// in use is busy, and then of the one fetch that runs it.
type sessions struct {
	slots int
	clock clock.Clock
	open  *atomic.Int64
	held  atomic.Int64 // partitions of all sessions, those that were dropped while busy included

	mu    sync.Mutex
	byID  map[int32]*list.Element
	order list.List // of *session, most recently used first
}

// session is one client's set of partitions.
type session struct {
	owner *sessions
	id    int32
	byID  bool  // partitions are named by topic ids: fetch version 13 and later
	epoch int32 // that the next request must carry
	used  time.Time
	busy  bool
	gone  bool // dropped while busy; guarded by owner.mu
	// parts is in the order of fairness: what was sent moves to the end.
	parts []*fetchPart
	index map[partKey]*fetchPart
}

// partKey names a partition by whichever of topic and id the session uses.
type partKey struct {
	topic string
	id    kernel.StreamID
	index int32
}

func (p *fetchPart) key() partKey { return partKey{p.topic, p.id, p.index} }

func (s *sessions) init(slots int, c clock.Clock, open *atomic.Int64) {
	s.slots, s.clock, s.open = slots, c, open
	s.byID = make(map[int32]*list.Element)
}

// begin finds out which partitions a request is about, and sets f's partitions and
// session.
func (s *sessions) begin(f *fetching, q *kmsg.FetchRequest) code {
	id, epoch := q.SessionID, q.SessionEpoch
	if q.Version < 7 {
		id, epoch = 0, epochFinal
	}
	if epoch == epochInitial || epoch == epochFinal {
		if id != 0 {
			s.drop(id)
		}
		f.full = true
		f.parts = requested(q)
		if epoch == epochInitial {
			s.create(f)
		}
		return codeNone
	}
	f.sessionID = id
	return s.resume(f, q)
}

// requested lists the partitions of a request.
func requested(q *kmsg.FetchRequest) []*fetchPart {
	n := 0
	for i := range q.Topics {
		n += len(q.Topics[i].Partitions)
	}
	all := make([]fetchPart, 0, n)
	parts := make([]*fetchPart, 0, n)
	for i := range q.Topics {
		t := &q.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			all = append(all, fetchPart{
				topic: t.Topic, id: t.TopicID, index: p.Partition, offset: p.FetchOffset,
				maxBytes: p.PartitionMaxBytes, epoch: p.CurrentLeaderEpoch, lastEpoch: p.LastFetchedEpoch,
			})
			parts = append(parts, &all[len(all)-1])
		}
	}
	return parts
}

// create makes a session of a full fetch, if there is room for it; otherwise the client
// goes on with full fetches.
func (s *sessions) create(f *fetching) {
	if len(f.parts) == 0 || s.held.Load()+int64(len(f.parts)) > heldMax {
		return
	}
	index := make(map[partKey]*fetchPart, len(f.parts))
	for _, p := range f.parts {
		index[p.key()] = p
	}
	if len(index) != len(f.parts) {
		return // a partition twice: no session could say which is meant
	}
	now := s.clock.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.order.Len() >= s.slots && !s.evictLocked(now) {
		return
	}
	n := &session{owner: s, byID: f.version >= 13, epoch: 1, used: now, busy: true, parts: slices.Clone(f.parts), index: index}
	for n.id == 0 || s.byID[n.id] != nil {
		n.id = rand.Int32N(math.MaxInt32) // ids are no secret, and need only differ
	}
	s.byID[n.id] = s.order.PushFront(n)
	s.open.Add(1)
	s.held.Add(int64(len(n.parts)))
	f.session, f.sessionID = n, n.id
}

// evictLocked makes room by dropping the session unused for longest, if that is long
// enough.
func (s *sessions) evictLocked(now time.Time) bool {
	for e := s.order.Back(); e != nil; e = e.Prev() {
		n := e.Value.(*session)
		if now.Sub(n.used) < sessionIdle {
			return false
		}
		if !n.busy {
			s.removeLocked(e)
			return true
		}
	}
	return false
}

func (s *sessions) removeLocked(e *list.Element) {
	n := s.order.Remove(e).(*session)
	delete(s.byID, n.id)
	s.open.Add(-1)
	if n.gone = true; !n.busy {
		s.held.Add(-int64(len(n.parts)))
	}
}

func (s *sessions) drop(id int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.byID[id]; ok {
		s.removeLocked(e) // a fetch that runs it may finish
	}
}

// resume takes up a session where its last answer left it.
func (s *sessions) resume(f *fetching, q *kmsg.FetchRequest) code {
	s.mu.Lock()
	e, ok := s.byID[q.SessionID]
	if !ok {
		s.mu.Unlock()
		return codeSessionNotFound
	}
	n := e.Value.(*session)
	switch {
	case n.byID != (q.Version >= 13):
		s.mu.Unlock()
		return codeSessionTopicID
	case n.busy || q.SessionEpoch != n.epoch:
		s.mu.Unlock()
		return codeSessionEpoch
	}
	n.busy = true
	n.used = s.clock.Now()
	if n.epoch++; n.epoch <= 0 { // it wraps, past those that mean something else
		n.epoch = 1
	}
	s.order.MoveToFront(e)
	s.mu.Unlock()

	if !n.update(q) {
		s.drop(n.id)
		n.free()
		return codeSessionNotFound // so that the client begins again, without one
	}
	if len(n.parts) == 0 {
		// Nothing is left of it: Kafka closes such a session, and says so by id 0.
		s.drop(n.id)
		n.free()
		f.sessionID, f.full = 0, true
		return codeNone
	}
	f.session, f.parts = n, slices.Clone(n.parts)
	return codeNone
}

// update applies what a request adds, changes and forgets. The caller has the session
// busy. false: there is no room for what it adds.
func (n *session) update(q *kmsg.FetchRequest) bool {
	before := len(n.parts)
	for _, p := range requested(q) {
		if old, ok := n.index[p.key()]; ok {
			old.offset, old.maxBytes, old.epoch, old.lastEpoch = p.offset, p.maxBytes, p.epoch, p.lastEpoch
			continue
		}
		p := *p // not one of a slab that the session would keep alive
		p.told = partTold{highWater: -1, logStart: -1}
		n.index[p.key()] = &p
		n.parts = append(n.parts, &p)
	}
	gone := false
	for i := range q.ForgottenTopics {
		t := &q.ForgottenTopics[i]
		for _, index := range t.Partitions {
			key := partKey{t.Topic, t.TopicID, index}
			if _, ok := n.index[key]; ok {
				delete(n.index, key)
				gone = true
			}
		}
	}
	if gone {
		n.parts = slices.DeleteFunc(n.parts, func(p *fetchPart) bool { return n.index[p.key()] != p })
	}
	return n.owner.held.Add(int64(len(n.parts)-before)) <= heldMax
}

// free ends what made the session busy.
func (n *session) free() {
	n.owner.mu.Lock()
	defer n.owner.mu.Unlock()
	if n.busy = false; n.gone {
		n.owner.held.Add(-int64(len(n.parts)))
	}
}

// end notes what the client was told, puts what was sent behind the rest, so that no
// partition starves the others of maxBytes, and frees the session for its next request.
func (n *session) end(f *fetching) {
	kept := n.parts[:0]
	var sent []*fetchPart
	for _, p := range n.parts {
		p.told = partTold{code: p.found.code, highWater: p.found.highWater, logStart: p.found.logStart}
		if p.found.size > 0 {
			sent = append(sent, p)
		} else {
			kept = append(kept, p)
		}
		p.found.batches, p.log, p.cover, p.cursor = nil, nil, nil, 0 // not needed any more
	}
	n.parts = append(kept, sent...)
	n.free()
}

// grouped puts partitions of one topic next to each other, each topic where its first
// partition stands, for an answer names each topic once.
func grouped(parts []*fetchPart, version int16) []*fetchPart {
	first := make(map[partKey]int)
	at := func(p *fetchPart) int {
		k := p.key()
		k.index = 0
		i, ok := first[k]
		if !ok {
			i = len(first)
			first[k] = i
		}
		return i
	}
	changes := 0
	for i, p := range parts {
		at(p)
		if i == 0 || !p.sameTopic(parts[i-1], version) {
			changes++
		}
	}
	if changes != len(first) {
		slices.SortStableFunc(parts, func(a, b *fetchPart) int { return at(a) - at(b) })
	}
	return parts
}
