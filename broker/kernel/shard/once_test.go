package shard

import "testing"

// A publish is stored once, however often it is sent, until its identifier is used again.
func TestOnce(t *testing.T) {
	m := New()
	seq, next := uint64(0), int64(0)
	send := func(o Once) bool {
		seq++
		applyTo(t, m, sample(seq, 1, func(b *Builder) {
			rb, batch := b.OpenOnce(Bodies, 1, o)
			rb.Add(1, nil, []byte("x"))
			b.Route(&Route{Batch: batch, Queues: []uint64{1}})
		}))
		was := next
		next = m.Bodies().Next
		return next > was
	}
	forget := func(o Once) {
		seq++
		applyTo(t, m, sample(seq, 1, func(b *Builder) { b.Forget(o) }))
	}
	one := Once{Session: 9, PacketID: 7, N: 0}
	for i, want := range []bool{true, false, false} {
		if got := send(one); got != want {
			t.Errorf("sent %d times: stored %v", i+1, got)
		}
	}
	again := Once{Session: 9, PacketID: 7, N: 1}
	if !send(again) || send(again) || send(one) {
		t.Error("the identifier's next use")
	}
	if !send(Once{Session: 10, PacketID: 7}) || !send(Once{Session: 9, PacketID: 8}) {
		t.Error("another session, or identifier")
	}
	forget(one)
	if m.onces.Len() != 3 {
		t.Error("a late release of an earlier use forgot a later one")
	}
	forget(again)
	if m.onces.Len() != 2 || m.onceOrder.Len() != 2 {
		t.Errorf("%d remembered, %d in order", m.onces.Len(), m.onceOrder.Len())
	}
}

// What a session's earlier connection has sent, and comes when all is released and forgotten, is not
// stored; nor when it is restored from a checkpoint.
func TestOnceOfEarlierConnection(t *testing.T) {
	m := New()
	seq := uint64(0)
	send := func(o Once) bool {
		seq++
		next := m.Bodies().Next
		applyTo(t, m, sample(seq, 1, func(b *Builder) {
			rb, batch := b.OpenOnce(Bodies, 1, o)
			rb.Add(1, nil, []byte("x"))
			b.Route(&Route{Batch: batch, Queues: []uint64{1}})
		}))
		return m.Bodies().Next > next
	}
	again := Once{Session: 9, PacketID: 7, N: 3, Conn: 120}
	if !send(again) {
		t.Fatal("not stored")
	}
	seq++
	applyTo(t, m, sample(seq, 1, func(b *Builder) { b.Forget(again) }))
	for _, conn := range []uint64{0, 119} { // the first connection, and another that is over
		if late := (Once{Session: 9, PacketID: 7, N: 3, Conn: conn}); send(late) {
			t.Errorf("%+v is stored twice", late)
		}
	}
	restored := New()
	_, all := New().Fork(true)
	if err := restored.Restore(m.Encode(all)); err != nil {
		t.Fatal(err)
	}
	m = restored
	if send(Once{Session: 9, PacketID: 8, Conn: 119}) {
		t.Error("after a restart a publish of an earlier connection is stored")
	}
	for _, o := range []Once{{Session: 9, PacketID: 7, N: 4, Conn: 120}, {Session: 9, PacketID: 7, N: 5, Conn: 121}, {Session: 10, PacketID: 7, N: 3}} {
		if !send(o) {
			t.Errorf("%+v is not stored", o)
		}
	}
}

// What is remembered is bounded: the oldest goes.
func TestOncesAreBounded(t *testing.T) {
	m := New()
	for i := range uint64(oncesMax + 10) {
		m.repeated(Once{Session: i + 1, PacketID: 1})
	}
	if m.onces.Len() != oncesMax || m.onceOrder.Len() != oncesMax {
		t.Errorf("%d remembered", m.onces.Len())
	}
	if _, there := m.onces.Get(Once{Session: 10, PacketID: 1}.key()); there {
		t.Error("the oldest is still there")
	}
}
