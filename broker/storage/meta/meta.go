// Package meta keeps checkpoints in a bbolt file: few and small writes, one
// transaction each.
//
// Of each shard the file holds the last checkpoint as sorted keys and values. A Save
// writes what changed; whatever its size, it holds at most chunkBytes in memory, and a
// crash leaves either the old checkpoint or the new one:
//
//   - a full one is written into a bucket of the next generation, which becomes current
//     together with the description of the checkpoint;
//   - changes that fit in one chunk are one transaction;
//   - more are staged in a bucket, declared valid together with the description,
//     and then folded into the current bucket. A crash in between leaves them to be
//     folded by the next call.
//
// bbolt does not checksum its pages. So every value carries a checksum, and the
// description the number of keys and the sum of their checksums; Load verifies all
// before it returns any. What does not add up is storage.ErrCorrupt.
//
// The file is made by the first Save, under another name until it is whole: a broker's
// first start does not wait for it, and a crash leaves no half of it.
package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/vfs"
)

const (
	// chunkBytes bounds the keys and values of one transaction.
	chunkBytes = 4 << 20
	// lockWait bounds the wait for the file's own lock. The data directory is locked
	// before it, so nobody should hold this one.
	lockWait = time.Second
	filePerm = 0o640
)

// Store is storage.Checkpoints in one file. Safe for concurrent use: one Save at a
// time, and Loads beside it.
type Store struct {
	path      string
	committed func() // for tests: called after each transaction of a Save

	stuck atomic.Bool // bbolt has panicked with its locks held: it is not called any more

	saving sync.Mutex // taken before mu
	mu     sync.RWMutex
	db     *bbolt.DB // nil while the file does not exist
	file   *os.File  // of db
	// damaged are the shards in whose pages bbolt would lose its way; fixed by Open
	damaged map[storage.ShardID]error
	closed  bool
	store   uint64 // whose checkpoints these are; 0: nobody has said
	failed  error  // final: a transaction of which nobody knows what the device has
}

var _ storage.Checkpoints = (*Store)(nil)

// Open opens the store at path. A file that does not exist is made by the first Save.
func Open(path string) (*Store, error) {
	s := &Store{path: path}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, nil
	case err != nil:
	case info.Size() == 0: // bbolt would make a new one of it
		err = fmt.Errorf("%w: %s is empty", storage.ErrCorrupt, path)
	default:
		if s.damaged, err = shapeOf(path); err == nil {
			s.db, s.file, err = openFile(path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("meta: open: %w", err)
	}
	return s, nil
}

// Bind says whose checkpoints these are to be. storage.ErrMixed: the file was made for another
// store. One that does not say whose it is, is taken.
func (s *Store) Bind(store uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.store = store; s.db == nil {
		return nil
	}
	err := s.transact(s.db.View, func(tx *bbolt.Tx) error {
		stored := tx.Bucket(rootBucket).Get(storeKey)
		if stored == nil {
			return nil
		}
		b, err := decodeValue(storeKey, stored)
		switch {
		case err != nil:
			return err
		case len(b) != 8:
			return fmt.Errorf("%w: store of %d bytes", storage.ErrCorrupt, len(b))
		case binary.LittleEndian.Uint64(b) != store:
			return fmt.Errorf("%w: it is of store %016x, and VERSION says %016x", storage.ErrMixed, binary.LittleEndian.Uint64(b), store)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("meta: %s: %w", s.path, err)
	}
	return nil
}

// openFile opens an existing file, and checks its format. bbolt keeps the list of
// free pages in the file, so that this does not read all of it.
func openFile(path string) (db *bbolt.DB, file *os.File, err error) {
	err = guard(func() (err error) {
		db, err = bbolt.Open(path, filePerm, &bbolt.Options{
			Timeout: lockWait, FreelistType: bbolt.FreelistMapType, NoStatistics: true,
			OpenFile: func(name string, flag int, perm os.FileMode) (*os.File, error) {
				file, err = os.OpenFile(name, flag, perm)
				return file, err
			},
		})
		if err == nil {
			err = db.View(checkFormat)
		}
		// A process that was killed may have left what it had written, and the file's name, to
		// the system. What Load returns from here on is taken to be durable.
		if err == nil {
			err = db.Sync()
		}
		if err == nil {
			err = vfs.OS{}.SyncDir(filepath.Dir(path))
		}
		return err
	})
	if err == nil {
		return db, file, nil
	}
	if file != nil {
		_ = file.Close() // with its lock. bbolt's own may be held, where it has panicked
	}
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, nil, fmt.Errorf("%w: %s", storage.ErrInUse, path)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return nil, nil, fmt.Errorf("%w: %s: %w", storage.ErrCorrupt, path, err)
	}
	return nil, nil, fmt.Errorf("%s: %w", path, err)
}

func shapeOf(path string) (damaged map[storage.ShardID]error, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	x, err := Inspect(f, info.Size())
	if err == nil {
		damaged, err = x.Shape()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for id, err := range damaged {
		damaged[id] = fmt.Errorf("%s: %w", path, err)
	}
	return damaged, nil
}

// create makes the file.
func create(path string, store uint64) (*bbolt.DB, *os.File, error) {
	tmp := path + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("meta: create: %w", err)
	}
	db, err := bbolt.Open(tmp, filePerm, &bbolt.Options{Timeout: lockWait})
	if err != nil {
		return nil, nil, fmt.Errorf("meta: create: %w", err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { return writeFormat(tx, store) })
	if err = errors.Join(err, db.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil {
		err = vfs.OS{}.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("meta: create: %w", err)
	}
	return openFile(path)
}

// Close lets the file go. It may be called twice.
func (s *Store) Close() error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.db == nil {
		return nil
	}
	db := s.db
	s.db = nil
	if s.stuck.Load() { // Close would wait for its locks
		return s.file.Close()
	}
	return db.Close()
}

// transact runs f in a transaction: run is View or Update of the file. A panic in f is an error,
// and ends the transaction in order. One in bbolt itself may leave its locks held: the file is
// not used any more.
func (s *Store) transact(run func(func(*bbolt.Tx) error) error, f func(*bbolt.Tx) error) error {
	if s.stuck.Load() {
		return fmt.Errorf("%w: checkpoints: the file could not be read before", storage.ErrCorrupt)
	}
	orderly := false
	err := guard(func() error {
		err := run(func(tx *bbolt.Tx) error { return guard(func() error { return f(tx) }) })
		orderly = true
		return err
	})
	if !orderly {
		s.stuck.Store(true)
	}
	return err
}

// guard runs f, which works on pages of the file, and turns a panic into ErrCorrupt:
// bbolt panics over a page that is not what it should be, and the runtime over a file
// that has become shorter than its map.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: checkpoints: %v", storage.ErrCorrupt, p)
		}
	}()
	return f()
}
