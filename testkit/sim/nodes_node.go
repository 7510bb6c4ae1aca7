package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/cluster/group"
	"github.com/robustmq/rmq/broker/cluster/transport"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/vfs"
)

// kernelNode is one node of a fleet: a disk, and one life after another on it.
type kernelNode struct {
	f    *fleet
	id   uint64
	disk *disk
	rand *rand.Rand // owned by run
	skew atomic.Int64
	out  atomic.Bool // it was removed from the cluster
	now  atomic.Pointer[life]
}

// life is one life of a node. What it does with the rest of the world goes through its gate.
type life struct {
	n      *kernelNode
	number int
	mount  *mount
	gate   *gate
	k      atomic.Pointer[kernel.Kernel] // while it serves
	host   atomic.Pointer[group.Host]
	ended  atomic.Bool
	ends   chan end // capacity 1: how it is to end

	until atomic.Int64 // operations until the power goes; 0: it does not
	slow  atomic.Int64 // what a write takes, in ns; 0: less than a millisecond
	ill   atomic.Bool  // every sync fails
	part  float64      // of the write at which the power goes, what is done

	opening atomic.Pointer[kernel.Kernel]
}

func newKernelNode(f *fleet, id uint64) *kernelNode {
	return &kernelNode{f: f, id: id, disk: newDisk(), rand: f.random(100 + id)}
}

func (n *kernelNode) life() *life { return n.now.Load() }

// room ends the fullness of the disk.
func (n *kernelNode) room() { n.disk.leave(-1) }

// run lives until the fleet is over or the node was removed.
func (n *kernelNode) run() {
	for number := 1; ; number++ {
		n.live(number)
		if n.out.Load() || n.f.failed() {
			return
		}
		d, calm := between(n.rand, 10*time.Millisecond, 1500*time.Millisecond), n.f.calm
		if n.f.isCalm() { // and time goes on all the same: a disk may be full until it has
			d, calm = 10*time.Millisecond, nil
		}
		t := time.NewTimer(d)
		select {
		case <-t.C:
		case <-calm:
		case <-n.f.over:
		}
		t.Stop()
		select {
		case <-n.f.over:
			return
		default:
		}
	}
}

// finish ends a life, if it has not begun to end.
func (l *life) finish(how end) {
	select {
	case l.ends <- how:
	default:
	}
}

// live is one life.
func (n *kernelNode) live(number int) {
	f := n.f
	l := &life{n: n, number: number, gate: newGate(), ends: make(chan end, 1), part: n.rand.Float64()}
	l.mount = n.disk.mount(l.operation)
	n.now.Store(l)
	f.note("node %d begins its life %d", n.id, number)
	opened := make(chan error, 1)
	var engine *filelog.Engine
	var held *heldLog
	place := f.hub.Node(n.id)
	go func() {
		var err error
		engine, held, err = l.open(place)
		opened <- err
	}()
	var how end
	var err error
	select {
	case err = <-opened:
		switch {
		case err == nil:
			select {
			case how = <-l.ends:
			case <-f.over:
				how = closed
			}
		case l.mount.stopped():
			how = powerLoss
		case errors.Is(err, syscall.ENOSPC) || l.ill.Load():
			how = killed
		case strings.Contains(err.Error(), "was removed from the cluster"):
			n.out.Store(true)
			how = killed
		default:
			f.breach("node %d does not open: %v", n.id, err)
			how = killed
		}
	case how = <-l.ends:
		l.end(place, how)
		err = <-opened
	case <-f.over:
		how = killed
		l.end(place, how)
		err = <-opened
	}
	if err != nil {
		f.count(&f.report.FailedOpens)
	}
	l.end(place, how)
	l.close(engine, held, how)
	n.now.Store(nil)
	f.note("node %d: %v", n.id, how)
	f.mu.Lock()
	switch how {
	case powerLoss:
		f.report.PowerLosses++
	case killed:
		f.report.Kills++
	case closed:
		f.report.Closes++
	}
	f.mu.Unlock()
	l.mount.end(how, n.rand.Uint64())
	if err := n.disk.overlap(); err != nil {
		f.breach("node %d: %v", n.id, err)
	}
}

// end takes the node off the network, and, unless it ends in peace, from its disk.
func (l *life) end(place *transport.HubNode, how end) {
	if l.ended.Swap(true) {
		return
	}
	l.k.Store(nil)
	place.Leave()
	if how != closed {
		l.mount.cut()
	}
	l.gate.open()
	if k := l.opening.Load(); k != nil { // Open gives up
		_ = k.Close(context.Background())
	}
}

// close waits for all that the life has started.
func (l *life) close(engine *filelog.Engine, held *heldLog, how end) {
	f := l.n.f
	ctx, cancel := context.WithTimeout(context.Background(), servedWithin)
	defer cancel()
	if k := l.opening.Load(); k != nil {
		if err := k.Close(ctx); err != nil {
			f.breach("node %d: close: %v", l.n.id, err)
		}
	}
	if h := l.host.Load(); h != nil {
		if err := h.Close(ctx); err != nil {
			f.breach("node %d: close of groups: %v", l.n.id, err)
		}
	}
	if held != nil {
		held.end()
	}
	if engine != nil {
		if err := engine.Close(); err != nil && how == closed && !l.mount.stopped() && !l.ill.Load() && !storage.NoSpace(err) {
			f.breach("node %d: close of the engine: %v", l.n.id, err)
		}
	}
	l.mount.close()
}

// open opens the node's kernel. What it returns is to be closed, whether there is an error or not.
func (l *life) open(place *transport.HubNode) (*filelog.Engine, *heldLog, error) {
	n, f := l.n, l.n.f
	r := f.random(n.id<<32 | uint64(l.number)<<16)
	engine, err := filelog.Open(dataDir, filelog.Options{
		FS: l.mount.fs, Checkpoints: func(string) (filelog.CheckpointStore, error) { return l.mount, nil },
		WALFileMin: 8 << 10, WALFileMax: 32 << 10, SegmentBytes: 4 << 10 << r.IntN(4), OpenFiles: 4,
	})
	if err != nil {
		return nil, nil, err
	}
	held := newHeldLog(l, engine.Log())
	checkpoints, catchUp := 2<<10<<r.IntN(6), 8<<10<<r.IntN(6) // bytes
	link := gatedClock{gate: l.gate}
	way := func(channel byte) transport.Sender {
		return lifeSender{l, f.weather.Wrap(n.id, place.Channel(channel))}
	}
	host := group.NewHost(group.Options{
		Self: n.id, Workers: 2, Clock: link, Seed: f.seed ^ n.id<<32 ^ uint64(l.number)<<48,
		Transport: way(transport.ChanRaft), Urgent: way(transport.ChanBeat), Logger: f.logger(n.id),
	})
	l.host.Store(host)
	place.Handle(transport.ChanRaft, l.gate.receiver(host.Receive))
	place.Handle(transport.ChanBeat, l.gate.receiver(host.Receive))
	k, err := kernel.Open(kernel.Config{
		Engine: heldEngine{engine, held}, Time: gatedClock{gate: l.gate, skew: &n.skew}, Link: link, DataShards: f.shards,
		CheckpointBytes: checkpoints, Self: n.id, Voters: f.voters, Peers: way(transport.ChanRelay), Log: f.logger(n.id),
		Bind: func(k *kernel.Kernel) {
			l.opening.Store(k)
			if l.ended.Load() {
				_ = k.Close(context.Background())
			}
			place.Handle(transport.ChanRelay, l.gate.receiver(k.Receive))
		},
		Removed: func() {
			if n.out.CompareAndSwap(false, true) {
				f.note("node %d is removed", n.id)
				f.count(&f.report.Removed)
			}
			l.finish(closed)
		},
		OpenGroup: func(s kernel.GroupSpec) (kernel.Group, error) {
			m := &bookedMachine{Machine: s.Machine, l: l, shard: s.Shard, applied: s.Applied}
			held.shard(s.Shard, m)
			g, err := host.Open(group.Config{
				Shard: s.Shard, Log: held, Sync: s.Sync, Applied: s.Applied, AppliedTerm: s.AppliedTerm, Machine: m, Members: s.Members,
				Bind:     func(g *group.Group) { m.group = g; s.Bind(bookedGroup{g, m}) },
				BytesMax: s.BytesMax, EntriesMax: s.EntriesMax, CatchUp: catchUp,
			})
			if err != nil {
				return nil, err
			}
			return bookedGroup{g, m}, nil
		},
	})
	if err != nil {
		return engine, held, err
	}
	f.note("node %d serves", n.id)
	l.k.Store(k)
	if l.ended.Load() {
		l.k.Store(nil)
	}
	return engine, held, nil
}

// operation is asked before each operation on the node's files.
func (l *life) operation(op vfs.Op) error {
	switch {
	case !op.Kind.Changes():
		return nil
	case op.Kind == vfs.OpSync && l.ill.Load():
		return errors.New("input/output error")
	case l.until.Load() == 0 || l.until.Add(-1) != 0:
		return nil
	}
	l.mount.cut()
	l.finish(powerLoss)
	if op.Kind == vfs.OpWrite {
		return &vfs.Short{Bytes: int64(l.part * float64(op.Size)), Err: vfs.ErrStopped}
	}
	return vfs.ErrStopped
}

// lifeSender is a life's way to the others.
type lifeSender struct {
	l  *life
	to transport.Sender
}

func (s lifeSender) Send(to uint64, frame []byte) {
	if !s.l.ended.Load() && !s.l.mount.stopped() {
		s.to.Send(to, frame)
	}
}

// gate stands between a process and the world: while it is closed the process is stopped. What
// comes then waits, in order.
type gate struct {
	mu      sync.Mutex
	shut    bool
	running bool // somebody lets what has waited in
	waiting []func()
	opened  chan struct{} // closed when it opens
}

func newGate() *gate { return &gate{} }

// through does f, now or when the gate is open.
func (g *gate) through(f func()) {
	g.mu.Lock()
	if g.shut || g.running {
		g.waiting = append(g.waiting, f)
		g.mu.Unlock()
		return
	}
	g.mu.Unlock()
	f()
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.shut {
		g.shut, g.opened = true, make(chan struct{})
	}
}

func (g *gate) open() {
	g.mu.Lock()
	if !g.shut {
		g.mu.Unlock()
		return
	}
	g.shut = false
	close(g.opened)
	if g.running {
		g.mu.Unlock()
		return
	}
	g.running = true
	for len(g.waiting) > 0 && !g.shut {
		f := g.waiting[0]
		g.waiting = g.waiting[1:]
		g.mu.Unlock()
		f()
		g.mu.Lock()
	}
	g.running = false
	g.mu.Unlock()
}

// pass waits until the gate is open.
func (g *gate) pass() {
	g.mu.Lock()
	shut, opened := g.shut, g.opened
	g.mu.Unlock()
	if shut {
		<-opened
	}
}

func (g *gate) closed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}

// receiver gives frames to r.
func (g *gate) receiver(r transport.Receiver) transport.Receiver {
	return func(from uint64, frame []byte) error {
		g.mu.Lock()
		if g.shut || g.running {
			frame = slices.Clone(frame)
			g.waiting = append(g.waiting, func() { _ = r(from, frame) })
			g.mu.Unlock()
			return nil
		}
		g.mu.Unlock()
		return r(from, frame)
	}
}

// gatedClock is the clock of a process.
type gatedClock struct {
	gate *gate
	skew *atomic.Int64 // nil: none
}

func (c gatedClock) Now() time.Time {
	now := time.Now()
	if c.skew != nil {
		now = now.Add(time.Duration(c.skew.Load()))
	}
	return now
}

func (c gatedClock) AfterFunc(d time.Duration, f func()) clock.Timer {
	return time.AfterFunc(d, func() { c.gate.through(f) })
}

// heldEngine is an engine whose log is a heldLog.
type heldEngine struct {
	storage.Engine
	log *heldLog
}

func (e heldEngine) Log() storage.Log { return e.log }

func (e heldEngine) Checkpoints() storage.Checkpoints {
	if l := e.log.l; l.n.f.opt.Bug == NodeBugTornSave {
		return tornCheckpoints{l.mount}
	}
	return e.Engine.Checkpoints()
}

func (heldEngine) Close() error { return nil } // its owner's
