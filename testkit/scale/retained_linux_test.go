package scale

import (
	"encoding/binary"
	"flag"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
)

var retained = flag.Int("retained", 20_000, "messages that are retained, each of its own topic")

// Retained messages that were acknowledged are there after a restart, all of them.
func TestMillionRetained(t *testing.T) {
	n := *retained
	k := start(t, directory(t), 0)
	empty := heap()
	f := newInFlight(1 << 14)
	body := make([]byte, bodyLen)
	p := kernel.Publish{Namespace: "/", Msg: message.Message{Source: message.MQTT, Value: body, QoS: 1, Retain: true}, Reply: f}
	at := time.Now()
	for i := range n {
		f.take()
		binary.LittleEndian.PutUint64(body, uint64(i))
		p.Msg.Address, p.Msg.Time = filter(i), 0
		if err := k.Publish(&p); err != nil {
			t.Fatal(err)
		}
	}
	f.drain()
	took := time.Since(at)
	if f.fails.Load() > 0 {
		t.Fatalf("%d publishes failed", f.fails.Load())
	}
	t.Logf("retained %d messages of %d B, durability sync, in %v: %.0f a second; %s", n, bodyLen, took.Round(time.Millisecond), float64(n)/took.Seconds(), k.apply.take())
	report(t, k, "retained", empty, n)
	before := reopen(t, k, 0)
	report(t, k, "after a restart", before, n)
	at = time.Now()
	found := k.RetainedMessages("/", "devices/#", n+1)
	t.Logf("%d read by one filter in %v", len(found), time.Since(at).Round(time.Millisecond))
	if len(found) != n {
		t.Errorf("%d retained messages after a restart, want %d", len(found), n)
	}
	seen := make(map[uint64]bool, n)
	for i := range found {
		no := binary.LittleEndian.Uint64(found[i].Value)
		if found[i].Address != filter(int(no)) || len(found[i].Value) != bodyLen || seen[no] {
			t.Fatalf("%s has the message of %s", found[i].Address, filter(int(no)))
		}
		seen[no] = true
	}
	k.stop()
}
