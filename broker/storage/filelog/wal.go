package filelog

import (
	"fmt"
	"iter"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/vfs"
)

const (
	// queueBytesMax bounds what waits for the writer. Append blocks at it, so Done
	// must not call Append.
	queueBytesMax = 64 << 20
	// groupBytesMax bounds one write system call, and so how long the first write of a
	// group waits for the last.
	groupBytesMax = 8 << 20
	// inlineMax is the data that is copied into the group's buffer; larger data is
	// written from where it lies.
	inlineMax = 16 << 10
	// arenaMax is the buffer that a writer keeps between groups.
	arenaMax = 2 << 20
	// spareMax bounds the released files that are kept to be written again. Checkpoints
	// release several at once: with fewer, every other file is zeroed anew under load.
	spareMax = 6
	// reserveMax bounds the file that is set aside for a full device. It is a quarter of
	// the file that is written, at most: what a broker with little to write takes is little.
	reserveMax = 16 << 20
)

// wal is the write-ahead log of all shards: a row of numbered files, of which the last
// is being written.
//
// Ownership:
//   - the writer goroutine (run) owns writer: the file that is written, and the books
//     on which file holds what. It alone calls Done.
//   - the keeper goroutine (keep) makes the next file ready and puts released files
//     away, so that neither delays a write. It owns pool.
//   - mu guards what the two and the callers exchange; it is never held across I/O.
//
// Close ends the writer, then the keeper, and waits for both.
//
// Stepped, there are no goroutines: who calls step is writer and keeper in turn.
type wal struct {
	fs  vfs.FS
	dir string
	opt Options
	// store is whose log this is: what VERSION says, or, before there is one, what the files
	// do that an interrupted first open left.
	store uint64
	fresh bool // there is no VERSION yet

	writer          // owned by run
	pool    []spare // owned by keep
	reserve *spare  // owned by keep: written when the device gives nothing; nil: it was, or cannot be made
	made    int64   // owned by keep: size of the file that was made ready last

	written, closedKeeper chan struct{} // closed when run and keep have ended
	kick                  chan struct{} // capacity 1: keep has something to do
	stop                  chan struct{} // closed: keep is to end

	// Stepped: run is a coroutine of who calls step. It calls pause where it would wait.
	resume func() (struct{}, bool)
	pause  func()

	bytes, syncs, groups atomic.Uint64
	fileCount            atomic.Int64
	room                 atomic.Int64 // left in the file that is written
	isFull               atomic.Bool  // full is not nil
	meters               meters

	mu       sync.Mutex
	work     sync.Cond // for run: queue, released, next, nextErr or closed has changed
	space    sync.Cond // for Append: the queue was taken
	queue    []storage.Write
	queued   int64 // bytes in queue
	released map[storage.ShardID]uint64
	closed   bool
	err      error // final: what stopped the log

	want    *wanted    // the file that keep is to make ready; nil: none
	next    *readyFile // made ready
	nextErr error      // final: why it could not be
	stuck   error      // why want could not be made, for want of space; nil: it was not tried
	full    error      // the device gave nothing: the reserve is lacking, or want is stuck; nil: it did
	dropped []*walFile // for keep to put away, oldest first

	// recovered is what Open found, until the shard's first Append; then nil.
	recovered map[storage.ShardID]*recovered
}

var _ storage.Log = (*wal)(nil)

// walFile is one file of the log.
type walFile struct {
	number uint64
	path   string
	size   int64
	last   map[storage.ShardID]uint64 // the highest index that the file holds of a shard
	away   bool                       // renamed to its spare name, if not durably; owned by keep
}

func walName(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x.wal", number))
}

// spareName is the name of a log file that was put away, with its number; newName that
// of a file made to become the one with a number. They differ, because a file that was
// made and not needed may wait under its name until the log file of its number is put
// away.
func spareName(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x.spare", number))
}

func newName(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x.new.spare", number))
}

// reserveName is the name of the file that is written when the device gives nothing.
func reserveName(dir string) string { return filepath.Join(dir, "reserve.spare") }

// newReserveName is its name while it is made.
func newReserveName(dir string) string { return filepath.Join(dir, "reserve.new.spare") }

func (w *wal) start() {
	w.work.L, w.space.L = &w.mu, &w.mu
	w.written, w.closedKeeper = make(chan struct{}), make(chan struct{})
	w.kick, w.stop = make(chan struct{}, 1), make(chan struct{})
	w.released = make(map[storage.ShardID]uint64)
	if w.opt.Stepped {
		w.resume, _ = iter.Pull(func(yield func(struct{}) bool) {
			w.pause = func() { yield(struct{}{}) }
			w.run()
		})
		return
	}
	go w.run()
	go w.keep()
}

// step has run go on to where it waits next, and keep do what it was asked; false: run
// has ended.
func (w *wal) step() bool {
	_, running := w.resume()
	select {
	case <-w.kick:
		if w.tend() {
			w.wake() // again, at the next step
		}
	default:
	}
	return running
}

func (w *wal) Append(write storage.Write) error {
	if err := storage.CheckEntries(write.Entries); err != nil {
		return err
	}
	size := int64(recordLen)
	for i := range write.Entries {
		size += paddedLen(len(write.Entries[i].Data))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.opt.Stepped && w.queued > 0 && w.queued+size > queueBytesMax && w.err == nil && !w.closed {
		w.space.Wait()
	}
	switch {
	case w.err != nil:
		return w.err
	case w.closed:
		return storage.ErrClosed
	}
	if r, ok := w.recovered[write.Shard]; r != nil || !ok {
		w.recovered[write.Shard] = nil
	}
	w.queue = append(w.queue, write)
	w.queued += size
	if len(w.queue) == 1 {
		w.work.Signal()
	}
	return nil
}

func (w *wal) Release(shard storage.ShardID, index uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.released[shard] = max(w.released[shard], index)
	w.work.Signal()
}

func (w *wal) Full() bool { return w.isFull.Load() }

// setFullLocked notes what the device said when it was asked. Caller holds mu.
func (w *wal) setFullLocked(err error) {
	w.full = err
	w.isFull.Store(err != nil)
}

func (w *wal) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *wal) Stats() storage.LogStats {
	space, _ := w.fs.Space(w.dir) // without an answer, Full will tell
	w.mu.Lock()
	defer w.mu.Unlock()
	room := w.room.Load()
	if w.next != nil {
		room += w.next.size - walBlock
	}
	stats := storage.LogStats{
		Bytes: w.bytes.Load(), Syncs: w.syncs.Load(), Groups: w.groups.Load(),
		Files: int(w.fileCount.Load()), Room: uint64(max(0, room)), Full: w.full != nil,
		Free: space.Free, Total: space.Total,
	}
	w.meters.fill(&stats)
	return stats
}

// Close writes and syncs what is queued. Writes that wait for space on a full device
// fail.
func (w *wal) Close() error {
	w.mu.Lock()
	first := !w.closed
	w.closed = true
	w.work.Broadcast()
	w.space.Broadcast()
	w.mu.Unlock()
	if w.opt.Stepped {
		for w.step() {
		}
		w.leave()
	} else {
		<-w.written
		if first {
			close(w.stop)
		}
		<-w.closedKeeper
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recovered = nil
	if !first {
		return nil
	}
	return w.err
}

// fail stops the log. Caller is run.
func (w *wal) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	w.space.Broadcast()
}
