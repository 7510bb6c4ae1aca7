package memlog

import (
	"bytes"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/tidwall/btree"

	"github.com/robustmq/rmq/broker/storage"
)

// checkpoints is storage.Checkpoints in memory.
type checkpoints struct {
	closed *atomic.Bool // shared with the engine

	saving sync.Mutex // one Save at a time; taken before mu
	mu     sync.Mutex
	shards map[storage.ShardID]checkpoint
}

// checkpoint is one shard's. A published map never changes: Save works on a copy,
// which shares nodes with it.
type checkpoint struct {
	meta storage.CheckpointMeta
	kv   *btree.Map[string, []byte]
}

func (c *checkpoints) Load(id storage.ShardID) (storage.CheckpointMeta, iter.Seq2[[]byte, []byte], error) {
	if c.closed.Load() {
		return storage.CheckpointMeta{}, nil, storage.ErrClosed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	cp := c.shards[id]
	cp.meta.Members = cp.meta.Members.Clone()
	all := func(yield func(key, value []byte) bool) {
		if cp.kv == nil {
			return
		}
		cp.kv.Scan(func(k string, v []byte) bool { return yield([]byte(k), bytes.Clone(v)) })
	}
	return cp.meta, all, nil
}

func (c *checkpoints) Save(id storage.ShardID, meta storage.CheckpointMeta, full bool, changes iter.Seq2[[]byte, []byte]) error {
	if c.closed.Load() {
		return storage.ErrClosed
	}
	c.saving.Lock()
	defer c.saving.Unlock()
	c.mu.Lock()
	old := c.shards[id]
	c.mu.Unlock()

	kv := new(btree.Map[string, []byte])
	if old.kv != nil && !full {
		kv = old.kv.Copy()
	}
	if changes != nil {
		for k, v := range changes {
			if err := storage.CheckKey(k); err != nil {
				return err
			}
			if v == nil {
				kv.Delete(string(k))
				continue
			}
			kv.Set(string(k), append([]byte{}, v...)) // never nil, also when empty
		}
	}
	meta.Members = meta.Members.Clone()

	c.mu.Lock()
	defer c.mu.Unlock()
	c.shards[id] = checkpoint{meta: meta, kv: kv}
	return nil
}
