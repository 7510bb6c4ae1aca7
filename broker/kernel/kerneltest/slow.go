package kerneltest

import (
	"sync"

	"github.com/robustmq/rmq/broker/storage"
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
