package memlog

import (
	"slices"
	"sync"

	"github.com/robustmq/rmq/broker/storage"
)

// queueMax bounds the writes whose Done was not called yet. Append blocks at it.
const queueMax = 1 << 16

// log is storage.Log in memory. A write is applied when it is appended; run then
// calls Done, so that callers meet the same asynchrony as with files.
type log struct {
	idle chan struct{} // closed by run at its end

	mu     sync.Mutex
	work   sync.Cond // queue has something, or closed is set
	room   sync.Cond // queue was taken
	queue  []func(error)
	closed bool
	shards map[storage.ShardID]*shard
	stats  storage.LogStats
}

type shard struct {
	hard     storage.HardState
	released uint64 // no entry at or below it is held
	entries  []storage.Entry
}

func newLog() *log {
	l := &log{idle: make(chan struct{}), shards: make(map[storage.ShardID]*shard)}
	l.work.L, l.room.L = &l.mu, &l.mu
	go l.run() // ends when Close was called and the queue is empty; Close waits for it
	return l
}

func (l *log) Append(w storage.Write) error {
	if err := storage.CheckEntries(w.Entries); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) >= queueMax && !l.closed {
		l.room.Wait()
	}
	if l.closed {
		return storage.ErrClosed
	}
	s := l.shardLocked(w.Shard)
	if w.Hard != nil {
		s.hard = *w.Hard
	}
	s.append(w.Entries)
	for i := range w.Entries {
		l.stats.Bytes += uint64(len(w.Entries[i].Data))
	}
	l.queue = append(l.queue, w.Done)
	if len(l.queue) == 1 {
		l.work.Signal()
	}
	return nil
}

// append adds entries to the shard, by the rules of storage.Write.
func (s *shard) append(entries []storage.Entry) {
	if len(entries) == 0 {
		return
	}
	first := entries[0].Index
	s.released = min(s.released, first-1)
	switch n := len(s.entries); {
	case n == 0:
	case first > s.entries[n-1].Index+1, first <= s.entries[0].Index:
		s.entries = nil
	default:
		s.entries = s.entries[:first-s.entries[0].Index]
	}
	s.entries = append(s.entries, entries...)
}

// run calls Done for every queued write.
func (l *log) run() {
	defer close(l.idle)
	var taken []func(error)
	for {
		l.mu.Lock()
		for len(l.queue) == 0 && !l.closed {
			l.work.Wait()
		}
		if len(l.queue) == 0 {
			l.mu.Unlock()
			return
		}
		taken, l.queue = l.queue, taken[:0]
		l.stats.Groups++
		l.room.Broadcast()
		l.mu.Unlock()
		for i, done := range taken {
			if done != nil {
				done(nil)
			}
			taken[i] = nil
		}
	}
}

func (l *log) Load(id storage.ShardID) (storage.Loaded, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return storage.Loaded{}, storage.ErrClosed
	}
	s := l.shards[id]
	if s == nil {
		return storage.Loaded{}, nil
	}
	return storage.Loaded{Hard: s.hard, Entries: slices.Clone(s.entries)}, nil
}

func (l *log) Release(id storage.ShardID, index uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.shardLocked(id)
	if index <= s.released {
		return
	}
	s.released = index
	n := 0
	for n < len(s.entries) && s.entries[n].Index <= index {
		n++
	}
	clear(s.entries[:n]) // the array lives on; the data should not
	s.entries = s.entries[n:]
	if len(s.entries) == 0 {
		s.entries = nil
	}
}

func (l *log) shardLocked(id storage.ShardID) *shard {
	s := l.shards[id]
	if s == nil {
		s = new(shard)
		l.shards[id] = s
	}
	return s
}

func (l *log) Err() error { return nil }

// Full is never so: memory that there is not ends the process.
func (l *log) Full() bool { return false }

func (l *log) Stats() storage.LogStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

func (l *log) Close() error {
	l.mu.Lock()
	l.closed = true
	l.work.Broadcast()
	l.room.Broadcast()
	l.mu.Unlock()
	<-l.idle
	l.mu.Lock()
	clear(l.shards)
	l.mu.Unlock()
	return nil
}
