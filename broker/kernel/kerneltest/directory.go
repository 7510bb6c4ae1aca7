package kerneltest

import (
	"fmt"
	"testing"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/storage/meta"
)

// Directory leaves in dir what a broker leaves that has run for long: several files of the
// log, segments of several files, checkpoints of all shards. fill says what is in it; of what it
// publishes, more than a few KiB are in segments. There are so many shards of each durability: from 1
// on, and from 1000 on for what is asynchronous.
func Directory(t testing.TB, dir string, shards int, fill func(*kernel.Kernel)) {
	t.Helper()
	e, err := filelog.Open(dir, filelog.Options{
		Checkpoints: func(path string) (filelog.CheckpointStore, error) { return meta.Open(path) },
		WALFileMin:  32 << 10, WALFileMax: 32 << 10, SegmentBytes: 16 << 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	k, stop := Start(t, Options{Engine: e, NoCapture: true, DataShards: shards, CheckpointBytes: 24 << 10})
	fill(k)
	stop()
}

// Fill publishes n messages of a KiB to an address, one after another.
func Fill(t testing.TB, k *kernel.Kernel, address string, n int) {
	t.Helper()
	fill(t, k, n, kernel.Publish{Msg: message.Message{Source: message.MQTT, Address: address}})
}

// FillQueue publishes n messages of a KiB to a queue, one after another.
func FillQueue(t testing.TB, k *kernel.Kernel, queue string, n int) {
	t.Helper()
	fill(t, k, n, kernel.Publish{ViaExchange: true, Key: queue, Msg: message.Message{Source: message.AMQP, Address: queue}})
}

func fill(t testing.TB, k *kernel.Kernel, n int, p kernel.Publish) {
	t.Helper()
	w := make(outcome, 1)
	p.Namespace, p.Reply, p.Msg.QoS = kernel.DefaultNamespace, w, 1
	for i := range n {
		one := p
		one.Msg.Value = fmt.Appendf(nil, "%01024d", i)
		_ = k.Publish(&one) // the waiter is told
		if r := <-w; r.Err != nil {
			t.Fatalf("publish to %s: %v", p.Msg.Address, r.Err)
		}
	}
}

type outcome chan kernel.PublishResult

func (o outcome) Published(_ uint64, r kernel.PublishResult) { o <- r }
func (o outcome) Appended(uint64, kernel.AppendResult)       {}
