package storagetest

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/vfs"
)

// Checkpoints is a store of checkpoints on any vfs.FS: for crash tests, since the real
// one maps its file into memory. It writes a shard's whole state at every Save, in
// one atomic step.
type Checkpoints struct {
	fs   vfs.FS
	path string

	mu     sync.Mutex
	closed bool
}

// OpenCheckpoints returns a store in files whose names begin with path.
func OpenCheckpoints(fsys vfs.FS, path string) *Checkpoints {
	return &Checkpoints{fs: fsys, path: path}
}

// saved is one shard's file.
type saved struct {
	Meta storage.CheckpointMeta
	KV   map[string][]byte
}

const savedMax = 1 << 30 // bytes

func (c *Checkpoints) name(id storage.ShardID) string {
	return fmt.Sprintf("%s-%08x", c.path, uint32(id))
}

func (c *Checkpoints) readLocked(id storage.ShardID) (s saved, err error) {
	if c.closed {
		return s, storage.ErrClosed
	}
	// A process that was killed may have left a file whose name is not durable.
	if err := c.fs.SyncDir(filepath.Dir(c.path)); err != nil {
		return s, err
	}
	b, err := vfs.ReadFile(c.fs, c.name(id), savedMax)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = gob.NewDecoder(bytes.NewReader(b)).Decode(&s)
	}
	return s, err
}

func (c *Checkpoints) Load(id storage.ShardID) (storage.CheckpointMeta, iter.Seq2[[]byte, []byte], error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.readLocked(id)
	if err != nil {
		return storage.CheckpointMeta{}, nil, err
	}
	return s.Meta, func(yield func([]byte, []byte) bool) {
		for _, k := range slices.Sorted(maps.Keys(s.KV)) {
			if v := s.KV[k]; !yield([]byte(k), append([]byte{}, v...)) { // gob forgets empty values
				return
			}
		}
	}, nil
}

func (c *Checkpoints) Save(id storage.ShardID, meta storage.CheckpointMeta, full bool, changes iter.Seq2[[]byte, []byte]) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.readLocked(id)
	if err != nil {
		return err
	}
	if full || s.KV == nil {
		s.KV = make(map[string][]byte)
	}
	if changes != nil {
		for k, v := range changes {
			if err := storage.CheckKey(k); err != nil {
				return err
			}
			if v == nil {
				delete(s.KV, string(k))
			} else {
				s.KV[string(k)] = bytes.Clone(v)
			}
		}
	}
	s.Meta = meta
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(s); err != nil {
		return err
	}
	if err := vfs.WriteFile(c.fs, c.name(id), b.Bytes()); err != nil {
		return err
	}
	return c.fs.SyncDir(filepath.Dir(c.path))
}

// Close ends the store.
func (c *Checkpoints) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}
