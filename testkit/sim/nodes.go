package sim

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/cluster/transport"
	"github.com/robustmq/rmq/broker/kernel"
)

// Nodes runs whole kernels as the nodes of a cluster, each on a disk of its own that loses what
// was not synced, over a network that loses, repeats, delays and cuts. Clients use them as adapters
// do, and go from node to node. For a while everything goes wrong that can: then nothing does, and
// what was promised is looked for on every node.
//
// It is to be called in a bubble of testing/synctest: time is virtual, and passes when all
// goroutines wait for it. What is done and what goes wrong follows from the seed; goroutines
// take turns as they do in production, so a seed that found something finds it again often, not
// always.
//
// Promises:
//
//   - Of each shard all nodes apply the same entries, and one node leads in a term.
//   - A record that was acknowledged to a Kafka producer is in its partition at its offset, once, in the
//     order of its producer, on all nodes; what was seen at an offset stays there.
//   - A message that was acknowledged to a publisher is delivered by its queue. One that was settled,
//     while the attachment was known to hold, is not delivered again.
//   - A publish at QoS 2 is in a stream, in a queue and in a session once, whichever nodes its
//     publisher was connected to; a session's client is given it once, whichever nodes that was.
//   - A reader of a retained message, of a group's offset or of the end of a partition is given what was
//     acknowledged last, or newer.
//   - What was declared is there on every node, and what was deleted is not.
//   - Once nothing goes wrong any more, every client is served within servedWithin.

// NodesOptions bound a run of nodes. The zero value is what a test runs.
type NodesOptions struct {
	Storm time.Duration // virtual time in which things go wrong; 0: 6 s
	Bug   NodeBug
	// Outcomes leaves out the checks that look inside of nodes: what remains is seen by clients.
	Outcomes bool
	Log      func(format string, args ...any) // is told what happens, by several goroutines at once
}

// NodesReport says what a run has exercised.
type NodesReport struct {
	PowerLosses, Kills, Closes, FailedOpens, Pauses, Cuts, Full, SyncErrors, Blackouts int
	Joined, Drained, Removed, HandedOver                                               int
	Leaders, Applied, CaughtUp                                                         int
	Appended, Resent, Published, Unknown, Delivered, Settled                           int
	ExactlyIn, ExactlyOut, TakeOvers                                                   int
	Retained, Offsets, Reads, Declared, Deleted                                        int
	Virtual                                                                            time.Duration
}

// Bounds of virtual time, once all faults have ended.
const (
	recoverWithin = 30 * time.Second // all nodes are up, or it is told later
	servedWithin  = 60 * time.Second // all clients are done
	calmStep      = 20 * time.Millisecond
)

// Nodes runs one seed. The error says what promise was broken.
func Nodes(seed uint64, o NodesOptions) (NodesReport, error) {
	if o.Storm == 0 {
		o.Storm = 6 * time.Second
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	f := newFleet(seed, o)
	f.run()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.report.Virtual = time.Since(f.began)
	if f.broken != nil {
		return f.report, fmt.Errorf("seed %d: %w", seed, f.broken)
	}
	return f.report, nil
}

// fleet is one run: some nodes, what connects them, and those who use them.
//
// Ownership: mu guards what is below it.
type fleet struct {
	seed    uint64
	opt     NodesOptions
	began   time.Time
	hub     *transport.Hub
	weather *transport.Weather
	voters  []uint64 // the nodes that the cluster began with
	shards  int
	calm    chan struct{} // closed when nothing goes wrong any more
	over    chan struct{} // closed when the nodes are to end
	done    atomic.Bool   // clients end
	books   *books
	clients sync.WaitGroup
	errands sync.WaitGroup // what nobody waits for, until the end

	mu     sync.Mutex
	nodes  []*kernelNode // by id from 1 on
	broken error
	report NodesReport
	busy   map[string]string // what each client is at
}

func newFleet(seed uint64, o NodesOptions) *fleet {
	f := &fleet{
		seed: seed, opt: o, began: time.Now(), hub: transport.NewHub(), weather: transport.NewWeather(clock.Wall{}, seed),
		shards: 1 + int(seed/2%2), calm: make(chan struct{}), over: make(chan struct{}), busy: make(map[string]string),
	}
	f.books = newBooks(f)
	f.fair()
	for id := range 3 + 2*(seed%2) {
		f.voters = append(f.voters, id+1)
	}
	for _, id := range f.voters {
		f.nodes = append(f.nodes, newKernelNode(f, id))
	}
	return f
}

// random is a source of chance for one purpose.
func (f *fleet) random(purpose uint64) *rand.Rand {
	return rand.New(rand.NewPCG(f.seed, 0x6e6f646573<<8|purpose))
}

// run is the whole run.
func (f *fleet) run() {
	var lives sync.WaitGroup
	defer lives.Wait()
	defer f.errands.Wait()
	for _, n := range f.all() {
		lives.Go(n.run)
	}
	end := sync.OnceFunc(func() { close(f.over) })
	defer end()
	w := newWorkload(f)
	if !w.setup() {
		return
	}
	w.start()
	var faults sync.WaitGroup
	faults.Go(func() { f.storm(f.random(1)) })
	faults.Go(func() { f.reshape(f.random(2), &lives) })
	f.wait(f.opt.Storm, func() bool { return false })
	close(f.calm)
	faults.Wait()
	f.recover()
	f.wait(recoverWithin, func() bool { f.lookForRemoved(); return f.isUp() })
	var served atomic.Bool
	ended := make(chan struct{})
	go func() { f.clients.Wait(); served.Store(true); close(ended) }()
	if !f.wait(servedWithin, func() bool { f.lookForRemoved(); return served.Load() }) {
		f.breach("not everybody is served %v after everything was well again: %s", servedWithin, f.standing())
		end() // or who waits for a shard that is not there waits for ever
	}
	<-ended
	f.done.Store(true)
	if !f.failed() {
		w.check()
	}
}

// isUp tells whether every node serves that is one.
func (f *fleet) isUp() bool {
	for _, n := range f.all() {
		if l := n.life(); !n.out.Load() && (l == nil || l.k.Load() == nil) {
			return false
		}
	}
	return true
}

// all are the nodes that there are now.
func (f *fleet) all() []*kernelNode {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.nodes)
}

// breach notes the first promise that was broken.
func (f *fleet) breach(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.breachLocked(format, args...)
}

func (f *fleet) breachLocked(format string, args ...any) {
	if f.broken == nil {
		f.broken = fmt.Errorf("at %v: "+format, append([]any{time.Since(f.began)}, args...)...)
		f.opt.Log("BREACH %v", f.broken)
		f.done.Store(true)
	}
}

func (f *fleet) failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.broken != nil
}

// note tells what happens.
func (f *fleet) note(format string, args ...any) {
	f.opt.Log("%v "+format, append([]any{time.Since(f.began)}, args...)...)
}

// logger is the log of a node, for what it says to be told with the rest.
func (f *fleet) logger(node uint64) *slog.Logger {
	return slog.New(slog.NewTextHandler(fleetLog{f, node}, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

type fleetLog struct {
	f    *fleet
	node uint64
}

// Write implements io.Writer.
func (l fleetLog) Write(line []byte) (int, error) {
	l.f.note("node %d: %s", l.node, bytes.TrimSpace(line))
	return len(line), nil
}

// count adds to the report.
func (f *fleet) count(n *int) {
	f.mu.Lock()
	*n++
	f.mu.Unlock()
}

// isCalm tells whether nothing goes wrong any more.
func (f *fleet) isCalm() bool {
	select {
	case <-f.calm:
		return true
	default:
		return false
	}
}

// wait lets time pass until a condition holds; false: it did not within d.
func (f *fleet) wait(d time.Duration, until func() bool) bool {
	for end := time.Now().Add(d); !f.failed(); time.Sleep(calmStep) { // virtual
		if until() {
			return true
		}
		if !time.Now().Before(end) {
			return false
		}
	}
	return false
}

// lookForRemoved ends nodes that the cluster does without: who was away then has not been told.
func (f *fleet) lookForRemoved() {
	nodes := f.all()
	for _, n := range nodes {
		l := n.life()
		if l == nil || n.out.Load() {
			continue
		}
		k := l.k.Load()
		if k == nil {
			continue
		}
		for _, o := range nodes {
			if seen, ok := k.Node(o.id); ok && seen.State == kernel.NodeRemoved && o.out.CompareAndSwap(false, true) {
				f.note("node %d is removed", o.id)
				f.count(&f.report.Removed)
				if l := o.life(); l != nil {
					l.finish(closed)
				}
			}
		}
	}
}

// serving picks a node that serves clients, as far as they can tell; nil: the run ends.
func (f *fleet) serving(r *rand.Rand) *life {
	for !f.done.Load() {
		var some []*life
		for _, n := range f.all() {
			if l := n.life(); l != nil && l.k.Load() != nil {
				some = append(some, l)
			}
		}
		if len(some) > 0 {
			l := some[r.IntN(len(some))]
			l.gate.pass() // a client of a process that is stopped waits
			if !l.ended.Load() {
				return l
			}
			continue
		}
		time.Sleep(calmStep) // virtual
	}
	return nil
}

// standing tells how everything stands.
func (f *fleet) standing() string {
	var text strings.Builder
	for _, n := range f.all() {
		l := n.life()
		if l == nil {
			fmt.Fprintf(&text, "\n node %d: down, out %v", n.id, n.out.Load())
			continue
		}
		fmt.Fprintf(&text, "\n node %d: life %d, serves %v, stopped %v", n.id, l.number, l.k.Load() != nil, l.gate.closed())
		if h := l.host.Load(); h != nil {
			for id, s := range h.Statuses() {
				fmt.Fprintf(&text, "\n  shard %d: leader %d term %d commit %d applied %d members %v err %v", id, s.Leader, s.Term, s.Commit, s.Applied, s.Members, s.Err)
			}
		}
	}
	f.mu.Lock()
	for who, what := range f.busy {
		if what != "" {
			fmt.Fprintf(&text, "\n %s: %s", who, what)
		}
	}
	f.mu.Unlock()
	return text.String()
}

// ---- what goes wrong ---------------------------------------------------------

// fair is weather as in a data center.
func (f *fleet) fair() {
	f.weather.Set(transport.Faults{DelayMin: 100 * time.Microsecond, DelayMax: time.Millisecond})
}

func between(r *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(r.Int64N(int64(to-from)))
}

// pause lets time pass; false: it is calm now, or the run ends.
func (f *fleet) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return !f.done.Load()
	case <-f.calm:
		return false
	}
}

// storm makes one thing after another go wrong, or well again.
func (f *fleet) storm(r *rand.Rand) {
	pace := [...]time.Duration{300 * time.Millisecond, 700 * time.Millisecond, 2 * time.Second}[r.IntN(3)]
	for f.pause(between(r, 20*time.Millisecond, pace)) {
		f.goWrong(r)
	}
}

// victim picks a node: whatever happens to leaders matters most.
func (f *fleet) victim(r *rand.Rand) *kernelNode {
	nodes := slices.DeleteFunc(f.all(), func(n *kernelNode) bool { return n.out.Load() })
	v := nodes[r.IntN(len(nodes))]
	if r.IntN(3) > 0 {
		return v
	}
	for _, n := range nodes {
		if l := n.life(); l != nil {
			if k := l.k.Load(); k != nil && k.Leads(1) {
				return n
			}
		}
	}
	return v
}

func (f *fleet) goWrong(r *rand.Rand) {
	n := f.victim(r)
	l := n.life()
	nodes := f.all()
	other := nodes[r.IntN(len(nodes))]
	do := r.IntN(24)
	if l == nil && (do < 5 || do >= 15 && do < 22) {
		return
	}
	switch do {
	case 0, 1: // at some file operation to come
		at := 1 + r.IntN([]int{3, 20, 100}[r.IntN(3)])
		f.note("node %d: power goes in %d operations", n.id, at)
		l.until.Store(int64(at))
	case 2, 3:
		l.finish(powerLoss)
	case 4:
		l.finish([]end{killed, killed, closed}[r.IntN(3)])
	case 5, 6:
		f.note("node %d is cut off", n.id)
		f.count(&f.report.Cuts)
		f.weather.Isolate(n.id, others(nodes, n.id)...)
	case 7, 8:
		if n != other {
			f.note("node %d does not hear %d", other.id, n.id)
			f.count(&f.report.Cuts)
			f.weather.Cut(n.id, other.id)
		}
	case 9, 10, 11:
		f.note("no cuts")
		f.weather.Heal()
	case 12, 13:
		w := transport.Faults{
			Loss: r.Float64() * 0.2, Repeat: r.Float64() * 0.2,
			DelayMin: 100 * time.Microsecond, DelayMax: between(r, time.Millisecond, 200*time.Millisecond),
		}
		f.note("weather %+v", w)
		f.weather.Set(w)
	case 14:
		f.note("fair weather")
		f.fair()
	case 15, 16, 17:
		d := between(r, 10*time.Millisecond, 3*time.Second)
		f.note("node %d is stopped for %v", n.id, d)
		f.count(&f.report.Pauses)
		l.gate.close()
		time.AfterFunc(d, l.gate.open)
	case 18:
		d := between(r, 5*time.Millisecond, 400*time.Millisecond)
		f.note("node %d: its disk takes %v", n.id, d)
		l.slow.Store(int64(d))
		time.AfterFunc(between(r, 100*time.Millisecond, 2*time.Second), func() { l.slow.Store(0) })
	case 19:
		f.note("node %d: its disk is full", n.id)
		f.count(&f.report.Full)
		n.disk.leave(int64(r.IntN(4 << 10)))
		time.AfterFunc(between(r, 100*time.Millisecond, 2*time.Second), n.room)
	case 20:
		f.note("node %d: syncs fail", n.id)
		f.count(&f.report.SyncErrors)
		l.ill.Store(true)
		time.AfterFunc(between(r, time.Millisecond, time.Second), func() { l.finish(killed) })
	case 21:
		if k := l.k.Load(); k != nil {
			f.handOver(r, l, k)
		}
	case 22:
		d := between(r, -3*time.Second, 3*time.Second)
		f.note("node %d: its clock is off by %v", n.id, d)
		n.skew.Store(int64(d))
	case 23: // the power of the whole building
		if r.IntN(3) == 0 {
			f.note("blackout")
			f.count(&f.report.Blackouts)
			for _, n := range nodes {
				if l := n.life(); l != nil {
					l.finish(powerLoss)
				}
			}
		}
	}
}

// handOver has another node lead a shard.
func (f *fleet) handOver(r *rand.Rand, l *life, k *kernel.Kernel) {
	for _, shard := range k.ShardIDs() {
		if keepers := k.Keepers(shard); shard != 0 && k.Leads(shard) && len(keepers) > 1 {
			to := keepers[r.IntN(len(keepers))]
			f.note("node %d: shard %d is to be led by %d", l.n.id, shard, to)
			f.count(&f.report.HandedOver)
			f.errands.Go(func() {
				ctx, cancel := f.patience()
				defer cancel()
				_ = k.HandOver(ctx, shard, to)
			})
			return
		}
	}
}

func others(nodes []*kernelNode, id uint64) (ids []uint64) {
	for _, n := range nodes {
		if n.id != id {
			ids = append(ids, n.id)
		}
	}
	return append(ids, uint64(len(nodes)+1)) // who joins meanwhile, too
}

// recover ends all that goes wrong.
func (f *fleet) recover() {
	f.note("calm")
	f.weather.Heal()
	f.fair()
	for _, n := range f.all() {
		n.room()
		n.skew.Store(0)
		if l := n.life(); l != nil {
			l.until.Store(0)
			l.slow.Store(0)
			l.gate.open()
			if l.ill.Load() {
				l.finish(killed)
			}
		}
	}
}

// nodesMost bounds the nodes at one time.
const nodesMost = 6

// reshape is what an operator does: adds nodes, drains, fills and removes them.
func (f *fleet) reshape(r *rand.Rand, lives *sync.WaitGroup) {
	if r.IntN(3) == 0 {
		return // in this run nobody does
	}
	for f.pause(between(r, 200*time.Millisecond, 1500*time.Millisecond)) {
		var k *kernel.Kernel
		if l := f.victim(r).life(); l != nil && !l.gate.closed() {
			k = l.k.Load()
		}
		if k == nil {
			continue
		}
		nodes := k.Nodes()
		up := 0
		for _, n := range nodes {
			if n.State == kernel.NodeUp {
				up++
			}
		}
		id := nodes[r.IntN(len(nodes))].ID
		ctx, cancel := f.patience()
		switch do := r.IntN(5); {
		case do < 2 && len(nodes) < nodesMost:
			f.join(k, lives)
		case do == 2 && up > 3:
			err := k.RemoveNode(ctx, id)
			f.note("node %d is to leave: %v", id, err)
		case do == 3 && up > 3:
			if err := k.DrainNode(ctx, id); err == nil {
				f.note("node %d is drained", id)
				f.count(&f.report.Drained)
			}
		default:
			_ = k.FillNode(ctx, id)
		}
		cancel()
	}
}

// join has one more node start. What is not known to have been added is added again.
func (f *fleet) join(k *kernel.Kernel, lives *sync.WaitGroup) {
	ctx, cancel := f.patience()
	defer cancel()
	f.mu.Lock()
	next := uint64(len(f.nodes) + 1)
	f.mu.Unlock()
	id, err := k.AddNode(ctx, kernel.NodeSpec{Peer: fmt.Sprintf("node-%d", next)})
	if err != nil {
		return
	}
	if id != next {
		f.breach("the node after %d is given the id %d", next-1, id)
		return
	}
	f.note("node %d joins", id)
	n := newKernelNode(f, id)
	f.mu.Lock()
	f.nodes = append(f.nodes, n)
	f.report.Joined++
	f.mu.Unlock()
	lives.Go(n.run)
}
