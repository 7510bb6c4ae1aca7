// Package storage says what the broker asks of its storage engines, and no more.
//
// An engine has three parts, with one rule between them:
//
//   - Log: the write-ahead log that every shard of the node shares. It is the only
//     thing that is synced before an acknowledgement.
//   - Segments: the records of one partition (or of one shard's bodies) once they
//     have left memory. Written lazily.
//   - Checkpoints: the state of each shard's machine at one index of its log.
//
// The rule: a checkpoint at index i is published only after the segments that it
// speaks of are synced; the log drops entries at or below i only after that. So
// recovery is: load the checkpoint, cut each segment to the length that the
// checkpoint names, apply the entries after i.
//
// Engines: memlog (nothing outlives the process) and filelog (a directory). Both
// pass storagetest.
package storage

import (
	"errors"
	"iter"
	"syscall"

	"github.com/robustmq/rmq/broker/telemetry"
)

// ShardID names a shard: one replicated log and its machine. 0 is metadata.
type ShardID uint32

// LogID names one sequence of record batches kept by a shard: a partition, or
// (Log 0) the shard's own bodies.
type LogID struct {
	Shard ShardID
	Log   uint64
}

// Entry is one entry of a shard's log. Data is opaque here and must not change
// from when it is handed over until its write is done.
type Entry struct {
	Index uint64
	Term  uint64
	Kind  uint8 // raft's entry type, or KindInstalled
	Data  []byte
}

// KindMembers is the kind of an entry that changes who the members of the shard's group are.
const KindMembers = 2

// KindInstalled is the kind of an entry that stands for all of a shard's log up to it: the
// state that it leads to came from another node.
const KindInstalled = 0xff

// HardState is what a shard's consensus must not forget.
type HardState struct {
	Term, Vote, Commit uint64
}

// Loaded is what a log holds of a shard.
type Loaded struct {
	Hard    HardState // the last
	Entries []Entry   // in order, with no gap
	// Once is the last entry that the log held durably and that is not there any more; 0: there
	// is none. The shard has a checkpoint that reaches it, or has lost it.
	Once uint64
}

// Write is what one shard wants made durable in one step.
type Write struct {
	Shard ShardID
	Hard  *HardState // nil: unchanged
	// Entries are consecutive. The first one replaces everything that the shard's
	// log holds at or after its index; if it leaves a gap (a snapshot was installed),
	// everything before it as well.
	Entries []Entry
	// Sync asks that Done waits for the device; otherwise for the operating system.
	Sync bool
	// Done is called once, from the log's own goroutine, in the order of Append for
	// one shard. It must not block. A non-nil error is final: the log is stopped.
	Done func(error)
}

// Log is the write-ahead log of a node. Safe for concurrent use.
type Log interface {
	// Append queues a write and returns. Writes of all shards that wait together
	// share one flush. The error is the one that stopped the log, or ErrClosed;
	// then Done is not called. It blocks while too much is queued, so Done must not
	// call it.
	Append(Write) error
	// Load returns what the log holds of a shard. To be called before the shard's first
	// Append.
	Load(ShardID) (Loaded, error)
	// Release says that the shard needs no entry at or below index any more.
	Release(shard ShardID, index uint64)
	// Full is LogStats.Full at the price of one load.
	Full() bool
	// Err is the error that stopped the log, or nil.
	Err() error
	Stats() LogStats
	Close() error
}

// LogStats are counters since the log was opened.
type LogStats struct {
	Bytes  uint64 // written to files, framing included
	Syncs  uint64
	Groups uint64 // flushes: Bytes/Groups is the mean group
	Files  int    // files that hold entries now
	Room   uint64 // bytes that can be written before the device must give more
	// Full: the device gave nothing when it was last asked. The log goes on in what it
	// has set aside for that, which is meant for what makes room: settlements, deletions,
	// the ticks of checkpoints. When that is used up too, writes wait. It ends by itself.
	Full bool
	// Free and Total are of the device, in bytes, for everything that is kept on it. A
	// zero Total: there is no telling, or no limit.
	Free, Total int64

	SyncTime     telemetry.Snapshot // seconds of each sync
	GroupBytes   telemetry.Snapshot // of each flush
	GroupEntries telemetry.Snapshot // of each flush
	// SegmentBytes were appended to the engine's segments.
	SegmentBytes uint64
	// Pins say which shards keep log files that could go otherwise, who keeps most first.
	Pins []Pin
}

// Pin is what one shard keeps in the log: it has entries in so many files that it has not
// released, from the oldest of which on all are kept, but for the one that is written.
type Pin struct {
	Shard ShardID
	Files int
	Bytes uint64
}

// Segment holds the record batches (Kafka RecordBatch v2, base offset already
// stamped) of one LogID in offset order; gaps between batches are legal. One
// writer, many readers.
type Segment interface {
	// Append writes whole batches, in offset order, after the last one.
	Append(batches ...[]byte) error
	// Sync makes all that was appended durable.
	Sync() error
	// Read returns whole batches, one after another, beginning with the one that
	// holds offset, or, if none does, the first after it. It returns at least
	// one batch where there is one, and stops before exceeding maxBytes after that.
	// nil: nothing at or after offset.
	Read(offset int64, maxBytes int) ([]byte, error)
	// OffsetForTime returns the first batch that ends at or after offset from and whose
	// MaxTimestamp is at or after ms: its base offset and that time.
	OffsetForTime(from, ms int64) (base, latest int64, ok bool, err error)
	// SizeFrom is the bytes of the batches that end at or after offset.
	SizeFrom(offset int64) (int64, error)
	// LastBytes returns where the newest batches begin that have at most n bytes together,
	// or an offset in the gap before them; End when the last one alone has more.
	LastBytes(n int64) (int64, error)
	// Start and End bound what is held: End is one past the last offset, and equals
	// Start when nothing is held.
	Start() int64
	End() int64
	Size() int64 // bytes on the device
	// TruncateTo drops every batch with a base offset at or after end.
	TruncateTo(end int64) error
	// DropBefore lets go of whole files whose last offset is before offset.
	DropBefore(offset int64) error

	// SetFileBytes changes the size at which a file is ended and the next begun. Roll ends
	// the last one now.
	SetFileBytes(n int64)
	Roll() error
	// Bounds returns where each file begins, in order. All but the last are at rest: they
	// may be rewritten.
	Bounds() []int64
	// Rewrite replaces the files at rest between two of Bounds by one that has of each batch
	// what edit makes of it: the batch itself, another one within its offsets, or nil for
	// nothing. Where the last offset would go with its batch, an empty batch stands for it.
	// false: the files are not there any more, or not synced, and nothing was done. It is
	// durable when it returns; a crash before that leaves the old files or the new one.
	// Readers and the writer go on meanwhile. A batch is valid until edit returns.
	Rewrite(from, to int64, edit func(batch []byte) ([]byte, error)) (bool, error)
	Close() error
}

// Segments opens and removes segments. Safe for concurrent use.
type Segments interface {
	Open(LogID) (Segment, error) // creates it when it is not there
	Remove(LogID) error
	List(ShardID) ([]LogID, error)
}

// CheckpointMeta says which point of the shard's log a checkpoint stands for.
type CheckpointMeta struct {
	Index, Term uint64
	Members     Members // as of that entry
}

// Checkpoints keeps the last checkpoint of each shard as sorted keys and values,
// so that the next one writes only what changed. Safe for concurrent use.
type Checkpoints interface {
	// Load returns the shard's checkpoint; a zero Index when there is none. The
	// sequence yields keys in order, and must be consumed before the next Save.
	Load(ShardID) (CheckpointMeta, iter.Seq2[[]byte, []byte], error)
	// Save applies changes to the shard's last checkpoint, atomically and durably: a
	// nil value deletes the key. full: what was there before is dropped first.
	Save(shard ShardID, meta CheckpointMeta, full bool, changes iter.Seq2[[]byte, []byte]) error
}

// Engine is one node's storage.
type Engine interface {
	Log() Log
	Segments() Segments
	Checkpoints() Checkpoints
	// Durable tells whether anything outlives the process.
	Durable() bool
	// LastEnd tells how the engine was let go of before it was opened.
	LastEnd() LastEnd
	Close() error
}

// NoSpace tells whether an error is that of a device, or a quota, that is full: it may be
// gone when the same is tried again.
func NoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// LastEnd is how an engine was let go of, and so what may be missing that was written
// without Sync.
type LastEnd uint8

const (
	// Orderly: it was closed, or never opened before. Nothing is missing.
	Orderly LastEnd = iota
	// Killed: the process ended, the machine ran on. What the operating system was given is
	// there, unless the device failed.
	Killed
	// Crashed: the machine may have stopped. What was not synced may be missing.
	Crashed
)

var (
	// ErrClosed is returned by every call after Close.
	ErrClosed = errors.New("storage: closed")
	// ErrCorrupt: bytes that were once whole are not. Never cut, never skipped.
	ErrCorrupt = errors.New("storage: corrupt")
	// ErrVersion: written by a newer release.
	ErrVersion = errors.New("storage: written by a newer release")
	// ErrInUse: another process has the directory open.
	ErrInUse = errors.New("storage: in use by another process")
	// ErrMixed: files of two stores are in one directory.
	ErrMixed = errors.New("storage: files of two data directories are mixed")
	// ErrGone: a file that is open has been removed or moved: nobody would find what is written to it.
	ErrGone = errors.New("storage: removed, or moved away, while it was open")
	// ErrUnsynced: a sync has failed, which is final for the file as long as the process lives.
	ErrUnsynced = errors.New("storage: not synced, and not written until the next start")
)
