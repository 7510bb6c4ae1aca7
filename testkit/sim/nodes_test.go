package sim

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/cluster/transport"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
)

var nodesFlag = flag.Int("nodes", 0, "how many seeds of TestNodes to run")

// TestNodes runs three or five production kernels over a network that loses, repeats, delays and
// cuts, while nodes are stopped and started, and others join, are drained and leave. Goroutines and
// clocks are real, so a seed says what is done, and not in which order.
//
// What was acknowledged to a producer is in the queue once and in the stream once, in the order
// in which it was sent, and every node shows the same stream.
func TestNodes(t *testing.T) {
	seeds := nodesSeeds
	if *nodesFlag > 0 {
		seeds = *nodesFlag
	}
	if testing.Short() {
		seeds = 1
	}
	for i := range seeds {
		seed := uint64(*fromFlag + i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runNodes(t, seed) })
	}
}

const (
	nodesMost   = 6  // at one time
	nodesSeeds  = 2  // are run by default: each takes a second or more
	nodesOps    = 60 // publishes of each producer
	nodesEvery  = 30 // acknowledgements between two disruptions
	answerWait  = time.Second
	producersOf = 3
)

// nodesRun is one run.
type nodesRun struct {
	t       *testing.T
	c       *kerneltest.Cluster
	weather *transport.Weather
	acks    atomic.Int64
	news    chan struct{} // capacity 1: an acknowledgement has come
	over    atomic.Bool

	mu     sync.Mutex
	ids    []uint64        // the nodes that serve
	away   uint64          // the node that is stopped or cut off; 0: none
	leaves uint64          // the node that is about to leave; 0: none
	acked  map[string]bool // in the queue, by id
	stored map[string]bool // in the stream
}

func runNodes(t *testing.T, seed uint64) {
	r := &nodesRun{t: t, weather: transport.NewWeather(clock.Wall{}, seed), news: make(chan struct{}, 1), acked: make(map[string]bool), stored: make(map[string]bool)}
	r.weather.Set(transport.Faults{Loss: 0.01, Repeat: 0.01, DelayMax: time.Millisecond})
	began := 3 + 2*int(seed%2)
	for id := range began {
		r.ids = append(r.ids, uint64(id+1))
	}
	r.c = kerneltest.StartCluster(t, began, kerneltest.Options{NoCapture: true, CheckpointBytes: 16 << 10, Weather: r.weather})
	ctx := t.Context()
	k := r.c.Node(1)
	spec := kernel.QueueSpec{Namespace: "/", Name: "q", Durable: true, MessageTTL: -1, MaxLength: -1, MaxLengthBytes: -1, DeliveryLimit: -1}
	if _, _, err := k.DeclareQueue(ctx, spec); err != nil {
		t.Fatal(err)
	}
	if _, err := k.CreateStream(ctx, kernel.StreamSpec{Namespace: "/", Address: "s", Partitions: 1, Config: map[string]string{"retention.ms": "-1"}}); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for p := range producersOf {
		rnd := rand.New(rand.NewPCG(seed, uint64(p)))
		all.Go(func() { r.toQueue(fmt.Sprintf("q%d", p), rnd) })
		all.Go(func() { r.toStream(fmt.Sprintf("s%d", p), int64(1000+p), rnd) })
	}
	var beside sync.WaitGroup
	beside.Go(func() { r.disrupt(rand.New(rand.NewPCG(seed, 99))) })
	beside.Go(func() { r.change(rand.New(rand.NewPCG(seed, 98))) })
	all.Wait()
	r.over.Store(true)
	r.tell()
	beside.Wait()
	r.check(ctx)
}

// change has nodes join, be drained, filled and leave, one after another, until the producers are done.
func (r *nodesRun) change(rnd *rand.Rand) {
	ctx := r.t.Context()
	for !r.over.Load() {
		r.mu.Lock()
		ids := slices.Clone(r.ids)
		r.mu.Unlock()
		id := ids[rnd.IntN(len(ids))]
		k := r.node(rnd)
		up := 0
		for _, n := range k.Nodes() {
			if n.State == kernel.NodeUp {
				up++
			}
		}
		spare := up > 3 // of three that vote, one may be away
		switch do := rnd.IntN(4); {
		case do == 0 && len(ids) < nodesMost:
			id = r.c.Add(k.Self())
			r.mu.Lock()
			r.ids = append(r.ids, id)
			r.mu.Unlock()
		case do == 1 && spare:
			if r.setLeaves(id) {
				r.leave(ctx, id, rnd)
			}
		case do == 2 && spare:
			_ = k.DrainNode(ctx, id) // what fails is not so
		default:
			_ = k.FillNode(ctx, id)
		}
	}
}

// setLeaves has a node left alone by disrupt, unless that is at it.
func (r *nodesRun) setLeaves(id uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.away == id {
		return false
	}
	r.leaves = id
	return true
}

// leave removes a node, and stops it once it is removed.
func (r *nodesRun) leave(ctx context.Context, id uint64, rnd *rand.Rand) {
	defer func() {
		r.mu.Lock()
		r.leaves = 0
		r.mu.Unlock()
	}()
	for asked := false; ; {
		k := r.node(rnd)
		n, _ := k.Node(id)
		switch {
		case n.State == kernel.NodeRemoved:
			r.mu.Lock()
			r.ids = slices.DeleteFunc(r.ids, func(x uint64) bool { return x == id })
			r.mu.Unlock()
			r.c.Stop(id)
			return
		case !asked:
			asked = k.RemoveNode(ctx, id) == nil
		default:
			changed, stop := k.Changes()
			select {
			case <-changed:
			case <-r.news: // or it is not there any more
			}
			stop()
		}
	}
}

// disrupt stops and cuts off one node after another, each for as long as some acknowledgements
// take: the other two have a majority.
func (r *nodesRun) disrupt(rnd *rand.Rand) {
	stopped := false
	for until := int64(nodesEvery); ; until += nodesEvery {
		for r.acks.Load() < until && !r.over.Load() {
			<-r.news
		}
		away := r.setAway(0)
		switch {
		case away == 0:
		case stopped:
			r.c.Start(away)
		default:
			r.weather.Heal()
		}
		if r.over.Load() {
			return
		}
		node, others := r.pick(rnd)
		if node == 0 {
			continue
		}
		if stopped = rnd.IntN(2) == 0; stopped {
			r.c.Stop(node)
		} else {
			r.weather.Isolate(node, others...)
		}
	}
}

// pick has one node be away, that is not about to leave; 0: there is none.
func (r *nodesRun) pick(rnd *rand.Rand) (node uint64, others []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	node = r.ids[rnd.IntN(len(r.ids))]
	if node == r.leaves {
		return 0, nil
	}
	r.away = node
	for id := uint64(1); id <= slices.Max(r.ids)+1; id++ { // who joins meanwhile, too
		if id != node {
			others = append(others, id)
		}
	}
	return node, others
}

func (r *nodesRun) setAway(node uint64) (was uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, r.away = r.away, node
	return was
}

func (r *nodesRun) tell() {
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// node picks one that is not away.
func (r *nodesRun) node(rnd *rand.Rand) *kernel.Kernel {
	for {
		r.mu.Lock()
		id, away, leaves := r.ids[rnd.IntN(len(r.ids))], r.away, r.leaves
		r.mu.Unlock()
		if id != away && id != leaves {
			if k := r.c.Running(id); k != nil {
				return k
			}
		}
	}
}

// toQueue publishes, and goes on to another node where there is no answer. What has none may
// be there or not.
func (r *nodesRun) toQueue(name string, rnd *rand.Rand) {
	for i := range nodesOps {
		id := fmt.Sprintf("%s-%04d", name, i)
		done := make(outcome, 1)
		err := r.node(rnd).Publish(&kernel.Publish{
			Namespace: "/", Reply: done, Msg: message.Message{Source: message.MQTT, Address: "q", Value: []byte(id), QoS: 1},
		})
		if err == nil && done.ok() {
			r.note(r.acked, id)
		}
	}
}

// toStream appends as an idempotent producer does: what has no answer is sent again, to another
// node, until it has.
func (r *nodesRun) toStream(name string, producer int64, rnd *rand.Rand) {
	for i := range nodesOps {
		id := fmt.Sprintf("%s-%04d", name, i)
		var b record.Builder
		b.Reset(nil, 1_700_000_000_000)
		b.Add(1_700_000_000_000, nil, []byte(id))
		batch := b.Finish()
		batch.SetProducer(producer, 0, int32(i))
		for {
			k := r.node(rnd)
			st, _ := k.Stream("/", "s")
			p, err := k.Partition(st.ID, 0)
			if err != nil {
				continue // not there yet
			}
			done := make(outcome, 1)
			if err := p.Append(slices.Clone(batch), -1, done, 0); err != nil {
				continue
			}
			if done.ok() {
				break
			}
		}
		r.note(r.stored, id)
	}
}

func (r *nodesRun) note(in map[string]bool, id string) {
	r.mu.Lock()
	in[id] = true
	r.mu.Unlock()
	r.acks.Add(1)
	r.tell()
}

// outcome is told the outcome of one publish or append. Capacity 1.
type outcome chan error

func (a outcome) Published(_ uint64, p kernel.PublishResult) { a <- p.Err }
func (a outcome) Appended(_ uint64, p kernel.AppendResult)   { a <- p.Err }

// ok waits for an answer, and tells whether it was a good one.
func (a outcome) ok() bool {
	t := time.NewTimer(answerWait)
	defer t.Stop()
	select {
	case err := <-a:
		return err == nil
	case <-t.C:
		return false
	}
}

// check looks at what is there, from every node.
func (r *nodesRun) check(ctx context.Context) {
	t := r.t
	var streams [][]string
	for _, id := range r.ids {
		k := r.c.Node(id)
		if err := k.Barrier(ctx); err != nil {
			t.Fatalf("node %d: %v", id, err)
		}
		st, _ := k.Stream("/", "s")
		p, err := k.Partition(st.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for off := int64(0); off < p.Info().End; {
			x, err := p.Read(off, 1<<20, "", true)
			if err != nil || x.Next <= off {
				t.Fatalf("node %d at %d of %d: %v", id, off, p.Info().End, err)
			}
			for _, raw := range x.Batches {
				for len(raw) > 0 {
					b, rest, err := record.Check(raw, 1<<20)
					if err != nil {
						t.Fatal(err)
					}
					raw = rest
					_ = b.Each(func(rec *record.Record) error { got = append(got, string(rec.Value)); return nil })
				}
			}
			off = x.Next
		}
		streams = append(streams, got)
	}
	for i := range streams {
		if !slices.Equal(streams[i], streams[0]) {
			t.Errorf("node %d has %d records, node %d has %d: they differ", r.ids[i], len(streams[i]), r.ids[0], len(streams[0]))
		}
	}
	inOrder(t, "stream", streams[0], r.stored, true)

	in := kerneltest.NewInbox()
	k := r.c.Node(r.ids[len(r.ids)-1])
	a, err := k.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: "q", Credit: kernel.Unlimited, Sink: in})
	if err != nil {
		t.Fatal(err)
	}
	info, err := k.Queue("/", "q", 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for range info.Ready + info.Unacked {
		d, err := in.Next(ctx)
		if err != nil {
			t.Fatalf("%d of %d delivered: %v", len(got), info.Ready, err)
		}
		got = append(got, d.ID)
		a.Settle(d.No, false, kernel.Accept)
	}
	inOrder(t, "queue", got, r.acked, false)
}

// inOrder checks that all that was acknowledged is there, once, and in each producer's order.
// exact: and nothing else.
func inOrder(t *testing.T, what string, got []string, acked map[string]bool, exact bool) {
	have := make(map[string]bool)
	last := make(map[string]string)
	for _, id := range got {
		producer, _, _ := strings.Cut(id, "-")
		switch {
		case have[id]:
			t.Errorf("%s: %s is there twice", what, id)
		case !acked[id]: // its producer did not wait for it
		case id < last[producer]:
			t.Errorf("%s: %s after %s", what, id, last[producer])
		default:
			last[producer] = id
		}
		have[id] = true
		if exact && !acked[id] {
			t.Errorf("%s: %s was not acknowledged", what, id)
		}
	}
	for id := range acked {
		if !have[id] {
			t.Errorf("%s: %s was acknowledged and is gone", what, id)
		}
	}
	t.Logf("%s: %d acknowledged, %d there", what, len(acked), len(got))
}
