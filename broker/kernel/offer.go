package kernel

import (
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel/codec"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
)

// What a node gives to one that is behind.
//
// It need not lead: whatever a checkpoint has was committed. A checkpoint is written for the
// occasion, so that what is fetched ends as late as it can. As long as the offer stands, no segment
// of the shard is cut at its start or rewritten: what the state refers to is there. An offer that
// nobody asks for, and one that takes too long, goes.

// offers are the states that this node gives.
//
// Ownership: mu guards byID, and every offer's used and ready.
type offers struct {
	mu   sync.Mutex
	byID map[uint64]*offer
}

// offer is the state of one shard, for one node.
type offer struct {
	id    uint64
	to    uint64
	shard storage.ShardID
	s     *shardRun // nil: log 0
	since time.Time // broker time
	begun time.Time // link time, as used is
	used  time.Time
	ready bool
	watch clock.Timer // nil before ready
	busy  sync.Mutex  // held while an ask is answered: one at a time
	given int64       // the furthest of progress, so that what is asked for again counts once; guarded by busy

	at    storage.CheckpointMeta // from here on set once, before ready
	state []byte
	progress
}

// asked answers an ask, beside whoever brought it.
func (of *offers) asked(k *Kernel, from, id uint64, a want) {
	if !k.made.Load() || k.closing.Load() {
		return // nothing is known here yet; another may answer
	}
	of.mu.Lock()
	o := of.byID[id]
	switch {
	case o != nil && (o.to != from || o.shard != a.shard):
		o = nil
	case o == nil && a.what == wantBegin:
		s := k.shards[uint32(a.shard)]
		if a.shard != 0 && (s == nil || !s.class.logged() || !s.begun.Load() || s.away.Load() != nil) || len(of.byID) >= offersMax {
			of.mu.Unlock()
			k.answer(from, id, a, answerNo, []byte("it is not to be had here, or too many fetch"))
			return
		}
		now := k.cfg.Link.Now()
		o = &offer{id: id, to: from, shard: a.shard, s: s, since: k.time.Now(), begun: now, used: now}
		of.byID[id] = o
		of.mu.Unlock()
		if !k.spawn(func() { k.prepare(o, a) }) {
			return
		}
		k.answer(from, id, a, answerWait, nil)
		return
	}
	ready := o != nil && o.ready
	if o != nil {
		o.used = k.cfg.Link.Now()
	}
	of.mu.Unlock()
	switch {
	case o == nil:
		k.answer(from, id, a, answerLost, nil)
	case a.what == wantEnd:
		k.withdraw(o)
		k.answer(from, id, a, answerOK, nil)
	case !ready && o.s != nil && o.s.away.Load() != nil:
		k.withdraw(o) // it is behind itself by now, perhaps beside who asks: neither is to wait for the other
		k.answer(from, id, a, answerNo, []byte("this node is behind, too"))
	case !ready:
		k.answer(from, id, a, answerWait, nil)
	default:
		k.spawn(func() {
			if !o.busy.TryLock() {
				return // it is being answered
			}
			defer o.busy.Unlock()
			body, err := o.give(k, a)
			switch {
			case err != nil:
				k.answer(from, id, a, answerNo, []byte(err.Error()))
			default:
				k.answer(from, id, a, answerOK, body)
			}
		})
	}
}

func (k *Kernel) answer(to, id uint64, a want, how byte, body []byte) {
	f := codec.Uint([]byte{pieceFrame}, id)
	f = codec.Uint(f, a.number)
	k.cfg.Peers.Send(to, append(append(f, how), body...))
}

// prepare makes an offer ready, and sees to it that it goes. If it cannot be made, who has asked for it is told to
// look elsewhere.
func (k *Kernel) prepare(o *offer, a want) {
	var err error
	if o.s == nil {
		o.at, o.state = k.meta.offer()
	} else {
		err = o.s.offer(o)
	}
	if err != nil {
		k.log.Warn("state not offered", "shard", o.shard, "node", o.to, "err", err)
		k.withdraw(o)
		k.answer(o.to, o.id, a, answerNo, []byte(err.Error()))
		return
	}
	o.index.Store(o.at.Index)
	k.offers.mu.Lock()
	o.ready = k.offers.byID[o.id] == o
	if o.ready {
		k.watchOfferLocked(o)
	}
	k.offers.mu.Unlock()
	if !o.ready { // it was ended meanwhile
		o.letGo(k)
		return
	}
	k.log.Info("state offered", "shard", o.shard, "node", o.to, "entry", o.at.Index)
}

// watchOfferLocked lets go of an offer that nobody asks for, or that takes too long.
func (k *Kernel) watchOfferLocked(o *offer) {
	o.watch = k.cfg.Link.AfterFunc(offerIdle, func() {
		now := k.cfg.Link.Now()
		k.offers.mu.Lock()
		stands := k.offers.byID[o.id] == o
		over := now.Sub(o.used) >= offerIdle || now.Sub(o.begun) >= offerMax
		if stands && !over {
			k.watchOfferLocked(o)
		}
		k.offers.mu.Unlock()
		if stands && over {
			k.withdraw(o)
		}
	})
}

// close withdraws every offer.
func (of *offers) close(k *Kernel) {
	of.mu.Lock()
	all := slices.Collect(maps.Values(of.byID))
	of.mu.Unlock()
	for _, o := range all {
		k.withdraw(o)
	}
}

// withdraw ends an offer.
func (k *Kernel) withdraw(o *offer) {
	k.offers.mu.Lock()
	stands := k.offers.byID[o.id] == o
	delete(k.offers.byID, o.id)
	ready := o.ready
	if o.watch != nil {
		o.watch.Stop()
	}
	k.offers.mu.Unlock()
	if stands && ready {
		o.letGo(k)
	}
}

// letGo lets segments go on.
func (o *offer) letGo(k *Kernel) {
	if o.s != nil && o.s.offered.Add(-1) == 0 {
		k.upkeep.wake(k)
	}
}

// offer has a checkpoint written, and takes it. From then on nothing of the shard's segments
// goes that it speaks of.
func (s *shardRun) offer(o *offer) error {
	if err := s.checkpoint(); err != nil {
		return err
	}
	if err := s.saving.still(s.k.ctx); err != nil {
		return err
	}
	defer s.saving.goesOn()
	at, pairs, err := s.k.engine.Checkpoints().Load(s.id)
	if err != nil {
		return err
	}
	if at.Index == 0 {
		return errors.New("there is no checkpoint yet")
	}
	o.at, o.state = at, appendPairs(nil, pairs)
	s.offered.Add(1)
	return nil
}

// offer is the state of log 0 as of now.
func (l *log0) offer() (storage.CheckpointMeta, []byte) {
	l.applying.Lock()
	defer l.applying.Unlock()
	at := storage.CheckpointMeta{Index: l.index, Term: l.term, Members: l.members}
	return at, appendPairs(nil, l.view.Load().Encode(nil))
}

// give is what one ask is answered.
func (o *offer) give(k *Kernel, a want) ([]byte, error) {
	r := codec.NewReader(a.args)
	switch a.what {
	case wantBegin:
		b := codec.Uint(codec.Uint(nil, o.at.Index), o.at.Term)
		b = codec.Uint(codec.Uint(b, uint64(len(o.state))), uint64(crc32.Checksum(o.state, stateTable)))
		return appendMembers(b, o.at.Members), nil
	case wantState:
		at := r.Uint()
		if r.Err() != nil || at > uint64(len(o.state)) {
			return nil, errors.New("no such place in the state")
		}
		piece := o.state[at:min(at+pieceBytes, uint64(len(o.state)))]
		o.gave(int64(at) + int64(len(piece)))
		return piece, nil
	case wantSizes:
		total := int64(0)
		for n := 0; r.Len() > 0; n++ {
			log, from, to := r.Uint(), r.Int(), r.Int()
			if r.Err() != nil || n == sizesMax {
				return nil, errors.New("malformed")
			}
			if t := o.tail(log); t != nil {
				size, err := t.restSize(from, to)
				if err != nil {
					return nil, err
				}
				total += size
			}
		}
		o.total.Store(max(o.total.Load(), int64(len(o.state))) + total)
		return codec.Int(nil, total), nil
	case wantBatches:
		log, from, to := r.Uint(), r.Int(), r.Int()
		if r.Err() != nil {
			return nil, errors.New("malformed")
		}
		t := o.tail(log)
		if t == nil {
			return nil, nil // deleted since: who fetches will hear of it
		}
		raw, err := t.readSegment(from, pieceBytes)
		switch {
		case t.ended():
			return nil, nil
		case err != nil:
			return nil, err
		}
		n := 0
		for rest := raw; len(rest) > 0; {
			b, left, err := record.Next(rest)
			if err != nil {
				return nil, fmt.Errorf("log %d at offset %d: %w", log, from, err)
			}
			if b.BaseOffset() >= to {
				break
			}
			n += len(b)
			rest = left
		}
		o.given += int64(n)
		o.gave(int64(len(o.state)) + o.given)
		return raw[:n], nil
	default:
		return nil, errors.New("of a kind that this release does not know")
	}
}

func (o *offer) tail(log uint64) *tail {
	if o.s == nil {
		return nil
	}
	return o.s.tail(log)
}

func (o *offer) gave(n int64) {
	if n > o.done.Load() {
		o.done.Store(n)
	}
}
