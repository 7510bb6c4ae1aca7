package kernel

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
)

func loneShard(g Group) *shardRun {
	k := &Kernel{time: clock.Wall{}, log: slog.New(slog.DiscardHandler), cfg: Config{Link: clock.Wall{}, CheckpointBytes: 1}, shards: make(map[uint32]*shardRun)}
	s := k.newShard(1, classSync)
	s.m, s.group = shard.New(), g
	return s
}

type proposer func(data []byte) error

func (f proposer) Propose(data []byte) error   { return f(data) }
func (f proposer) Checkpointed(uint64, uint64) {}
func (f proposer) Nudge()                      {}

type told []error

func (w *told) applied(_ *shard.BatchResult, _ *shard.OpResult, err error) { *w = append(*w, err) }

// A shard may be stopped while an entry is handed over that turns out too large: who waits
// for it is told once.
func TestStoppedWhileAnEntryIsRefused(t *testing.T) {
	var s *shardRun
	closing := fault.Of(fault.Unavailable, "closing", "")
	s = loneShard(proposer(func([]byte) error {
		s.stop(closing)
		return fault.Of(fault.TooLarge, "propose", "")
	}))
	var w told
	if err := s.do(func(p *pending) { p.await(-1, p.b.Tick(), &w) }); err != nil {
		t.Fatal(err)
	}
	if len(w) != 1 || !errors.Is(w[0], closing) || s.queued != 0 {
		t.Errorf("told %v, %d bytes queued", w, s.queued)
	}
}

// After an entry that cannot be applied the state means nothing: nothing more is applied,
// and it never becomes a checkpoint.
func TestNothingIsAppliedAfterAnEntryThatCannotBe(t *testing.T) {
	s := loneShard(proposer(func([]byte) error { return nil }))
	var b shard.Builder
	b.CreateLog(7, "a")
	good := b.Finish(nil, shard.Header{Time: 1, Incarnation: 1, Link: 1, Seq: 1})
	s.Apply([]storage.Entry{{Index: 1, Term: 1, Data: []byte("garbage")}})
	s.Apply([]storage.Entry{{Index: 2, Term: 1, Data: good}})
	n := 0
	for range s.m.Logs() {
		n++
	}
	if n != 1 || s.saving.running || s.k.Err() == nil {
		t.Errorf("%d logs, saving %v, error %v", n, s.saving.running, s.k.Err())
	}
}

func TestBodyThatNobodyWantsIsNotRead(t *testing.T) {
	tl := &tail{}
	for i := range 3 {
		var b record.Builder
		b.Reset(nil, 0)
		b.Add(0, nil, fmt.Append(nil, i))
		batch := b.Finish()
		batch.SetBaseOffset(int64(i))
		tl.append(batch)
	}
	tl.free(1)
	read := func(*record.Record, bool) error { return nil }
	if err := tl.record(1, read); !fault.Is(err, fault.NotFound) {
		t.Errorf("a freed body: %v", err)
	}
	if err := tl.record(2, read); err != nil {
		t.Error(err)
	}
}

// Control commands share an entry with publishes, in front of them. When that is too large
// it is not for their sake: they go on in the next.
func TestControlCommandsOutliveAnEntryThatIsTooLarge(t *testing.T) {
	var entries [][]byte
	s := loneShard(proposer(func(data []byte) error {
		entries = append(entries, data)
		if len(entries) == 1 {
			return fault.Of(fault.TooLarge, "propose", "")
		}
		return nil
	}))
	s.k.cfg.CheckpointBytes = 1 << 20
	var publish, control told
	s.held++ // so that both are there when the entry is made
	for _, err := range []error{
		s.publish(func(p *pending) { p.await(-1, p.b.CreateLog(7, "a"), &publish) }),
		s.do(func(p *pending) { p.await(-1, p.b.Tick(), &control) }),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.mu.Lock()
	s.held--
	s.pumpLocked()
	s.mu.Unlock()
	if len(publish) != 1 || !fault.Is(publish[0], fault.TooLarge) || len(control) != 0 {
		t.Fatalf("told %v, and who waits for the control command %v", publish, control)
	}
	if len(entries) != 2 || len(s.inflight) != 1 || s.queued != 0 {
		t.Fatalf("%d proposed, %d in flight, %d bytes queued", len(entries), len(s.inflight), s.queued)
	}
	s.Apply([]storage.Entry{{Index: 1, Term: 1, Data: entries[1]}})
	if len(control) != 1 || control[0] != nil {
		t.Errorf("who waits for the control command was told %v", control)
	}
}

// Who waits is told of its own command, whatever others the entry begins with.
func TestEachIsToldOfItsOwnCommand(t *testing.T) {
	var entry []byte
	s := loneShard(proposer(func(data []byte) error { entry = data; return nil }))
	s.k.cfg.CheckpointBytes = 1 << 20
	var first, second shard.OpResult
	s.held++
	_ = s.publish(func(p *pending) { p.await(-1, p.b.Trim(7, 1), result(func(r shard.OpResult) { second = r })) })
	_ = s.do(func(p *pending) {
		p.b.Tick()
		p.await(-1, p.b.CreateLog(7, "a"), result(func(r shard.OpResult) { first = r }))
	})
	s.mu.Lock()
	s.held--
	s.pumpLocked()
	s.mu.Unlock()
	s.Apply([]storage.Entry{{Index: 1, Term: 1, Data: entry}})
	if first.Err != nil || !fault.Is(second.Err, fault.OutOfRange) {
		t.Errorf("the log was made: %v; it was trimmed beyond its end: %v", first.Err, second.Err)
	}
}

type result func(shard.OpResult)

func (f result) applied(_ *shard.BatchResult, or *shard.OpResult, _ error) { f(*or) }
