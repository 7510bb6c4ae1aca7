package testkit

import (
	"time"

	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/grammar"
)

// Disk is what a broker keeps its data on.
type Disk struct{ b *Broker }

func (d *Disk) fault(at string, r chaos.Rule) *Fault {
	d.b.t.Helper()
	if d.b.cfg.broker.DataDir == "" {
		d.b.t.Fatalf("testkit: a broker in memory has no disk: it needs testkit.MemoryDisk() or testkit.DataDir(…)")
	}
	r.At = at
	return d.b.Fault(r)
}

// FullAfter has the device give n bytes more, and then none until the fault is removed.
func (d *Disk) FullAfter(n int) *Fault {
	d.b.t.Helper()
	return d.fault("disk", chaos.Rule{Do: chaos.Full, Bytes: grammar.Size(n)})
}

// SlowSync has every sync take longer.
func (d *Disk) SlowSync(by time.Duration) *Fault {
	d.b.t.Helper()
	return d.fault("disk/sync", chaos.Rule{Do: chaos.Delay, Delay: grammar.Duration(by)})
}

// FailSync fails the next n syncs. A sync that failed is final for its file: the broker acknowledges nothing more that
// it would have to keep, and its Close says why.
func (d *Disk) FailSync(n int) *Fault {
	d.b.t.Helper()
	return d.fault("disk/sync", chaos.Rule{Do: chaos.Fail, Times: n})
}

// FailWrite fails the next n writes.
func (d *Disk) FailWrite(n int) *Fault {
	d.b.t.Helper()
	return d.fault("disk/write", chaos.Rule{Do: chaos.Fail, Times: n})
}

// TearWrite stores half of the next write, which fails.
func (d *Disk) TearWrite() *Fault {
	d.b.t.Helper()
	return d.fault("disk/write", chaos.Rule{Do: chaos.Tear, Times: 1})
}
