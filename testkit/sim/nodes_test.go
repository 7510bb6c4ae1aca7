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

// TestNodes runs three production kernels over a network that loses, repeats, delays and cuts,
// while nodes are stopped and started. Goroutines and clocks are real, so a seed says what
// is done, and not in which order.
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
	away   uint64          // the node that is stopped or cut off; 0: none
	acked  map[string]bool // in the queue, by id
	stored map[string]bool // in the stream
}

func runNodes(t *testing.T, seed uint64) {
	r := &nodesRun{t: t, weather: transport.NewWeather(clock.Wall{}, seed), news: make(chan struct{}, 1), acked: make(map[string]bool), stored: make(map[string]bool)}
	r.weather.Set(transport.Faults{Loss: 0.01, Repeat: 0.01, DelayMax: time.Millisecond})
	r.c = kerneltest.StartCluster(t, 3, kerneltest.Options{NoCapture: true, CheckpointBytes: 16 << 10, Weather: r.weather})
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
	disrupted := make(chan struct{})
	go func() {
		defer close(disrupted)
		r.disrupt(rand.New(rand.NewPCG(seed, 99)))
	}()
	all.Wait()
	r.over.Store(true)
	r.tell()
	<-disrupted
	r.check(ctx)
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
		node := uint64(1 + rnd.IntN(3))
		stopped = rnd.IntN(2) == 0
		r.setAway(node)
		if stopped {
			r.c.Stop(node)
		} else {
			r.weather.Isolate(node, 1, 2, 3)
		}
	}
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
	r.mu.Lock()
	away := r.away
	r.mu.Unlock()
	for {
		if id := uint64(1 + rnd.IntN(3)); id != away {
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
	for id := uint64(1); id <= 3; id++ {
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
			t.Errorf("node %d has %d records, node 1 has %d: they differ", i+1, len(streams[i]), len(streams[0]))
		}
	}
	inOrder(t, "stream", streams[0], r.stored, true)

	in := kerneltest.NewInbox()
	k := r.c.Node(2)
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
