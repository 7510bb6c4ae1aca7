package kerneltest

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/memlog"
)

// Slow is an engine on a disk that takes its time: while it is held, the writes of shards wait
// for the test, in order. Log 0 is not held, so that a test can wait for what it says.
type Slow struct {
	storage.Engine
	log slowLog
}

// NewSlow returns an engine that is not held.
func NewSlow(e storage.Engine) *Slow {
	s := &Slow{Engine: e}
	s.log.Log = e.Log()
	s.log.moved.L = &s.log.mu
	return s
}

// Log implements storage.Engine.
func (s *Slow) Log() storage.Log { return &s.log }

// Hold has writes wait from now on.
func (s *Slow) Hold() {
	s.log.mu.Lock()
	s.log.held = true
	s.log.mu.Unlock()
}

// Step lets one write through, waiting for it to come, and returns the bytes of its entries.
func (s *Slow) Step() int {
	l := &s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.waiting) == 0 {
		l.moved.Wait()
	}
	w := l.waiting[0]
	l.waiting = l.waiting[1:]
	n := 0
	for i := range w.Entries {
		n += len(w.Entries[i].Data)
	}
	l.pass(w)
	return n
}

// Release lets everything through, from now on too.
func (s *Slow) Release() {
	l := &s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = false
	for _, w := range l.waiting {
		l.pass(w)
	}
	l.waiting = nil
}

// SetFull has the log say that the device gives it nothing, or that it does again.
func (s *Slow) SetFull(full bool) {
	s.log.mu.Lock()
	s.log.full = full
	s.log.mu.Unlock()
}

// Close implements storage.Engine.
func (s *Slow) Close() error {
	s.Release()
	return s.Engine.Close()
}

type slowLog struct {
	storage.Log

	mu      sync.Mutex
	moved   sync.Cond // a write has come
	held    bool
	full    bool
	waiting []storage.Write
}

func (l *slowLog) Append(w storage.Write) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.held || w.Shard == 0 {
		return l.Log.Append(w)
	}
	l.waiting = append(l.waiting, w)
	l.moved.Broadcast()
	return nil
}

// pass hands a write on. The engine refuses it only when it was closed, and then nobody asks.
func (l *slowLog) pass(w storage.Write) {
	if err := l.Log.Append(w); err != nil {
		w.Done(err)
	}
}

func (l *slowLog) Full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.full || l.Log.Full()
}

func (l *slowLog) Stats() storage.LogStats {
	st := l.Log.Stats()
	st.Full = l.Full()
	return st
}

// OpenSlow opens a kernel with one shard of each durability, on a memory engine that can be
// held, and the stream "s". The test's end releases it.
func OpenSlow(t testing.TB, o Options) (*kernel.Kernel, *Slow) {
	t.Helper()
	slow := NewSlow(memlog.New())
	o.Engine, o.NoCapture, o.DataShards = slow, true, 1
	k := Open(t, o)
	t.Cleanup(slow.Release) // before the kernel is closed
	if _, err := k.CreateStream(t.Context(), kernel.StreamSpec{Namespace: "/", Address: "s", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	return k, slow
}

// CrowdBytes is the size of what Crowd publishes.
const CrowdBytes = 64 << 10

// Crowd publishes to the stream "s" of a kernel that is held until no more is let in, and tells
// how many were. by is told of them, with tags from 0 on.
func Crowd(t testing.TB, k *kernel.Kernel, by kernel.Publisher) (n int) {
	t.Helper()
	value := make([]byte, CrowdBytes)
	for {
		p := kernel.Publish{Namespace: "/", Msg: message.Message{Source: message.MQTT, Address: "s", Value: value, QoS: 1}, Reply: by, Tag: uint64(n)}
		err := k.Publish(&p)
		if fault.Is(err, fault.Exhausted) {
			return n
		}
		if err != nil || n > 1<<12 {
			t.Fatalf("publish %d: %v", n, err)
		}
		n++
	}
}

// Nobody is a Publisher that does not listen.
type Nobody struct{}

// Published implements kernel.Publisher.
func (Nobody) Published(uint64, kernel.PublishResult) {}

// Handed does what hands control commands to the synced shard of a kernel that is held, and waits
// until they are there.
func Handed(t testing.TB, k *kernel.Kernel, what string, do func()) {
	t.Helper()
	before := k.ShardStats()[0].Control
	do()
	Until(t, what+" is handed in", func() bool { return k.ShardStats()[0].Control > before })
}

// Until waits until so is, for what tells nobody that it is.
func Until(t testing.TB, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !so(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
