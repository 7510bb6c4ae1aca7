// Package sim runs the broker's kernel on a disk that loses power, and checks what
// is left of what was promised.
//
// A run is a number of lives. In each a kernel is opened on what the last one left
// on the disk, is checked against the model, and works for clients until the power
// goes at a chosen file operation (or the process is killed, or closes in peace).
// The disk then keeps what was synced, and of the rest what chance leaves: see
// vfs.Mem.
//
// The model knows of every message whether the broker acknowledged it. It holds
// the kernel to this:
//
//   - What was acknowledged is there, once, and what was never sent is not.
//   - What a client has seen at an offset stays at that offset.
//   - Messages of one producer to one address, and to one queue, keep their order.
//   - A settled message does not come back, once a later publish to its queue was
//     acknowledged.
//   - A producer that sends again what it is unsure of, with the same sequence
//     numbers, has each message once.
//   - An MQTT client that sends again what has no PUBREC, and releases again what has
//     no PUBCOMP, has each message once, wherever it is routed.
//   - A group's committed offset is there, or a later one that was sent.
//   - What is asynchronous, and what is in memory, is promised less: see lesser.go.
//   - A stream that is bounded in bytes loses its oldest, and no more than that takes.
//   - Machines restored from a checkpoint, with the entries after it, equal those
//     that have seen every entry, byte for byte; and a fork stays as it was.
//
// # What a seed decides
//
// Run: what each client does, at which file operation a life ends and what the disk
// keeps of what was not synced. Goroutines of the engine and the kernel take turns as
// they do in production, and with them the order of file operations and of requests; so
// a seed that found something finds it again often, not always.
//
// Serial: everything that a client can see. One client makes one request at a time, and the
// power goes between an answer and the next request. Whatever the broker's goroutines do
// meanwhile, each answer, each offset and all that is there after each restart follow
// from the seed, and two runs are compared.
//
// Linear: as Run. Its clients share what they use, and what they saw, over all lives, must be
// explained by one order.
//
// Voters: everything. It runs nodes that replicate shards, and come and go, in one goroutine and in
// virtual time; voters.go says what it checks.
//
// Nodes: what each client does, and what goes wrong with which node and when. It runs whole kernels as the nodes of
// a cluster, in virtual time, on goroutines that take turns as Run's do; nodes.go says what it checks.
package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"
)

// Options bound a run. The zero value is what a test runs.
type Options struct {
	Lives    int           // 0: 6
	Clients  int           // 0: 4
	Ops      int           // of each client in a life; 0: 60
	Patience time.Duration // how long anything may take before the run is called stuck; 0: 30 s
	Log      func(format string, args ...any)
	Trace    string // log the operations on files with this in their path; "/": on all
}

// Report says what a run has exercised, so that a test can tell that it has.
type Report struct {
	PowerLosses, Kills, Closes int
	FailedOpens                int // power went while the kernel was opening
	Published, Acknowledged    int
	Delivered, Settled         int
	Resent                     int // by idempotent producers, and at QoS 2
	ExactlyOnce                int // acknowledged at QoS 2
	Offsets                    int // committed
	Lost                       int // records of streams that were acknowledged and are gone
	Taken                      int // asynchronous, that were acknowledged and that a power loss might take
	Checkpoints                int
	Operations                 int // of the file system, those that change something
}

// Run runs one seed. The error says what promise was broken.
func Run(seed uint64, o Options) (Report, error) {
	if o.Lives == 0 {
		o.Lives = 6
	}
	if o.Clients == 0 {
		o.Clients = 4
	}
	if o.Ops == 0 {
		o.Ops = 60
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	s := &sim{seed: seed, opt: o, rand: rand.New(rand.NewPCG(seed, 0x73696d)), disk: newDisk(), model: newModel(), shadows: newShadows()}
	s.disk.trace, s.disk.log = o.Trace, o.Log
	for i := range o.Clients {
		s.producers = append(s.producers, &producer{id: -1, partition: int32(i % 3)})
	}
	for i := range min(exacts, o.Clients) {
		s.exact = append(s.exact, newExact(i))
	}
	for life := range o.Lives + 1 {
		// The last life is quiet: everything is read back.
		err := s.life(life, life == o.Lives)
		s.report.Lost, s.report.Taken = s.model.lost, s.model.taken
		if err != nil {
			return s.report, fmt.Errorf("seed %d, life %d: %w", seed, life, err)
		}
	}
	return s.report, nil
}

type sim struct {
	seed      uint64
	opt       Options
	rand      *rand.Rand
	disk      *disk
	model     *model
	shadows   *shadows
	producers []*producer
	exact     []*exact
	report    Report
}

// ends of a life
type end int

const (
	powerLoss end = iota
	killed
	closed
)

func (e end) String() string { return [...]string{"power loss", "kill", "close"}[e] }

// life is one life of the kernel. The error is a broken promise; an error of the
// disk, which the simulation has made, is not.
func (s *sim) life(number int, quiet bool) error {
	how, at := closed, 0
	if !quiet {
		switch n := s.rand.IntN(10); {
		case n < 6:
			how = powerLoss
		case n < 9:
			how = killed
		}
		at = 1 + s.rand.IntN([]int{20, 200, 1000, 3000}[s.rand.IntN(4)])
	}
	if how == closed {
		at = 0
	}
	s.opt.Log("life %d ends by %v at operation %d", number, how, at)
	ctx, cancel := context.WithTimeout(context.Background(), s.opt.Patience)
	defer cancel()
	m := s.disk.mountUntil(at, s.rand.Float64())
	opened, err := s.live(ctx, number, m, func(n *node) error { return s.work(ctx, n, number, quiet) })
	switch {
	case err != nil:
		return err
	case how == closed && m.stopped():
		return fmt.Errorf("the disk has failed by itself")
	case !opened:
		s.report.FailedOpens++
	}
	m.end(how, s.rand.Uint64())
	s.report.Operations += m.fs.Ops()
	switch how {
	case powerLoss:
		s.report.PowerLosses++
	case killed:
		s.report.Kills++
	case closed:
		s.report.Closes++
	}
	s.report.Checkpoints = s.disk.saves
	s.model.ended(how)
	s.shadows.ended(how)
	return s.disk.overlap()
}

// live opens a kernel, has it work, and closes it; opened false: the power went before that.
// When it returns nothing of the kernel runs.
func (s *sim) live(ctx context.Context, number int, m *mount, work func(*node) error) (opened bool, err error) {
	life := fmt.Sprintf("%p", m)
	// The goroutines that a goroutine starts have its labels.
	pprof.Do(ctx, pprof.Labels(lifeLabel, life), func(ctx context.Context) {
		var n *node
		if n, err = within(ctx, "open", func() (*node, error) { return s.open(number, m) }); err != nil {
			if !errors.Is(err, errStuck) && m.stopped() {
				err = nil
			} else {
				err = fmt.Errorf("the kernel does not open: %w", err)
			}
			return
		}
		opened = true
		if err = work(n); errors.Is(err, errStuck) {
			return
		}
		_, closing := within(ctx, "close", func() (struct{}, error) { return struct{}{}, n.close(ctx) })
		if closing != nil && err == nil {
			err = closing
		}
		if cerr := s.shadows.compare(); cerr != nil { // and perhaps the machines tell why
			err = errors.Join(err, cerr)
		}
	})
	m.close()
	if left := leftOver(ctx, life); left != "" && !errors.Is(err, errStuck) {
		err = errors.Join(err, fmt.Errorf("what runs after the end of life %d (opened: %v):\n%s", number, opened, left))
	}
	return opened, err
}

// lifeLabel is the profiler's label of all goroutines of a life.
const lifeLabel = "rmq-sim-life"

// leftOver returns the stacks of a life's goroutines. One that is past its last statement
// is listed for an instant, so it looks until there are none, or ctx ends.
func leftOver(ctx context.Context, life string) string {
	want := fmt.Sprintf("%q:%q", lifeLabel, life)
	for {
		var all strings.Builder
		if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
			return err.Error()
		}
		var left []string
		for stack := range strings.SplitSeq(all.String(), "\n\n") {
			if strings.Contains(stack, want) {
				left = append(left, stack)
			}
		}
		if len(left) == 0 || ctx.Err() != nil {
			return strings.Join(left, "\n\n")
		}
		runtime.Gosched()
	}
}

// work checks what the last lives have left, then lets clients work until the power
// goes or they are done.
func (s *sim) work(ctx context.Context, n *node, number int, quiet bool) error {
	check := func() (struct{}, error) { return struct{}{}, s.model.check(n) }
	for _, r := range n.Restarts() {
		s.opt.Log("life %d: %s", number, &r)
	}
	if err := errors.Join(s.model.opened(n), s.model.checkEpochs(n)); err != nil && !n.disk.stopped() {
		return err
	}
	if _, err := within(ctx, "check", check); err != nil && !n.disk.stopped() {
		return err
	}
	seeds := make([]uint64, s.opt.Clients)
	for i := range seeds {
		seeds[i] = s.rand.Uint64()
	}
	if quiet {
		if _, err := within(ctx, "resend", func() (struct{}, error) { return struct{}{}, s.clients(n, number, 0, seeds) }); err != nil {
			return err
		}
		for _, p := range s.producers {
			if len(p.unsure) > 0 {
				return fmt.Errorf("producer %d has had no answer to %d batches", p.id, len(p.unsure))
			}
		}
		for _, x := range s.exact {
			if len(x.flows) > 0 {
				return fmt.Errorf("session %s has had no end to %d publishes", x.name, len(x.flows))
			}
		}
		if _, err := within(ctx, "check", check); err != nil {
			return err
		}
		_, err := within(ctx, "drain", func() (struct{}, error) { return struct{}{}, s.model.drain(ctx, n) })
		return err
	}
	if _, err := within(ctx, "work", func() (struct{}, error) { return struct{}{}, s.clients(n, number, s.opt.Ops, seeds) }); err != nil {
		return err
	}
	// What is in memory is promised until here.
	if _, err := within(ctx, "check", check); err != nil && !n.disk.stopped() {
		return err
	}
	return nil
}

var errStuck = errors.New("stuck")

// within gives up on f when ctx ends: it then runs on, but so does nothing else.
func within[T any](ctx context.Context, what string, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() { // ends with f, or with the process
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		var none T
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		return none, fmt.Errorf("%w: %s does not end\n%s", errStuck, what, stacks)
	}
}
