package group

import (
	"fmt"
	"iter"
	"strings"

	"github.com/robustmq/rmq/broker/kernel/codec"
)

// Keys of a group in a checkpoint, in their order:
//
//	'h'             state, generation, timers, and when to look at offsets; always there
//	'm' member id   one member
//	'o' topic       the offsets of one topic
//	't' producer    the offsets of one open transaction; 8 bytes, ordered as numbers
const (
	keyHeader byte = 'h'
	keyMember byte = 'm'
	keyTopic  byte = 'o'
	keyTxn    byte = 't'

	saveVersion = 1
)

// goneKey is a key that went after a checkpoint may have written it.
type goneKey struct {
	kind       byte
	name       string
	born, died uint64
}

func (g *Group) noteGone(kind byte, name string, born uint64) {
	if born < g.gen {
		g.gone = append(g.gone, goneKey{kind, name, born, g.gen})
	}
}

// Fork returns an independent copy in about constant time. Changes to the copy are
// stamped with gen, which rises from checkpoint to checkpoint (0 when there are none);
// saved is the stamp up to which checkpoints are known to be complete: deletions up
// to there are forgotten.
//
// Fork may be called while others read g. What they read it does not write.
func (g *Group) Fork(gen, saved uint64) *Group {
	c := *g
	c.gen = max(gen, g.gen)
	c.owner, g.owner = nil, nil
	c.members, c.static, c.pending = *g.members.Copy(), *g.static.Copy(), *g.pending.Copy()
	c.topics, c.txns = *g.topics.Copy(), *g.txns.Copy()
	c.gone = nil
	for _, k := range g.gone {
		if k.died > saved {
			c.gone = append(c.gone, k)
		}
	}
	return &c
}

// Version is the stamp of the newest change: Save has nothing to say since then.
func (g *Group) Version() uint64 { return g.ver }

// Save passes to put the keys and values that changed after the stamp since: a nil
// value deletes the key. full: all there is, in order of key. key and value are put's for
// the call only.
func (g *Group) Save(full bool, since uint64, put func(key, value []byte)) {
	var key, buf []byte
	at := func(kind byte, name string) []byte {
		key = append(append(key[:0], kind), name...)
		return key
	}
	if !full {
		for _, k := range g.gone {
			if k.died > since && k.born <= since {
				put(at(k.kind, k.name), nil)
			}
		}
	}
	if full || g.ver > since {
		buf = g.encode(buf[:0])
		put(at(keyHeader, ""), buf)
	}
	g.members.Scan(func(id string, m *member) bool {
		if full || m.ver > since {
			buf = m.encode(buf[:0])
			put(at(keyMember, id), buf)
		}
		return true
	})
	g.topics.Scan(func(name string, t *topic) bool {
		if full || t.ver > since {
			buf = t.encode(buf[:0])
			put(at(keyTopic, name), buf)
		}
		return true
	})
	g.txns.Scan(func(producer int64, t *txn) bool {
		if full || t.ver > since {
			buf = t.encode(buf[:0])
			put(at(keyTxn, txnKey(producer)), buf)
		}
		return true
	})
}

func (g *Group) encode(dst []byte) []byte {
	dst = append(dst, saveVersion, byte(g.state))
	dst = codec.Bool(dst, g.afterEmpty)
	dst = codec.Int(dst, int64(g.generation))
	dst = codec.String(dst, g.protocolType)
	dst = codec.String(dst, g.protocol)
	dst = codec.String(dst, g.leader)
	dst = codec.Int(dst, g.since)
	dst = codec.Uint(dst, g.step)
	dst = append(dst, byte(g.timer.Kind))
	dst = codec.Int(dst, g.timer.After)
	dst = codec.Uint(dst, g.timer.Step)
	dst = codec.Int(dst, int64(g.initial))
	dst = codec.Int(dst, int64(g.remaining))
	dst = codec.Bool(dst, g.added)
	dst = codec.Int(dst, g.oldest)
	dst = codec.Uint(dst, uint64(g.pending.Len()))
	g.pending.Scan(func(id string, session int32) bool {
		dst = codec.String(dst, id)
		dst = codec.Int(dst, int64(session))
		return true
	})
	return dst
}

func (m *member) encode(dst []byte) []byte {
	dst = codec.String(dst, m.instance)
	dst = codec.String(dst, m.clientID)
	dst = codec.String(dst, m.clientHost)
	dst = codec.Int(dst, int64(m.session))
	dst = codec.Int(dst, int64(m.rebalance))
	dst = codec.Uint(dst, m.order)
	dst = codec.Uint(dst, uint64(len(m.protocols)))
	for _, p := range m.protocols {
		dst = codec.String(dst, p.Name)
		dst = codec.Bytes(dst, p.Metadata)
	}
	dst = codec.Bytes(dst, m.assignment)
	dst = codec.Bool(dst, m.isNew)
	dst = codec.Bool(dst, m.joinWaits)
	dst = codec.Uint(dst, m.joinToken)
	dst = codec.Bool(dst, m.skipAssignmentAccepted)
	dst = codec.Bool(dst, m.syncWaits)
	dst = codec.Uint(dst, m.syncToken)
	return codec.Bool(dst, m.syncDue)
}

func (p *part) encode(dst []byte) []byte {
	dst = codec.Int(dst, int64(p.partition))
	dst = codec.Int(dst, p.Offset.Offset)
	dst = codec.Int(dst, int64(p.LeaderEpoch))
	dst = codec.String(dst, p.Metadata)
	dst = codec.Int(dst, p.CommittedAt)
	return codec.Int(dst, p.ExpiresAt)
}

func (t *topic) encode(dst []byte) []byte {
	for i := range t.parts {
		dst = t.parts[i].encode(dst)
	}
	return dst
}

func (t *txn) encode(dst []byte) []byte {
	for i := range t.topics {
		dst = codec.String(dst, t.topics[i].topic)
		dst = t.topics[i].encode(dst)
	}
	return dst
}

// ---- load ----------------------------------------------------------------

func corrupt(format string, args ...any) error {
	return fmt.Errorf("group checkpoint: "+format, args...)
}

func readInt32(r *codec.Reader) (int32, bool) {
	v := r.Int()
	return int32(v), int64(int32(v)) == v
}

// Load builds a group from what a full Save, and the incremental ones after it, have put,
// in order of key. saved is the stamp of the newest of them: what is loaded counts as
// unchanged since, and changes are stamped saved+1. It returns an error for anything that
// Save could not have put.
func Load(saved uint64, pairs iter.Seq2[[]byte, []byte]) (*Group, error) {
	g := &Group{owner: new(token), gen: saved, ver: saved}
	seen, last := false, ""
	for k, v := range pairs {
		if len(k) == 0 || string(k) <= last {
			return nil, corrupt("key %x after %x", k, last)
		}
		last = string(k)
		var err error
		switch name := last[1:]; {
		case k[0] == keyHeader && name == "":
			seen, err = true, g.decode(v)
		case k[0] == keyMember && name != "":
			err = g.decodeMember(name, v)
		case k[0] == keyTopic:
			err = g.decodeTopic(name, v)
		case k[0] == keyTxn && len(name) == 8:
			err = g.decodeTxn(name, v)
		default:
			err = corrupt("key %x", k)
		}
		if err != nil {
			return nil, err
		}
	}
	if !seen {
		return nil, corrupt("no header")
	}
	if err := g.validate(); err != nil {
		return nil, err
	}
	g.gen = saved + 1
	return g, nil
}

func (g *Group) decode(v []byte) error {
	r := codec.NewReader(v)
	if ver := r.Byte(); r.Err() == nil && ver != saveVersion {
		return corrupt("version %d, known is %d", ver, saveVersion)
	}
	var ok [3]bool
	g.state, g.afterEmpty = State(r.Byte()), r.Bool()
	g.generation, ok[0] = readInt32(&r)
	g.protocolType, g.protocol, g.leader = r.String(), r.String(), r.String()
	g.since, g.step = r.Int(), r.Uint()
	g.timer = Timer{Kind: TimerKind(r.Byte()), After: r.Int(), Step: r.Uint()}
	g.initial, ok[1] = readInt32(&r)
	g.remaining, ok[2] = readInt32(&r)
	g.added, g.oldest = r.Bool(), r.Int()
	if r.Err() != nil || ok != [3]bool{true, true, true} || g.state > Dead || g.generation < 0 || g.initial < 0 || g.remaining < 0 {
		return corrupt("header")
	}
	for range r.Count() {
		id := r.String()
		session, ok := readInt32(&r)
		if r.Err() != nil || !ok || id == "" || g.pending.Len() >= MembersMax {
			return corrupt("member to come")
		}
		g.pending.Set(id, session)
	}
	if r.Done() != nil || string(g.encode(nil)) != string(v) {
		return corrupt("header")
	}
	return nil
}

func (g *Group) decodeMember(id string, v []byte) error {
	if g.members.Len() >= MembersMax {
		return corrupt("more than %d members", MembersMax)
	}
	r := codec.NewReader(v)
	m := &member{owner: g.owner, born: g.gen, ver: g.gen, id: id}
	var ok [2]bool
	m.instance, m.clientID, m.clientHost = r.String(), r.String(), r.String()
	m.session, ok[0] = readInt32(&r)
	m.rebalance, ok[1] = readInt32(&r)
	m.order = r.Uint()
	for range r.Count() {
		m.protocols = append(m.protocols, Protocol{r.String(), clone(r.Bytes())})
	}
	m.assignment = clone(r.Bytes())
	m.isNew = r.Bool()
	m.joinWaits, m.joinToken, m.skipAssignmentAccepted = r.Bool(), r.Uint(), r.Bool()
	m.syncWaits, m.syncToken, m.syncDue = r.Bool(), r.Uint(), r.Bool()
	if r.Done() != nil || ok != [2]bool{true, true} || string(m.encode(nil)) != string(v) {
		return corrupt("member %q", id)
	}
	g.members.Set(id, m)
	if m.instance != "" {
		if _, was := g.static.Set(m.instance, id); was {
			return corrupt("instance %q twice", m.instance)
		}
	}
	if m.joinWaits {
		g.joining++
	}
	if m.syncDue {
		g.unsync++
	}
	return nil
}

func clone(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return append(make([]byte, 0, len(b)), b...)
}

func decodePart(r *codec.Reader) (part, bool) {
	var p part
	var ok [2]bool
	p.partition, ok[0] = readInt32(r)
	p.Offset.Offset = r.Int()
	p.LeaderEpoch, ok[1] = readInt32(r)
	p.Metadata = r.String()
	p.CommittedAt, p.ExpiresAt = r.Int(), r.Int()
	return p, r.Err() == nil && ok == [2]bool{true, true}
}

func (g *Group) decodeTopic(name string, v []byte) error {
	r := codec.NewReader(v)
	t := &topic{owner: g.owner, born: g.gen, ver: g.gen}
	for r.Len() > 0 {
		p, ok := decodePart(&r)
		if n := len(t.parts); !ok || n > 0 && t.parts[n-1].partition >= p.partition {
			return corrupt("offsets of %q", name)
		}
		t.parts = append(t.parts, p)
	}
	if g.offsets += len(t.parts); len(t.parts) == 0 || g.offsets > OffsetsMax || string(t.encode(nil)) != string(v) {
		return corrupt("offsets of %q", name)
	}
	g.topics.Set(name, t)
	return nil
}

func (g *Group) decodeTxn(key string, v []byte) error {
	kr := codec.NewReader([]byte(key))
	producer := int64(kr.Key() ^ 1<<63)
	r := codec.NewReader(v)
	t := &txn{owner: g.owner, born: g.gen, ver: g.gen}
	for r.Len() > 0 {
		name := r.String()
		p, ok := decodePart(&r)
		if n := len(t.topics); !ok || n > 0 && (strings.Compare(t.topics[n-1].topic, name) > 0 ||
			t.topics[n-1].topic == name && t.topics[n-1].partition >= p.partition) {
			return corrupt("transaction %d", producer)
		}
		t.topics = append(t.topics, txnPart{name, p})
	}
	if len(t.topics) == 0 || len(t.topics) > OffsetsMax || string(t.encode(nil)) != string(v) {
		return corrupt("transaction %d", producer)
	}
	g.txns.Set(producer, t)
	return nil
}

// validate checks what spans keys.
func (g *Group) validate() error {
	n := g.members.Len()
	_, led := g.members.Get(g.leader)
	switch {
	case (g.state == Empty || g.state == Dead) && (n > 0 || g.timer.Step != 0):
		return corrupt("members of a group that is %v", g.state)
	case (g.state == CompletingRebalance || g.state == Stable) && !led:
		return corrupt("no leader")
	case g.leader != "" && !led:
		return corrupt("leader %q is not a member", g.leader)
	case g.state == PreparingRebalance != (g.timer.Step != 0 && g.timer.Kind == JoinTimer), g.timer.Kind == MemberTimer && g.timer != (Timer{}), g.timer.Step > g.step:
		return corrupt("timer")
	}
	var err error
	g.members.Scan(func(id string, m *member) bool {
		_, told := g.pending.Get(id)
		switch {
		case told, m.order > g.step:
			err = corrupt("member %q", id)
		case m.joinWaits && g.state != PreparingRebalance, m.syncWaits && g.state != CompletingRebalance,
			m.syncDue && (g.state == PreparingRebalance || g.timer.Kind != SyncTimer), m.isNew && !m.joinWaits:
			err = corrupt("member %q in a group that is %v", id, g.state)
		}
		return err == nil
	})
	return err
}
