package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	"github.com/robustmq/rmq/broker/cluster/group"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/vfs"
)

// voter is one node, which may vote.
type voter struct {
	c    *cluster
	id   uint64
	disk *disk
	rand *rand.Rand // of its disk

	// One life.
	life     int
	up       bool
	mount    *mount
	engine   *filelog.Engine
	host     *group.Host
	replicas [shardsOfVoters]*replica
	busy     bool // the disk works, or is asked to
	writing  int  // writes that it has not ended
	dying    bool // its end is decided

	paused int64         // the process is stopped until then, in Unix nanoseconds; 0: it is not
	slow   time.Duration // what a group of writes takes; 0: less than a millisecond
	syncs  error         // of every sync, until it starts again
	until  int           // operations until the power goes; 0: it does not
	full   bool          // its disk has no room
	skew   time.Duration // of its broker time
	gone   bool          // destroyed
	out    bool          // its log has lost what it had promised; it says so, and is out

	promised map[storage.ShardID]*promise
	// others are the members as of when the node was emptied; nil: it never was. It is none of them.
	others map[storage.ShardID]storage.Members
}

func newVoter(c *cluster, id uint64) *voter {
	v := &voter{c: c, id: id, rand: rand.New(rand.NewPCG(c.seed, id))}
	v.blank()
	return v
}

// blank gives the node a disk with nothing on it.
func (v *voter) blank() {
	v.disk, v.promised = newDisk(), make(map[storage.ShardID]*promise)
	for i := range shardsOfVoters {
		v.promised[storage.ShardID(i)] = &promise{first: 1}
	}
}

// runs tells whether the node does anything now.
func (v *voter) runs() bool { return v.up && v.paused == 0 && !v.mount.stopped() }

// lost tells whether the node is out of the cluster for good.
func (v *voter) lost() bool { return v.gone || v.out }

// start begins a life. It may be a short one: the power goes when it is to.
func (v *voter) start() {
	if v.up || v.lost() {
		return
	}
	v.life++
	v.syncs, v.busy, v.writing, v.dying, v.slow = nil, false, 0, false, 0
	v.mount = v.disk.mount(v.operation)
	v.up = true
	v.c.report.Opened++
	v.c.note("node %d starts its life %d", v.id, v.life)
	if err := v.open(); err != nil {
		switch {
		case v.mount.stopped():
			v.die(powerLoss)
		case errors.Is(err, storage.ErrCorrupt) && v.c.opt.Forget:
			v.die(killed)
			v.out = true
			v.c.report.Fenced++
			v.c.note("node %d is out: %v", v.id, err)
		case errors.Is(err, syscall.ENOSPC):
			v.c.note("node %d does not start: %v", v.id, err)
			v.die(killed)
			v.startLater()
		default:
			v.c.breach("node %d does not start: %v", v.id, err)
		}
	}
}

func (v *voter) open() (err error) {
	life := v.life
	salts := rand.New(rand.NewPCG(v.c.seed^v.id<<32, uint64(life)))
	v.engine, err = filelog.Open(dataDir, filelog.Options{
		FS: v.mount.fs, Stepped: true, Random: salts.Uint64,
		Checkpoints: func(string) (filelog.CheckpointStore, error) { return v.mount, nil },
		WALFileMin:  5 << 10, WALFileMax: 6 << 10, SegmentBytes: 4 << 10, OpenFiles: 4,
	})
	if err != nil {
		v.engine = nil
		return err
	}
	port := v.c.net.Join(v.id, func(from uint64, frame []byte) error { return v.receive(life, from, frame) })
	v.host = group.NewHost(group.Options{
		Self: v.id, Clock: v.c.clock, Seed: v.c.seed + uint64(life)<<32,
		Transport: &sender{v, life, v.c.weather.Wrap(v.id, port)},
	})
	for i := range v.replicas {
		if v.replicas[i], err = v.openReplica(storage.ShardID(i)); err != nil {
			return err
		}
	}
	return nil
}

// sender is a node's way to the others, while it lives.
type sender struct {
	v    *voter
	life int
	to   group.Transport
}

func (s *sender) Send(to uint64, frame []byte) {
	if !s.v.up || s.v.life != s.life || s.v.mount.stopped() {
		return
	}
	s.v.c.report.Frames++
	_ = binary.Write(s.v.c.trace, binary.LittleEndian, [3]uint64{s.v.id, to, uint64(len(frame))})
	s.to.Send(to, frame)
}

func (v *voter) receive(life int, from uint64, frame []byte) error {
	if !v.up || v.life != life || v.host == nil {
		return errors.New("down")
	}
	return v.host.Receive(from, frame)
}

// operation is asked before each operation on the node's files.
func (v *voter) operation(op vfs.Op) error {
	switch {
	case !op.Kind.Changes():
		return nil
	case op.Kind == vfs.OpSync && v.syncs != nil:
		return v.syncs
	case (op.Kind == vfs.OpRename || op.Kind == vfs.OpRemove) && strings.HasSuffix(op.Path, ".wal"):
		v.c.report.Recycled++
	}
	if v.until == 0 {
		return nil
	}
	if v.until--; v.until > 0 {
		return nil
	}
	v.c.note("node %d: power goes at %v", v.id, op.Kind)
	v.mount.cut()
	if op.Kind == vfs.OpWrite {
		return &vfs.Short{Bytes: v.rand.Int64N(op.Size + 1), Err: vfs.ErrStopped}
	}
	return vfs.ErrStopped
}

// wantDisk has the disk do what waits, in a while.
func (v *voter) wantDisk() {
	if v.busy || !v.up {
		return
	}
	v.busy = true
	d := v.slow
	if d == 0 {
		d = time.Duration(50+v.rand.IntN(800)) * time.Microsecond
	}
	if v.full {
		d = max(d, 10*time.Millisecond)
	}
	life := v.life
	v.c.later(d, func() { v.stepDisk(life) })
}

func (v *voter) stepDisk(life int) {
	if v.life != life || !v.up {
		return
	}
	v.busy = false
	if v.paused > 0 {
		return // resume asks again
	}
	v.engine.Step()
	if v.writing > 0 {
		v.wantDisk()
	}
}

// dieSoon ends this life once the node has done what it does at this moment.
func (v *voter) dieSoon(how end) {
	if !v.up || v.dying {
		return
	}
	v.dying = true
	life := v.life
	v.c.later(0, func() {
		if v.up && v.life == life {
			v.die(how)
		}
	})
}

// die ends this life. What is not on the disk is gone, as far as chance decides.
func (v *voter) die(how end) {
	v.c.note("node %d: %v", v.id, how)
	if how == powerLoss {
		v.c.report.PowerLosses++
	} else {
		v.c.report.Kills++
	}
	v.up = false
	v.c.net.Leave(v.id)
	v.mount.cut()
	if v.host != nil {
		_ = v.host.Close(context.Background())
	}
	if v.engine != nil {
		_ = v.engine.Close()
	}
	for _, r := range v.replicas {
		if r != nil {
			r.die()
		}
	}
	v.host, v.engine, v.replicas = nil, nil, [shardsOfVoters]*replica{}
	v.mount.end(how, v.rand.Uint64())
	if err := v.disk.overlap(); err != nil {
		v.c.breach("node %d: %v", v.id, err)
	}
	v.until, v.dying = 0, false
	v.startLater()
}

// startLater starts the node again after a while.
func (v *voter) startLater() {
	if v.lost() {
		return
	}
	d := time.Duration(10+v.rand.IntN(2500)) * time.Millisecond
	if v.c.calm {
		d = 10 * time.Millisecond
	}
	v.c.later(d, v.start)
}

// exit is what a broker does that can promise nothing any more.
func (v *voter) exit(err error) {
	v.c.note("node %d gives up: %v", v.id, err)
	v.dieSoon(killed)
}

// pause stops the process for a while; time goes on.
func (v *voter) pause(d time.Duration) {
	v.c.note("node %d is stopped for %v", v.id, d)
	v.c.report.Pauses++
	v.paused = max(v.paused, v.c.clock.Now().Add(d).UnixNano())
	v.c.later(d, v.resume)
}

func (v *voter) resume() {
	if v.paused == 0 || v.paused > v.c.clock.Now().UnixNano() {
		return
	}
	v.paused = 0
	v.c.note("node %d goes on", v.id)
	if v.up {
		v.wantDisk()
	}
}

// fill leaves the disk no room but for a few bytes.
func (v *voter) fill(bytes int) {
	v.c.note("node %d: its disk is full", v.id)
	v.c.report.Full++
	v.full = true
	v.disk.mem.Limit(v.disk.mem.Used() + int64(bytes))
}

func (v *voter) room() {
	v.full = false
	v.disk.mem.Limit(0)
}

// destroy takes the node away with its disk.
func (v *voter) destroy() {
	v.c.note("node %d is destroyed", v.id)
	v.c.report.Destroyed++
	v.gone = true
	if v.up {
		v.die(powerLoss)
	}
}

// well ends everything that is wrong with the node, except that it was destroyed, and
// starts it.
func (v *voter) well() {
	v.until, v.slow, v.paused = 0, 0, min(v.paused, v.c.clock.Now().UnixNano())
	v.room()
	v.resume()
	if v.up && v.syncs != nil {
		v.dieSoon(killed)
	}
	v.syncs = nil
	if !v.up {
		v.start()
	}
}
