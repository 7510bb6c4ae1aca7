package shard

import (
	"encoding/binary"

	"github.com/robustmq/rmq/broker/kernel/codec"
)

// A QoS 2 publish is stored in several shards, and noted as received in the session's, by
// entries of their own. After a crash between them the client sends it again, and those
// that have stored it must not store it twice (DESIGN, rule 4): each remembers what it
// stored of it until the session's shard says that the identifier was released, or until
// oncesMax others came after.

// Once names one QoS 2 publish: a use of a packet identifier by a session. The zero value:
// none.
type Once struct {
	Session  uint64 // epoch that made the session
	PacketID uint16
	N        uint32 // times that the identifier was used up before
	Conn     uint64 // connection that sent it: they are in order; 0: the first
}

// oncesMax bounds what one shard remembers, of publishes and connections together.
const oncesMax = 100_000

// stored is what a shard remembers for a session and packet identifier. Identifier 0, which no
// publish has, stands for the session's connection.
type stored struct {
	n  uint64 // the use of the identifier, or the connection
	at uint64 // its place in the order in which they came
}

func (o Once) append(dst []byte) []byte {
	if o == (Once{}) {
		return append(dst, 0)
	}
	kind := byte(1)
	if o.Conn != 0 {
		kind = 2
	}
	dst = codec.Uint(append(dst, kind), o.Session)
	dst = codec.Uint(codec.Uint(dst, uint64(o.PacketID)), uint64(o.N))
	if o.Conn != 0 {
		dst = codec.Uint(dst, o.Conn)
	}
	return dst
}

func readOnce(r *codec.Reader) (o Once) {
	kind := r.Byte()
	if kind == 1 || kind == 2 {
		o = Once{Session: r.Uint(), PacketID: uint16(r.Uint()), N: r.Uint32()}
	}
	if kind == 2 {
		o.Conn = r.Uint()
	}
	return o
}

// key is the session and the identifier: one is remembered of all its uses.
func (o Once) key() string {
	return string(binary.BigEndian.AppendUint16(codec.Key(nil, o.Session), o.PacketID))
}

// repeated tells whether o, or a later use of its identifier, was stored before, or comes from a
// connection that is over, and remembers it when not.
func (m *Machine) repeated(o Once) bool {
	conn := Once{Session: o.Session}.key()
	if newest, there := m.onces.Get(conn); there && newest.n > o.Conn {
		return true
	} else if o.Conn > newest.n {
		m.remember(conn, o.Conn)
	}
	key := o.key()
	if old, there := m.onces.Get(key); there && old.n >= uint64(o.N) {
		return true
	}
	m.remember(key, uint64(o.N))
	return false
}

func (m *Machine) remember(key string, n uint64) {
	if old, there := m.onces.Get(key); there {
		m.onceOrder.Delete(old.at)
	} else if m.onces.Len() >= oncesMax {
		_, oldest, _ := m.onceOrder.Min()
		m.forgetOnce(oldest)
	}
	m.onceNext++
	m.onces.Set(key, stored{n, m.onceNext})
	m.onceOrder.Set(m.onceNext, key)
	m.dirty.onces.Insert(key)
}

func (m *Machine) forgetOnce(key string) {
	if old, there := m.onces.Delete(key); there {
		m.onceOrder.Delete(old.at)
		m.dirty.onces.Insert(key)
	}
}

// Forget says that the client will not send o again: its identifier was released.
func (b *Builder) Forget(o Once) int {
	i := b.op(OpForget)
	b.ops = o.append(b.ops)
	return i
}

func (m *Machine) forget(r *codec.Reader) OpResult {
	o := readOnce(r)
	if old, there := m.onces.Get(o.key()); there && old.n <= uint64(o.N) && r.Err() == nil {
		m.forgetOnce(o.key())
	}
	return OpResult{}
}

func (s stored) encode() []byte { return codec.Uint(codec.Uint(nil, s.n), s.at) }

func (m *Machine) restoreOnce(key string, v []byte) error {
	r := codec.NewReader(v)
	s := stored{r.Uint(), r.Uint()}
	if err := r.Done(); err != nil || len(key) != 10 {
		return codec.ErrShort
	}
	m.onces.Set(key, s)
	m.onceOrder.Set(s.at, key)
	return nil
}
