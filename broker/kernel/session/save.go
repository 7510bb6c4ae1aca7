package session

import (
	"fmt"
	"iter"

	"github.com/tidwall/btree"

	"github.com/robustmq/rmq/broker/kernel/codec"
)

// Keys of a session in a checkpoint, in their order:
//
//	'h'    everything but the subscriptions; always there
//	's'    the subscriptions; not there when there are none
const (
	keyHeader byte = 'h'
	keySubs   byte = 's'

	saveVersion = 1
)

// Fork returns an independent copy in about constant time. Changes to the copy are
// stamped with gen, which rises from checkpoint to checkpoint (0 when there are none).
//
// Fork may be called while others read s. What they read it does not write.
func (s *Session) Fork(gen uint64) *Session {
	c := *s
	c.gen = max(gen, s.gen)
	c.owner, s.owner = nil, nil
	if s.subs != nil {
		c.subs = s.subs.Copy()
	}
	return &c
}

// Version is the stamp of the newest change: Save has nothing to say since then.
func (s *Session) Version() uint64 { return s.ver }

// Save passes to put the keys and values that changed after the stamp since: a nil
// value deletes the key. full: all there is, in order of key. key and value are put's for
// the call only.
func (s *Session) Save(full bool, since uint64, put func(key, value []byte)) {
	if full || s.ver > since {
		put([]byte{keyHeader}, s.encode(nil))
	}
	switch {
	case s.subs != nil && (full || s.subV > since):
		put([]byte{keySubs}, s.encodeSubs(nil))
	case s.subs == nil && !full && s.subV > since:
		put([]byte{keySubs}, nil)
	}
}

func (s *Session) encode(dst []byte) []byte {
	dst = append(dst, saveVersion)
	dst = codec.Uint(dst, s.created)
	dst = codec.Uint(dst, s.epoch)
	dst = codec.Bool(dst, s.connected)
	dst = codec.Uint(dst, uint64(s.receiveMax))
	dst = codec.Uint(dst, uint64(s.expiry))
	dst = codec.Int(dst, s.ends)
	if s.will != nil {
		dst = codec.Nullable(dst, s.will.message)
		dst = codec.Uint(dst, uint64(s.will.delay))
		dst = codec.Int(dst, s.will.at)
	} else {
		dst = codec.Int(codec.Uint(codec.Nullable(dst, nil), 0), 0)
	}
	dst = codec.Uint(dst, uint64(s.next))
	dst = codec.Uint(dst, uint64(len(s.inflight())))
	last := uint64(0)
	for _, f := range s.inflight() {
		dst = codec.Uint(dst, f.no-last)
		dst = codec.Uint(dst, uint64(f.id))
		dst = append(dst, byte(f.state))
		last = f.no
	}
	dst = codec.Uint(dst, uint64(len(s.in.received)))
	for _, id := range s.in.received {
		dst = codec.Uint(dst, uint64(id))
	}
	dst = codec.Uint(dst, uint64(len(s.in.runs)))
	for _, r := range s.in.runs {
		dst = codec.Uint(dst, uint64(r.first))
		dst = codec.Uint(dst, uint64(r.n))
	}
	return dst
}

func (s *Session) encodeSubs(dst []byte) []byte {
	dst = codec.Uint(dst, uint64(s.subs.Len()))
	s.subs.Scan(func(filter string, o Options) bool {
		dst = codec.String(dst, filter)
		dst = codec.Uint(dst, uint64(o.ID))
		dst = append(dst, o.QoS, o.RetainHandling)
		dst = codec.Bool(dst, o.NoLocal)
		dst = codec.Bool(dst, o.RetainAsPublished)
		return true
	})
	return dst
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("session checkpoint: "+format, args...)
}

// Load builds a session from what a full Save, and the incremental ones after it, have
// put. saved is the stamp of the newest of them: what is loaded counts as unchanged
// since, and changes are stamped saved+1. It returns an error for anything that Save
// could not have put.
func Load(saved uint64, pairs iter.Seq2[[]byte, []byte]) (*Session, error) {
	s := &Session{owner: new(token), gen: saved + 1, ver: saved, subV: saved}
	seen := false
	for k, v := range pairs {
		var err error
		switch {
		case string(k) == string(keyHeader) && !seen:
			seen = true
			err = s.decode(v)
		case string(k) == string(keySubs) && s.subs == nil:
			err = s.decodeSubs(v)
		default:
			err = corrupt("key %x", k)
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case !seen:
		return nil, corrupt("no header")
	case s.created == 0 && s.subs != nil:
		return nil, corrupt("subscriptions of a session that ended")
	}
	return s, nil
}

func (s *Session) decode(v []byte) error {
	r := codec.NewReader(v)
	if ver := r.Byte(); r.Err() == nil && ver != saveVersion {
		return corrupt("version %d, known is %d", ver, saveVersion)
	}
	s.created, s.epoch, s.connected = r.Uint(), r.Uint(), r.Bool()
	receiveMax := r.Uint32()
	s.receiveMax = uint16(receiveMax)
	s.expiry, s.ends = r.Uint32(), r.Int()
	message, delay, at := r.Nullable(), r.Uint32(), r.Int()
	if message != nil {
		s.will = &lastWill{append(make([]byte, 0, len(message)), message...), delay, at}
	}
	next := r.Uint32()
	if r.Err() != nil || receiveMax > 0xFFFF || next > PacketMax {
		return corrupt("header")
	}
	s.next = uint16(next)

	n := r.Count()
	if n > PacketMax {
		return corrupt("%d deliveries under way", n)
	}
	used := make([]uint64, PacketMax/64+1)
	last := uint64(0)
	for range n {
		no, id, state := last+r.Uint(), r.Uint32(), State(r.Byte())
		if r.Err() != nil || no <= last || id == 0 || id > PacketMax || state < AwaitAck || state > AwaitComp ||
			used[id/64]>>(id%64)&1 != 0 {
			return corrupt("delivery under way")
		}
		used[id/64] |= 1 << (id % 64)
		s.window = append(s.window, inflight{no, uint16(id), state})
		last = no
	}
	n = r.Count()
	for i := range n {
		id := r.Uint32()
		if r.Err() != nil || id > 0xFFFF || i > 0 && uint16(id) <= s.in.received[i-1] {
			return corrupt("received packet identifiers")
		}
		s.in.received = append(s.in.received, uint16(id))
	}
	n = r.Count()
	for i := range n {
		first, count := r.Uint32(), r.Uint32()
		if r.Err() != nil || first > 0xFFFF || i == 0 && first != 0 ||
			i > 0 && (uint16(first) <= s.in.runs[i-1].first || count == s.in.runs[i-1].n) {
			return corrupt("released packet identifiers")
		}
		s.in.runs = append(s.in.runs, run{uint16(first), count})
	}
	if r.Done() != nil || string(s.encode(nil)) != string(v) {
		return corrupt("header")
	}
	return nil
}

func (s *Session) decodeSubs(v []byte) error {
	r := codec.NewReader(v)
	n := r.Count()
	if n == 0 || n > SubscriptionsMax {
		return corrupt("%d subscriptions", n)
	}
	s.subs = new(btree.Map[string, Options])
	last := ""
	for i := range n {
		filter := r.String()
		o := Options{ID: r.Uint32(), QoS: r.Byte(), RetainHandling: r.Byte(), NoLocal: r.Bool(), RetainAsPublished: r.Bool()}
		if r.Err() != nil || i > 0 && filter <= last {
			return corrupt("subscription")
		}
		s.subs.Load(filter, o)
		last = filter
	}
	if r.Done() != nil || string(s.encodeSubs(nil)) != string(v) {
		return corrupt("subscriptions")
	}
	return nil
}
