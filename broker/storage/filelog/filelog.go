// Package filelog is the storage engine on a directory.
//
//	DIR/
//	  VERSION          what the directory is, and in which format
//	  LOCK             held while a process has it open
//	  wal/             the log of all shards, and files ready to become part of it
//	  segments/S/L/    the record batches of log L of shard S
//	  checkpoints.db   the last checkpoint of each shard
//
// The log alone is synced before an acknowledgement, once for all that waits; the
// rest follows lazily and is rebuilt from it. docs/format/ draws each file.
//
// # What an open directory means
//
// Open refuses what it does not know, what a newer release wrote, and what another
// process has open, before it writes a byte. It cuts the torn tail that a crash
// leaves, and tells that from rot: bytes that were once durable and have changed are
// storage.ErrCorrupt, and nothing is removed.
//
// # What an error means
//
// An error of the log is final: every write that waits gets it, and so does every
// later one. So is a file of the log that was removed or moved beneath it (storage.ErrGone):
// that is looked at with every sync, and nothing is acknowledged that no name leads to. A segment's error is that segment's alone. A full device is not an error
// of the log: writes wait until there is space, and LogStats says so.
package filelog

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"github.com/robustmq/rmq/broker/segment"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/vfs"
)

// Options are all optional, except Checkpoints.
type Options struct {
	// FS is the file system; the machine's if nil.
	FS vfs.FS
	// Checkpoints opens the store of checkpoints at a path that may not exist yet:
	// meta.Open, on the machine's file system.
	Checkpoints func(path string) (CheckpointStore, error)

	// The log's files begin with WALFileMin bytes and grow fourfold up to WALFileMax.
	WALFileMin, WALFileMax int64 // 256 KiB, 64 MiB
	// SegmentBytes is the size at which a segment begins its next file.
	SegmentBytes int64 // 64 MiB
	// OpenFiles bounds the segment files that are held open together.
	OpenFiles int // 256

	// Stepped: the log has no goroutines. It works when Engine.Step is called, and within
	// Close; one caller at a time. Append then holds nobody back. So a simulation decides
	// when, and in what order, everything happens.
	Stepped bool
	// Random makes the salts by which old bytes are told from new ones; crypto/rand if nil.
	Random func() uint64
}

// CheckpointStore is storage.Checkpoints with an end. One that has a method
//
//	Bind(store uint64) error
//
// is told of which store it is to be, and answers storage.ErrMixed when it is of another.
type CheckpointStore interface {
	storage.Checkpoints
	io.Closer
}

const (
	walDir         = "wal"
	segmentsDir    = "segments"
	checkpointFile = "checkpoints.db"

	walGrowth = 4
)

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.WALFileMin <= 0 {
		o.WALFileMin = 256 << 10
	}
	if o.WALFileMax <= 0 {
		o.WALFileMax = 64 << 20
	}
	o.WALFileMin = max(o.WALFileMin, walBlock+1024)
	o.WALFileMax = max(o.WALFileMax, o.WALFileMin)
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 64 << 20
	}
	if o.OpenFiles <= 0 {
		o.OpenFiles = 256
	}
	if o.Random == nil {
		o.Random = func() uint64 {
			var b [8]byte
			_, _ = rand.Read(b[:]) // never fails
			return binary.LittleEndian.Uint64(b[:])
		}
	}
	return o
}

// grow is the size of the file after one of size bytes.
func (o Options) grow(size int64) int64 {
	return min(max(size*walGrowth, o.WALFileMin), o.WALFileMax)
}

// Engine is storage in a directory. Make one with Open.
type Engine struct {
	lock        io.Closer
	sameBoot    bool // the machine has run on since somebody had the directory open
	wal         *wal
	segments    *segments
	checkpoints CheckpointStore

	closing sync.Once
	err     error // of Close
}

var _ storage.Engine = (*Engine)(nil)

// Open opens the storage in dir, and makes it when dir is empty or missing. Errors
// are storage.ErrInUse, ErrVersion, ErrCorrupt, ErrForeign, or the system's.
func Open(dir string, opt Options) (_ *Engine, err error) {
	if opt.Checkpoints == nil {
		return nil, errors.New("filelog: Options.Checkpoints is missing")
	}
	opt = opt.withDefaults()
	home, err := openHome(opt.FS, dir)
	if err != nil {
		return nil, err
	}
	e := &Engine{lock: home.lock, sameBoot: home.sameBoot}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
		}
	}()
	checkpoints, err := opt.Checkpoints(filepath.Join(dir, checkpointFile))
	if err != nil { // what came with it may be a nil of some type, which is not to be closed
		return nil, fmt.Errorf("filelog: open: %w", err)
	}
	e.checkpoints = checkpoints
	if err = e.bind(home.store); err != nil { // before the log is written to
		return nil, fmt.Errorf("filelog: open: %w", err)
	}
	if e.wal, err = openWAL(opt.FS, filepath.Join(dir, walDir), opt, home.fresh, home.store); err != nil {
		return nil, fmt.Errorf("filelog: open: %w", err)
	}
	if err = home.settle(e.wal.store); err != nil {
		return nil, fmt.Errorf("filelog: open: %w", err)
	}
	if err = e.bind(e.wal.store); err != nil {
		return nil, fmt.Errorf("filelog: open: %w", err)
	}
	e.segments = newSegments(opt.FS, filepath.Join(dir, segmentsDir), segment.Options{FileBytes: opt.SegmentBytes, ID: opt.Random}, opt.OpenFiles, &e.wal.meters.segments, e.wal.store)
	return e, nil
}

// bind tells the checkpoints whose they are, where they care. 0: that is not known.
func (e *Engine) bind(store uint64) error {
	if b, ok := e.checkpoints.(interface{ Bind(store uint64) error }); ok && store != 0 {
		return b.Bind(store)
	}
	return nil
}

func (e *Engine) Log() storage.Log                 { return e.wal }
func (e *Engine) Segments() storage.Segments       { return e.segments }
func (e *Engine) Checkpoints() storage.Checkpoints { return e.checkpoints }
func (e *Engine) Durable() bool                    { return true }

// LastEnd tells how whoever had the directory open before us let go of it. A process that
// did not live to make anything durable counts as not having been there.
func (e *Engine) LastEnd() storage.LastEnd {
	switch {
	case e.wal.orderly:
		return storage.Orderly
	case e.sameBoot:
		return storage.Killed
	}
	return storage.Crashed
}

// Step lets a stepped engine's log do what waits: at most one group of writes, and the
// next file. A full device is tried again at every call.
func (e *Engine) Step() { e.wal.step() }

// Close finishes queued writes, closes every file, and lets the directory go. It may be
// called twice.
func (e *Engine) Close() error {
	e.closing.Do(func() {
		var errs []error
		if e.wal != nil {
			errs = append(errs, e.wal.Close())
		}
		if e.segments != nil {
			errs = append(errs, e.segments.close())
		}
		if e.checkpoints != nil {
			errs = append(errs, e.checkpoints.Close())
		}
		e.err = errors.Join(append(errs, e.lock.Close())...)
	})
	return e.err
}
