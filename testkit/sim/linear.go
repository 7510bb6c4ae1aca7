package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
)

// Bounds of a history, so that the search for its order ends.
const (
	linearLives   = 4
	linearClients = 4
	linearAsks    = 14 // of a client in a life
)

// LinearReport says what a run of Linear has exercised.
type LinearReport struct {
	Ended                 [3]int // lives, by how
	Calls, Answers        int
	Histories, Undecided  int
	Operations, LongestOf int // of all histories, and of one
}

// Linear runs one seed of a broker whose power goes at any file operation, with clients that
// share everything: log 0, a partition, committed offsets and a queue. What they saw over all
// lives must be explained by one order. stale has clients read what was there at the beginning
// of a life, on purpose.
func Linear(seed uint64, stale bool, log func(format string, args ...any)) (LinearReport, error) {
	s := &sim{
		seed: seed, opt: Options{Patience: time.Minute, Log: log}, rand: rand.New(rand.NewPCG(seed, 0x6c696e)),
		disk: newDisk(), model: newModel(), shadows: newShadows(),
	}
	l := &linear{sim: s, history: newHistories(), stale: stale}
	var err error
	for life := range linearLives + 1 {
		if err = l.life(life, life == linearLives); err != nil {
			return l.report, fmt.Errorf("seed %d, life %d: %w", seed, life, err)
		}
	}
	for _, ops := range l.history.objects {
		l.report.Operations += len(ops)
		l.report.LongestOf = max(l.report.LongestOf, len(ops))
	}
	l.history.resolve()
	l.report.Histories, l.report.Undecided, err = l.history.check()
	if err != nil {
		return l.report, fmt.Errorf("seed %d: %w", seed, err)
	}
	return l.report, nil
}

// linear is one run.
type linear struct {
	sim     *sim
	node    *node
	stale   bool
	history *histories

	mu     sync.Mutex
	report LinearReport
	broken error

	began map[string]any // what was read at the beginning of this life, for stale
}

func (l *linear) life(number int, quiet bool) error {
	s := l.sim
	ctx, cancel := context.WithTimeout(context.Background(), s.opt.Patience)
	defer cancel()
	how, at := closed, 0
	if !quiet {
		if how = [...]end{powerLoss, powerLoss, killed}[s.rand.IntN(3)]; s.rand.IntN(4) > 0 {
			at = 1 + s.rand.IntN([]int{60, 300}[s.rand.IntN(2)])
		}
	}
	s.opt.Log("life %d ends by %v at operation %d", number, how, at)
	m := s.disk.mountUntil(at, s.rand.Float64())
	// What consumers had and did not settle goes back while the broker starts.
	again := l.history.call("queue", 0, queueAsk{restart: true})
	opened, err := s.live(ctx, number, m, func(n *node) error {
		l.node = n
		l.history.end(again, "")
		seeds := make([]uint64, linearClients)
		for i := range seeds {
			seeds[i] = s.rand.Uint64()
		}
		_, err := within(ctx, "work", func() (struct{}, error) { return struct{}{}, l.work(ctx, number, quiet, seeds) })
		if how != closed {
			m.cut()
		}
		return err
	})
	if err != nil {
		return err
	}
	if !opened {
		l.history.cancel(again) // the next start does it again
	}
	m.end(how, s.rand.Uint64())
	s.shadows.ended(how)
	l.report.Ended[how]++
	return s.disk.overlap()
}

// work runs all clients of a life.
func (l *linear) work(ctx context.Context, life int, quiet bool, seeds []uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { // ends with the clients
		select {
		case <-l.node.disk.dark: // nobody is told more
			cancel()
		case <-done:
		}
	})
	err := l.setup(ctx)
	if err == nil {
		var all sync.WaitGroup
		for i, seed := range seeds {
			c := &sharer{l: l, number: i, name: fmt.Sprintf("%d.%d", i, life), rand: rand.New(rand.NewPCG(seed, 1))}
			all.Go(func() { c.run(ctx, quiet) })
		}
		all.Wait()
		if quiet {
			c := &sharer{l: l, number: linearClients, name: fmt.Sprintf("%d.%d", linearClients, life)}
			c.end(ctx)
		}
	}
	close(done)
	watch.Wait()
	if l.node.disk.stopped() {
		err = nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(err, l.broken)
}

const (
	shared      = "shared"       // the name of the stream and the group
	sharedQueue = "shared-queue" // no message of its address is the stream's
)

func (l *linear) setup(ctx context.Context) error {
	if _, ok := l.node.Stream("/", shared); !ok {
		if _, err := l.node.CreateStream(ctx, kernel.StreamSpec{Namespace: "/", Address: shared, Partitions: 1}); err != nil {
			return err
		}
	}
	spec := kernel.QueueSpec{Namespace: "/", Name: sharedQueue, Durable: true, MessageTTL: -1, MaxLength: -1, MaxLengthBytes: -1, DeliveryLimit: -1}
	if _, _, err := l.node.DeclareQueue(ctx, spec); err != nil {
		return err
	}
	if l.stale {
		l.began = make(map[string]any)
		for _, object := range []string{"log 0", "partition", "offset of " + shared} {
			v, err := l.read(object)
			if err != nil {
				return err
			}
			l.began[object] = v
		}
	}
	return nil
}

// read reads a whole object.
func (l *linear) read(object string) (any, error) {
	switch object {
	case "log 0":
		var names []string
		for _, st := range l.node.Streams("/") {
			if slices.Contains(streamNames, st.Address) {
				names = append(names, st.Address)
			}
		}
		return strings.Join(names, " "), nil
	case "partition":
		all, _, err := read(l.node, shared)
		return strings.Join(all[0], " "), err
	}
	at := int64(0)
	l.node.GroupRead("/", shared, func(g *group.Group) {
		o, _, _ := g.Fetch(shared, 0, true)
		at = max(at, o.Offset)
	})
	return at, nil
}

// sharer is one client of one life.
type sharer struct {
	l      *linear
	number int
	name   string
	rand   *rand.Rand
	seq    int

	pull  *kernel.Attachment
	in    *kerneltest.Inbox
	holds []kerneltest.Arrived
}

func (c *sharer) run(ctx context.Context, quiet bool) {
	for range linearAsks {
		if c.l.node.disk.stopped() || ctx.Err() != nil {
			return
		}
		switch n := c.rand.IntN(16); {
		case n < 2:
			c.declare(ctx)
		case n < 3:
			c.look("log 0", log0Ask{})
		case n < 5:
			c.append(ctx)
		case n < 6:
			c.look("partition", partitionAsk{})
		case n < 8:
			c.commit(ctx)
		case n < 9:
			c.look("offset of "+shared, offsetAsk{})
		case n < 12:
			c.publish(ctx)
		default:
			c.consume(ctx)
		}
	}
	if c.pull != nil && (quiet || c.rand.IntN(2) == 0) {
		c.detach(ctx)
	}
}

// end reads everything, and empties the queue, when no other client is there.
func (c *sharer) end(ctx context.Context) {
	c.look("log 0", log0Ask{})
	c.look("partition", partitionAsk{})
	c.look("offset of "+shared, offsetAsk{})
	for c.attach(ctx); c.pull != nil && c.get(ctx) != ""; {
	}
}

// call calls the broker, and notes what for and what came of it. An error is no answer if the
// power has gone.
func (c *sharer) call(object string, in any, f func() (any, error)) (out any, ok bool) {
	op := c.l.history.call(object, c.number, in)
	out, err := f()
	off := c.l.node.disk.stopped()
	if err == nil {
		c.l.history.end(op, out)
	}
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.l.report.Calls++
	switch {
	case err == nil:
		c.l.report.Answers++
	case !off && c.l.broken == nil:
		c.l.broken = fmt.Errorf("client %d: %s: %v: %w", c.number, object, in, err)
	}
	return out, err == nil
}

func (c *sharer) look(object string, in any) {
	c.call(object, in, func() (any, error) {
		if c.l.stale {
			return c.l.began[object], nil
		}
		return c.l.read(object)
	})
}

func (c *sharer) next() string {
	c.seq++
	return fmt.Sprintf("%s.%d", c.name, c.seq)
}

func (c *sharer) declare(ctx context.Context) {
	name, create := streamNames[c.rand.IntN(len(streamNames))], c.rand.IntN(2) == 0
	c.call("log 0", log0Ask{name: name, create: create}, func() (any, error) {
		var err error
		if create {
			_, err = c.l.node.CreateStream(ctx, kernel.StreamSpec{Namespace: "/", Address: name, Partitions: 1})
		} else {
			err = c.l.node.DeleteStream(ctx, "/", name)
		}
		if fault.Is(err, fault.Exists) || fault.Is(err, fault.NotFound) {
			return "false", nil
		}
		return "true", err
	})
}

func (c *sharer) append(ctx context.Context) {
	var ids []string
	var rb record.Builder
	rb.Reset(nil, c.l.node.Now().UnixMilli())
	for range 1 + c.rand.IntN(2) {
		ids = append(ids, c.next())
		rb.Add(c.l.node.Now().UnixMilli(), nil, fill(ids[len(ids)-1], c.rand.IntN(200)))
	}
	c.call("partition", partitionAsk{strings.Join(ids, " ")}, func() (any, error) {
		info, _ := c.l.node.Stream("/", shared)
		part, err := c.l.node.Partition(info.ID, 0)
		if err != nil {
			return nil, err
		}
		base, done := int64(0), make(chan error, 1)
		part.Append(rb.Finish(), -1, appended(func(r kernel.AppendResult) {
			base = r.BaseOffset
			done <- r.Err
		}), 0)
		err = answer(ctx, done)
		return base, err
	})
}

func (c *sharer) commit(ctx context.Context) {
	c.seq++
	at := int64(1 + c.rand.IntN(1_000_000))
	c.call("offset of "+shared, offsetAsk{at}, func() (any, error) {
		done := make(chan error, 1)
		offset := shard.GroupOffset{Topic: shared, Offset: group.Offset{Offset: at, LeaderEpoch: -1}}
		c.l.node.GroupCommit("/", shared, &shard.GroupCommit{Generation: -1, Offsets: []shard.GroupOffset{offset}}, func(errs []group.Error, err error) {
			if err == nil && (len(errs) != 1 || errs[0] != group.OK) {
				err = fmt.Errorf("answers %v", errs)
			}
			done <- err
		})
		return at, answer(ctx, done)
	})
}

func (c *sharer) publish(ctx context.Context) {
	id := c.next()
	c.call("queue", queueAsk{publish: id}, func() (any, error) {
		done := make(chan error, 1)
		c.l.node.Publish(&kernel.Publish{
			Namespace: "/", ViaExchange: true, Key: sharedQueue, Reply: received(func(err error) { done <- err }),
			Msg: message.Message{Source: message.AMQP, Address: sharedQueue, Value: fill(id, c.rand.IntN(200)), QoS: 1},
		})
		return "", answer(ctx, done)
	})
}

// consume attaches, gets a message, or settles one.
func (c *sharer) consume(ctx context.Context) {
	switch {
	case c.pull == nil:
		c.attach(ctx)
	case len(c.holds) > 0 && c.rand.IntN(3) == 0:
		c.settle(ctx)
	case c.rand.IntN(12) == 0:
		c.detach(ctx)
	default:
		c.get(ctx)
	}
}

// id names an attachment in the history.
func (c *sharer) id() uint64 {
	var life, number uint64
	_, _ = fmt.Sscanf(c.name, "%d.%d", &number, &life)
	return 1 + number + life<<8
}

func (c *sharer) attach(ctx context.Context) {
	c.in = kerneltest.NewInbox()
	c.call("queue", queueAsk{attach: c.id()}, func() (any, error) {
		a, err := c.l.node.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: sharedQueue, Pull: true, Sink: c.in})
		if err == nil {
			c.pull, c.holds = a, nil
		}
		return "", err
	})
}

// get gets a message; "": there is none.
func (c *sharer) get(ctx context.Context) string {
	out, _ := c.call("queue", queueAsk{get: c.id()}, func() (any, error) {
		some, err := c.pull.Get(ctx)
		if err != nil || !some {
			return "", err
		}
		d, ok := c.in.Poll()
		if !ok {
			return "", errors.New("the sink had no delivery when Get returned")
		}
		c.holds = append(c.holds, d)
		return d.ID, nil
	})
	id, _ := out.(string)
	return id
}

// settle settles as a transaction does, which is answered.
func (c *sharer) settle(ctx context.Context) {
	i := c.rand.IntN(len(c.holds))
	d := c.holds[i]
	c.holds = slices.Delete(c.holds, i, i+1)
	how := kernel.Accept
	if c.rand.IntN(3) == 0 {
		how = kernel.Requeue
	}
	c.call("queue", queueAsk{settle: d.ID, by: c.id(), requeue: how == kernel.Requeue}, func() (any, error) {
		_, err := c.l.node.Commit(ctx, nil, []kernel.SettleOp{{Attachment: c.pull, No: d.No, Outcome: how}})
		return int64(1), err
	})
}

func (c *sharer) detach(ctx context.Context) {
	_, ok := c.call("queue", queueAsk{detach: c.id()}, func() (any, error) { return "", c.pull.Detach(ctx, false) })
	if ok {
		c.pull = nil
	}
}
