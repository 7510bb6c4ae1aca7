package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/kernel/queue"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
)

// What clients of voters use.
const (
	partitionLog = uint64(1) // the partition
	workQueue    = uint64(7) // the queue
)

var (
	streamNames = []string{"a", "b", "c"}
	offsetOf    = []string{"billing", "search"} // groups
)

// asker is a client: it asks for one thing at a time, of whichever node takes it.
type asker struct {
	c       *cluster
	number  int
	rand    *rand.Rand
	node    int // index of the node that it asks first
	left    int
	through bool
	script  []func() *request // what it asks for at the end
	waits   *request          // it has no answer to

	messages   int
	sequence   int32 // of its idempotent producer
	committed  int64
	attachment uint64 // to the queue; 0: none
	attached   uint64 // how many there were
	doubtful   bool   // the attachment may have more than is known
	holds      []holding
}

// holding is a delivery that is not settled.
type holding struct {
	id string
	no uint64
}

// request is one thing that a client asks for. One of change, command and read is given.
type request struct {
	shard   storage.ShardID
	change  func(r *replica) func(b *shard.Builder)
	command func(r *replica) *meta.Command
	read    func(r *replica) (any, error)
	output  func(r *replica, a *reply) (any, error)

	again bool          // it may be asked for twice: it is done once
	after func(out any) // the client has its answer
	never func()        // the client gives up waiting
	op    *operation    // in the history
	in    any           // what the model is told
	what  string        // the object
}

// Time that clients take.
const (
	thinkMax   = 120 * time.Millisecond
	patience   = 1500 * time.Millisecond // until a client asks elsewhere, or gives up
	elsewhere  = 60 * time.Millisecond   // until it asks another node
	batchMax   = 3                       // records
	holdingMax = 4                       // deliveries that a client does not settle
)

func newAsker(c *cluster, number int) *asker {
	return &asker{c: c, number: number, rand: rand.New(rand.NewPCG(c.seed, 0x61736b<<8|uint64(number))), left: c.opt.Asks}
}

func (a *asker) begin() { a.c.later(a.think(), func() { a.ask(a.setup()) }) }

func (a *asker) think() time.Duration { return time.Duration(a.rand.Int64N(int64(thinkMax))) }

// next asks for the next thing.
func (a *asker) next() {
	if a.c.calm && a.left > 5 {
		a.left = 5 // the rest was for bad times
	}
	switch {
	case a.left > 0:
		a.left--
		a.ask(a.choose())
	case len(a.script) > 0:
		f := a.script[0]
		a.script = a.script[1:]
		a.ask(f())
	default:
		a.through = true
	}
}

// ask asks whichever node takes it.
func (a *asker) ask(q *request) {
	a.waits = q
	a.c.report.Asked++
	a.attempt(q)
}

func (a *asker) attempt(q *request) {
	if a.waits != q || a.c.broken != nil {
		return
	}
	v := a.c.nodes[a.node]
	if !v.runs() || !a.hand(q, v.replicas[q.shard]) {
		a.node = a.rand.IntN(len(a.c.nodes))
		a.c.later(time.Duration(1+a.rand.Int64N(int64(elsewhere))), func() { a.attempt(q) })
	}
}

// hand hands a request to a node; false: it does not take it.
func (a *asker) hand(q *request, r *replica) bool {
	h := a.c.history
	if q.read != nil {
		if !r.leads() && a.c.opt.Bug != BugStaleRead && (a.c.opt.Bug != BugLeaseIgnored || r.dead || !r.led) {
			return false
		}
		q.op = h.call(q.what, a.number, q.in)
		out, err := q.read(r)
		if err != nil {
			a.c.breach("client %d reads %s: %v", a.number, q.what, err)
			return true
		}
		a.answered(q, out)
		return true
	}
	first := q.op == nil
	if first {
		q.op = h.call(q.what, a.number, q.in)
	}
	done := func(x *reply) {
		out, err := q.output(r, x)
		if err != nil {
			if !q.op.done {
				a.c.breach("client %d asked for %v of %s: %v", a.number, q.in, q.what, err)
			}
			return
		}
		a.answered(q, out)
	}
	taken := false
	if q.change != nil {
		taken = r.change(q.change(r), done)
	} else {
		taken = r.command(q.command(r), done)
	}
	if !taken {
		if first {
			h.cancel(q.op)
			q.op = nil
		}
		return false
	}
	a.c.later(patience, func() { a.impatient(q) })
	return true
}

// answered is called when a request has its answer, perhaps after the client has given up.
func (a *asker) answered(q *request, out any) {
	if q.op.done {
		return
	}
	a.c.history.end(q.op, out)
	a.c.report.Answered++
	a.c.note("client %d: %s %v is %v", a.number, q.what, q.in, out)
	if a.waits != q {
		return
	}
	a.waits = nil
	if q.after != nil {
		q.after(out)
	}
	a.c.later(a.think(), a.next)
}

func (a *asker) impatient(q *request) {
	switch {
	case a.waits != q:
	case q.again:
		a.node = a.rand.IntN(len(a.c.nodes))
		a.attempt(q)
	default:
		a.c.report.Unknown++
		a.waits = nil
		if q.never != nil {
			q.never()
		}
		a.next()
	}
}

// choose decides what to ask for.
func (a *asker) choose() *request {
	if a.doubtful {
		return a.detach()
	}
	switch n := a.rand.IntN(20); {
	case n < 3:
		return a.append()
	case n < 5:
		return a.fetch()
	case n < 6:
		return a.commit()
	case n < 8:
		return a.fetchOffset(offsetOf[a.rand.IntN(len(offsetOf))])
	case n < 11:
		return a.publish()
	case n < 15:
		return a.consume()
	case n < 17:
		return a.declare()
	case n < 18:
		return a.list()
	case n < 19:
		return a.allocate()
	}
	return a.retain()
}

// last is what a client asks for when nothing goes wrong any more: that something new is
// done, and what is there.
func (a *asker) last() {
	a.through = false
	a.script = []func() *request{a.detach, a.append, a.declare, a.fetch, a.list, func() *request { return a.fetchOffset(offsetOf[0]) }, func() *request { return a.fetchOffset(offsetOf[1]) }}
	if a.number == 0 { // takes out what the queue holds, as far as the others let go of it
		a.script = append(a.script, slices.Repeat([]func() *request{a.consume}, 10)...)
	}
	a.c.later(0, a.next)
}

func (a *asker) message() string {
	a.messages++
	return fmt.Sprintf("%d.%d", a.number, a.messages)
}

// setup makes the partition and the queue, unless they are there: every client's first ask.
func (a *asker) setup() *request {
	return &request{
		what: "", in: "setup", shard: dataShard, again: true,
		change: func(*replica) func(b *shard.Builder) {
			return func(b *shard.Builder) {
				b.CreateLog(partitionLog, "orders")
				b.CreateQueue(workQueue, queue.NoLimits(), 0)
			}
		},
		output: func(*replica, *reply) (any, error) { return "", nil },
	}
}

// append appends a batch to the partition, as an idempotent producer.
func (a *asker) append() *request {
	var ids []string
	for range 1 + a.rand.IntN(batchMax) {
		ids = append(ids, a.message())
	}
	sequence := a.sequence
	a.sequence += int32(len(ids))
	size := a.rand.IntN(300)
	at := 0
	return &request{
		what: "partition", in: partitionAsk{strings.Join(ids, " ")}, shard: dataShard, again: true,
		change: func(r *replica) func(b *shard.Builder) {
			return func(b *shard.Builder) {
				var rb record.Builder
				rb.Reset(nil, r.now())
				for _, id := range ids {
					rb.Add(r.now(), nil, fill(id, size))
				}
				batch := rb.Finish()
				batch.SetProducer(int64(1000+a.number), 0, sequence)
				at = b.Batch(partitionLog, batch)
			}
		},
		output: func(_ *replica, x *reply) (any, error) {
			res := x.out.Batches[at]
			return res.Base, res.Err
		},
	}
}

// fetch reads the partition.
func (a *asker) fetch() *request {
	return &request{what: "partition", in: partitionAsk{}, shard: dataShard, read: func(r *replica) (any, error) {
		ids, err := r.partition()
		return strings.Join(ids, " "), err
	}}
}

func (a *asker) commit() *request {
	id := offsetOf[a.rand.IntN(len(offsetOf))]
	a.committed++
	at := a.committed*10 + int64(a.number)
	return &request{
		what: "offset of " + id, in: offsetAsk{commit: at}, shard: dataShard,
		change: func(*replica) func(b *shard.Builder) {
			return func(b *shard.Builder) {
				b.Group(&shard.GroupCommand{Key: groupKey(id), Commit: &shard.GroupCommit{Generation: -1, Offsets: []shard.GroupOffset{{
					Topic: "orders", Offset: group.Offset{Offset: at, LeaderEpoch: -1},
				}}}})
			}
		},
		output: func(_ *replica, x *reply) (any, error) {
			if errs, ok := x.out.Ops[0].Value.([]group.Error); !ok || len(errs) != 1 || errs[0] != group.OK {
				return nil, fmt.Errorf("answered by %v, %w", x.out.Ops[0].Value, x.out.Ops[0].Err)
			}
			return at, nil
		},
	}
}

func groupKey(id string) string { return "/\x00" + id }

func (a *asker) fetchOffset(id string) *request {
	return &request{what: "offset of " + id, in: offsetAsk{}, shard: dataShard, read: func(r *replica) (any, error) {
		g, ok := r.data.Group(groupKey(id))
		if !ok {
			return int64(0), nil
		}
		o, _, _ := g.Fetch("orders", 0, true)
		return max(o.Offset, 0), nil
	}}
}

// publish publishes a message to the queue.
func (a *asker) publish() *request {
	id, size, at := a.message(), a.rand.IntN(300), 0
	return &request{
		what: "queue", in: queueAsk{publish: id}, shard: dataShard,
		change: func(r *replica) func(b *shard.Builder) {
			return func(b *shard.Builder) {
				rb, batch, rec := b.Open(shard.Bodies, r.now())
				rb.Add(r.now(), nil, fill(id, size))
				at = b.Route(&shard.Route{Batch: batch, Record: rec, Namespace: "/", Address: "work", Queues: []uint64{workQueue}, Size: uint32(size), QoS: 1})
			}
		},
		output: func(_ *replica, x *reply) (any, error) {
			if res := x.out.Ops[at]; res.Err != nil || res.N != 1 {
				return nil, fmt.Errorf("routed to %d queues, %w", res.N, res.Err)
			}
			return "", nil
		},
	}
}

// consume attaches, gets a message, or settles one.
func (a *asker) consume() *request {
	switch {
	case a.attachment == 0:
		return a.attach()
	case len(a.holds) == holdingMax || len(a.holds) > 0 && a.rand.IntN(3) == 0:
		return a.settle()
	case a.rand.IntN(15) == 0:
		return a.detach()
	}
	return a.get()
}

func (a *asker) attach() *request {
	a.attached++
	id, at := uint64(1+a.number)<<32|a.attached, 0
	return &request{
		what: "queue", in: queueAsk{attach: id}, shard: dataShard,
		change: func(*replica) func(b *shard.Builder) {
			return func(b *shard.Builder) {
				at = b.Attach(&shard.Attach{Queue: workQueue, Attachment: id, Pull: true})
			}
		},
		output: func(_ *replica, x *reply) (any, error) { return "", x.out.Ops[at].Err },
		after:  func(any) { a.attachment, a.holds = id, nil },
	}
}

func (a *asker) get() *request {
	id := a.attachment
	var no uint64
	return &request{
		what: "queue", in: queueAsk{get: id}, shard: dataShard,
		change: func(*replica) func(b *shard.Builder) {
			return func(b *shard.Builder) { b.Get(workQueue, id) }
		},
		output: func(r *replica, x *reply) (any, error) {
			if x.out.Ops[0].Err != nil {
				return detached, nil
			}
			for i := range x.out.Effects {
				if e := &x.out.Effects[i]; e.Kind == shard.Deliver && e.Attachment == id {
					no = e.No
					return r.body(e.Log, e.Offset)
				}
			}
			return "", nil
		},
		after: func(out any) {
			if out != "" && out != detached {
				a.holds = append(a.holds, holding{out.(string), no})
			}
		},
		never: func() { a.doubtful = true },
	}
}

func (a *asker) settle() *request {
	i := a.rand.IntN(len(a.holds))
	h, id := a.holds[i], a.attachment
	a.holds = slices.Delete(a.holds, i, i+1)
	how := queue.Accept
	if a.rand.IntN(3) == 0 {
		how = queue.Requeue
	}
	return &request{
		what: "queue", in: queueAsk{settle: h.id, by: id, requeue: how == queue.Requeue}, shard: dataShard,
		change: func(*replica) func(b *shard.Builder) {
			return func(b *shard.Builder) { b.Settle(workQueue, id, h.no, false, how) }
		},
		output: func(_ *replica, x *reply) (any, error) { return x.out.Ops[0].N, x.out.Ops[0].Err },
	}
}

// detach gives back all that is not settled.
func (a *asker) detach() *request {
	id := a.attachment
	return &request{
		what: "queue", in: queueAsk{detach: id}, shard: dataShard, again: true,
		change: func(*replica) func(b *shard.Builder) {
			return func(b *shard.Builder) {
				b.Detach(workQueue, id, false)
			}
		},
		output: func(*replica, *reply) (any, error) { return "", nil },
		after:  func(any) { a.attachment, a.holds, a.doubtful = 0, nil, false },
	}
}

// retain publishes a retained message and lets time pass: nobody looks but the comparison of
// machines.
func (a *asker) retain() *request {
	id := a.message()
	return &request{
		what: "", in: "retain " + id, shard: dataShard,
		change: func(r *replica) func(b *shard.Builder) {
			return func(b *shard.Builder) {
				rb, batch, rec := b.Open(shard.Bodies, r.now())
				rb.Add(r.now(), nil, fill(id, 10))
				b.Retain("/", "state/"+id[:1], batch, rec, r.now()+int64(len(id)*300))
				b.Tick()
			}
		},
		output: func(*replica, *reply) (any, error) { return "", nil },
	}
}

// declare makes or deletes a stream.
func (a *asker) declare() *request {
	name, create := streamNames[a.rand.IntN(len(streamNames))], a.rand.IntN(2) == 0
	return &request{
		what: "log 0", in: log0Ask{name: name, create: create}, shard: log0Shard,
		command: func(r *replica) *meta.Command {
			if !create {
				return &meta.Command{Op: meta.DeleteStream, Time: r.now(), Namespace: "/", Name: name}
			}
			return &meta.Command{Op: meta.CreateStream, Time: r.now(), Namespace: "/", Shards: []uint32{1}, Stream: &meta.Stream{Address: name, Partitions: 1}}
		},
		output: func(_ *replica, x *reply) (any, error) {
			if x.meta.Created {
				if id := x.meta.Stream.Logs[0].Log; a.c.history.ids[id] {
					return nil, fmt.Errorf("log %d was given twice", id)
				} else {
					a.c.history.ids[id] = true
				}
			}
			return fmt.Sprint(x.meta.Err == nil), nil
		},
	}
}

func (a *asker) list() *request {
	return &request{what: "log 0", in: log0Ask{}, shard: log0Shard, read: func(r *replica) (any, error) {
		var names []string
		for st := range r.meta.AllStreams() {
			names = append(names, st.Address)
		}
		return strings.Join(names, " "), nil
	}}
}

// allocate takes producer ids.
func (a *asker) allocate() *request {
	n := int64(1 + a.rand.IntN(3))
	return &request{
		what: "producers", in: n, shard: log0Shard,
		command: func(r *replica) *meta.Command {
			return &meta.Command{Op: meta.AllocateProducers, Time: r.now(), N: n}
		},
		output: func(_ *replica, x *reply) (any, error) { return x.meta.Number, x.meta.Err },
	}
}
