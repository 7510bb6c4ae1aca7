package filelog

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/robustmq/rmq/broker/segment"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/vfs"
)

// segments are the directories segments/SHARD/LOG, both in hexadecimal.
type segments struct {
	fs    vfs.FS
	dir   string
	opt   segment.Options
	store uint64 // whose they are; 0: not known
	cache *segment.Cache
	wrote *atomic.Uint64 // bytes appended

	mu     sync.Mutex // held across opening and removing, which are rare
	open   map[storage.LogID]*shared
	closed bool
}

// shared is a segment.Log and how many handles it has. Guarded by segments.mu.
type shared struct {
	log  *segment.Log
	refs int
}

// removedSuffix marks a directory that is being removed: a crash meanwhile must not leave
// a log that has lost some of its files.
const removedSuffix = ".removed"

func newSegments(fsys vfs.FS, dir string, opt segment.Options, openFiles int, wrote *atomic.Uint64, store uint64) *segments {
	opt.Parents = 3 // SHARD, segments, and the data directory
	return &segments{
		fs: fsys, dir: dir, opt: opt, store: store, cache: segment.NewCache(fsys, openFiles),
		open: make(map[storage.LogID]*shared), wrote: wrote,
	}
}

func (s *segments) shardDir(id storage.ShardID) string {
	return filepath.Join(s.dir, fmt.Sprintf("%08x", uint32(id)))
}

func (s *segments) logDir(id storage.LogID) string {
	return filepath.Join(s.shardDir(id.Shard), fmt.Sprintf("%016x", id.Log))
}

// owner tells the files of one log of one store from all others; 0: the store is not known.
func (s *segments) owner(id storage.LogID) uint64 { return SegmentOwner(s.store, id) }

// SegmentOwner is what the segment files of a log say of whose they are.
func SegmentOwner(store uint64, id storage.LogID) uint64 {
	if store == 0 {
		return 0
	}
	h := fnv.New64a()
	b := binary.BigEndian.AppendUint64(nil, store)
	b = binary.BigEndian.AppendUint32(b, uint32(id.Shard))
	_, _ = h.Write(binary.BigEndian.AppendUint64(b, id.Log)) // never fails
	return h.Sum64()
}

func (s *segments) Open(id storage.LogID) (storage.Segment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, storage.ErrClosed
	}
	sh := s.open[id]
	if sh == nil {
		opt := s.opt
		opt.Owner = s.owner(id)
		log, err := segment.Open(s.fs, s.logDir(id), s.cache, opt)
		if err != nil {
			return nil, told(err)
		}
		sh = &shared{log: log}
		s.open[id] = sh
	}
	sh.refs++
	return &seg{Log: sh.log, owner: s, id: id}, nil
}

// closeOne gives back one handle of id.
func (s *segments) closeOne(id storage.LogID, log *segment.Log) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.open[id]
	if sh == nil || sh.log != log { // removed, or the engine was closed
		return nil
	}
	if sh.refs--; sh.refs > 0 {
		return nil
	}
	delete(s.open, id)
	return told(log.Close())
}

// Remove renames the directory, so that it goes at once, and then empties it.
func (s *segments) Remove(id storage.LogID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return storage.ErrClosed
	}
	if sh := s.open[id]; sh != nil {
		delete(s.open, id)
		if err := sh.log.Close(); err != nil {
			return told(err)
		}
	}
	dir := s.logDir(id)
	gone := dir + removedSuffix
	if err := s.sweep(gone); err != nil { // left by a crash
		return err
	}
	err := s.fs.Rename(dir, gone)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("filelog: remove segments: %w", err)
	}
	return s.sweep(gone)
}

// sweep removes a directory that was renamed for it, by us or by a process that was killed:
// its name is durable before the first file goes.
func (s *segments) sweep(dir string) error {
	entries, err := s.fs.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = s.fs.SyncDir(filepath.Dir(dir))
	}
	if err == nil {
		for _, e := range entries {
			err = errors.Join(err, s.fs.Remove(filepath.Join(dir, e.Name)))
		}
	}
	if err == nil {
		err = s.fs.Remove(dir)
	}
	if err != nil {
		return fmt.Errorf("filelog: remove segments: %w", err)
	}
	return nil
}

// List also finishes what a crash left of removals.
func (s *segments) List(shard storage.ShardID) ([]storage.LogID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, storage.ErrClosed
	}
	entries, err := s.fs.ReadDir(s.shardDir(shard))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("filelog: list segments: %w", err)
	}
	var ids []storage.LogID
	for _, e := range entries {
		name, removed := strings.CutSuffix(e.Name, removedSuffix)
		number, err := strconv.ParseUint(name, 16, 64)
		switch {
		case err != nil || len(name) != 16 || !e.Dir: // not a name that we gave
		case removed:
			if err := s.sweep(filepath.Join(s.shardDir(shard), e.Name)); err != nil {
				return nil, err
			}
		default:
			ids = append(ids, storage.LogID{Shard: shard, Log: number})
		}
	}
	slices.SortFunc(ids, func(a, b storage.LogID) int { return cmp.Compare(a.Log, b.Log) })
	return ids, nil
}

// close closes all that is open.
func (s *segments) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	var errs []error
	for _, sh := range s.open {
		errs = append(errs, told(sh.log.Close()))
	}
	clear(s.open)
	return errors.Join(errs...)
}

// seg is one handle of a segment, with errors as storage has them.
type seg struct {
	*segment.Log
	owner *segments
	id    storage.LogID
	once  sync.Once
}

var _ storage.Segment = (*seg)(nil)

func (s *seg) Append(batches ...[]byte) error {
	err := s.Log.Append(batches...)
	if err == nil {
		n := 0
		for _, b := range batches {
			n += len(b)
		}
		s.owner.wrote.Add(uint64(n))
	}
	return told(err)
}

func (s *seg) Sync() error                   { return told(s.Log.Sync()) }
func (s *seg) TruncateTo(end int64) error    { return told(s.Log.TruncateTo(end)) }
func (s *seg) DropBefore(offset int64) error { return told(s.Log.DropBefore(offset)) }

func (s *seg) Read(offset int64, maxBytes int) ([]byte, error) {
	b, err := s.Log.Read(offset, maxBytes)
	return b, told(err)
}

func (s *seg) OffsetForTime(from, ms int64) (int64, int64, bool, error) {
	base, latest, ok, err := s.Log.OffsetForTime(from, ms)
	return base, latest, ok, told(err)
}

func (s *seg) SizeFrom(offset int64) (int64, error) {
	n, err := s.Log.SizeFrom(offset)
	return n, told(err)
}

func (s *seg) LastBytes(n int64) (int64, error) {
	offset, err := s.Log.LastBytes(n)
	return offset, told(err)
}

func (s *seg) Roll() error { return told(s.Log.Roll()) }

func (s *seg) Rewrite(from, to int64, edit func([]byte) ([]byte, error)) (bool, error) {
	done, err := s.Log.Rewrite(from, to, edit)
	return done, told(err)
}

// Close gives the handle back; the last one closes the segment.
func (s *seg) Close() (err error) {
	s.once.Do(func() { err = s.owner.closeOne(s.id, s.Log) })
	return err
}

// told adds to a segment's error the one that storage has for it.
func told(err error) error {
	for _, is := range [...]struct{ from, to error }{
		{segment.ErrCorrupt, storage.ErrCorrupt},
		{segment.ErrUnsynced, storage.ErrUnsynced},
		{segment.ErrVersion, storage.ErrVersion},
		{segment.ErrClosed, storage.ErrClosed},
	} {
		if errors.Is(err, is.from) {
			return fmt.Errorf("%w: %w", is.to, err)
		}
	}
	return err
}
