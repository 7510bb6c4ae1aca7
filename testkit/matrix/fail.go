package matrix

import (
	"context"
	"errors"
	"fmt"
	"math"
	"syscall"

	msg "github.com/robustmq/rmq/broker/message"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/vfs"
)

// Fail runs the script once for each point, and fails that operation with fault.
//
//   - EIO: the operation fails once. When it is a sync, what it was to sync is lost, and later
//     syncs of that file look done: so do Linux's after they have told their error once.
//   - ENOSPC: what takes space fails from there on, for a number of operations. Log files have
//     theirs beforehand. A full device never stops the log.
//
// After the script, disks are checked as in Crash: nothing acknowledged may be lost, whatever
// failed. Report.Stopped counts the runs whose log stopped, and said so.
func Fail(o Options, fault syscall.Errno) (Report, error) {
	o = o.withDefaults()
	sum := Report{Operations: make(map[vfs.Kind]int), Points: make(map[vfs.Kind]int)}
	once := func(at int) (*failure, error) {
		f := &failure{
			opt: o, fault: fault, at: at, mem: vfs.NewMem(), model: newModel(),
			kinds: make(map[vfs.Kind]int), poisoned: make(map[string]bool),
		}
		if err := f.run(&sum); err != nil {
			return nil, fmt.Errorf("%w, when %v fails: %w", fault, f.op, err)
		}
		return f, nil
	}
	whole, err := once(math.MaxInt)
	if err != nil {
		return sum, err
	}
	sum.Operations = whole.kinds
	for at := o.From; at <= whole.ops; at += o.Stride {
		f, err := once(at)
		if err != nil {
			return sum, err
		}
		if f.op.N > 0 { // runs differ a little in length
			sum.Points[f.op.Kind]++
		}
	}
	return sum, nil
}

// fullFor is how many operations pass before a full device has space again. The log tries once a
// second.
const fullFor = 3

// failure is one run.
type failure struct {
	opt   Options
	fault syscall.Errno
	at    int
	mem   *vfs.Mem
	model *model

	op       vfs.Op // that failed
	ops      int
	kinds    map[vfs.Kind]int
	poisoned map[string]bool // files of which a sync has failed
}

// hook is called for one operation at a time.
func (f *failure) hook(op vfs.Op) error {
	if !op.Kind.Changes() {
		return nil
	}
	f.kinds[op.Kind]++
	full := f.fault == syscall.ENOSPC
	switch {
	case full && op.N >= f.at && op.N < f.at+fullFor && takesSpace(op), !full && op.N == f.at:
		if f.op.N == 0 {
			f.op = op
			f.op.Data = nil
		}
		if op.Kind == vfs.OpSync {
			f.poisoned[op.Path] = true
		}
		if op.Kind == vfs.OpWrite {
			return &vfs.Short{Bytes: op.Size / 2, Err: f.fault}
		}
		return f.fault
	case op.Kind == vfs.OpSync && f.poisoned[op.Path]:
		return vfs.ErrSkip
	case op.Kind == vfs.OpRename, op.Kind == vfs.OpCreate, op.Kind == vfs.OpRemove:
		delete(f.poisoned, op.Path) // another file will have the name
	}
	return nil
}

// takesSpace tells whether a full device refuses it.
func takesSpace(op vfs.Op) bool {
	switch op.Kind {
	case vfs.OpReserve, vfs.OpCreate, vfs.OpMkdir:
		return true
	}
	return op.Kind == vfs.OpWrite && !inDir(op.Path, "wal")
}

// run runs the script with one failure.
func (f *failure) run(sum *Report) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	faulty := vfs.NewFaulty(f.mem, f.hook)
	defer func() { f.ops = faulty.Ops() }()
	n, err := openNode(ctx, nodeOptions{fs: faulty})
	if err != nil {
		if !errors.Is(err, f.fault) {
			return fmt.Errorf("open: %w", err)
		}
		f.check(sum) // nobody was promised anything
		return nil
	}
	s := &script{node: n, model: f.model, enough: func() bool { return false }}
	serr := s.run(ctx, 0, f.opt.Rounds)
	s.under.Wait()
	if serr != nil && f.op.N == 0 {
		return errors.Join(serr, n.close(ctx))
	}
	if ctx.Err() != nil {
		return fmt.Errorf("stuck: %w", serr)
	}
	if stopped := n.engine.Log().Err(); stopped != nil {
		sum.Stopped++
		if f.fault == syscall.ENOSPC {
			return fmt.Errorf("the log has stopped: %w", stopped)
		}
		if err := n.tells(ctx); err != nil {
			return err
		}
	}
	f.check(sum)
	faulty.SetHook(nil)
	if err := n.close(ctx); err != nil && f.op.N == 0 {
		return err
	}
	return nil
}

// tells wants a kernel whose log has stopped to say so, and to promise nothing more.
func (n *node) tells(ctx context.Context) error {
	x := kernel.Publish{Msg: msg.Message{Source: msg.MQTT, Address: "plant/late", Value: []byte("late")}}
	if err := n.publish(ctx, x); err == nil {
		return fmt.Errorf("the log has stopped (%w), and a publish is acknowledged", n.engine.Log().Err())
	}
	if n.Err() == nil {
		return fmt.Errorf("the log has stopped (%w), and the kernel says that all is well", n.engine.Log().Err())
	}
	return nil
}

// check holds the disks that may be left against the model.
func (f *failure) check(sum *Report) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	at := f.model.moment()
	seed := uint64(f.at)
	for _, d := range []struct {
		how   string
		disk  *vfs.Mem
		power bool
	}{
		{"kill", f.mem.Clone(), false},
		{"power loss that keeps nothing", f.mem.CrashKeep(seed, 0), true},
		{"power loss that keeps some", f.mem.CrashKeep(seed, 0.5), true},
	} {
		v := verdict{power: d.power}
		v.check(ctx, d.disk, f.model, at, seed)
		sum.take(&v, fmt.Sprintf("%v failed with %v, then %s", f.op, f.fault, d.how))
	}
}
