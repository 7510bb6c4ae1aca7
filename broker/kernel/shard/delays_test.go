package shard

import (
	"testing"

	"github.com/robustmq/rmq/broker/kernel/session"
)

// A will is held, over restarts, until somebody says that it is published.
func TestWillIsHeldUntilItIsPublished(t *testing.T) {
	m := New()
	applyTo(t, m, sample(1, 1, func(b *Builder) {
		b.OpenSession("/\x00a", &session.OpenSpec{Epoch: 1, Will: &session.Will{Message: []byte("bye")}})
		b.CloseSession(&CloseSession{Key: "/\x00a", Will: true})
	}))
	waiting := func() []Effect {
		var out Outcome
		m = restored(t, full(m))
		m.DelaysOver(&out)
		return out.Effects
	}
	list := waiting()
	if len(list) != 1 || list[0].Kind != WillDue || string(list[0].Will) != "bye" || list[0].Session != "/\x00a" {
		t.Fatalf("waiting: %+v", list)
	}
	applyTo(t, m, sample(2, 1, func(b *Builder) { b.Delayed(list[0].Seq) }))
	if list := waiting(); len(list) != 0 {
		t.Errorf("waiting: %+v", list)
	}
}
