package kernel_test

import (
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/storage"
)

// slowly makes time pass between the entries of a replay.
type slowly struct {
	kernel.Machine
	time    *clock.Virtual
	leading bool
}

func (m *slowly) Apply(entries []storage.Entry) {
	m.Machine.Apply(entries)
	if !m.leading {
		m.time.Advance(time.Second)
	}
}

func (m *slowly) Lead(term uint64, leading bool) {
	m.leading = leading
	m.Machine.Lead(term, leading)
}

// What fell due while the broker was down is due from the first entries of a replay on, and
// nobody leads the shard before the last: ticks wait until somebody does.
func TestDeadlinesThatPassDuringReplay(t *testing.T) {
	start := time.UnixMilli(1_700_000_000_000)
	eng := keep{newMem(t)}
	k, stop := kerneltest.Start(t, kerneltest.Options{Engine: eng, Time: clock.NewVirtual(start), NoCapture: true})
	ses, _, _ := open(t, k, "dev1", 60, true)
	subscribe(t, ses, "a/#", 1)
	ses.Close(false, nil)
	publish(t, k, mqtt("a/b", "offline"))
	stop()

	later := clock.NewVirtual(start.Add(time.Hour))
	k, stop = kerneltest.Start(t, kerneltest.Options{Engine: eng, Time: later, NoCapture: true, Machine: func(m kernel.Machine) kernel.Machine {
		return &slowly{Machine: m, time: later}
	}})
	defer stop()
	if _, _, present := open(t, k, "dev1", 60, false); present {
		t.Error("a session is there an hour after it was to expire")
	}
}
