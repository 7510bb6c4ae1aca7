package shard

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/robustmq/rmq/broker/kernel/queue"
	"github.com/robustmq/rmq/broker/kernel/session"
)

// Every command is described as its Builder method wrote it.
func TestDescribe(t *testing.T) {
	const key = "/\x00dev"
	once := Once{Session: 4, PacketID: 5, N: 6}
	limits := queue.NoLimits()
	limits.MaxLength = 9
	var got []string
	data := sample(7, 1234, func(b *Builder) {
		rb, batch, rec := b.Open(3, 1000)
		rb.Add(1000, nil, []byte("x"))
		rb, _ = b.OpenOnce(Bodies, 1000, once)
		rb.Add(1000, []byte("k"), []byte("y"))
		b.Route(&Route{Batch: batch, Record: rec, Namespace: "/", Address: "a/b", Queues: []uint64{1, 2}, Sessions: true, Size: 10, ExpiresAt: 11, Priority: 4, QoS: 1, Retain: true, From: "f", To: "t"})
		b.Retain("/", "a/b", batch, rec, 12)
		b.CreateLog(5, "a")
		b.DeleteLog(5)
		b.Trim(3, 2)
		b.CreateQueue(1, limits, 60)
		b.DeleteQueue(1, true, false)
		b.Purge(2)
		b.Attach(&Attach{Queue: 1, Attachment: 7, Credit: 9, Exclusive: true, Priority: -1})
		b.Detach(1, 7, true)
		b.Cancel(1, 7)
		b.Credit(1, 7, -3)
		b.Get(1, 7)
		b.Settle(1, 7, 8, true, queue.Reject)
		b.DeadLettered(1, 2)
		b.OpenSession(key, &session.OpenSpec{Epoch: 1, Expiry: 60, ReceiveMax: 2, Will: &session.Will{Message: []byte("bye"), Delay: 5}})
		b.Start(key, 1)
		b.CloseSession(&CloseSession{Key: key, Epoch: 1, Will: true})
		b.Subscribe(key, "a/#", session.Options{ID: 3, QoS: 2, NoLocal: true})
		b.Unsubscribe(key, "a/#")
		b.Ack(key, 1, 2, true)
		b.Received(key, 1, 2)
		b.Incoming(key, 1, 2)
		b.Release(key, 1, 2)
		b.Refuse(key, 1, 2)
		b.Tick()
		b.Group(&GroupCommand{Key: "g"})
		b.Forget(once)
		b.Delay(batch, rec, 13, []byte("env"))
		b.Delayed(14)
		b.HandOver(&HandOver{Batch: batch, Record: rec, Session: key, Epoch: 1, Share: 9, Size: 10, ExpiresAt: 11, Retain: true})
		b.Dispatch(1, queue.HashTopic)
	})
	d, err := Describe(data)
	if err != nil {
		t.Fatal(err)
	}
	if d.Header != (Header{Time: 1234, Incarnation: 1, Link: 1, Seq: 7}) || len(d.Batches) != 2 || d.Batches[1].Once != once || d.Batches[0].Log != 3 {
		t.Errorf("%+v", d)
	}
	for _, c := range d.Commands {
		got = append(got, c.String())
	}
	for _, want := range []string{
		`route batch=0 record=0 namespace="/" address="a/b" queues=[1 2] sessions=true size=10 expires=11 priority=4 qos=1 retain=true from="f" to="t"`,
		`retain namespace="/" address="a/b" batch=0 record=0 expires=12`,
		`create-log log=5 address="a"`, `delete-log log=5`, `trim log=3 start=2`,
		`delete-queue queue=1 if-unused=true if-empty=false`, `purge queue=2`,
		`attach queue=1 attachment=7 credit=9 no-ack=false exclusive=true pull=false refill=false priority=-1`,
		`detach queue=1 attachment=7 lost=true`, `credit queue=1 attachment=7 n=-3`,
		`settle queue=1 attachment=7 delivery=8 multiple=true outcome=2`, `dead-lettered queue=1 message=2`,
		`open-session session="/\x00dev" epoch=1 clean=false expiry=60 receive-max=2 will="3 bytes" will-delay=5`,
		`close-session session="/\x00dev" epoch=1 will=true expiry-plus-one=0 end=false`,
		`subscribe session="/\x00dev" filter="a/#" id=3 qos=2 retain-handling=0 no-local=true retain-as-published=false`,
		`ack session="/\x00dev" epoch=1 packet=2 ok=true`, `tick`, `group command="{\"k\":\"g\"}"`,
		`forget once=session 4 packet 5 use 6`, `delay batch=0 record=0 due=13 envelope="3 bytes"`, `delayed message=14`,
		`hand-over batch=0 record=0 session="/\x00dev" epoch=1 share=9 size=10 expires=11 retain=true`,
		`dispatch queue=1 how=4`,
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, strings.Join(got, "\n"))
		}
	}
	for o := range Op(len(commands)) {
		if o > 0 && !slices.ContainsFunc(d.Commands, func(c DescribedCommand) bool { return c.Op == o.String() }) {
			t.Errorf("%v is not described", o)
		}
	}
}

// Every key of a checkpoint has a description.
func TestDescribeKey(t *testing.T) {
	m := prepared(t)
	kinds := map[string]int{}
	for k, v := range full(m) {
		d, ok := DescribeKey([]byte(k), v)
		if !ok || strings.Contains(d.Of, "\x00") {
			t.Errorf("key %q: %+v", k, d)
		}
		kinds[d.Kind]++
	}
	for _, kind := range []string{"clock", "log", "queue", "retained", "session"} {
		if kinds[kind] == 0 {
			t.Errorf("no %s in %v", kind, kinds)
		}
	}
	if d, ok := DescribeKey([]byte("x\x00\x00\x00\x00\x00\x00\x00\x07h"), nil); !ok || d.Kind != "grave" || d.Of != "7" {
		t.Errorf("what is left of a queue: %+v", d)
	}
	l := Log{ID: 7, Start: 1, Next: 3000, Epoch: 4, Address: "a", Deleted: true}
	l.refer(2048, 1)
	l.refer(2050, 2)
	l.producers.Set(9, &producer{epoch: 3, n: 1, batches: [producerBatches]producedBatch{{first: 5, last: 6}}})
	var lines []string
	l.save(true, func(k, v []byte) bool {
		d, ok := DescribeKey(k, v)
		lines = append(lines, fmt.Sprint(d.Kind, " ", d.Of, " ", d.Part, ": ", d.Text, " ", ok))
		return true
	})
	if want := []string{
		`log 7 head: "a", offsets 1 to 3000, epoch 4, deleted true`,
		`log 7 producer 9: epoch 3, sequence 6 true`,
		`log 7 page: 2 batches from offset 2048 on are referred to true`,
	}; !slices.Equal(lines, want) {
		t.Errorf("a log is described as %q", lines)
	}
	for _, k := range []string{"", "z", "l", "l\x00\x00\x00\x00\x00\x00\x00\x07", "l\x00\x00\x00\x00\x00\x00\x00\x07p", "qxxxxxxxx", "s\x00", "s\xff\xffx"} {
		if d, ok := DescribeKey([]byte(k), nil); ok {
			t.Errorf("%q is %+v", k, d)
		}
	}
}
