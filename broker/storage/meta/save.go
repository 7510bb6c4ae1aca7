package meta

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"syscall"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/robustmq/rmq/broker/storage"
)

// Save applies changes to the shard's checkpoint, all or none.
func (s *Store) Save(id storage.ShardID, meta storage.CheckpointMeta, full bool, changes iter.Seq2[[]byte, []byte]) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	if changes == nil {
		changes = func(func([]byte, []byte) bool) {}
	}
	src := source{}
	var stop func()
	src.next, stop = iter.Pull2(changes)
	defer stop()
	chunk, err := src.chunk()
	if err == nil {
		err = s.damaged[id]
	}
	if err == nil {
		err = s.finishLocked(id)
	}
	switch {
	case err != nil:
	case full:
		err = s.saveFull(id, meta, &src, chunk)
	case src.ended:
		err = s.saveChanges(id, meta, chunk)
	default:
		err = s.saveStaged(id, meta, &src, chunk)
	}
	if err != nil {
		return fmt.Errorf("meta: save shard %d: %w", id, err)
	}
	return nil
}

// writable makes the file if it is not there. Caller holds saving.
func (s *Store) writable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return storage.ErrClosed
	}
	if s.failed != nil || s.db != nil {
		return s.failed
	}
	db, file, err := create(s.path, s.store)
	if err != nil {
		return fmt.Errorf("meta: %w", err)
	}
	s.db, s.file = db, file
	return nil
}

// change is one key and what is stored for it; empty deletes.
type change struct{ key, value []byte }

// source yields changes in chunks.
type source struct {
	next  func() ([]byte, []byte, bool)
	ended bool
}

// chunk returns copies of the next changes, about chunkBytes of them.
func (s *source) chunk() ([]change, error) {
	var chunk []change
	for size := 0; size < chunkBytes; {
		k, v, ok := s.next()
		if !ok {
			s.ended = true
			break
		}
		if err := storage.CheckKey(k); err != nil {
			return nil, err
		}
		c := change{bytes.Clone(k), encodeValue(k, v)}
		size += len(c.key) + len(c.value)
		chunk = append(chunk, c)
	}
	return chunk, nil
}

// update runs one transaction on the shard's bucket. An error of the commit is final,
// unless the device was merely full: what it has of a failed sync nobody knows.
func (s *Store) update(id storage.ShardID, f func(b *bbolt.Bucket, d *description) error) error {
	ran := false
	err := s.transact(s.db.Update, func(tx *bbolt.Tx) error {
		_, d, err := shardBucket(tx, id)
		if err != nil {
			return err
		}
		b, err := tx.Bucket(shardsBucket).CreateBucketIfNotExists(shardName(id))
		if err != nil {
			return err
		}
		if err := f(b, &d); err != nil {
			return err
		}
		ran = true
		return nil
	})
	if err == nil && s.committed != nil {
		s.committed()
	}
	if err != nil && ran && !errors.Is(err, syscall.ENOSPC) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.failed = fmt.Errorf("meta: checkpoints are not written any more: %w", err)
	}
	return err
}

// saveChanges applies one chunk to the current bucket.
func (s *Store) saveChanges(id storage.ShardID, meta storage.CheckpointMeta, chunk []change) error {
	return s.update(id, func(b *bbolt.Bucket, d *description) error {
		data, err := d.current(b)
		if err != nil {
			return err
		}
		for _, c := range chunk {
			if err := d.apply(data, c.key, c.value); err != nil {
				return err
			}
		}
		d.CheckpointMeta = meta
		return describe(b.Tx(), id, b, *d)
	})
}

// current returns the data bucket, and makes the first one.
func (d *description) current(b *bbolt.Bucket) (*bbolt.Bucket, error) {
	if d.generation > 0 {
		return d.data(b)
	}
	d.generation = 1
	return renew(b, dataName(1))
}

// renew makes an empty bucket, in place of one that a crash may have left.
func renew(b *bbolt.Bucket, name []byte) (*bbolt.Bucket, error) {
	if err := b.DeleteBucket(name); err != nil && !errors.Is(err, berrors.ErrBucketNotFound) {
		return nil, err
	}
	return b.CreateBucket(name)
}

// saveFull writes the next generation, chunk by chunk, and switches to it with the last.
func (s *Store) saveFull(id storage.ShardID, meta storage.CheckpointMeta, src *source, chunk []change) error {
	var fresh description // its sums
	for first := true; ; first = false {
		err := s.update(id, func(b *bbolt.Bucket, d *description) (err error) {
			now := fresh
			name := dataName(d.generation + 1)
			data := b.Bucket(name)
			if first || data == nil {
				if data, err = renew(b, name); err != nil {
					return err
				}
			}
			data.FillPercent = 0.9 // keys come in order
			for _, c := range chunk {
				if err := now.apply(data, c.key, c.value); err != nil {
					return err
				}
			}
			if src.ended {
				now.CheckpointMeta, now.generation = meta, d.generation+1
				if d.generation > 0 {
					if err := b.DeleteBucket(dataName(d.generation)); err != nil {
						return err
					}
				}
				if err := b.DeleteBucket(stageBucket); err != nil && !errors.Is(err, berrors.ErrBucketNotFound) {
					return err
				}
				if err := describe(b.Tx(), id, b, now); err != nil {
					return err
				}
			}
			fresh = now
			return nil
		})
		if err != nil || src.ended {
			return err
		}
		if chunk, err = src.chunk(); err != nil {
			return err
		}
	}
}

// saveStaged stages changes chunk by chunk, makes them valid with the last, and folds
// them in.
func (s *Store) saveStaged(id storage.ShardID, meta storage.CheckpointMeta, src *source, chunk []change) error {
	for first := true; ; first = false {
		err := s.update(id, func(b *bbolt.Bucket, d *description) (err error) {
			stage := b.Bucket(stageBucket)
			if first || stage == nil {
				if stage, err = renew(b, stageBucket); err != nil {
					return err
				}
			}
			stage.FillPercent = 0.9
			for _, c := range chunk {
				v := c.value
				if v == nil {
					v = []byte{}
				}
				if err := stage.Put(c.key, v); err != nil {
					return err
				}
			}
			if !src.ended {
				return nil
			}
			if _, err := d.current(b); err != nil {
				return err
			}
			d.CheckpointMeta, d.staged = meta, true
			return describe(b.Tx(), id, b, *d)
		})
		if err != nil {
			return err
		}
		if src.ended {
			break
		}
		if chunk, err = src.chunk(); err != nil {
			return err
		}
	}
	// The checkpoint is saved. What fails from here on is done by the next call.
	_ = s.finishLocked(id)
	return nil
}

// finish folds staged changes that a crash left.
func (s *Store) finish(id storage.ShardID) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	return s.finishLocked(id)
}

// finishLocked folds what is staged into the current bucket, chunk by chunk. Caller holds
// saving.
func (s *Store) finishLocked(id storage.ShardID) error {
	for {
		var staged bool
		err := s.transact(s.db.View, func(tx *bbolt.Tx) error {
			_, d, err := shardBucket(tx, id)
			staged = d.staged
			return err
		})
		if err != nil || !staged {
			return err
		}
		if err := s.update(id, fold); err != nil {
			return err
		}
	}
}

// fold moves one chunk of staged changes into the current bucket.
func fold(b *bbolt.Bucket, d *description) error {
	stage := b.Bucket(stageBucket)
	if stage == nil {
		return fmt.Errorf("%w: staged changes are missing", storage.ErrCorrupt)
	}
	data, err := d.data(b)
	if err != nil {
		return err
	}
	var chunk []change // a cursor does not survive deletions
	c := stage.Cursor()
	k, v := c.First()
	for size := 0; k != nil && size < chunkBytes; k, v = c.Next() {
		if len(v) > 0 {
			if _, err := decodeValue(k, v); err != nil {
				return err
			}
		}
		chunk = append(chunk, change{bytes.Clone(k), bytes.Clone(v)})
		size += len(k) + len(v)
	}
	for _, c := range chunk {
		if err := d.apply(data, c.key, c.value); err != nil {
			return err
		}
		if k != nil {
			if err := stage.Delete(c.key); err != nil {
				return err
			}
		}
	}
	if k == nil {
		d.staged = false
		if err := b.DeleteBucket(stageBucket); err != nil {
			return err
		}
	}
	return b.Put(aboutKey, d.encode())
}
