package meta

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"

	"go.etcd.io/bbolt"

	"github.com/robustmq/rmq/broker/storage"
)

// Load verifies the shard's checkpoint and returns it. The sequence holds a read
// transaction while it is consumed; its keys and values are the caller's.
func (s *Store) Load(id storage.ShardID) (storage.CheckpointMeta, iter.Seq2[[]byte, []byte], error) {
	d, err := s.verified(id)
	if err == nil && d.staged { // a crash left them
		if err = s.finish(id); err == nil {
			d, err = s.verified(id)
		}
	}
	if err != nil {
		return storage.CheckpointMeta{}, nil, err
	}
	return d.CheckpointMeta, func(yield func(key, value []byte) bool) {
		if d.generation == 0 {
			return
		}
		s.mu.RLock()
		defer s.mu.RUnlock()
		if s.db == nil {
			panic("meta: a checkpoint is read after Close")
		}
		err := s.db.View(func(tx *bbolt.Tx) error {
			b, now, err := shardBucket(tx, id)
			if err != nil {
				return err
			}
			if now.generation != d.generation || now.sum != d.sum {
				return fmt.Errorf("it was saved again meanwhile")
			}
			data, err := d.data(b)
			if err != nil {
				return err
			}
			c := data.Cursor()
			for k, v := c.First(); k != nil; k, v = c.Next() {
				if !yield(bytes.Clone(k), append([]byte{}, v[crcLen:]...)) {
					return nil
				}
			}
			return nil
		})
		if err != nil { // it was whole a moment ago, and a sequence cannot tell
			panic(fmt.Sprintf("meta: checkpoint of shard %d: %v", id, err))
		}
	}, nil
}

// verified returns the description of a checkpoint whose every byte was looked at.
// Staged changes are not.
func (s *Store) verified(id storage.ShardID) (d description, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return d, storage.ErrClosed
	}
	if s.db == nil {
		return d, nil
	}
	if err := s.damaged[id]; err != nil {
		return d, fmt.Errorf("meta: load shard %d: %w", id, err)
	}
	err = s.transact(s.db.View, func(tx *bbolt.Tx) error {
		var b *bbolt.Bucket
		if b, d, err = shardBucket(tx, id); err != nil || d.generation == 0 {
			return err
		}
		data, err := d.data(b)
		if err != nil {
			return err
		}
		return verify(data, d)
	})
	if err != nil {
		return d, fmt.Errorf("meta: load shard %d: %w", id, err)
	}
	return d, nil
}

func verify(data *bbolt.Bucket, d description) error {
	var keys uint32
	var sum uint64
	var last []byte
	c := data.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if last != nil && bytes.Compare(last, k) >= 0 {
			return fmt.Errorf("%w: checkpoint keys out of order", storage.ErrCorrupt)
		}
		if _, err := decodeValue(k, v); err != nil {
			return err
		}
		keys++
		sum += uint64(binary.LittleEndian.Uint32(v))
		last = k
	}
	if keys != d.keys || sum != d.sum {
		return fmt.Errorf("%w: checkpoint of %d keys has %d, or others", storage.ErrCorrupt, d.keys, keys)
	}
	return nil
}
