// Package matrix stops the broker's kernel at every operation of the file system that
// changes something, and checks what is left of what was acknowledged; and it damages
// each file in every way that it knows, and checks that nothing is lost silently.
//
// # The crash matrix
//
// Crash runs one script over the real kernel and the real engine on a disk in memory.
// Limits are small: log files end and are written again, segments too, checkpoints are taken,
// logs trimmed and deleted. Before each operation it copies the disk as a power failure
// may leave it, and as a killed process does; of a write, also with the first part done.
// Each copy is opened by a kernel of its own while the script goes on, read whole,
// and held against what clients had been told by then. What was recovered must
// itself outlast the next power failure.
//
// Fail runs the script once for each operation, which then fails.
//
// # What it can see
//
// Bugs shows that the matrix is not blind: it puts a deliberate bug into the seams
// between the parts (a sync that is left out, an answer before it) and wants losses
// reported.
//
// Goroutines take turns as they do in production, so the operations of two runs differ a
// little in their order: a point is not the same in each, but each run visits all of its own.
package matrix

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/vfs"
)

// Options bound a run.
type Options struct {
	Rounds int // of the script; 0: 50
	// Of the operations every Stride-th is a point, from the From-th on; 0: each.
	Stride, From int

	// Bug says that something is to be lost, or not to open: the run ends when it is found.
	Bug bool
	// Skip names operations that are left out and look done.
	Skip func(vfs.Op) bool
	// Wrap stands between the kernel and its engine.
	Wrap func(storage.Engine) storage.Engine

	Log func(format string, args ...any)
}

func (o Options) withDefaults() Options {
	if o.Rounds == 0 {
		o.Rounds = 50
	}
	o.Stride = max(o.Stride, 1)
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	return o
}

// point tells whether the n-th operation is one.
func (o *Options) point(n int) bool { return n >= o.From && (n-o.From)%o.Stride == 0 }

// Report is what a run tried and found.
type Report struct {
	Operations map[vfs.Kind]int // of the script
	Points     map[vfs.Kind]int // those at which it was stopped, or which failed
	Rewritten  int              // segment files, by compaction, in the script
	Disks      int              // opened and read
	Stopped    int              // runs in which the log stopped, and said so
	Promises   int              // acknowledged things that were looked for, over all disks

	Lost    int // promises broken
	Refused int // disks that did not open
	Wrong   int // never sent, out of order, twice, or settled and back
	// Breaches are the first of them, in words. A run that has found so many tries no more
	// points.
	Breaches []string
}

// breachesMax bounds Report.Breaches.
const breachesMax = 20

// Broken tells whether anything was found.
func (r *Report) Broken() bool { return r.Lost+r.Refused+r.Wrong > 0 }

func (r *Report) breach(format string, args ...any) {
	if len(r.Breaches) < breachesMax {
		r.Breaches = append(r.Breaches, fmt.Sprintf(format, args...))
	}
}

func (r *Report) String() string {
	points, all := 0, 0
	for _, n := range r.Points {
		points += n
	}
	for _, n := range r.Operations {
		all += n
	}
	return fmt.Sprintf("%d points of %d operations %v: %d segment files rewritten, %d disks opened, %d promises checked, %d acknowledged lost, %d refused, %d wrong",
		points, all, r.Points, r.Rewritten, r.Disks, r.Promises, r.Lost, r.Refused, r.Wrong)
}

// patience is how long the look at one disk, or one round of the script, may take before it is
// called stuck.
const patience = time.Minute

// Crash runs the crash matrix. The error is one of the script itself.
func Crash(o Options) (Report, error) {
	o = o.withDefaults()
	c := &crash{
		opt: o, mem: vfs.NewMem(), model: newModel(), jobs: make(chan job, runtime.GOMAXPROCS(0)),
		report: Report{Operations: make(map[vfs.Kind]int), Points: make(map[vfs.Kind]int)},
	}
	var workers sync.WaitGroup // they end when jobs is closed
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for j := range c.jobs {
				c.check(j)
			}
		})
	}
	err := c.script()
	close(c.jobs)
	workers.Wait()
	return c.report, err
}

// crash is one run.
type crash struct {
	opt   Options
	mem   *vfs.Mem
	model *model
	jobs  chan job // capacity: one for each worker; the script waits while it is full
	life  int
	total int // operations of earlier lives

	mu     sync.Mutex
	report Report
}

// job is a disk to be opened, and what was promised of it.
type job struct {
	disk  *vfs.Mem
	how   string
	power bool // captured streams may end earlier
	at    moment
	life  int
	op    vfs.Op
}

func (j *job) String() string { return fmt.Sprintf("%s in life %d before %v", j.how, j.life, j.op) }

// lives are how the script's lives end. The next one recovers, and is stopped at every
// operation of that too.
var lives = [...]string{"power loss", "kill", "power loss", "close", "close"}

// script runs the script in some lives, over a disk that is copied at each point.
func (c *crash) script() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience) // the checks are done meanwhile
	defer cancel()
	s := &script{model: c.model, enough: c.enough}
	for i, end := range lives {
		if c.enough() {
			break
		}
		c.life = i
		if err := c.live(ctx, s, i, end); err != nil {
			return fmt.Errorf("life %d: %w", i, err)
		}
	}
	return nil
}

// live is one life. Between two rounds no request is under way, so that a crash there takes
// none.
func (c *crash) live(ctx context.Context, s *script, number int, end string) error {
	faulty := vfs.NewFaulty(c.mem, c.before)
	n, err := openNode(ctx, nodeOptions{fs: faulty, wrap: c.opt.Wrap, time: began.Add(time.Duration(number) * time.Minute)})
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	s.node = n
	rounds := c.opt.Rounds / len(lives)
	if err := errors.Join(s.run(ctx, number*rounds, rounds), n.Err()); err != nil {
		return errors.Join(err, n.close(ctx))
	}
	after := c.mem
	switch end {
	case "power loss":
		after = c.mem.CrashKeep(uint64(number), 0.5)
		c.model.crashed(true)
	case "kill":
		after = c.mem.Clone()
		c.model.crashed(false)
	default: // settlements have no answers: one that the end overtakes is lost
		c.model.crashed(false)
	}
	if after != c.mem {
		faulty.SetHook(nil) // what is left of this life is not looked at
	}
	if err := n.close(ctx); err != nil {
		return err
	}
	c.mem = after
	c.total += faulty.Ops()
	return nil
}

// before is called before each operation, one at a time.
func (c *crash) before(op vfs.Op) error {
	if !op.Kind.Changes() {
		return nil
	}
	op.N += c.total
	point := c.opt.point(op.N)
	c.mu.Lock()
	c.report.Operations[op.Kind]++
	if op.Kind == vfs.OpRename && inDir(op.Path, "segments") && strings.HasSuffix(op.Path, ".seg.tmp") {
		c.report.Rewritten++
	}
	enough := c.enoughLocked()
	if point && !enough {
		c.report.Points[op.Kind]++
	}
	c.mu.Unlock()
	if point && !enough {
		c.stop(op)
		if op.Kind == vfs.OpWrite {
			c.tear(op)
		}
	}
	if c.opt.Skip != nil && c.opt.Skip(op) {
		return vfs.ErrSkip
	}
	return nil
}

// enoughLocked tells whether so much was found that no more is looked for.
func (c *crash) enoughLocked() bool {
	return len(c.report.Breaches) == breachesMax || c.opt.Bug && c.report.Lost+c.report.Refused > 0
}

func (c *crash) enough() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.enoughLocked()
}

// stop has the disks checked that may be left if all ends here.
func (c *crash) stop(op vfs.Op) {
	at := c.model.moment() // first: what was acknowledged by now is on the disk by now
	seed := uint64(op.N)
	op.Data = nil
	add := func(disk *vfs.Mem, power bool, how string) {
		c.jobs <- job{disk: disk, how: how, power: power, at: at, life: c.life, op: op}
	}
	add(c.mem.CrashKeep(seed, 0), true, "power loss that keeps nothing")
	add(c.mem.CrashKeep(seed, 1), true, "power loss that keeps all")
	add(c.mem.CrashKeep(seed, 0.5), true, "power loss that keeps some")
	add(c.mem.CrashClone(seed), true, "power loss")
	add(c.mem.Clone(), false, "kill")
}

// tear has the disks checked that are left when a write ends in its middle.
func (c *crash) tear(op vfs.Op) {
	at := c.model.moment()
	half := c.mem.Clone()
	if err := writePart(half, op, op.Size/2+int64(op.N%7)); err != nil {
		return // the file is gone by now
	}
	op.Data = nil
	c.jobs <- job{disk: half.CrashKeep(uint64(op.N), 0.5), how: "power loss within a write", power: true, at: at, life: c.life, op: op}
	c.jobs <- job{disk: half, how: "kill within a write", at: at, life: c.life, op: op}
}

// writePart does the first bytes of a write.
func writePart(disk *vfs.Mem, op vfs.Op, bytes int64) error {
	f, err := disk.Open(op.Path)
	if err != nil {
		return err
	}
	off := op.Off
	for _, b := range op.Data {
		b = b[:min(int64(len(b)), bytes)]
		if _, err := f.WriteAt(b, off); err != nil {
			return err
		}
		off, bytes = off+int64(len(b)), bytes-int64(len(b))
	}
	return f.Close()
}

// check opens a disk and holds it against the model.
func (c *crash) check(j job) {
	if c.enough() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r := verdict{power: j.power}
	r.check(ctx, j.disk, c.model, j.at, uint64(j.op.N))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.take(&r, j.String())
}

func (r *Report) take(v *verdict, of string) {
	r.Disks += v.disks
	r.Promises += v.promises
	r.Lost += v.lost
	r.Refused += v.refused
	r.Wrong += v.wrong
	for _, b := range v.breaches {
		r.breach("%s: %s", of, b)
	}
}
