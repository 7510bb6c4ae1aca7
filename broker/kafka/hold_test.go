package kafka_test

import (
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kafka"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A produce for which there is no room holds its own connection up, and no other. It is let
// in when there is room, and as long as there is none, answers ask for silence.
func TestProduceThatWaitsHoldsNobodyElse(t *testing.T) {
	k, slow := kerneltest.OpenSlow(t, kerneltest.Options{})
	b := startOn(t, k, kafka.Config{})
	other := b.dial()
	if p := other.produce(9, "s", 0, batchOf("before")); p.ErrorCode != 0 {
		t.Fatalf("produce: error %d", p.ErrorCode)
	}
	slow.Hold()
	n := kerneltest.Crowd(t, k, kerneltest.Nobody{})
	held := b.dial()
	q := produceOf(9, "s", 0, batchOf("after"))
	held.send(held.request(q))
	kerneltest.Until(t, "the request is held", func() bool { return b.srv.Stats.Held.Load() == 1 })
	if got := b.srv.Stats.HeldBytes.Load(); got == 0 {
		t.Error("it takes no memory")
	}

	if p := other.fetch(11, "s", 0, 0); p.ErrorCode != 0 || len(p.RecordBatches) == 0 {
		t.Errorf("fetch: error %d, %d bytes", p.ErrorCode, len(p.RecordBatches))
	}
	if m := ask[*kmsg.MetadataResponse](other, metadataOf("s"), 9); len(m.Topics) != 1 || m.Topics[0].ErrorCode != 0 {
		t.Errorf("metadata: %+v", m)
	}
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Group = "g"
	part := kmsg.NewOffsetCommitRequestTopicPartition()
	part.Offset = 1
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic, topic.Partitions = "s", []kmsg.OffsetCommitRequestTopicPartition{part}
	commit.Topics = []kmsg.OffsetCommitRequestTopic{topic}
	commit.Generation, commit.Version = -1, 8
	kerneltest.Handed(t, k, "OffsetCommit", func() { other.send(other.request(commit)) })
	for range 3 { // the third entry has it, whatever publishes wait
		slow.Step()
	}
	if r := other.read(commit).(*kmsg.OffsetCommitResponse); r.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Errorf("commit: error %d", r.Topics[0].Partitions[0].ErrorCode)
	}
	if got := b.srv.Stats.Held.Load(); got != 1 {
		t.Errorf("%d requests are held", got)
	}

	slow.Release()
	r := held.read(q).(*kmsg.ProduceResponse)
	if p := r.Topics[0].Partitions[0]; p.ErrorCode != 0 || p.BaseOffset != int64(n+1) {
		t.Errorf("what was held: error %d at offset %d, want offset %d", p.ErrorCode, p.BaseOffset, n+1)
	}
	if b.srv.Stats.Held.Load() != 0 || b.srv.Stats.HeldBytes.Load() != 0 {
		t.Error("it is held still")
	}
}

// A produce is held for as long as its client said that it would wait, and then told so,
// with nothing stored. Without acknowledgements the only answer is the end of the connection.
func TestProduceIsNotHeldForEver(t *testing.T) {
	link := clock.NewVirtual(time.Unix(1_800_000_000, 0))
	k, slow := kerneltest.OpenSlow(t, kerneltest.Options{})
	b := startOn(t, k, kafka.Config{Link: link})
	slow.Hold()
	n := kerneltest.Crowd(t, k, kerneltest.Nobody{})
	r := b.dial()
	q := produceOf(9, "s", 0, batchOf("too late"))
	q.TimeoutMillis = 1000
	r.send(r.request(q))
	for _, d := range []time.Duration{999 * time.Millisecond, time.Millisecond} {
		kerneltest.Until(t, "the request is held", func() bool { return b.srv.Stats.Held.Load() == 1 })
		link.Advance(d)
	}
	resp := r.read(q).(*kmsg.ProduceResponse)
	if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 7 || p.BaseOffset != -1 {
		t.Errorf("error %d at offset %d, want REQUEST_TIMED_OUT", p.ErrorCode, p.BaseOffset)
	}
	if resp.ThrottleMillis != 100 {
		t.Errorf("asked to be silent for %d ms", resp.ThrottleMillis)
	}
	q.Acks, q.TimeoutMillis = 0, 0
	r.send(r.request(q))
	r.closed()

	slow.Release()
	kerneltest.Until(t, "there is room", func() bool { return k.Crowded() == 0 })
	other := b.dial()
	q = produceOf(9, "s", 0, batchOf("in time"))
	resp = other.ask(q).(*kmsg.ProduceResponse)
	if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 || p.BaseOffset != int64(n) || resp.ThrottleMillis != 0 {
		t.Errorf("error %d at offset %d, throttled for %d ms; want offset %d", p.ErrorCode, p.BaseOffset, resp.ThrottleMillis, n)
	}
}
