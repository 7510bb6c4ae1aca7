package shard

import (
	"fmt"
	"testing"

	"github.com/robustmq/rmq/broker/kernel/queue"
	"github.com/robustmq/rmq/broker/kernel/session"
)

// A machine that is never saved keeps nothing of what has come and gone: clients connect to it
// for as long as the broker runs.
func TestTransientMachineNotesNothing(t *testing.T) {
	m := NewTransient()
	for i := range uint64(50) {
		key := SessionKey("/", fmt.Sprint("client", i))
		applyTo(t, m, sample(i+1, 1000, func(b *Builder) {
			b.OpenSession(key, &session.OpenSpec{Epoch: i + 1, ReceiveMax: 2})
			b.Subscribe(key, "a/#", session.Options{QoS: 1})
			b.CreateQueue(i+1, queue.NoLimits(), 0)
			rb, batch, rec := b.Open(Bodies, 1000)
			rb.Add(1000, nil, []byte("x"))
			b.Retain("/", fmt.Sprint("a/", i), batch, rec, 0)
			b.Route(&Route{Batch: batch, Record: rec, Namespace: "/", Address: "a/b", Queues: []uint64{i + 1}, Sessions: true, QoS: 1, Size: 1})
			b.CloseSession(&CloseSession{Key: key, Epoch: i + 1})
			b.DeleteQueue(i+1, false, false)
			b.Retain("/", fmt.Sprint("a/", i), -1, 0, 0)
			b.Tick()
		}))
	}
	_, delta := m.Fork(false)
	var keys []string
	for k := range m.Encode(delta) {
		keys = append(keys, string(k))
	}
	if len(keys) != 1 || keys[0] != "c" { // the clock
		t.Errorf("it would write %q", keys)
	}
}
